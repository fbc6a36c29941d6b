"""Sums that follow a ledger: what a page shows of millions of records without reading them.

A rollup is a SQLite file beside the ledger's. It takes the records in the order in which they were written, so many at a time, and adds
them up in one transaction with the number of the last one taken: each record counts once, however often it is interrupted, whoever else
follows the same ledger. It only reads the ledger, through a connection that cannot write, and never holds the ledger's lock, so neither
the data plane nor the ledger's writer waits for it. It holds nothing that the ledger does not: whoever deletes it loses time.

How it fails: a rollup that is not of this ledger (the ledger was moved away, an index was made anew), or of another version, is begun anew.
One that cannot be written (a full disk) stays where it is and says so; what it has can be read. What is broken is removed, for the next
time, and a `StoreError`.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from proxy.engine.ports import StoreError
from proxy.telemetry.rollup_schema import DDL, STEPS, TABLES, VERSION

STEP = 2_000
"""Records in one transaction: some ten milliseconds, in which nobody waits."""
LONGEST_S = 5.0
_BUSY_S, _CACHE_KIB, _PASSING_KIB = 2.0, 2_048, 256
"""Pages that are kept of the rollup, and of the ledger, which is read once from end to end."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How far a rollup is.

    Attributes:
        upto: the number of the last record that it has, 0 for none.
        behind: records that the ledger has more.
        as_of: everything up to then is in it, UTC seconds; 0 when nothing is.
        stale: why it does not follow, empty when it does.
        blocked: it cannot be written.
    """

    upto: int
    behind: int
    as_of: float
    stale: str = ""
    blocked: bool = False


def beside(ledger: Path) -> Path:
    """Return where the rollup of a ledger is."""
    return ledger.with_name(f"{ledger.name}.rollup")


def follow(ledger: Path, now: float, most_s: float, *, clock: Callable[[], float] = time.monotonic) -> Reach:
    """Take what the ledger has got since, for about `most_s` seconds; return how far that came. May take as long: call it in a thread.

    Args:
        ledger: the ledger's file.
        now: UTC seconds.
        most_s: after so long no further step is begun.
        clock: seconds that only go on.

    Raises:
        StoreError: neither can be read.
    """
    until = clock() + most_s
    with _opened(ledger) as (db, stale):
        if stale:
            return _reach(db, now, stale)
        try:
            while _step(db, STEP) and clock() < until:
                pass
        except sqlite3.OperationalError as e:
            return _reach(db, now, _why(e))
        return _reach(db, now)


def reach(ledger: Path, now: float) -> Reach:
    """Return how far the rollup is, without taking anything. Raises StoreError."""
    with _opened(ledger) as (db, stale):
        return _reach(db, now, stale)


@contextmanager
def reading(ledger: Path, most_s: float = LONGEST_S) -> Iterator[sqlite3.Connection]:
    """Give a connection that reads the rollup, and the ledger as `ledger.records`, all at one moment, for at most so many seconds.

    Raises:
        StoreError: neither can be read, or it took longer.
    """
    until = time.monotonic() + most_s
    with _opened(ledger) as (db, _):
        db.set_progress_handler(lambda: time.monotonic() > until, 20_000)
        db.execute("BEGIN")
        yield db


@contextmanager
def _opened(ledger: Path) -> Iterator[tuple[sqlite3.Connection, str]]:
    """Give a connection to the rollup with the ledger attached, and why it cannot be written. Raises StoreError."""
    if not ledger.exists():
        raise StoreError(f"{ledger}: no such file, so no exchange was recorded there yet")
    path = beside(ledger)
    try:
        db = sqlite3.connect(path.absolute().as_uri(), uri=True, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as e:
        raise StoreError(f"{path}: the rollup cannot be opened: {e}") from None
    try:
        path.chmod(0o600)
        db.execute("PRAGMA main.synchronous = NORMAL")
        db.execute(f"PRAGMA main.cache_size = -{_CACHE_KIB}")
        db.execute("ATTACH ? AS ledger", (f"{ledger.absolute().as_uri()}?mode=ro",))
        db.execute(f"PRAGMA ledger.cache_size = -{_PASSING_KIB}")
        yield db, _prepared(db)
    except (sqlite3.Error, OSError) as e:
        if isinstance(e, sqlite3.DatabaseError) and e.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            path.unlink(missing_ok=True)  # it holds nothing that the ledger does not
        if isinstance(e, sqlite3.OperationalError) and e.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            raise StoreError("this took too long; ask for less, or for a shorter time") from None
        raise StoreError(f"{path}: the rollup cannot be read: {e}") from None
    finally:
        db.close()


def _prepared(db: sqlite3.Connection) -> str:
    """Make the tables where they are missing or are another ledger's; return why that does not work, where there are some to read."""
    ready = _version(db) == VERSION
    try:
        if ready and _same(db):
            return ""
        if not ready:
            db.execute("PRAGMA main.journal_mode=WAL")
        db.execute("BEGIN IMMEDIATE")
        try:
            if _version(db) != VERSION or not _same(db):
                _begin_anew(db)
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")
    except sqlite3.OperationalError as e:
        if not ready:
            raise
        return _why(e)
    return ""


def _why(e: sqlite3.OperationalError) -> str:
    """Return why the file cannot be written just now; raises what is no matter of the file."""
    if e.sqlite_errorcode & 0xFF == sqlite3.SQLITE_ERROR:
        raise e
    return f"the rollup cannot be written: {e}"


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA main.user_version").fetchone()[0])


def _same(db: sqlite3.Connection) -> bool:
    """Return whether the last record that the rollup has is the ledger's record of that number."""
    upto, last = db.execute("SELECT upto, last FROM main.reached").fetchone()
    return not upto or db.execute("SELECT id FROM ledger.records WHERE seq = ?", (upto,)).fetchone() == (last,)


def _begin_anew(db: sqlite3.Connection) -> None:
    for table in TABLES:
        db.execute(f"DROP TABLE IF EXISTS main.{table}")
    for statement in DDL:
        db.execute(statement)
    db.execute("INSERT INTO main.reached VALUES (0, '', 0)")
    db.execute(f"PRAGMA main.user_version = {VERSION}")


def _step(db: sqlite3.Connection, most: int) -> bool:
    """Take the next records, at most `most`; return whether there were any."""
    if not db.execute("SELECT EXISTS (SELECT 1 FROM ledger.records WHERE seq > (SELECT upto FROM main.reached))").fetchone()[0]:
        return False
    db.execute("BEGIN IMMEDIATE")
    try:
        after = db.execute("SELECT upto FROM main.reached").fetchone()[0]
        window = "SELECT seq, id, time FROM ledger.records WHERE seq > ? ORDER BY seq LIMIT ?"
        found = db.execute(f"SELECT max(seq), id, time FROM ({window})", (after, most)).fetchone()  # noqa: S608 - fixed parts
        if found[0] is not None:
            for statement in STEPS:
                db.execute(statement, {"after": after, "upto": found[0]})
            db.execute("UPDATE main.reached SET upto = ?, last = ?, as_of = ?", found)
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")
    return found[0] is not None


def _reach(db: sqlite3.Connection, now: float, stale: str = "") -> Reach:
    upto, as_of = db.execute("SELECT upto, as_of FROM main.reached").fetchone()
    last = db.execute("SELECT max(seq) FROM ledger.records").fetchone()[0] or 0
    behind, blocked = max(0, last - upto), bool(stale)
    if behind and not blocked:
        stale = f"{behind} records are still to be added up"
    return Reach(upto, behind, now if not behind else as_of, stale, blocked)
