"""While the store is away: nothing is lost, nothing is charged twice, and the lease is never exceeded."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_cases import LATE, usd

from proxy.budget.port import Balance, BudgetStore, Claim, Ended, Exceeded, Held
from proxy.engine.ports import StoreError
from proxy.stores.faults import Unreachable
from proxy.stores.memory import MemoryBudget
from proxy.stores.outage import Outage


class Flaky:
    """A store behind a network: `fault` says what happens to the next verbs: nothing, lost before it was done, or after."""

    def __init__(self, store: BudgetStore) -> None:
        self.store = store
        self.fault = ""
        self.kind: type[StoreError] = Unreachable

    async def _do(self, work: Awaitable[Any]) -> Any:
        if self.fault == "before":
            asyncio.ensure_future(work).cancel()
            raise self.kind("away")
        answer = await work
        if self.fault == "after":
            raise self.kind("no answer")
        return answer

    async def reserve(self, hold_id: str, claims: Sequence[Claim], now: float, hold_expires: float, about: str = "") -> Held | Exceeded:
        found: Held | Exceeded = await self._do(self.store.reserve(hold_id, claims, now, hold_expires, about))
        return found

    async def extend(self, hold_id: str, amounts: Mapping[str, int], now: float, hold_expires: float | None = None) -> Held | Exceeded:
        found: Held | Exceeded = await self._do(self.store.extend(hold_id, amounts, now, hold_expires))
        return found

    async def settle(self, hold_id: str, amounts: Mapping[str, int], now: float, refund: Collection[str] = ()) -> bool:
        return bool(await self._do(self.store.settle(hold_id, amounts, now, refund)))

    async def release(self, hold_id: str, now: float) -> bool:
        return bool(await self._do(self.store.release(hold_id, now)))

    async def balances(self, counters: Sequence[str], now: float) -> dict[str, Balance]:
        found: dict[str, Balance] = await self._do(self.store.balances(counters, now))
        return found

    async def sweep(self, now: float) -> list[Ended]:
        found: list[Ended] = await self._do(self.store.sweep(now))
        return found

    async def recorded(self, hold_ids: Sequence[str]) -> None:
        await self._do(self.store.recorded(hold_ids))

    async def close(self) -> None:
        await self.store.close()


def run(body: Callable[[Flaky, Outage], Awaitable[None]], lease: int = 0) -> None:
    async def main() -> None:
        flaky = Flaky(MemoryBudget())
        outage = Outage(flaky, lease)
        await body(flaky, outage)
        await outage.close()

    asyncio.run(main())


@pytest.mark.parametrize("fault", ["before", "after"])
@pytest.mark.parametrize("kind", [Unreachable, StoreError])
def test_a_settle_that_fails_is_done_by_a_later_sweep_once(fault: str, kind: type[StoreError]) -> None:
    async def body(flaky: Flaky, store: Outage) -> None:
        flaky.kind = kind
        for name in ("a", "b", "c"):
            await store.reserve(name, [usd("x", 100, 30)], 1, 500)
        flaky.fault = fault
        assert await store.settle("a", {"usd": 10}, 2) is False
        assert await store.release("b", 2) is False
        assert store.kept == 2
        with pytest.raises(StoreError):
            await store.sweep(3)
        flaky.fault = ""
        assert await store.sweep(4) == []
        assert store.kept == 0
        assert await store.balances(["x"], 4) == {"x": (10, 30)}
        assert await store.settle("c", {"usd": 5}, 5) is True

    run(body)


def test_what_is_kept_is_bounded_in_number_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.stores.outage.MOST_KEPT", 1)

    async def body(flaky: Flaky, store: Outage) -> None:
        for name in ("a", "b"):
            await store.reserve(name, [usd("x", 100, 30)], 1, 50)
        flaky.fault = "before"
        await store.settle("a", {"usd": 10}, 2)
        with pytest.raises(Unreachable):
            await store.settle("b", {"usd": 10}, 2)
        flaky.fault = ""
        assert [ended.hold_id for ended in await store.sweep(60)] == ["a", "b"], "it expired first, so it is charged in full"
        assert store.kept == 0
        assert await store.balances(["x"], 60) == {"x": (60, 0)}

    run(body)


def test_what_is_kept_is_tried_a_last_time_at_the_end() -> None:
    async def body(flaky: Flaky, store: Outage) -> None:
        await store.reserve("a", [usd("x", 100, 30)], 1, 50)
        flaky.fault = "before"
        await store.settle("a", {"usd": 10}, 2)
        await store.close()
        assert store.kept == 1
        flaky.fault = ""
        await store.close()
        assert await store.balances(["x"], 2) == {"x": (10, 0)}

    run(body)


def test_without_a_lease_a_store_that_is_away_refuses() -> None:
    async def body(flaky: Flaky, store: Outage) -> None:
        flaky.fault = "after"
        with pytest.raises(Unreachable):
            await store.reserve("a", [usd("x", 100, 30)], 1, 50)
        await store.release("a", 1)
        flaky.fault = ""
        await store.sweep(2)
        assert await store.balances(["x"], 2) == {"x": (0, 0)}, "the reserve whose answer was lost is let go of"

    run(body)


@pytest.mark.parametrize("fault", ["before", "after"])
def test_a_lease_lets_calls_through_up_to_its_amount_and_is_whole_after_posting(fault: str) -> None:
    async def body(flaky: Flaky, store: Outage) -> None:
        claims = [usd("x", 1000, 30), Claim("r", "requests", 99, 1, LATE)]
        flaky.fault = fault
        for name in ("a", "b", "c"):
            assert isinstance(await store.reserve(name, claims, 1, 500), Held)
        assert await store.reserve("a", claims, 1, 500) == Held(((0, 90), (0, 3))), "doubled"
        with pytest.raises(StoreError, match="other claims"):
            await store.reserve("a", claims[:1], 1, 500)
        with pytest.raises(Unreachable, match="too little for this call"):
            await store.reserve("d", claims, 1, 500)
        await store.release("d", 1)
        assert await store.settle("a", {"usd": 10, "requests": 1}, 2) is True
        assert await store.settle("a", {"usd": 10, "requests": 1}, 2) is False
        await store.release("b", 2)
        assert store.lent == 40
        flaky.fault = ""
        await store.sweep(3)
        assert store.lent == 30, "only what still runs"
        assert await store.extend("c", {"usd": 50}, 3) == Held(((0, 50), (0, 1)))
        await store.settle("c", {"usd": 45, "requests": 1}, 4)
        await store.sweep(5)
        assert store.lent == 0
        assert await store.balances(["x", "r"], 5) == {"x": (55, 0), "r": (2, 0)}

    run(body, 100)


def test_while_it_lends_what_was_seen_of_other_limits_still_holds() -> None:
    async def body(flaky: Flaky, store: Outage) -> None:
        def call(counter: str, limit: int) -> list[Claim]:
            return [usd("x", None, 1), Claim(counter, "requests", limit, 1, LATE), Claim("c", "concurrency", 2, 1, LATE)]

        await store.reserve("old", call("r", 3), 1, 500)
        await store.settle("old", {"usd": 1, "requests": 1}, 1)
        flaky.fault = "before"
        assert isinstance(await store.reserve("a", call("r", 3), 1, 500), Held)
        answer = await store.reserve("b", call("r", 3), 1, 500)
        assert answer == Exceeded(2, ((0, 2), (0, 2), (0, 2))), "one that was seen running, and one of ours"
        await store.settle("a", {"usd": 1, "requests": 1}, 2)
        assert isinstance(await store.reserve("b", call("r", 3), 2, 500), Held)
        await store.settle("b", {"usd": 1, "requests": 1}, 2)
        assert await store.reserve("d", call("r", 3), 2, 500) == Exceeded(1, ((0, 3), (0, 3), (0, 1)))
        with pytest.raises(Unreachable):
            await store.reserve("e", [Claim("t", "tokens", 100, 1, LATE)], 2, 500)
        with pytest.raises(Unreachable):
            await store.balances(["x"], 2)

    run(body, 1000)


def test_a_hold_of_the_store_may_be_extended_on_the_lease() -> None:
    async def body(flaky: Flaky, store: Outage) -> None:
        await store.reserve("a", [usd("x", 100, 30)], 1, 500)
        await store.extend("a", {"usd": 40}, 1)
        flaky.fault = "before"
        assert isinstance(await store.extend("a", {"usd": 45}, 1), Held)
        assert isinstance(await store.extend("a", {"usd": 45}, 1), Held)
        assert store.lent == 5
        with pytest.raises(Unreachable):
            await store.extend("a", {"usd": 60}, 1)
        with pytest.raises(Unreachable):
            await store.extend("unknown", {"usd": 60}, 1)
        await store.settle("a", {"usd": 44}, 2)
        assert store.lent == 5
        flaky.fault = ""
        await store.sweep(3)
        assert store.lent == 0
        assert await store.balances(["x"], 3) == {"x": (44, 0)}

    run(body, 10)


STEP = st.tuples(st.sampled_from(["call", "call", "end", "end", "drop", "grow", "fault", "sweep"]), st.integers(0, 1), st.integers(0, 40))
LIMIT, LEASE = 150, 60


@settings(max_examples=300)
@given(steps=st.lists(STEP, max_size=60))
def test_two_replicas_never_spend_more_than_the_budget_and_their_leases(steps: list[tuple[str, int, int]]) -> None:
    async def main() -> None:  # noqa: PLR0912 - one script
        shared = MemoryBudget()
        links = [Flaky(shared), Flaky(shared)]
        replicas = [Outage(link, LEASE) for link in links]
        running: list[dict[str, int]] = [{}, {}]
        spent = 0
        for number, (what, who, size) in enumerate(steps):
            store, mine = replicas[who], running[who]
            if what == "fault":
                links[who].fault = ("", "before", "after")[size % 3]
            elif what == "sweep":
                try:
                    await store.sweep(1.0)
                except Unreachable:
                    pass
            elif what == "call":
                name = f"h{number}"
                try:
                    if isinstance(await store.reserve(name, [usd("x", LIMIT, size)], 1.0, 1e9), Held):
                        mine[name] = size
                except Unreachable:
                    await store.release(name, 1.0)
            elif mine:
                name = sorted(mine)[size % len(mine)]
                if what == "grow":
                    try:
                        if isinstance(await store.extend(name, {"usd": mine[name] + size}, 1.0), Held):
                            mine[name] += size
                    except StoreError:
                        pass
                elif what == "drop":
                    del mine[name]
                    await store.release(name, 1.0)
                else:
                    used = mine.pop(name) * size // 40
                    spent += used
                    await store.settle(name, {"usd": used}, 1.0)
            worst = spent + sum(sum(m.values()) for m in running)
            assert worst <= LIMIT + LEASE * 2
            assert all(0 <= replica.lent <= LEASE for replica in replicas)
        for link, store, mine in zip(links, replicas, running, strict=True):
            link.fault = ""
            for name in mine:
                await store.release(name, 1.0)
            await store.sweep(1.0)
            assert (store.lent, store.kept) == (0, 0)
        assert await shared.balances(["x"], 1.0) == {"x": (spent, 0)}, "each call is charged once, at what it used"

    asyncio.run(main())
