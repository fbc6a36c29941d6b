"""The tables that the stores keep in the SQLite file, and how a connection to it is opened.

The number in `PRAGMA user_version` says which steps a file has seen; opening it runs those that are missing, in one transaction. A file
from a newer version is refused rather than guessed at. Other parts keep tables of their own in the same file and create them themselves.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from proxy.stores.patient import Patient

STEPS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE budget_counters (counter TEXT PRIMARY KEY, spent INTEGER NOT NULL, held INTEGER NOT NULL, expires REAL NOT NULL)"
        " WITHOUT ROWID",
        "CREATE TABLE budget_holds (id TEXT PRIMARY KEY, parts TEXT, expires REAL NOT NULL) WITHOUT ROWID",
        "CREATE INDEX budget_holds_by_expiry ON budget_holds(expires)",
        "CREATE TABLE keys (id TEXT PRIMARY KEY, agent TEXT NOT NULL, sha256 TEXT NOT NULL UNIQUE, expires REAL, created REAL NOT NULL)"
        " WITHOUT ROWID",
        "CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
        "INSERT INTO counters VALUES ('keys', 0)",
    ),
    ("INSERT INTO counters VALUES ('budget', 0)",),
    ("ALTER TABLE keys ADD COLUMN run TEXT NOT NULL DEFAULT ''", "ALTER TABLE keys ADD COLUMN usd INTEGER"),
    (
        "ALTER TABLE budget_counters ADD COLUMN span REAL NOT NULL DEFAULT 0",
        "ALTER TABLE budget_counters ADD COLUMN slices TEXT",
        "ALTER TABLE budget_holds ADD COLUMN about TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE budget_holds ADD COLUMN begun REAL NOT NULL DEFAULT 0",
    ),
    ("ALTER TABLE budget_holds ADD COLUMN charged TEXT",),
    (  # the new name stops a process of an older version that still runs: what it knows nothing of, it must not decide without
        "ALTER TABLE budget_holds RENAME TO holds",
        "CREATE TABLE budget_log (seq INTEGER PRIMARY KEY, body TEXT NOT NULL)",
        "INSERT INTO budget_log VALUES (0, '')",
        "DELETE FROM counters WHERE name = 'budget'",
    ),
    ("ALTER TABLE budget_log RENAME TO budget_batches",),  # its rows leave out what those before them said: likewise
)
"""What brings a file from version n to n + 1. Never change a step that was released; add one."""

LONG_LOG, LONG_LEDGER_LOG = 16_000, 4_000
"""Pages of the write-ahead log from which on a commit brings it into the file itself. `stores.checkpoint` does that long before; where no
budget is written it does not, and the ledger's commits do, for which nobody waits."""

RECORDED = (
    f"PRAGMA wal_autocheckpoint = {LONG_LEDGER_LOG}",
    """CREATE TEMP TRIGGER IF NOT EXISTS budget_swept BEFORE INSERT ON records WHEN NEW.outcome IN ('expired', 'lost') BEGIN
  SELECT RAISE(IGNORE) WHERE NOT EXISTS (SELECT 1 FROM holds WHERE id = rtrim(NEW.id, '+') AND charged IS NOT NULL);
END""",
    """CREATE TEMP TRIGGER IF NOT EXISTS budget_late BEFORE INSERT ON records WHEN NEW.outcome NOT IN ('expired', 'lost') BEGIN
  SELECT RAISE(ABORT, 'a sweep has taken this for lost') FROM holds WHERE id = NEW.id AND charged >= 't';
END""",
    """CREATE TEMP TRIGGER IF NOT EXISTS budget_recorded AFTER INSERT ON records BEGIN
  UPDATE holds SET charged = NULL
    WHERE id = rtrim(NEW.id, '+') AND charged IS NOT NULL AND (charged < 't' OR NEW.outcome IN ('expired', 'lost'));
END""",
)
"""What a connection that writes records into this file says first: a record and what its hold was charged change places in one step.

`holds.charged` is `s` (settled), `t` (settled, and taken for lost by a sweep) or `u` (settled by a sweep), then counter, unit and
amount of each charge as JSON; empty once there is a record. What a sweep found is recorded while it is owed, so once. A record that comes
after a sweep took it for lost is refused here; whoever writes it sets it aside without charges, because the sweep's record has them.
"""

OLDEST = (3, 38, 0)
"""The first SQLite whose JSON operators our statements may use."""


def connect(path: Path, busy_s: float) -> Patient:
    """Return a connection to the file at `path`, created and brought up to date as needed. Transactions are the caller's.

    It waits for others that write for up to `busy_s`.

    Raises:
        ValueError: the file cannot be opened or written, is no database, or is from a newer version.
    """
    if sqlite3.sqlite_version_info < OLDEST:
        raise ValueError(f"store sqlite: needs SQLite {'.'.join(map(str, OLDEST))} or newer, this Python has {sqlite3.sqlite_version}")
    try:
        db = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False, factory=Patient)
    except sqlite3.Error as e:
        raise ValueError(f"store sqlite:{path}: {e}; the folder must exist and be writable") from None
    db.patience_s = busy_s
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA secure_delete = OFF")  # some builds overwrite what is deleted: of no use here, names and numbers come and go
        _upgrade(db, path)
    except sqlite3.Error as e:
        db.close()
        raise ValueError(f"store sqlite:{path}: {e}") from None
    except ValueError:
        db.close()
        raise
    return db


def _upgrade(db: sqlite3.Connection, path: Path) -> None:
    if _version(db) == len(STEPS):
        return
    db.execute("BEGIN IMMEDIATE")
    version = _version(db)  # again: another process may have been faster
    if version > len(STEPS):
        db.execute("ROLLBACK")
        raise ValueError(f"store sqlite:{path}: written by a newer version (schema {version}, this one knows {len(STEPS)})")
    for step in STEPS[version:]:
        for statement in step:
            db.execute(statement)
    db.execute(f"PRAGMA user_version = {len(STEPS)}")
    db.execute("COMMIT")


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])
