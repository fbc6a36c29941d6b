"""What a report says of a span of the ledger, compared with the span of the same length before it.

Decides which sums are made and what is put first; how they look is `report_page`. They are read in a dozen queries from the sums beside the
ledger, where those have followed it (`rolled`): else from its records, some five seconds of CPU for each million of the two spans. How it
fails: a ledger that cannot be read is a `StoreError`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from proxy.telemetry.grouping import Sum, total
from proxy.telemetry.query import Filter
from proxy.telemetry.rolled import Ask, asking

DAY_S, HOUR_S = 86_400, 3600
HOURS_UP_TO_S = 2 * DAY_S
MOST_S = 400 * DAY_S
TOP = 12


class Slot(NamedTuple):
    """One day or hour: how it is called, its sums, and those of its counterpart in the span before."""

    label: str
    now: Sum
    before: Sum


class Mover(NamedTuple):
    """An agent whose spending changed: nano-dollars now and before."""

    agent: str
    now: int
    before: int


class Team(NamedTuple):
    """What a team is charged for: how many of its agents spoke, its sums, and nano-dollars of the span before."""

    name: str
    agents: int
    now: Sum
    before: int


@dataclass(frozen=True, slots=True)
class Report:
    """A report over `since` to `until`, UTC seconds. Lists are the first `TOP`, dearest or most first; `teams` are all."""

    since: float
    until: float
    now: Sum
    before: Sum
    slots: tuple[Slot, ...]
    teams: tuple[Team, ...]
    agents: tuple[Sum, ...]
    models: tuple[Sum, ...]
    providers: tuple[Sum, ...]
    refusals: tuple[Sum, ...]
    loops: tuple[Sum, ...]
    movers: tuple[Mover, ...]


def gather(path: Path, since: float, until: float, ask: Ask | None = None) -> Report:
    """Return the report on the ledger at `path`; `ask` sums it, where that is not to be found out.

    Raises:
        ValueError: the span is empty, or too long.
        StoreError: the ledger cannot be read.
    """
    if not 0 < until - since <= MOST_S:
        raise ValueError("a report covers a span that begins before it ends, and at most 400 days")
    ask = ask or asking(path, time.time(), report=True)
    here, there = Filter(since=since, until=until), Filter(since=2 * since - until, until=since)
    agents, agents_before = (ask(("team", "agent"), where, None) for where in (here, there))
    slot = "hour" if until - since <= HOURS_UP_TO_S else "day"
    step = HOUR_S if slot == "hour" else DAY_S
    denied = Filter(since=since, until=until, outcome="denied")
    by_agent = _merged(agents, lambda s: s.keys[1])
    return Report(
        since,
        until,
        total(agents),
        total(agents_before),
        tuple(_slots(here, step, [ask((slot,), where, None) for where in (here, there)])),
        tuple(_teams(agents, agents_before)),
        tuple(by_agent[:TOP]),
        tuple(_served(ask(("model",), here, None))),
        tuple(_served(ask(("provider",), here, None))),
        tuple(sorted(ask(("reason", "rule"), denied, None), key=lambda s: -s.calls)[:TOP]),
        tuple(sorted((s for s in by_agent if s.loops), key=lambda s: (-s.wasted, -s.loops))[:TOP]),
        tuple(_movers(by_agent, _merged(agents_before, lambda s: s.keys[1]))),
    )


def _served(sums: Sequence[Sum]) -> list[Sum]:
    """Return the dearest of what has served: a name that was only ever refused is a client's own."""
    return [s for s in sums if s.calls > s.refused and s.keys[0]][:TOP]


def _merged(sums: Sequence[Sum], key: Callable[[Sum], str]) -> list[Sum]:
    """Return the sums by `key` alone, dearest first."""
    found: dict[str, list[Sum]] = {}
    for s in sums:
        found.setdefault(key(s), []).append(s)
    merged = [total(some)._replace(keys=(name,)) for name, some in found.items()]
    return sorted(merged, key=lambda s: (-s.cost, -s.calls, s.keys))


def _slots(where: Filter, step: int, found: Sequence[list[Sum]]) -> list[Slot]:
    """Return every slot of the span, the empty ones too."""
    since, until = where.since or 0.0, where.until or 0.0
    pattern = "%Y-%m-%d %H:00" if step == HOUR_S else "%Y-%m-%d"
    now, before = ({s.keys[0]: s for s in sums} for sums in found)
    back = math.ceil((until - since) / step) * step
    slots, at = [], int(since // step) * step
    while at < until:
        name, old = (datetime.fromtimestamp(t, UTC).strftime(pattern) for t in (at, at - back))
        slots.append(Slot(name, now.get(name, total(())), before.get(old, total(()))))
        at += step
    return slots


def _teams(now: Sequence[Sum], before: Sequence[Sum]) -> list[Team]:
    old = {s.keys[0]: s.cost for s in _merged(before, lambda s: s.keys[0])}
    names = {s.keys[0] for s in now}
    teams = [
        Team(s.keys[0], len({a.keys[1] for a in now if a.keys[0] == s.keys[0]}), s, old.get(s.keys[0], 0))
        for s in _merged(now, lambda s: s.keys[0])
    ]
    return teams + [Team(name, 0, total(())._replace(keys=(name,)), cost) for name, cost in old.items() if name not in names and cost]


def _movers(now: Sequence[Sum], before: Sequence[Sum]) -> list[Mover]:
    here, there = ({s.keys[0]: s.cost for s in sums} for sums in (now, before))
    movers = [Mover(name, here.get(name, 0), there.get(name, 0)) for name in here.keys() | there.keys()]
    movers.sort(key=lambda m: (-abs(m.now - m.before), m.agent))
    return [m for m in movers if m.now != m.before][:TOP]
