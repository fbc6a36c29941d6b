"""What `fleetgate top` shows: agents by what they do now, a line each, with a sparkline of the last minutes.

Decides only what is shown and how it looks in a window of any width: columns go in the order of their worth when there is no room, names
are cut, and what does not print is escaped, so that no name can move the cursor or recolour the screen. Sums come from the ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from proxy.model.footprints import MICRO
from proxy.money import NANOS
from proxy.telemetry.grouping import Sum, grouped, total
from proxy.telemetry.query import Filter
from proxy.telemetry.tables import count, moment, printable

SORTS = ("usd", "calls", "refused", "loops", "tokens", "agent")
_MINUTE_S = 60
_BLOCKS, _ASCII = " ▁▂▃▄▅▆▇█", " .:-=+*#@"
_LEAST_NAME, _MOST_NAME, _LEAST_SPARK = 12, 40, 6
_BOLD, _DIM, _RED, _YELLOW, _OFF = "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[33m", "\x1b[0m"


class Row(NamedTuple):
    """One agent in the window: its sums, its calls in each minute, oldest first, and its latest reason of a refusal."""

    agent: str
    now: Sum
    minutes: tuple[int, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The fleet in the last `minutes` before `at`, UTC seconds."""

    at: float
    minutes: int
    rows: tuple[Row, ...]
    whole: Sum


@dataclass(frozen=True, slots=True)
class Look:
    """The window, in columns and lines, and what it can show."""

    width: int = 80
    height: int = 24
    colour: bool = False
    unicode: bool = True


