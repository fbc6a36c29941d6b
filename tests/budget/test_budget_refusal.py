"""What the budget stage refuses, and what it only notes."""

from __future__ import annotations

from typing import Any

import pytest
from budget_bench import CAP, Bench, headers, run
from budget_exchange import LOCAL, PRICE, STRONG, UNPRICED, FixedClock, chat, exchange, grant, refused, rule

from proxy.budget.cost import Cost
from proxy.budget.port import Claim, Exceeded, Held
from proxy.budget.refusal import exceeded
from proxy.budget.stage import BudgetStage
from proxy.engine.ports import StoreError
from proxy.model import Limit, Reason, Source, Usage
from proxy.stores.memory import MemoryBudget


def test_a_ceiling_that_nobody_asked_for_is_lowered_rather_than_refused() -> None:
    async def body() -> None:
        bench, ex = Bench(rule(limit=0.01)), exchange()
        assert await bench.stage.request(ex) is None
        assert ex.max_output is not None
        assert 64 <= ex.max_output < 1000
        assert ex.held_output == ex.max_output
        assert headers(ex)["x-fleetgate-max-output"] == str(ex.max_output)
        spent, held = await bench.balance(CAP)
        assert spent + held <= 10_000_000 < held + 10_000, "all that is left is used, to the token"

    run(body)


def test_a_refusal_names_rule_rest_reset_and_remedy() -> None:
    async def body() -> None:
        bench = Bench(rule("day", 0.001, window="day"), rule("big", 100.0))
        first = exchange({"max_tokens": 80})
        assert await bench.stage.request(first) is None
        deny = await bench.stage.request(exchange({"max_tokens": 80}))
        assert "day" in refused(Reason.BUDGET_EXCEEDED, deny)
        assert deny is not None
        assert deny.rule == "budgets/test.yaml:3 budgets.day (day)"
        assert deny.remaining is not None
        assert deny.remaining.endswith(" USD")
        assert deny.resets_at is not None
        assert deny.remedy
        assert deny.retry_after_s is not None, "what runs will free it"
        await bench.close(first, Usage(input=10, output=80), 900_000)
        deny = await bench.stage.request(exchange({"max_tokens": 80}))
        assert deny is not None
        assert deny.retry_after_s is None, "spent: nothing but the next day helps"
        assert "next day" in deny.remedy
        assert await bench.balance("big|usd||total") == (900_000, 0), "a refused call holds nothing anywhere"

    run(body)


def test_a_refused_call_releases_nothing_and_leaves_no_trace() -> None:
    async def body() -> None:
        bench, ex = Bench(rule(limit=0.0001)), exchange()
        assert await bench.stage.request(ex) is not None
        await bench.close(ex, Usage(), 0, sent=False)
        assert bench.store._book.holds == {}

    run(body)


def test_a_call_that_no_empty_budget_could_hold_is_too_costly() -> None:
    async def body() -> None:
        deny = await Bench(rule(limit=0.0001)).stage.request(exchange(chat("long " * 500)))
        assert "more than budget cap ever has" in refused(Reason.REQUEST_TOO_COSTLY, deny)
        deny = await Bench(rule("few", 10, "tokens")).stage.request(exchange())
        refused(Reason.REQUEST_TOO_COSTLY, deny)

    run(body)


def test_rates_and_slots_have_their_own_reasons() -> None:
    async def body() -> None:
        rate = rule("burst", 1, "requests", "minute", reason=Reason.RATE_LIMITED)
        slots = rule("slots", 1, "concurrency", reason=Reason.RATE_LIMITED)
        steps = rule("steps", 1, "requests", "session", reason=Reason.STEP_LIMIT)
        for kind, reason, retry in (
            (rate, Reason.RATE_LIMITED, True),
            (slots, Reason.RATE_LIMITED, True),
            (steps, Reason.STEP_LIMIT, False),
        ):
            bench, first = Bench(kind), exchange()
            assert await bench.stage.request(first) is None
            assert first.max_output is None
            deny = await bench.stage.request(exchange())
            refused(reason, deny)
            assert deny is not None
            assert (deny.retry_after_s is not None) == retry
            assert deny.retry_after_s is None or 1 <= deny.retry_after_s <= 30
            await bench.close(first, Usage(), 0)
            assert (await bench.stage.request(exchange()) is None) == (kind is slots), "a slot is free again, a request was made"

    run(body)


def test_a_retry_in_the_next_window_passes() -> None:
    async def body() -> None:
        bench, clock = Bench(rule("burst", 1, "requests", "minute")), FixedClock()
        assert await bench.stage.request(exchange(clock=clock)) is None
        for _ in range(3):
            clock.wall += 1
            assert await bench.stage.request(exchange(clock=clock)) is not None, "refused retries do not renew the block"
        clock.wall += 60
        assert await bench.stage.request(exchange(clock=clock)) is None

    run(body)


