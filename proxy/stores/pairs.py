"""Where sampled pairs are kept: in memory, or in a table of the store's SQLite file, which this module makes when it is first needed.

Decides how many stay, and nothing of what is in them. Each verb of the file is a connection and a transaction of its own: pairs are rare.
What cannot be read or written is a StoreError; nobody but the one who compares depends on them.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Container, Sequence
from contextlib import closing
from pathlib import Path

import msgspec

from proxy.engine.ports import StoreError
from proxy.routing.pairs import MOST_PAIRS, Pair, about
from proxy.stores.schema import connect

BUSY_S = 5.0
_TABLE = "CREATE TABLE IF NOT EXISTS routing_pairs (id INTEGER PRIMARY KEY AUTOINCREMENT, data BLOB NOT NULL)"
_FORGET = "DELETE FROM routing_pairs WHERE CAST(data AS TEXT) ->> 'until' <= ?"
_DROP = "DELETE FROM routing_pairs WHERE id <= (SELECT max(id) FROM routing_pairs) - ?"


class MemoryPairs:
    """`Pairs` of one process."""

    def __init__(self) -> None:
        self._kept: deque[Pair] = deque(maxlen=MOST_PAIRS)

    def keep(self, pair: Pair) -> None:
        """See `Pairs.keep`."""
        self._kept.appendleft(pair)

    def forget(self, now: float) -> int:
        """See `Pairs.forget`."""
        kept = [pair for pair in self._kept.copy() if pair.until is None or pair.until > now]
        gone = len(self._kept) - len(kept)
        if gone:
            self._kept = deque(kept, maxlen=MOST_PAIRS)
        return gone

    def erase(self, agent: str, ids: Container[str]) -> int:
        """See `Pairs.erase`."""
        kept = [pair for pair in self._kept.copy() if not about(pair, agent, ids)]
        gone = len(self._kept) - len(kept)
        if gone:
            self._kept = deque(kept, maxlen=MOST_PAIRS)
        return gone

    def all(self) -> Sequence[Pair]:
        """See `Pairs.all`."""
        return list(self._kept)


class SqlitePairs:
    """`Pairs` in a file, for all processes that open it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def keep(self, pair: Pair) -> None:
        """See `Pairs.keep`."""
        try:
            with closing(connect(self._path, BUSY_S)) as db:
                db.execute("BEGIN IMMEDIATE")
                db.execute(_TABLE)
                db.execute("INSERT INTO routing_pairs (data) VALUES (?)", (msgspec.json.encode(pair),))
                db.execute(_DROP, (MOST_PAIRS,))
                db.execute("COMMIT")
        except (sqlite3.Error, ValueError) as e:
            raise StoreError(f"a pair cannot be kept: {e}") from None

    def forget(self, now: float) -> int:
        """See `Pairs.forget`."""
        try:
            with closing(connect(self._path, BUSY_S)) as db:
                if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'routing_pairs'").fetchone():
                    return 0
                return db.execute(_FORGET, (now,)).rowcount
        except (sqlite3.Error, ValueError) as e:
            raise StoreError(f"old pairs cannot be deleted: {e}") from None

    def erase(self, agent: str, ids: Container[str]) -> int:
        """See `Pairs.erase`; what is deleted is overwritten."""
        try:
            with closing(connect(self._path, BUSY_S)) as db:
                if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'routing_pairs'").fetchone():
                    return 0
                db.execute("PRAGMA secure_delete=ON")
                db.execute("BEGIN IMMEDIATE")
                rows = db.execute("SELECT id, data FROM routing_pairs").fetchall()
                gone = [(row,) for row, data in rows if about(msgspec.json.decode(data, type=Pair), agent, ids)]
                db.executemany("DELETE FROM routing_pairs WHERE id = ?", gone)
                db.execute("COMMIT")
                return len(gone)
        except (sqlite3.Error, ValueError) as e:
            raise StoreError(f"pairs cannot be deleted: {e}") from None

    def all(self) -> Sequence[Pair]:
        """See `Pairs.all`; none where nobody has kept one yet."""
        try:
            with closing(connect(self._path, BUSY_S)) as db:
                if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'routing_pairs'").fetchone():
                    return []
                rows = db.execute("SELECT data FROM routing_pairs ORDER BY id DESC").fetchall()
            return [msgspec.json.decode(data, type=Pair) for (data,) in rows]
        except (sqlite3.Error, ValueError) as e:
            raise StoreError(f"pairs cannot be read: {e}") from None
