"""Server-sent events without decoding them: cut a byte stream into whole events, and read the data of one.

Bytes are sacred: the events and the rest, joined, are the input. Lines may end in LF, CRLF or CR, as the standard has it, and mixes of
them. What a server sends beside data (comments, ids, unknown fields, extra blank lines) stays in the event that it precedes or makes an
event of its own. An event that grows over the bound is a fault of the upstream and raises.

Source: WHATWG HTML, 9.2 "Server-sent events", parsing an event stream.
"""

from __future__ import annotations

import re

from proxy.wire.call import WireError

_blank_line = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
BOM = b"\xef\xbb\xbf"


class Splitter:
    """Cuts one stream into events, across any chunk boundary. Never holds back a complete event.

    Args:
        max_event: bytes that one unfinished event may have.
    """

    __slots__ = ("_held", "_max", "_seen")

    def __init__(self, max_event: int = 16 << 20) -> None:
        self._max = max_event
        self._held = bytearray()
        self._seen = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the events that `chunk` completes, each with its terminator.

        Raises:
            WireError: one event is over the bound.
        """
        if self._held or b"\r" in chunk:
            return self._slow(chunk)
        parts = chunk.split(b"\n\n")
        rest = parts.pop()
        if rest:
            self._hold(rest)
        return [part + b"\n\n" for part in parts]

    def _slow(self, chunk: bytes) -> list[bytes]:
        held = self._held
        held += chunk
        events: list[bytes] = []
        start = 0
        match = _blank_line.search(held, self._seen)
        while match:
            end = match.end()
            events.append(bytes(held[start:end]))
            start = end
            match = _blank_line.search(held, end)
        del held[:start]
        self._hold(b"")
        return events

    def _hold(self, rest: bytes) -> None:
        self._held += rest
        if len(self._held) > self._max:
            raise WireError("sse", "", f"one event is over {self._max} bytes")
        self._seen = max(0, len(self._held) - 3)

    def rest(self) -> bytes:
        """Return the bytes of the unfinished event at the end, once; usually none."""
        held = bytes(self._held)
        self._held.clear()
        self._seen = 0
        return held


def data_of(raw: bytes) -> bytes:
    """Return the data of one event: its data lines joined by LF, or nothing when it has none."""
    if raw.startswith(b"data: ") and raw.find(b"\n") == len(raw) - 2 and b"\r" not in raw:
        return raw[6:-2]
    lines = []
    for line in raw.removeprefix(BOM).splitlines():
        if line.startswith(b"data:"):
            lines.append(line[6:] if line.startswith(b" ", 5) else line[5:])
    return b"\n".join(lines)
