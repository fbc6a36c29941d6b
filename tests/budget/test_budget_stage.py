"""The budget stage on real stores: reserve, lower, refuse, settle."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import pytest
from budget_bench import CAP, Bench, headers, run
from budget_exchange import LOCAL, OTHER, PRICE, STRONG, UNPRICED, USD, exchange, grant, refused, rule

from proxy.budget.estimate import bound
from proxy.budget.port import Exceeded, Held
from proxy.budget.settle import settle_usage
from proxy.budget.stage import HOLD_S, MOST_OUTPUT, BudgetStage
from proxy.engine.ports import StoreError
from proxy.engine.stage import compile_plan
from proxy.model import BudgetRule, Limit, Nanos, Price, Reason, Route, Source, Target, Usage
from proxy.money import dearest
from proxy.stores.memory import MemoryBudget


def test_a_call_is_held_at_its_worst_case_and_settled_at_what_it_cost() -> None:
    async def body() -> None:
        bench, ex = Bench(rule(limit=1.0)), exchange({"max_tokens": 100})
        assert await bench.stage.request(ex) is None
        worst = dearest(bound(ex.call, "gpt-4o"), 100, PRICE)
        assert await bench.balance(CAP) == (0, worst)
        assert (ex.held_output, ex.max_output) == (100, None), "the client's own ceiling goes upstream as it is"
        assert headers(ex)["x-fleetgate-budget-remaining-usd"] == f"{(USD - worst) / USD:.9f}".rstrip("0")
        await bench.close(ex, Usage(input=10, output=5), 60_000)
        assert await bench.balance(CAP) == (60_000, 0)

    run(body)


def test_what_never_reached_the_provider_is_refunded_with_its_request() -> None:
    async def body() -> None:
        bench, ex = Bench(rule(limit=1.0), rule("often", 5, "requests", "day")), exchange({"max_tokens": 100})
        await bench.stage.request(ex)
        await bench.close(ex, Usage(), 0, sent=False)
        assert await bench.balance(CAP) == (0, 0)
        ex = exchange({"max_tokens": 100})
        await bench.stage.request(ex)
        await bench.close(ex, Usage(), 0)
        (counter,) = [key for key in bench.store._book.counters if key.startswith("often")]
        assert await bench.balance(counter) == (1, 0), "an error of the provider costs nothing and still is a request"

    run(body)


def test_an_outcome_that_nobody_knows_is_charged_in_full() -> None:
    async def body() -> None:
        bench, ex = Bench(rule(limit=1.0)), exchange({"max_tokens": 100})
        await bench.stage.request(ex)
        _, held = await bench.balance(CAP)
        await bench.close(ex, None, 0)
        assert await bench.balance(CAP) == (held, 0)

    run(body)


def test_a_ceiling_that_the_client_asked_for_is_lowered_while_a_useful_answer_fits() -> None:
    async def body() -> None:
        bench, ex = Bench(rule(limit=0.01)), exchange({"max_tokens": 50_000})
        assert await bench.stage.request(ex) is None
        assert ex.max_output is not None
        assert ex.max_output < 1000
        assert any("lowered from 50000" in words for _, words in ex.decisions)

    run(body)


@pytest.mark.parametrize(
    ("rules", "ceiling"), [((), None), ((rule(shadow=True),), None), ((rule(on_exceed="warn"),), None), ((rule(),), 500)]
)
def test_a_ceiling_is_set_only_where_a_budget_may_refuse(rules: tuple[BudgetRule, ...], ceiling: int | None) -> None:
    async def body() -> None:
        ex = exchange()
        assert await Bench(*rules, default_max_output=500).stage.request(ex) is None
        assert ex.max_output == ceiling
        assert ex.held_output == (ceiling or 0), "nothing is cut where nothing is held"

    run(body)


def test_the_ceiling_of_the_policy_stage_counts_and_is_not_raised() -> None:
    async def body() -> None:
        ex = exchange({"max_tokens": 4000})
        ex.max_output = 200
        bench = Bench(rule(limit=1.0))
        await bench.stage.request(ex)
        assert (ex.max_output, ex.held_output) == (200, 200)
        assert await bench.balance(CAP) == (0, dearest(bound(ex.call, "gpt-4o"), 200, PRICE))

    run(body)


def test_every_choice_is_held_and_the_ceiling_is_for_one() -> None:
    async def body() -> None:
        ex = exchange({"n": 4, "max_tokens": 100})
        await Bench(rule(limit=1.0)).stage.request(ex)
        assert ex.held_output == 400
        ex = exchange({"n": 4})
        await Bench(rule(limit=0.01)).stage.request(ex)
        assert ex.max_output is not None
        assert ex.held_output == 4 * ex.max_output

    run(body)


def test_the_dearest_target_is_held_and_who_did_not_serve_is_refunded() -> None:
    async def body() -> None:
        dear = Target("dear", "gpt-5", "gpt-5", "openai", Price(((0, 9 * USD),), ((0, 90 * USD),)))
        bench = Bench(rule(limit=1.0), rule("each", 1.0, scope=(("provider", "*"),)))
        ex = exchange({"max_tokens": 100}, targets=(STRONG, dear, OTHER))
        await bench.stage.request(ex)
        assert dear.price is not None
        assert await bench.balance(CAP) == (0, dearest(bound(ex.call, "gpt-5"), 100, dear.price))
        await bench.close(ex, Usage(input=1, output=1), 777, target=dear)
        assert await bench.balance(CAP) == (777, 0)
        for provider, spent in (("stub", 0), ("dear", 777), ("second", 0)):
            assert await bench.balance(f"each|usd|,provider={provider}|total") == (spent, 0)

    run(body)


def test_the_agents_own_budgets_are_part_of_the_same_step() -> None:
    async def body() -> None:
        own = rule("agent:triage/session/tokens", 50, "tokens", "session")
        bench, ex = Bench(rule(limit=100.0)), exchange(given=grant(own))
        refused(Reason.REQUEST_TOO_COSTLY, await bench.stage.request(ex))
        assert await bench.balance(CAP) == (0, 0)

    run(body)


def test_embeddings_have_no_output_and_questions_cost_no_money() -> None:
    async def body() -> None:
        bench = Bench(rule(limit=1.0), rule("often", 5, "requests"))
        small = Target("openai", "text-embedding-3-small", "text-embedding-3-small", "openai", PRICE)
        body = {"model": "text-embedding-3-small", "input": ["some text", "more"], "messages": None}
        ex = exchange(body, targets=(small,), path="/v1/embeddings")
        assert await bench.stage.request(ex) is None
        assert ex.held_output == 0
        assert ex.max_output is None
        held = (await bench.balance(CAP))[1]
        assert 0 < held < 100_000
        ex = exchange(targets=(UNPRICED,), path="/v1/models")
        assert await bench.stage.request(ex) is None, "asking what models there are needs no price"
        assert await bench.balance(CAP) == (0, held)
        assert await bench.balance("often|requests||total") == (0, 2)
        await bench.close(ex, Usage(), 0)
        assert await bench.balance("often|requests||total") == (1, 1)

    run(body)


def test_a_prompt_within_its_bounds_passes_and_an_absurd_ceiling_overflows_nothing() -> None:
    async def body() -> None:
        bench = Bench(rule("count", 1.0, on_exceed="warn"))
        ex = exchange({"max_tokens": 900_000_000, "n": 100}, given=grant(max_input=(Limit(9000, Source("AGENTS.md", 7)),)))
        assert await bench.stage.request(ex) is None
        assert ex.held_output == MOST_OUTPUT
        assert (await bench.balance("count|usd||total"))[1] < 1 << 63

    run(body)


def test_agents_are_many_and_what_is_kept_of_them_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.budget.stage.REMEMBERED", 3)

    async def body() -> None:
        bench = Bench(rule(limit=100.0))
        for i in range(10):
            own = rule(f"own{i}", 9, "requests")
            assert await bench.stage.request(exchange(given=grant(own))) is None
            assert await bench.balance(f"own{i}|requests||total") == (0, 1)
            assert len(bench.stage._plans) <= 3

    run(body)


def test_a_hold_outlives_its_process_only_until_it_expires() -> None:
    async def body() -> None:
        bench, ex = Bench(rule(limit=1.0)), exchange({"max_tokens": 10})
        await bench.stage.request(ex)
        held = (await bench.balance(CAP))[1]
        assert len(await bench.store.sweep(ex.wall + HOLD_S - 1)) == 0
        assert len(await bench.store.sweep(ex.wall + HOLD_S)) == 1
        assert await bench.balance(CAP) == (held, 0)

    run(body)


def test_64_first_calls_at_once_share_what_there_is() -> None:
    async def body() -> None:
        bench, spent, served = Bench(rule(limit=0.05)), 0, 0

        async def call(i: int) -> None:
            nonlocal spent, served
            for _ in range(4):
                ex = exchange({"max_tokens": 100 + i})
                if await bench.stage.request(ex) is None:
                    await asyncio.sleep(0)
                    usage = Usage(input=12, output=ex.held_output)
                    cost = 12 * 1000 + ex.held_output * 10_000
                    spent, served = spent + cost, served + 1
                    await bench.close(ex, usage, cost)
                used, held = await bench.balance(CAP)
                assert used + held <= 50_000_000

        await asyncio.gather(*[call(i) for i in range(64)])
        assert await bench.balance(CAP) == (spent, 0)
        assert 45_000_000 < spent <= 50_000_000
        assert served > 10

    run(body)


def test_the_stage_stands_after_what_it_needs() -> None:
    stage = Bench().stage
    plan = compile_plan([stage], {"headers", "call", "principal", "grant", "session", "route"})
    assert [name for name, _ in plan.request] == ["budget"]
    assert plan.reply == ()
    assert plan.taps == ()


def test_settling_goes_with_the_settled_usage() -> None:
    async def body() -> None:
        bench, ex = Bench(rule(limit=1.0)), exchange({"max_tokens": 100})
        await bench.stage.request(ex)
        ex.sent, ex.target = True, STRONG
        usage, cost = settle_usage(ex)
        held = (await bench.balance(CAP))[1]
        await bench.close(ex, usage, cost)
        assert await bench.balance(CAP) == (held, 0), "no reply at all: the bound is the hold"

    run(body)


def test_a_ceiling_is_never_lowered_below_what_is_set_apart_for_thinking() -> None:
    """The provider answers 400 to a ceiling that leaves nothing after the thinking: refuse here, and say why."""

    async def body(apart: object, ceiling: int, served: bool) -> None:
        thinking = {"type": "enabled", "budget_tokens": apart}
        message = {"role": "user", "content": "hi"}
        claude = Target("anthropic", "claude-sonnet-5", "claude-sonnet-5", "anthropic", PRICE, tokenizer="claude")
        asked = {"model": "claude-sonnet-5", "max_tokens": ceiling, "thinking": thinking, "messages": [message]}
        bench, ex = Bench(rule(limit=0.05)), exchange(asked, path="/v1/messages", targets=(claude,))
        deny = await bench.stage.request(ex)
        if served:
            assert deny is None
            assert ex.max_output is not None
            assert 4000 < ex.max_output < 5000
        else:
            assert "at least" in refused(Reason.REQUEST_TOO_COSTLY, deny)
            assert await bench.balance(CAP) == (0, 0)

    for apart, ceiling, served in [
        (6000, 8000, False),
        (5000, 8000, False),
        (4000, 8000, True),
        (9000, 8000, True),  # above its own ceiling: it thinks between tool calls
        ("x", 8000, True),
        (None, 8000, True),
    ]:
        run(functools.partial(body, apart, ceiling, served))


def test_an_id_that_stands_for_another_call_lets_nothing_go_free() -> None:
    async def body() -> None:
        bench, first, second = Bench(rule(limit=1.0)), exchange({"max_tokens": 10}), exchange({"max_tokens": 1000})
        second.id = first.id
        assert await bench.stage.request(first) is None
        with pytest.raises(StoreError, match="other claims"):
            await bench.stage.request(second)

    run(body)


@pytest.mark.parametrize("steps", range(6))
def test_a_request_that_is_cancelled_anywhere_leaves_no_hold(steps: int) -> None:
    class Slow(MemoryBudget):
        async def reserve(self, hold_id: str, claims: Any, now: float, hold_expires: float, about: str = "") -> Held | Exceeded:
            await asyncio.sleep(0)
            answer = await super().reserve(hold_id, claims, now, hold_expires)
            await asyncio.sleep(0)
            return answer

    async def body() -> None:
        store, ex = Slow(), exchange({"max_tokens": 50_000})
        task = asyncio.ensure_future(BudgetStage([rule(limit=0.1)], store).request(ex))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for _, release in ex.defers:
            await release(ex)
        assert await store.balances([CAP], 0) == {CAP: (0, 0)}
        assert store._book.holds == {}

    run(body)


@pytest.mark.parametrize("tier", ["priority", "fast"])
def test_a_service_above_the_table_is_refused_where_it_would_cost(tier: str) -> None:
    async def body() -> None:
        bench = Bench(rule(limit=1.0))
        deny = await bench.stage.request(exchange({"max_tokens": 5, "service_tier": tier}))
        assert "`service_tier`" in refused(Reason.UNPRICED_MODEL, deny)
        free = exchange({"max_tokens": 5, "service_tier": tier}, targets=(LOCAL,))
        assert await bench.stage.request(free) is None
        assert await bench.stage.request(exchange({"max_tokens": 5, "service_tier": "flex"})) is None

    run(body)


def test_a_local_model_that_may_be_replaced_is_held_beside_the_one_that_takes_its_place() -> None:
    paid = Target("local", "small", "small:8b", "openai", PRICE, local=True)

    async def held(route: Route) -> int:
        bench, ex = Bench(rule(limit=10.0)), exchange({"max_tokens": 100})
        ex.route = route
        assert await bench.stage.request(ex) is None
        return (await bench.balance(CAP))[1]

    async def body() -> None:
        alone = await held(Route((STRONG,)))
        assert await held(Route((LOCAL, STRONG), "local")) == alone
        dearest_of_two = await held(Route((paid, STRONG), "requested"))
        assert await held(Route((paid, STRONG), "local")) == 2 * dearest_of_two

    run(body)


def test_what_a_replaced_model_cost_is_settled_where_no_other_was_reached() -> None:
    async def body() -> None:
        bench, ex = Bench(rule(limit=10.0)), exchange({"max_tokens": 100})
        assert await bench.stage.request(ex) is None
        ex.spent = Nanos(700)
        assert ex.bill is not None
        await bench.close(ex, Usage(), 700, sent=False)
        assert await bench.balance(CAP) == (700, 0)
        assert ex.bill(ex) == ((CAP, "usd", 700),)

    run(body)
