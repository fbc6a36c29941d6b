"""What a settle charged stays with the store until its record is durable, and a sweep tells of it until then."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from redis_server import needs_redis
from store_cases import LATE, opened, rolling, run, url_of, usd

from proxy.budget.port import RECORD_S, BudgetStore, Claim, Ended, Held

MANY = (usd("a", 100, 40), usd("b", 100, 40), Claim("t", "tokens", None, 9, LATE), Claim("c", "concurrency", 2, 1, LATE))


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=needs_redis)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return url_of(request.param, tmp_path)


def twice(url: str, body: Callable[[BudgetStore, BudgetStore], Awaitable[None]]) -> None:
    """Run `body` with the stores of two processes."""

    async def main() -> None:
        async with opened(url) as one, opened(url) as other:
            await body(one, other)

    asyncio.run(main())


def test_a_settled_hold_without_a_record_comes_back_until_it_has_one(url: str) -> None:
    owed = Ended("h", (("a", "usd", 25), ("t", "tokens", 4)), 'who "é"', settled=True)

    async def body(one: BudgetStore, other: BudgetStore) -> None:
        assert isinstance(await one.reserve("h", MANY, 1, 50, 'who "é"'), Held)
        assert await one.settle("h", {"usd": 25, "tokens": 4, "requests": 1}, 2, refund=["b"])
        assert await other.settle("h", {"usd": 7}, 3) is False, "the answer was lost: charged once, owed once"
        assert await other.sweep(2 + RECORD_S - 0.5) == []
        found = await asyncio.gather(other.sweep(2 + RECORD_S), one.sweep(2 + RECORD_S), other.sweep(2 + RECORD_S))
        assert sorted(found, key=len) == [[], [], [owed]], "one alone is told"
        assert await one.sweep(2 + 2 * RECORD_S - 0.5) == []
        assert await one.sweep(2 + 2 * RECORD_S) == [owed], "who was told died too"
        assert await one.settle("h", {"usd": 7}, 2 + 2 * RECORD_S) is False, "it is remembered as long"
        await one.recorded(["h", "never"])
        assert await other.sweep(1e6) == []
        assert await other.balances(["a", "b", "t", "c"], 1) == {"a": (25, 0), "b": (0, 0), "t": (4, 0), "c": (0, 0)}

    twice(url, body)


def test_a_hold_that_a_sweep_ended_comes_back_until_it_has_a_record(url: str) -> None:
    owed = Ended("h", (("a", "usd", 40), ("b", "usd", 40), ("t", "tokens", 9)), "x")

    async def body(one: BudgetStore, other: BudgetStore) -> None:
        await one.reserve("h", MANY, 1, 50, "x")
        assert await other.sweep(50) == [owed]
        assert await one.sweep(49 + RECORD_S) == []
        assert await one.sweep(50 + RECORD_S) == [owed]
        await one.recorded(["h"])
        assert await one.sweep(1e6) == []

    twice(url, body)


def test_what_charged_nothing_is_owed_nothing(url: str) -> None:
    async def body(store: BudgetStore) -> None:
        for name in ("released", "free", "refunded", "recorded"):
            await store.reserve(name, [usd("a", 100, 5)], 1, 50)
        await store.release("released", 2)
        await store.settle("free", {"usd": 0, "tokens": 3}, 2)
        await store.settle("refunded", {"usd": 3}, 2, refund=["a"])
        await store.settle("unknown", {"usd": 3}, 2)
        await store.settle("recorded", {"usd": 3}, 2)
        await store.recorded(["recorded"])
        assert await store.sweep(1e6) == []

    run(url, body)


def test_what_stands_is_not_touched_by_who_takes_it_for_recorded(url: str) -> None:
    async def body(store: BudgetStore) -> None:
        await store.reserve("h", [usd("a", 100, 40)], 1, 50)
        await store.recorded(["h"])
        assert await store.balances(["a"], 1) == {"a": (0, 40)}
        assert await store.settle("h", {"usd": 30}, 2)
        assert await store.sweep(2 + RECORD_S) == [Ended("h", (("a", "usd", 30),), settled=True)]

    run(url, body)


def test_a_charge_to_a_rolling_window_is_owed_as_any_other(url: str) -> None:
    claims = (rolling("r", 9, 1, unit="requests"), rolling("u", 100, 40))

    async def body(store: BudgetStore) -> None:
        await store.reserve("h", claims, 1, 50)
        await store.settle("h", {"requests": 1, "usd": 60}, 2)
        assert await store.sweep(2 + RECORD_S) == [Ended("h", (("r", "requests", 1), ("u", "usd", 60)), settled=True)]

    run(url, body)


def test_very_many_come_back_in_parts(url: str) -> None:
    async def body(store: BudgetStore) -> None:
        await asyncio.gather(*[store.reserve(f"h{i}", [usd("a", None, 1)], 1, 50) for i in range(1100)])
        await asyncio.gather(*[store.settle(f"h{i}", {"usd": 1}, 2) for i in range(1100)])
        first = await store.sweep(2 + RECORD_S)
        second = await store.sweep(2 + RECORD_S)
        assert (len(first), len(second)) == (1000, 100)
        assert {e.hold_id for e in (*first, *second)} == {f"h{i}" for i in range(1100)}

    run(url, body)


def test_memory_that_dies_with_its_records_owes_none() -> None:
    async def body(store: BudgetStore) -> None:
        await store.reserve("h", [usd("a", 100, 40)], 1, 50)
        await store.settle("h", {"usd": 30}, 2)
        await store.recorded(["h"])
        assert await store.sweep(1e6) == []

    run("memory:", body)
