"""The ledger's table: one column for each field of a record, in the record's order, and triggers that refuse every change.

Decides the types, the indices and the version of the table; knows nothing of threads or queries. It shares its file with other tables,
so its version stands in a table of its own and not in the file's `user_version`. A column that a later release adds to the record is
added to an older file when it is opened; a file whose ledger is newer than this release is refused. One column may be written later:
`repriced`, which says what a record would cost at other prices and takes nothing back of what it did.
"""

from __future__ import annotations

import dataclasses
import json
import operator
import sqlite3
from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from proxy.engine.ports import StoreError
from proxy.engine.record import SWEPT, Record
from proxy.telemetry import stretches

VERSION = 2
CHARGES_VERSION = 2
"""The first version whose records hold charges."""
COLUMNS = tuple(f.name for f in dataclasses.fields(Record))
KINDS = {f.name: str(f.type) for f in dataclasses.fields(Record)}
"""The type of each column, as the record writes it."""
JSON_COLUMNS = frozenset(("findings", "decisions", "marks", "charges", "media", "fallbacks", "tools"))
BOOL_COLUMNS = frozenset(("stream", "usage_exact"))
TOKENS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens")
_SQL_TYPE = {"str": "TEXT NOT NULL DEFAULT ''", "int": "INTEGER NOT NULL DEFAULT 0", "bool": "INTEGER NOT NULL DEFAULT 0"}
_SQL_TYPE |= {"float": "REAL NOT NULL DEFAULT 0", "float | None": "REAL", "int | None": "INTEGER"}
_TYPES = {name: _SQL_TYPE.get(kind, "TEXT NOT NULL DEFAULT '[]'") for name, kind in KINDS.items()}
_TYPES |= {"id": "TEXT NOT NULL UNIQUE", "marks": "TEXT NOT NULL DEFAULT '{}'", "usage_exact": "INTEGER NOT NULL DEFAULT 1"}

NO_DELETE = (
    "CREATE TRIGGER IF NOT EXISTS records_no_delete BEFORE DELETE ON records BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
)
"""What refuses deletions; `retention` lifts it within one transaction."""
_CHARGED = (*TOKENS, "cost", "saved", "loop", "wasted_new", "carbon_ug_low", "carbon_ug", "energy_uwh_low", "energy_uwh")
SUMMED = ("time", "agent", "team", "model", "model_asked", "provider", "outcome", "reason", *_CHARGED)
"""The columns of the index by time: sums over a span read it alone, and not the ten times larger rows."""

_DDL = (
    "CREATE TABLE IF NOT EXISTS ledger_meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    f"CREATE TABLE IF NOT EXISTS records (seq INTEGER PRIMARY KEY, {', '.join(f'{c} {t}' for c, t in _TYPES.items())})",
)
_REST = (  # once all columns are there
    "DROP INDEX IF EXISTS records_time",  # of earlier releases; the next one does its work
    f"CREATE INDEX IF NOT EXISTS records_sums ON records ({', '.join(SUMMED)})",
    "CREATE INDEX IF NOT EXISTS records_agent_time ON records (agent, time)",
    "DROP INDEX IF EXISTS records_session_time",  # likewise
    stretches.INDEX,
    NO_DELETE,
    # INSERT OR REPLACE deletes without the trigger above.
    "CREATE TRIGGER IF NOT EXISTS records_no_replace BEFORE INSERT ON records"
    " WHEN EXISTS (SELECT 1 FROM records WHERE id = NEW.id OR seq = NEW.seq)"
    " BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END",
)
LATER = "repriced"
"""The one column that may be written after its record."""
_FIXED = ", ".join(("seq", *(c for c in COLUMNS if c != LATER)))
_NO_UPDATE = (  # written anew at each start: a column that was added since must not be open to changes
    "DROP TRIGGER IF EXISTS records_no_update",
    f"CREATE TRIGGER records_no_update BEFORE UPDATE OF {_FIXED} ON records BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END",
)
CHARGED_SINCE = "charged_since"
"""The key of `ledger_meta` that says when records began to hold charges, UTC seconds; not there where all do."""


