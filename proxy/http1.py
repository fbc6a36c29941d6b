"""What requests and responses of HTTP/1.1 have in common: fields, lengths and chunked bodies. Pure: it knows no sockets and no time.

Whatever two readers could read in two ways (a bare line feed, a folded field, a length that is none, a chunk longer than it said) is
`Malformed`, never a choice. Trailers are checked and dropped.

Source: RFC 9112 §2.2, §5, §6 and §7; RFC 9110 §5.5, §8.6.
"""

from __future__ import annotations

import re

MAX_TRAILERS = 65_536
"""Bytes."""
MAX_SIZE_LINE = 4096
MAX_LENGTH_DIGITS = 15

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
FIELD = TOKEN + rb"++:[^\x00-\x08\x0a-\x1f\x7f]*+"
"""A line of a head or a trailer, without its end."""
LINES = rb"((?:" + FIELD + rb"\r\n)*+)\r\n"
"""All lines and the empty one behind them."""
_TRAILERS = re.compile(LINES)
_DIGITS = rb"([0-9A-Fa-f]{1," + str(MAX_LENGTH_DIGITS).encode() + rb"}+)"
_SIZE = re.compile(_DIGITS + rb"(?:;" + TOKEN + rb"++(?:=(?:" + TOKEN + rb"++|\"[\x20\x21\x23-\x5b\x5d-\x7e]*+\"))?+)*+\r\n")
_LOOSE = re.compile(_DIGITS + rb"[ \t]*+(?:;[^\x00\r\n]*+)?+\r\n")
_PLAIN = {b"%x" % size: size for size in range(1024)}
"""Sizes of few bytes as most servers write them."""
_BARE = re.compile(rb"(?<!\r)\n|\r(?=[^\n])")


class Malformed(Exception):
    """These bytes are no HTTP message that everybody would read in the same way."""


class Chunks:
    """Reads one body in chunks.

    Args:
        loose: sizes may have white space and extensions of any form behind them, as some servers write them.

    Attributes:
        done: the body and its trailers are over.
        rest: what came behind them.
    """

    __slots__ = ("_held", "_in_trailers", "_left", "_size", "done", "rest")

    def __init__(self, loose: bool = False) -> None:
        self._size = _LOOSE if loose else _SIZE
        self.done = self._in_trailers = False
        self.rest = b""
        self._held = bytearray()
        self._left = 0

    def feed(self, data: bytes, into: list[bytes]) -> None:
        """Take the next bytes, until `done`; what they have of the body goes to `into`.

        Raises:
            Malformed: what was read before that stays valid.
        """
        if self._in_trailers:
            self._read_trailers(data)
            return
        if self._held:
            data = bytes(self._held) + data
            self._held.clear()
        at, end = 0, len(data)
        while at < end:
            if not self._left:
                line = data.find(b"\r\n", at, at + 5)
                size = _PLAIN.get(data[at:line]) if line > 0 else None
                if size is None and (found := self._size.match(data, at)) is not None:
                    line, size = found.end() - 2, int(found[1], 16)
                if size is None:
                    self._hold_size(data[at:])
                    return
                at = line + 2
                if not size:
                    self._in_trailers = True
                    self._read_trailers(data[at:])
                    return
                stop = at + size
                if data[stop : stop + 2] == b"\r\n":
                    into.append(data[at:stop])
                    at = stop + 2
                    continue
                self._left = size + 2
            at = self._part(data, at, into)

    def _part(self, data: bytes, at: int, into: list[bytes]) -> int:
        """Take what `data` has of the running chunk (`_left` misses of it, with its line end) from `at` on; return where it stopped."""
        left, end = self._left, len(data)
        stop = at + left
        take = min(stop - 2, end)
        if take > at:
            into.append(data[at:take])
        if stop <= end:
            if data[max(at, stop - 2) : stop] != b"\r\n"[max(0, 2 - left) :]:
                raise Malformed("a chunk is longer than it said")
            self._left = 0
            return stop
        if end == stop - 1 and end > at and left >= 2 and data[end - 1] != 13:
            raise Malformed("a chunk is longer than it said")
        self._left = stop - end
        return end

    def _hold_size(self, rest: bytes) -> None:
        if len(rest) > MAX_SIZE_LINE or b"\n" in rest or rest[:1] not in b"0123456789abcdefABCDEF":
            raise Malformed("no chunk size where one must be")
        self._held += rest

    def _read_trailers(self, data: bytes) -> None:
        held = len(self._held)
        self._held += data
        if self._held.startswith(b"\r\n"):
            end = 2
        else:
            end = self._held.find(b"\r\n\r\n", max(0, held - 3)) + 4
            if end == 3:
                if len(self._held) > MAX_TRAILERS:
                    raise Malformed("the trailers are over 64 KiB")
                no_bare_ends(self._held, held)
                return
        if not _TRAILERS.fullmatch(self._held, 0, end):
            raise Malformed("no trailers where they must be")
        self.done, self.rest = True, bytes(self._held[end:])
        self._held.clear()


def length_of(text: str) -> int:
    """Return the length that a `Content-Length` says. Raises Malformed."""
    if not (text.isascii() and text.isdigit()) or len(text) > MAX_LENGTH_DIGITS:
        raise Malformed("no single length of the body")
    return int(text)


def no_bare_ends(held: bytearray, before: int) -> None:
    """Raise Malformed where a line ends with anything but CR LF; the first `before` bytes were looked at already."""
    if _BARE.search(held, max(0, before - 2)):
        raise Malformed("a line does not end with CR LF")
