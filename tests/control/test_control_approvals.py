"""The approver on a store: waiting, being decided from elsewhere, leaving, coming back, and stores that fail."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from proxy.control import approvals
from proxy.control.approvals import Approvals, decide
from proxy.control.port import ControlStore, Entry
from proxy.control.questions import MAX_PENDING, Case, Decision, Timing, id_of
from proxy.engine.notice import Notice
from proxy.engine.ports import Answer, ClientGone, Question, StoreError
from proxy.stores.control import MemoryControl, SqliteControl

NOW = 1_800_000_000.0
QUESTION = Question("tool_call", "clerk", "s1", "r1", "e1", "send_email", "d1", "policies/x.yaml:3 (mail)", "why", "{}", timeout_s=20.0)
ID = id_of(QUESTION)
YES, NO = Decision(True, "ann", "fine"), Decision(False, "bob", "no")


@dataclass
class Desk:
    """One process's approver, with a clock to wind and what it told."""

    store: ControlStore
    now: float = NOW
    buffered_s: float = 50.0
    told: list[Notice] = field(default_factory=list)
    spawned: list[Coroutine[Any, Any, None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        def link(name: str, secret: str) -> str:
            return f"https://admin/approve/{name}?token={secret}"

        self.people = Approvals(
            self.store, lambda: self.now, lambda: (Timing(), self.buffered_s), self.told.append, link, self.spawned.append
        )

    async def decide(self, decision: Decision) -> Case | str:
        found = await decide(self.store, ID, decision, self.now, 3600)
        self.people.wake()
        return found

    async def asked(self, question: Question = QUESTION, **more: Any) -> asyncio.Task[Answer]:
        """Ask, and return once the question stands in the store."""
        task = asyncio.ensure_future(self.people.ask(question, **more))
        while not task.done() and await self.store.waiting(question.agent, self.now) == 0:
            await turns(1)
        await turns(5)
        return task

    async def settle(self) -> None:
        while self.spawned:
            await self.spawned.pop()


def run(work: Callable[[Desk], Awaitable[None]], store: ControlStore | None = None, **more: Any) -> None:
    async def main() -> None:
        desk = Desk(store or MemoryControl(), **more)
        await work(desk)
        await desk.settle()

    asyncio.run(main())


async def turns(count: int) -> None:
    """Let others have their turn."""
    for _ in range(count):
        await asyncio.sleep(0)


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


def test_an_agent_cannot_ask_without_end() -> None:
    async def work(desk: Desk) -> None:
        for i in range(MAX_PENDING):
            await desk.people.ask(replace(QUESTION, digest=str(i), timeout_s=0.0))
        answer = await desk.people.ask(replace(QUESTION, digest="more"))
        assert (answer.allowed, answer.id) == (False, "")
        assert len(desk.told) == MAX_PENDING
        await desk.settle()

    run(work)


def test_an_agent_cannot_ask_without_end_at_once_either() -> None:
    class Slow(MemoryControl):
        """Answers each look a turn later, as every store that others share."""

        async def waiting(self, agent: str, now: float) -> int:
            found = await super().waiting(agent, now)
            await turns(3)
            return found

    async def work(desk: Desk) -> None:
        asked = [replace(QUESTION, digest=str(i), timeout_s=0.0) for i in range(MAX_PENDING + 50)]
        answers = await asyncio.gather(*map(desk.people.ask, asked), desk.people.ask(replace(QUESTION, agent="other", timeout_s=0.0)))
        assert sum(answer.id == "" for answer in answers) == 50
        assert answers[-1].id
        assert (len(desk.told), await desk.store.waiting("clerk", NOW)) == (MAX_PENDING + 1, MAX_PENDING)
        assert not desk.people._opening

    run(work, Slow())


def test_the_name_of_a_tool_is_no_sentence_in_a_notice() -> None:
    async def work(desk: Desk) -> None:
        tool = "send). Decide: https://evil.example/approve/1?token=2 (<!channel> " + "x" * 500
        await desk.people.ask(replace(QUESTION, what=tool, timeout_s=0.0))
        (notice,) = desk.told
        assert notice.text.count("://") == 1
        assert notice.text.count(" Decide: ") == 1
        assert "send?.?Decide??https???evil.example" in notice.text
        assert len(notice.text) < 400
        await desk.people.ask(replace(QUESTION, kind="loop", what="identical", timeout_s=0.0))
        assert ": identical (" in desk.told[1].text

    run(work)


class Failing(MemoryControl):
    """A store that can be read so many times, or written never."""

    def __init__(self, reads: int = 10**9, races: bool = False) -> None:
        super().__init__()
        self.reads, self.races = reads, races

    async def case(self, name: str) -> Case | None:
        self.reads -= 1
        if self.reads < 0:
            raise StoreError("gone")
        return await super().case(name)

    async def save(self, case: Case, seen: int, entry: Entry | None = None) -> bool:
        return not self.races and await super().save(case, seen, entry)


def test_a_store_that_fails_is_no_permission() -> None:
    async def work(desk: Desk) -> None:
        answer = await asyncio.wait_for(desk.people.ask(replace(QUESTION, default="allow", timeout_s=0.02)), 5)
        assert not answer.allowed

    run(work, Failing(reads=1))
    with pytest.raises(StoreError):
        run(work, Failing(reads=0))


def test_a_row_that_others_write_each_time_is_a_fault() -> None:
    async def work(desk: Desk) -> None:
        with pytest.raises(StoreError, match="others wrote it"):
            await desk.people.ask(QUESTION)

    run(work, Failing(races=True))

    async def deciding(desk: Desk) -> None:
        store = Failing()
        other = Desk(store)
        await other.people.ask(replace(QUESTION, timeout_s=0.0))
        await other.settle()
        store.races = True
        with pytest.raises(StoreError, match="others wrote the same"):
            await decide(store, ID, YES, NOW, 3600)

    run(deciding)


def test_two_replicas_never_take_one_use_twice() -> None:
    class Raced(MemoryControl):
        """Another replica is faster once, when armed."""

        armed = False

        async def save(self, case: Case, seen: int, entry: Entry | None = None) -> bool:
            if self.armed and case.uses == 0 and case.status == "approved":
                self.armed = False
                await super().save(case, seen)
            return await super().save(case, seen, entry)

    async def work(desk: Desk) -> None:
        assert isinstance(desk.store, Raced)
        await desk.people.ask(replace(QUESTION, timeout_s=0.0))
        await desk.decide(YES)
        desk.store.armed = True
        answer = await desk.people.ask(replace(QUESTION, timeout_s=0.0))
        assert not answer.allowed, "the other took it, so it is asked anew"
        assert len(desk.told) == 2

    run(work, Raced())
