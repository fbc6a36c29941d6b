"""Human hands in one process: a kill that depends on nothing it does not need, and what the metrics show of questions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from redis_server import RedisServer, needs_own_redis

from proxy.app import build
from proxy.app.gauges import RECENT_EVERY_S
from proxy.app.hands import HouseHands, UnknownTarget
from proxy.app.house import House
from proxy.control.kill import STALE_S
from proxy.control.questions import Decision
from proxy.engine.ports import Question, StoreError
from proxy.model import Nanos
from proxy.pipeline import Parts, stages

CONFIG = """providers:
  openai: {protocols: [openai], base_url: https://api.openai.com/v1, api_key: env:KEY}
models:
  "gpt-*": {provider: openai}
auth: {mode: open}
store: "memory:"
"""
QUESTION = Question("tool_call", "clerk", "s1", "r1", "e1", "send_email", "d1", "policies/x.yaml:3 (mail)", timeout_s=0.0)


class Clock:
    """A clock to wind."""

    def __init__(self) -> None:
        self.time = 1_800_000_000.0

    def now(self) -> float:
        return self.time

    def ns(self) -> int:
        return int(self.time * 1e9)


def run(folder: Path, work: Callable[[House, Clock], Awaitable[None]], store: str = '"memory:"') -> None:
    (folder / "fleetgate.yaml").write_text(CONFIG.replace('"memory:"', store))
    (folder / "AGENTS.md").write_text("---\nname: clerk\ndescription: d\nversion: 1.0.0\n---\n")
    for name in ("policies", "budgets"):
        (folder / name).mkdir()

    async def main() -> None:
        clock = Clock()
        house = House(build.read(folder / "fleetgate.yaml", {"KEY": "sk-test"}), clock=clock)
        try:
            await work(house, clock)
        finally:
            await house.close()

    asyncio.run(main())


def test_what_is_killed_by_force_or_all_is_not_looked_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*asked: object) -> list[str]:
        raise StoreError("the ledger cannot be read")

    monkeypatch.setattr("proxy.app.hands.known_names", broken)

    async def work(house: House, clock: Clock) -> None:
        hands = HouseHands(house)
        with pytest.raises(StoreError):
            await hands.kill("session:s1", "enough", "ann", "", False)
        assert (await hands.kill("session:s1", "enough", "ann", "", True)).target == "session:s1"
        assert (await hands.kill("all", "enough", "ann", "", False)).target == "all"
        assert house.kills.active() == 2

    run(tmp_path, work)


def test_a_name_that_nobody_knows_kills_nothing(tmp_path: Path) -> None:
    async def work(house: House, clock: Clock) -> None:
        with pytest.raises(UnknownTarget):
            await HouseHands(house).kill("agent:nobody", "enough", "ann", "", False)
        assert await HouseHands(house).kills() == []

    run(tmp_path, work)


def test_questions_that_wait_are_counted(tmp_path: Path) -> None:
    def shown(house: House) -> bytes:
        return next(line for line in house.metrics.render()[0].splitlines() if line.startswith(b"fleetgate_approvals_pending"))

    async def look(house: House) -> bytes:
        await house.refresh_control()
        await house.gauges.look()
        return shown(house)

    async def work(house: House, clock: Clock) -> None:
        assert await look(house) == b"fleetgate_approvals_pending 0.0"
        first = await house.approvals.ask(QUESTION)
        await house.approvals.ask(replace(QUESTION, digest="d2"))
        assert await look(house) == b"fleetgate_approvals_pending 2.0"
        await HouseHands(house).decide(first.id, Decision(False, "ann", "no"))
        assert await look(house) == b"fleetgate_approvals_pending 1.0"
        clock.time += house.files.settings.approvals.keep_s - 1
        assert await look(house) == b"fleetgate_approvals_pending 1.0"
        clock.time += RECENT_EVERY_S
        assert await look(house) == b"fleetgate_approvals_pending 0.0", "it is over, though nothing was written"

    run(tmp_path, work)


def test_only_with_a_lease_is_what_no_budget_holds_looked_at_again(tmp_path: Path) -> None:
    async def work(house: House, clock: Clock) -> None:
        seen: list[Parts] = []

        def names(lease: int) -> list[str]:
            settings = house.files.settings
            parts = replace(seen[0], settings=replace(settings, store=replace(settings.store, lease=Nanos(lease))))
            return [stage.name for stage in stages(parts)]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("proxy.pipeline.plan", seen.append)
            house.use(house.files)
        assert names(0)[-1] == "budget"
        assert names(1)[-2:] == ["budget", "kill-lease"]

    run(tmp_path, work)


@needs_own_redis
@pytest.mark.parametrize("lease", [0, 0.5])
def test_kills_that_cannot_be_read_hold_for_as_long_as_the_lease_alone(tmp_path: Path, lease: float) -> None:
    with RedisServer() as server:

        async def work(house: House, clock: Clock) -> None:
            hands = HouseHands(house)
            await hands.kill("agent:clerk", "enough", "ann", "", False)
            server.kill()
            await house.refresh_control()
            assert house.kills.problem
            clock.time += STALE_S - 1
            await house.refresh_control()
            assert (house.kills.stale, house.kills.lent) == (False, False)
            clock.time += 2
            assert (house.kills.stale, house.kills.lent) == (not lease, bool(lease))
            assert house.kills.active() == 1
            server.start()
            async with asyncio.timeout(20):
                while house.kills.problem:
                    await asyncio.sleep(0.05)
                    await house.refresh_control()
            assert (house.kills.stale, house.kills.lent) == (False, False)

        run(tmp_path, work, f"{{url: {server.url!r}, lease: {lease}}}")
