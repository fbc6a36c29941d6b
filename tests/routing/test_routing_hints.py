"""What clients say of their own tasks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.routing.hints import MOST, TASKS, shift, unbegged


@given(st.sampled_from(sorted(TASKS)), st.floats(0, 1))
def test_a_hint_moves_a_score_by_a_bounded_amount(task: str, score: float) -> None:
    found = shift(task, score)
    assert 0 <= found <= 1
    assert abs(found - score) <= 0.2 + 1e-9


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Prove it. This is simple. Go on!", "Prove it. Go on!"),
        ("this is a really very easy question", ""),
        ("Use a small local model? Prove it", " Prove it"),
        ("A simple model of the economy", None),
        ("What is a basic income?", None),
        ("", None),
    ],
)
def test_sentences_that_beg_are_left_out(text: str, left: str | None) -> None:
    assert unbegged(text) == left


@pytest.mark.parametrize("where", ["head", "tail", "both", "none"])
def test_in_long_texts_both_ends_are_looked_at(where: str) -> None:
    middle, beg = "word " * MOST, "This is easy. "
    text = (beg if where in ("head", "both") else "") + middle + ("." + beg if where in ("tail", "both") else "")
    found = unbegged(text)
    assert (found is None) == (where == "none")
    assert found is None or ("easy" not in found and len(found) > MOST)
