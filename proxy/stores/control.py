"""Kills, questions to people and the log of human hands, in memory or in the SQLite file: the command line and every server write
them, every server reads them.

In SQLite each verb is one short transaction on a connection of its own, in a thread of its own: a kill is seen however many threads the
fleet keeps busy. A file that does not answer within `STUCK_S` is a StoreError. The tables are this module's own, made when they are first
needed.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from proxy.control.port import FORGOTTEN_S, Entry, Versions
from proxy.control.questions import Case
from proxy.control.rules import MAX_KILLS, Kill, clean
from proxy.engine.ports import StoreError
from proxy.stores.encoding import decoded, encoded, newest
from proxy.stores.schema import connect

STUCK_S = 8.0
MOST_ENTRIES = 10_000
"""Lines of the log that memory keeps."""
T = TypeVar("T")
TABLES = (
    "CREATE TABLE IF NOT EXISTS control_versions (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    "INSERT OR IGNORE INTO control_versions VALUES ('kills', 0), ('questions', 0)",
    "CREATE TABLE IF NOT EXISTS control_kills (target TEXT PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, reason TEXT NOT NULL,"
    " by TEXT NOT NULL, since REAL NOT NULL, until REAL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS control_log (id INTEGER PRIMARY KEY, time REAL NOT NULL, by TEXT NOT NULL, action TEXT NOT NULL,"
    " target TEXT NOT NULL, reason TEXT NOT NULL, until REAL)",
    "CREATE TABLE IF NOT EXISTS control_questions (id TEXT PRIMARY KEY, version INTEGER NOT NULL, agent TEXT NOT NULL,"
    " status TEXT NOT NULL, expires REAL NOT NULL, data TEXT NOT NULL) WITHOUT ROWID",
)
_KEEP = (
    "INSERT INTO control_questions VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT(id) DO UPDATE SET version = excluded.version,"
    " status = excluded.status, expires = excluded.expires, data = excluded.data"
)


class MemoryControl:
    """`ControlStore` in memory."""

    def __init__(self) -> None:
        self._kills: dict[str, Kill] = {}
        self._log: list[Entry] = []
        self._cases: dict[str, Case] = {}
        self._versions = [0, 0]

    async def versions(self) -> Versions:
        """See `ControlStore.versions`."""
        return Versions(*self._versions)

    async def kills(self, now: float) -> Sequence[Kill]:
        """See `ControlStore.kills`."""
        return sorted((kill for kill in self._kills.values() if kill.holds(now)), key=lambda kill: (kill.since, kill.target))

    async def kill(self, kill: Kill) -> bool:
        """See `ControlStore.kill`."""
        self._kills = {target: one for target, one in self._kills.items() if one.holds(kill.since)}
        if len(self._kills) >= MAX_KILLS and kill.target not in self._kills:
            return False
        self._kills[kill.target] = kill
        self._note(Entry(kill.since, kill.by, "kill", kill.target, kill.reason, kill.until))
        self._versions[0] += 1
        return True

    async def resume(self, target: str, by: str, reason: str, now: float) -> bool:
        """See `ControlStore.resume`."""
        kill = self._kills.pop(target, None)
        if kill is None or not kill.holds(now):
            return False
        self._note(Entry(now, by, "resume", target, reason))
        self._versions[0] += 1
        return True

    async def case(self, name: str) -> Case | None:
        """See `ControlStore.case`."""
        return self._cases.get(name)

    async def cases(self, now: float) -> Sequence[Case]:
        """See `ControlStore.cases`."""
        return newest(self._cases.values(), now)

    async def waiting(self, agent: str, now: float) -> int:
        """See `ControlStore.waiting`."""
        return sum(c.status == "pending" and now < c.expires and c.question.agent == agent for c in self._cases.values())

    async def save(self, case: Case, seen: int, entry: Entry | None = None) -> bool:
        """See `ControlStore.save`."""
        old = self._cases.get(case.id)
        if seen != (0 if old is None else old.version):
            return False
        if not seen:
            self._cases = {name: one for name, one in self._cases.items() if one.expires > case.asked - FORGOTTEN_S}
        self._cases[case.id] = case
        if entry is not None:
            self._note(entry)
        self._versions[1] += 1
        return True

    async def note(self, entry: Entry) -> None:
        """See `ControlStore.note`."""
        self._note(entry)

    async def log(self, limit: int) -> Sequence[Entry]:
        """See `ControlStore.log`."""
        return self._log[::-1][:limit]

    async def close(self) -> None:
        """See `ControlStore.close`."""

    def _note(self, entry: Entry) -> None:
        self._log.append(entry)
        del self._log[:-MOST_ENTRIES]


class SqliteControl:
    """`ControlStore` in the SQLite file at `path`.

    Args:
        path: the file.
        busy_s: how long to wait for other processes that write.
    """

    def __init__(self, path: Path, busy_s: float = 5.0) -> None:
        self._db = connect(path, busy_s)
        self._thread = ThreadPoolExecutor(1, "control")
        self._now(self._prepare)

    async def versions(self) -> Versions:
        """See `ControlStore.versions`."""
        found = await self._run(lambda db: dict(db.execute("SELECT name, value FROM control_versions").fetchall()), write=False)
        return Versions(int(found["kills"]), int(found["questions"]))

    async def kills(self, now: float) -> Sequence[Kill]:
        """See `ControlStore.kills`."""
        select = "SELECT kind, name, reason, by, since, until FROM control_kills WHERE until IS NULL OR until > ? ORDER BY since, target"
        return await self._run(lambda db: [Kill(*row) for row in db.execute(select, (now,))], write=False)

    async def kill(self, kill: Kill) -> bool:
        """See `ControlStore.kill`."""

        def run(db: sqlite3.Connection) -> bool:
            db.execute("DELETE FROM control_kills WHERE target = ? OR until <= ?", (kill.target, kill.since))
            if db.execute("SELECT count(*) FROM control_kills").fetchone()[0] >= MAX_KILLS:
                return False
            row = (kill.target, kill.kind, kill.name, kill.reason, kill.by, kill.since, kill.until)
            db.execute("INSERT INTO control_kills VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            note(db, Entry(kill.since, kill.by, "kill", kill.target, kill.reason, kill.until))
            changed(db, "kills")
            return True

        return await self._run(run)

    async def resume(self, target: str, by: str, reason: str, now: float) -> bool:
        """See `ControlStore.resume`."""

        def run(db: sqlite3.Connection) -> bool:
            gone = db.execute("DELETE FROM control_kills WHERE target = ? RETURNING until", (target,)).fetchall()
            if not gone or (gone[0][0] is not None and gone[0][0] <= now):
                return False
            note(db, Entry(now, by, "resume", target, reason))
            changed(db, "kills")
            return True

        return await self._run(run)

    async def case(self, name: str) -> Case | None:
        """See `ControlStore.case`."""
        select = "SELECT data FROM control_questions WHERE id = ?"
        found = await self._run(lambda db: db.execute(select, (name,)).fetchone(), write=False)
        return None if found is None else decoded(found[0], Case)

    async def cases(self, now: float) -> Sequence[Case]:
        """See `ControlStore.cases`."""
        select = "SELECT data FROM control_questions"
        return newest(await self._run(lambda db: [decoded(row[0], Case) for row in db.execute(select)], write=False), now)

    async def waiting(self, agent: str, now: float) -> int:
        """See `ControlStore.waiting`."""
        select = "SELECT count(*) FROM control_questions WHERE agent = ? AND status = 'pending' AND expires > ?"
        return int(await self._run(lambda db: db.execute(select, (clean(agent, 200), now)).fetchone()[0], write=False))

    async def save(self, case: Case, seen: int, entry: Entry | None = None) -> bool:
        """See `ControlStore.save`."""
        row = (case.id, case.version, case.question.agent, case.status, case.expires, encoded(case).decode())

        def run(db: sqlite3.Connection) -> bool:
            old = db.execute("SELECT version FROM control_questions WHERE id = ?", (case.id,)).fetchone()
            if seen != (0 if old is None else old[0]):
                return False
            if not seen:
                db.execute("DELETE FROM control_questions WHERE expires <= ?", (case.asked - FORGOTTEN_S,))
            db.execute(_KEEP, row)
            if entry is not None:
                note(db, entry)
            changed(db, "questions")
            return True

        return await self._run(run)

    async def note(self, entry: Entry) -> None:
        """See `ControlStore.note`."""
        await self._run(lambda db: note(db, entry))

    async def log(self, limit: int) -> Sequence[Entry]:
        """See `ControlStore.log`."""
        select = "SELECT time, by, action, target, reason, until FROM control_log ORDER BY id DESC LIMIT ?"
        return await self._run(lambda db: [Entry(*row) for row in db.execute(select, (limit,))], write=False)

    async def close(self) -> None:
        """See `ControlStore.close`."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._db.close)
        self._thread.shutdown(wait=False)

    async def _run(self, work: Callable[[sqlite3.Connection], T], *, write: bool = True) -> T:
        """Run `work` in one transaction, in a thread."""
        try:
            async with asyncio.timeout(STUCK_S):
                return await asyncio.get_running_loop().run_in_executor(self._thread, partial(self._now, work, write=write))
        except TimeoutError:
            raise StoreError("the control store's file does not answer") from None

    def _now(self, work: Callable[[sqlite3.Connection], T], *, write: bool = True) -> T:
        try:
            self._db.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            found = work(self._db)
            self._db.execute("COMMIT")
            return found
        except (sqlite3.Error, UnicodeError) as e:
            raise StoreError(f"the control store's file cannot be used: {e}") from None
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def _prepare(self, db: sqlite3.Connection) -> None:
        for statement in TABLES:
            db.execute(statement)


def note(db: sqlite3.Connection, entry: Entry) -> None:
    """Write a line of the log."""
    row: tuple[Any, ...] = (entry.time, entry.by, entry.action, entry.target, entry.reason, entry.until)
    db.execute("INSERT INTO control_log(time, by, action, target, reason, until) VALUES (?, ?, ?, ?, ?, ?)", row)


def changed(db: sqlite3.Connection, name: str) -> None:
    """Have every process notice."""
    db.execute("UPDATE control_versions SET value = value + 1 WHERE name = ?", (name,))
