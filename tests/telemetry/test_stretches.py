from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from record_samples import SERVED

from proxy.engine.record import Record
from proxy.telemetry import query, rollup, schema, stretches, trails
from proxy.telemetry.query import Filter

MANY = 3000
"""Records that span three stretches."""


def filled(path: Path, records: list[Record]) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        schema.prepare(db, str(path))
        rows = [schema.to_row(record) for record in records]
        for start in range(0, len(rows), 100):
            some = rows[start : start + 100]
            db.execute(schema.insert_sql(len(some)), [value for row in some for value in row])


def made(number: int) -> Record:
    return replace(SERVED, id=f"{number:06}", time=1000.0 + number, session=f"s{number % 1000}", run="r" if number % 1000 < 3 else "")


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stretches") / "ledger.db"
    filled(path, [made(number) for number in range(MANY)])
    return path


def test_a_session_is_found_in_all_stretches_and_by_the_index(ledger: Path) -> None:
    assert [r.id for r in query.rows(ledger, Filter(session="s7"))] == ["002007", "001007", "000007"]
    assert [g.calls for g in query.groups(ledger, "session", Filter(session="s7", since=1500.0))] == [2]
    assert query.rows(ledger, Filter(session="nobody")) == []
    with query.reading(ledger) as db:
        condition, values = query.where_of(Filter(session="s7"), db)
        plan = " ".join(row[3] for row in db.execute(f"EXPLAIN QUERY PLAN SELECT id FROM records{condition} ORDER BY time", values))
    assert "COVERING INDEX records_stretches (<expr>=? AND session=?)" in plan
    assert "USING INTEGER PRIMARY KEY (rowid=?)" in plan


def test_an_empty_ledger_has_no_session(tmp_path: Path) -> None:
    filled(tmp_path / "ledger.db", [])
    assert query.rows(tmp_path / "ledger.db", Filter(session="s")) == []


def test_an_older_file_is_read_as_it_is_and_gets_the_index_when_it_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    filled(path, [made(number) for number in range(20)])
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"DROP INDEX {stretches.NAME}")
        db.execute("CREATE INDEX records_session_time ON records (session, time)")
    assert [r.id for r in query.rows(path, Filter(session="s7"))] == ["000007"]
    filled(path, [])
    with query.reading(path) as db:
        names = {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}
        assert stretches.there(db, "main")
    assert "records_session_time" not in names
    assert [r.id for r in query.rows(path, Filter(session="s7"))] == ["000007"]


def test_the_sessions_of_a_run_are_found_where_the_rollup_saw_them_and_behind_it(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rollup.follow(ledger, 9000.0, 60.0)
    filled(ledger, [replace(made(1), id="late", time=9000.0)])
    for most in (trails.MOST_LOOKS, 0):
        monkeypatch.setattr(trails, "MOST_LOOKS", most)
        with rollup.reading(ledger) as db:
            assert stretches.stretches(db) == 3
            found = trails.run(db, "r")
            listed = trails.sessions(db, trails.Wanted(0.0, run="r"))
        assert found is not None
        assert {node["id"]: node["calls"] for node in found["nodes"]} == {"s0": 3, "s1": 4, "s2": 3}
        assert {one["session"]: one["calls"] for one in listed["sessions"]} == {"s0": 3, "s1": 4, "s2": 3}
