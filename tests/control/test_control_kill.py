"""The board of kills: what each stage sees of it, what runs and is stopped, and a store that cannot be read."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from proxy.control import kill as switch
from proxy.control.kill import KillBoard, KillLeaseStage, KillRouteStage, KillSessionStage, KillStage, seen_of
from proxy.control.port import Versions
from proxy.control.rules import Kill, Kind
from proxy.engine.exchange import Exchange, Runtime
from proxy.engine.live import Live
from proxy.engine.notice import Notice
from proxy.engine.ports import StoreError, SystemClock
from proxy.engine.stage import Plan, compile_plan
from proxy.model import Deny, Principal, Reason, Route, Target
from proxy.stores.control import MemoryControl

NOW = 1_800_000_000.0
NOTHING: Any = None
STRONG = Target("openai", "strong", "strong", "openai", None)
LOCAL = Target("local", "small", "small:8b", "openai", None, local=True)
CLAUDE = Target("anthropic", "claude", "claude", "anthropic", None)


class Store(MemoryControl):
    """A store that can be down, and counts how often its kills were read."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.read = False, 0

    async def versions(self) -> Versions:
        if self.down:
            raise StoreError("gone")
        return await super().versions()

    async def kills(self, now: float) -> Sequence[Kill]:
        self.read += 1
        return await super().kills(now)


class Desk:
    """A board with a clock to wind."""

    def __init__(self) -> None:
        self.store, self.live, self.now, self.seconds = Store(), Live(), NOW, 100.0
        self.told: list[Notice] = []
        self.lends = False
        self.board = KillBoard(self.store, self.live, lambda: self.now, lambda: self.seconds, lambda: self.lends)

    async def look(self) -> bool:
        return await self.board.refresh(self.told.append)

    async def kill(self, kind: Kind, name: str = "*", until: float | None = None) -> None:
        await self.store.kill(Kill(kind, name, "enough", "ann", self.now, until))


def exchange(targets: Sequence[Target] = (STRONG,)) -> Exchange:
    ex = Exchange(Runtime("v1", Plan((), (), ()), NOTHING, ()), SystemClock(), NOTHING, "openai")
    ex.principal, ex.agent = Principal("a", "k1", run="bound"), "a"
    ex.session, ex.run = "s1", "r1"
    if targets:
        ex.route = Route(tuple(targets))
    return ex


def test_nothing_is_killed() -> None:
    desk = Desk()

    async def main() -> None:
        assert not await desk.look()
        assert not await desk.look()
        assert desk.board.refusal(exchange()) is None
        assert (desk.board.active(), desk.store.read) == (0, 1)

    asyncio.run(main())


def test_what_a_stage_sees() -> None:
    desk = Desk()
    stages = (KillStage(desk.board), KillSessionStage(desk.board), KillRouteStage(desk.board))
    assert len(compile_plan(stages, {"principal", "agent", "grant", "call", "session", "route"}).request) == 3

    async def main() -> None:
        await desk.look()
        await desk.kill("run", "bound", NOW + 60)
        assert await stages[0].request(exchange()) is None, "not looked yet"
        await desk.look()
        for stage in stages[:2]:
            deny = await stage.request(exchange())
            assert isinstance(deny, Deny)
            assert deny.reason is Reason.AGENT_KILLED
        assert desk.board.active() == 1
        desk.now += 60
        assert await stages[0].request(exchange()) is None
        assert desk.board.active() == 0

    asyncio.run(main())


def test_stopped_models_leave_the_route() -> None:
    desk = Desk()
    stage = KillRouteStage(desk.board)

    async def main() -> None:
        await desk.look()
        ex = exchange((STRONG, LOCAL, CLAUDE))
        assert await stage.request(ex) is None
        await desk.kill("model", "small:8b")
        await desk.look()
        assert await stage.request(ex) is None
        assert [target.model for target in ex.route.targets] == ["strong", "claude"]
        assert ex.decisions == [("kill-route", "stopped and not asked: small")]
        assert await stage.request(ex) is None
        deny = await stage.request(exchange((LOCAL,)))
        assert isinstance(deny, Deny)
        assert deny.rule == "kill model:small:8b"

    asyncio.run(main())


def test_what_is_served_counts_and_not_what_might_have() -> None:
    ex = exchange((STRONG, CLAUDE))
    assert seen_of(ex).models == ("strong", "strong", "claude", "claude")
    ex.target, ex.served = CLAUDE, True
    assert seen_of(ex).models == ("claude", "claude")
    assert seen_of(ex).runs == ("r1", "bound")


