"""Kills and the log of human hands: one contract on every adapter, and what only a file can do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
from store_cases import SCHEMES, url_of

from proxy.control.port import ControlStore, Entry, Versions
from proxy.control.questions import Case, Decision, Timing, decided, opened
from proxy.control.rules import MAX_KILLS, Kill
from proxy.engine.ports import Question, StoreError
from proxy.stores import control, open_store
from proxy.stores.control import SqliteControl
from proxy.stores.encoding import decoded, encoded

NOW = 1_800_000_000.0
T = TypeVar("T")


@pytest.fixture(params=SCHEMES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return url_of(request.param, tmp_path)


def run(url: str, work: Callable[[ControlStore], Awaitable[T]]) -> T:
    async def main() -> T:
        stores = open_store(url)
        try:
            return await work(stores.control)
        finally:
            await stores.close()

    return asyncio.run(main())


def kill(name: str = "a", until: float | None = None, since: float = NOW) -> Kill:
    return Kill("agent", name, "why", "ann", since, until)


def test_a_kill_is_kept_logged_and_noticed(url: str) -> None:
    async def work(store: ControlStore) -> None:
        before = await store.versions()
        assert before == Versions(0, 0)
        assert await store.kill(kill("a", NOW + 60))
        assert await store.kill(kill("b", since=NOW + 1))
        assert list(await store.kills(NOW + 2)) == [kill("a", NOW + 60), kill("b", since=NOW + 1)]
        assert list(await store.kills(NOW + 60)) == [kill("b", since=NOW + 1)]
        assert (await store.versions()).kills == 2
        assert list(await store.log(10)) == [
            Entry(NOW + 1, "ann", "kill", "agent:b", "why"),
            Entry(NOW, "ann", "kill", "agent:a", "why", NOW + 60),
        ]
        assert len(await store.log(1)) == 1

    run(url, work)


def test_what_people_read_and_erase_is_a_line_of_the_log_and_no_more(url: str) -> None:
    async def work(store: ControlStore) -> None:
        read = Entry(NOW, "ann", "read", "exchange:e1", "why")
        await store.note(read)
        await store.note(Entry(NOW + 1, "bob", "erase", "agent:a"))
        assert list(await store.log(10)) == [Entry(NOW + 1, "bob", "erase", "agent:a"), read]
        assert await store.versions() == Versions(0, 0)

    run(url, work)


def test_a_second_kill_of_a_target_takes_the_place_of_the_first(url: str) -> None:
    async def work(store: ControlStore) -> None:
        await store.kill(kill("a", NOW + 60))
        await store.kill(kill("a", since=NOW + 5))
        assert list(await store.kills(NOW + 9)) == [kill("a", since=NOW + 5)]

    run(url, work)


def test_resume_lifts_exactly_what_it_names(url: str) -> None:
    async def work(store: ControlStore) -> None:
        await store.kill(kill("a"))
        await store.kill(kill("over", NOW + 1))
        version = (await store.versions()).kills
        assert not await store.resume("agent:*", "bob", "", NOW + 2)
        assert not await store.resume("agent:over", "bob", "", NOW + 2), "it had ended by itself"
        assert (await store.versions()).kills == version
        assert await store.resume("agent:a", "bob", "fixed", NOW + 3)
        assert not await store.resume("agent:a", "bob", "fixed", NOW + 3)
        assert not await store.kills(NOW + 3)
        assert (await store.log(1))[0] == Entry(NOW + 3, "bob", "resume", "agent:a", "fixed")
        assert (await store.versions()).kills == version + 1

    run(url, work)


def test_there_are_only_so_many(url: str) -> None:
    async def work(store: ControlStore) -> None:
        for i in range(MAX_KILLS):
            await store.kill(kill(f"a{i}", NOW + 10 if i else None))
        assert not await store.kill(kill("one more"))
        assert await store.kill(kill("a5", NOW + 20)), "in the place of another"
        assert len(await store.log(5000)) == MAX_KILLS + 1
        assert await store.kill(kill("later", since=NOW + 11)), "those that are over do not count"

    run(url, work)


QUESTION = Question("tool_call", "clerk", "s1", "r1", "e1", "send_email", "d1", "x.yaml:3", "w\u00e9", "{}")


def case(now: float = NOW, keep_s: float = 3600.0, name: str = "d1") -> Case:
    return opened(replace(QUESTION, digest=name), None, now, Timing(300, keep_s), "0" * 64)


def test_a_question_is_written_over_the_version_that_was_read(url: str) -> None:
    async def work(store: ControlStore) -> None:
        one = case()
        assert await store.case(one.id) is None
        assert not await store.save(one, 1), "there is none yet"
        assert await store.save(one, 0)
        assert not await store.save(one, 0)
        assert await store.case(one.id) == one
        assert await store.waiting("clerk", NOW) == 1
        assert await store.waiting("other", NOW) == 0
        assert await store.waiting("clerk", NOW + 3600) == 0
        done = decided(one, Decision(True, "ann", "ok"), NOW + 1, 60)
        assert isinstance(done, Case)
        entry = Entry(NOW + 1, "ann", "approve", "approval:x", "ok")
        assert not await store.save(done, 7, entry)
        assert await store.log(9) == []
        assert await store.save(done, 1, entry)
        assert (await store.case(one.id), list(await store.log(9))) == (done, [entry])
        assert await store.waiting("clerk", NOW + 1) == 0
        assert (await store.versions()) == Versions(0, 2)

    run(url, work)


def test_questions_are_listed_newest_first_and_forgotten_in_the_end(url: str) -> None:
    async def work(store: ControlStore) -> None:
        old, new = case(NOW, 60, "old"), case(NOW + 5, 3600, "new")
        await store.save(old, 0)
        await store.save(new, 0)
        assert list(await store.cases(NOW + 9)) == [new, old]
        assert await store.cases(NOW + 1e6) == []
        late = case(NOW + 90_000, 3600, "late")
        await store.save(late, 0)
        assert await store.case(old.id) is None
        assert await store.case(late.id) == late

    run(url, work)


def test_it_outlives_the_process_and_others_see_it(tmp_path: Path) -> None:
    path = tmp_path / "store.db"

    async def work(store: ControlStore) -> None:
        await store.kill(kill())
        other = SqliteControl(path)
        assert list(await other.kills(NOW)) == [kill()]
        assert await other.versions() == Versions(1, 0)
        await other.close()

    run(f"sqlite:{path}", work)
    assert run(f"sqlite:{path}", lambda store: store.kills(NOW)) == [kill()]


def test_what_sqlite_refuses_is_a_store_error_and_changed_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(store: ControlStore) -> None:
        monkeypatch.setattr(control, "changed", lambda db, name: db.execute("UPDATE nowhere SET x = 1"))
        with pytest.raises(StoreError, match="cannot be used"):
            await store.kill(kill())
        assert not await store.kills(NOW)
        assert not await store.log(9)

    run(f"sqlite:{tmp_path / 'store.db'}", work)


def test_a_file_that_does_not_answer_is_a_store_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "STUCK_S", 0.01)

    async def work(store: ControlStore) -> None:
        assert isinstance(store, SqliteControl)
        free = threading.Event()
        store._thread.submit(free.wait, 30)
        try:
            with pytest.raises(StoreError, match="does not answer"):
                await store.versions()
        finally:
            free.set()

    run(f"sqlite:{tmp_path / 'store.db'}", work)


def test_what_is_no_question_is_a_store_error() -> None:
    with pytest.raises(StoreError, match="something else"):
        decoded(b"{}", Case)
    with pytest.raises(StoreError, match="not UTF-8"):
        encoded(replace(case(), by="\ud800"))


def test_a_kill_is_seen_though_every_thread_is_busy(tmp_path: Path) -> None:
    async def main() -> None:
        store, free = SqliteControl(tmp_path / "x.db"), threading.Event()
        busy = [asyncio.ensure_future(asyncio.to_thread(free.wait, 30)) for _ in range(64)]
        try:
            async with asyncio.timeout(10):
                assert await store.kill(kill())
                assert (await store.versions()).kills == 1
                await store.close()
        finally:
            free.set()
            await asyncio.gather(*busy)

    asyncio.run(main())


def test_what_cannot_be_looked_for_leaves_nothing_open(tmp_path: Path) -> None:
    async def work(store: ControlStore) -> None:
        assert isinstance(store, SqliteControl)
        for name in ("\ud800", "a\0b"):
            for verb in (store.case(name), store.resume(f"agent:{name}", "ann", "", NOW)):
                try:
                    assert not await verb
                except StoreError:
                    pass
                assert not store._db.in_transaction
        store._db.execute("INSERT INTO control_questions VALUES ('x', 1, 'a', 'pending', 9e9, '{}')")
        with pytest.raises(StoreError, match="something else"):
            await store.cases(NOW)
        assert (await store.versions()).kills == 0, "the next look at kills is not the one that fails"

    run(f"sqlite:{tmp_path / 'store.db'}", work)


def test_an_id_that_is_no_text_is_unknown_or_refused_and_nothing_breaks(url: str) -> None:
    async def work(store: ControlStore) -> None:
        for name in ("\ud800", "a\0b", "x" * 100_000):
            try:
                assert await store.case(name) is None
            except StoreError:
                pass
            assert await store.versions() == Versions(0, 0)

    run(url, work)
