"""The write-ahead log comes into the file beside the writer: it begins anew while others write, and waits for who still reads."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from pathlib import Path

import pytest
from store_cases import usd

from proxy.budget.port import Held
from proxy.stores import checkpoint as module
from proxy.stores.checkpoint import AT_MOST_S, Checkpoints, checkpoint
from proxy.stores.schema import LONG_LOG, connect
from proxy.stores.sqlite import SqliteBudget


def opened(path: Path) -> tuple[sqlite3.Connection, sqlite3.Connection]:
    """Return one who writes, and one who looks after the log."""
    writer = connect(path, 1)
    writer.execute("PRAGMA wal_autocheckpoint = 0")
    return writer, sqlite3.connect(path, AT_MOST_S, isolation_level=None)


def write(db: sqlite3.Connection, rows: int = 50) -> None:
    for _ in range(rows):
        db.execute("INSERT INTO budget_batches(body) VALUES (?)", ("x" * 2_000,))


def pages(db: sqlite3.Connection) -> int:
    """Return how long the log is."""
    return int(db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1])


def test_the_log_begins_anew_behind_a_checkpoint(tmp_path: Path) -> None:
    writer, keeper = opened(tmp_path / "f.db")
    write(writer)
    assert pages(keeper) >= 50
    write(writer)
    assert checkpoint(keeper)
    write(writer, 1)
    assert pages(keeper) < 10
    writer.close()
    keeper.close()


def test_who_still_reads_what_is_older_is_waited_for(tmp_path: Path) -> None:
    writer, keeper = opened(tmp_path / "f.db")
    write(writer)
    reader = connect(tmp_path / "f.db", 1)
    reader.execute("BEGIN")
    seen = reader.execute("SELECT count(*) FROM budget_batches").fetchone()
    write(writer)
    assert not checkpoint(keeper)
    assert reader.execute("SELECT count(*) FROM budget_batches").fetchone() == seen
    reader.execute("COMMIT")
    assert checkpoint(keeper)
    for db in (writer, keeper, reader):
        db.close()


def test_who_is_in_the_middle_of_writing_is_not_waited_for_long(tmp_path: Path) -> None:
    writer, keeper = opened(tmp_path / "f.db")
    write(writer)
    writer.execute("BEGIN IMMEDIATE")
    assert not checkpoint(keeper)
    write(writer, 1)
    writer.execute("COMMIT")
    assert checkpoint(keeper)
    writer.close()
    keeper.close()


def test_the_store_has_it_done_and_its_commits_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY_S", 0.001)
    monkeypatch.setattr(module, "MANY", 1)
    done, real = threading.Event(), checkpoint

    def watched(db: sqlite3.Connection) -> bool:
        worked = real(db)
        if worked:
            done.set()
        return worked

    monkeypatch.setattr(module, "checkpoint", watched)

    async def body() -> None:
        store = SqliteBudget(tmp_path / "f.db")
        assert store._db.execute("PRAGMA wal_autocheckpoint").fetchone() == (LONG_LOG,)
        assert isinstance(await store.reserve("h", [usd("a", 100, 60)], 1, 50), Held)
        assert await asyncio.to_thread(done.wait, 30)
        thread = store._checkpoints._thread
        await store.close()
        assert thread is not None
        assert not thread.is_alive()

    asyncio.run(body())


def test_a_file_that_cannot_be_used_is_left_to_the_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY_S", 0.001)
    lost = Checkpoints(tmp_path / "no folder" / "f.db")
    lost.committed()
    lost.stop(30)
    (tmp_path / "odd.db").write_bytes(b"no database " * 400)
    odd = sqlite3.connect(tmp_path / "odd.db")
    assert not checkpoint(odd)
    odd.close()


def test_where_there_are_no_more_threads_the_store_goes_on_without_and_ends_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(thread: threading.Thread) -> None:
        if thread.name == "fleetgate-checkpoint":
            raise RuntimeError("can't start new thread")
        real(thread)

    real = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", start)

    async def body() -> None:
        store = SqliteBudget(tmp_path / "f.db")
        assert isinstance(await store.reserve("h", [usd("a", 100, 60)], 1, 50), Held)
        assert await store.settle("h", {"usd": 20}, 2)
        await store.close()
        assert not store._thread.is_alive()
        with contextlib.closing(sqlite3.connect(tmp_path / "f.db")) as db:
            assert db.execute("SELECT spent, held FROM budget_counters").fetchall() == [(20, 0)], "all is in the tables"

    asyncio.run(body())
