"""What the rows of the SQLite file's log say: short, to be read after those before them, and beside those of older releases."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from store_cases import usd
from store_process import Process

from proxy.budget.port import RECORD_S, Ended, Exceeded, Held
from proxy.engine.ports import StoreError
from proxy.stores.rows import Verb
from proxy.stores.sqlite import SqliteBudget


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Process, Process]]:
    one, other = Process(tmp_path / "store.db"), Process(tmp_path / "store.db")
    yield one, other
    one.db.close()
    other.db.close()


@pytest.mark.parametrize("folded", [False, True])
def test_what_a_hold_is_about_is_said_once_and_known_to_all(tmp_path: Path, folded: bool) -> None:
    about = "a conversation about invoices"
    writer, reader = Process(tmp_path / "store.db"), Process(tmp_path / "store.db")
    writer.do(Verb(lambda book: book.reserve("h", [usd("a", 100, 10)], 1, 50, about), ("h",), ["a"], new=True))
    assert reader.balance("a") == (0, 10)
    if folded:
        writer.rows.finish()
    assert writer.settle("h", 7)
    said = "".join(row[0] for row in writer.table("SELECT body FROM budget_batches"))
    assert said.count(about) == 1 + folded
    assert reader.balance("a") == (7, 0)
    late = Process(tmp_path / "store.db")
    for process in (reader, late, writer):
        process.rows.finish()
        assert process.balance("a") == (7, 0)
    assert late.rows.sweep(50 + RECORD_S) == [Ended("h", (("a", "usd", 7),), about, settled=True)]
    for process in (writer, reader, late):
        process.db.close()


@pytest.mark.parametrize("charged", ['"[[\\"a\\",\\"usd\\",5]]"', '[["a","usd",5]]'])
def test_rows_of_older_releases_count(two: tuple[Process, Process], charged: str) -> None:
    one, other = two
    rolling_a_day = '["r",3,0,90000.0,86400.0,"[0,0,3]"]'
    for body in (
        f'[[["a",0,30,100.0],{rolling_a_day}],[["h",[["a","usd",100,10],["r","usd",100,3,86400.0]],50.0,"who",1.0],'
        '["i",[["a","usd",100,20]],50.0,"else",1.0]],[],[]]',
        f'[[["a",5,20,100.0]],[],[["h",122.0,"who",{charged}],["u",122.0,"",null]],[]]',
        '[[],[],[],["gone"]]',
    ):
        one.db.execute("INSERT INTO budget_batches(body) VALUES (?)", (body,))
    assert one.balance("a") == (5, 20)
    assert one.balance("r") == (3, 0)
    assert one.settle("i", 1)
    assert other.settle("h", 9) is False
    assert other.settle("u", 9) is False
    assert isinstance(other.reserve("j", usd("a", 100, 94)), Held)
    assert one.balance("a") == other.balance("a") == (6, 94)
    one.rows.finish()
    assert sorted(one.rows.sweep(50 + RECORD_S), key=lambda ended: ended.hold_id) == [
        Ended("h", (("a", "usd", 5),), "who", settled=True),
        Ended("i", (("a", "usd", 1),), "else", settled=True),
        Ended("j", (("a", "usd", 94),), "who"),
    ]


def test_many_new_names_at_once_are_new_only_where_nobody_knows_them(two: tuple[Process, Process]) -> None:
    one, other = two
    other.reserve("old", usd("c7", 100, 60))
    other.rows.finish()
    assert one.balance("else") == (0, 0)
    claims = [usd(f"c{i}", 100, 60) for i in range(9)]
    assert one.reserve("many", *claims[:7]) == Held(((0, 60),) * 7)
    assert one.said == ["INSERT"]
    assert one.reserve("more", *claims[7:]) == Exceeded(0, ((0, 60), (0, 0)))
    names = [f"h{i}" for i in range(6)]
    verbs = [
        Verb(lambda book, name=name: book.reserve(name, [usd("a", 100, 1)], 1, 50), (name,), ["a"], new=True)  # type: ignore[misc]
        for name in (*names, "old")
    ]
    with pytest.raises(StoreError, match="other claims"):
        raise one.rows.commit(verbs)[-1]
    assert one.balance("a") == other.balance("a") == (0, 6)


def test_counters_that_come_back_are_not_forgotten_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.stores.rows.MOST_COUNTERS", 6)
    process, forgotten = Process(tmp_path / "store.db"), [0]
    forget = process.rows.forget

    def counted() -> None:
        forgotten[0] += 1
        forget()

    monkeypatch.setattr(process.rows, "forget", counted)
    calls = iter(range(1000))

    def call(counter: str) -> None:
        hold_id = f"h{next(calls)}"
        assert isinstance(process.reserve(hold_id, usd(counter, 10**6, 10)), Held)
        assert process.settle(hold_id, 7)

    for round_ in range(5):
        for agent in range(20):
            call(f"b|usd|agent=a{agent}|day")
        if round_ == 2:
            forgotten[0] = 0
    assert forgotten == [0], "once it is known how many agents there are"
    for session in range(60):
        call(f"b|usd|agent=a,session=s{session}|session")
    assert forgotten[0] > 3
    assert len(process.rows.book.counters) <= 20 + 6 + 1
    assert [process.balance(f"b|usd|agent=a{agent}|day") for agent in range(20)] == [(35, 0)] * 20
    process.db.close()


def test_a_row_of_another_release_stops_all(tmp_path: Path) -> None:
    async def main() -> None:
        store = SqliteBudget(tmp_path / "store.db")
        assert isinstance(await store.reserve("h", [usd("a", 100, 10)], 1, 50), Held)
        with contextlib.closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None)) as other:
            other.execute("INSERT INTO budget_batches(body) VALUES ('[3]')")
        with pytest.raises(StoreError, match="what it should"):
            await store.reserve("i", [usd("a", 100, 10)], 1, 50)
        await store.close()

    asyncio.run(main())
