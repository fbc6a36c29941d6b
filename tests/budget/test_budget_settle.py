"""What an exchange used: the provider's word where it can be true, else the bound of what passed."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from budget_exchange import LOCAL, PRICE, STRONG, exchange

from proxy.budget.estimate import IN_FLIGHT_TOKENS, bound
from proxy.budget.settle import DEFAULT_MAX_OUTPUT, floor_output, hides_reasoning, settle_usage
from proxy.engine.exchange import Exchange
from proxy.model import Target, Usage
from proxy.money import cost
from proxy.wire.base import Meter
from proxy.wire.call import Event


class Heard(Meter):
    """A meter that has heard what the test says."""

    def __init__(self, **heard: Any) -> None:
        super().__init__()
        for name, value in heard.items():
            setattr(self, name, value)

    def buffered(self, body: bytes) -> None:
        raise AssertionError

    def event(self, raw: bytes) -> Event:
        raise AssertionError


def finished(meter: Meter | None, *, status: int = 200, held: int = 500, target: Target = STRONG, **body: Any) -> Exchange:
    ex = exchange(body, targets=(target,))
    ex.sent, ex.target, ex.upstream_status, ex.meter, ex.held_output = True, target, status, meter, held
    ex.started = bool(body.get("stream")) and meter is not None
    return ex


def prompt(ex: Exchange) -> int:
    return bound(ex.call, "gpt-4o")


REPORTED = Usage(input=10, output=20, cache_read=30)


def test_the_providers_usage_is_taken_as_it_is() -> None:
    assert settle_usage(finished(Heard(usage=REPORTED, ended=True))) == (REPORTED, cost(REPORTED, PRICE))
    assert settle_usage(finished(Heard(usage=REPORTED, finish="stop"), stream=True))[0] == REPORTED


@pytest.mark.parametrize("status", [400, 401, 429, 500, 529, 302])
def test_an_error_of_the_provider_costs_nothing(status: int) -> None:
    assert settle_usage(finished(None, status=status)) == (Usage(), 0)


def test_what_was_not_sent_costs_nothing() -> None:
    ex = finished(None)
    ex.sent = False
    assert settle_usage(ex) == (Usage(), 0)


def test_a_reply_that_never_came_is_charged_as_held() -> None:
    for meter in (None, Heard()):
        ex = finished(meter, status=0 if meter is None else 200)
        assert settle_usage(ex)[0] == Usage(input=prompt(ex), output=500, exact=False)


def test_a_reply_without_any_ceiling_that_never_came_is_bounded_by_the_default() -> None:
    ex = finished(None, held=0, n=2)
    assert settle_usage(ex)[0].output == 2 * DEFAULT_MAX_OUTPUT
    ex = finished(None, held=0, max_tokens=7)
    assert settle_usage(ex)[0].output == 7


def test_a_stream_that_broke_off_is_charged_for_what_passed() -> None:
    ex = finished(Heard(texts=["tok "] * 30, pieces=30), stream=True)
    usage, charged = settle_usage(ex)
    assert usage == Usage(input=prompt(ex), output=usage.output, exact=False)
    assert 30 + IN_FLIGHT_TOKENS <= usage.output <= 62 + IN_FLIGHT_TOKENS
    assert charged == cost(usage, PRICE)
    ex = finished(Heard(texts=["tok "] * 30, pieces=30), stream=True, held=50)
    assert settle_usage(ex)[0].output == 50, "never more than was held"
    ex = finished(Heard(), stream=True)
    assert settle_usage(ex)[0].output == IN_FLIGHT_TOKENS


def test_a_model_that_thinks_out_of_sight_is_charged_as_held() -> None:
    hidden = Target("openai", "gpt-5-mini", "gpt-5-mini", "openai", PRICE)
    assert hides_reasoning("openai/o3-mini")
    assert not hides_reasoning("gpt-4o")
    ex = finished(Heard(texts=["tok"], pieces=1), stream=True, target=hidden)
    assert settle_usage(ex)[0].output == 500


def test_usage_of_a_stream_that_broke_off_is_a_floor() -> None:
    early = Usage(input=10, output=1)
    ex = finished(Heard(usage=early, texts=["tok "] * 30, pieces=30), stream=True)
    usage, _ = settle_usage(ex)
    assert (usage.input, usage.exact) == (10, False)
    assert usage.output > 30
    late = Usage(input=10, output=400)
    assert settle_usage(finished(Heard(usage=late, pieces=3), stream=True))[0] == Usage(input=10, output=400, exact=False)


@pytest.mark.parametrize(
    "odd",
    [Usage(input=-1, output=5), Usage(input=1, output=-5), Usage(cache_read=-9, output=1), Usage(output=10**12), Usage(input=10**9)],
)
def test_usage_that_cannot_be_is_replaced_by_the_bound(odd: Usage) -> None:
    ex = finished(Heard(usage=odd, ended=True, texts=["hello"], pieces=0))
    usage, charged = settle_usage(ex)
    assert usage.exact is False
    assert usage.input == prompt(ex)
    assert 0 < usage.output <= 500
    assert charged > 0
    assert ex.decisions


@pytest.mark.parametrize(
    "clamped", [Usage(exact=False), Usage(input=3, exact=False), Usage(output=2, exact=False), Usage(cache_read=2, exact=False)]
)
def test_usage_that_the_meter_doubts_is_charged_at_least_what_passed(clamped: Usage) -> None:
    """The codec clamps negative numbers to zero and says so: a finished reply must not go free for it."""
    ex = finished(Heard(usage=clamped, ended=True, finish="stop", texts=["tok "] * 30, pieces=30))
    usage, charged = settle_usage(ex)
    assert usage.exact is False
    assert usage.total_input == prompt(ex)
    assert usage.output >= 30
    assert charged >= 30 * 10_000
    more = Usage(input=900, output=400, exact=False)
    assert settle_usage(finished(Heard(usage=more, ended=True, texts=["x"])))[0] == more, "the greater counts"


def test_what_was_said_of_the_prompt_before_a_stream_broke_off_stands() -> None:
    early = Usage(input=2, output=1, cache_read=3, exact=False)
    usage, _ = settle_usage(finished(Heard(usage=early, texts=["tok "] * 30, pieces=30), stream=True))
    assert (usage.input, usage.cache_read) == (2, 3), "a cached prompt is not charged as a new one"
    assert usage.output > 30
    silent = Usage(output=1, exact=False)
    ex = finished(Heard(usage=silent, texts=["tok"], pieces=1), stream=True)
    assert settle_usage(ex)[0].input == prompt(ex)


@pytest.mark.parametrize("free", [Usage(), Usage(output=9), Usage(input=9)])
def test_an_answer_is_never_free(free: Usage) -> None:
    ex = finished(Heard(usage=free, ended=True, texts=["several words"]))
    usage, charged = settle_usage(ex)
    assert (usage.exact, usage.input) == (False, prompt(ex))
    assert usage.output > 2
    assert charged > 0
    nothing = Usage(input=9)
    assert settle_usage(finished(Heard(usage=nothing, ended=True)))[0] == nothing, "no text, no tokens"


def test_the_floor_of_a_stream_counts_its_text_only() -> None:
    ex = finished(None)
    assert floor_output(ex) == 0
    ex = finished(Heard(texts=["hello", " world"], pieces=500), stream=True)
    assert floor_output(ex) == 2
    ex.target = None
    assert floor_output(ex) == 0


def test_dear_but_possible_usage_is_believed() -> None:
    much = Usage(input=150_000, output=9000)
    assert settle_usage(finished(Heard(usage=much, ended=True)))[0] == much


def test_local_models_use_tokens_and_cost_nothing() -> None:
    assert settle_usage(finished(Heard(usage=REPORTED, ended=True), target=LOCAL)) == (REPORTED, 0)


def test_questions_and_embeddings() -> None:
    ex = exchange(path="/v1/models")
    ex.sent, ex.target, ex.upstream_status = True, STRONG, 200
    assert settle_usage(ex) == (Usage(), 0)
    ex = exchange({"input": "text", "messages": None}, path="/v1/embeddings")
    ex.sent, ex.target, ex.upstream_status, ex.meter = True, STRONG, 200, Heard(ended=True)
    usage, _ = settle_usage(ex)
    assert (usage.output, usage.exact) == (0, False)
    assert usage.input > 0


PROSE = "The quick brown fox jumps over the lazy dog. " * 40


@pytest.mark.parametrize(
    ("model", "body", "least"),
    [("gpt-4o", {}, 360), ("claude-x", {}, 240), ("gpt-5", {}, 80), ("gpt-4o", {"tools": [{"type": "web_search"}]}, 80)],
)
def test_a_providers_usage_below_the_text_that_passed_is_not_believed(model: str, body: dict[str, Any], least: int) -> None:
    target = dataclasses.replace(STRONG, model=model, upstream_model=model, tokenizer="claude" if "claude" in model else "o200k_base")
    ex = finished(Heard(usage=Usage(input=10, output=5), texts=[PROSE], ended=True), target=target, **body)
    usage, _ = settle_usage(ex)
    assert usage.output == pytest.approx(least, abs=6)
    assert not usage.exact
    assert "charged those" in ex.decisions[0][1]


@pytest.mark.parametrize("output", [400, 401, 5000])
def test_an_honest_providers_usage_is_never_raised(output: int) -> None:
    said = Usage(input=10, output=output)
    assert settle_usage(finished(Heard(usage=said, texts=list(PROSE), pieces=len(PROSE), ended=True)))[0] == said
    assert settle_usage(finished(Heard(usage=said, texts=[PROSE], ended=True)))[0] == said


@pytest.mark.parametrize(
    ("model", "body", "hidden"),
    [
        ("claude-sonnet-4-5", {}, False),
        ("claude-sonnet-4-5", {"reasoning_effort": "high"}, True),
        ("gpt-4o", {"reasoning_effort": "high"}, False),
        ("gemini-2.0-flash", {}, False),
        ("gemini-flash-latest", {}, True),
        ("ft:o4-mini", {}, True),
        ("gpt-4o-audio-preview", {}, True),
    ],
)
def test_what_a_stream_does_not_show_is_known(model: str, body: dict[str, Any], hidden: bool) -> None:
    assert hides_reasoning(model, exchange(body).call) is hidden