def test_what_runs_is_stopped_when_the_kill_is_seen_and_others_go_on() -> None:
    desk = Desk()

    async def run(ex: Exchange) -> str:
        desk.live.enter(ex)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "" if ex.stopped is None else ex.stopped.rule
        finally:
            desk.live.leave(ex)
        return ""

    async def main() -> None:
        await desk.look()
        mine, other = exchange(), exchange()
        other.agent = "b"
        tasks = [asyncio.ensure_future(run(ex)) for ex in (mine, other)]
        await asyncio.sleep(0)
        await desk.kill("agent", "a")
        await desk.look()
        assert await tasks[0] == "kill agent:a"
        assert not tasks[1].done()
        (notice,) = desk.told
        assert (notice.kind, notice.facts["target"], notice.facts["stopped"]) == ("kill", "agent:a", 1)
        await desk.kill("all")
        await desk.look()
        assert await tasks[1] == "kill all"
        await desk.store.resume("all", "ann", "", NOW)
        await desk.look()
        assert len(desk.told) == 2

    asyncio.run(main())


def test_what_held_before_the_start_is_not_told_again() -> None:
    desk = Desk()

    async def main() -> None:
        await desk.kill("agent", "a")
        await desk.look()
        assert (desk.board.active(), desk.told) == (1, [])

    asyncio.run(main())


def test_questions_that_changed_are_noticed() -> None:
    desk = Desk()

    async def main() -> None:
        await desk.look()
        desk.store._versions[1] += 1
        assert await desk.look()
        assert not await desk.look()

    asyncio.run(main())


def test_a_store_that_cannot_be_read() -> None:
    desk = Desk()
    stage = KillStage(desk.board)

    async def main() -> None:
        await desk.kill("agent", "a")
        await desk.look()
        desk.store.down = True
        assert not await desk.look()
        assert desk.board.problem == "gone"
        other = exchange()
        other.agent = "b"
        desk.seconds += switch.STALE_S
        assert isinstance(await stage.request(exchange()), Deny), "the last known kills hold"
        assert await stage.request(other) is None
        assert not desk.board.stale
        desk.seconds += 0.1
        await desk.look()
        assert desk.board.stale
        for ex in (exchange(), other):
            with pytest.raises(StoreError, match="cannot be read for over 15 s: gone"):
                await stage.request(ex)
        desk.store.down = False
        await desk.look()
        assert (desk.board.problem, desk.board.stale) == ("", False)
        assert await stage.request(other) is None

    asyncio.run(main())


def test_without_any_kill_it_fails_closed_too() -> None:
    desk = Desk()

    async def main() -> None:
        await desk.look()
        desk.store.down = True
        await desk.look()
        desk.seconds += switch.STALE_S + 1
        with pytest.raises(StoreError):
            await KillStage(desk.board).request(exchange())

    asyncio.run(main())


def test_with_a_lease_the_last_known_kills_hold_as_long_as_it_lends() -> None:
    desk = Desk()
    stages = KillStage(desk.board), KillLeaseStage(desk.board)

    async def main() -> None:
        await desk.kill("agent", "a")
        await desk.look()
        other, free = exchange(), exchange()
        other.agent = free.agent = "b"
        other.bill = lambda ex: ()
        desk.store.down = desk.lends = True
        for seconds in (0.0, 10 * switch.STALE_S):
            desk.seconds += seconds
            await desk.look()
            assert isinstance(await stages[0].request(exchange()), Deny), "who was stopped stays stopped"
            assert [await stage.request(other) for stage in stages] == [None, None]
        assert await stages[0].request(free) is None
        with pytest.raises(StoreError, match="nothing bounds what goes on meanwhile: gone"):
            await stages[1].request(free)
        desk.lends = False
        for ex in (exchange(), other):
            with pytest.raises(StoreError, match="for over 15 s"):
                await stages[0].request(ex)
        desk.store.down = False
        await desk.look()
        assert [await stage.request(free) for stage in stages] == [None, None]

    asyncio.run(main())


def test_a_look_that_hangs_before_it_fails_counts_from_its_beginning() -> None:
    desk = Desk()

    class Hanging(Store):
        async def versions(self) -> Versions:
            desk.seconds += 8
            return await super().versions()

    async def main() -> None:
        await desk.look()
        desk.board._store = slow = Hanging()
        slow.down = True
        await desk.look()
        desk.seconds += switch.STALE_S - 7.9
        assert desk.board.stale

    asyncio.run(main())


def test_kills_are_read_again_though_their_number_is_the_same() -> None:
    desk = Desk()

    async def main() -> None:
        await desk.kill("agent", "b")
        await desk.look()
        await desk.kill("agent", "a")
        desk.store._versions[0] -= 1  # as a server does that lost the last write before it
        await desk.look()
        assert desk.board.refusal(exchange()) is None
        desk.seconds += switch.REREAD_S
        await desk.look()
        assert desk.board.refusal(exchange()) is not None
        desk.store.down = True
        await desk.look()
        desk.store.down = False
        await desk.store.resume("agent:a", "ann", "", NOW)
        desk.store._versions[0] -= 1
        await desk.look()
        assert desk.board.refusal(exchange()) is None, "read after every failure"

    asyncio.run(main())


def test_looks_do_not_overtake_each_other() -> None:
    desk = Desk()

    async def main() -> None:
        await desk.look()
        await desk.kill("agent", "a")
        await asyncio.gather(desk.look(), desk.look(), desk.look())
        assert desk.store.read == 2

    asyncio.run(main())
