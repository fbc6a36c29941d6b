"""Bringing what the write-ahead log of a SQLite file has into the file, beside the thread whose answers calls wait for.

SQLite does this inside the commit that makes the log long, which then takes the time of two fsyncs and a thousand pages: some ten
milliseconds that every call of that moment waits for. Here a thread of its own does it, without holding up a writer. Writers that never
rest would make the log grow all the same, since it can begin anew only when all of it is in the file; so what came meanwhile, a few pages,
is brought there behind the writers' lock, which takes a millisecond.

Decides nothing of what is in the file. Fails in silence: what was not brought over is there the next time, and where this thread never gets
to it, the commits themselves do it (`schema.LONG_LOG`).
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from pathlib import Path

EVERY_S = 1.0
MANY = 100
"""Commits after which it pays."""
AT_MOST_S = 0.005
"""How long the lock of the writers is waited for, and held for a reader that stands in the way."""


class Checkpoints:
    """See the module; of the file at `path`, which is there. Its thread begins with the first commit that it is told of."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._commits = 0
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def committed(self) -> None:
        """Take in that its writer has committed. For one thread."""
        self._commits += 1
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="fleetgate-checkpoint", daemon=True)
            with contextlib.suppress(RuntimeError):  # the system has no more threads
                thread.start()
                self._thread = thread

    def stop(self, timeout_s: float) -> None:
        """End the thread, in the thread that `committed` belongs to."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(self._path, AT_MOST_S, isolation_level=None)) as db:
            done = 0
            while not self._stopped.wait(EVERY_S):
                commits = self._commits
                if commits - done >= MANY and checkpoint(db):
                    done = commits


def checkpoint(db: sqlite3.Connection) -> bool:
    """Bring the log of `db` into its file, and return whether the log begins anew with the next commit."""
    try:
        busy, pages, brought = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if busy or brought < pages:  # another does it, or a reader still needs what is older
            return False
        busy, _, _ = db.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
    except sqlite3.Error:
        return False
    return not busy
