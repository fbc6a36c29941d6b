"""A ledger in memory as a SQLite ledger in a temporary file, so that what reads files reads it too. Made when it is first asked for.

Safe in any thread. Bounded: a copy of more than `MOST` records is made anew from what memory still has. A file that cannot be written is a
`StoreError`.
"""

from __future__ import annotations

import sqlite3
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

from proxy.engine.ports import StoreError
from proxy.engine.record import Record
from proxy.telemetry import schema

MOST = 100_000
_COLUMNS = ", ".join(schema.COLUMNS)
_INSERT = f"INSERT INTO records ({_COLUMNS}) VALUES ({', '.join('?' * len(schema.COLUMNS))})"  # noqa: S608 - our own column names


class Copy:
    """See the module."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._db: sqlite3.Connection | None = None
        self._taken = self._rows = 0

    def now(self, kept: Sequence[Record], taken: int) -> Path:
        """Return the file with all of `kept` in it, the last of which is number `taken`. Raises StoreError."""
        with self._lock:
            try:
                if self._rows > MOST:
                    self._drop()
                db = self._opened()
                new = kept[-(taken - self._taken) :] if taken > self._taken else []
                self._add(db, new)
                self._taken, self._rows = max(taken, self._taken), self._rows + len(new)
            except (sqlite3.Error, OSError) as e:
                raise StoreError(f"the ledger's copy cannot be written: {e}") from None
            return self._path()

    def close(self) -> None:
        """Remove the file."""
        with self._lock:
            self._drop()

    def _path(self) -> Path:
        return Path(self._folder.name if self._folder is not None else "") / "ledger.db"

    def _opened(self) -> sqlite3.Connection:
        if self._db is None:
            self._folder = tempfile.TemporaryDirectory(prefix="fleetgate-ledger-")
            self._db = sqlite3.connect(self._path(), isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=OFF")
            schema.prepare(self._db, str(self._path()))
        return self._db

    def _add(self, db: sqlite3.Connection, records: Sequence[Record]) -> None:
        db.execute("BEGIN IMMEDIATE")
        try:
            for record in records:
                row = schema.clean(schema.to_row(record))
                try:
                    db.execute(_INSERT, row)
                except sqlite3.IntegrityError:
                    db.execute(_INSERT, schema.second(row))
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")

    def _drop(self) -> None:
        if self._db is not None:
            self._db.close()
        if self._folder is not None:
            self._folder.cleanup()
        self._db = self._folder = None
        self._taken = self._rows = 0
