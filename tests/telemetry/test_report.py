"""The report's sums, and the page that is made of them: whole, alone, and nobody's script."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from record_samples import served

from proxy.telemetry.ledger import Ledger
from proxy.telemetry.report import Report, gather
from proxy.telemetry.report_page import page, usd
from proxy.telemetry.report_plots import bars, rows

DAY_S = 86_400.0
USD = 1_000_000_000
MONDAY = 20_000 * DAY_S
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'onload='x",
    "x" * 10_000,
    "\u202eevil",
    "\x1b[2J",
    "</title></svg>",
    "&amp;",
)


def report(tmp_path: Path, days: float = 7, names: tuple[str, ...] = ("clerk", "coder")) -> Report:
    """Two weeks: clerk costs 1 dollar a day and then 3, coder 2 and then nothing; one refusal and one loop in the second week."""
    ledger = Ledger(tmp_path / "l.db")
    first, second = names[:2]
    quiet = {"loop": "", "wasted_new": 0}
    for day in range(14):
        at = MONDAY + day * DAY_S + 3600
        late = day >= 7
        ledger.record(
            served(day, time=at, agent=first, team="payments", cost=(3 if late else 1) * USD, saved=USD // 2, model="m1", **quiet)
        )
        if not late:
            ledger.record(served(100 + day, time=at, agent=second, team="core", cost=2 * USD, model="m2", provider="p2", **quiet))
    last = MONDAY + 13 * DAY_S
    ledger.record(
        served(200, time=last, agent=first, team="payments", outcome="denied", reason="budget_exceeded", rule="b.yaml:3", cost=0, **quiet)
    )
    ledger.record(served(201, time=last, agent=first, team="payments", cost=0, saved=0, loop="block;rule=identical", wasted_new=USD))
    for n, name in enumerate(names[2:]):
        ledger.record(
            served(300 + n, time=last, agent=name, team=name, model=name, provider=name, rule=name, reason=name, outcome="denied", **quiet)
        )
    ledger.stop()
    return gather(tmp_path / "l.db", MONDAY + (14 - days) * DAY_S, MONDAY + 14 * DAY_S)


def test_a_week_is_compared_with_the_one_before(tmp_path: Path) -> None:
    r = report(tmp_path)
    assert (r.now.cost, r.before.cost) == (21 * USD, 21 * USD)
    assert (r.now.refused, r.now.loops, r.now.wasted, r.now.saved) == (1, 1, USD, 7 * USD // 2)
    assert [(s.label[-2:], s.now.cost, s.before.cost) for s in r.slots] == [(f"{11 + i:02d}", 3 * USD, 3 * USD) for i in range(7)]
    assert [(m.agent, m.now, m.before) for m in r.movers] == [("clerk", 21 * USD, 7 * USD), ("coder", 0, 14 * USD)]
    assert [(t.name, t.agents, t.now.cost, t.before) for t in r.teams] == [("payments", 1, 21 * USD, 7 * USD), ("core", 0, 0, 14 * USD)]
    assert [s.keys for s in r.refusals] == [("budget_exceeded", "b.yaml:3")]
    assert [(s.keys, s.loops, s.wasted) for s in r.loops] == [(("clerk",), 1, USD)]


def test_a_day_is_shown_by_the_hour_with_the_empty_ones(tmp_path: Path) -> None:
    r = report(tmp_path, days=1)
    assert len(r.slots) == 24
    assert sum(s.now.cost for s in r.slots) == r.now.cost == 3 * USD
    assert r.slots[1].now.cost == 3 * USD


@pytest.mark.parametrize("span", [(10.0, 10.0), (10.0, 0.0), (0.0, 401 * DAY_S)])
def test_a_span_that_is_none_is_refused(tmp_path: Path, span: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="400 days"):
        gather(tmp_path / "l.db", *span)


class Tags(HTMLParser):
    """What elements and attributes a page has, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.attributes, self.said = set[str](), set[str](), list[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.said.append(data)


def test_the_page_says_it_all_and_stands_alone(tmp_path: Path) -> None:
    text = page(report(tmp_path), MONDAY)
    said = " ".join(Tags(text).said)
    for words in ("$21.00", "Chargeback by team", "payments", "+$14.00", "-$14.00", "budget_exceeded", "b.yaml:3", "$3.50", "as before"):
        assert words in said, words
    assert "default-src 'none'" in text
    assert "prefers-color-scheme:dark" in text
    assert "@media print" in text
    assert not re.search(r"(?:src|href)=|url\(|https?:|@import", text), "nothing is fetched"


def test_no_name_gets_out_of_its_element(tmp_path: Path) -> None:
    text = page(report(tmp_path, names=("clerk", "coder", *HOSTILE)), MONDAY)
    found = Tags(text)
    assert not found.tags & {"script", "img", "iframe", "object", "a", "link", "foreignobject"}
    assert not {name for name in found.attributes if name.startswith("on")}
    assert text.count("<title>Fleet report</title>") == 1
    assert text.replace("\n", "").isprintable()
    assert max(len(line) for line in found.said) < 5000, "long names are cut"


def test_a_ledger_with_nothing_makes_a_page_too(tmp_path: Path) -> None:
    Ledger(tmp_path / "l.db").stop()
    text = page(gather(tmp_path / "l.db", MONDAY, MONDAY + DAY_S), MONDAY)
    assert "nothing" in text
    assert "$0.00" in text


def test_what_was_emitted_is_told_as_a_range(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.db")
    ledger.record(served(1, time=MONDAY, team="core", carbon_ug=1_500_000_000, carbon_ug_low=500_000_000, energy_uwh=3_000_000))
    ledger.stop()
    text = page(gather(tmp_path / "l.db", MONDAY, MONDAY + DAY_S), MONDAY + DAY_S)
    assert "500 to 1,500 g of CO2 equivalents and 0 to 3 Wh; in the span before 0 g" in text
    assert "These are estimates" in text
    assert "<td>core</td><td class='n'>500 to 1,500</td><td class='n'>0 to 3</td>" in text
    quiet = tmp_path / "quiet"
    quiet.mkdir()
    assert "estimates" not in page(report(quiet), MONDAY)


def test_amounts_and_bars() -> None:
    assert [usd(n) for n in (0, USD, -USD, 1_234_567_890_000, 1_000_000, 10_000_000)] == [
        "$0.00",
        "$1.00",
        "-$1.00",
        "$1,234.57",
        "$0.0010",
        "$0.01",
    ]
    drawn = bars(["2026-01-01", "2026-01-02"], [0, 10], [5, 0], str, "T")
    assert drawn.count("<rect") == 2
    assert "<polyline" in drawn
    assert "before 5" in drawn
    assert "<polyline" not in bars(["2026-01-01"], [1], [0], str, "T")
    both = rows(["up", "down"], [3, -3], str, "T")
    assert both.count('class="bar"') == both.count('class="less"') == 1
    assert "zero" in both


def test_a_change_is_told_with_its_sign(tmp_path: Path) -> None:
    r = report(tmp_path)
    more = page(replace(r, before=r.before._replace(cost=USD, calls=1000, saved=USD)), MONDAY)
    assert "21 times against before" in more
    assert "<span class='down'>+250% against before</span>" in more, "more saved is good"
    less = page(replace(r, before=r.before._replace(cost=42 * USD)), MONDAY)
    assert "<span class='down'>-50% against before</span>" in less