def test_a_rolling_rate_says_when_it_next_lets_one_through() -> None:
    async def body() -> None:
        rate = rule("burst", 2, "requests", "rolling 1m", reason=Reason.RATE_LIMITED)
        clock = FixedClock()
        begin, bench = clock.wall, Bench(rate)
        assert await bench.stage.request(exchange(clock=clock)) is None
        clock.wall += 20
        assert await bench.stage.request(exchange(clock=clock)) is None
        deny = await bench.stage.request(exchange(clock=clock))
        assert "(rolling 1m) allows 2 requests, and 2 were made" in refused(Reason.RATE_LIMITED, deny)
        assert deny is not None
        assert deny.resets_at == begin + 61
        assert deny.retry_after_s == 30
        clock.wall = begin + 55
        deny = await bench.stage.request(exchange(clock=clock))
        assert deny is not None
        assert deny.retry_after_s == 6
        assert "Wait until enough of the window has passed" in deny.remedy
        clock.wall = begin + 61
        assert await bench.stage.request(exchange(clock=clock)) is None
        assert await bench.stage.request(exchange(clock=clock)) is not None

    run(body)


def test_a_rolling_budget_that_the_store_did_not_name_resets_in_a_whole_span_at_most() -> None:
    short = Claim("c", "usd", 10**9, 5, 1e12, rule("c", window="rolling 24h"), span=86_400.0)
    wide = Claim("w", "output_tokens", 500, 400, 1e12, rule("w", 500, "output_tokens", "rolling 30m"), span=1800.0)
    answer = Exceeded(1, ((10**9, 0), (200, 0)), 777.0)
    deny = exceeded([short, wide], answer, Cost(((10, PRICE),)), 64, 100.0)
    assert "Budget c (rolling 24h)" in deny.message
    assert (deny.resets_at, deny.retry_after_s) == (100 + 86_400, None)
    deny = exceeded([short._replace(limit=None), wide], answer, Cost(((10, PRICE),)), 400, 100.0)
    assert deny.message == (
        "Budget w (rolling 30m) allows 500 output tokens: 200 output tokens spent, 0 output tokens held by running calls; "
        "this call needs at least 400 output tokens."
    )
    assert (deny.resets_at, deny.remaining) == (777.0, "300 output tokens")
    deny = exceeded([wide], Exceeded(0, ((200, 200),), 50.0), Cost(()), 300, 100.0)
    assert (deny.resets_at, deny.retry_after_s) == (100.0, 5.0), "what runs will free it; no reset in the past"


def test_a_budget_edited_below_what_is_spent_refuses_and_nothing_is_left_of_it() -> None:
    async def body() -> None:
        bench = Bench(rule(limit=1.0))
        ex = exchange({"max_tokens": 100})
        assert await bench.stage.request(ex) is None
        await bench.close(ex, Usage(input=1, output=1), 900_000_000)
        edited = BudgetStage([rule(limit=0.5)], bench.store)
        deny = await edited.request(exchange())
        refused(Reason.BUDGET_EXCEEDED, deny)
        assert deny is not None
        assert deny.remaining == "0.00 USD"
        assert await bench.balance(CAP) == (900_000_000, 0)

    run(body)


def test_limits_on_prompts_and_on_answers() -> None:
    async def body() -> None:
        bench = Bench(rule("out", 100, "output_tokens"), rule("in", 50, "input_tokens"))
        ex = exchange()
        assert await bench.stage.request(ex) is None
        assert ex.max_output == 100, "lowered to what is left"
        await bench.close(ex, Usage(input=5, cache_read=6, output=30), 0)
        assert await bench.balance("out|output_tokens||total") == (30, 0)
        assert await bench.balance("in|input_tokens||total") == (11, 0)
        refused(Reason.REQUEST_TOO_COSTLY, await bench.stage.request(exchange(chat("word " * 500))))
        few = Bench(rule("in", 0, "input_tokens"))
        refused(Reason.REQUEST_TOO_COSTLY, await few.stage.request(exchange()))
        assert await few.balance("in|input_tokens||total") == (0, 0)

    run(body)


def test_a_model_without_price_is_refused_unless_it_is_local() -> None:
    async def body() -> None:
        for rules in ((), (rule(),)):
            bench = Bench(*rules)
            refused(Reason.UNPRICED_MODEL, await bench.stage.request(exchange(targets=(UNPRICED,))))
            refused(Reason.UNPRICED_MODEL, await bench.stage.request(exchange(targets=(STRONG, UNPRICED))))
            assert await bench.stage.request(exchange(targets=(LOCAL,))) is None
            if rules:
                assert await bench.balance(CAP) == (0, 0), "local is free"

    run(body)


