"""Images by their vendors' published rules."""

from __future__ import annotations

import pytest
from budget_exchange import exchange
from hypothesis import given
from hypothesis import strategies as st

from proxy.budget.estimate import FAMILIES, bound, family_for
from proxy.budget.images import rule_of, tokens_of
from proxy.wire.call import Media


@pytest.mark.parametrize(
    ("model", "width", "height", "detail", "tokens"),
    [
        ("gpt-4o", 1024, 1024, "high", 765),  # the examples of the vendor's guide
        ("gpt-4o", 2048, 4096, "high", 1105),
        ("gpt-4o", 4096, 8192, "low", 85),
        ("gpt-4.1-2025-04-14", 512, 512, "", 255),
        ("gpt-4o-mini", 512, 512, "", 2833 + 5667),
        ("o1", 512, 512, "auto", 225),
        ("gpt-4.1-mini", 1024, 1024, "", 1659),
        ("gpt-5-nano", 8000, 8000, "", 3779),
        ("o4-mini", 32, 33, "", 4),
        ("claude-sonnet-4-5", 1000, 1000, "", 1342),
        ("anthropic/claude-opus-4-7", 9000, 9000, "", 4800),
        ("claude-3-haiku", 200, 200, "", 72),
        ("gemini-2.0-flash", 384, 384, "", 1120),
        ("gemini-2.0-flash", 3000, 1000, "", 2580),
        ("gemini-3-pro", 5000, 500, "", 258 * 32),
    ],
)
def test_an_image_of_known_size_counts_by_its_vendors_rule(model: str, width: int, height: int, detail: str, tokens: int) -> None:
    assert tokens_of(rule_of(model), Media("image", 1000, detail, width, height)) == tokens


def test_what_is_not_known_is_left_to_the_family() -> None:
    assert tokens_of(rule_of("gpt-4o"), Media("image", 1000)) is None
    assert tokens_of(rule_of("mistral-large"), Media("image", 1000, "", 100, 100)) is None
    assert rule_of("gpt-5.9") == ""
    assert tokens_of("", Media("image", 1000, "original", 100, 100)) == 12_000


@given(st.integers(1, 20_000), st.integers(1, 20_000), st.sampled_from(["gpt-4o", "gpt-4.1-mini", "gpt-5-nano", "o4-mini", "claude-x"]))
def test_no_image_is_more_than_its_familys_bound(width: int, height: int, model: str) -> None:
    found = tokens_of(rule_of(model), Media("image", 1000, "", width, height))
    assert found is not None
    assert 0 < found <= FAMILIES["claude" if model == "claude-x" else "o200k_base"].image


def test_a_request_is_bounded_by_the_size_in_its_data() -> None:
    pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    parts = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{pixel}"}}]
    small = exchange({"messages": [{"role": "user", "content": parts}]}).call
    assert bound(small, "gpt-4o") < 85 + 170 + 50
    assert bound(small, "gpt-5.9") > FAMILIES["o200k_base"].image
    assert family_for("gpt-4o").key != family_for("gpt-4.1-mini").key, "what is remembered of a message is apart"
