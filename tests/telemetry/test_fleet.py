from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from proxy.engine.record import Record
from proxy.telemetry import fleet
from proxy.telemetry.fleet import ACTIVE_S, DAY_S, MINUTES, MOST_STUCK, STUCK_S, Fleet, Line, Standing
from proxy.telemetry.ledger import MemoryLedger

NOW = 1_800_000_000.0
BASE = Record("", NOW, agent="a", team="t", session="a/s", model="m", outcome="ok", input_tokens=3, output_tokens=2, cost=7)
LINE = Line(1, "1", NOW, "a", "t", "a/s", "m", "ok", "", "", 5, 7, "", 0)


World = tuple[Fleet, MemoryLedger, Callable[[float], None]]


@pytest.fixture
def world() -> Iterator[World]:
    """A fleet, its ledger, and a way to look."""
    found, ledger = Fleet(), MemoryLedger()
    yield found, ledger, lambda now: found.look(ledger.file(), now, 60)
    asyncio.run(ledger.close())


def test_looks_add_up_what_came_since(world: World) -> None:
    fleet, ledger, look = world
    for i in range(3):
        ledger.record(replace(BASE, id=f"0{i}"))
    look(NOW)
    assert fleet.fresh() == ([], False)  # what was there before is not new
    assert (fleet.agents["a"].calls, fleet.agents["a"].last) == (3, NOW)
    ledger.record(replace(BASE, id="1", outcome="denied", reason="rate_limited", rule="r:1", loop="warn;rule=x;count=3"))
    ledger.record(replace(BASE, id="2", agent=""))
    look(NOW + 1)
    a = fleet.agents["a"]
    assert (a.calls, a.refused, a.tokens, a.cost, a.loops, a.team) == (4, 1, 20, 28, 1, "t")
    assert a.refusal is not None
    assert (a.refusal.id, a.refusal.rule) == ("1", "r:1")
    assert [line.id for line in fleet.fresh()[0]] == ["1", "2"]
    assert "" not in fleet.agents
    fresh = Fleet()
    fresh.look(ledger.file(), NOW + 1, 60)
    assert fresh.agents == fleet.agents  # whoever comes later sees the same


def test_a_new_day_begins_at_nothing_also_when_the_clock_jumps(world: World) -> None:
    fleet, ledger, look = world
    ledger.record(replace(BASE, id="1"))
    look(NOW)
    assert fleet.agents["a"].calls == 1
    look(NOW + DAY_S)
    assert fleet.agents == {}
    ledger.record(replace(BASE, id="2", time=NOW + DAY_S))
    look(NOW + DAY_S)
    assert fleet.agents["a"].calls == 1
    look(NOW)  # back again: yesterday, and what has a later time
    assert fleet.agents["a"].calls == 2
    assert fleet.agents["a"].is_active(NOW)


def test_an_old_record_that_comes_late_is_not_of_today(world: World) -> None:
    fleet, ledger, look = world
    ledger.record(replace(BASE, id="0"))
    look(NOW)
    ledger.record(replace(BASE, id="1", time=NOW - 2 * DAY_S))
    look(NOW)
    assert fleet.agents["a"].calls == 1


def test_far_behind_sums_are_taken_anew(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    found, ledger, look = world
    ledger.record(replace(BASE, id="0"))
    look(NOW)
    monkeypatch.setattr(fleet, "FAR", 10)
    for i in range(50):
        ledger.record(replace(BASE, id=f"1{i:02d}"))
    look(NOW)
    assert found.agents["a"].calls == 51
    assert found.fresh() == ([], True), "what was passed over is said"
    assert found.fresh() == ([], False), "once"


def test_what_happened_between_the_last_look_of_a_day_and_the_next_is_said_to_be_missing(world: World) -> None:
    found, ledger, look = world
    ledger.record(replace(BASE, id="0"))
    look(NOW)
    ledger.record(replace(BASE, id="1"))
    look(NOW + DAY_S)
    assert found.fresh() == ([], True)
    look(NOW + 2 * DAY_S)
    assert found.fresh() == ([], False), "nothing happened meanwhile"


def test_more_calls_in_the_last_minutes_than_are_gone_through_leave_a_gap_that_is_said(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, ledger, look = world
    monkeypatch.setattr(fleet, "MOST_REPLAYED", 3)
    for i in range(5):
        ledger.record(replace(BASE, id=f"0{i}", time=NOW - 50 + 10 * i))
    look(NOW)
    assert found.gap == NOW - 30
    assert (found.agents["a"].calls, sum(found.agents["a"].recent(NOW))) == (5, 3)
    look(NOW + DAY_S)
    assert found.gap == 0


def test_more_than_can_be_told_is_said(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    found, ledger, look = world
    ledger.record(replace(BASE, id="0"))
    look(NOW)
    monkeypatch.setattr(fleet, "MOST_FRESH", 3)
    for i in range(5):
        ledger.record(replace(BASE, id=f"1{i}"))
    look(NOW)
    lines, lost = found.fresh()
    assert ([line.id for line in lines], lost) == (["12", "13", "14"], True)


def test_who_goes_in_circles_is_stuck_until_its_session_goes_on() -> None:
    s = Standing()
    s.add(LINE._replace(loop="block;rule=identical;count=5"))
    assert s.is_stuck(NOW)
    assert not s.is_stuck(NOW + STUCK_S)
    s.add(LINE._replace(session="a/other"))
    assert s.is_stuck(NOW)
    s.add(LINE._replace(loop="warn;rule=identical;count=3"))
    assert not s.is_stuck(NOW)
    s.add(LINE._replace(reason="step_limit", outcome="denied"))
    assert s.is_stuck(NOW)
    for i in range(MOST_STUCK + 5):
        s.add(LINE._replace(session=f"a/{i}", reason="loop_detected"))
    assert len(s.stuck) == MOST_STUCK


def test_calls_by_minute_are_kept_for_a_quarter_of_an_hour() -> None:
    s = Standing()
    for i in range(100):
        s.add(LINE._replace(time=NOW + 60 * i))
    now = NOW + 60 * 99
    assert s.recent(now) == [1] * MINUTES
    assert len(s.minutes) <= 2 * MINUTES
    assert s.per_minute(now) == 2  # this minute's, and all of the one before
    assert s.per_minute(now + 59) == 1
    assert s.per_minute(now + 300) == 0
    assert s.is_active(now + ACTIVE_S - 1)
    assert not s.is_active(now + ACTIVE_S)
