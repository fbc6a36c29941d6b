"""The screen of `top`: what it shows, in windows of any size, whatever agents are called."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from record_samples import served

from proxy.telemetry.ledger import Ledger
from proxy.telemetry.screen import SORTS, Look, Snapshot, binned, render, snapshot, spark

NOW = 1_795_244_790.0
USD = 1_000_000_000
HOSTILE = ("\x1b[2J\x1b[31mred", "\u202eevil", "a\nb", "<b>", "x" * 10_000, "\u5b57" * 30, "")


@pytest.fixture
def shown(tmp_path: Path) -> Snapshot:
    ledger = Ledger(tmp_path / "l.db")
    numbers = iter(range(1000))

    def add(agent: str, ago_s: float, **changes: Any) -> None:
        ledger.record(served(next(numbers), **{"time": NOW - ago_s, "agent": agent, "loop": "", "wasted_new": 0, "saved": 0, **changes}))

    for ago in (10, 70, 80, 130, 600, 899):
        add("busy", ago, cost=USD)
    add("busy", 3600, cost=100 * USD)  # before the window
    add("ahead", -600, cost=0)  # a clock that was ahead
    add("refused", 100, cost=0, outcome="denied", reason="rate_limited")
    add("refused", 5, cost=0, outcome="denied", reason="budget_exceeded")
    add("looping", 5, cost=USD // 2, loop="warn;rule=identical")
    for name in HOSTILE:
        add(name, 5, cost=1)
    ledger.stop()
    return snapshot(tmp_path / "l.db", NOW, 15)


def line(text: str, name: str) -> list[str]:
    return next(x for x in text.split("\n") if x.startswith(name)).split()


def test_agents_are_shown_with_what_they_do(shown: Snapshot) -> None:
    text = render(shown, Look(200, 100))
    assert line(text, "busy")[1:3] == ["0.40", "24.00"], "six calls and six dollars in 15 minutes"
    assert line(text, "refused")[3] == "2"
    assert "budget_exceeded" in line(text, "refused")
    assert line(text, "looping")[4] == "1"
    assert line(text, "ahead")[1] == "0.07"
    assert text.split("\n")[0].startswith(
        "2026-11-21 07:06:30 UTC, last 15 min, 11 agents: 1.13 calls/min, 2 refused, 1 loops, 26.00 USD/h"
    )
    busy = next(r for r in shown.rows if r.agent == "busy")
    assert (len(busy.minutes), busy.minutes[-1], busy.minutes[-2], sum(busy.minutes)) == (15, 1, 2, 5)


def test_what_is_emitted_has_columns_where_it_is_estimated(tmp_path: Path, shown: Snapshot) -> None:
    assert "GCO2E" not in render(shown, Look(200, 100))
    ledger = Ledger(tmp_path / "e.db")
    ledger.record(served(1, time=NOW - 10, agent="a", carbon_ug=3_000_000, carbon_ug_low=1, energy_uwh=500_000))
    ledger.stop()
    text = render(snapshot(tmp_path / "e.db", NOW, 15), Look(200, 100))
    assert "at most 12 gCO2e/h (estimate)" in text
    head = next(x for x in text.split("\n") if x.startswith("AGENT"))
    assert "EST GCO2E/H  EST WH/H" in head
    assert line(text, "a")[7:9] == ["12", "2.00"]


@pytest.mark.parametrize("sort", SORTS)
def test_it_sorts(tmp_path: Path, shown: Snapshot, sort: str) -> None:
    first = snapshot(tmp_path / "l.db", NOW, 15, sort).rows[0].agent
    assert first == {"usd": "busy", "calls": "busy", "refused": "refused", "loops": "looping", "tokens": "busy", "agent": ""}[sort]


@pytest.mark.parametrize("colour", [True, False])
@pytest.mark.parametrize("unicode", [True, False])
@pytest.mark.parametrize("width", [1, 10, 20, 40, 60, 80, 120, 300])
@pytest.mark.parametrize("height", [1, 5, 24])
def test_it_fits_any_window_and_no_name_moves_the_cursor(shown: Snapshot, width: int, height: int, colour: bool, unicode: bool) -> None:
    text = render(shown, Look(width, height, colour, unicode))
    assert ("\x1b" in text) == colour
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).split("\n")
    assert len(lines) <= max(3, height)
    assert max(map(len, lines)) <= max(width, 24), "no line is longer than the window"
    assert all(x.isprintable() for x in lines)
    if not unicode:
        text.encode("ascii")
    if height == 24 and width >= 40:
        assert "CALLS/MIN" in text
        assert ("LAST REFUSAL" in text) == (width >= 100)


def test_a_fleet_that_is_larger_than_the_window_says_so(shown: Snapshot) -> None:
    assert render(shown, Look(80, 8)).split("\n")[-1] == "and 8 more"


def test_nothing_is_said_too(tmp_path: Path) -> None:
    Ledger(tmp_path / "l.db").stop()
    assert render(snapshot(tmp_path / "l.db", NOW, 15), Look()).split("\n")[-1] == "no exchanges"


def test_sparklines() -> None:
    assert spark([0, 1, 50, 100], 100, Look()) == " ▁▄█"
    assert spark([0, 1, 100], 100, Look(unicode=False)) == " .@"
    assert spark([0, 0], 0, Look()) == "  "
    assert binned(list(range(10)), 4) == [0, 1 + 2 + 3, 4 + 5 + 6, 7 + 8 + 9]
    assert binned([1, 2, 3], 3) == binned([1, 2, 3], 9) == [1, 2, 3]
    assert binned([1, 2], 0) == []
