"""What is read of the replies of OpenAI Chat Completions: a whole one, and a chunk of its stream, and which chunks are like one another.

Source: OpenAI API reference, "The chat completion object" and "The chat completion chunk object"; types of the Python SDK 3.52 (2026-11).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from proxy.wire import jsonio
from proxy.wire.sse import data_of
from proxy.wire.stencil import PROBE, Stencil, stencil_of

_NOTHING = msgspec.Raw(b"")


class Function(msgspec.Struct):
    """What is called, by a function or a tool of one's own."""

    name: str | None = None
    arguments: str | None = None
    input: str | None = None


class _Call(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: Function | None = None
    custom: Function | None = None


class _Audio(msgspec.Struct):
    transcript: str | None = None


class Output(msgspec.Struct):
    """What one choice says, all of it or what is new."""

    content: str | list[Any] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: Any = None
    tool_calls: list[_Call] | None = None
    function_call: Function | None = None
    audio: _Audio | None = None


class Choice(msgspec.Struct):
    """One answer, whole or as it grows."""

    index: int | None = None
    delta: Output | None = None
    message: Output | None = None
    finish_reason: str | None = None


class Chunk(msgspec.Struct):
    """A reply, or what is new of one."""

    id: Any = None
    created: Any = None
    model: Any = None
    choices: list[Choice] | None = None
    usage: msgspec.Raw = _NOTHING
    error: msgspec.Raw = _NOTHING


chunks = msgspec.json.Decoder(Chunk)
_WORDS = {name: (b'"%b":' % name.encode(),) for name in ("content", "reasoning_content", "reasoning", "arguments")}
_PADDING = (b'"obfuscation":', b'"p":')
"""OpenAI's and Mistral's: as long as makes all events alike in length."""
_COUNTS = (b'"prompt_tokens":', b'"completion_tokens":', b'"total_tokens":', b'"reasoning_tokens":')
"""Tokens so far, which vLLM and others report with each event."""
_TIME = (b'"created":',)


def stencil(raw: bytes, text: str, chunk: Chunk, timed: bool = False) -> Stencil | None:
    """Return the stencil of the event `raw`, which was read as `chunk` and says `text`; None where it says more than words of one choice,
    or arguments of one call.

    The tokens that it reports may change, and where it is `timed` its time, which mostly is that of the reply. `chunk` is used up.
    """
    choices = chunk.choices or ()
    delta = choices[0].delta if len(choices) == 1 and choices[0].finish_reason is None else None
    said = [name for name in Output.__struct_fields__ if getattr(delta, name, None)]
    holder: Output | Function | None = delta
    if said == ["tool_calls"] and delta is not None:
        holder, said = _more(delta.tool_calls or ()), ["arguments"]
    if holder is None or len(said) != 1 or said[0] not in _WORDS:
        return None
    found = stencil_of(raw, text, _WORDS[said[0]], _COUNTS + _TIME if timed else _COUNTS, _PADDING)
    if found is None:
        return None
    setattr(holder, said[0], PROBE)
    other = jsonio.decoded(chunks, data_of(found.probe()))
    if timed and type(chunk.created) is type(other.created) is int:
        chunk.created = other.created
    if len(chunk.usage) > 4 and len(other.usage) > 4:
        chunk.usage = other.usage
    return found if other == chunk else None


def _more(calls: Sequence[_Call]) -> Function | None:
    """Return what says more arguments of a call that has begun, None where more is said than that."""
    call = calls[0] if len(calls) == 1 else None
    function = None if call is None or call.id or call.custom is not None else call.function
    return None if function is None or function.name or function.input else function
