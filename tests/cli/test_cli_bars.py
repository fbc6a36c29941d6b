"""Budgets as people read them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cli.bars import Look, bar, percent, render, scope, span, title

NOW = 1_795_600_000.0


def budget(**more: Any) -> dict[str, Any]:
    found = {"name": "cap", "scope": "", "unit": "usd", "window": "day", "limit": "10.00", "spent": "5.00", "held": "0.00"}
    shown = found | {"resets_at": NOW + 7200, "exhausted_in": None} | more
    limit = Decimal(str(shown["limit"]))
    used = (Decimal(str(shown["spent"])) + Decimal(str(shown["held"]))) / limit if limit else 1
    return {"used": float(used)} | shown


MANY = [
    budget(name="fleet-month", spent="9.75", held="0.15", window="month", exhausted_in=10_800),
    budget(name="agent:clerk/day/usd", spent="8.123456789"),
    budget(name="burst", scope="agent=clerk", unit="requests", limit=60, spent=12, held=0, window="minute", resets_at=NOW + 30),
    budget(name="burst", scope="agent=clerk", unit="concurrency", limit=8, spent=0, held=3, window="minute", resets_at=None),
    budget(name="each", scope=",session=clerk/0a1b2c3d-4e5f-6789", unit="tokens", limit=400_000, spent=0, held=0, resets_at=None),
    budget(name="gone", scope="model=gpt-5", spent="12.00", exhausted_in=0),
    budget(name="tiny", spent="0.00000123", limit="0.01"),
    budget(name="bad\x1b[31m" * 40, scope="key=" + "x" * 300),
]


@pytest.mark.parametrize("width", [20, 40, 80, 100, 117, 118, 140, 300])
@pytest.mark.parametrize("unicode", [True, False])
def test_no_line_is_longer_than_the_window(width: int, unicode: bool) -> None:
    text = render(MANY, NOW, Look(width, unicode=unicode))
    assert max(map(len, text.splitlines())) <= max(width, 70)
    assert "\x1b" not in text
    assert text.isascii() or unicode or "…" in text
    assert len(text.splitlines()) == (len(MANY) + 1 if width > 140 else 2 * len(MANY))


def test_a_wide_window_has_a_line_for_each() -> None:
    head, first, second, *_ = render(MANY[:3], NOW, Look(140)).splitlines()
    assert head.split() == ["BUDGET", "FOR", "WINDOW", "SPENT", "HELD", "LIMIT", "USED", "RESETS", "FORECAST"]
    assert first.startswith("fleet-month  shared")
    assert first.endswith("99.0 %  2 h     exhausted in 3 h")
    for words in ("9.75", "0.15", "10.00 USD", "█"):
        assert words in first
    assert second.startswith("day/usd      clerk   day      8.12     -    10.00 USD")


def test_a_narrow_window_has_two_lines_for_each() -> None:
    first, second = render(MANY[:1], NOW, Look(80)).splitlines()
    assert first.startswith("fleet-month  shared ")
    assert first.endswith("  month, resets in 2 h, exhausted in 3 h")
    assert len(first) == 80
    assert second.endswith(" 99.0 %  9.75 + 0.15 held of 10.00 USD")


def test_colour_says_how_near_it_is() -> None:
    lines = render([MANY[5], MANY[0], MANY[1], budget(), budget(spent="0.00")], NOW, Look(140, colour=True)).splitlines()
    assert [line[:5].rstrip("m").removeprefix("\x1b[") for line in lines] == ["2mB", "31", "33", "33", "32", "2mc"]
    assert all(line.endswith("\x1b[0m") for line in lines)


def test_nothing_to_show() -> None:
    assert render([], NOW, Look()) == "no budgets"


@pytest.mark.parametrize(
    ("spent", "held", "shown", "plain"),
    [
        ("0.00", "0.00", "··········", ".........."),
        ("0.001", "0.00", "▏·········", ".........."),
        ("5.00", "0.00", "█████·····", "#####....."),
        ("5.00", "2.00", "█████▒▒···", "#####==..."),
        ("5.60", "0.00", "█████▌····", "#####....."),
        ("0.00", "0.01", "▒·········", ".........."),
        ("10.00", "0.00", "██████████", "##########"),
        ("30.00", "5.00", "██████████", "##########"),
    ],
)
def test_bars(spent: str, held: str, shown: str, plain: str) -> None:
    assert bar(budget(spent=spent, held=held), 10, Look()) == shown
    assert bar(budget(spent=spent, held=held), 10, Look(unicode=False)) == plain


@given(st.integers(0, 50), st.integers(0, 60), st.integers(0, 60), st.integers(6, 40), st.booleans())
def test_a_bar_has_its_size(limit: int, spent: int, held: int, size: int, unicode: bool) -> None:
    assert len(bar(budget(unit="tokens", limit=limit, spent=spent, held=held), size, Look(unicode=unicode))) == size


@pytest.mark.parametrize(
    ("used", "shown"),
    [(0, "0.0 %"), (0.0001, "<0.1 %"), (0.5, "50.0 %"), (0.99999, "99.9 %"), (1, "100.0 %"), (1.2, "120.0 %"), (20, ">999 %")],
)
def test_percent(used: float, shown: str) -> None:
    assert percent(used) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0 s"), (-3, "0 s"), (59, "59 s"), (60, "1 min"), (3599, "60 min"), (3600, "1 h"), (100_000, "28 h"), (200_000, "2 d")],
)
def test_spans(seconds: float, shown: str) -> None:
    assert span(seconds) == shown


@pytest.mark.parametrize(
    ("name", "of", "shown"),
    [
        ("cap", "", ("cap", "shared")),
        ("agent:team-a/clerk/day/usd", "", ("day/usd", "team-a/clerk")),
        ("cap", "agent=clerk,model=gpt-5", ("cap", "clerk, model gpt-5")),
        ("cap", ",session=clerk/0123456789abcdef", ("cap", "clerk, session 0123456789ab…")),
        ("cap", "run=0011aabb/nightly", ("cap", "run 0011aabb/nig…")),
        ("cap", "run=open:clerk/nightly", ("cap", "clerk, run open:clerk/n…")),
        ("cap", "run=clerk/s1", ("cap", "clerk, run s1")),
        ("cap", "team=qa", ("cap", "team qa")),
    ],
)
def test_whose_it_is(name: str, of: str, shown: tuple[str, str]) -> None:
    assert (title(budget(name=name)), scope(budget(name=name, scope=of))) == shown
