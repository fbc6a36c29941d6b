"""Sums of a span of time from the rollup beside a ledger: exactly those that the ledger has, without reading its records one by one.

Whole hours (for agents whole days, where nobody asks for hours) come from the rollup, the beginning and the end of the span and what the
rollup has not taken yet from the ledger, all at one moment. Decides which questions can be answered so; all others, and those asked while
there is no rollup or one that is far behind, are the ledger's (`grouping`).

A report asks for more than a bill: also for what retention has deleted since, of which whole hours are left; and its models are those that
served, because a name that was only ever refused is a client's own. How it fails: as `grouping` does.
"""

# ruff: noqa: S608 - statements are put together from names and parts of ours alone; values are bound

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from proxy.engine.ports import StoreError
from proxy.telemetry import grouping, rollup
from proxy.telemetry.grouping import Sum
from proxy.telemetry.query import ALL, Filter, where_of
from proxy.telemetry.rollup_schema import BRIEF, DAY_S, HOUR_S, MAX_NAME

FOLLOW_S, LONGEST_S = 10.0, 300.0
MOST_BEHIND = 200_000
"""Records that are read one by one at most, because the rollup has not taken them yet: about a second."""
FOREVER = 1 << 40
_WORDS = ("agent", "team", "provider", "route", "model", "reason", "rule")
_KEYS = {name: name for name in _WORDS} | {name: f"strftime('{p}', hour, 'unixepoch')" for name, p in grouping.TIMES.items()}
_SERVED = f"CASE WHEN route = '' AND outcome = 'denied' THEN '' ELSE substr(model, 1, {MAX_NAME}) END"
_HOURLY = frozenset(("hour", "day", "month"))
_OF_TEAMS, _OF_AGENTS = _HOURLY | {"team", "provider", "route"}, _HOURLY | {"agent", "team"}
_OF_DENIED = frozenset(("reason", "rule"))
Ask = Callable[[Sequence[str], Filter, int | None], list[Sum]]
"""As `grouping.grouped`, without the path."""


class _Span(NamedTuple):
    """Whole steps of a table, from `first` to `end`."""

    table: str
    step: int
    first: int
    end: int


def asking(path: Path, now: float, *, report: bool = False) -> Ask:
    """Return what sums the ledger at `path` fastest: with its rollup where there is one that is not far behind, after `FOLLOW_S` at most.

    Args:
        path: the ledger's file.
        now: UTC seconds.
        report: see the module.
    """
    if rollup.beside(path).exists():
        try:
            reach = rollup.follow(path, now, FOLLOW_S)
            if reach.behind <= MOST_BEHIND:
                return Rolled(path, report).grouped
        except StoreError:
            pass  # the ledger says what is wrong, if it is not the rollup alone
    return lambda fields, where, most: grouping.grouped(path, fields, where, most)


