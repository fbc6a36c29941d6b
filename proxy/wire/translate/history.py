"""The conversation and the tools of one request, read into the hub and written from it: what is known of them is not read or written again.

Where nothing is to be remembered a request is read and written whole, from plain JSON to plain JSON; that is what the words mean. With a
memory (`carried`) the same readers and writers are asked for what it does not know alone, and what it does know stands in their places:
turns as they were read then, and the JSON that they became. So nothing here may hang on anything but one message, or the neighbours that
become one turn. What hangs on more is done each time (where the system stands), or kept for the beginning of a conversation as a whole (ids
and names).

Fails closed: what cannot be read is `Untranslatable`. Half a surrogate, which one encoder cannot write, raises `UnicodeEncodeError`; the
request is then written whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec

from proxy.wire import jsonio
from proxy.wire.call import Call, Span
from proxy.wire.translate.calls import Tying, tie, tied
from proxy.wire.translate.carried import Beginning, Carried, Known, Source, V
from proxy.wire.translate.given import joined, neighbours, objects
from proxy.wire.translate.hub import (
    PART,
    Asked,
    Image,
    Offered,
    Piece,
    Role,
    Text,
    Thought,
    Tool,
    ToolOutput,
    ToolUse,
    Turn,
    Untranslatable,
    note,
)

ReadTurn = Callable[[Asked, dict[str, Any], str], Turn]
"""Reads one message that stands at a place."""
ReadPrompt = Callable[[Asked, Any], Turn]
ReadTools = Callable[[Asked, object], list[Tool]]
WriteTurn = Callable[[Asked, Turn], list[dict[str, Any]]]
"""Writes one turn that says something; never nothing."""
WriteTool = Callable[[Asked, Tool], dict[str, Any]]
UNREADABLE = "the body is nested too deep, or holds a number that nobody can"
_SAYS: Final[dict[Role, set[type]]] = {
    "system": {Text},
    "user": {Text, Image, ToolOutput},
    "assistant": {Text, Thought, ToolUse},
}
"""Role to what it can say."""


def parsed(raw: bytes) -> Any:
    """Return JSON. A plain parser is enough, and several times faster than a strict one.

    The codec has proved the top level and every message unambiguous, and the target gets what we write from this one reading: nobody
    else reads the client's own bytes.

    Raises:
        Untranslatable: nobody can read it.
    """
    value = jsonio.parsed(raw)
    if value is None and raw != b"null":
        raise Untranslatable(UNREADABLE)
    return value


class Conversation:
    """The messages of a call, in the place of their JSON.

    Args:
        carried: what is known.
        dialect: the client's.
        call: what it asked.
        span: where in its body the array of messages stands.
    """

    __slots__ = ("_call", "_carried", "_dialect", "_raws", "_span")

    def __init__(self, carried: Carried, dialect: str, call: Call, span: Span) -> None:
        self._carried, self._dialect, self._call, self._span = carried, dialect, call, span
        self._raws: Sequence[bytes] = call.latest

    def turns(self, asked: Asked, place: str, read: ReadTurn, ties: Tying | None) -> list[Turn]:
        """See `turns_of`."""
        messages, carried = self._call.messages, self._carried
        begun = carried.beginning(self._dialect, messages, ties)
        count, found, dropped, ties = begun.count, begun.found.copy(), begun.dropped.copy(), begun.ties and begun.ties.copy()
        last, loose = len(messages) - 1, begun.loose
        for i, known in enumerate(carried.find(messages[count:], self._dialect), count):
            if i == last > count:
                ahead = Beginning(messages[:last], last, found.copy(), dropped.copy(), ties and ties.copy(), loose)
                carried.begin(self._dialect, ahead, begun)
            if known is None:
                known = self._read(i, place, read)
                loose += 0 if carried.keep(self._dialect, known) else known.letters
            note(known.dropped, dropped)
            turn: Turn = known.value
            found.append(turn if ties is None or not turn.ties else tie(turn, ties))
        note(dropped, asked.dropped)
        return found

    def _read(self, i: int, place: str, read: ReadTurn) -> Known[Turn]:
        raw, apart = self._raw(i), Asked(self._call.model)
        value = parsed(raw)
        if not isinstance(value, dict):
            raise Untranslatable(f"{place}: not a list of objects")
        turn = _placed(apart, read(apart, value, f"{place}/{i}"))
        return Known(self._call.messages[i], b"", turn, tuple(apart.dropped), 2 * len(raw))

    def _raw(self, i: int) -> bytes:
        """Return the bytes of message `i`. The codec has split the array from the first one on that it did not know."""
        behind = len(self._call.messages) - i
        if behind > len(self._raws):
            start, end = self._span
            self._raws = jsonio.elements(memoryview(self._call.body)[start:end], self._dialect, "")
        return self._raws[-behind]


class Apart:
    """A member of a call that says something by itself, its tools or its system prompt, in the place of its JSON.

    Args:
        carried: what is known.
        kind: what it is read as.
        call: see `Conversation`.
        source: what the codec made of it.
        span: where in the body it stands.
    """

    __slots__ = ("_call", "_carried", "_kind", "_source", "_span")

    def __init__(self, carried: Carried, kind: str, call: Call, source: Source, span: Span) -> None:
        self._carried, self._kind, self._call, self._source, self._span = carried, kind, call, source, span

    def value(self, asked: Asked, read: Callable[[Asked, Any], V]) -> V:
        """Return what it says, by `read` where that is not known. Raises Untranslatable."""
        body, (start, end) = self._call.body, self._span
        [known] = self._carried.find([self._source], self._kind)
        if known is None or len(known.raw) != end - start or not body.startswith(known.raw, start):
            raw, apart = body[start:end], Asked(self._call.model)
            known = Known(self._source, raw, read(apart, parsed(raw)), tuple(apart.dropped), 4 * len(raw))
            self._carried.keep(self._kind, known)
        note(known.dropped, asked.dropped)
        found: V = known.value
        return found


def turns_of(asked: Asked, value: object, place: str, read: ReadTurn, ties: Tying | None = None) -> list[Turn]:
    """Return the messages that stand at `place` as turns.

    Args:
        asked: takes what is left out.
        value: a list of objects, or a `Conversation`.
        place: of the list.
        read: reads one of them, from nothing but itself.
        ties: gives calls and outputs their ids, where the dialect can do without.

    Raises:
        Untranslatable: one of them cannot be read, or says what its role cannot.
    """
    if isinstance(value, Conversation):
        return value.turns(asked, place, read, ties)
    return tied([_placed(asked, read(asked, message, f"{place}/{i}")) for i, message in enumerate(objects(value, place))], ties)


def prompt_of(asked: Asked, value: object, read: ReadPrompt) -> Turn:
    """Return the system prompt that `value` is: JSON, or an `Apart`. Raises Untranslatable."""
    return value.value(asked, read) if isinstance(value, Apart) else read(asked, value)


def tools_of(asked: Asked, value: object, read: ReadTools) -> list[Tool]:
    """Return the tools that `value` is: JSON, or an `Apart`. The list is not to be changed. Raises Untranslatable."""
    if not isinstance(value, Apart):
        return read(asked, value)
    asked.offered = value.value(asked, lambda apart, tools: Offered(read(apart, tools)))
    return asked.offered.tools


def _placed(asked: Asked, turn: Turn) -> Turn:
    """Refuse a part in a turn of somebody who cannot say it, as a call of the user's: writers know no place for it, so it would be lost.
    A turn of nothing but reasoning is none to them either, and noted."""
    says = _SAYS[turn.role]
    if not says.issuperset(map(type, turn.parts)):
        odd = next(part for part in turn.parts if type(part) not in says)
        raise Untranslatable(f"a {type(odd).__name__} in a turn of the {turn.role}'s")
    if turn.silent and turn.parts:
        asked.drop_thoughts()
    return turn


def told(asked: Asked, turns: list[Turn], target: str, write: WriteTurn, ties: Tying | None = None) -> list[Any]:
    """Return what `turns` become, neighbours of one role as one turn; the JSON of each thing as it is, or written already.

    What is kept of a beginning ends before the last group but one: the last one may grow, and mostly is new.

    Args:
        asked: takes what is left out.
        turns: in order.
        target: two writings of different `write`, or of one that heeds more of `asked`, need two names.
        write: writes one turn, from nothing but itself and its target.
        ties: gives outputs the names of their calls, where the target wants them.

    Raises:
        Untranslatable: there are no words for something.
    """
    carried = asked.carried
    if carried is None:
        return [item for _, first, rest in neighbours(tied(turns, ties)) for item in write(asked, joined(first, rest))]
    begun = carried.beginning(target, turns, ties)
    found, dropped, loose, ahead = begun.found.copy(), begun.dropped.copy(), begun.loose, None
    groups = neighbours(tied(turns[begun.count :], begun.ties and begun.ties.copy()))
    end = groups[-2][0] if len(groups) > 1 else 0
    for place, first, rest in groups:
        if place == end > 0:
            ahead = _ahead(begun, turns, place, (found.copy(), dropped.copy(), loose))
        piece = first.pieces.get(target)
        if piece is None or piece.rest != rest:
            apart = Asked(asked.model)
            piece = _piece(rest, write(apart, joined(first, rest)), apart)
            if carried.grow(piece.size):
                first.pieces[target] = piece
            else:
                loose += piece.size
        note(piece.dropped, dropped)
        found += piece.items
    if ahead is not None:
        carried.begin(target, ahead, begun)
    note(dropped, asked.dropped)
    return found


def _ahead(begun: Beginning, turns: list[Turn], more: int, said: tuple[list[Any], list[str], int]) -> Beginning:
    """Return what became of `more` turns than of those that `begun` is of."""
    count = begun.count + more
    ties = begun.ties and begun.ties.copy()
    tied(turns[begun.count : count], ties)
    return Beginning(turns[: count + 1], count, said[0], said[1], ties, said[2])


def told_tools(asked: Asked, target: str, write: WriteTool) -> Sequence[Any]:
    """Return what the tools become: see `told`."""
    offered = asked.offered
    if offered is None or asked.carried is None or asked.tools is not offered.tools:
        return [write(asked, tool) for tool in asked.tools]
    piece = offered.pieces.get(target)
    if piece is None:
        apart = Asked(asked.model)
        piece = _piece((), [write(apart, tool) for tool in asked.tools], apart)
        if asked.carried.grow(piece.size):
            offered.pieces[target] = piece
    note(piece.dropped, asked.dropped)
    return piece.items


def _piece(rest: Sequence[Turn], items: Iterable[dict[str, Any]], apart: Asked) -> Piece:
    written = tuple([msgspec.Raw(msgspec.json.encode(item)) for item in items])
    size = sum(map(len, written)) + PART * (1 + len(written) + len(rest))  # `rest` is kept alive, whatever becomes of what it was read from
    return Piece(rest, written, tuple(apart.dropped), size)
