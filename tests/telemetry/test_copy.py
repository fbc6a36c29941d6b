from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace

import pytest

from proxy.engine.ports import StoreError
from proxy.engine.record import Record
from proxy.telemetry import copy, query
from proxy.telemetry.copy import Copy
from proxy.telemetry.query import Filter

RECORDS = [Record(f"{i:04d}", float(i), agent="a", cost=1 << 70) for i in range(10)]


@pytest.fixture
def made() -> Iterator[Copy]:
    """A copy that is removed again."""
    found = Copy()
    yield found
    found.close()


def ids(made: Copy, kept: list[Record], taken: int) -> list[str]:
    return [r.id for r in reversed(query.rows(made.now(kept, taken), Filter(limit=1000)))]


def test_each_record_is_copied_once_also_when_memory_lets_go(made: Copy) -> None:
    assert ids(made, RECORDS[:3], 3) == ["0000", "0001", "0002"]
    assert ids(made, RECORDS[:3], 3) == ["0000", "0001", "0002"]
    assert ids(made, RECORDS[4:7], 7) == ["0000", "0001", "0002", "0004", "0005", "0006"]
    twice = [replace(RECORDS[7]), replace(RECORDS[7])]
    assert ids(made, twice, 9)[-2:] == ["0007", "0007+"]


def test_a_large_copy_is_made_anew(made: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copy, "MOST", 5)
    path = made.now(RECORDS[:6], 6)
    assert ids(made, RECORDS[5:8], 8) == ["0005", "0006", "0007"]
    assert not path.exists()


def test_a_copy_that_cannot_be_written_is_said_and_nothing_is_half_done(made: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    made.now(RECORDS[:2], 2)
    with monkeypatch.context() as broken:
        broken.setattr(copy, "_INSERT", "INSERT INTO nothing VALUES (?)")
        with pytest.raises(StoreError, match="cannot be written"):
            made.now(RECORDS[:4], 4)
    assert ids(made, RECORDS[:4], 4) == ["0000", "0001", "0002", "0003"]


def test_without_its_folder_it_is_said(made: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> sqlite3.Connection:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(sqlite3, "connect", full)
    with pytest.raises(StoreError, match="full"):
        made.now(RECORDS, 10)
