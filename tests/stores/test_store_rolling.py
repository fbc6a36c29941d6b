"""The contract of rolling windows, and of what a hold remembers, for every budget store."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from store_cases import LATE, SCHEMES, rolling, run, url_of, usd

from proxy.budget.port import SLICES, BudgetStore, Claim, Ended, Exceeded, Held, forgotten_at, slice_of
from proxy.engine.ports import StoreError


@pytest.fixture(params=SCHEMES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return url_of(request.param, tmp_path)


async def spend(store: BudgetStore, name: str, claim: Claim, now: float, used: int | None = None) -> Held | Exceeded:
    answer = await store.reserve(name, [claim], now, now + 5000)
    if isinstance(answer, Held):
        await store.settle(name, {claim.unit: claim.amount if used is None else used}, now)
    return answer


@pytest.mark.parametrize("span", [60.0, 90.0, 100.0, 3600.0, 86_400.0])
def test_what_was_spent_is_forgotten_a_span_later_and_never_early(url: str, span: float) -> None:
    async def body(store: BudgetStore) -> None:
        begin = 1_795_000_000.25
        gone = forgotten_at(slice_of(begin, span), span)
        assert span <= gone - begin <= span + span / SLICES
        assert isinstance(await spend(store, "1", rolling("r", 100, 70, span), begin), Held)
        assert await spend(store, "2", rolling("r", 100, 70, span), begin + span) == Exceeded(0, ((70, 0),), gone)
        assert await store.balances(["r"], gone - 0.01) == {"r": (70, 0)}
        assert await store.balances(["r"], gone + 0.01) == {"r": (0, 0)}
        assert await store.balances(["r"], begin) == {"r": (70, 0)}, "who only looks changes nothing"
        assert isinstance(await spend(store, "2", rolling("r", 100, 70, span), gone + 0.01), Held)
        assert await store.balances(["r"], gone + 0.01) == {"r": (70, 0)}

    run(url, body)


def test_a_burst_at_an_edge_never_sends_twice_the_limit(url: str) -> None:
    async def body(store: BudgetStore) -> None:
        times: list[float] = []
        for i in range(400):
            now = 1000 + i * 0.5
            claim = rolling("r", 10, 1, 60, "requests")
            if isinstance(await spend(store, str(i), claim, now), Held):
                times.append(now)
        assert all(sum(at < t <= at + 60 for t in times) <= 10 for at in times), "no 60 seconds hold more than 10"
        assert len(times) >= 30, "and the limit can be used: 200 seconds, 61 at most for each ten"

    run(url, body)


def test_a_rolling_window_frees_step_by_step(url: str) -> None:
    async def body(store: BudgetStore) -> None:
        for second in range(10):
            assert isinstance(await spend(store, str(second), rolling("r", 100, 10), 100 + second), Held)
        assert await spend(store, "full", rolling("r", 100, 1), 130) == Exceeded(0, ((100, 0),), 161.0)
        assert await store.balances(["r"], 163.5) == {"r": (70, 0)}
        assert isinstance(await spend(store, "some", rolling("r", 100, 30), 163.5), Held)
        assert await spend(store, "more", rolling("r", 100, 1), 163.6) == Exceeded(0, ((100, 0),), 164.0)

    run(url, body)


def test_money_counts_from_its_settle_and_is_held_until_then(url: str) -> None:
    async def body(store: BudgetStore) -> None:
        assert await store.reserve("long", [rolling("r", 100, 60)], 100, 5000) == Held(((0, 60),))
        assert await store.reserve("next", [rolling("r", 100, 60)], 900, 5000) == Exceeded(0, ((0, 60),), None), "held as long as it runs"
        assert await store.settle("long", {"usd": 40}, 900)
        assert await store.balances(["r"], 960) == {"r": (40, 0)}
        assert await store.balances(["r"], 961.5) == {"r": (0, 0)}

    run(url, body)


def test_requests_count_from_when_they_were_made(url: str) -> None:
    async def body(store: BudgetStore) -> None:
        def one(limit: int = 2) -> Claim:
            return rolling("r", limit, 1, 60, "requests")

        assert await store.reserve("a", [one()], 100, 5000) == Held(((1, 0),))
        assert await store.reserve("b", [one()], 110, 5000) == Held(((2, 0),))
        assert await store.reserve("b", [one()], 110, 5000) == Held(((2, 0),)), "doubled"
        assert await store.reserve("c", [one()], 120, 5000) == Exceeded(0, ((2, 0),), 161.0)
        assert await store.reserve("c", [one()], 161.5, 5000) == Held(((2, 0),)), "the first still runs, and counts no more"
        assert await store.settle("a", {"requests": 1}, 165)
        assert await store.balances(["r"], 165) == {"r": (2, 0)}
        assert await store.release("b", 166) is True, "never sent: taken back where it was counted"
        assert await store.balances(["r"], 166) == {"r": (1, 0)}
        assert await store.settle("c", {"requests": 1}, 167, refund=["r"])
        assert await store.balances(["r"], 167) == {"r": (0, 0)}
        assert await store.reserve("d", [one(), usd("a", 5, 6)], 168, 5000) == Exceeded(1, ((0, 0), (0, 0)))
        assert await store.balances(["r"], 168) == {"r": (0, 0)}, "all or none"
        assert await store.reserve("late", [one()], 170, 180) == Held(((1, 0),))
        assert [e for e in await store.sweep(300) if not e.settled] == [Ended("late", (("r", "requests", 1),))]
        assert await store.balances(["r"], 300) == {"r": (0, 0)}

    run(url, body)


def test_extending_a_rolling_hold_sees_what_is_left_of_the_window(url: str) -> None:
    async def body(store: BudgetStore) -> None:
        await spend(store, "old", rolling("r", 100, 50), 100)
        await store.reserve("h", [rolling("r", 100, 30)], 120, 5000)
        assert await store.extend("h", {"usd": 60}, 130) == Exceeded(0, ((50, 30),), 161.0)
        assert await store.extend("h", {"usd": 60}, 161.5) == Held(((0, 60),))
        await store.settle("h", {"usd": 60}, 170)
        assert await store.balances(["r"], 175) == {"r": (60, 0)}

    run(url, body)


def test_a_rolling_counter_outlives_the_expiry_that_its_claim_gave(url: str) -> None:
    async def body(store: BudgetStore) -> None:
        await store.reserve("h", [Claim("r", "usd", 100, 50, 160.0, span=60.0)], 100, 5000)
        await store.settle("h", {"usd": 50}, 150)
        assert await store.sweep(165) == []
        assert await store.balances(["r"], 165) == {"r": (50, 0)}, "forgetting it now would be early"
        await store.sweep(500)
        assert await store.balances(["r"], 150) == {"r": (0, 0)}

    run(url, body)


def test_a_rolling_request_may_outlive_its_counter(url: str) -> None:
    async def body(store: BudgetStore) -> None:
        await store.reserve("h", [Claim("r", "requests", 5, 1, 160.0, span=60.0)], 100, 5000)
        await store.sweep(400)
        assert await store.settle("h", {"requests": 1}, 401)
        assert await store.balances(["r"], 401) == {"r": (0, 0)}

    run(url, body)


def test_requests_that_are_added_to_a_step_that_is_over_count_no_more(url: str) -> None:
    async def body(store: BudgetStore) -> None:
        await store.reserve("h", [rolling("r", 70, 20, 60, "requests")], 100, 5000)
        assert await store.extend("h", {"requests": 47}, 300) == Held(((0, 0),))
        assert await store.settle("h", {"requests": 47}, 301)
        assert await store.balances(["r"], 301) == {"r": (0, 0)}

    run(url, body)


def test_clocks_that_differ_or_step_back_forget_nothing_early(url: str) -> None:
    async def body(store: BudgetStore) -> None:
        await spend(store, "fast", rolling("r", 100, 30), 1010)
        await spend(store, "slow", rolling("r", 100, 30), 1000)
        await spend(store, "back", rolling("r", 100, 30), 990)
        assert await spend(store, "full", rolling("r", 100, 30), 995) == Exceeded(0, ((90, 0),), 1051.0)
        assert await store.balances(["r"], 1050.5) == {"r": (90, 0)}
        assert await spend(store, "f", rolling("r", 100, 50), 1051.5) == Exceeded(0, ((60, 0),), 1061.0)
        assert await store.settle("unknown", {"usd": 3}, 0.0) is False
        assert await store.balances(["r"], 0.0) == {"r": (60, 0)}

    run(url, body)


def test_a_limit_of_zero_allows_nothing_and_one_below_what_is_spent_refuses(url: str) -> None:
    async def body(store: BudgetStore) -> None:
        assert await store.reserve("z", [usd("zero", 0, 1)], 1, 50) == Exceeded(0, ((0, 0),))
        assert await store.reserve("z", [rolling("rz", 0, 1)], 1, 50) == Exceeded(0, ((0, 0),))
        assert await store.reserve("z", [usd("zero", 0, 0)], 1, 50) == Held(((0, 0),)), "what is free may be had"
        await spend(store, "one", rolling("r", 100, 80), 100)
        assert await store.reserve("two", [rolling("r", 50, 1)], 101, 5000) == Exceeded(0, ((80, 0),), 161.0)

    run(url, body)


def test_a_hold_remembers_what_it_is_about_and_a_sweep_says_what_it_charged(url: str) -> None:
    async def body(store: BudgetStore) -> None:
        claims = [usd("a", 100, 40), Claim("c", "concurrency", 2, 1, LATE), rolling("r", None, 7, 60, "tokens")]
        await store.reserve("dead", claims, 1, 50, 'agent triage, session é\n"1"')
        await store.reserve("alive", [usd("a", 100, 30)], 1, 500)
        await store.extend("dead", {"usd": 45, "concurrency": 1}, 2)
        assert await store.sweep(49) == []
        assert await store.sweep(50) == [Ended("dead", (("a", "usd", 45), ("r", "tokens", 7)), 'agent triage, session é\n"1"')]
        assert await store.sweep(50) == []

    run(url, body)


def test_of_many_sweeps_at_once_one_alone_reports_a_hold(url: str) -> None:
    async def body(store: BudgetStore) -> None:
        for i in range(20):
            await store.reserve(f"h{i}", [usd("a", None, 1)], 1, 50)
        found = await asyncio.gather(*[store.sweep(60) for _ in range(5)])
        assert sorted(e.hold_id for some in found for e in some) == sorted(f"h{i}" for i in range(20))
        assert await store.balances(["a"], 60) == {"a": (20, 0)}
        with pytest.raises(StoreError):
            await store.extend("h1", {"usd": 5}, 61)

    run(url, body)
