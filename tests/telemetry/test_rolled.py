"""Sums from the rollup: the same as the ledger's, whatever the span, the fields, and how far the rollup is."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from record_samples import REFUSED, served

from proxy.telemetry import grouping, rollup
from proxy.telemetry.ledger import Ledger
from proxy.telemetry.query import Filter
from proxy.telemetry.report import gather
from proxy.telemetry.retention import forget
from proxy.telemetry.rolled import MOST_BEHIND, Rolled, asking

HOUR, DAY = 3600.0, 86_400.0
END = 20_000 * DAY + 5 * HOUR + 1234.5
BEGIN = END - 5 * DAY
COUNT, TAKEN = 1500, 1200


def write(path: Path, count: int, start: int = 0) -> None:
    """Append records of five days, not in the order of time, on hours and just beside them."""
    dice = random.Random(start)
    ledger = Ledger(path)
    for i in range(start, start + count):
        time = dice.choice((BEGIN + dice.random() * 5 * DAY, (BEGIN + dice.random() * 5 * DAY) // HOUR * HOUR, END - dice.random() * HOUR))
        agent = dice.choice(("a", "b", "c", ""))
        changes: dict[str, Any] = {"agent": agent, "team": dice.choice(("t1", "t2")), "time": time, "id": f"id-{i}"}
        if dice.random() < 0.2:
            ledger.record(replace(REFUSED, **changes, rule=f"r{dice.randrange(3)}", model_asked=f"any-{i}"))
            continue
        more = {"model": dice.choice(("m1", "m2")), "provider": dice.choice(("p", "q")), "route": dice.choice(("requested", "local"))}
        loops = {"loop": dice.choice(("", "warn;rule=x")), "wasted_new": dice.randrange(9), "saved": dice.randrange(-9, 9)}
        took = {"carbon_ug": 3, "carbon_ug_low": 1, "energy_uwh": 5, "energy_uwh_low": 2, "cost": dice.randrange(100)}
        ledger.record(served(i, **{**changes, **more, **loops, **took}))
    ledger.stop()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger whose rollup has taken most of it."""
    found = tmp_path_factory.mktemp("rolled") / "l.db"
    write(found, TAKEN)
    rollup.follow(found, END, 60)
    write(found, COUNT - TAKEN, TAKEN)
    assert rollup.reach(found, END).behind == COUNT - TAKEN
    return found


