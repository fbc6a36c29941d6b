"""Events that say the same but for a few words: what one of them was read as, the next was too, and needs no parser.

A stream of words is one event over and over in which a text changes, and with some providers a counter, a time or padding. So of an event
that was read as more of a text a stencil is cut: its bytes with holes where those stand. An event that fills the holes with plain words,
figures and letters and is the same everywhere else is the same JSON with other leaves, so it reads the same but for them.

Words with escapes in them (a line end, a quote) are decoded, by the parser that reads whole events.

It decides only that; what the first event means, its meter has read. Whoever cuts one proves with `probe` that the hole is the text that
was read: the probe's words must come out where the event's did. Fails closed: an event that does not fit, or whose words are not all of one
JSON string, is read in full. A stencil is not used across another event, which may have changed what is meant.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

PROBE = "§probe§"
"""The words of a probe: none that an event which was read is likely to have."""
MAX_DIGITS = 12
MAX_EVENT = 8192
_TEXT, _DIGITS, _LETTERS = range(3)
_FILLED = {_TEXT: PROBE.encode(), _DIGITS: b"0", _LETTERS: b"x"}
_SAFE = bytes(range(0x30, 0x3A)) + bytes(range(0x41, 0x5B)) + bytes(range(0x61, 0x7B)) + b" +-./:=_"
_string_decoder = msgspec.json.Decoder(str)
_inside = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
"""What stands between the quotes of a JSON string. Linear, however many escapes there are."""
Hole = tuple[int, int, int]
"""Where it starts and ends, and what fills it."""


class Stencil:
    """See the module. Made by `stencil_of`.

    Args:
        raw: the event.
        holes: in it, in order; one is the text's.
    """

    __slots__ = ("_behind", "_head", "_more", "_parts", "_size", "_tail")

    def __init__(self, raw: bytes, holes: Sequence[Hole]) -> None:
        at, parts = 0, list[tuple[bytes, bytes, int]]()
        for start, end, kind in holes:
            parts.append((raw[at:start], raw[end : end + 1], kind))
            at = end
        self._head, self._parts, self._tail = parts[0][0], tuple(parts), raw[at:]
        self._more = len(parts) > 1
        self._size, self._behind = len(self._head), -len(self._tail)

    def text(self, raw: bytes) -> str | None:
        """Return the words in `raw`, None where it is another event or has none."""
        if self._more:
            words = self._words(raw)
        else:
            words = raw[self._size : self._behind]
            if self._head + words + self._tail != raw:
                return None
        try:
            text = words.decode()
        except UnicodeDecodeError:
            return None
        if text.isprintable() and '"' not in text and "\\" not in text:
            return text or None
        return _read(words) or None

    def _words(self, raw: bytes) -> bytes:
        """Return what fills the text's hole, nothing where another one is not filled as it must be, or something else is another."""
        at, words = 0, b""
        for literal, stop, kind in self._parts:
            start = at + len(literal)
            end = raw.find(stop, start)
            if raw[at:start] != literal or end < 0:
                return b""
            value = raw[start:end]
            if kind == _TEXT:
                if value[-1:] == b"\\":  # the quote may be one of the words'
                    end = _inside.match(raw, start).end()  # type: ignore[union-attr]  # it matches nothing too
                    value = raw[start:end]
                words = value
            elif kind == _DIGITS:
                if not value.isdigit() or len(value) > MAX_DIGITS or (value[0] == 48 and len(value) > 1):
                    return b""
            elif value.translate(None, _SAFE):
                return b""
            at = end
        return words if raw[at:] == self._tail else b""

    def probe(self) -> bytes:
        """Return the event with `PROBE` for its words, and other figures and letters in the other holes."""
        return b"".join([part for literal, _, kind in self._parts for part in (literal, _FILLED[kind])]) + self._tail


def stencil_of(
    raw: bytes, text: str, names: Sequence[bytes], digits: Sequence[bytes] = (), letters: Sequence[bytes] = ()
) -> Stencil | None:
    """Return the stencil of an event, None where it cannot be told where its text stands. Holes end at a quote, so none is in another.

    Args:
        raw: the event, with its terminator.
        text: as its meter read it.
        names: the members that may hold it, as `"name":`.
        digits: members whose number may change from event to event. letters: those whose text may.
    """
    if len(raw) > MAX_EVENT:
        return None
    found = [hole for name in names if (hole := _string(raw, name, _TEXT)) and _read(raw[hole[0] : hole[1]]) == text]
    holes = found[:1] + [hole for name in digits if (hole := _number(raw, name))]
    holes = sorted(holes + [hole for name in letters if (hole := _string(raw, name, _LETTERS))])
    if not found:
        return None
    made = Stencil(raw, holes)
    return made if made.text(raw) == text else None


def _string(raw: bytes, name: bytes, kind: int) -> Hole | None:
    """Return where the text of the only member `name` stands, None where it is none."""
    at = _value(raw, name)
    if at < 0 or raw[at : at + 1] != b'"':
        return None
    return at + 1, _inside.match(raw, at + 1).end(), kind  # type: ignore[union-attr]  # it matches nothing too


def _read(words: bytes) -> str | None:
    """Return what is between the quotes of a JSON string, None where that is not all of one."""
    try:
        return _string_decoder.decode(b'"%b"' % words)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _number(raw: bytes, name: bytes) -> Hole | None:
    at = end = _value(raw, name)
    while at >= 0 and raw[end : end + 1].isdigit():
        end += 1
    return (at, end, _DIGITS) if end > at >= 0 else None


def _value(raw: bytes, name: bytes) -> int:
    at = raw.find(name)
    if at < 0 or raw.find(name, at + 1) >= 0:
        return -1
    at += len(name)
    return at + 1 if raw[at : at + 1] == b" " else at
