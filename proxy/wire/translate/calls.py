"""Ids and names of tool calls: what ties a call and its output together, wherever in the conversation they stand.

Some dialects can do without ids; a call and its output find each other by name and order there. The ids are made from the call's place in
the conversation, so that the same history gives the same ids on every turn, and the provider's cache of it holds. Others have ids and want
to hear the name of the tool with its output. Both are given in reading order, and by what was said before alone.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable
from typing import Protocol, Self

from proxy.wire.translate.hub import TIED, Part, Ties, ToolOutput, ToolUse, Turn


class Tying(Protocol):
    """Gives ids and names, in reading order."""

    def calls(self, ties: Ties) -> Ties:
        """Return the ids and names of a turn's calls."""
        ...

    def results(self, ties: Ties) -> Ties:
        """Return the ids and names of the calls that a turn's outputs belong to."""
        ...

    def copy(self) -> Self:
        """Return one that goes on from here by itself."""
        ...

    def known(self) -> int:
        """Return of how many calls something is known."""
        ...


class CallIds:
    """The ids of one conversation, in reading order. Linear, however the calls and results are mixed."""

    def __init__(self) -> None:
        self._next = 0
        self._names: dict[str, str] = {}
        self._answered: set[str] = set()
        self._all: deque[str] = deque()
        self._named: defaultdict[str, deque[str]] = defaultdict(deque)

    def calls(self, ties: Ties) -> Ties:
        """See `Tying.calls`: each has the id that it has, or gets one."""
        found = []
        for id, name in ties:
            id = id or self._made()
            self._names[id] = name
            self._answered.discard(id)
            self._all.append(id)
            self._named[name].append(id)
            found.append((id, name))
        return tuple(found)

    def results(self, ties: Ties) -> Ties:
        """See `Tying.results`: by id, else the first open call of that name, else the first.

        A result of no call at all keeps what it has: what becomes of it is the provider's to say.
        """
        found = []
        for id, name in ties:
            call = id if id in self._names else self._first(self._named[name] if name else self._all)
            if call:
                self._answered.add(call)
                found.append((call, self._names[call]))
            else:
                found.append((id or self._made(), name))
        return tuple(found)

    def copy(self) -> CallIds:
        """See `Tying.copy`."""
        found = CallIds()
        found._next, found._names, found._answered, found._all = self._next, self._names.copy(), self._answered.copy(), self._all.copy()
        found._named.update({name: waiting.copy() for name, waiting in self._named.items()})
        return found

    def known(self) -> int:
        """See `Tying.known`."""
        return len(self._names)

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

    def calls(self, ties: Ties) -> Ties:
        """See `Tying.calls`: they stay as they are, and the names are noted."""
        self._names.update(ties)
        return ties

    def results(self, ties: Ties) -> Ties:
        """See `Tying.results`."""
        return tuple([(id, name or self._names.get(id, "")) for id, name in ties])

    def copy(self) -> Names:
        """See `Tying.copy`."""
        found = Names()
        found._names.update(self._names)
        return found

    def known(self) -> int:
        """See `Tying.known`."""
        return len(self._names)


def tied(turns: Iterable[Turn], ties: Tying | None) -> list[Turn]:
    """Return `turns` with the ids and names that `ties` gives, if it is there."""
    return [*turns] if ties is None else [tie(turn, ties) if turn.ties else turn for turn in turns]


def tie(turn: Turn, ties: Tying) -> Turn:
    """Return a turn of calls or outputs with the ids and names that `ties` gives: the same turn as the last time that it gave these."""
    found = ties.calls(turn.ties) if turn.role == "assistant" else ties.results(turn.ties)
    if found == turn.ties:
        return turn
    if turn.tied is None or turn.tied[0] != found:
        rest = iter(found)
        turn.tied = found, Turn(turn.role, tuple([_with(part, *next(rest)) if isinstance(part, TIED) else part for part in turn.parts]))
    return turn.tied[1]


def _with(part: Part, id: str, name: str) -> Part:
    if isinstance(part, ToolOutput):
        return ToolOutput(id, name, part.parts, part.error)
    return ToolUse(id, name, part.arguments) if isinstance(part, ToolUse) else part
