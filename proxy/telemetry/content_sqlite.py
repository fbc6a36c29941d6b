"""Contents in a SQLite file of their own beside the ledger's, which only its owner may read.

Decides how much may be in it (the oldest go first) and how things are deleted: overwritten with zeros, and taken out of the write-ahead
log at once where somebody asked for it to be erased. Every process of a machine that shares the ledger shares the file. It is made when
something is kept for the first time.

How it fails: a file that is full, locked or broken is a `StoreError`; nothing that was kept before is lost by that.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from proxy.engine.ports import StoreError
from proxy.telemetry.content import Content, Mark, Whose, packed, packed_mark, unpacked

STEP = 500
"""Exchanges that one transaction deletes at most."""
FEW = 10
"""Exchanges that go at once where there is no more room."""
_BUSY_S = 5.0
_DDL = (
    "CREATE TABLE IF NOT EXISTS contents (id TEXT PRIMARY KEY, time REAL NOT NULL, agent TEXT NOT NULL, session TEXT NOT NULL,"
    " until REAL NOT NULL, mark BLOB NOT NULL, data BLOB NOT NULL)",
    "CREATE INDEX IF NOT EXISTS contents_by_session ON contents (session, id)",
    "CREATE INDEX IF NOT EXISTS contents_by_agent ON contents (agent)",
    "CREATE INDEX IF NOT EXISTS contents_by_end ON contents (until)",
)
_WIPES = "PRAGMA secure_delete=ON"
_KEEP = "INSERT OR REPLACE INTO contents VALUES (?, ?, ?, ?, ?, ?, ?)"
_USED = "SELECT (SELECT page_count FROM pragma_page_count) - (SELECT freelist_count FROM pragma_freelist_count)"
_MARK = "SELECT mark FROM contents WHERE session = ? ORDER BY id DESC LIMIT 1"
_OLDEST = "DELETE FROM contents WHERE id IN (SELECT id FROM contents ORDER BY id LIMIT ?)"
_ENDED = "DELETE FROM contents WHERE id IN (SELECT id FROM contents WHERE until <= ? ORDER BY until LIMIT ?)"


def beside(ledger: Path) -> Path:
    """Return where the contents of a ledger's exchanges are."""
    return ledger.with_name(f"{ledger.name}.content")


class SqliteContents:
    """`Contents` in a file. Safe in any thread.

    Args:
        ledger: the ledger's file.
        most_mb: megabytes that contents may take.
    """

    def __init__(self, ledger: Path, most_mb: int) -> None:
        self._path, self._most = beside(ledger.absolute()), most_mb << 20
        self._lock = threading.Lock()
        self._writer: sqlite3.Connection | None = None

    def keep(self, contents: Sequence[Content]) -> None:
        """See `Contents.keep`."""
        rows = [_clean((one.id, one.time, one.agent, one.session, one.until, packed_mark(one.mark), packed(one))) for one in contents]
        with self._lock, self._faults("kept"):
            db = self._writing()
            with _transaction(db):
                db.executemany(_KEEP, rows)
            while self._used(db) > self._most:
                with _transaction(db):
                    gone = db.execute(_OLDEST, (FEW,)).rowcount
                if not gone:
                    break

    def mark(self, session: str) -> Mark | None:
        """See `Contents.mark`."""
        if not self._path.is_file():
            return None
        with self._lock, self._faults("read"):  # by whoever writes, for each turn: on the connection that is there
            found = self._writing().execute(_MARK, (_text(session),)).fetchone()
        return None if found is None else unpacked(found[0], Mark)

    def one(self, name: str) -> Content | None:
        """See `Contents.one`."""
        found = self._read("SELECT data FROM contents WHERE id = ?", _text(name))
        return None if found is None else unpacked(found, Content)

    def forget(self, now: float) -> int:
        """See `Contents.forget`; at most `STEP`."""
        if not self._path.is_file():
            return 0
        with self._lock, self._faults("deleted"):
            db = self._writing()
            with _transaction(db):
                return int(db.execute(_ENDED, (now, STEP)).rowcount)

    def erase(self, whose: Whose) -> int:
        """See `Contents.erase`."""
        if not self._path.is_file():
            return 0
        column, value = ("session", whose.session) if whose.session else ("agent", whose.agent)
        with self._lock, self._faults("erased"):
            db = self._writing()
            with _transaction(db):
                gone = db.execute(f"DELETE FROM contents WHERE {column} = ?", (_text(value),)).rowcount  # noqa: S608 - one of two names
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return int(gone)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._writer is not None:
                self._writer.close()
                self._writer = None

    def _read(self, select: str, value: str) -> bytes | None:
        if not self._path.is_file():
            return None
        with self._faults("read"), contextlib.closing(sqlite3.connect(f"{self._path.as_uri()}?mode=ro", timeout=_BUSY_S, uri=True)) as db:
            there = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'contents'").fetchone()
            row = db.execute(select, (value,)).fetchone() if there else None
        return None if row is None else bytes(row[0])

    def _writing(self) -> sqlite3.Connection:
        if self._writer is not None and not self._path.is_file():  # somebody took the file away
            self._writer.close()
            self._writer = None
        if self._writer is None:
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
            db = sqlite3.connect(self._path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            try:
                for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=NORMAL", _WIPES, *_DDL):
                    db.execute(statement)
            except sqlite3.Error:
                db.close()
                raise
            self._writer = db
        return self._writer

    @staticmethod
    def _used(db: sqlite3.Connection) -> int:
        return int(db.execute(_USED).fetchone()[0]) * int(db.execute("PRAGMA page_size").fetchone()[0])

    @contextlib.contextmanager
    def _faults(self, done: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as e:
            raise StoreError(f"{self._path}: what was said in exchanges cannot be {done}: {e}") from None


@contextlib.contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def _text(value: str) -> str:
    return value.encode("utf-8", "replace").decode()


def _clean(row: tuple[object, ...]) -> tuple[object, ...]:
    return tuple([_text(value) if isinstance(value, str) else value for value in row])
