"""Reading the marks of a record: how long an exchange took, and whose time that was.

Decides only what counts as ours. The wait for the client's request body is the client's, the span from sending the request to the last
byte of the reply is the provider's, the rest is overhead. What we do to a stream's events while the provider is still sending hides
inside the provider's time. All durations are nanoseconds; a mark that is missing makes its part zero, or None where zero would lie.
"""

from __future__ import annotations

from proxy.engine.record import Record


def total_ns(record: Record) -> int:
    """From the request's arrival to its close."""
    marks = record.marks
    return marks.get("closed") or max(marks.values(), default=0)


def upstream_ns(record: Record) -> int | None:
    """From sending the request upstream to the last byte of its reply, or to the close when it broke off; None when nothing was sent.

    A buffered reply is whole when its first mark is set.
    """
    marks = record.marks
    sent = marks.get("sent")
    if sent is None:
        return None
    end = marks.get("last_byte")
    if end is None:
        end = (0 if record.stream else marks.get("first_byte", 0)) or total_ns(record)
    return max(0, end - sent)


def overhead_ns(record: Record) -> int:
    """What the proxy itself added: the total without the wait for the client's body and without the provider's time."""
    return max(0, total_ns(record) - record.marks.get("body", 0) - (upstream_ns(record) or 0))


def ttft_ns(record: Record) -> int | None:
    """From sending the request upstream to the first byte of a streamed reply; None for buffered replies and where none came."""
    marks = record.marks
    if not record.stream or "sent" not in marks or "first_byte" not in marks:
        return None
    return max(0, marks["first_byte"] - marks["sent"])
