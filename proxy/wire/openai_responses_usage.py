"""The usage of OpenAI Responses: input and output with what of each was cached, or thought.

Source: OpenAI API reference, "The Response object"; types of the Python SDK 3.52 (2026-11).
"""

from __future__ import annotations

import msgspec

from proxy.model import Usage
from proxy.wire.openai_reply import BROKEN, MAX_COUNT


class _InDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _OutDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    input_tokens: int
    output_tokens: int | None = None
    input_tokens_details: _InDetails | None = None
    output_tokens_details: _OutDetails | None = None


_usage_decoder = msgspec.json.Decoder(_Usage)


def usage_of(raw: bytes | msgspec.Raw) -> Usage | None:
    """Return the usage object `raw` as ours, None when it is none. Impossible numbers are clamped and make it inexact."""
    if len(raw) < 5:  # absent, null, {}
        return None
    try:
        found = _usage_decoder.decode(raw)
    except BROKEN:
        return None
    inside, outside = found.input_tokens_details or _InDetails(), found.output_tokens_details or _OutDetails()
    given = (found.input_tokens, found.output_tokens, inside.cached_tokens, inside.cache_write_tokens, outside.reasoning_tokens)
    prompt, output, read, write, reasoning = (max(0, min(value or 0, MAX_COUNT)) for value in given)
    known = found.output_tokens is not None and all(value is None or 0 <= value <= MAX_COUNT for value in given)
    fits = known and read + write <= prompt and reasoning <= output
    read = min(read, prompt)
    write = min(write, prompt - read)
    return Usage(prompt - read - write, output, read, write, 0, min(reasoning, output), fits)
