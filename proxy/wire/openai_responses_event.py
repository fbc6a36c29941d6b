"""What is read of the replies of OpenAI Responses: a response, and an event of its stream.

No type is wrong here: what a client takes as it stands must not hide what is beside it.

Source: OpenAI API reference, "The Response object" and "Streaming events" (2026-11).
"""

from __future__ import annotations

from typing import Any

import msgspec

from proxy.wire import jsonio
from proxy.wire.openai_reply import BROKEN
from proxy.wire.sse import data_of
from proxy.wire.stencil import PROBE, Stencil, stencil_of

_NOTHING = msgspec.Raw(b"")


class Response(msgspec.Struct):
    """What is read of a response. No type is wrong here: what a client takes as it stands must not hide what is beside it."""

    id: Any = None
    model: Any = None
    status: Any = None
    output: msgspec.Raw = _NOTHING
    usage: msgspec.Raw = _NOTHING
    error: msgspec.Raw = _NOTHING
    incomplete_details: Any = None


class ReplyEvent(msgspec.Struct):
    """What is read of an event, as `Response`."""

    type: Any = None
    output_index: Any = None
    content_index: Any = None
    summary_index: Any = None
    command_index: Any = None
    sequence_number: Any = None
    delta: Any = None
    text: Any = None
    refusal: Any = None
    arguments: Any = None
    input: Any = None
    code: Any = None
    transcript: Any = None
    part: Any = None
    item: msgspec.Raw = _NOTHING
    response: msgspec.Raw = _NOTHING


_events = msgspec.json.Decoder(ReplyEvent)
_responses = msgspec.json.Decoder(Response)


def response_of(raw: bytes) -> Response | None:
    """Return the response that `raw` is, None when it is no JSON object."""
    try:
        return jsonio.decoded(_responses, raw)
    except BROKEN:
        return None


def event_of(data: bytes) -> ReplyEvent | None:
    """Return the event that `data` is, None when it is no JSON object that names its type."""
    try:
        event = jsonio.decoded(_events, data)
    except BROKEN:
        return None
    return event if isinstance(event.type, str) else None


def stencil(raw: bytes, text: str, event: ReplyEvent) -> Stencil | None:
    """Return the stencil of a delta that was read as `event` and says `text`; its number and padding may change. `event` is used up."""
    found = stencil_of(raw, text, (b'"delta":',), (b'"sequence_number":',), (b'"obfuscation":',))
    other = None if found is None else event_of(data_of(found.probe()))
    if other is None:
        return None
    event.delta, event.sequence_number = PROBE, other.sequence_number
    return found if other == event else None
