"""What stands in the stream of a Redis ledger: records as JSON by column, and how they become rows again.

Decides which entries can be read. What other releases wrote is read for what is known: columns that this one does not know are left out,
those that a record lacks are empty. An entry that holds no record at all (somebody else wrote into the stream) is passed over, and said in
the log: it must not keep those behind it from being read.
"""

from __future__ import annotations

import logging
import operator
import sqlite3
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from proxy.engine.record import Record
from proxy.telemetry import schema

log = logging.getLogger("fleetgate.ledger")


class Link(Protocol):
    """The way to the server, from any thread; `stores.BlockingLink` is one."""

    def call(self, *words: Any, again: bool = False) -> Any:
        """Return the answer to one command; raises StoreError."""
        ...

    def key(self, *parts: str) -> str:
        """Return the name of a key of ours."""
        ...


_encode = msgspec.json.Encoder().encode
Entry = tuple[bytes, bytes, bool]
"""One entry of the stream: its id, the record, and whether it is set aside."""
Row = list[Any]
"""A record's values in the order of `schema.COLUMNS`, as SQLite keeps them: parts of several values are JSON text."""

_COLUMNS = {name: i for i, name in enumerate(schema.COLUMNS)}
_EMPTY = schema.to_row(Record("", 0.0))
_KINDS: dict[str, tuple[type, ...]] = {
    name: (bool,) if isinstance(_EMPTY[i], bool) else (int, float) if isinstance(_EMPTY[i], float) else (type(_EMPTY[i]),)
    for name, i in _COLUMNS.items()
} | {"difficulty": (int, float, type(None)), "repriced": (int, type(None))}
_integers = operator.attrgetter(*(name for name in schema.COLUMNS if schema.KINDS[name] == "int"))
_Columns = msgspec.defstruct("_Columns", [(name, Any, _EMPTY[i]) for name, i in _COLUMNS.items()], omit_defaults=True)
"""A row under its columns' names, for the encoder, which leaves out what is empty."""
_INSERT = f"{schema.insert_sql(1).replace(' VALUES ', ' SELECT ').replace('(?', '?').removesuffix(')')} WHERE NOT EXISTS (SELECT 1 FROM records WHERE id = ?)"  # noqa: E501, S608


def entries_of(found: Any) -> list[Entry]:
    """Return the entries of the stream in an answer, without those that are gone."""
    return [(entry[0], entry[1][1], len(entry[1]) > 2) for entry in found or () if entry and entry[1]]


def packed(record: Record) -> bytes:
    """Return `record` as text for the stream, by column, so that other releases can read it. What it has nothing in is left out."""
    row = schema.to_row(record)
    try:
        numbers = _integers(record)
        if max(numbers) <= schema.BOUND and min(numbers) >= -schema.BOUND and abs(record.repriced or 0) <= schema.BOUND:
            return _encode(_Columns(*row))
    except (UnicodeEncodeError, OverflowError):
        pass
    return _encode(_Columns(*schema.clean(row)))


def row_of(entry: Entry) -> Row | None:
    """Return the row that `entry` holds, or None where it holds no record."""
    row = list(_EMPTY)
    try:
        values = msgspec.json.decode(entry[1])
        for name, value in values.items():
            if name not in _COLUMNS:
                continue
            if not isinstance(value, _KINDS[name]) or (isinstance(value, bool) and bool not in _KINDS[name]):
                raise ValueError(f"{name} is {type(value).__name__}")
            if type(value) is int and abs(value) > schema.BOUND:
                raise ValueError(f"{name} is larger than a row can hold")
            row[_COLUMNS[name]] = value
        if not row[_COLUMNS["id"]]:
            raise ValueError("no id")
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError, AttributeError) as e:
        log.error("ledger: entry %s of the stream holds no record and is passed over: %s", entry[0].decode(errors="replace"), e)
        return None
    return schema.second(row) if entry[2] else row


def insert(db: sqlite3.Connection, entries: Sequence[Entry]) -> int:
    """Append the records of `entries` that `db`'s ledger does not have yet, in one transaction; return how many those were."""
    before = db.total_changes
    db.execute("BEGIN IMMEDIATE")
    try:
        for entry in entries:
            row = row_of(entry)
            if row is not None:
                db.execute(_INSERT, (*row, row[0]))
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")
    return db.total_changes - before
