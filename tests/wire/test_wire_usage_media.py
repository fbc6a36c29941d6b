"""Tokens of other media than text, as vendors report them beside the totals; what cannot be true is bounded, never believed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.model import Usage
from proxy.wire import gemini_reply, openai_reply


def parts(medium: str, tokens: Any) -> list[dict[str, Any]]:
    return [{"modality": "TEXT", "tokenCount": 5}, {"modality": medium, "tokenCount": tokens}]


def gemini(**reported: Any) -> Usage:
    usage = gemini_reply.usage_of(json.dumps({"promptTokenCount": 100, "candidatesTokenCount": 50, **reported}).encode())
    assert usage is not None
    return usage


def chat(inside: Any = None, outside: Any = None) -> Usage:
    body = {"prompt_tokens": 100, "completion_tokens": 50, "prompt_tokens_details": inside, "completion_tokens_details": outside}
    usage = openai_reply.usage_of(json.dumps(body).encode())
    assert usage is not None
    return usage


def test_gemini_says_what_was_heard_seen_and_drawn() -> None:
    found = gemini(promptTokensDetails=parts("AUDIO", 40), candidatesTokensDetails=parts("IMAGE", 30))
    assert found == Usage(100, 50, media=(("input_audio", 40), ("output_image", 30)))
    found = gemini(promptTokensDetails=parts("VIDEO", 40), cachedContentTokenCount=60, cacheTokensDetails=parts("VIDEO", 25))
    assert found == Usage(40, 50, 60, media=(("input_video", 15), ("cache_read_video", 25)))
    assert gemini(promptTokensDetails=[{"modality": "TEXT", "tokenCount": 100}]).media == ()


@pytest.mark.parametrize(
    "details", [None, {}, "x", 7, [7], [{}], [{"modality": ["AUDIO"], "tokenCount": 4}], [{"modality": "SMELL", "tokenCount": 4}]]
)
def test_gemini_details_that_mean_nothing_cost_no_usage(details: Any) -> None:
    assert gemini(promptTokensDetails=details, candidatesTokensDetails=details) == Usage(100, 50)


@pytest.mark.parametrize(("tokens", "read"), [(-4, 0), ("9", 0), (1 << 70, 0), (0, 0), (1.5, 0), (4000, 100)])
def test_gemini_numbers_that_cannot_be_are_bounded(tokens: Any, read: int) -> None:
    assert gemini(promptTokensDetails=parts("AUDIO", tokens)).media == ((("input_audio", read),) if read else ())


def test_openai_says_what_was_heard_and_said() -> None:
    assert chat({"audio_tokens": 40, "cached_tokens": 10}, {"audio_tokens": 30}).media == (("input_audio", 40), ("output_audio", 30))
    assert chat({"audio_tokens": 0}, {"audio_tokens": 0}).media == ()
    assert chat({"audio_tokens": 4000, "cached_tokens": 90}, {"audio_tokens": -3}).media == (("input_audio", 10), ("output_audio", 0))
    assert chat().media == ()
