"""What a later call can refer to: replies and tool calls that passed here, and the session that each belongs to.

A client that lets the provider keep the history sends the id of an earlier reply and nothing else of the conversation; one that compacts
its history keeps the ids of tool calls whose results it returns. Both ids were seen in a reply of ours, so the session is known without
any header. Ids belong to the agent that got them: another agent's say nothing.

A bounded memory of one process, and correlation only: what was forgotten makes a new session and a larger hold (the whole context of the
model, where the tokens of a kept history are not known), never a wider permission.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass

from proxy.wire.call import Call

MAX_KNOWN = 50_000
MAX_ID = 256
"""A longer id is kept as its hash: nobody may fill memory with one."""
LEAST_ID = 10
"""Letters and digits of a tool call's id from which on it is believed to be one of a kind: some servers number their calls."""
UNKNOWN = -1
ANYBODY = ""
"""Whose a kept history is that grows: no agent's name."""
MOST_NAMES = 1024
"""Of more than these at once nobody looks up the tokens."""


@dataclass(frozen=True, slots=True)
class Known:
    """Where something was seen: in which session, and how many tokens the conversation had then."""

    session: str
    tokens: int = UNKNOWN


class Threads:
    """See the module. One loop's.

    Args:
        most: how many ids are kept; the oldest are forgotten first, by halves.
        elsewhere: calls pass in other processes too, so nobody here knows how long a kept history is that grows.
    """

    __slots__ = ("_elsewhere", "_half", "_inside", "_old", "_young")

    def __init__(self, most: int = MAX_KNOWN, *, elsewhere: bool = False) -> None:
        self._half, self._elsewhere = max(1, most // 2), elsewhere
        self._inside: dict[str, tuple[int, bool]] = {}
        self._young: dict[tuple[str, str], Known] = {}
        self._old: dict[tuple[str, str], Known] = {}

    def keep(self, agent: str, name: str, known: Known) -> None:
        """Remember `name`, an id of a reply, of a kept history or of a tool call, for `agent`."""
        if len(self._young) >= self._half:
            self._old, self._young = self._young, {}
        self._young[agent, _short(name)] = known

    def find(self, agent: str, name: str) -> Known | None:
        """Return what is known of `name`, None when nothing is."""
        key = (agent, _short(name))
        return self._young.get(key) or self._old.get(key)

    def tokens(self, agent: str, names: Collection[str]) -> int:
        """Return how many tokens stand behind all of `names` together, at most; `UNKNOWN` where nobody knows that of one of them."""
        if len(names) > MOST_NAMES:
            return UNKNOWN
        found = [known.tokens if (known := self.find(agent, name)) is not None else UNKNOWN for name in names]
        return UNKNOWN if UNKNOWN in found else sum(found)

    def enter(self, name: str) -> int:
        """Begin a call in the kept history `name`, which any agent's calls make longer; return its tokens, as `tokens` does.

        While another call is in it nobody can say, nor behind two that were in it at once: each was told what it read alone.
        """
        count, _ = self._inside.get(name, (0, False))
        self._inside[name] = (count + 1, count > 0)
        known = self.find(ANYBODY, name)
        return UNKNOWN if count or self._elsewhere or known is None else known.tokens

    def leave(self, name: str, tokens: int | None) -> None:
        """End a call that began with `enter`: the history has `tokens` now, or as many as before where that is None."""
        count, mixed = self._inside.pop(name, (0, True))
        if count > 1:
            self._inside[name] = (count - 1, True)
        if tokens is not None:
            self.keep(ANYBODY, name, Known("", UNKNOWN if mixed or count > 1 else tokens))

    def of_results(self, agent: str, call: Call) -> Known | None:
        """Return where the newest tool call was issued whose result `call` returns."""
        for message in reversed(call.messages):
            for result in message.tool_results:
                name = tool_id(result.id)
                if name and (known := self.find(agent, name)) is not None:
                    return known
            if message.tool_results or message.role == "assistant":
                break
        return None


def _short(name: str) -> str:
    return name if len(name) <= MAX_ID else hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()


def tool_id(id: str) -> str:
    """Return the id of a tool call as clients agree on it, or nothing for one that may not be unique.

    Source: OpenClaw 2026.9 sends `call_x` back as `callx`, seen on the wire in 2026-11.
    """
    plain = "".join([c for c in id if c.isalnum()])
    return f"tool:{plain}" if len(plain) >= LEAST_ID else ""
