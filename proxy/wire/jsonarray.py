"""A stream that is one JSON array: cut it into elements without decoding it.

Bytes are sacred: the events and the rest, joined, are the input. An event ends with the closing bracket of an element and begins with all
that stands before it (the array's own bracket, commas, spaces); the array's closing bracket is an event of its own. Every byte is looked at
once, whatever the chunks are: between strings only quotes and brackets matter, and a string is passed over in one step.

What is not an array, what follows one, and an event that grows over the bound are faults of the upstream and raise.

Source: RFC 8259, sections 5 and 7. Gemini streams this way unless it is asked for server-sent events (`alt=sse`).
"""

from __future__ import annotations

import re

from proxy.wire.call import WireError

_mark = re.compile(rb'["\[\]{}]')
_string = re.compile(rb'(?:[^"\\]++|\\[\x00-\xff])*+')
_space = re.compile(rb"[ \t\r\n]*+")
_OPEN = b"[{"


class Elements:
    """Cuts one stream into elements, across any chunk boundary. Never holds back a complete one.

    Args:
        max_event: bytes that one unfinished element may have.
    """

    __slots__ = ("_depth", "_ended", "_escaped", "_held", "_max", "_quoted")

    def __init__(self, max_event: int = 16 << 20) -> None:
        self._max = max_event
        self._held = bytearray()
        self._depth = 0
        self._quoted = self._escaped = self._ended = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the elements that `chunk` completes, each with what stands before it.

        Raises:
            WireError: it is no array, goes on behind its end, or one element is over the bound.
        """
        events: list[bytes] = []
        start = 0
        position = self._outside(chunk)
        while position < len(chunk):
            if self._quoted:
                position = self._pass_string(chunk, position)
                continue
            found = _mark.search(chunk, position)
            if found is None:
                break
            position = found.end()
            if self._step(chunk[position - 1]):
                events.append(bytes(self._held) + chunk[start:position])
                self._held.clear()
                start = position
                position = self._outside(chunk, position)
        self._held += memoryview(chunk)[start:]
        if len(self._held) > self._max:
            raise WireError("json array", "", f"one element is over {self._max} bytes")
        return events

    def _outside(self, chunk: bytes, position: int = 0) -> int:
        """Return where to read on. Around the array there may be spaces alone."""
        if self._depth:
            return position
        found = _space.match(chunk, position)
        position = found.end() if found else position
        if position < len(chunk) and (self._ended or chunk[position] != _OPEN[0]):
            raise WireError("json array", "", "the stream goes on behind its end" if self._ended else "the stream is not a JSON array")
        return position

    def _pass_string(self, chunk: bytes, position: int) -> int:
        """Return the offset behind the string that `position` is in, or that of the end of the chunk."""
        if self._escaped:
            self._escaped = False
            return position + 1
        found = _string.match(chunk, position)
        end = found.end() if found else position
        if end < len(chunk):
            self._quoted = chunk[end] != 34
            self._escaped = self._quoted  # a backslash that is the chunk's last byte
            end += 1
        return end

    def _step(self, mark: int) -> bool:
        """Take in a quote or bracket that stands outside of strings; return whether an element, or the array, ends with it."""
        if mark == 34:
            self._quoted = True
            return False
        self._depth += 1 if mark in _OPEN else -1
        self._ended = self._depth == 0
        return mark not in _OPEN and self._depth <= 1

    def rest(self) -> bytes:
        """Return the bytes of the unfinished element at the end, once; usually none, or a line end behind the array."""
        held = bytes(self._held)
        self._held.clear()
        return held
