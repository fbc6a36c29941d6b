"""The approver on a store: waiting, being decided from elsewhere, leaving, coming back, and stores that fail."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from approving import ID, NO, NOW, QUESTION, YES, Desk, run, turns

from proxy.control import approvals
from proxy.control.approvals import decide
from proxy.control.questions import Case, Decision, id_of
from proxy.engine.ports import Answer, ClientGone
from proxy.stores.control import SqliteControl


async def beat() -> None:
    """Nothing to keep alive."""


@pytest.mark.parametrize("decision", [YES, NO])
def test_a_person_decides_while_somebody_waits(decision: Decision) -> None:
    async def work(desk: Desk) -> None:
        task = await desk.asked(beat=beat)
        assert not task.done()
        await desk.decide(decision)
        assert await asyncio.wait_for(task, 5) == Answer(decision.allowed, decision.by, decision.reason, ID)
        assert not desk.spawned, "it did not leave"

    run(work)


def test_it_is_told_once_with_a_link_whose_secret_is_kept_as_a_hash() -> None:
    async def work(desk: Desk) -> None:
        task = await desk.asked(beat=beat)
        again = await desk.asked(beat=beat)
        (notice,) = desk.told
        assert notice.kind == "approval"
        link = str(notice.facts["link"])
        secret = link.partition("token=")[2]
        assert link.startswith(f"https://admin/approve/{ID}?token=")
        assert link in notice.text
        assert len(secret) >= 43
        case = await desk.store.case(ID)
        assert case is not None
        assert secret not in repr(case)
        assert await decide(desk.store, ID, replace(YES, token="x" + secret), NOW, 3600) == "foreign"
        assert isinstance(await decide(desk.store, ID, replace(NO, token=secret), NOW, 3600), Case)
        desk.people.wake()
        assert not (await task).allowed
        assert not (await again).allowed

    run(work)


def test_one_approval_lets_one_call_through_and_the_other_asks_anew() -> None:
    async def work(desk: Desk) -> None:
        tasks = [await desk.asked(beat=beat), await desk.asked(beat=beat)]
        await desk.decide(YES)
        done, waits = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED, timeout=5)
        assert (len(done), len(waits)) == (1, 1)
        await turns(50)
        assert len(desk.told) == 2
        await desk.decide(NO)
        assert {(await task).allowed for task in tasks} == {True, False}

    run(work)


def test_an_approval_for_a_time_lets_all_through() -> None:
    async def work(desk: Desk) -> None:
        task = await desk.asked(beat=beat)
        await desk.decide(replace(YES, lasts_s=60))
        assert (await task).allowed
        assert (await desk.people.ask(QUESTION)).allowed
        assert (await desk.people.ask(QUESTION)).allowed

    run(work)


def test_who_comes_back_finds_what_was_decided_meanwhile() -> None:
    async def work(desk: Desk) -> None:
        answer = await desk.people.ask(replace(QUESTION, timeout_s=0.01))
        assert (answer.allowed, answer.decided, answer.id) == (False, False, ID)
        assert "the next try" in answer.why
        await desk.settle()
        case = await desk.store.case(ID)
        assert case is not None
        assert case.status == "pending"
        await desk.decide(YES)
        assert await desk.people.ask(QUESTION) == Answer(True, "ann", "fine", ID)

    run(work)


def test_where_nothing_can_be_sent_the_wait_is_short() -> None:
    async def work(desk: Desk) -> None:
        answer = await asyncio.wait_for(desk.people.ask(QUESTION), 5)
        assert not answer.decided
        assert await desk.store.waiting("clerk", NOW) == 1, "it stays open"

    run(work, buffered_s=0.01)


def test_the_default_of_a_rule() -> None:
    async def work(desk: Desk) -> None:
        task = await desk.asked(replace(QUESTION, default="allow"), beat=beat)
        desk.now += 20
        desk.people.wake()
        assert await asyncio.wait_for(task, 5) == Answer(True, "the rule's default", "nobody decided in time", ID)

    run(work)


def test_who_leaves_is_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approvals, "ALIVE_S", 0.0)

    async def gone() -> None:
        raise ClientGone

    async def work(desk: Desk) -> None:
        with pytest.raises(ClientGone):
            await desk.people.ask(QUESTION, gone)
        task = await desk.asked(beat=beat)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        desk.now += 1
        await desk.settle()
        case = await desk.store.case(ID)
        assert case is not None
        assert (case.status, case.waits) == ("pending", NOW + 1)

    run(work)


def test_it_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approvals, "ALIVE_S", 0.001)
    beats: list[int] = []

    async def work(desk: Desk) -> None:
        async def once() -> None:
            beats.append(1)
            if len(beats) == 3:
                await desk.decide(YES)

        assert (await asyncio.wait_for(desk.people.ask(QUESTION, once), 5)).allowed

    run(work)
    assert len(beats) == 3


def test_another_process_decides_and_one_that_died_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approvals, "LOOK_S", 0.01)
    path = tmp_path / "store.db"

    async def work(desk: Desk) -> None:
        task = await desk.asked(beat=beat)
        other = SqliteControl(path)
        assert [case.id for case in await other.cases(NOW)] == [ID]
        assert isinstance(await decide(other, ID, YES, NOW, 3600), Case)
        assert (await asyncio.wait_for(task, 5)).allowed, "noticed without being woken"
        dead = Desk(other)
        task = await dead.asked(replace(QUESTION, digest="d2"), beat=beat)
        task.cancel()
        await asyncio.wait([task])
        for left in dead.spawned:
            left.close()
        assert isinstance(await decide(other, id_of(replace(QUESTION, digest="d2")), YES, NOW, 3600), Case)
        assert (await desk.people.ask(replace(QUESTION, digest="d2"))).allowed
        await other.close()
        await desk.store.close()

    run(work, SqliteControl(path))
