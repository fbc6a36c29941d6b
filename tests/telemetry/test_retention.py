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
from proxy.telemetry.retention import STEP, forget, forget_sums


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
    assert forget_sums(tmp_path / "none.db", 1.0, 2.0) == 0
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
    assert forget_sums(file, 5.0, 100.0) == 10, "five refusals, and what a dry run found in each"
    assert rollup.follow(file, 101.0, 5.0).upto == 10, "the same ledger still"
    with rollup.reading(file) as db:
        assert min(row[0] for row in db.execute("SELECT time FROM main.notes WHERE kind = 'refused'")) == 5.0
        assert db.execute("SELECT sum(calls) FROM main.hours").fetchone() == (10,), "sums stay"
    assert "notes" in rollup_schema.TABLES


def test_sums_go_too_when_they_are_old_the_larger_ones_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, day = tmp_path / "l.db", 86_400.0
    made = Ledger(file)
    for n in range(900):
        made.record(served(n, time=n * day + 10, run=f"run-{n}", charges=((f"month|usd||{n}", "usd", 1),)))
    made.stop()
    now = 899 * day + 20
    rollup.follow(file, now, 60.0)

    def ages() -> dict[str, int]:
        with rollup.reading(file) as db:
            columns = {"notes": "time", "runs": "last"} | {
                t: c for t, (c, _) in rollup_schema.KEPT.items() if t not in ("denied", "versions")
            }
            return {t: round((now - db.execute(f"SELECT min({c}) FROM main.{t}").fetchone()[0]) / day) for t, c in columns.items()}

    assert set(ages().values()) == {899}
    monkeypatch.setattr("proxy.telemetry.retention.MOST_DAYS", 3)
    assert forget_sums(file, now - 10 * day, now) > 0
    assert ages()["hours"] == 896, "so many days a round"
    monkeypatch.setattr("proxy.telemetry.retention.MOST_DAYS", 1000)
    forget_sums(file, now - 10 * day, now)
    kept = {"notes": 9, "runs": 9, "hours": 11, "agents": 71, "totals": 801, "days": 801, "burn": 801}
    assert ages() == {name: pytest.approx(age, abs=1) for name, age in kept.items()}
    with rollup.reading(file) as db:
        assert db.execute("SELECT count(*) FROM main.spenders").fetchone()[0] == pytest.approx(801, abs=1)
    forget_sums(file, now - 100 * day, now)
    assert ages()["totals"] == pytest.approx(801, abs=1), "what is kept for longer goes later"


def test_sums_of_another_version_are_left_to_whoever_makes_them_anew(tmp_path: Path) -> None:
    file = ledger(tmp_path, 10)
    rollup.follow(file, 100.0, 5.0)
    with closing(sqlite3.connect(rollup.beside(file))) as db:
        db.execute("PRAGMA user_version = 3")
    assert forget_sums(file, 1e9, 2e9) == 0
