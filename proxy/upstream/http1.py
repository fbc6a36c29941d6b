"""Reading one HTTP/1.1 response out of bytes that arrive in any pieces. Pure: it knows no sockets and no time.

It decides where a head and a body end, strictly. Where two readers could see two different answers (a length beside a transfer coding,
two lengths, folded headers, a bare line feed) it refuses with `Malformed` instead of choosing. Nothing here decodes a content encoding
(`proxy.decoding`) or waits (`connection`).

Source: RFC 9112 §2.2, §4 to §6, §9.3; RFC 9110 §15.2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from multidict import CIMultiDict

from proxy.http1 import LINES, Chunks, Malformed, length_of, no_bare_ends

MAX_HEAD = 65_536
"""Bytes of status lines and headers, those of interim answers counted in."""
MAX_HEADERS = 256

_HEAD = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: [^\x00-\x08\x0a-\x1f\x7f]*+)?+\r\n" + LINES)
_START = b"HTTP/1."
_IN_HEAD, _IN_LENGTH, _IN_CHUNKS, _IN_REST = range(4)


@dataclass(frozen=True, slots=True)
class Head:
    """Status and headers. `keep_alive` is the upstream's word; whether the connection can be used again, the parser says."""

    status: int
    headers: CIMultiDict[str]
    keep_alive: bool


class ResponseParser:
    """Reads one response. Feed it until `done`; what there is of the body collects in `pieces`, which the reader empties.

    Args:
        bodiless: the request was HEAD.

    Attributes:
        head: set once the final head is complete.
        done: the response is complete.
        reusable: the connection may carry another request: only true when done, and never when more bytes than the response came.
    """

    __slots__ = ("_bodiless", "_chunks", "_held", "_left", "_seen", "_state", "done", "head", "pieces", "reusable")

    def __init__(self, bodiless: bool = False) -> None:
        self.head: Head | None = None
        self.pieces: list[bytes] = []
        self.done = self.reusable = False
        self._bodiless = bodiless
        self._held = bytearray()
        self._chunks: Chunks
        self._left = self._seen = 0
        self._state = _IN_HEAD

    def feed(self, data: bytes) -> None:
        """Take the next bytes. Raises Malformed; what was read before that stays valid."""
        state = self._state
        if self.done:
            self.reusable = self.reusable and not data
        elif state == _IN_CHUNKS:
            chunks = self._chunks
            chunks.feed(data, self.pieces)
            if chunks.done:
                self.done = True
                if chunks.rest:
                    self.reusable = False
        elif state == _IN_HEAD:
            self._read_head(data)
        elif state == _IN_LENGTH:
            self._read_length(data)
        elif data:
            self.pieces.append(data)

    def eof(self) -> bool:
        """The upstream has said its last; return whether the response is whole."""
        self.done = self.done or self._state == _IN_REST
        return self.done

    # --- the head --------------------------------------------------------------------------------------------------------------

    def _read_head(self, data: bytes) -> None:
        while True:
            held = len(self._held)
            if held:
                self._held += data
                end = self._held.find(b"\r\n\r\n", max(0, held - 3))
            else:
                end = data.find(b"\r\n\r\n")
            if end < 0:
                self._hold_head(data, held)
                return
            if held:
                data = bytes(self._held)
                self._held.clear()
            end += 4
            self._seen += end
            if self._seen > MAX_HEAD:
                raise Malformed("the head is over 64 KiB")
            head = _parse_head(data, end)
            data = data[end:]
            if head.status >= 200:
                break
            if head.status == 101:
                raise Malformed("the connection was switched to another protocol")
        self._begin_body(head)
        self.feed(data)

    def _hold_head(self, data: bytes, held: int) -> None:
        if not held:
            self._held += data
        if not (self._held.startswith(_START) if len(self._held) >= 7 else _START.startswith(self._held)):
            raise Malformed("no HTTP/1 status line")
        if self._seen + len(self._held) > MAX_HEAD:
            raise Malformed("the head is over 64 KiB")
        no_bare_ends(self._held, held)

    def _begin_body(self, head: Head) -> None:
        """Find out how the body is framed and set everything at once, so that a conflict leaves no head behind."""
        headers = head.headers
        codings, lengths = headers.getall("transfer-encoding", ()), headers.getall("content-length", ())
        if len(lengths) > 1:
            raise Malformed("no single length of the body")
        length = length_of(lengths[0]) if lengths else -1
        if codings and (lengths or [c.lower() for c in codings] != ["chunked"]):
            raise Malformed("a length beside a transfer coding" if lengths else "an unknown transfer coding")
        self.reusable = head.keep_alive
        if self._bodiless or head.status in (204, 304):
            self.done = True
            self.reusable = head.keep_alive and not (head.status == 204 and (codings or length > 0))
        elif codings:
            self._chunks, self._state = Chunks(loose=True), _IN_CHUNKS
        elif length >= 0:
            self._left, self._state, self.done = length, _IN_LENGTH, not length
        else:
            self._state, self.reusable = _IN_REST, False
        self.head = head

    # --- the body --------------------------------------------------------------------------------------------------------------

    def _read_length(self, data: bytes) -> None:
        left = self._left - len(data)
        if left < 0:
            data, left, self.reusable = data[:left], 0, False
        if data:
            self.pieces.append(data)
        self._left, self.done = left, not left


def _parse_head(data: bytes, end: int) -> Head:
    """Return the head that ends at `end`. Values that are not UTF-8 get replacement characters. Raises Malformed."""
    found = _HEAD.fullmatch(data, 0, end)
    if found is None:
        raise Malformed("no HTTP/1 head")
    lines = found[3].decode("utf-8", "replace").split("\r\n")
    lines.pop()
    if len(lines) > MAX_HEADERS:
        raise Malformed(f"more than {MAX_HEADERS} headers")
    headers: CIMultiDict[str] = CIMultiDict([(name, value.strip(" \t")) for name, _, value in [line.partition(":") for line in lines]])
    options = headers.getall("connection", ())
    if options:
        options = [option.strip(" \t").lower() for line in options for option in line.split(",")]
    old = found[1] == b"0"
    if old and "transfer-encoding" in headers:
        raise Malformed("a transfer coding in HTTP/1.0")
    return Head(int(found[2]), headers, "keep-alive" in options if old else "close" not in options)
