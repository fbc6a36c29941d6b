"""A store and the ledger beside it: whatever dies, and when, counters and records agree once the sweep has been."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from redis_server import needs_redis, shared_url

from proxy.app.audit import Audit, swept
from proxy.app.balances import Board
from proxy.app.drift import Difference
from proxy.app.storage import AnyLedger, open_ledger, open_stores
from proxy.budget.port import RECORD_S, BudgetStore, Claim
from proxy.engine.record import Record
from proxy.settings.store import Store
from proxy.stores.redis_place import place_of
from proxy.telemetry.charges import Charges
from proxy.telemetry.ledger import MemoryLedger
from proxy.telemetry.query import Filter

NOW = 1_795_600_000.0
CAP, CALLS = "cap|usd||total", "calls|requests||total"
CLAIMS = (Claim(CAP, "usd", 1000, 100, NOW + 1e9), Claim(CALLS, "requests", 10, 1, NOW + 1e9), Claim("c", "concurrency", 9, 1, NOW + 1e9))
HELD = ((CAP, "usd", 100), (CALLS, "requests", 1))


class AllOfIt:
    files = SimpleNamespace(directory=SimpleNamespace(agents={}))

    async def fleet(self, grants: object, now: float) -> list[Claim]:
        return list(CLAIMS)


def _written(ledger: AnyLedger) -> None:
    while ledger.depth:
        time.sleep(0.001)


@dataclass
class One:
    """The store and the ledger of one process."""

    store: BudgetStore
    ledger: AnyLedger

    async def spend(self, name: str, usd: int = 30) -> None:
        await self.store.reserve(name, CLAIMS, NOW, NOW + 50, '{"agent":"a"}')
        await self.store.settle(name, {"usd": usd, "requests": 1}, NOW)

    def record(self, name: str, usd: int = 30) -> None:
        self.ledger.record(said(name, usd))

    async def written(self) -> None:
        await asyncio.to_thread(_written, self.ledger)

    async def sweep(self, at: float) -> list[str]:
        """Sweep as the server does; return the outcomes of what was recorded."""
        await self.written()
        found = swept(await self.store.sweep(at), self.ledger, at)
        for record in found.records:
            self.ledger.record(record)
        await self.store.recorded(found.known)
        await self.written()
        return [f"{r.id} {r.outcome}" for r in found.records]

    async def drift(self) -> list[Difference]:
        await self.written()
        return await Audit(cast(Charges, self.ledger), self.store, lambda: cast(Board, AllOfIt())).look(lambda: NOW, 0.0)

    def charges(self) -> dict[str, tuple[str, int]]:
        """Outcome and dollars of each record."""
        rows = self.ledger.rows(Filter(limit=1000))
        return {r.id: (r.outcome, sum(amount for _, unit, amount in r.charges if unit == "usd")) for r in rows}


def said(name: str, usd: int = 30) -> Record:
    return Record(name, NOW, outcome="ok", cost=usd, charges=((CAP, "usd", usd), (CALLS, "requests", 1)))


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=needs_redis)])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "redis":
        return Store(kind="redis", place=place_of(shared_url()))
    return Store(kind="sqlite", path=tmp_path / "f.db")


def run(where: Store, body: Callable[[One, One], Awaitable[None]]) -> None:
    """Run `body` with two processes, and see to it that counters and records agree in the end."""

    async def main() -> None:
        places = [(stores := open_stores(where), open_ledger(where, stores)) for _ in range(2)]
        one, other = (One(stores.budget, ledger) for stores, ledger in places)
        try:
            await body(one, other)
            assert await other.drift() == []
            assert await one.sweep(NOW + 1e6) == [], "nothing is owed"
        finally:
            for stores, ledger in places:
                await ledger.close()
                await stores.close()

    asyncio.run(main())


def test_a_record_that_is_written_is_owed_no_more(where: Store) -> None:
    async def body(one: One, other: One) -> None:
        for i in range(9):
            await one.spend(f"h{i}", 2)
            one.record(f"h{i}", 2)
        await one.written()
        assert await other.sweep(NOW + RECORD_S) == []

    run(where, body)


def test_a_process_that_dies_between_settle_and_record_loses_none(where: Store) -> None:
    async def body(one: One, other: One) -> None:
        await one.spend("h1")
        assert [(d.counter, d.over) for d in await other.drift()] == [(CAP, 30), (CALLS, 1)], "else this test could not fail"
        assert await other.sweep(NOW + RECORD_S) == ["h1 lost"]
        (record,) = other.ledger.rows()
        assert (record.agent, record.cost, record.charges) == ("a", 30, ((CAP, "usd", 30), (CALLS, "requests", 1)))
        assert "died" in record.message

    run(where, body)


def test_a_ledger_that_is_full_loses_no_charge(where: Store) -> None:
    async def body(one: One, other: One) -> None:
        assert not isinstance(one.ledger, MemoryLedger)
        one.ledger._max = 0
        await one.spend("h1")
        one.record("h1")
        assert one.ledger.lost == 1
        assert await one.sweep(NOW + RECORD_S) == ["h1 lost"]
        assert one.ledger.lost == 2, "still full"
        assert await other.sweep(NOW + 2 * RECORD_S) == ["h1 lost"]

    run(where, body)


def test_of_two_that_were_told_of_a_hold_one_records_it(where: Store) -> None:
    async def body(one: One, other: One) -> None:
        await one.spend("h1")
        await one.store.reserve("h2", CLAIMS, NOW, NOW + RECORD_S)
        slow = swept(await one.store.sweep(NOW + RECORD_S), one.ledger, NOW)
        assert sorted(await other.sweep(NOW + 2 * RECORD_S)) == ["h1 lost", "h2 expired"]
        for record in slow.records:
            one.ledger.record(record)
        await one.written()
        assert other.charges() == {"h1": ("lost", 30), "h2": ("expired", 100)}

    run(where, body)


def test_a_record_that_comes_after_a_sweep_took_it_for_lost_charges_nothing(where: Store) -> None:
    async def body(one: One, other: One) -> None:
        for name in ("h1", "h2"):
            await one.spend(name)
        for name in ("h3", "h4"):
            await one.store.reserve(name, CLAIMS, NOW, NOW + RECORD_S)
        found = swept(await other.store.sweep(NOW + RECORD_S), other.ledger, NOW)
        one.record("h1")
        one.record("h3")
        await one.written()
        for record in found.records:
            other.ledger.record(record)
        await other.written()
        one.record("h2")
        one.record("h4")
        await one.written()
        charges = other.charges()
        assert {name: charges[name] for name in ("h1", "h2", "h3", "h4")} == {
            "h1": ("lost", 30),
            "h2": ("lost", 30),
            "h3": ("expired", 100),
            "h4": ("expired", 100),
        }
        assert {charges[name] for name in charges if name.endswith("+")} == {("ok", 0)}

    run(where, body)


@pytest.mark.parametrize("settled", [True, False])
def test_a_record_that_came_first_is_found(where: Store, settled: bool) -> None:
    async def body(one: One, other: One) -> None:
        await one.store.reserve("h1", CLAIMS, NOW, NOW + 50)
        one.record("h1")
        await one.written()
        if settled:  # by a sweep that kept it
            assert await one.store.settle("h1", {"usd": 30, "requests": 1}, NOW + 1)
            assert await other.sweep(NOW + 1 + RECORD_S) == []
            assert other.charges() == {"h1": ("ok", 30)}
        else:
            assert await other.sweep(NOW + 50) == ["h1+ expired"]
            assert other.charges() == {"h1": ("ok", 30), "h1+": ("expired", 70)}

    run(where, body)


KINDS = {
    "a release": (Record("h1", NOW, outcome="client_gone"), HELD),
    "a refund": (Record("h1", NOW, outcome="upstream_error", cost=20, charges=((CAP, "usd", 20),)), ((CAP, "usd", 80), HELD[1])),
    "more than was held": (said("h1", 130), ((CAP, "usd", -30),)),
    "all that was held": (said("h1", 100), None),
}


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_end_was_lost_the_rest_is_recorded(where: Store, kind: str) -> None:
    record, rest = KINDS[kind]

    async def body(one: One, other: One) -> None:
        await one.store.reserve("h1", CLAIMS, NOW, NOW + 50)
        one.ledger.record(record)
        await one.written()
        assert await other.sweep(NOW + 50) == ([] if rest is None else ["h1+ expired"])
        found = {r.id: r for r in other.ledger.rows()}
        assert found["h1"] == record
        if rest is not None:
            assert found["h1+"].charges == rest
            assert found["h1+"].cost == max(0, rest[0][2])

    run(where, body)


def test_in_any_order_counters_and_records_agree(where: Store) -> None:
    """Every order of a settle, its record, a sweep that is told, and what that one records; what is left out never happens."""
    steps = ("settle", "record", "tell", "keep")

    async def body(one: One, other: One) -> None:
        number = itertools.count()
        for size in range(1, 5):
            for order in itertools.permutations(steps, size):
                if "keep" in order and ("tell" not in order or order.index("keep") < order.index("tell")):
                    continue
                name = f"{time.monotonic_ns()}.{next(number)}"
                claims = [claim._replace(limit=None) for claim in CLAIMS]
                await one.store.reserve(name, claims, NOW, NOW + 2 * RECORD_S)
                found: list[Record] = []
                for step in order:
                    if step == "settle":
                        await one.store.settle(name, {"usd": 30, "requests": 1}, NOW)
                    elif step == "record":
                        one.record(name)
                        await one.written()
                    elif step == "tell":
                        told = swept(await other.store.sweep(NOW + 2 * RECORD_S), other.ledger, NOW)
                        found = told.records
                        await other.store.recorded(told.known)
                    else:
                        for record in found:
                            other.ledger.record(record)
                        await other.written()
                await one.written()
                await other.sweep(NOW + 1e4)
                await other.sweep(NOW + 2e4)
                assert await other.drift() == [], order
        assert next(number) > 30

    run(where, body)