@dataclass(frozen=True, slots=True)
class Rolled:
    """A ledger and its rollup; `report` as the module has it."""

    path: Path
    report: bool = False

    def grouped(self, fields: Sequence[str], where: Filter = ALL, most: int | None = None) -> list[Sum]:
        """Return what `grouping.grouped` does. Raises StoreError."""
        if not self._has(frozenset(fields), where):
            return grouping.grouped(self.path, fields, where, most)
        found: dict[tuple[str, ...], list[int]] = {}
        n = len(fields)
        with rollup.reading(self.path, LONGEST_S) as db:
            for row in self._rows(db, fields, where):
                keys, amounts = tuple(key or "" for key in row[:n]), [amount or 0 for amount in row[n:]]
                known = found.get(keys)
                found[keys] = amounts if known is None else [a + b for a, b in zip(known, amounts, strict=True)]
        sums = [Sum(keys, *amounts) for keys, amounts in found.items() if amounts[0] or not fields]
        sums.sort(key=lambda s: (-s.cost, -s.calls, s.keys))
        if fields and fields[0] in grouping.TIMES:
            sums.sort(key=lambda s: s.keys[0], reverse=True)
        return sums if most is None else sums[:most]

    def _has(self, fields: frozenset[str], where: Filter) -> bool:
        """Say whether the rollup has what is asked for."""
        if replace(where, agent=None, since=None, until=None, outcome=None, limit=ALL.limit) != ALL:
            return False
        if where.outcome is not None:
            return self.report and fields <= _OF_DENIED and (where.outcome, where.agent) == ("denied", None)
        if where.agent is not None or "agent" in fields:
            return fields <= _OF_AGENTS
        return fields <= (_OF_TEAMS | {"model"} if self.report else _OF_TEAMS)

    def _rows(self, db: sqlite3.Connection, fields: Sequence[str], where: Filter) -> Iterator[Sequence[Any]]:
        """Yield sums that are to be added up: of the rollup, of the ends of the span, and of what the rollup has not taken."""
        upto = db.execute("SELECT upto FROM main.reached").fetchone()[0]
        oldest = db.execute("SELECT min(time) FROM ledger.records").fetchone()[0] or 0.0
        since, until = where.since or 0.0, FOREVER if where.until is None else where.until
        if self.report:  # of what is deleted there are whole hours
            since, until = (t if t >= oldest else int(t) // HOUR_S * HOUR_S for t in (since, until))
        else:
            since = max(since, oldest)
        low, high = db.execute("SELECT coalesce(min(hour), 0), coalesce(max(hour), 0) FROM main.totals").fetchone()
        first = max(int(-(-since // HOUR_S)) * HOUR_S, low)
        end = min(int(until) // HOUR_S * HOUR_S, high + HOUR_S)
        whole = first < end
        for span in _spans(fields, where, first, end) if whole else ():
            yield from _summed(db, span, fields, where)
        ends = ((since, first), (end, until)) if whole else ((since, until),)
        for begin, stop in ends:
            if begin < stop:
                yield from self._read(db, fields, replace(where, since=begin, until=stop), f"+seq <= {upto:d}")
        yield from self._read(db, fields, replace(where, since=since, until=until), f"seq > {upto:d}")

    def _read(self, db: sqlite3.Connection, fields: Sequence[str], where: Filter, part: str) -> list[Any]:
        """Return sums of those of the ledger's records for which `part` holds, too."""
        keys = [_SERVED if self.report and name == "model" else grouping.KEYS[name] for name in fields]
        condition, values = where_of(where, db, "ledger")
        if not part.startswith("+"):
            condition = condition.replace("time", "+time")  # by its number, not by its time
        group = f" GROUP BY {', '.join(str(i + 1) for i in range(len(fields)))}" if fields else ""
        sql = f"SELECT {''.join(f'{key}, ' for key in keys)}{grouping.SUMS} FROM ledger.records{condition} AND {part}{group}"
        return db.execute(sql, values).fetchall()


def _spans(fields: Sequence[str], where: Filter, first: int, end: int) -> Iterator[_Span]:
    """Yield where the whole hours from `first` to `end` are: whole days of agents are in a table of their own."""
    if where.outcome is not None:
        yield _Span("denied", HOUR_S, first, end)
    elif where.agent is None and "agent" not in fields:
        yield _Span("totals", HOUR_S, first, end)
    else:
        low, high = -(-first // DAY_S) * DAY_S, end // DAY_S * DAY_S
        if "hour" in fields or low >= high:
            yield _Span("agents", HOUR_S, first, end)
        else:
            yield _Span("days", DAY_S, low, high)
            yield from (_Span("agents", HOUR_S, a, b) for a, b in ((first, low), (high, end)) if a < b)


def _summed(db: sqlite3.Connection, span: _Span, fields: Sequence[str], where: Filter) -> list[Any]:
    """Return the sums of a span of a table."""
    sums = ", ".join(f"sum({name})" if span.table != "denied" or name == "calls" else "0" for name in BRIEF)
    group = f" GROUP BY {', '.join(str(i + 1) for i in range(len(fields)))}" if fields else ""
    begun = f"SELECT {''.join(f'{_KEYS[name]}, ' for name in fields)}{sums} FROM"
    if where.agent is None:
        return db.execute(f"{begun} main.{span.table} WHERE hour >= ? AND hour < ?{group}", (span.first, span.end)).fetchall()
    every = "(WITH RECURSIVE e (h) AS (SELECT ?1 UNION ALL SELECT h + ?3 FROM e WHERE h + ?3 < ?2) SELECT h FROM e)"
    sql = f"{begun} {every} CROSS JOIN main.{span.table} ON hour = h WHERE agent = ?4{group}"
    return db.execute(sql, (span.first, span.end, span.step, where.agent)).fetchall()
