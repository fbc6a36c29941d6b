"""The two ways in which Gemini streams its replies: server-sent events, and one JSON array that grows.

Each says how a stream is cut into events, what JSON stands in one, and how a stream ends that somebody else began: an array must be closed,
with a comma or a bracket before the last element, or its reader gets nothing at all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from proxy.wire.base import Framing
from proxy.wire.jsonarray import Elements
from proxy.wire.sse import Splitter, data_of


@dataclass(frozen=True, slots=True)
class Frame:
    """How a stream carries its replies.

    Attributes:
        framing: makes what cuts it into events.
        data: one event to the JSON in it.
        whole: one reply to a whole stream.
        ending: (reply or nothing, how many went before) to the bytes that end a stream.
        closes: the stream has an ending of its own behind the last reply.
    """

    content_type: str
    framing: Callable[[], Framing]
    data: Callable[[bytes], bytes]
    whole: Callable[[bytes], bytes]
    ending: Callable[[bytes, int], bytes]
    closes: bool = False


def _sse(said: bytes, before: int = 0) -> bytes:
    return b"data: %b\n\n" % said if said else b""


def _ending(said: bytes, before: int) -> bytes:
    return b"%b%b\n]\n" % (b"[" if not before else b"\n,\r\n" if said else b"", said)


SSE = Frame("text/event-stream", Splitter, data_of, _sse, _sse)
ARRAY = Frame("application/json", Elements, lambda raw: raw.lstrip(b"[, \t\r\n"), lambda said: b"[%b\n]\n" % said, _ending, closes=True)
