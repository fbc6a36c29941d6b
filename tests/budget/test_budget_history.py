"""What the provider keeps counts as input too; a turn that failed is no turn."""

from __future__ import annotations

import dataclasses

import pytest
from budget_bench import CAP, Bench, run
from budget_exchange import OTHER, PRICE, STRONG, exchange, refused, rule

from proxy.budget.estimate import bound
from proxy.budget.prices import context_of
from proxy.budget.settle import LARGEST_KNOWN, settle_usage, stored
from proxy.model import Reason, Usage
from proxy.money import dearest

WIDE = dataclasses.replace(STRONG, context=128_000)


@pytest.mark.parametrize(("history", "context", "tokens"), [(0, 10, 0), (900, 10, 900), (-1, 128_000, 128_000), (-1, None, LARGEST_KNOWN)])
def test_where_nobody_knows_it_is_all_that_the_model_reads(history: int, context: int | None, tokens: int) -> None:
    ex = exchange()
    ex.history = history
    assert stored(ex, dataclasses.replace(STRONG, context=context)) == tokens


@pytest.mark.parametrize("history", [900, -1])
@pytest.mark.parametrize("others", [(), (OTHER,)])
def test_it_is_held_as_input(history: int, others: tuple[object, ...]) -> None:
    async def body() -> None:
        second = (dataclasses.replace(OTHER, context=128_000),) if others else ()
        bench, ex = Bench(rule(limit=10.0)), exchange({"max_tokens": 100}, targets=(WIDE, *second))
        ex.history = history
        assert await bench.stage.request(ex) is None
        kept = 900 if history > 0 else 128_000
        assert await bench.balance(CAP) == (0, dearest(bound(ex.call, "gpt-4o") + kept, 100, PRICE))

    run(body)


def test_a_history_that_may_be_too_long_is_refused() -> None:
    async def body() -> None:
        bench, ex = Bench(rule(limit=0.1)), exchange({"max_tokens": 100}, targets=(WIDE,))
        ex.history = -1
        refused(Reason.REQUEST_TOO_COSTLY, await bench.stage.request(ex))

    run(body)


def test_it_is_charged_where_no_usage_came() -> None:
    ex = exchange({"max_tokens": 100}, targets=(WIDE,))
    ex.sent, ex.target, ex.held_output, ex.history = True, WIDE, 100, 5000
    usage, _ = settle_usage(ex)
    assert (usage.input, usage.exact) == (bound(ex.call, "gpt-4o") + 5000, False)


def test_the_price_table_knows_what_a_model_reads() -> None:
    known = context_of("https://api.openai.com/v1", "gpt-4o-mini")
    assert known is not None
    assert known >= 100_000
    assert context_of("nobody", "no-such-model") is None


@pytest.mark.parametrize(
    ("outcome", "served", "steps"), [("upstream_error", False, 0), ("upstream_error", True, 1), ("client_gone", False, 1), ("ok", True, 1)]
)
def test_a_turn_that_the_provider_failed_is_no_step(outcome: str, served: bool, steps: int) -> None:
    async def body() -> None:
        turns = rule("turns", 5, "requests", "session", scope=(("session", "*"),), reason=Reason.STEP_LIMIT)
        bench, ex = Bench(turns, rule("often", 5, "requests", "day")), exchange({"max_tokens": 100})
        await bench.stage.request(ex)
        ex.outcome, ex.served = outcome, served
        await bench.close(ex, Usage(), 0)
        spent = {key.partition("|")[0]: (await bench.balance(key))[0] for key in bench.store._book.counters}
        assert spent == {"turns": steps, "often": 1}

    run(body)
