"""Which of a request's headers mean something to identity, found once for each set of header names.

A client sends the same names in the same order with each call, so what they mean is remembered by them, within bounds, and a request
costs one look. Header names are the caller's: nothing here can fail or refuse.

Source: header names of sessions as seen on the wire from each client, autumn 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

AGENT_HEADER = "x-fleetgate-agent"
CARRIERS = ("authorization", "x-api-key", "x-goog-api-key", "api-key")
"""Headers that can carry a key."""
OURS = "x-fleetgate-session"
RUN = "x-fleetgate-run"
PARENT = "x-fleetgate-parent"
THREAD = "thread-id"

HEADERS: tuple[tuple[str, str], ...] = (
    ("x-claude-code-session-id", "claude-code"),
    ("session-id", "codex"),
    ("session_id", "codex"),
    (THREAD, "codex"),
    ("conversation_id", "codex"),
    ("x-opencode-session", "opencode"),
    ("x-session-affinity", "opencode"),
    ("x-session-id", "generic"),
    ("x-task-id", "cline"),
    ("x-kilocode-taskid", "kilo"),
    ("x-client-session-id", "copilot"),
    ("x-interaction-id", "copilot"),
    ("x-mux-workspace-id", "mux"),
    ("x-litellm-trace-id", "litellm"),
    ("x-litellm-session-id", "litellm"),
    ("helicone-session-id", "helicone"),
    ("x-portkey-trace-id", "portkey"),
)
"""Session headers of known clients, first match wins."""

CLAUDE_AGENT, CLAUDE_PARENT = "x-claude-code-agent-id", "x-claude-code-parent-agent-id"
CODEX_PARENT = "x-codex-parent-thread-id"
PARENTS: tuple[str, ...] = (PARENT, CLAUDE_PARENT, CODEX_PARENT)
SUBAGENTS: tuple[str, ...] = (CLAUDE_AGENT, "x-openai-subagent")
"""Headers that only a sub-agent sends; its session is that of the main agent."""
UPKEEP = frozenset({"compact", "memory_consolidation"})
"""What Codex calls sub-agents and nobody delegated: it tidies its own history."""
TURN = "x-codex-turn-metadata"
REMEMBERED = 256
REMEMBERED_CHARS = 2048


@dataclass(frozen=True, slots=True)
class Present:
    """What one set of header names has: names as sent, in the order in which they count.

    Attributes:
        carriers: those that can carry a key; `agent`, `run`: ours, if there.
        sessions: those that can name the session, with the name that the record shows.
        parents: those that can name the parent.
        turn: Codex's metadata of the turn. trace: a `traceparent`. subagent: what only a sub-agent sends.
        claude: the sub-agent's id of Claude Code. thread: the thread's of Codex.
        count: how many different names there are; where there are more headers, one is there twice and its first value is not all.
    """

    carriers: tuple[str, ...]
    agent: str | None
    sessions: tuple[tuple[str, str], ...]
    run: str | None
    parents: tuple[str, ...]
    count: int
    turn: str | None = None
    trace: str | None = None
    subagent: str | None = None
    claude: str | None = None
    thread: str | None = None


_known: dict[tuple[str, ...], Present] = {}


_latest: tuple[Mapping[str, str], Present] | None = None


def present(headers: Mapping[str, str]) -> Present:
    """Return what the names of `headers` mean. They must not change: several stages ask for the same request."""
    global _latest  # noqa: PLW0603
    latest = _latest
    if latest is not None and latest[0] is headers:
        return latest[1]
    found = _found(headers)
    _latest = (headers, found)
    return found


def _found(headers: Mapping[str, str]) -> Present:
    names = tuple(headers)
    found = _known.get(names)
    if found is None:
        found = _look(names)
        if sum(map(len, names)) <= REMEMBERED_CHARS:
            if len(_known) >= REMEMBERED:
                _known.clear()
            _known[names] = found
    return found


def values(headers: Mapping[str, str], name: str) -> list[str]:
    """Return all values of a header that may be there twice."""
    return [value for key, value in headers.items() if key.lower() == name]


def _look(names: tuple[str, ...]) -> Present:
    lower: dict[str, str] = {}
    for name in names:
        lower.setdefault(name.lower(), name)
    known = [name for name in (OURS, *(name for name, _ in HEADERS)) if name in lower]
    other = [name for name in lower if name.startswith("x-") and name.endswith("-session-id") and name not in known]
    return Present(
        carriers=tuple(lower[name] for name in CARRIERS if name in lower),
        agent=lower.get(AGENT_HEADER),
        sessions=tuple((lower[name], name) for name in (*known, *other)),
        run=lower.get(RUN),
        parents=tuple(lower[name] for name in PARENTS if name in lower),
        count=len(lower),
        turn=lower.get(TURN),
        trace=lower.get("traceparent"),
        subagent=next((lower[name] for name in SUBAGENTS if name in lower), None),
        claude=lower.get(CLAUDE_AGENT),
        thread=lower.get(THREAD),
    )
