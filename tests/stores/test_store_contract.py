"""One contract for every budget store, by example."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path

import pytest
from store_cases import LATE, SCHEMES, run, url_of, usd

from proxy.budget.port import TOMBSTONE_S, BudgetStore, Claim, Exceeded, Held
from proxy.engine.ports import StoreError
from proxy.engine.releases import begin


@pytest.fixture(params=SCHEMES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return url_of(request.param, tmp_path)


def test_reserve_holds_and_settle_spends_what_was_used(url: str) -> None:
    async def body(store: BudgetStore) -> None:
        assert await store.reserve("h", [usd("a", 100, 60), Claim("t", "tokens", None, 9, LATE)], 1, 50) == Held(((0, 60), (0, 9)))
        assert await store.settle("h", {"usd": 25, "tokens": 4}, 2)
        assert await store.balances(["a", "t", "never"], 0) == {"a": (25, 0), "t": (4, 0), "never": (0, 0)}

    run(url, body)


def test_a_settle_begins_where_no_task_of_its_own_is(url: str) -> None:
    """As `engine.releases` runs it: its first steps may not ask which task they are in."""

    async def body(store: BudgetStore) -> None:
        await store.reserve("h", [usd("a", 100, 50)], 0, LATE)
        rests: list[Awaitable[None] | None] = []
        done = asyncio.Event()

        async def settle() -> None:
            await store.settle("h", {"usd": 20}, 0)

        def outside() -> None:
            assert asyncio.current_task() is None
            rests.append(begin(settle()))
            done.set()

        asyncio.get_running_loop().call_soon(outside)
        await done.wait()
        if rests[0] is not None:
            await rests[0]
        assert (await store.balances(["a"], 0))["a"] == (20, 0)

    run(url, body)


def test_a_refused_reserve_holds_nothing_anywhere(url: str) -> None:
    async def body(store: BudgetStore) -> None:
        await store.reserve("one", [usd("b", 100, 90)], 1, 50)
        answer = await store.reserve("two", [usd("a", 100, 20), usd("b", 100, 20)], 1, 50)
        assert answer == Exceeded(1, ((0, 0), (0, 90)))
        assert await store.balances(["a", "b"], 0) == {"a": (0, 0), "b": (0, 90)}
        assert isinstance(await store.reserve("two", [usd("a", 100, 20), usd("b", 100, 10)], 1, 50), Held)

    run(url, body)


def test_the_limit_itself_can_be_used_and_not_one_more(url: str) -> None:
    async def body(store: BudgetStore) -> None:
        assert isinstance(await store.reserve("x", [usd("a", 100, 101)], 1, 50), Exceeded)
        assert isinstance(await store.reserve("y", [usd("a", 100, 100)], 1, 50), Held)
        assert isinstance(await store.reserve("z", [usd("a", 100, 1)], 1, 50), Exceeded)
        assert isinstance(await store.reserve("n", [usd("a", None, 500)], 1, 50), Held), "a claim without limit only counts"

    run(url, body)


def test_doubled_and_late_verbs_change_nothing(url: str) -> None:
    async def body(store: BudgetStore) -> None:
        first = await store.reserve("h", [usd("a", 100, 60)], 1, 50)
        assert await store.reserve("h", [usd("a", 100, 60)], 1, 50) == first
        assert await store.settle("h", {"usd": 10}, 2) is True
        assert await store.settle("h", {"usd": 60}, 3) is False
        assert await store.release("h", 3) is False
        assert await store.balances(["a"], 0) == {"a": (10, 0)}
        with pytest.raises(StoreError):
            await store.reserve("h", [usd("a", 100, 1)], 4, 50)
        with pytest.raises(StoreError):
            await store.extend("h", {"usd": 1}, 4)

    run(url, body)


def test_release_refunds_all_and_needs_no_hold(url: str) -> None:
    async def body(store: BudgetStore) -> None:
        await store.reserve("h", [usd("a", 100, 60), Claim("r", "requests", 5, 1, LATE)], 1, 50)
        assert await store.release("h", 2) is True
        assert await store.balances(["a", "r"], 0) == {"a": (0, 0), "r": (0, 0)}
        assert await store.release("unknown", 2) is False
        with pytest.raises(StoreError):
            await store.reserve("unknown", [usd("a", 100, 1)], 3, 50)

    run(url, body)


def test_settle_can_refund_single_counters(url: str) -> None:
    async def body(store: BudgetStore) -> None:
        await store.reserve("h", [usd("served", 100, 60), usd("other", 100, 60)], 1, 50)
        await store.settle("h", {"usd": 30}, 2, refund=["other"])
        assert await store.balances(["served", "other"], 0) == {"served": (30, 0), "other": (0, 0)}

    run(url, body)


def test_more_than_was_held_is_charged_in_full(url: str) -> None:
    async def body(store: BudgetStore) -> None:
        await store.reserve("h", [usd("a", 100, 10)], 1, 50)
        await store.settle("h", {"usd": 150}, 2)
        assert await store.balances(["a"], 0) == {"a": (150, 0)}
        assert await store.reserve("i", [usd("a", 100, 0)], 3, 50) == Exceeded(0, ((150, 0),))

    run(url, body)


def test_extend_grows_every_claim_or_none(url: str) -> None:
    async def body(store: BudgetStore) -> None:
        await store.reserve("h", [usd("a", 100, 10), usd("b", 30, 10)], 1, 50)
        assert await store.extend("h", {"usd": 30}, 2) == Held(((0, 30), (0, 30)))
        assert await store.extend("h", {"usd": 30}, 2) == Held(((0, 30), (0, 30))), "a doubled call changes nothing"
        assert await store.extend("h", {"usd": 31}, 2) == Exceeded(1, ((0, 30), (0, 30)))
        assert await store.extend("h", {}, 2, hold_expires=90) == Held(((0, 30), (0, 30)))
        assert len(await store.sweep(60)) == 0, "it was extended until 90"
        await store.settle("h", {"usd": 5}, 61)
        assert await store.balances(["a", "b"], 0) == {"a": (5, 0), "b": (5, 0)}
        with pytest.raises(StoreError):
            await store.extend("never", {"usd": 1}, 2)

    run(url, body)


def test_sweep_settles_expired_holds_in_full_and_frees_what_runs(url: str) -> None:
    async def body(store: BudgetStore) -> None:
        await store.reserve("dead", [usd("a", 100, 40), Claim("c", "concurrency", 2, 1, LATE)], 1, 50)
        await store.reserve("alive", [usd("a", 100, 30)], 1, 500)
        assert len(await store.sweep(50)) == 1
        assert len(await store.sweep(51)) == 0
        assert await store.balances(["a", "c"], 0) == {"a": (40, 30), "c": (0, 0)}
        assert await store.settle("dead", {"usd": 1}, 60) is False, "too late"
        await store.settle("alive", {"usd": 1}, 60)
        assert await store.balances(["a"], 0) == {"a": (41, 0)}

    run(url, body)


def test_a_settle_just_before_the_sweep_counts(url: str) -> None:
    async def body(store: BudgetStore) -> None:
        for name in ("settled", "new", "dead"):
            await store.reserve(name, [usd("a", 1000, 40), usd(name, 100, 40)], 1, 50)
        early, longer = store.settle("settled", {"usd": 1}, 60), store.extend("new", {}, 60, hold_expires=90)
        swept = await asyncio.gather(early, longer, store.sweep(60), store.settle("new", {"usd": 2}, 60))
        assert len(swept[2]) == 1
        assert await store.balances(["a", "settled", "new", "dead"], 0) == {"a": (43, 0), "settled": (1, 0), "new": (2, 0), "dead": (40, 0)}

    run(url, body)


def test_settled_holds_are_forgotten_after_a_while(url: str) -> None:
    async def body(store: BudgetStore) -> None:
        await store.reserve("h", [usd("a", 100, 40)], 1, 50)
        await store.release("h", 2)
        await store.sweep(2 + TOMBSTONE_S - 1)
        with pytest.raises(StoreError):
            await store.reserve("h", [usd("a", 100, 40)], 3, 50)
        await store.sweep(2 + TOMBSTONE_S)
        assert isinstance(await store.reserve("h", [usd("a", 100, 40)], 3, 50), Held)

    run(url, body)


def test_counters_are_forgotten_when_they_expire_and_nothing_is_held(url: str) -> None:
    async def body(store: BudgetStore) -> None:
        await store.reserve("h", [Claim("old", "usd", 10, 3, 100)], 1, 5000)
        await store.sweep(101)
        assert await store.balances(["old"], 0) == {"old": (0, 3)}, "still held"
        await store.settle("h", {"usd": 3}, 102)
        assert await store.balances(["old"], 0) == {"old": (3, 0)}
        await store.reserve("i", [Claim("old", "usd", 10, 1, 300)], 103, 5000)
        await store.release("i", 104)
        await store.sweep(299)
        assert await store.balances(["old"], 0) == {"old": (3, 0)}, "touched since"
        await store.sweep(300)
        assert await store.balances(["old"], 0) == {"old": (0, 0)}

    run(url, body)


@pytest.mark.parametrize("looked", [False, True])
@pytest.mark.parametrize("span", [0.0, 60.0])
@pytest.mark.parametrize("end", ["settle", "release", "extend", "sweep"])
def test_a_hold_outlives_counters_of_which_it_holds_nothing(url: str, end: str, span: float, looked: bool) -> None:
    async def body(store: BudgetStore) -> None:
        claims = [Claim("brief", "usd", 100, 0, 5, span=span), Claim("long", "tokens", 50, 7, LATE)]
        assert isinstance(await store.reserve("h", claims, 1, 20), Held)
        assert await store.sweep(10) == []
        if looked:
            await store.balances(["brief"], 11)
        if end == "extend":
            assert isinstance(await store.extend("h", {"tokens": 9}, 12), Held)
            assert (await store.balances(["long"], 12))["long"] == (0, 9)
        if end == "sweep":
            assert [ended.hold_id for ended in await store.sweep(30)] == ["h"]
        else:
            assert await (store.release("h", 13) if end == "release" else store.settle("h", {"usd": 3, "tokens": 4}, 13))
        spent = {"release": 0, "sweep": 7}.get(end, 4)
        assert (await store.balances(["long"], 31))["long"] == (spent, 0)

    run(url, body)


def test_200_concurrent_calls_never_pass_one_limit(url: str) -> None:
    async def body(store: BudgetStore) -> None:
        held_now = spent = peak = refused = 0

        async def call(i: int) -> None:
            nonlocal held_now, spent, peak, refused
            for turn in range(5):
                hold_id = f"{i}.{turn}"
                if isinstance(await store.reserve(hold_id, [usd("one", 1000, 50)], 1, 50), Exceeded):
                    refused += 1
                    continue
                held_now += 50
                peak = max(peak, held_now + spent)
                await asyncio.sleep(0)
                used = (i * 7 + turn * 13) % 51
                # both before the await: what the store knows is never less than what we count
                held_now, spent = held_now - 50, spent + used
                await store.settle(hold_id, {"usd": used}, 1)

        await asyncio.gather(*[call(i) for i in range(200)])
        assert await store.balances(["one"], 0) == {"one": (spent, 0)}
        assert peak <= 1000
        assert spent > 500, "the budget could be used"
        assert refused > 0

    run(url, body)


def test_verbs_are_seen_in_the_order_in_which_they_were_submitted(url: str) -> None:
    async def body(store: BudgetStore) -> None:
        await store.reserve("first", [usd("a", 100, 100)], 1, 50)
        done = await asyncio.gather(store.settle("first", {"usd": 0}, 2), store.reserve("second", [usd("a", 100, 100)], 2, 50))
        assert isinstance(done[1], Held)

    run(url, body)


def test_a_cancelled_reserve_leaves_nothing_once_its_release_ran(url: str) -> None:
    async def body(store: BudgetStore) -> None:
        task = asyncio.ensure_future(store.reserve("h", [usd("a", 100, 60)], 1, 50))
        await asyncio.sleep(0)
        task.cancel()
        await store.release("h", 2)
        assert await store.balances(["a"], 0) == {"a": (0, 0)}

    run(url, body)
