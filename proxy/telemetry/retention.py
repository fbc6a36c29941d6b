"""Forgetting: records that are older than they may be kept are deleted from the SQLite ledger, a few at a time.

Decides what goes and in what steps. The ledger refuses deletions (`schema`); a step lifts that within its own transaction and puts it back,
so no other connection ever sees a ledger that can be changed. In the same transaction it says since when records are whole, so that the
audit of budgets judges no window that began earlier. The newest record stays whatever its age: sums that follow the ledger know it by that
one. What the sums beside it name by exchange or run goes too, and sums themselves after a while.

How it fails: a file that is locked or full is a `StoreError`; what was not deleted is the next time.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from proxy.engine.ports import StoreError
from proxy.telemetry.rollup import beside
from proxy.telemetry.rollup_schema import DAY_S, KEPT, VERSION
from proxy.telemetry.schema import CHARGED_SINCE, NO_DELETE

STEP = 500
"""Records in one transaction: some ten milliseconds, in which no settle can be written."""
MOST_DAYS = 30
"""Days of one table of sums that go in one round."""
_BUSY_S = 5.0
_OLD = "SELECT seq FROM records WHERE time < ? AND seq < (SELECT max(seq) FROM records) ORDER BY time LIMIT ?"
_SINCE = "INSERT INTO ledger_meta VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2 WHERE CAST(value AS REAL) < CAST(?2 AS REAL)"


def forget(path: Path, before: float) -> int:
    """Delete up to `STEP` records that are older than `before`, UTC seconds; return how many. May take a moment: call it in a thread.

    Raises:
        StoreError: that does not work just now.
    """
    if not path.is_file():
        return 0
    with _open(path) as db:
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'records'").fetchone() or not db.execute(_OLD, (before, 1)).fetchone():
            return 0
        db.execute("BEGIN IMMEDIATE")
        try:
            db.execute("DROP TRIGGER records_no_delete")
            gone = db.execute(f"DELETE FROM records WHERE seq IN ({_OLD})", (before, STEP)).rowcount  # noqa: S608 - fixed parts only
            db.execute(NO_DELETE)
            db.execute(_SINCE, (CHARGED_SINCE, str(before)))
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")
    return int(gone)


def forget_sums(ledger: Path, before: float, now: float) -> int:
    """Delete what the sums beside the ledger name by exchange or run and is older than `before`, and sums that are older than that and
    than they are kept (`rollup_schema.KEPT`); return how many rows. Bounded: what is left is the next time.

    Raises:
        StoreError: that does not work just now.
    """
    path, gone = beside(ledger), 0
    if not path.is_file():
        return 0
    with _open(path) as db:
        if db.execute("PRAGMA user_version").fetchone()[0] != VERSION:  # it is begun anew
            return 0
        for (kind,) in db.execute("SELECT DISTINCT kind FROM notes").fetchall():
            gone += db.execute("DELETE FROM notes WHERE kind = ? AND time < ?", (kind, before)).rowcount
        gone += db.execute("DELETE FROM runs WHERE last < ?", (before,)).rowcount
        for table, (column, days) in KEPT.items():
            gone += _old(db, table, column, min(before, now - days * DAY_S) - DAY_S)  # a day more: whole hours and days stay whole
        gone += db.execute("DELETE FROM spenders WHERE counter NOT IN (SELECT counter FROM burn)").rowcount
    return gone


def _old(db: sqlite3.Connection, table: str, column: str, cut: float) -> int:
    """Delete the rows of `table` that are older than `cut`, a day at a time where they stand in the order of time."""
    if column != "hour":
        return db.execute(f"DELETE FROM {table} WHERE {column} < ?", (cut,)).rowcount  # noqa: S608 - our own names
    gone = 0
    for _ in range(MOST_DAYS):
        first = db.execute(f"SELECT min(hour) FROM {table}").fetchone()[0]  # noqa: S608
        if first is None or first >= cut:
            break
        gone += db.execute(f"DELETE FROM {table} WHERE hour < ?", (min(cut, first + DAY_S),)).rowcount  # noqa: S608
    return gone


@contextlib.contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)) as db:
            yield db
    except sqlite3.Error as e:
        raise StoreError(f"{path}: old records cannot be deleted: {e}") from None
