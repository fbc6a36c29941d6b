"""Reading the marks of a record: how long an exchange took, and whose time that was.

Decides only what counts as ours. The wait for the client's request body is the client's, the span from sending the request to the last
byte of the reply is the provider's, the rest is overhead. What we do to a stream's events while the provider is still sending hides
inside the provider's time. All durations are nanoseconds; a mark that is missing makes its part zero, or None where zero would lie.
"""

from __future__ import annotations

from proxy.engine.record import Record

Times = tuple[int, int | None, int, int | None]
"""Nanoseconds in all, of the provider, of ours, and to the first byte; see the functions of these names."""


def times(record: Record) -> Times:
    """Return `total_ns`, `upstream_ns`, `overhead_ns` and `ttft_ns`, in one pass."""
    marks = record.marks
    total = marks.get("closed") or max(marks.values(), default=0)
    body, sent = marks.get("body", 0), marks.get("sent")
    if sent is None:
        return total, None, max(0, total - body), None
    end, ttft = marks.get("last_byte"), None
    if record.stream and (first := marks.get("first_byte")) is not None:
        ttft = max(0, first - sent)
    if end is None:
        end = (0 if record.stream else marks.get("first_byte")) or total
    upstream = end - sent if end > sent else 0
    ours = total - body - upstream
    return total, upstream, ours if ours > 0 else 0, ttft


def total_ns(record: Record) -> int:
    """From the request's arrival to its close."""
    marks = record.marks
    return marks.get("closed") or max(marks.values(), default=0)


def upstream_ns(record: Record) -> int | None:
    """From sending the request upstream to the last byte of its reply, or to the close when it broke off; None when nothing was sent.

    A buffered reply is whole when its first mark is set.
    """
    return times(record)[1]


def overhead_ns(record: Record) -> int:
    """What the proxy itself added: the total without the wait for the client's body and without the provider's time."""
    return times(record)[2]


def ttft_ns(record: Record) -> int | None:
    """From sending the request upstream to the first byte of a streamed reply; None for buffered replies and where none came."""
    return times(record)[3]
