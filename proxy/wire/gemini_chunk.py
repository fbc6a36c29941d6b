"""What is read of the replies of Gemini, a whole one or one of a stream, and which of a stream's are like one another.

Source: Gemini API reference, "GenerateContentResponse"; types of the `google-genai` Python SDK 3.4 (2026-11).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from proxy.wire import jsonio
from proxy.wire.stencil import PROBE, Stencil, stencil_of

_NOTHING = msgspec.Raw(b"")


class Function(msgspec.Struct, rename="camel"):
    """A call of a function, or of a tool of Google's."""

    id: str | None = None
    name: str | None = None
    tool_type: str | None = None
    args: msgspec.Raw = _NOTHING
    partial_args: msgspec.Raw = _NOTHING


class Blob(msgspec.Struct, rename="camel"):
    """A file in base64."""

    mime_type: str = ""
    data: str = ""


class Words(msgspec.Struct):
    """Code that ran at Google's, or what came of it."""

    code: str | None = None
    output: str | None = None


class Part(msgspec.Struct, rename="camel"):
    """A part of a content, of one kind."""

    text: str | None = None
    function_call: Function | None = None
    tool_call: Function | None = None
    inline_data: Blob | None = None
    executable_code: Words | None = None
    code_execution_result: Words | None = None
    thought_signature: str | None = None


class Content(msgspec.Struct):
    """What a candidate says; parts are read one by one, so that one that is odd hides no other."""

    parts: list[msgspec.Raw] | None = None


class Candidate(msgspec.Struct, rename="camel"):
    """One answer, or what is new of it."""

    index: int | None = None
    content: Content | None = None
    finish_reason: str | int | None = None


class Feedback(msgspec.Struct, rename="camel"):
    """Why nothing is answered."""

    block_reason: str | int | None = None


class Reply(msgspec.Struct, rename="camel"):
    """A reply, or one of a stream."""

    candidates: list[Candidate] | None = None
    prompt_feedback: Feedback | None = None
    usage_metadata: msgspec.Raw = _NOTHING
    model_version: Any = None
    response_id: Any = None
    error: msgspec.Raw = _NOTHING


class Loose(msgspec.Struct, rename="camel"):
    """What is read of a reply whose other parts are not as expected."""

    model_version: Any = None
    usage_metadata: msgspec.Raw = _NOTHING


replies = msgspec.json.Decoder(Reply)
parts = msgspec.json.Decoder(Part)
looses = msgspec.json.Decoder(Loose)
_COUNTS = (b'"candidatesTokenCount":', b'"thoughtsTokenCount":', b'"totalTokenCount":')


def stencil(raw: bytes, text: str, reply: Reply, data: Callable[[bytes], bytes]) -> Stencil | None:
    """Return the stencil of the event `raw`, which was read as `reply` and says `text`; None where it says more than one candidate's words.

    What is reported of tokens may change. `data` finds the JSON of an event. `reply` is used up.
    """
    if not _words(reply, text):
        return None
    found = stencil_of(raw, text, (b'"text":',), _COUNTS)
    if found is None:
        return None
    other = jsonio.decoded(replies, data(found.probe()))
    if not _words(other, PROBE):
        return None
    for one in (reply, other):
        one.usage_metadata = _NOTHING
        for candidate in one.candidates or ():
            candidate.content = None
    return found if reply == other else None


def _words(reply: Reply, text: str) -> bool:
    """Tell whether a reply says `text` and nothing else, with more to come."""
    candidates = reply.candidates or []
    said = (candidates[0].content and candidates[0].content.parts) or () if len(candidates) == 1 else ()
    return len(said) == 1 and not candidates[0].finish_reason and parts.decode(said[0]) == Part(text=text)
