"""What exchanges deferred runs at once as far as it goes, in order; what waits is awaited by one task for many; no failure is silent."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Coroutine
from typing import Any, cast

import pytest

from proxy.engine.exchange import Exchange
from proxy.engine.releases import AT_ONCE, Releases, begin


class Ex:
    id = "x"


EX = cast(Exchange, Ex())


class World:
    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[None]] = []
        self.lost = 0
        self.log: list[str] = []
        self.releases = Releases(self.spawn, self.lose)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.ensure_future(work))

    def lose(self) -> None:
        self.lost += 1


def test_what_never_waits_is_over_at_once_last_first_and_needs_no_task() -> None:
    async def work() -> None:
        world = World()

        async def one(ex: Exchange) -> None:
            world.log.append("one")

        async def two(ex: Exchange) -> None:
            world.log.append("two")

        world.releases.run(EX, [("one", one), ("two", two)])
        assert world.log == ["two", "one"]
        assert not world.tasks

    asyncio.run(work())


def test_what_waits_has_begun_and_goes_on_in_one_task_for_many() -> None:
    async def work() -> None:
        world, gate = World(), asyncio.get_running_loop().create_future()

        async def waits(ex: Exchange) -> None:
            world.log.append("begun")
            try:
                assert await gate == 7
                await asyncio.sleep(0)
                world.log.append("over")
            finally:
                world.log.append("end")

        for _ in range(3):
            world.releases.run(EX, [("hold", waits)])
        assert world.log == ["begun"] * 3
        await asyncio.sleep(0)
        world.releases.run(EX, [("hold", waits)])
        assert len(world.tasks) == 1
        gate.set_result(7)
        await world.tasks[0]
        assert world.log == ["begun"] * 4 + ["over", "end"] * 4
        world.releases.run(EX, [("hold", waits)])
        await asyncio.gather(*world.tasks)
        assert len(world.tasks) == 2
        assert world.log[-1] == "end"

    asyncio.run(work())


@pytest.mark.parametrize("late", [False, True])
def test_one_that_fails_is_counted_and_the_others_run(late: bool, caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        world, gate = World(), asyncio.get_running_loop().create_future()

        async def fails(ex: Exchange) -> None:
            if late:
                await gate
            raise ValueError("gone")

        async def runs(ex: Exchange) -> None:
            world.log.append("ran")

        world.releases.run(EX, [("other", runs), ("budget", fails)])
        gate.set_exception(RuntimeError("the store"))
        await asyncio.gather(*world.tasks)
        gate.exception()
        assert (world.lost, world.log) == (1, ["ran"])
        assert "exchange x: the budget hold could not be released" in caplog.text

    asyncio.run(work())


@pytest.mark.parametrize("late", [False, True])
def test_one_whose_store_was_cancelled_is_counted_and_the_others_run(late: bool, caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        world, gate = World(), asyncio.get_running_loop().create_future()

        async def waits(ex: Exchange) -> None:
            await gate

        async def runs(ex: Exchange) -> None:
            await asyncio.sleep(0)
            world.log.append("ran")

        if not late:
            gate.cancel()
        world.releases.run(EX, [("other", runs), ("budget", waits)])
        await asyncio.sleep(0)
        gate.cancel()
        await asyncio.gather(*world.tasks)
        assert (world.lost, world.log) == (1, ["ran"])
        assert "exchange x: the budget hold could not be released" in caplog.text

    asyncio.run(work())


def test_the_task_that_awaits_them_can_be_cancelled() -> None:
    async def work() -> None:
        world = World()

        async def hangs(ex: Exchange) -> None:
            await asyncio.get_running_loop().create_future()

        world.releases.run(EX, [("budget", hangs)])
        await asyncio.sleep(0)
        world.tasks[0].cancel()
        await asyncio.wait(world.tasks)
        assert (world.tasks[0].cancelled(), world.lost) == (True, 0)

    asyncio.run(work())


def test_one_that_hangs_holds_up_a_few_and_not_all() -> None:
    async def work() -> None:
        world, never = World(), asyncio.get_running_loop().create_future()

        async def hangs(ex: Exchange) -> None:
            await never

        async def waits(ex: Exchange) -> None:
            await asyncio.sleep(0)
            world.log.append("over")

        world.releases.run(EX, [("budget", hangs)])
        await asyncio.sleep(0)
        for _ in range(AT_ONCE):
            world.releases.run(EX, [("budget", waits)])
        await world.tasks[-1]
        assert world.log == ["over"] * AT_ONCE
        world.tasks[0].cancel()
        await asyncio.wait(world.tasks)
        assert never.cancelled()

    asyncio.run(work())


def test_what_was_begun_takes_what_is_thrown_at_it_as_any_coroutine_does() -> None:
    async def work() -> None:
        caught: list[BaseException] = []

        async def stubborn() -> None:
            for _ in range(2):
                try:
                    await asyncio.get_running_loop().create_future()
                except asyncio.CancelledError as e:
                    caught.append(e)

        rest = begin(stubborn())
        assert rest is not None

        async def waits() -> None:
            await rest

        task = asyncio.ensure_future(waits())
        for _ in range(2):
            await asyncio.sleep(0)
            task.cancel()
        await task
        assert len(caught) == 2

    asyncio.run(work())


def test_those_that_a_store_answers_together_are_let_go_of_together() -> None:
    class Body:
        """What a client sent, which stands as long as its release does."""

    async def work() -> None:
        world, gate, bodies = World(), asyncio.get_running_loop().create_future(), list[weakref.ref[Body]]()

        async def waits(ex: Exchange) -> None:
            body = Body()
            bodies.append(weakref.ref(body))
            await gate

        for _ in range(AT_ONCE // 2):
            world.releases.run(EX, [("hold", waits)])
        await asyncio.sleep(0)
        assert all(body() is not None for body in bodies)
        gate.set_result(None)
        for _ in range(3):
            await asyncio.sleep(0)
        assert not any(body() for body in bodies)
        await asyncio.gather(*world.tasks)

    asyncio.run(work())