def snapshot(path: Path, now: float, minutes: int, sort: str = "usd") -> Snapshot:
    """Return what the ledger at `path` says of the last `minutes`. Raises StoreError."""
    first = int(now // _MINUTE_S) * _MINUTE_S - (minutes - 1) * _MINUTE_S
    since = now - minutes * _MINUTE_S
    where = Filter(since=since)
    sums = {s.keys[0]: s for s in grouped(path, ("agent",), where)}
    names = [datetime.fromtimestamp(first + i * _MINUTE_S, UTC).strftime("%Y-%m-%d %H:%M") for i in range(minutes)]
    place = {name: i for i, name in enumerate(names)}
    each: dict[str, list[int]] = {agent: [0] * minutes for agent in sums}
    for s in grouped(path, ("minute", "agent"), where):
        if s.keys[0] in place and s.keys[1] in each:  # else of the minute that the window cuts, or by a clock that was ahead
            each[s.keys[1]][place[s.keys[0]]] = s.calls
    reasons: dict[str, tuple[str, str]] = {}
    for s in grouped(path, ("minute", "agent", "reason"), Filter(since=since, outcome="denied")):
        reasons.setdefault(s.keys[1], (s.keys[0], s.keys[2]))  # the newest minute comes first
    rows = [Row(agent, s, tuple(each[agent]), reasons.get(agent, ("", ""))[1]) for agent, s in sums.items()]
    rows.sort(key=_order(sort))
    return Snapshot(now, minutes, tuple(rows), total(list(sums.values())))


def _order(sort: str) -> Callable[[Row], tuple[object, ...]]:
    worth: dict[str, Callable[[Sum], int]] = {
        "usd": lambda s: s.cost,
        "calls": lambda s: s.calls,
        "refused": lambda s: s.refused,
        "loops": lambda s: s.loops,
        "tokens": lambda s: s.input_tokens + s.output_tokens,
    }
    of = worth.get(sort)
    return (lambda r: (r.agent,)) if of is None else (lambda r: (-of(r.now), -r.now.calls, r.agent))


def _rate(number: float) -> str:
    return f"{number:,.2f}" if number < 10 else f"{number:,.0f}"


class Column(NamedTuple):
    """A column: its head, its width, what it shows, and which goes first where there is no room (the highest)."""

    head: str
    width: int
    show: Callable[[Row, Snapshot], str]
    gives_way: int


COLUMNS = (
    Column("CALLS/MIN", 9, lambda r, s: _rate(r.now.calls / s.minutes), 0),
    Column("USD/H", 9, lambda r, s: f"{r.now.cost / NANOS / s.minutes * 60:,.2f}", 1),
    Column("REFUSED", 7, lambda r, s: count(r.now.refused), 2),
    Column("LOOPS", 5, lambda r, s: count(r.now.loops), 4),
    Column("TOKENS/MIN", 11, lambda r, s: count((r.now.input_tokens + r.now.output_tokens) // s.minutes), 5),
    Column("SAVED/H", 8, lambda r, s: f"{r.now.saved / NANOS / s.minutes * 60:,.2f}", 7),
    Column("LAST REFUSAL", 19, lambda r, s: r.reason or "-", 6),
)
ESTIMATED = (
    Column("EST GCO2E/H", 11, lambda r, s: _rate(r.now.carbon_ug / MICRO / s.minutes * 60), 8),
    Column("EST WH/H", 8, lambda r, s: _rate(r.now.energy_uwh / MICRO / s.minutes * 60), 9),
)
"""What is there where anything is estimated: the upper bounds."""
_SPARK_GIVES_WAY = 3


def render(shown: Snapshot, look: Look) -> str:
    """Return the screen, no line longer than the window and no more lines than it has, without a last newline."""
    columns, name_w, spark_w = _fit(shown, look.width)
    heads = [f"{'AGENT':<{name_w}}", *(f"{c.head:>{c.width}}" if c.head != "LAST REFUSAL" else f"{c.head:<{c.width}}" for c in columns)]
    heads += [f"{'CALLS':<{spark_w}}"] if spark_w else []
    lines = [_paint(line, _BOLD, look) for line in _head(shown, look.width)]
    lines += ["", _paint("  ".join(heads)[: look.width].rstrip(), _DIM, look)]
    room = max(1, look.height - len(lines) - 1)
    sparks = [binned(r.minutes, spark_w) for r in shown.rows[:room]]
    high = max((n for values in sparks for n in values), default=0)
    for row, values in zip(shown.rows[:room], sparks, strict=True):
        cells = [_name(row.agent, name_w, look)]
        for c in columns:
            said = c.show(row, shown)[: c.width]
            cells.append(f"{said:<{c.width}}" if c.head == "LAST REFUSAL" else f"{said:>{c.width}}")
        cells += [spark(values, high, look).rjust(spark_w)] if spark_w else []
        line = "  ".join(cells)[: look.width].rstrip()
        lines.append(_paint(line, _RED if row.now.loops else _YELLOW if row.now.refused else "", look))
    if not shown.rows:
        lines.append("no exchanges")
    elif (more := len(shown.rows) - room) > 0:
        lines.append(_paint(f"and {count(more)} more"[: look.width], _DIM, look))
    return "\n".join(lines[: max(3, look.height)])


def _head(shown: Snapshot, width: int) -> list[str]:
    """Return what the fleet does, on one line or, where that is too long, on two."""
    w, minutes = shown.whole, shown.minutes
    when = f"{moment(shown.at)} UTC, last {minutes} min, {count(len(shown.rows))} agents"
    money = f"{w.cost / NANOS / minutes * 60:,.2f} USD/h"
    if w.carbon_ug:
        money += f", at most {_rate(w.carbon_ug / MICRO / minutes * 60)} gCO2e/h (estimate)"
    what = f"{_rate(w.calls / minutes)} calls/min, {count(w.refused)} refused, {count(w.loops)} loops, {money}"
    one = f"{when}: {what}"
    return [one] if len(one) <= width else [when[:width], what[:width]]


def _fit(shown: Snapshot, width: int) -> tuple[list[Column], int, int]:
    """Return the columns that have room, and the widths of the name and of the sparkline, 0 for none."""
    longest = max((len(printable(r.agent)) for r in shown.rows), default=0)
    least = min(max(longest, _LEAST_NAME), 20)
    columns, spark = [*COLUMNS[:-1], *(ESTIMATED if shown.whole.carbon_ug else ()), COLUMNS[-1]], True
    while columns and least + sum(c.width + 2 for c in columns) + (_LEAST_SPARK + 2) * spark > width:
        worst = max(columns, key=lambda c: c.gives_way)
        if spark and worst.gives_way < _SPARK_GIVES_WAY:
            spark = False
        else:
            columns.remove(worst)
    left = width - sum(c.width + 2 for c in columns)
    spark_w = min(shown.minutes, max(_LEAST_SPARK, left - min(max(longest, _LEAST_NAME), _MOST_NAME) - 2)) if spark else 0
    name_w = max(1, min(max(longest, _LEAST_NAME), _MOST_NAME, left - (spark_w + 2 if spark else 0)))
    return columns, name_w, spark_w


def _name(agent: str, width: int, look: Look) -> str:
    text = printable(agent) or "-"
    if not look.unicode:
        text = text.encode("ascii", "backslashreplace").decode()
    return text.ljust(width) if len(text) <= width else text[: width - 1] + ("…" if look.unicode else "~")


def binned(values: Sequence[int], width: int) -> list[int]:
    """Return `values` added up so that at most `width` remain; the last ones end the last."""
    size = -(-len(values) // width) if width else 0
    starts = range(len(values) % size - size if len(values) % size else 0, len(values), size) if size else ()
    return [sum(values[max(0, at) : at + size]) for at in starts]


def spark(values: Sequence[int], high: int, look: Look) -> str:
    """Return `values` as blocks, `high` the tallest; anything above nothing is seen."""
    signs = _BLOCKS if look.unicode else _ASCII
    return "".join(signs[0 if not v or not high else max(1, min(8, -(-v * 8 // high)))] for v in values)


def _paint(line: str, code: str, look: Look) -> str:
    return f"{code}{line}{_OFF}" if look.colour and code and line else line
