"""Keys, in memory or in the SQLite file: the command line writes them, the server reads them.

Only hashes are kept. In SQLite every verb is one short transaction on a connection of its own; call them off the loop.
"""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Any

from proxy.engine.ports import StoreError
from proxy.identity.keys import KeyEntry
from proxy.stores.schema import connect


class MemoryKeys:
    """`KeyStore` in memory."""

    def __init__(self) -> None:
        self._keys: dict[str, KeyEntry] = {}
        self._version = 0

    def keys(self) -> list[KeyEntry]:
        """Return all keys, oldest first."""
        return list(self._keys.values())

    def add(self, entry: KeyEntry) -> None:
        """Keep `entry`."""
        self._keys[entry.id] = entry
        self._version += 1

    def revoke(self, id_or_agent: str) -> int:
        """Forget the key with that id, or all keys of that agent, and their children; return how many."""
        named = {key.id for key in self._keys.values() if id_or_agent in (key.id, key.agent)} | {id_or_agent}
        gone = [key.id for key in self._keys.values() if key.id in named or key.parent in named]
        for key_id in gone:
            del self._keys[key_id]
        self._version += bool(gone)
        return len(gone)

    def version(self) -> int:
        """Return a number that changes whenever the keys do."""
        return self._version

    def close(self) -> None:
        """There is nothing to let go of."""


class SqliteKeys:
    """`KeyStore` in the SQLite file at `path`. Safe to call from several threads."""

    def __init__(self, path: Path, busy_s: float = 5.0) -> None:
        self._db = connect(path, busy_s)
        self._lock = threading.Lock()

    def keys(self) -> list[KeyEntry]:
        """Return all keys, oldest first."""
        rows = self._run([("SELECT agent, sha256, expires, created, id, run, usd FROM keys ORDER BY created, id", ())])
        return [KeyEntry(*row) for row in rows]

    def add(self, entry: KeyEntry) -> None:
        """Keep `entry`."""
        row = (entry.id, entry.agent, entry.sha256, entry.expires, entry.created, entry.run, entry.usd)
        self._run([("INSERT INTO keys(id, agent, sha256, expires, created, run, usd) VALUES (?, ?, ?, ?, ?, ?, ?)", row), _CHANGED])

    def revoke(self, id_or_agent: str) -> int:
        """Forget the key with that id, or all keys of that agent, and their children; return how many."""
        return len(self._run([_CHANGED, (_REVOKE, (id_or_agent,))]))

    def version(self) -> int:
        """Return a number that changes whenever the keys do."""
        return int(self._run([("SELECT value FROM counters WHERE name = 'keys'", ())])[0][0])

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._db.close()

    def _run(self, statements: list[tuple[str, tuple[Any, ...]]]) -> list[Any]:
        """Run `statements` in one transaction and return the rows of the last."""
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE" if len(statements) > 1 else "BEGIN")
                rows: list[Any] = []
                for sql, values in statements:
                    rows = self._db.execute(sql, values).fetchall()
                self._db.execute("COMMIT")
                return rows
            except sqlite3.Error as e:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise StoreError(f"the key store's file cannot be used: {e}") from None


_CHANGED: tuple[str, tuple[Any, ...]] = ("UPDATE counters SET value = value + 1 WHERE name = 'keys'", ())
_REVOKE = (
    "DELETE FROM keys WHERE id = ?1 OR agent = ?1 OR substr(run, 1, 9) IN (SELECT id || '/' FROM keys WHERE agent = ?1"
    " UNION SELECT ?1 || '/' WHERE length(?1) = 8 AND ?1 NOT GLOB '*[^0-9a-f]*') RETURNING id"
)
"""A run of a key begins with the key's id, which has eight characters, and a slash; the parent itself may stand in a file."""
