"""A SQLite ledger as the target of a shipment: `records` as every SQLite ledger has it, so all commands read it.

A record that the file has is passed over by its id. It fails with StoreError: the file cannot be opened, or written (a full disk).
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from proxy.engine.ports import StoreError
from proxy.telemetry import schema
from proxy.telemetry.stream import Entry, insert


class SqliteTarget:
    """The ledger in the file at `path`."""

    most, pause_s = 500, 1.0

    def __init__(self, path: Path) -> None:
        """Open the file, or make it; raises StoreError."""
        self.name = f"sqlite:{path.absolute()}"
        try:
            path.touch(mode=0o600)
            self._db = sqlite3.connect(path, timeout=5.0, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")  # what was acknowledged is gone from the stream
            schema.prepare(self._db, str(path))
        except (sqlite3.Error, OSError) as e:
            raise StoreError(f"{path}: the ledger cannot be opened: {e}") from None

    def write(self, entries: list[Entry]) -> int:
        """See `Target.write`."""
        try:
            return insert(self._db, entries)
        except sqlite3.Error as e:
            raise StoreError(f"{self.name}: the ledger cannot be written: {e}") from None

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()
