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
from proxy.budget.learned import MARGIN, MOST, Learned, kind_of
from proxy.budget.settle import settle_usage
from proxy.model import Target, Usage
from proxy.money import dearest

KIND = kind_of("p", "m", 1000, False)
CLAUDE = dataclasses.replace(STRONG, model="claude-x", upstream_model="claude-x", tokenizer="claude")


def taught(*shares: float, times: int = 1) -> Learned:
    learned = Learned()
    for share in shares * times:
        learned.count(KIND, round(share * 1000), 1000)
    return learned


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8, 0.95, 1.0])
def test_nothing_is_ever_held_below_the_bound(share: float) -> None:
    assert taught(share, times=2000).factor(KIND) == 1.0


def test_a_count_above_the_bound_raises_the_hold_at_once() -> None:
    assert taught(1.2).factor(KIND) == pytest.approx(1.2 * MARGIN, abs=0.03)
    assert taught(MOST).factor(KIND) == MOST
    assert taught(MOST + 0.1, 0.0, times=100).factor(KIND) == 1.0, "what cannot be is not learned"


def test_what_was_learned_decays() -> None:
    learned = taught(*[1.5] * 20)
    assert learned.factor(KIND) > 1.5
    for _ in range(8000):
        learned.count(KIND, 800, 1000)
    assert learned.factor(KIND) == 1.0


def test_kinds_are_apart_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.budget.learned._KNOWN", 2)
    learned = taught(1.5)
    assert learned.factor(kind_of("p", "m", 1000, True)) == 1.0
    assert learned.factor(kind_of("p", "m", 100_000, False)) == 1.0
    for size in (10, 10_000):
        learned.count(kind_of("p", "m", size, False), 15, 10)
    assert learned.factor(KIND) == 1.0


def test_who_sends_in_one_piece_is_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.budget.learned.MOST_BURSTS", 2)
    learned = Learned()
    for name in ("a", "b", "c"):
        learned.burst("p", name)
    assert learned.bursts == {("p", "a"), ("p", "b")}


@given(st.lists(st.floats(0.05, 1.9), min_size=64, max_size=300))
def test_what_is_held_covers_nearly_all_that_was_seen(shares: list[float]) -> None:
    factor = taught(*shares).factor(KIND)
    recent = shares[: len(shares) // 8 * 8]
    assert sum(share > factor + 0.02 for share in recent) <= 0.005 * len(shares) + 8


def call(bench: Bench, **more: Any) -> Any:
    return exchange({"max_tokens": 10, "messages": [{"role": "user", "content": "some words " * 100}], **more}, targets=(CLAUDE,))


async def told(bench: Bench, ex: Any, times: float, *, exact: bool = True, target: Target = CLAUDE) -> None:
    """Have `ex` served, and its prompt counted as so many times its bound."""
    await bench.stage.request(ex)
    ex.served = True
    await bench.close(ex, Usage(input=round(bound(ex.call, "claude") * times), output=1, exact=exact), 1, target=target)


def test_a_hold_grows_by_what_came_back_and_a_charge_does_not() -> None:
    async def body() -> None:
        bench = Bench(rule(limit=1.0))
        await told(bench, call(bench), 1.2)
        ex = call(bench)
        await bench.stage.request(ex)
        held, static = (await bench.balance(CAP))[1], bound(ex.call, "claude")
        assert held == dearest(ex.held_input, 10, PRICE) > dearest(static, 10, PRICE)
        assert ex.held_input == pytest.approx(static * 1.2 * MARGIN, rel=0.03)
        ex.sent, ex.target, ex.upstream_status = True, CLAUDE, 200
        usage, cost = settle_usage(ex)
        assert (usage.input, usage.exact) == (static, False), "a prompt that nobody counted is charged at its bound"
        assert cost <= held

    run(body)


def test_a_prompt_that_counts_little_makes_no_hold_smaller() -> None:
    async def body() -> None:
        bench = Bench(rule(limit=1.0))
        for _ in range(64):
            await told(bench, call(bench), 0.3)
        ex = call(bench)
        await bench.stage.request(ex)
        assert ex.held_input == bound(ex.call, "claude")

    run(body)


@pytest.mark.parametrize("how", ["a guess", "another model served it", "another agent asks next"])
def test_what_teaches_nothing(how: str) -> None:
    async def body() -> None:
        bench = Bench(rule(limit=1.0))
        await told(bench, call(bench), 1.2, exact=how != "a guess", target=STRONG if how.endswith("served it") else CLAUDE)
        ex = call(bench)
        if how.endswith("next"):
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
        await told(bench, call(bench, **more), 1.2)
        ex = call(bench, **more)
        await bench.stage.request(ex)
        assert ex.held_input == bound(ex.call, "claude")

    run(body)
