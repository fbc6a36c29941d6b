"""How far budgets are over plan."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from budget_exchange import FixedClock, exchange, grant, rule

from proxy.budget import pressure as plans
from proxy.budget.port import Balance
from proxy.budget.pressure import elapsed, over_plan, pressure
from proxy.budget.rules import Facts, RuleSet
from proxy.budget.windows import calendar
from proxy.engine.ports import StoreError
from proxy.model import BudgetRule
from proxy.stores.memory import MemoryBudget

NOON = datetime(2026, 11, 16, 12, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("used", "limit", "gone", "expected"),
    [
        (0, 100, 0.0, 0.0),
        (50, 100, 0.5, 0.0),
        (75, 100, 0.5, 0.5),
        (100, 100, 0.5, 1.0),
        (10, 100, 0.9, 0.0),
        (1, 0, 0.5, 1.0),
        (101, 100, 1, 1),
    ],
)
def test_pressure_is_what_is_used_beyond_the_plan(used: int, limit: int, gone: float, expected: float) -> None:
    assert over_plan(used, limit, gone) == pytest.approx(expected)


@pytest.mark.parametrize(("window", "share"), [("minute", 0.0), ("day", 0.5), ("week", 0.5 / 7), ("month", 15.5 / 30)])
def test_the_share_of_a_window(window: str, share: float) -> None:
    assert elapsed(window, calendar(window, NOON)[1], NOON) == pytest.approx(share)


class Counting(MemoryBudget):
    """A store that counts looks, and may be down."""

    looks, down = 0, False

    async def balances(self, counters: Sequence[str], now: float) -> dict[str, Balance]:
        self.looks += 1
        if self.down:
            raise StoreError("down")
        return await super().balances(counters, now)


def looked(store: Counting, *rules: BudgetRule, used: int = 0, own: tuple[BudgetRule, ...] = ()) -> list[float]:
    """Return the pressure at noon, twice at once, after `used` was spent, and a second later."""

    async def run() -> list[float]:
        look = pressure(rules, store)
        claims = RuleSet((*rules, *own)).claims(Facts("payments", "triage", "0011aabb", "s1", ""), NOON, {"usd": used})
        await store.reserve("h", claims, NOON, NOON + 60)
        found = []
        for wall in (NOON, NOON + 0.5, NOON + 1.5):
            found.append(await look(exchange(given=grant(*own), clock=FixedClock(wall))))
        return found

    return asyncio.run(run())


def test_the_budget_that_is_furthest_over_plan_counts() -> None:
    store = Counting()
    found = looked(store, rule(window="day", limit=1.0), rule("free", window="day", limit=100.0), used=750_000_000)
    assert found == [pytest.approx(0.5), pytest.approx(0.5), pytest.approx(0.5, abs=1e-4)]
    assert store.looks == 2, "what was found is kept a second"


def test_an_agents_own_budget_counts_too() -> None:
    assert looked(Counting(), used=900_000_000, own=(rule(window="day"),))[0] == pytest.approx(0.8)


@pytest.mark.parametrize("window", ["total", "session", "rolling 24h"])
def test_what_has_no_plan_presses_nobody(window: str) -> None:
    store = Counting()
    assert looked(store, rule(window=window), used=900_000_000) == [0.0, 0.0, 0.0]
    assert looked(Counting(), rule(window="day", on_exceed="warn"), used=900_000_000) == [0.0, 0.0, 0.0]
    assert store.looks == 0


def test_a_store_that_is_down_presses_nobody() -> None:
    store = Counting()
    store.down = True
    assert looked(store, rule(window="day"), used=1) == [0.0, 0.0, 0.0]
    assert store.looks == 3


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "MOST", 1)
    store = Counting()
    assert looked(store, rule(window="minute"), used=1)[0] > 0
    assert store.looks == 2
