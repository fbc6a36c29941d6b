"""The fleet as one list that all who look share: made anew every few seconds, and between that changed where somebody called.

Decides what is done anew when: nobody else of this process runs Python meanwhile, and a fleet may have many thousand agents. States are as
of `AGES_S` ago at most. Reads no store; for one thread at a time, under the fleet's lock.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from proxy.app import roster
from proxy.app.roster import Entry
from proxy.telemetry.fleet import Fleet

if TYPE_CHECKING:
    from proxy.app.house import House

AGES_S = 5.0
"""How often states are looked at anew while nothing happens: who was active a while ago is idle now."""


class Listing:
    """See the module. `entries` are all agents, by name."""

    def __init__(self, house: House, fleet: Fleet) -> None:
        self._house, self._fleet = house, fleet
        self.entries: list[Entry] = []
        self.teams: list[str] = []
        self._at: Any = None
        self._places: dict[str, int] = {}
        self._stopped: tuple[Any, dict[str, str]] = (None, {})
        self._fullest: tuple[float, dict[str, Mapping[str, Any]]] = (-1.0, {})
        self._counts: dict[str, int] = {}
        self._moved: set[str] = set()

    def update(self, now: float) -> None:
        """Bring the list up to date with what the fleet has seen."""
        house, fleet = self._house, self._fleet
        key = ([kill.target for kill in house.kills.kills if kill.holds(now)], house.files.version, len(fleet.agents))
        at = (key, house.gauges.looked_at, fleet.loads, int(now / AGES_S))
        if at != self._at:
            self._make(key, now)
            self._at = at
        else:
            for agent in fleet.touched:
                self._change(agent, now)
        self._moved |= fleet.touched
        fleet.touched.clear()

    def of(self, agent: str) -> Entry | None:
        """Return one agent's entry."""
        place = self._places.get(agent)
        return None if place is None else self.entries[place]

    def moved(self) -> list[Entry]:
        """Return those who called or whose state changed since this was last asked, the latest first."""
        moved = [self.entries[place] for name in self._moved if (place := self._places.get(name)) is not None]
        self._moved.clear()
        return sorted(moved, key=lambda e: (-e.standing.last, e.agent))

    def totals(self) -> dict[str, Any]:
        """Return the sums over all agents."""
        return {"agents": len(self.entries), **self._counts, **self._fleet.sums()}

    def _make(self, key: Any, now: float) -> None:
        house, fleet = self._house, self._fleet
        grants, gauges = house.files.directory.agents, house.gauges
        if self._stopped[0] != key:
            others = [name for name in list(fleet.agents) if name not in grants]
            self._stopped = key, roster.stopped(house.kills.kills, grants, others, now)
        if self._fullest[0] != gauges.looked_at:
            self._fullest = gauges.looked_at, roster.fullest(gauges.found)
        found = roster.entries(grants, fleet.agents, self._stopped[1], self._fullest[1], now)
        for e in found if self.entries else ():
            place = self._places.get(e.agent)
            if place is None or self.entries[place].state != e.state:
                self._moved.add(e.agent)
        self.entries, self._places = found, {e.agent: i for i, e in enumerate(found)}
        self.teams = sorted({e.team for e in found if e.team})
        self._counts = roster.counted(found)

    def _change(self, agent: str, now: float) -> None:
        place = self._places[agent]
        old = self.entries[place]
        facts = (old.grant, self._fleet.agents[agent], old.killed_by, old.budget)
        new = self.entries[place] = roster.entry(agent, facts, now)
        self._counts[old.state] -= 1
        self._counts[new.state] += 1
        self._counts["calls_per_min"] += new.per_minute - old.per_minute