SPANS = {
    "all": (None, None),
    "since": (END - 2 * DAY, None),
    "until": (None, END - 2 * DAY - 0.5),
    "both ends ragged": (BEGIN + 1234.5, END - 77.25),
    "whole hours": (END // HOUR * HOUR - 30 * HOUR, END // HOUR * HOUR),
    "whole days": (END // DAY * DAY - 2 * DAY, END // DAY * DAY),
    "within an hour": (END - 1800.0, END - 60.0),
    "over one edge": (END - 1.5 * HOUR, END),
    "before": (BEGIN - 9 * DAY, BEGIN - DAY),
    "after": (END + DAY, END + 9 * DAY),
}
FIELDS = ("agent", "team", "team,agent", "provider", "route,team", "hour", "day,agent", "hour,agent", "month", "provider,route,hour", "")
OTHERS = ("model", "session", "reason,rule", "agent,provider", "minute", "outcome")


@pytest.mark.parametrize("span", SPANS.values(), ids=SPANS)
@pytest.mark.parametrize("by", [*FIELDS, *OTHERS])
def test_the_rollup_says_what_the_ledger_says(path: Path, by: str, span: tuple[float | None, float | None]) -> None:
    fields = tuple(by.split(",")) if by else ()
    for where in (Filter(since=span[0], until=span[1]), Filter(agent="a", since=span[0], until=span[1])):
        said, told = Rolled(path).grouped(fields, where), grouping.grouped(path, fields, where)
        assert sorted(said) == sorted(told)
        assert [(s.cost, s.calls) for s in said] == [(s.cost, s.calls) for s in told] or fields[:1] in (("hour",), ("day",), ("month",))


def test_order_and_number_are_those_of_the_ledger(path: Path) -> None:
    for fields in (("agent",), ("team", "agent"), ("hour",), ("provider",)):
        assert Rolled(path).grouped(fields, Filter(), 3) == grouping.grouped(path, fields, Filter(), 3)


@pytest.mark.parametrize("where", [Filter(model="m1"), Filter(session="s-1"), Filter(reason="budget_exceeded"), Filter(outcome="denied")])
def test_what_the_rollup_cannot_say_is_read_from_the_ledger(path: Path, where: Filter) -> None:
    assert Rolled(path).grouped(("agent",), where) == grouping.grouped(path, ("agent",), where)


def test_hours_come_from_the_rollup_and_not_from_the_records(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "l.db"
    for name in ("l.db", "l.db.rollup"):
        with closing(sqlite3.connect(path.with_name(name))) as db, closing(sqlite3.connect(tmp_path / name)) as other:
            db.backup(other)
    with closing(sqlite3.connect(tmp_path / "l.db.rollup")) as db, db:
        for table in ("days", "agents", "totals"):
            db.execute(f"UPDATE {table} SET cost = cost + 1000000")
    for by in ("agent", "hour,agent", "provider"):
        assert Rolled(copy).grouped(tuple(by.split(",")))[0].cost > 1_000_000


def test_a_report_is_the_same_from_both(path: Path) -> None:
    since, until = END - 2.3 * DAY, END - 0.1 * HOUR
    said = gather(path, since, until, Rolled(path, report=True).grouped)
    told = gather(path, since, until, lambda fields, where, most: grouping.grouped(path, fields, where, most))
    for name in ("now", "before", "slots", "teams", "agents", "providers", "loops", "movers"):
        assert getattr(said, name) == getattr(told, name), name
    assert [(s.keys, s.cost) for s in said.models] == [(s.keys, s.cost) for s in told.models]
    assert [(s.keys, s.calls) for s in said.refusals] == [(s.keys, s.calls) for s in told.refusals]
    assert len(said.refusals) == 3


def test_a_bill_has_no_more_than_the_ledger_and_a_report_what_was_deleted_too(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    write(path, 900)
    rollup.follow(path, END, 60)
    since, cut = END - 4 * DAY, END - 2 * DAY
    before = Rolled(path, report=True).grouped(("agent",), Filter(since=since // HOUR * HOUR))
    while forget(path, cut):
        pass
    assert sorted(Rolled(path).grouped(("agent",), Filter(since=since))) == sorted(grouping.grouped(path, ("agent",), Filter(since=since)))
    after = Rolled(path, report=True).grouped(("agent",), Filter(since=since))
    assert [(s.keys, s.calls, s.cost) for s in after] == [(s.keys, s.calls, s.cost) for s in before]


def test_it_is_used_where_it_is_there_and_follows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "l.db"
    write(path, 50)
    asking(path, END)(("agent",), Filter(), None)
    assert not rollup.beside(path).exists(), "whoever asks for a sum makes none"
    rollup.follow(path, END, 0)
    write(path, 50, 50)
    assert sum(s.calls for s in asking(path, END)(("agent",), Filter(), None)) == 100
    assert rollup.reach(path, END).behind == 0
    rollup.beside(path).write_bytes(b"no rollup" * 1000)
    assert sum(s.calls for s in asking(path, END)(("agent",), Filter(), None)) == 100
    rollup.follow(path, END, 0)
    monkeypatch.setattr("proxy.telemetry.rolled.FOLLOW_S", -1.0)
    monkeypatch.setattr("proxy.telemetry.rolled.MOST_BEHIND", -1)
    assert MOST_BEHIND > 0
    assert sum(s.calls for s in asking(path, END)(("agent",), Filter(), None)) == 100, "one that is far behind is left alone"
