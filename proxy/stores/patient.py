"""A connection to a SQLite file that waits for whoever is writing in short steps.

SQLite's own waiting sleeps a millisecond, then two, then five, though most of those who write are done in a tenth of that: the ledger, a
checkpoint, another process. A call of an agent stands behind each such wait.

Fails as SQLite does: `sqlite3.OperationalError`, once `patience_s` are over.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from time import monotonic, sleep
from typing import Any

FIRST_S, LONGEST_S, LONGER = 0.0001, 0.002, 1.2
"""The first step, the longest, and how much longer each is than the one before: a long wait must not keep the processor busy."""


class Patient(sqlite3.Connection):
    """See the module. Opened with `timeout=0`."""

    patience_s = 5.0

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> sqlite3.Cursor:  # type: ignore[override]  # its stub takes mappings too
        """Run `sql`, from its beginning again as long as somebody else has the file."""
        try:
            return super().execute(sql, parameters)
        except sqlite3.OperationalError as e:
            if not _busy(e):
                raise
        until, step = monotonic() + self.patience_s, FIRST_S
        while True:
            sleep(step)
            step = min(step * LONGER, LONGEST_S)
            try:
                return super().execute(sql, parameters)
            except sqlite3.OperationalError as e:
                if not _busy(e) or monotonic() >= until:
                    raise


def _busy(error: sqlite3.OperationalError) -> bool:
    """Say whether somebody else has the file. The low byte of a code is what it is, the rest why; what Python finds wrong has none."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code & 0xFF == sqlite3.SQLITE_BUSY
