"""Writing the head of a reply. What a client wrote (a model's name is its text) never becomes a line of its own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from email.utils import formatdate
from http import HTTPStatus

_STATUS = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n" for s in HTTPStatus}


class _Ends:
    """The lines that every head ends with, made anew once a second: of connections that go on, and that do not."""

    __slots__ = ("closed", "kept", "second")

    def __init__(self) -> None:
        self.second = -1
        self.kept = self.closed = ""

    def renew(self, second: int) -> None:
        """Have the lines say this second."""
        start = f"date: {formatdate(second, usegmt=True)}\r\nserver: fleetgate\r\nconnection: "
        self.second, self.kept, self.closed = second, f"{start}keep-alive\r\n", f"{start}close\r\n"


_ends = _Ends()


def head_of(status: int, headers: Sequence[tuple[str, str]], framing: str, kept: bool) -> bytes:
    """Return the head of a reply.

    Args:
        framing: the line that says how the body ends, without its own end; empty where the connection's end does.
        kept: whether the connection goes on.
    """
    second = int(time.time())
    if second != _ends.second:
        _ends.renew(second)
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
    count = len(headers)
    if lines.count("\n") != count or lines.count("\r") != count or "\0" in lines:
        lines = "".join([f"{name}: {''.join([c if c.isprintable() else '?' for c in value])}\r\n" for name, value in headers])
    start = _STATUS.get(status) or f"HTTP/1.1 {status} \r\n"
    end = _ends.kept if kept else _ends.closed
    return (f"{start}{lines}{end}{framing}\r\n\r\n" if framing else f"{start}{lines}{end}\r\n").encode("utf-8", "replace")
