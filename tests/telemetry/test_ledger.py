from __future__ import annotations

import asyncio
import dataclasses
import logging
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from record_samples import REFUSED, SERVED, STRANGER, served

from proxy.engine.ports import StoreError
from proxy.engine.record import Record
from proxy.telemetry import query, schema
from proxy.telemetry.ledger import Ledger, MemoryLedger
from proxy.telemetry.query import Filter

ROOT = Path(__file__).parents[2]
DOC = ROOT / "docs" / "ledger.md"


def write(path: Path, *records: Record) -> Ledger:
    """Write records and close."""
    ledger = Ledger(path)
    for record in records:
        ledger.record(record)
    asyncio.run(ledger.close())
    return ledger


def sql(path: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        return db.execute(statement).fetchall()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the file's write lock."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        yield
        db.execute("ROLLBACK")


class Ears(logging.Handler):
    """Hears what the ledger says."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.heard = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        self.heard.set()


@pytest.fixture
def ears() -> Iterator[Ears]:
    handler = Ears()
    logging.getLogger("fleetgate.ledger").addHandler(handler)
    yield handler
    logging.getLogger("fleetgate.ledger").removeHandler(handler)


FELL = dataclasses.replace(SERVED, id="01fell", fallbacks=(("local", "small", "slow", 7, 4, 0, 2_500_000_000),))


@pytest.mark.parametrize("record", [SERVED, REFUSED, STRANGER, FELL, Record("bare", 0.0)], ids=lambda r: r.outcome or "bare")
def test_a_record_comes_back_as_it_was(tmp_path: Path, record: Record) -> None:
    write(tmp_path / "l.db", record)
    assert query.one(tmp_path / "l.db", record.id) == record
    assert query.one(tmp_path / "l.db", "other") is None


@given(st.text(), st.integers(-(1 << 70), 1 << 70))
def test_any_text_and_number_makes_a_row_that_sqlite_takes(text: str, number: int) -> None:
    record = dataclasses.replace(SERVED, agent=text, cost=number, findings=((text, text),), decisions=((text, text),))
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        schema.prepare(db, "memory")
        db.execute(schema.insert_sql(1), schema.clean(schema.to_row(record)))
        back = schema.to_record(db.execute(f"SELECT {', '.join(schema.COLUMNS)} FROM records").fetchone())
    assert back.agent == text.encode("utf-8", "replace").decode()
    assert back.cost == max(-(1 << 63) + 1, min(number, (1 << 63) - 1))
    assert back.findings == ((text, text),)


def test_close_writes_everything_in_order(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    ledger = write(path, *(served(i) for i in range(3333)))
    assert (ledger.depth, ledger.lost) == (0, 0)
    assert [r[0] for r in sql(path, "SELECT id FROM records ORDER BY seq")] == [f"id-{i:06d}" for i in range(3333)]


def test_records_that_come_together_need_not_have_something_in_the_same_columns(tmp_path: Path) -> None:
    kinds = (Record("bare", 0.0), SERVED, SERVED, REFUSED, FELL, STRANGER)
    records = [dataclasses.replace(kind, id=f"{i:03d}", session="s" * (i > 3)) for i, kind in enumerate(kinds * 20)]
    ledger = write(tmp_path / "l.db", *records)
    assert (ledger.depth, ledger.lost) == (0, 0)
    found = query.rows(tmp_path / "l.db", Filter(limit=1000))
    assert {r.id: r for r in found} == {r.id: r for r in records}


def test_a_ledger_that_is_opened_again_goes_on(tmp_path: Path) -> None:
    write(tmp_path / "l.db", served(1))
    write(tmp_path / "l.db", served(2))
    assert [r.time for r in query.rows(tmp_path / "l.db")] == [2.0, 1.0]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE records SET cost = 0",
        "DELETE FROM records",
        "INSERT OR REPLACE INTO records (id, cost) VALUES ('id-000001', 0)",
        "INSERT OR REPLACE INTO records (seq, id) VALUES (1, 'new')",
        "REPLACE INTO records (id, cost) VALUES ('id-000001', 0)",
    ],
)
def test_rows_cannot_be_changed(tmp_path: Path, statement: str) -> None:
    write(tmp_path / "l.db", served(1))
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        sql(tmp_path / "l.db", statement)
    assert query.rows(tmp_path / "l.db") == [served(1)]


def test_a_full_queue_loses_the_newest_loudly_and_never_waits(tmp_path: Path, ears: Ears) -> None:
    ledger = Ledger(tmp_path / "l.db", max_queue=10)
    with locked(tmp_path / "l.db"):
        for i in range(25):
            ledger.record(served(i))
        assert (ledger.depth, ledger.lost) == (10, 15)
    ledger.stop()
    assert [r.id for r in query.rows(tmp_path / "l.db")] == [f"id-{i:06d}" for i in range(9, -1, -1)]
    assert len(ears.lines) == 1  # one a minute, not fifteen
    assert "1 records lost, 10 waiting" in ears.lines[0]


def test_a_write_that_fails_is_tried_again_until_it_works(tmp_path: Path, ears: Ears) -> None:
    path = tmp_path / "l.db"
    ledger = Ledger(path)
    sql(path, "ALTER TABLE records RENAME TO hidden")
    ledger.record(served(1))
    assert ears.heard.wait(10)
    assert "no such table" in ledger.problem
    assert (ledger.depth, ledger.lost) == (1, 0)
    sql(path, "ALTER TABLE hidden RENAME TO records")
    ledger.stop()
    assert (ledger.depth, ledger.lost, ledger.problem) == (0, 0, "")
    assert query.rows(path) == [served(1)]


def test_a_record_that_sqlite_refuses_is_lost_alone(tmp_path: Path, ears: Ears) -> None:
    ledger = write(tmp_path / "l.db", *(served(i % 20) for i in range(60)))
    assert ledger.lost == 20
    assert len(query.rows(tmp_path / "l.db")) == 40
    assert "append-only" in ears.lines[0]


def test_odd_text_and_numbers_do_not_lose_their_neighbours(tmp_path: Path) -> None:
    odd = [served(1, agent="a\ud800\x00"), served(2, cost=1 << 80), served(3), served(4, decisions=(("s", "\udfff"),))]
    ledger = write(tmp_path / "l.db", *odd)
    assert ledger.lost == 0
    back = query.rows(tmp_path / "l.db")
    assert [r.id for r in back] == ["id-000004", "id-000003", "id-000002", "id-000001"]
    assert back[3].agent == "a?\x00"


def test_a_record_of_wrong_types_does_not_block_those_behind_it(tmp_path: Path, ears: Ears) -> None:
    ledger = write(tmp_path / "l.db", served(1, agent={"a"}), served(2, decisions=((object(), "x"),)), served(3, agent=None), served(4))
    assert ledger.lost == 2
    assert {r.id for r in query.rows(tmp_path / "l.db")} == {"id-000002", "id-000004"}
    assert len(ears.lines) == 1


def test_a_close_that_cannot_write_ends_and_says_what_is_lost(tmp_path: Path, ears: Ears) -> None:
    ledger = Ledger(tmp_path / "l.db", close_timeout_s=0.1)
    with locked(tmp_path / "l.db"):
        for i in range(5):
            ledger.record(served(i))
        asyncio.run(ledger.close())
        assert ledger.lost == 5
        assert "5 records lost" in ears.lines[-1]
    ledger._writer.join()


def test_a_record_after_close_is_counted_as_lost(tmp_path: Path, ears: Ears) -> None:
    ledger = write(tmp_path / "l.db")
    ledger.record(served(1))
    assert (ledger.lost, len(ears.lines)) == (1, 1)


_CHILD = """
import sys, time
from dataclasses import replace
from proxy.engine.record import Record
from proxy.telemetry.ledger import Ledger
ledger = Ledger(sys.argv[1])
number = 0
while True:
    ledger.record(Record(f"id-{number:06d}", float(number), decisions=(("policy", "words " * 20),)))
    number += 1
    if number >= 1000 and number % 50 == 0:
        while ledger.depth > 200:
            time.sleep(0.001)
        print(number - ledger.depth, flush=True)
"""


def test_a_killed_process_leaves_a_whole_prefix(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    child = subprocess.Popen([sys.executable, "-c", _CHILD, str(path)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert child.stdout is not None
    said = [int(child.stdout.readline()) for _ in range(20)]
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert sql(path, "PRAGMA integrity_check") == [("ok",)]
    ids = [r[0] for r in sql(path, "SELECT id FROM records ORDER BY seq")]
    assert len(ids) >= max(said) >= 800
    assert ids == [f"id-{i:06d}" for i in range(len(ids))]
    write(path, Record("after", 1e9))
    assert query.rows(path, Filter(limit=1))[0].id == "after"


def test_two_ledgers_may_share_a_file(tmp_path: Path) -> None:
    one, two = Ledger(tmp_path / "l.db"), Ledger(tmp_path / "l.db")
    for i in range(500):
        one.record(served(i))
        two.record(served(1000 + i))
    one.stop()
    two.stop()
    assert (one.lost, two.lost) == (0, 0)
    assert len(query.rows(tmp_path / "l.db", Filter(limit=5000))) == 1000


def test_the_file_is_the_owners_alone_and_other_tables_stay(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    write(path, served(1))
    assert path.stat().st_mode & 0o777 == 0o600
    other = tmp_path / "other.db"
    sql(other, "CREATE TABLE counters (name TEXT)")
    sql(other, "PRAGMA user_version = 7")
    write(other, served(1))
    assert sql(other, "PRAGMA user_version") == [(7,)]
    assert sql(other, "SELECT count(*) FROM counters") == [(0,)]


def test_a_newer_ledger_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    write(path, served(1))
    sql(path, "UPDATE ledger_meta SET value = '3'")
    with pytest.raises(StoreError, match="has version 3, this release knows 2"):
        Ledger(path)
    assert sql(path, "SELECT value FROM ledger_meta") == [("3",)]


def test_an_older_ledger_says_since_when_it_holds_charges(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    write(path, served(1))
    assert sql(path, "SELECT key, value FROM ledger_meta") == [("version", "2")], "a new one has held them always"
    sql(path, "UPDATE ledger_meta SET value = '1'")
    write(path, served(2))
    (since,) = sql(path, "SELECT CAST(value AS INTEGER) FROM ledger_meta WHERE key = 'charged_since'")[0]
    assert isinstance(since, int)
    assert since > 1_700_000_000
    sql(path, "UPDATE ledger_meta SET value = '7' WHERE key = 'charged_since'")
    write(path, served(3))
    assert sql(path, "SELECT key, value FROM ledger_meta ORDER BY key") == [("charged_since", "7"), ("version", "2")]


def test_what_a_record_would_cost_may_be_written_later_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    write(path, served(1, charges=(("day|usd||2026-11-25", "usd", 7),)))
    sql(path, "UPDATE records SET repriced = 5")
    assert query.rows(path) == [served(1, charges=(("day|usd||2026-11-25", "usd", 7),), repriced=5)]
    for column in schema.COLUMNS:
        if column != "repriced":
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                sql(path, f"UPDATE records SET {column} = {column}")


def test_of_two_records_of_one_hold_the_second_is_kept_apart_and_charges_only_what_a_sweep_did(tmp_path: Path) -> None:
    path, charges = tmp_path / "l.db", (("cap|usd||total", "usd", 9),)
    write(path, served(1, outcome="expired", charges=charges), served(1, charges=charges), served(2, charges=charges))
    write(path, served(2, outcome="expired", charges=charges))
    found = {r.id: (r.outcome, r.charges) for r in query.rows(path)}
    assert found == {
        "id-000001": ("expired", charges),
        "id-000001+": ("ok", ()),
        "id-000002": ("ok", charges),
        "id-000002+": ("expired", charges),
    }


def test_an_older_ledger_gets_the_columns_that_it_lacks(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    sql(path, "CREATE TABLE records (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, time REAL, agent TEXT, session TEXT)")
    sql(path, "INSERT INTO records (id, time, agent, session) VALUES ('old', 1.0, 'a', 's')")
    write(path, served(2))
    assert query.rows(path) == [served(2), Record("old", 1.0, agent="a", session="s")]


@pytest.mark.parametrize("kind", ["folder", "no folder", "not a database"])
def test_a_file_that_cannot_be_a_ledger_stops_the_start(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x" / "l.db" if kind == "no folder" else tmp_path / "l.db"
    if kind == "folder":
        path.mkdir()
    elif kind == "not a database":
        path.write_text("hello " * 1000)
    with pytest.raises(StoreError, match="cannot be opened"):
        Ledger(path)


def test_a_memory_ledger_keeps_the_last() -> None:
    ledger = MemoryLedger(max_records=3)
    for i in range(5):
        ledger.record(served(i))
    asyncio.run(ledger.close())
    assert [r.time for r in ledger.rows()] == [4.0, 3.0, 2.0]
    assert ledger.one("id-000003") == served(3)
    assert ledger.one("id-000001") is None


def test_every_column_is_a_field_and_documented() -> None:
    assert tuple(f.name for f in dataclasses.fields(Record)) == schema.COLUMNS
    section = DOC.read_text().split("## Columns")[1].split("## Reading")[0]
    named = {name for row in re.findall(r"^\| (`.*?) \|", section, re.M) for name in re.findall(r"`(\w+)`", row)}
    assert named == {"seq", *schema.COLUMNS}


def test_many_at_once_are_written_in_their_order_by_a_clean_stop(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    made = [dataclasses.replace(SERVED, id=f"{number:06d}", cost=number) for number in range(1000)]
    for record in made:
        ledger.record(record)
    ledger.stop()
    assert ledger.lost == 0
    with sqlite3.connect(tmp_path / "ledger.db") as db:
        assert db.execute("SELECT id, cost FROM records ORDER BY seq").fetchall() == [(r.id, r.cost) for r in made]
    db.close()
