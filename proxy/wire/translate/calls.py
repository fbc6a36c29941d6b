"""Ids and names of tool calls: what ties a call and its output together, wherever in the conversation they stand.

Some dialects can do without ids; a call and its output find each other by name and order there. The ids are made from the call's place in
the conversation, so that the same history gives the same ids on every turn, and the provider's cache of it holds. Others have ids and want
to hear the name of the tool with its output. Both are given in reading order, and by what was said before alone.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable
from typing import Protocol

from proxy.wire.translate.hub import Part, Tie, ToolOutput, ToolUse, Turn

_TIED = frozenset({ToolUse, ToolOutput})


class Ties(Protocol):
    """Gives ids and names, in reading order."""

    def call(self, id: str, name: str) -> str:
        """Return the id of a call."""
        ...

    def result(self, id: str, name: str) -> Tie:
        """Return the id and the name of the call that an output belongs to."""
        ...


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

    def result(self, id: str, name: str) -> Tie:
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


class Names:
    """The names of the tools that were called, by the ids of the calls: an output that has none gets its call's."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def call(self, id: str, name: str) -> str:
        """Return `id`, and note the name."""
        self._names[id] = name
        return id

    def result(self, id: str, name: str) -> Tie:
        """Return `id`, and the name."""
        return id, name or self._names.get(id, "")


def tied(turns: Iterable[Turn], ties: Ties) -> list[Turn]:
    """Return `turns` with the ids and names that `ties` gives. A turn in which they are what they were is the same turn as then."""
    return [turn if _TIED.isdisjoint(map(type, turn.parts)) else _tied(turn, ties) for turn in turns]


def _tied(turn: Turn, ties: Ties) -> Turn:
    found, other = list[Tie](), False
    for part in turn.parts:
        if isinstance(part, ToolUse):
            id, name = ties.call(part.id, part.name), part.name
        elif isinstance(part, ToolOutput):
            id, name = ties.result(part.id, part.name)
        else:
            continue
        found.append((id, name))
        other = other or id != part.id or name != part.name
    if not other:
        return turn
    if turn.tied is None or turn.tied[0] != found:
        rest = iter(found)
        turn.tied = found, Turn(turn.role, tuple([_with(part, *next(rest)) if type(part) in _TIED else part for part in turn.parts]))
    return turn.tied[1]


def _with(part: Part, id: str, name: str) -> Part:
    if isinstance(part, ToolOutput):
        return ToolOutput(id, name, part.parts, part.error)
    return ToolUse(id, name, part.arguments) if isinstance(part, ToolUse) else part
