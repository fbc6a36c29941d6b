"""Ids of tool calls, for the dialects that can do without: a call and its result find each other by name and order there.

The ids are made from the call's place in the conversation, so that the same history gives the same ids on every turn, and the provider's
cache of it holds.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable

from proxy.wire.translate.hub import ToolUse, Turn


class CallIds:
    """The ids of one conversation, in reading order. Linear, however the calls and results are mixed."""

    def __init__(self) -> None:
        self._next = 0
        self._names: dict[str, str] = {}
        self._answered: set[str] = set()
        self._all: deque[str] = deque()
        self._named: defaultdict[str, deque[str]] = defaultdict(deque)

    def call(self, id: str, name: str) -> str:
        """Return the id of a call."""
        found = id or self._made()
        self._names[found] = name
        self._answered.discard(found)
        self._all.append(found)
        self._named[name].append(found)
        return found

    def result(self, id: str, name: str) -> tuple[str, str]:
        """Return the id and the name of the call that a result belongs to: by id, else the first open call of that name, else the first.

        A result of no call at all keeps what it has: what becomes of it is the provider's to say.
        """
        found = id if id in self._names else self._first(self._named[name] if name else self._all)
        if not found:
            return id or self._made(), name
        self._answered.add(found)
        return found, self._names[found]

    def _first(self, waiting: deque[str]) -> str:
        while waiting:
            found = waiting.popleft()
            if found not in self._answered:
                return found
        return ""

    def _made(self) -> str:
        while True:
            made = f"call_{self._next}"
            self._next += 1
            if made not in self._names:
                return made


def names_of(turns: Iterable[Turn]) -> dict[str, str]:
    """Return the names of the tools that `turns` call, by the ids of the calls."""
    return {part.id: part.name for turn in turns for part in turn.parts if isinstance(part, ToolUse)}
