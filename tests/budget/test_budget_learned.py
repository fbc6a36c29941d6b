"""What is learned of how providers count prompts: it changes holds, never charges."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from budget_bench import CAP, Bench, run
from budget_exchange import PRICE, STRONG, exchange, rule
from hypothesis import given
from hypothesis import strategies as st

from proxy.budget.estimate import bound
from proxy.budget.learned import LEAST, MARGIN, MOST, SAMPLES, Ratios, kind_of
from proxy.budget.settle import settle_usage
from proxy.model import Usage
from proxy.money import dearest

KIND = kind_of("p", "m", 1000, False)
CLAUDE = dataclasses.replace(STRONG, model="claude-x", upstream_model="claude-x", tokenizer="claude")


def taught(*shares: float, times: int = 1) -> Ratios:
    ratios = Ratios()
    for share in shares * times:
        ratios.learn(KIND, round(share * 1000), 1000)
    return ratios


def test_nothing_is_held_below_the_bound_before_enough_was_seen() -> None:
    assert taught().factor(KIND) == 1.0
    assert taught(0.5, times=SAMPLES - 1).factor(KIND) == 1.0
    assert taught(0.8, times=SAMPLES).factor(KIND) == pytest.approx(0.8 * MARGIN, abs=0.03)
    assert taught(0.1, times=SAMPLES).factor(KIND) == LEAST


def test_a_count_above_the_bound_raises_the_hold_at_once() -> None:
    assert taught(1.2).factor(KIND) >= 1.2
    assert taught(0.95, times=SAMPLES).factor(KIND) == 1.0
    assert taught(MOST).factor(KIND) == MOST
    assert taught(MOST + 0.1, 0.0, times=100).factor(KIND) == 1.0, "what cannot be is not learned"


def test_what_was_learned_decays() -> None:
    ratios = taught(*[1.5] * 20)
    assert ratios.factor(KIND) > 1.5
    for _ in range(8000):
        ratios.learn(KIND, 800, 1000)
    assert ratios.factor(KIND) < 1.0


def test_kinds_are_apart_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.budget.learned._KNOWN", 2)
    ratios = taught(0.7, times=SAMPLES)
    assert ratios.factor(kind_of("p", "m", 1000, True)) == 1.0
    assert ratios.factor(kind_of("p", "m", 100_000, False)) == 1.0
    for size in (10, 10_000):
        ratios.learn(kind_of("p", "m", size, False), 5, 10)
    assert ratios.factor(KIND) == 1.0


@given(st.lists(st.floats(0.05, 1.9), min_size=SAMPLES, max_size=300))
def test_what_is_held_covers_nearly_all_that_was_seen(shares: list[float]) -> None:
    factor = taught(*shares).factor(KIND)
    recent = shares[: len(shares) // 8 * 8]
    assert sum(share > factor + 0.02 for share in recent) <= 0.005 * len(shares) + 8


def call(bench: Bench, **more: Any) -> Any:
    return exchange({"max_tokens": 10, "messages": [{"role": "user", "content": "some words " * 100}], **more}, targets=(CLAUDE,))


def test_a_hold_shrinks_by_what_came_back_and_a_charge_does_not() -> None:
    async def body() -> None:
        bench = Bench(rule(limit=1.0))
        static = bound(call(bench).call, "claude")
        for _ in range(SAMPLES):
            ex = call(bench)
            await bench.stage.request(ex)
            ex.served = True
            await bench.close(ex, Usage(input=static // 2, output=1), 1)
        ex = call(bench)
        await bench.stage.request(ex)
        held = (await bench.balance(CAP))[1]
        assert held == dearest(ex.held_input, 10, PRICE) < dearest(static, 10, PRICE)
        assert ex.held_input == pytest.approx(static * LEAST, abs=2)
        ex.sent, ex.target, ex.upstream_status = True, CLAUDE, 200
        usage, cost = settle_usage(ex)
        assert (usage.input, usage.exact) == (ex.held_input, False), "nothing is charged for a prompt beyond what is held"
        assert cost <= held

    run(body)


def test_a_prompt_that_nobody_counted_is_taken_for_its_bound() -> None:
    async def body() -> None:
        bench = Bench(rule(limit=1.0))
        for usage in [Usage(input=10, output=1)] * SAMPLES + [Usage(input=10, output=1, exact=False)]:
            ex = call(bench)
            await bench.stage.request(ex)
            ex.served = True
            await bench.close(ex, usage, 1)
        assert ex.held_input < bound(ex.call, "claude")
        ex = call(bench)
        await bench.stage.request(ex)
        assert ex.held_input == bound(ex.call, "claude"), "who hangs up before a prompt is counted pays no less for the next"

    run(body)
    ratios = taught(0.5, times=SAMPLES)
    ratios.doubt(KIND)
    assert ratios.factor(KIND) == 1.0, "and no more than the bound"


def test_what_one_agent_sends_makes_no_hold_of_another_smaller() -> None:
    async def body() -> None:
        bench = Bench(rule(limit=1.0))
        for _ in range(SAMPLES):
            ex = call(bench)
            await bench.stage.request(ex)
            ex.served = True
            await bench.close(ex, Usage(input=10, output=1), 1)
        ex = call(bench)
        ex.agent = "another"
        await bench.stage.request(ex)
        assert ex.held_input == bound(ex.call, "claude")

    run(body)


@pytest.mark.parametrize(
    "more",
    [
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]}]},
        {"tools": [{"type": "web_search"}]},
    ],
)
def test_only_texts_are_learned_from(more: dict[str, Any]) -> None:
    async def body() -> None:
        bench = Bench(rule(limit=1.0))
        for _ in range(SAMPLES):
            ex = call(bench, **more)
            await bench.stage.request(ex)
            ex.served = True
            await bench.close(ex, Usage(input=10, output=1), 1)
        ex = call(bench, **more)
        await bench.stage.request(ex)
        assert ex.held_input == bound(ex.call, "claude")

    run(body)
