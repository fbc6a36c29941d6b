"""The audit: records of holds that a sweep ended, and whether counters say what records say."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxy.app.audit import EVERY_S, Audit, swept, watch
from proxy.app.balances import Board
from proxy.app.drift import Difference
from proxy.budget.port import Claim, Ended, Held
from proxy.engine.ports import StoreError
from proxy.engine.record import Record
from proxy.stores.memory import MemoryBudget
from proxy.stores.sqlite import SqliteBudget
from proxy.telemetry.charges import STEP, Charged
from proxy.telemetry.ledger import Ledger, MemoryLedger
from proxy.telemetry.query import ALL, By, Filter, Group
from proxy.telemetry.retention import forget

NOW = 1_795_600_000.0
CAP, DAY, CALLS = "cap|usd||total", "day|usd|agent=a|2026-11-25", "calls|requests||total"


def test_a_hold_that_a_sweep_ended_leaves_a_record_of_what_it_charged() -> None:
    about = '{"agent": "a", "session": "a/s", "run": "r", "model": "gpt-5", "provider": "openai", "key": "0011aabb", "seen": 3}'
    hold = Ended("h1", ((CAP, "usd", 7), (DAY, "usd", 7), (CALLS, "requests", 1)), about)
    (record,) = swept([hold], MemoryLedger(), NOW).records
    assert (record.id, record.time, record.outcome, record.cost, record.usage_exact) == ("h1", NOW, "expired", 7, False)
    assert (record.agent, record.session, record.run, record.model, record.provider, record.key_id) == (
        "a",
        "a/s",
        "r",
        "gpt-5",
        "openai",
        "0011aabb",
    )
    assert record.charges == ((CAP, "usd", 7), (DAY, "usd", 7), (CALLS, "requests", 1))


@pytest.mark.parametrize("about", ["", "{", "[]", "7", '"x"', '{"agent": 3}', "[" * 100_000])
def test_what_a_hold_says_of_itself_may_be_anything(about: str) -> None:
    (record,) = swept([Ended("h1", ((CAP, "usd", 7),), about)], MemoryLedger(), NOW).records
    assert (record.agent, record.charges) == ("", ((CAP, "usd", 7),))


def test_an_exchange_whose_settle_was_lost_is_charged_the_rest() -> None:
    ledger = MemoryLedger()
    ledger.record(Record("h1", NOW - 3600, charges=((CAP, "usd", 5), (CALLS, "requests", 1))))
    (record,) = swept([Ended("h1", ((CAP, "usd", 7), (CALLS, "requests", 1)))], ledger, NOW).records
    assert (record.id, record.charges, record.cost) == ("h1+", ((CAP, "usd", 2),), 2)


class Unreadable(MemoryLedger):
    """A ledger whose file is gone."""

    def one(self, record_id: str) -> Record | None:
        raise StoreError("gone")

    def charged(self, after: int, most: int = STEP) -> Charged:
        raise StoreError("gone")

    def rows(self, where: Filter = ALL) -> list[Record]:
        raise AssertionError

    def groups(self, by: By, where: Filter = ALL) -> list[Group]:
        raise AssertionError


def test_of_what_a_ledger_cannot_tell_nothing_is_said() -> None:
    assert swept([Ended("h1", ((CAP, "usd", 7),))], Unreadable(), NOW) == ([], []), "the store returns it again"


class NoBoard:
    """A board of a fleet without agents."""

    files = SimpleNamespace(directory=SimpleNamespace(agents={}))

    async def fleet(self, grants: object, now: float) -> list[Claim]:
        return []


def written(ledger: Ledger) -> None:
    while ledger.depth:
        time.sleep(0.001)


async def look(ledger: Ledger, store: SqliteBudget) -> list[Difference]:
    await asyncio.to_thread(written, ledger)
    return await Audit(ledger, store, lambda: cast(Board, NoBoard())).look(lambda: NOW, 0.0)


def charged(number: int, amount: int) -> Record:
    return Record(f"h{number}", NOW, outcome="ok", cost=amount, charges=((CAP, "usd", amount), (CALLS, "requests", 1)))


def test_after_a_crash_the_records_still_say_what_the_counters_say(tmp_path: Path) -> None:
    claims = (Claim(CAP, "usd", 1000, 100, NOW + 1e6), Claim(CALLS, "requests", 10, 1, NOW + 1e6))

    async def body() -> None:
        store, ledger = SqliteBudget(tmp_path / "f.db"), Ledger(tmp_path / "f.db")
        for number in range(4):
            assert isinstance(await store.reserve(f"h{number}", claims, NOW, NOW + 60), Held)
        await store.settle("h0", {"usd": 30, "requests": 1}, NOW)
        ledger.record(charged(0, 30))
        await store.release("h1", NOW)
        ledger.record(Record("h1", NOW, outcome="client_gone"))
        ledger.record(charged(2, 40))  # its settle was lost, and of the fourth nothing is left
        assert [d.over for d in await look(ledger, store)] == [-40, -1]
        ended = await store.sweep(NOW + 61)
        assert {hold.hold_id for hold in ended} == {"h2", "h3"}
        for record in swept(ended, ledger, NOW + 61).records:
            ledger.record(record)
        assert await look(ledger, store) == []
        assert (await store.balances([CAP, CALLS], NOW))[CAP] == (230, 0)
        assert {r.id: r.charges[0][2] for r in ledger.rows() if r.outcome == "expired"} == {"h2+": 60, "h3": 100}
        await store.reserve("h5", claims, NOW, NOW + 60)
        await store.settle("h5", {"usd": 7, "requests": 1}, NOW)
        assert [(d.counter, d.over) for d in await look(ledger, store)] == [(CAP, 7), (CALLS, 1)], "a record was lost"
        await ledger.close()
        await store.close()

    asyncio.run(body())


def test_under_load_no_look_sees_a_difference(tmp_path: Path) -> None:
    claims = (Claim(CAP, "usd", None, 100, NOW + 1e6),)

    async def body() -> None:
        store, ledger = SqliteBudget(tmp_path / "f.db"), Ledger(tmp_path / "f.db")
        audit = Audit(ledger, store, lambda: cast(Board, NoBoard()))
        busy = True

        async def load(name: str) -> None:
            number = 0
            while busy:
                hold = f"{name}{number}"
                number += 1
                await store.reserve(hold, claims, NOW, NOW + 60)
                ledger.record(Record(hold, NOW, cost=number, charges=((CAP, "usd", number),)))
                await store.settle(hold, {"usd": number}, NOW)

        tasks = [asyncio.ensure_future(load(name)) for name in "abcd"]
        for _ in range(3):
            assert await audit.look(lambda: NOW, 0.3) == []
        busy = False
        await asyncio.gather(*tasks)
        assert audit.sums.amounts[CAP] > 0
        assert await look(ledger, store) == []
        await ledger.close()
        await store.close()

    asyncio.run(body())


HOUR_CAP = "cap|usd||rolling 1h"


def test_rolling_windows_are_held_between_what_surely_and_what_possibly_counts(tmp_path: Path) -> None:
    claims = (Claim(HOUR_CAP, "usd", 1000, 100, NOW + 1e6, span=3600.0),)

    async def body() -> None:
        store, ledger = SqliteBudget(tmp_path / "f.db"), Ledger(tmp_path / "f.db")

        async def spend(name: str, time: float, amount: int, recorded: int | None) -> None:
            await store.reserve(name, claims, time, time + 60)
            await store.settle(name, {"usd": amount}, time + 5)
            if recorded is not None:
                ledger.record(Record(name, time, outcome="ok", cost=recorded, charges=((HOUR_CAP, "usd", recorded),)))

        async def overs(now: float) -> list[int]:
            await asyncio.to_thread(written, ledger)
            audit = Audit(ledger, store, lambda: cast(Board, NoBoard()))
            assert await audit.look(lambda: now, 0.0) == []
            found = await audit.look_rolling(lambda: now, 0.0, 120.0)
            assert (audit.audited, audit.skipped) == (1, {})
            return [d.over for d in found]

        await spend("forgotten", NOW - 2 * 3600, 90, 90)
        await spend("at the edge", NOW - 3600 - 65, 40, 40)
        await spend("inside", NOW - 600, 30, 30)
        assert await overs(NOW) == []
        await spend("without a record", NOW - 300, 80, None)
        assert await overs(NOW) == [40], "the one at the edge may count still"
        await spend("doubled", NOW - 200, 10, 200)
        assert await overs(NOW) == [-110]
        assert await overs(NOW + 3 * 3600) == [], "all is forgotten"
        await ledger.close()
        await store.close()

    asyncio.run(body())


def test_a_rolling_window_whose_records_were_deleted_is_left_out(tmp_path: Path) -> None:
    async def body() -> None:
        store, ledger = SqliteBudget(tmp_path / "f.db"), Ledger(tmp_path / "f.db")
        hours = {name: f"{name}|usd||rolling {name}" for name in ("1h", "48h")}
        for number, at in enumerate((NOW - 24 * 3600, NOW - 600)):
            claims = [Claim(hours["1h"], "usd", 1000, 100, NOW + 1e6, span=3600.0)]
            claims.append(Claim(hours["48h"], "usd", 1000, 100, NOW + 1e6, span=48 * 3600.0))
            await store.reserve(f"h{number}", claims, at, at + 60)
            await store.settle(f"h{number}", {"usd": 40}, at + 5)
            charges = tuple((counter, "usd", 40) for counter in hours.values())
            ledger.record(Record(f"h{number}", at, outcome="ok", cost=40, charges=charges))
        await asyncio.to_thread(written, ledger)
        audit = Audit(ledger, store, lambda: cast(Board, NoBoard()))
        for deleted in (False, True):
            if deleted:
                assert forget(tmp_path / "f.db", NOW - 10 * 3600) == 1
            await audit.look(lambda: NOW, 0.0)
            assert await audit.look_rolling(lambda: NOW, 0.0, 120.0) == []
            assert (audit.audited, audit.skipped) == ((1, {"older": 1}) if deleted else (2, {}))
        await ledger.close()
        await store.close()

    asyncio.run(body())


def test_a_rolling_window_that_a_sweep_charged_is_no_difference(tmp_path: Path) -> None:
    """A record that a sweep leaves says when the sweep was, and that is long after the exchange."""
    claims = (Claim(HOUR_CAP, "usd", 1000, 100, NOW + 1e6, span=3600.0),)

    async def body() -> None:
        store, ledger = SqliteBudget(tmp_path / "f.db"), Ledger(tmp_path / "f.db")
        await store.reserve("h1", claims, NOW, NOW + 60)
        await store.settle("h1", {"usd": 70}, NOW + 5)
        late = Record("h1", NOW + 3600, outcome="lost", cost=70, charges=((HOUR_CAP, "usd", 70),))
        ledger.record(late)
        await asyncio.to_thread(written, ledger)
        audit = Audit(ledger, store, lambda: cast(Board, NoBoard()))
        await audit.look(lambda: NOW + 5400, 0.0)
        assert await audit.look_rolling(lambda: NOW + 5400, 0.0, 120.0) == []
        assert MemoryLedger().rolled(NOW, own=True) == {}
        memory = MemoryLedger()
        for record in (late, Record("h2", NOW, outcome="ok", charges=((HOUR_CAP, "usd", 1), (CAP, "usd", 2)))):
            memory.record(record)
        for journal in (memory, ledger):
            if journal is ledger:
                ledger.record(Record("h2", NOW, outcome="ok", charges=((HOUR_CAP, "usd", 1), (CAP, "usd", 2))))
                await asyncio.to_thread(written, ledger)
            assert journal.rolled(NOW, own=True) == {HOUR_CAP: 1}
            assert journal.rolled(NOW, own=False) == {HOUR_CAP: 71}
        await ledger.close()
        await store.close()

    asyncio.run(body())


def test_a_server_shows_its_drift(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dict[str, float]] = []
    journal, store = MemoryLedger(max_records=2), MemoryBudget()
    house = SimpleNamespace(
        journal=journal,
        stores=SimpleNamespace(budget=store),
        board=NoBoard(),
        clock=SimpleNamespace(now=lambda: NOW),
        metrics=SimpleNamespace(drift=shown.append),
        journal_problem=lambda: "",
    )

    async def rest(seconds: float) -> None:
        if seconds != EVERY_S:
            return
        if len(shown) == 3:
            raise asyncio.CancelledError
        journal.record(charged(len(shown), 2 * 10**9))

    monkeypatch.setattr("proxy.app.audit.asyncio.sleep", rest)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(watch(cast(Any, house)))
    assert [found.get("usd") for found in shown] == [0, 2, 4]
    assert shown[1]["requests"] == 1
    house.journal = Unreadable(max_records=1)
    shown.clear()
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(watch(cast(Any, house)))
    assert shown == [{}, {}, {}], "nobody can say"


def test_a_ledger_that_cannot_add_up_is_not_audited() -> None:
    asyncio.run(watch(cast(Any, SimpleNamespace(journal=object()))))
