"""What the parts of an OpenAI Responses reply say: the texts of an item, the items of a list, the usage.

Pure readers for `wire.openai_responses_reply`. None raises but for `RecursionError`, where an item is nested too deep to be written again.

Source: OpenAI API reference, "The response object"; types of the Python SDK 3.52 (2026-11).
"""

from __future__ import annotations

from typing import Any

import msgspec

from proxy.model import Usage
from proxy.wire import jsonio
from proxy.wire.openai_reply import BROKEN, MAX_COUNT

QUIET = ("compaction", "mcp_list_tools", "additional_tools")
"""Beginnings of the types of items that hold nothing that the model said."""


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


_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])
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
    counts = [value or 0 for value in given]
    known = min(counts) >= 0 and max(counts) <= MAX_COUNT
    if not known:
        counts = [max(0, min(value, MAX_COUNT)) for value in counts]
    prompt, output, read, write, reasoning = counts
    fits = known and found.output_tokens is not None and read + write <= prompt and reasoning <= output
    read = min(read, prompt)
    write = min(write, prompt - read)
    return Usage(prompt - read - write, output, read, write, 0, min(reasoning, output), fits)


def listed(raw: msgspec.Raw) -> list[msgspec.Raw]:
    """Return the items of a list as they stand; what is no list is one item."""
    try:
        return _list_decoder.decode(raw)
    except BROKEN:
        return [] if bytes(raw) in (b"", b"null") else [raw]


def words(item: dict[str, Any]) -> list[object]:
    """Return the texts of an item that calls no tool; of one that we do not know, its JSON."""
    kind = item.get("type")
    if kind not in ("message", "reasoning"):
        quiet = isinstance(kind, str) and (kind.startswith(QUIET) or kind.endswith("_output"))
        return [] if quiet else [jsonio.readable(item)]
    found: list[object] = []
    for key in ("summary", "content"):
        parts = item.get(key) or ()
        for part in parts if isinstance(parts, list) else [parts] if parts else ():
            said = [part[name] for name in ("text", "refusal") if name in part] if isinstance(part, dict) else [part]
            found += said or [jsonio.readable(part)]
    return found


def leaves(value: Any) -> list[object]:
    """Return all texts anywhere in `value`."""
    found: list[object] = []
    rest = [value]
    while rest:
        inner = rest.pop()
        if isinstance(inner, dict):
            rest += inner.values()
        elif isinstance(inner, list):
            rest += inner
        else:
            found.append(inner)
    return found
