"""Waiting for who has the SQLite file: in short steps, to an end, and for nothing else."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.stores import patient
from proxy.stores.schema import connect

PUT = "INSERT INTO counters VALUES (?, 1)"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    connect(tmp_path / "store.db", 1).close()
    return tmp_path / "store.db"


@pytest.fixture
def other(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        yield db


def test_it_writes_as_soon_as_the_other_is_done(path: Path, other: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    def sleep(step: float) -> None:
        slept.append(step)
        if len(slept) == 3:
            other.execute("COMMIT")

    monkeypatch.setattr("proxy.stores.patient.sleep", sleep)
    with contextlib.closing(connect(path, 60)) as db:
        assert not slept
        other.execute("BEGIN IMMEDIATE")
        other.execute(PUT, ("theirs",))
        assert db.execute("SELECT count(*) FROM counters WHERE name = 'theirs'").fetchone() == (0,), "reading waits for nobody"
        db.execute(PUT, ("ours",))
        found = db.execute("SELECT name FROM counters WHERE name LIKE '%urs' OR name = 'theirs' ORDER BY name").fetchall()
        assert found == [("ours",), ("theirs",)]
    assert slept == sorted(slept)
    assert len(slept) == 3
    assert slept[0] == patient.FIRST_S


def test_it_gives_up_in_the_end_and_leaves_no_transaction(path: Path, other: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("proxy.stores.patient.sleep", slept.append)
    monkeypatch.setattr("proxy.stores.patient.monotonic", lambda: sum(slept))
    with contextlib.closing(connect(path, 0.5)) as db:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            db.execute("BEGIN IMMEDIATE")
        assert not db.in_transaction
        assert sum(slept) == pytest.approx(0.5, abs=0.01)
        assert max(slept) == patient.LONGEST_S
        other.execute("ROLLBACK")
        db.execute(PUT, ("later",))


def test_it_waits_for_nothing_else(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.stores.patient.sleep", lambda _: pytest.fail("it waited"))
    with contextlib.closing(connect(path, 5)) as db, pytest.raises(sqlite3.OperationalError, match="no such table"):
        db.execute("INSERT INTO nowhere VALUES (1)")
    assert not patient._busy(sqlite3.OperationalError("of Python's own")), "which has no code"


def test_what_fails_while_it_waits_is_told_at_once(path: Path, other: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    def sleep(_: float) -> None:
        other.execute("DROP TABLE counters")
        other.execute("COMMIT")

    with contextlib.closing(connect(path, 5)) as db:
        other.execute("BEGIN IMMEDIATE")
        monkeypatch.setattr("proxy.stores.patient.sleep", sleep)
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            db.execute(PUT, ("ours",))