def test_a_header_tightens_the_session_and_never_widens() -> None:
    async def body() -> None:
        bench = Bench(rule(limit=0.02))
        ex = exchange(headers={"x-fleetgate-limit-usd": "0.01"})
        await bench.stage.request(ex)
        assert await bench.balance("header:x-fleetgate-limit-usd|usd|agent=triage,session=s1|session") == await bench.balance(CAP)
        assert (await bench.balance(CAP))[1] <= 10_000_000
        await bench.close(ex, Usage(), 0, sent=False)
        await bench.stage.request(exchange(headers={"x-fleetgate-limit-usd": "50"}))
        assert (await bench.balance(CAP))[1] <= 20_000_000
        for bad in ("", "much", "-1", "nan"):
            deny = await bench.stage.request(exchange(headers={"x-fleetgate-limit-usd": bad}))
            refused(Reason.MALFORMED_REQUEST, deny)

    run(body)


def test_bounds_on_input_refuse_or_leave_a_finding() -> None:
    async def body() -> None:
        bench, long = Bench(), chat("word " * 500)
        tight, loose = Limit(100, Source("AGENTS.md", 7, "policy.budgets.request")), Limit(10_000, Source("AGENTS.md", 9))
        deny = await bench.stage.request(exchange(long, given=grant(max_input=(loose, tight))))
        assert "may send 100" in refused(Reason.REQUEST_TOO_COSTLY, deny)
        assert deny is not None
        assert deny.rule == "AGENTS.md:7 policy.budgets.request"
        dry = Limit(100, Source("AGENTS.md", 7), shadow=True)
        ex = exchange(long, given=grant(max_input=(loose, dry)))
        assert await bench.stage.request(ex) is None
        assert [f.rule for f in ex.findings] == ["shadow/request_too_costly"]

    run(body)


def test_dry_runs_and_warnings_are_findings() -> None:
    async def body() -> None:
        bench = Bench(
            rule("dry", 0.001, shadow=True), rule("soft", 0.001, on_exceed="warn"), rule("near", 1.0, warn_at=(0.001, 0.002, 0.9))
        )
        ex = exchange({"max_tokens": 300})
        assert await bench.stage.request(ex) is None
        assert [(f.rule, f.detail) for f in ex.findings] == [
            ("shadow/budget_exceeded", "dry"),
            ("budget/exceeded", "soft"),
            ("budget/warn", "near 0.2%"),
        ]
        ex = exchange({"max_tokens": 1})
        await Bench(rule("near", 1.0, warn_at=(0.5,))).stage.request(ex)
        assert ex.findings == []

    run(body)


def test_questions_are_requests_but_no_steps_of_an_agent() -> None:
    async def body() -> None:
        steps = rule("steps", 1, "requests", "session", reason=Reason.STEP_LIMIT)
        bench = Bench(rule("often", 9, "requests"), steps)
        for _ in range(3):
            assert await bench.stage.request(exchange(path="/v1/models")) is None
        assert await bench.balance("often|requests||total") == (0, 3)
        assert await bench.stage.request(exchange()) is None
        refused(Reason.STEP_LIMIT, await bench.stage.request(exchange()))

    run(body)


class Broken(MemoryBudget):
    """A store whose answer is lost: the hold may stand or not."""

    def __init__(self, applied: bool) -> None:
        super().__init__()
        self.applied = applied

    async def reserve(self, hold_id: str, claims: Any, now: float, hold_expires: float, about: str = "") -> Held | Exceeded:
        if self.applied:
            await super().reserve(hold_id, claims, now, hold_expires)
        raise StoreError("lost")


@pytest.mark.parametrize("applied", [True, False])
def test_a_store_that_does_not_answer_refuses_and_leaves_no_hold(applied: bool) -> None:
    async def body() -> None:
        store, ex = Broken(applied), exchange()
        with pytest.raises(StoreError):
            await BudgetStage([rule()], store).request(ex)
        for _, release in ex.defers:
            await release(ex)
        assert await store.balances([CAP], 0) == {CAP: (0, 0)}

    run(body)


class Racing(MemoryBudget):
    """A store where another call takes a part between the refusal and the second try."""

    async def reserve(self, hold_id: str, claims: Any, now: float, hold_expires: float, about: str = "") -> Held | Exceeded:
        answer = await super().reserve(hold_id, claims, now, hold_expires)
        if isinstance(answer, Exceeded):
            name = f"other{len(self._book.holds)}"
            await super().reserve(name, [Claim(CAP, "usd", None, 500_000, 1e12)], now, hold_expires)
        return answer


def test_a_race_for_the_rest_is_tried_again_a_few_times_only() -> None:
    async def body() -> None:
        store = Racing()
        deny = await BudgetStage([rule(limit=0.1)], store).request(exchange())
        refused(Reason.BUDGET_EXCEEDED, deny)
        assert len(store._book.holds) == 4

    run(body)
