"""Newline-delimited JSON: cut a byte stream into lines without touching a byte.

As with `wire.sse`, the lines and the rest, joined, are the input. A line ends with LF; a CR before it, and blank lines that a server may
send to keep a connection open, stay in it: JSON takes the one for space, and the other is a line of its own that says nothing. A line
that grows over the bound is a fault of the upstream and raises.

Source: the NDJSON specification 1.0, section 3.1: lines end in LF, and a parser may silently pass over empty ones.
"""

from __future__ import annotations

from proxy.wire.call import WireError


class Lines:
    """Cuts one stream into lines, across any chunk boundary. Never holds back a complete line.

    Args:
        max_line: bytes that one unfinished line may have.
    """

    __slots__ = ("_held", "_max")

    def __init__(self, max_line: int = 16 << 20) -> None:
        self._max = max_line
        self._held = bytearray()

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the lines that `chunk` completes, each with its LF.

        Raises:
            WireError: one line is over the bound.
        """
        held = self._held
        if held:
            end = chunk.find(b"\n") + 1
            if not end:
                self._hold(chunk)
                return []
            first = bytes(held) + chunk[:end]
            held.clear()
            return [first, *self._cut(chunk[end:])]
        return self._cut(chunk)

    def _cut(self, chunk: bytes) -> list[bytes]:
        parts = chunk.split(b"\n")
        rest = parts.pop()
        if rest:
            self._hold(rest)
        return [part + b"\n" for part in parts]

    def _hold(self, rest: bytes) -> None:
        self._held += rest
        if len(self._held) > self._max:
            raise WireError("ndjson", "", f"one line is over {self._max} bytes")

    def rest(self) -> bytes:
        """Return the bytes of the unfinished line at the end, once; usually none."""
        held = bytes(self._held)
        self._held.clear()
        return held
