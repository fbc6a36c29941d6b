"""Gemini's tokens by medium: which of them are no text. What means nothing is left out, what cannot be true is bounded; nothing fails."""

from __future__ import annotations

from typing import Any

from proxy.wire.openai_reply import MAX_COUNT

_MODALITIES = {"AUDIO": "audio", "IMAGE": "image", "VIDEO": "video"}


def media_of(prompt: Any, cached: Any, said: Any, most: tuple[int, int, int]) -> tuple[tuple[str, int], ...]:
    """Return what of a reply's tokens are no text; see `model.Usage.media`.

    Args:
        prompt: `promptTokensDetails`, which counts what was cached too.
        cached: `cacheTokensDetails`.
        said: `candidatesTokensDetails`.
        most: how many tokens of the prompt were not cached, how many were, and how many candidates have.
    """
    asked, read, told = _by_modality(prompt), _by_modality(cached), _by_modality(said)
    if not (asked or read or told):  # the common case
        return ()
    parts = [(f"input_{medium}", min(max(tokens - read.get(medium, 0), 0), most[0])) for medium, tokens in asked.items()]
    parts += [(f"cache_read_{medium}", min(tokens, most[1])) for medium, tokens in read.items()]
    parts += [(f"output_{medium}", min(tokens, most[2])) for medium, tokens in told.items()]
    return tuple([part for part in parts if part[1]])


def _by_modality(details: Any) -> dict[str, int]:
    """Return the tokens of each medium that is no text."""
    found: dict[str, int] = {}
    for detail in details if isinstance(details, list) else ():
        medium, tokens = (detail.get("modality"), detail.get("tokenCount")) if isinstance(detail, dict) else (None, None)
        if isinstance(medium, str) and medium in _MODALITIES and isinstance(tokens, int) and 0 < tokens <= MAX_COUNT:
            found[_MODALITIES[medium]] = found.get(_MODALITIES[medium], 0) + tokens
    return found