def prepare(connection: sqlite3.Connection, path: str) -> None:
    """Create or bring up to date the ledger's tables in one transaction; `connection` is in autocommit mode.

    Raises:
        StoreError: the file's ledger was written by a newer release.
        sqlite3.Error: anything that SQLite refuses.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(_DDL[0])
        row = connection.execute("SELECT value FROM ledger_meta WHERE key = 'version'").fetchone()
        if row is not None and int(row[0]) > VERSION:
            raise StoreError(f"{path}: its ledger has version {row[0]}, this release knows {VERSION}: run the newer release")
        connection.execute(_DDL[1])
        have = {r[1] for r in connection.execute("PRAGMA table_info(records)")}
        for name in COLUMNS:
            if name not in have:
                connection.execute(f"ALTER TABLE records ADD COLUMN {name} {_TYPES[name]}")
        for statement in (*_REST, *_NO_UPDATE):
            connection.execute(statement)
        if row is not None and int(row[0]) < CHARGES_VERSION:
            connection.execute("INSERT OR IGNORE INTO ledger_meta VALUES (?, strftime('%s'))", (CHARGED_SINCE,))
        connection.execute("INSERT OR REPLACE INTO ledger_meta VALUES ('version', ?)", (str(VERSION),))
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def insert_sql(rows: int) -> str:
    """Return the statement that appends `rows` records with all of their columns."""
    return _insert(COLUMNS, rows)


def _insert(columns: Sequence[str], rows: int) -> str:
    one = f"({', '.join('?' * len(columns))})"
    return f"INSERT INTO records ({', '.join(columns)}) VALUES {', '.join([one] * rows)}"  # noqa: S608 - our own column names


_values = operator.attrgetter(*COLUMNS)
_json_at = tuple(i for i, name in enumerate(COLUMNS) if name in JSON_COLUMNS)
_encode = msgspec.json.Encoder().encode
_DEFAULTS = _values(Record("", 0.0))
_SAID = {name: kind.rpartition(" DEFAULT ")[2] if " DEFAULT " in kind else None for name, kind in _TYPES.items()}
ALWAYS = frozenset(("id", "time", "marks"))


def odd(connection: sqlite3.Connection) -> frozenset[str]:
    """Return the columns whose default in this file is not what a record has by default."""
    found = {row[1]: row[4] for row in connection.execute("PRAGMA table_info(records)")}
    return frozenset(name for name in COLUMNS if found.get(name) != _SAID[name])


class Shape:
    """Some of the columns: how a record is read for them, and the statements that append what was read, so many at once."""

    __slots__ = ("_empty", "_json_at", "_rest", "_sql", "_values", "named")

    def __init__(self, named: Collection[str]) -> None:
        self.named = tuple(name for name in COLUMNS if name in named)
        self._values = operator.attrgetter(*self.named)
        self._json_at = [i for i, name in enumerate(self.named) if name in JSON_COLUMNS]
        left = [name for name in COLUMNS if name not in named]
        self._rest = operator.attrgetter(*left) if left else _nothing
        self._empty = self._rest(Record("", 0.0))
        self._sql: dict[int, str] = {}

    def row(self, record: Record) -> list[Any] | None:
        """Return what `record` has in these columns; None where it has something in another."""
        if self._rest(record) != self._empty:
            return None
        row = list(self._values(record))
        for i in self._json_at:
            row[i] = "[]" if row[i] == () else _text(row[i])
        return row

    def whole(self, row: Sequence[Any]) -> list[Any]:
        """Return a `row` of these columns with all the others, in the table's order."""
        known = dict(zip(self.named, row, strict=True))
        return [known.get(name, empty) for name, empty in zip(COLUMNS, EMPTY, strict=True)]

    def sql(self, rows: int) -> str:
        """Return the statement that appends so many rows: one step, so one transaction, and the lock is held only for that step."""
        sql = self._sql.get(rows)
        if sql is None:
            sql = self._sql[rows] = _insert(self.named, rows)
        return sql


class Appending:
    """Records as rows of the columns that some record before had something in; the others are left to the table's defaults.

    Half of the columns are of refusals, loops, caches and the like, and the time for a row grows with those that are named.
    """

    __slots__ = ("shape",)

    def __init__(self, always: frozenset[str] = frozenset()) -> None:
        self.shape = Shape(ALWAYS | always)

    def row(self, record: Record) -> tuple[Shape, list[Any]]:
        """Return the row of `record`, and which columns it has."""
        shape = self.shape
        row = shape.row(record)
        if row is None:
            shape = self.shape = Shape({*shape.named, *_used(record)})
            row = shape.row(record) or []
        return shape, row


def _nothing(record: Record) -> None:
    """What is left of a record where all of its columns are named."""


def _used(record: Record) -> list[str]:
    """Return the columns that `record` has something in."""
    return [name for name, value, default in zip(COLUMNS, _values(record), _DEFAULTS, strict=True) if value != default]


def to_row(record: Record) -> list[Any]:
    """Return the record's values in column order."""
    row = list(_values(record))
    for i in _json_at:
        row[i] = "[]" if row[i] == () else _text(row[i])
    return row


def _text(value: Any) -> str:
    try:
        return _encode(value).decode()
    except (UnicodeEncodeError, TypeError):  # a lone surrogate: JSON can spell it, UTF-8 cannot; or no JSON at all
        return json.dumps(value, default=repr)


EMPTY = to_row(Record("", 0.0))
"""The row of a record that has nothing in it."""


def clean(row: list[Any]) -> list[Any]:
    """Return `row` with what SQLite cannot hold replaced: lone surrogates, integers over 64 bits."""
    return [_clean(v) if isinstance(v, int) or (isinstance(v, str) and not v.isascii()) else v for v in row]


def _clean(value: str | int) -> str | int:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else max(-BOUND, min(value, BOUND))


BOUND = (1 << 63) - 1
SECOND = "+"
"""Behind the id of a record whose id was taken."""


def second(row: list[Any]) -> list[Any]:
    """Return `row` as it may stand beside the row that has its id: with an id of its own, and without charges, because a hold is settled
    once and the row that was there first has said at what; the row of a sweep says what it charged on top, and keeps that.
    """
    changed = list(row)
    changed[COLUMNS.index("id")] += SECOND
    if row[COLUMNS.index("outcome")] not in SWEPT:
        changed[COLUMNS.index("charges")] = "[]"
    return changed


def to_record(row: Sequence[Any]) -> Record:
    """Return the record that `row`, in column order, holds."""
    values = dict(zip(COLUMNS, row, strict=True))
    for name in BOOL_COLUMNS:
        values[name] = bool(values[name])
    for name in ("findings", "decisions"):
        values[name] = tuple((str(a), str(b)) for a, b in json.loads(values[name]))
    values["media"] = tuple((str(kind), int(tokens)) for kind, tokens in json.loads(values["media"]))
    values["marks"] = json.loads(values["marks"])
    values["tools"] = tuple((str(name), str(status)) for name, status in json.loads(values["tools"]))
    values["fallbacks"] = tuple(tuple(left) for left in json.loads(values["fallbacks"]))
    values["charges"] = tuple((str(counter), str(unit), int(amount)) for counter, unit, amount in json.loads(values["charges"]))
    return Record(**values)
