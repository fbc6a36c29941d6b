from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from record_samples import REFUSED, SERVED

from proxy.engine.record import Record
from proxy.telemetry import schema
from proxy.telemetry.schema import COLUMNS, Appending

ALL = f"SELECT {', '.join(COLUMNS)} FROM records ORDER BY seq"


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    schema.prepare(connection, "here")
    yield connection
    connection.close()


def append(db: sqlite3.Connection, appending: Appending, *records: Record) -> list[str]:
    """Write `records`, which have the same columns, and return those."""
    rows = [appending.row(record) for record in records]
    shape = rows[-1][0]
    assert all(row[0] is shape for row in rows)
    sql = shape.sql(len(rows))
    db.execute(sql, [value for row in rows for value in row[1]])
    return sql.partition("(")[2].partition(")")[0].split(", ")


def test_what_nobody_has_used_is_left_to_the_table_whose_defaults_are_those_of_a_record(db: sqlite3.Connection) -> None:
    assert schema.odd(db) == frozenset()
    assert sorted(append(db, Appending(), Record("i", 0.0), Record("j", 0.0))) == sorted(schema.ALWAYS)
    assert [list(row) for row in db.execute(ALL)] == [schema.to_row(Record("i", 0.0)), schema.to_row(Record("j", 0.0))]


def test_a_column_that_was_used_once_is_written_ever_after(db: sqlite3.Connection) -> None:
    appending, plain = Appending(), Record("i", 0.0)
    assert "cost" not in append(db, appending, plain)
    assert "cost" in append(db, appending, replace(plain, id="j", cost=1))
    assert "cost" in append(db, appending, replace(plain, id="k"))
    assert [schema.to_record(row) for row in db.execute(ALL)] == [plain, replace(plain, id="j", cost=1), replace(plain, id="k")]


@given(st.lists(st.sampled_from((SERVED, REFUSED, Record("x", 1.5, difficulty=0.0, usage_exact=False))), min_size=1, max_size=8))
def test_rows_are_those_that_all_columns_would_make(records: list[Record]) -> None:
    numbered = [replace(record, id=f"{number}") for number, record in enumerate(records)]
    connection = sqlite3.connect(":memory:", isolation_level=None)
    schema.prepare(connection, "here")
    appending = Appending()
    for record in numbered:
        append(connection, appending, record)
    assert [schema.to_record(row) for row in connection.execute(ALL)] == numbered
    connection.close()


def test_a_file_with_other_defaults_has_those_columns_always_written(db: sqlite3.Connection) -> None:
    db.execute("DROP TABLE records")
    kinds = {name: kind.replace("''", "'?'") if name == "rule" else kind for name, kind in schema._TYPES.items()}
    db.execute(f"CREATE TABLE records (seq INTEGER PRIMARY KEY, {', '.join(f'{n} {k}' for n, k in kinds.items())})")
    assert schema.odd(db) == {"rule"}
    append(db, Appending(schema.odd(db)), Record("i", 0.0))
    assert db.execute("SELECT rule FROM records").fetchone() == ("",)


def test_all_columns_may_be_used(db: sqlite3.Connection) -> None:
    changes: dict[str, Any] = {name: 1 for name in COLUMNS if name not in schema.JSON_COLUMNS}
    changes |= dict.fromkeys(("findings", "decisions", "tools"), (("a", "b"),)) | {"id": "i", "usage_exact": False}
    full = replace(SERVED, **changes, charges=(("c", "usd", 1),), fallbacks=(("p", "m", "slow", 1, 2, 3, 4),))
    appending = Appending()
    assert append(db, appending, full) == list(COLUMNS)
    shape, row = appending.row(full)
    assert (shape.named, shape.whole(row)) == (COLUMNS, row)
    assert list(db.execute(ALL).fetchone())[:3] == ["i", 1.0, "1"]
    assert schema.to_record(db.execute(ALL).fetchone()).fallbacks == full.fallbacks
