"""Forgetting records: a few at a time, of a ledger that stays append-only, and with an audit that judges nothing that is gone."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from record_samples import served

from proxy.engine.ports import StoreError
from proxy.telemetry import charges, query, rollup, rollup_schema
from proxy.telemetry.ledger import Ledger
from proxy.telemetry.retention import STEP, forget, forget_notes


def ledger(path: Path, count: int, **changes: object) -> Path:
    made = Ledger(path / "l.db")
    for n in range(count):
        made.record(served(n, **changes))
    made.stop()
    return path / "l.db"


def test_old_records_go_in_steps_and_the_newest_stays(tmp_path: Path) -> None:
    file = ledger(tmp_path, STEP + 30)
    assert charges.charged_since(file) == 0
    assert forget(file, 0.0) == 0
    assert forget(file, STEP + 10.0) == STEP
    assert forget(file, STEP + 10.0) == 10
    assert forget(file, STEP + 10.0) == 0
    assert min(r.time for r in query.rows(file)) == STEP + 10.0
    assert charges.charged_since(file) == STEP + 10.0
    assert forget(file, 1e12) == 19
    assert [r.time for r in query.rows(file)] == [STEP + 29.0], "sums that follow know the ledger by its newest record"
    assert forget(file, 5.0) == 0
    assert charges.charged_since(file) == 1e12, "it never goes back"


def test_the_ledger_refuses_changes_as_before(tmp_path: Path) -> None:
    file = ledger(tmp_path, 10)
    assert forget(file, 5.0) == 5
    with closing(sqlite3.connect(file)) as db, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        db.execute("DELETE FROM records")
    writing = Ledger(file)
    writing.record(served(99))
    writing.stop()
    assert (writing.lost, query.rows(file)[0].id) == (0, "id-000099")


def test_a_step_that_fails_leaves_all_as_it_was(tmp_path: Path) -> None:
    file = ledger(tmp_path, 10)
    with closing(sqlite3.connect(file)) as db:
        db.execute("CREATE TRIGGER stop BEFORE INSERT ON ledger_meta BEGIN SELECT RAISE(ABORT, 'full'); END")
        db.commit()
    with pytest.raises(StoreError, match="cannot be deleted: full"):
        forget(file, 5.0)
    assert len(query.rows(file)) == 10
    with closing(sqlite3.connect(file)) as db, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        db.execute("DELETE FROM records")


def test_no_file_and_no_ledger_are_nothing_to_do(tmp_path: Path) -> None:
    assert forget(tmp_path / "none.db", 1.0) == 0
    with closing(sqlite3.connect(tmp_path / "empty.db")) as db:
        db.execute("CREATE TABLE other (a)")
    assert forget(tmp_path / "empty.db", 1.0) == 0
    forget_notes(tmp_path / "none.db", 1.0)
    (tmp_path / "text.db").write_text("no database at all, whatever its name is" * 100)
    with pytest.raises(StoreError, match="cannot be deleted"):
        forget(tmp_path / "text.db", 1.0)


def test_a_writer_goes_on_meanwhile(tmp_path: Path) -> None:
    file = ledger(tmp_path, 3 * STEP)
    writing = Ledger(file)
    gone: list[int] = []
    thread = threading.Thread(target=lambda: gone.extend(iter(lambda: forget(file, 2.5 * STEP), 0)))
    thread.start()
    for n in range(300):
        writing.record(served(10_000 + n))
    thread.join()
    writing.stop()
    assert (sum(gone), writing.lost) == (2.5 * STEP, 0)
    assert sum(g.calls for g in query.groups(file, "agent")) == 3 * STEP + 300 - 2.5 * STEP


def test_what_the_sums_name_by_exchange_goes_and_they_go_on(tmp_path: Path) -> None:
    file = ledger(tmp_path, 10, reason="rate_limited", outcome="denied", loop="")
    rollup.follow(file, 100.0, 5.0)
    forget(file, 5.0)
    forget_notes(file, 5.0)
    assert rollup.follow(file, 101.0, 5.0).upto == 10, "the same ledger still"
    with rollup.reading(file) as db:
        assert min(row[0] for row in db.execute("SELECT time FROM main.notes WHERE kind = 'refused'")) == 5.0
        assert db.execute("SELECT sum(calls) FROM main.hours").fetchone() == (10,), "sums stay"
    assert "notes" in rollup_schema.TABLES
