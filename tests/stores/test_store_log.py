"""The log of a SQLite file's budgets: one statement a batch, folds into the tables, and other processes that come and go meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from store_cases import rolling, usd
from store_process import Process

from proxy.budget.book import Book
from proxy.budget.port import RECORD_S, Claim, Ended, Exceeded, Held
from proxy.engine.ports import StoreError
from proxy.stores.rows import FOLD_ROWS, WARY, Verb
from proxy.stores.schema import STEPS, connect
from proxy.stores.sqlite import SqliteBudget


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Process, Process]]:
    one, other = Process(tmp_path / "store.db"), Process(tmp_path / "store.db")
    yield one, other
    one.db.close()
    other.db.close()


def test_a_batch_is_one_statement_as_long_as_nobody_else_writes(two: tuple[Process, Process]) -> None:
    one, other = two
    one.reserve("first", usd("a", 100, 1))
    for i in range(3):
        assert isinstance(one.reserve(f"h{i}", usd("a", 100, 1), usd(f"new{i}", 100, 1)), Held)
        assert one.said == ["INSERT"]
        assert one.settle(f"h{i}", 1)
        assert one.said == ["INSERT"]
    assert other.balance("a") == (3, 1)
    assert isinstance(other.reserve("foreign", usd("a", 100, 1)), Held)
    assert isinstance(one.reserve("late", usd("a", 100, 95)), Held), "what another process did is taken in, and nothing is lost"
    assert one.said[:2] == ["INSERT", "BEGIN"]
    for i in range(WARY - 1):
        one.reserve(f"wary{i}", usd("a", 100, 0))
        assert one.said[0] == "BEGIN", "whoever met others once goes behind the lock at once"
    one.reserve("again", usd("a", 100, 0))
    assert one.said == ["INSERT"]
    assert one.balance("a") == other.balance("a") == (3, 97)


def test_a_fold_brings_all_into_the_tables_and_changes_no_answer(two: tuple[Process, Process]) -> None:
    one, other = two
    for name in "xyz":
        one.reserve(name, usd("a", 100, 10), rolling("r", 100, 1, unit="requests"), rolling("u", 100, 5))
    one.settle("x", 7)
    assert one.table("SELECT counter FROM budget_counters") == one.table("SELECT id FROM holds") == []
    one.rows.finish()
    assert one.table("SELECT spent, held FROM budget_counters ORDER BY counter") == [(7, 20), (3, 0), (7, 10)]
    assert one.table("SELECT id, parts IS NULL, about FROM holds ORDER BY id") == [("x", 1, "who"), ("y", 0, "who"), ("z", 0, "who")]
    assert one.settle("y", 2)
    assert one.settle("x", 2) is False
    with pytest.raises(StoreError, match="settled before"):
        raise one.reserve("x", usd("a", 100, 10))
    assert other.balance("a") == (9, 10)
    assert other.balance("r") == (3, 0)
    assert other.settle("z", 1), "a hold of another process that stands in the table"
    other.rows.finish()
    assert one.balance("a") == other.balance("a") == (10, 0)
    assert one.balance("u") == other.balance("u") == (10, 0)
    assert one.table("SELECT count(*), max(body) FROM budget_batches WHERE seq >= (SELECT max(seq) FROM budget_batches)") == [(1, "")]


def test_who_was_away_for_several_folds_reads_all_anew(two: tuple[Process, Process]) -> None:
    one, other = two
    one.reserve("mine", usd("a", 1000, 5))
    assert other.balance("a") == (0, 5)
    for i in range(3):
        one.reserve(f"h{i}", usd("a", 1000, 10))
        one.settle(f"h{i}", 10)
        one.rows.finish()
    (rows,) = other.table("SELECT count(*) FROM budget_batches")
    assert rows[0] < 6, "what is in the tables for long is gone from the log"
    assert other.reserve("yours", usd("a", 1000, 966)) == Exceeded(0, ((30, 5),))
    assert other.reserve("yours", usd("a", 1000, 960)) == Held(((30, 965),))
    assert other.settle("mine", 1)
    assert one.settle("mine", 1) is False
    assert one.balance("a") == (31, 960)


def test_who_is_wary_and_was_away_reads_all_anew_too(two: tuple[Process, Process]) -> None:
    one, other = two
    other.reserve("first", usd("a", 1000, 1))
    one.reserve("second", usd("a", 1000, 1))
    other.reserve("third", usd("a", 1000, 1))
    assert other.said[:2] == ["INSERT", "BEGIN"]
    for i in range(3):
        one.reserve(f"h{i}", usd("a", 1000, 10), usd(f"own{i}", 1000, 10))
        one.settle(f"h{i}", 10)
        one.rows.finish()
    assert other.reserve("fourth", usd("a", 1000, 1), usd("own0", 1000, 1)) == Held(((30, 4), (10, 1)))
    assert other.said[0] == "BEGIN"
    assert other.settle("second", 0)
    assert one.balance("a") == (30, 3)


def test_a_fold_that_comes_too_late_is_made_behind_the_lock(two: tuple[Process, Process]) -> None:
    one, other = two
    one.reserve("mine", usd("a", 100, 10))
    assert isinstance(other.reserve("yours", usd("a", 100, 10)), Held)
    one.said.clear()
    one.rows.finish()
    assert "BEGIN" in one.said
    assert one.table("SELECT spent, held FROM budget_counters") == [(0, 20)]
    assert one.table("SELECT id FROM holds ORDER BY id") == [("mine",), ("yours",)]


def test_a_hold_that_is_refused_may_be_one_that_was_settled(two: tuple[Process, Process]) -> None:
    one, _ = two
    one.reserve("old", usd("a", 100, 10))
    one.settle("old", 10)
    one.rows.finish()
    with pytest.raises(StoreError, match="settled before"):
        raise one.reserve("old", usd("a", 100, 1000))
    assert isinstance(one.reserve("new", usd("a", 100, 1000)), Exceeded)
    assert one.balance("a") == (10, 0)


def test_what_a_sweep_forgot_other_processes_forget_too(two: tuple[Process, Process]) -> None:
    one, other = two
    gone = Claim("brief", "usd", 100, 60, 10.0)
    for process, name in ((one, "1"), (other, "2")):
        process.reserve(name, gone._replace(amount=40))
        process.settle(name, 40)
    assert other.balance("brief") == (80, 0)
    assert one.rows.sweep(60.0) == []
    assert other.reserve("3", gone) == Held(((0, 60),)), "another window may have the same name, years later"
    assert one.balance("brief") == (0, 60)


def test_who_only_looks_leaves_no_mark(two: tuple[Process, Process]) -> None:
    one, other = two
    one.reserve("h", usd("a", 100, 1))
    assert other.balance("a") == (0, 1)
    other.rows.finish()
    one.reserve("i", usd("a", 100, 1))
    assert one.said == ["INSERT"]
    one.rows.forget()
    one.rows.finish()
    assert other.table("SELECT spent, held FROM budget_counters") == [(0, 2)], "who wrote does it even when it has lost what it knew"


def test_a_sweep_that_fails_leaves_nothing_half_done(two: tuple[Process, Process]) -> None:
    one, other = two
    one.reserve("h", usd("a", 100, 10))
    other.db.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        one.rows.sweep(1)
    other.db.execute("ROLLBACK")
    one.rows.finish()
    one.db.execute("UPDATE holds SET parts = '[[0]]'")
    one.rows.forget()
    with pytest.raises(ValueError, match="unpack"):
        one.rows.sweep(60)
    assert not one.db.in_transaction
    assert one.balance("a") == other.balance("a") == (0, 10)


def test_many_batches_are_folded_by_themselves(two: tuple[Process, Process]) -> None:
    one, other = two
    for i in range(FOLD_ROWS + 1):
        one.reserve("same", usd("a", None, 1)) if not i else one.settle(f"unknown{i}", 1)
        one.rows.tidy()
    assert one.table("SELECT count(*) FROM holds") == [(FOLD_ROWS + 1,)]
    assert other.settle("unknown1", 1) is False


@pytest.mark.parametrize("ledger", [True, False])
def test_a_record_that_is_there_by_the_time_of_the_fold_owes_nothing(tmp_path: Path, ledger: bool) -> None:
    one = Process(tmp_path / "store.db")
    if ledger:
        one.db.execute("CREATE TABLE records (id TEXT UNIQUE)")
        one.db.execute("INSERT INTO records VALUES ('told'), ('swept')")
    for name in ("told", "untold", "swept"):
        one.reserve(name, usd("a", 100, 10))
    one.settle("told", 5)
    one.settle("untold", 6)
    swept = Ended("swept", (("a", "usd", 10),), "who")
    assert one.rows.sweep(50) == [swept]
    found = sorted(one.rows.sweep(50 + RECORD_S), key=lambda ended: ended.hold_id)
    assert found[0] == swept, "its record may say less than all that was held: that is not for a fold to decide"
    owed = [Ended(name, (("a", "usd", amount),), "who", settled=True) for name, amount in (("told", 5), ("untold", 6))]
    assert found[1:] == (owed[1:] if ledger else owed)
    one.db.close()


def test_a_fold_that_fails_is_made_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.stores.rows.FOLD_ROWS", 0)

    async def main() -> None:
        path = tmp_path / "store.db"
        store = SqliteBudget(path, busy_s=0.01)
        real = store._rows.commit

        def locked_after(verbs: Sequence[Verb]) -> list[Any]:
            found = real(verbs)
            other.execute("BEGIN IMMEDIATE")
            return found

        with contextlib.closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
            store._rows.commit = locked_after  # type: ignore[method-assign]
            assert isinstance(await store.reserve("h", [usd("a", 100, 10)], 1, 50), Held)
            store._rows.commit = real  # type: ignore[method-assign]
            with pytest.raises(StoreError, match="locked"):
                await store.reserve("i", [usd("a", 100, 10)], 1, 50)
            other.execute("ROLLBACK")
            assert await store.balances(["a"], 1) == {"a": (0, 10)}
            assert await store.settle("h", {"usd": 3}, 2)
            await store.close()
            assert other.execute("SELECT spent, held FROM budget_counters").fetchall() == [(3, 0)]

    asyncio.run(main())


def test_a_log_that_was_emptied_is_no_log(tmp_path: Path) -> None:
    async def main() -> None:
        store = SqliteBudget(tmp_path / "store.db")
        with contextlib.closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None)) as other:
            other.execute("DELETE FROM budget_batches")
        for _ in range(2):
            with pytest.raises(StoreError, match="what it should"):
                await store.reserve("h", [usd("a", 100, 10)], 1, 50)
        await store.close()

    asyncio.run(main())


def test_a_process_of_an_older_version_that_still_runs_is_stopped(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as old:
        for statement in [text for step in STEPS[:5] for text in step]:
            old.execute(statement)
        old.execute("PRAGMA user_version = 5")
        old.execute("CREATE TEMP VIEW batch AS SELECT 0 AS version")
        old.execute("CREATE TEMP TRIGGER w INSTEAD OF INSERT ON batch BEGIN INSERT INTO budget_holds(id, expires) VALUES ('h', 1); END")
        old.execute("INSERT INTO batch VALUES (1)")
        connect(path, 5.0).close()
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            old.execute("INSERT INTO batch VALUES (1)")


def test_a_book_says_nothing_of_what_nobody_watches() -> None:
    book = Book(watched=False)
    book.reserve("h", [usd("a", 100, 10)], 1, 50)
    assert book.settle("h", None, 2)
    assert (book.charged, book.dirty_counters) == ({}, set())
