"""Approvals under strain: too many questions, stores that fail, names that lie, two replicas at once."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from approving import ID, NOW, QUESTION, YES, Desk, run, turns

from proxy.control.approvals import decide
from proxy.control.port import Entry
from proxy.control.questions import MAX_PENDING, Case
from proxy.engine.ports import StoreError
from proxy.stores.control import MemoryControl


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
