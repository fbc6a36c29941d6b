"""One SQLite file: several processes, a crash, damage, locks."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from store_cases import run, url_of, usd

from proxy.budget.port import BudgetStore, Ended, Exceeded, Held
from proxy.engine.ports import StoreError
from proxy.stores import open_store
from proxy.stores.rows import Verb
from proxy.stores.schema import STEPS
from proxy.stores.sqlite import SqliteBudget

CHILD = """
import asyncio, sys
from proxy.budget.port import Claim, Held
from proxy.stores import open_store

async def main(url, name, calls, die):
    store = open_store(url).budget
    held = 0
    for i in range(int(calls)):
        answer = await store.reserve(f"{name}.{i}", [Claim("one", "usd", 1000, 10, 1e12)], 1, 50)
        if isinstance(answer, Held):
            held += 1
            if die == "no":
                await store.settle(f"{name}.{i}", {"usd": 7}, 1)
    print(held, flush=True)
    if die == "yes":
        sys.stdin.read()
    await store.close()

asyncio.run(main(*sys.argv[1:]))
"""


def child(url: str, name: str, calls: int, die: str) -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", CHILD, url, name, str(calls), die]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env, cwd=root)


def test_a_process_killed_with_a_hold_is_charged_in_full_by_the_next(tmp_path: Path) -> None:
    url = url_of("sqlite", tmp_path)
    with child(url, "victim", 3, "yes") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "3\n"
        process.send_signal(signal.SIGKILL)
        process.wait()

    async def body(store: BudgetStore) -> None:
        assert await store.balances(["one"], 0) == {"one": (0, 30)}
        assert len(await store.sweep(49)) == 0
        assert len(await store.sweep(50)) == 3
        assert await store.balances(["one"], 0) == {"one": (30, 0)}

    run(url, body)


def test_processes_share_one_file_and_one_limit(tmp_path: Path) -> None:
    url = url_of("sqlite", tmp_path)
    asyncio.run(open_store(url).close())
    processes = [child(url, f"p{i}", 60, "no") for i in range(3)]
    held = [int(process.communicate()[0]) for process in processes]

    async def body(store: BudgetStore) -> None:
        assert await store.balances(["one"], 0) == {"one": (7 * sum(held), 0)}
        assert 7 * sum(held) <= 1000
        assert 138 <= sum(held) <= 142, "142 calls of 7 fit while each holds 10; holds of others may refuse a few at the edge"

    run(url, body)


def test_a_file_that_stays_locked_is_a_store_error_and_heals(tmp_path: Path) -> None:
    path = tmp_path / "locked.db"

    async def main() -> None:
        store = SqliteBudget(path, busy_s=0.05)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked"):
            await store.reserve("h", [usd("a", 100, 10)], 1, 50)
        other.execute("ROLLBACK")
        other.close()
        assert await store.balances(["a"], 0) == {"a": (0, 0)}
        assert isinstance(await store.reserve("h", [usd("a", 100, 10)], 1, 50), Held)
        await store.close()
        with pytest.raises(StoreError, match="closed"):
            await store.balances(["a"], 0)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("DROP TABLE holds", "cannot be used"),
        ("UPDATE holds SET parts = 'x'", "what it should"),
        ("DELETE FROM budget_counters", "what it"),
    ],
)
def test_a_damaged_file_is_a_store_error_and_the_writer_lives(tmp_path: Path, damage: str, words: str) -> None:
    url = url_of("sqlite", tmp_path)

    async def hold(store: BudgetStore) -> None:
        await store.reserve("h", [usd("a", 100, 10)], 1, 50)

    async def settle(store: BudgetStore) -> None:
        for _ in range(2):
            with pytest.raises(StoreError, match=words):
                await store.settle("h", {"usd": 1}, 2)

    run(url, hold)
    with contextlib.closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None)) as other:
        other.execute(damage)
    run(url, settle)


def test_a_disk_that_is_full_refuses_and_heals(tmp_path: Path) -> None:
    async def main() -> None:
        store = SqliteBudget(tmp_path / "full.db")
        await store.reserve("first", [usd("a", 100_000, 10)], 1, 50)
        store._db.execute("PRAGMA max_page_count = 1")  # SQLite takes the present size, so that nothing more can grow
        works = [store.reserve(f"h{i}", [usd("a", 100_000, 10), usd(f"{i}" * 40, None, 1)], 1, 50) for i in range(400)]
        answers = [(await asyncio.gather(work, return_exceptions=True))[0] for work in works]
        held = 1 + sum(isinstance(answer, Held) for answer in answers)
        assert any("full" in str(answer) for answer in answers if isinstance(answer, StoreError))
        assert all(isinstance(answer, Held | StoreError) for answer in answers)
        assert await store.balances(["a"], 0) == {"a": (0, 10 * held)}, "what failed holds nothing"
        store._db.execute("PRAGMA max_page_count = 1000000")
        assert isinstance(await store.reserve("later", [usd("a", 100_000, 10)], 1, 50), Held)
        assert await store.settle("first", {"usd": 4}, 2)
        assert await store.balances(["a"], 0) == {"a": (4, 10 * held)}
        await store.close()

    asyncio.run(main())


def test_a_writer_that_never_answers_fails_all_who_wait_and_heals(tmp_path: Path) -> None:
    async def main() -> None:
        store, free = SqliteBudget(tmp_path / "stuck.db", stuck_s=0.02), threading.Event()
        real = store._rows.commit

        def stuck(verbs: Sequence[Verb]) -> list[object]:
            free.wait()
            return real(verbs)

        store._rows.commit = stuck  # type: ignore[method-assign]
        waiting = [asyncio.ensure_future(store.reserve(name, [usd("a", 100, 10)], 1, 50)) for name in "hi"]
        late = asyncio.ensure_future(store.settle("h", {"usd": 1}, 2))
        for task in (*waiting, late):
            with pytest.raises(StoreError, match="does not answer"):
                await task
        with pytest.raises(StoreError, match="does not answer"):
            await store.balances(["a"], 0)
        answered = asyncio.Event()
        told = store._answered

        def telling(batch: Any, results: Any) -> None:
            told(batch, results)
            answered.set()

        store._answered = telling  # type: ignore[method-assign]
        free.set()
        await answered.wait()
        spent, held = (await store.balances(["a"], 0))["a"]
        assert spent + held == 11, "what was given to the writer is done in the end, in order"
        await store.close()

    asyncio.run(main())


def test_settles_go_along_with_the_next_verb_and_keep_their_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.stores.sqlite.LAZY_S", 1e6)

    async def main() -> None:
        store, batches = SqliteBudget(tmp_path / "lazy.db"), list[int]()
        real = store._rows.commit

        def watching(verbs: Sequence[Verb]) -> list[object]:
            batches.append(len(verbs))
            return real(verbs)

        store._rows.commit = watching  # type: ignore[method-assign]
        await store.reserve("first", [usd("a", 100, 100)], 1, 50)
        settled = asyncio.ensure_future(store.settle("first", {"usd": 30}, 2))
        await asyncio.sleep(0)
        assert isinstance(await store.reserve("second", [usd("a", 100, 70)], 2, 50), Held), "the settle came first"
        assert await settled
        assert batches == [1, 2]
        last = asyncio.ensure_future(store.settle("second", {"usd": 1}, 3))
        await asyncio.sleep(0)
        await store.close()
        assert await last, "closing finishes what was submitted"

    asyncio.run(main())


def test_a_settle_alone_goes_after_a_moment(tmp_path: Path) -> None:
    async def body(store: BudgetStore) -> None:
        await store.reserve("h", [usd("a", 100, 60)], 1, 50)
        assert await store.settle("h", {"usd": 11}, 2)

    run(url_of("sqlite", tmp_path), body)


def test_two_stores_on_one_file_never_decide_on_old_numbers(tmp_path: Path) -> None:
    async def main() -> None:
        one, two = (SqliteBudget(tmp_path / "both.db") for _ in range(2))
        assert isinstance(await one.reserve("1", [usd("a", 100, 60)], 1, 50), Held)
        assert isinstance(await two.reserve("2", [usd("a", 100, 60)], 1, 50), Exceeded)
        await one.settle("1", {"usd": 10}, 2)
        assert isinstance(await two.reserve("2", [usd("a", 100, 60)], 1, 50), Held), "what was refused by old numbers fits by new ones"
        assert await one.settle("2", {"usd": 60}, 2), "a hold of another process"
        assert await two.settle("2", {"usd": 60}, 2) is False
        with pytest.raises(StoreError, match="settled before"):
            await two.reserve("1", [usd("a", 100, 1)], 1, 50)
        with pytest.raises(StoreError, match="settled before"):
            await two.reserve("1", [usd("a", 100, 99)], 1, 50)
        assert await one.balances(["a"], 0) == await two.balances(["a"], 0) == {"a": (70, 0)}
        await one.close()
        await two.close()

    asyncio.run(main())


def test_what_is_taken_for_new_and_is_not_is_found_out(tmp_path: Path) -> None:
    url = url_of("sqlite", tmp_path)

    async def spend(store: BudgetStore) -> None:
        for name in "abc":
            await store.reserve(name, [usd("all", 1000, 10), usd(name, 100, 60)], 1, 50)
            await store.settle(name, {"usd": 50}, 2)

    async def go_on(store: BudgetStore) -> None:
        assert await store.reserve("x", [usd("new", 100, 1)], 3, 50) == Held(((0, 1),))
        for i, name in enumerate("abc"):
            answer = await store.reserve(f"{name}2", [usd("all", 1000, 10), usd(name, 100, 60)], 3, 50)
            assert answer == Exceeded(1, ((150, 10 * i), (50, 0)))
            assert isinstance(await store.reserve(f"{name}3", [usd("all", 1000, 10), usd(name, 100, 40)], 3, 50), Held)
        with pytest.raises(StoreError, match="settled before"):
            await store.reserve("a", [usd("other", 100, 1)], 3, 50)
        assert await store.balances(["all", "a", "b", "c", "new", "other"], 0) == {
            "all": (150, 30),
            "a": (50, 40),
            "b": (50, 40),
            "c": (50, 40),
            "new": (0, 1),
            "other": (0, 0),
        }
        for hold_id in ("x", "a3", "b3", "c3"):
            assert await store.settle(hold_id, {"usd": 1}, 4)
        assert await store.balances(["all", "a", "new"], 0) == {"all": (153, 0), "a": (51, 0), "new": (1, 0)}

    run(url, spend)
    run(url, go_on)


def test_forgetting_the_cache_changes_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.stores.rows.MOST_COUNTERS", 1)

    async def body(store: BudgetStore) -> None:
        for i in range(5):
            assert await store.reserve(f"h{i}", [usd("a", 100, 10), usd(f"b{i}", 10, 10)], 1, 50) == Held(((0, 10 * i + 10), (0, 10)))
        assert await store.settle("h0", {"usd": 3}, 2)
        assert await store.balances(["a", "b0", "b1"], 0) == {"a": (3, 40), "b0": (3, 0), "b1": (0, 10)}

    run(url_of("sqlite", tmp_path), body)


def test_answers_for_a_loop_that_is_gone_are_dropped(tmp_path: Path) -> None:
    store = SqliteBudget(tmp_path / "store.db")

    async def leave() -> None:
        other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        task = asyncio.ensure_future(store.reserve("h", [usd("a", 100, 10)], 1, 50))
        await asyncio.sleep(0)
        task.cancel()
        other.execute("ROLLBACK")
        other.close()

    async def come_back() -> None:
        assert await store.balances(["a"], 0) == {"a": (0, 10)}
        await store.close()
        await store.close()

    asyncio.run(leave())
    asyncio.run(come_back())


def test_a_sqlite_store_outlives_its_process(tmp_path: Path) -> None:
    url = url_of("sqlite", tmp_path)

    async def spend(store: BudgetStore) -> None:
        await store.reserve("h", [usd("a", 100, 60)], 1, 50)
        await store.settle("h", {"usd": 11}, 2)

    async def look(store: BudgetStore) -> None:
        assert await store.balances(["a"], 0) == {"a": (11, 0)}
        assert await store.settle("h", {"usd": 60}, 3) is False

    run(url, spend)
    run(url, look)


def test_a_file_of_an_older_version_is_brought_up_to_date_with_all_that_it_holds(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None)) as old:
        for statement in (*STEPS[0], *STEPS[1]):
            old.execute(statement)
        old.execute("PRAGMA user_version = 2")
        old.execute("INSERT INTO budget_counters VALUES ('a', 20, 30, 1e12)")
        old.execute("""INSERT INTO budget_holds VALUES ('h', '[["a","usd",30,100]]', 50), ('gone', NULL, 1e12)""")

    async def body(store: BudgetStore) -> None:
        assert await store.balances(["a"], 1) == {"a": (20, 30)}
        assert await store.settle("gone", {"usd": 1}, 1) is False
        assert await store.extend("h", {"usd": 40}, 1) == Held(((20, 40),))
        assert await store.sweep(60) == [Ended("h", (("a", "usd", 40),), "")]
        assert await store.balances(["a"], 61) == {"a": (60, 0)}

    run(url_of("sqlite", tmp_path), body)
