"""The list that all who look at the fleet share: what is changed between two makings is what making it anew would say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.app import roster
from proxy.app.listing import AGES_S, Listing
from proxy.control.rules import Kill
from proxy.engine.record import Record
from proxy.telemetry.fleet import ACTIVE_S, Fleet
from proxy.telemetry.ledger import Ledger

NOW = 1_800_000_000.0
BASE = Record("", NOW, agent="a", team="t", session="a/s", model="m", outcome="ok", input_tokens=3, output_tokens=2, cost=7)


class World:
    """A fleet with a ledger, and a house that stops nobody; nobody has a file."""

    def __init__(self, folder: Path) -> None:
        self.file, self.count = folder / "l.db", 0
        house: Any = SimpleNamespace(
            files=SimpleNamespace(directory=SimpleNamespace(agents={}), version="v1"),
            kills=SimpleNamespace(kills=[]),
            gauges=SimpleNamespace(looked_at=1.0, found=[]),
        )
        self.house, self.fleet = house, Fleet()
        self.listing = Listing(house, self.fleet)

    def call(self, *records: Record) -> None:
        ledger = Ledger(self.file)
        for record in records:
            self.count += 1
            ledger.record(replace(record, id=f"{self.count:06d}"))
        ledger.stop()

    def look(self, now: float) -> dict[str, Any]:
        """Look, and compare with a list that is made anew."""
        self.fleet.look(self.file, now, 60)
        self.listing.update(now)
        stopped = roster.stopped(self.house.kills.kills, {}, self.fleet.agents, now)
        anew = roster.entries({}, self.fleet.agents, stopped, {}, now)
        assert self.listing.entries == anew
        fresh = Fleet()
        fresh.look(self.file, now, 60)
        totals = self.listing.totals()
        assert totals == {"agents": len(anew), **roster.counted(anew), **fresh.sums()}
        return totals


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_calls_change_their_agents_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    made = list[int]()
    entries = roster.entries
    world.call(BASE, replace(BASE, agent="b", cost=1), replace(BASE, agent="c"))
    assert world.look(NOW)["calls"] == 3
    assert world.listing.moved() == []

    def counted(*args: Any) -> Any:
        made.append(1)
        return entries(*args)

    monkeypatch.setattr("proxy.app.listing.roster.entries", counted)
    world.call(replace(BASE, agent="b", time=NOW + 1, outcome="denied", reason="loop_detected", loop="block;rule=x"))
    totals = world.look(NOW + 1)
    assert (totals["calls"], totals["refused"], totals["loops"], totals["stuck"], totals["active"], totals["calls_per_min"]) == (
        4,
        1,
        1,
        1,
        2,
        4,
    )
    assert len(made) == 1, "the one of the comparison"
    assert [(e.agent, e.state) for e in world.listing.moved()] == [("b", "stuck")]
    assert world.listing.moved() == [], "told once"
    found = world.listing.of("b")
    assert found is not None
    assert found.standing.calls == 2
    assert world.listing.of("nobody") is None


def test_who_comes_new_and_who_falls_silent_is_seen(world: World) -> None:
    world.call(BASE)
    world.look(NOW)
    world.call(replace(BASE, agent="new", team="u"))
    assert world.look(NOW + 1)["agents"] == 2
    assert [e.agent for e in world.listing.moved()] == ["new"]
    assert world.listing.teams == ["t", "u"]
    assert world.look(NOW + ACTIVE_S + AGES_S)["idle"] == 2
    assert {(e.agent, e.state) for e in world.listing.moved()} == {("a", "idle"), ("new", "idle")}


def test_who_is_stopped_stays_so_when_it_calls(world: World) -> None:
    world.call(BASE)
    world.look(NOW)
    world.house.kills.kills = [Kill("agent", "a", "test", "me", NOW, None)]
    assert world.look(NOW + 1)["killed"] == 1
    assert [e.killed_by for e in world.listing.moved()] == ["agent:a"]
    world.call(replace(BASE, time=NOW + 1))
    assert world.look(NOW + 1)["killed"] == 1


def test_a_fleet_that_is_taken_anew_is_listed_anew(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.call(BASE)
    world.look(NOW)
    monkeypatch.setattr("proxy.telemetry.fleet.FAR", 1)
    world.call(BASE, BASE, BASE)
    assert world.look(NOW)["calls"] == 4
