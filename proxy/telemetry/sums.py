"""What a rollup says in sums: series over time, models, routing, versions, and what shared budgets were charged.

Decides which rows are read and how they are shown; every function takes a connection of `rollup.reading` and runs in a thread. Whole hours
are read: a stretch begins with the hour that holds its start. Names of columns are ours, values are bound. Durations come from a histogram
whose steps double, so percentiles are estimates.
"""

# ruff: noqa: S608 - statements are put together from names and parts of ours alone; values are bound

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from proxy.model.footprints import MICRO
from proxy.money import dollars
from proxy.telemetry.rollup_schema import EDGES_MS, HOUR_S, SLOT_S, SUMS, TIMES

DAY_S = 86_400
MOST_POINTS = 800
MOST_LINES, TOP = 50, 20
LONGEST_BY_AGENT_S = 2 * DAY_S


@dataclass(frozen=True, slots=True)
class Part:
    """Which sums are meant: UTC seconds, `until` exclusive; None lets all pass. `model` is the one that served."""

    since: float
    until: float
    agent: str | None = None
    team: str | None = None
    model: str | None = None

    def hours(self) -> tuple[int, int]:
        """Return the first hour, and the first one behind the last."""
        return int(self.since) // HOUR_S * HOUR_S, -(-int(self.until) // HOUR_S) * HOUR_S


def _from(part: Part) -> tuple[str, list[Any]]:
    """Return where the rows of `part` are, and the values for it.

    The hour stands first in the key, so an agent's rows are looked up hour by hour, and never are all of an hour read for one agent.
    """
    first, end = part.hours()
    conditions, values = [], list[Any]()
    for name in ("agent", "team", "model"):
        if (value := getattr(part, name)) is not None:
            conditions.append(f"{name} = ?")
            values.append(value)
    if part.agent is None:
        return f"main.totals WHERE {' AND '.join(['hour >= ?', 'hour < ?', *conditions])}", [first, end, *values]
    every = "(WITH RECURSIVE e(h) AS (SELECT ? UNION ALL SELECT h + ? FROM e WHERE h + ? < ?) SELECT h FROM e)"
    return f"{every} CROSS JOIN main.hours ON hour = h WHERE {' AND '.join(conditions)}", [first, HOUR_S, HOUR_S, end, *values]


_ALL = ", ".join(f"coalesce(sum({name}), 0)" for name in SUMS)


def _sums(row: Sequence[Any]) -> dict[str, int]:
    return dict(zip(SUMS, row, strict=True))


def series(db: sqlite3.Connection, part: Part, step_s: int) -> list[dict[str, Any]]:
    """Return one point for each step, also for those without calls."""
    where, values = _from(part)
    sql = f"SELECT hour / {step_s} * {step_s}, {_ALL} FROM {where} GROUP BY 1"
    found = {row[0]: _sums(row[1:]) for row in db.execute(sql, values)}
    first, end = part.hours()
    start = first // step_s * step_s
    return [_point(t, found.get(t)) for t in range(start, end, step_s)[-MOST_POINTS:]]


def _point(t: int, s: dict[str, int] | None) -> dict[str, Any]:
    s = s or dict.fromkeys(SUMS, 0)
    took = [s[name] for name in TIMES]
    return {
        "t": t,
        "calls": s["calls"],
        "refused": s["refused"],
        "input_tokens": s["input"],
        "cached_tokens": s["cached"],
        "output_tokens": s["output"],
        "usd": dollars(s["cost"]),
        "saved_usd": dollars(s["saved"]),
        "loops": s["loops"],
        "mean_ms": _mean_ms(s["ns"], s["sent"]),
        "p50_ms": quantile_ms(took, 0.5),
        "p95_ms": quantile_ms(took, 0.95),
        "ttft_ms": _mean_ms(s["ttft_ns"], s["streams"]),
    }


def _mean_ms(ns: int, count: int) -> float | None:
    return round(ns / count / 1e6, 1) if count else None


def quantile_ms(took: Sequence[int], share: float) -> float | None:
    """Return the duration below which `share` of the calls are, from the counts of the histogram; None without calls."""
    wanted, below = sum(took) * share, 0
    if not wanted:
        return None
    for i, count in enumerate(took):
        if count and below + count >= wanted:
            low = EDGES_MS[i - 1] if i else 0
            high = EDGES_MS[i] if i < len(EDGES_MS) else 2 * EDGES_MS[-1]
            return round(low + (high - low) * (wanted - below) / count, 1)
        below += count
    return float(EDGES_MS[-1])  # pragma: no cover - the sum of all is at least any share of it


def models(db: sqlite3.Connection, part: Part) -> list[dict[str, Any]]:
    """Return what each model did, dearest first, at most `MOST_LINES`."""
    where, values = _from(part)
    sql = (
        f"SELECT model, sum(calls), sum(input + output), sum(cost) FROM {where} AND model <> '' GROUP BY 1"
        " ORDER BY 4 DESC, 2 DESC, 1 LIMIT ?"
    )
    return [
        {"model": name, "calls": calls, "tokens": tokens, "usd": dollars(cost)}
        for name, calls, tokens, cost in db.execute(sql, (*values, MOST_LINES))
    ]


def emitted(db: sqlite3.Connection, part: Part) -> dict[str, Any] | None:
    """Return what was emitted and used, at least and at most as estimated; None where nobody estimates."""
    where, values = _from(part)
    row = db.execute(f"SELECT sum(carbon_low), sum(carbon), sum(energy_low), sum(energy) FROM {where}", values).fetchone()
    if not row[1]:
        return None
    return {"carbon_g": [row[0] / MICRO, row[1] / MICRO], "energy_wh": [row[2] / MICRO, row[3] / MICRO]}


def teams(db: sqlite3.Connection, part: Part) -> list[dict[str, Any]]:
    """Return what each team did, dearest first, at most `MOST_LINES`."""
    where, values = _from(part)
    sql = (
        f"SELECT team, sum(calls), sum(refused), sum(input + output), sum(cost), sum(saved) FROM {where}"
        " GROUP BY 1 ORDER BY 5 DESC, 2 DESC, 1 LIMIT ?"
    )
    return [
        {"team": r[0], "calls": r[1], "refused": r[2], "tokens": r[3], "usd": dollars(r[4]), "saved_usd": dollars(r[5])}
        for r in db.execute(sql, (*values, MOST_LINES))
    ]


def versions(db: sqlite3.Connection, agent: str) -> list[dict[str, Any]]:
    """Return the policies that an agent was served under, newest first, at most 100."""
    names = ("policy_digest", "file_digest", "version", "first", "last", "calls")
    sql = f"SELECT {', '.join(names)} FROM main.versions WHERE agent = ? ORDER BY last DESC LIMIT 100"
    return [dict(zip(names, row, strict=True)) for row in db.execute(sql, (agent,))]


# --- routing --------------------------------------------------------------------------------------------------------------------------

_ROUTED = "sum(chats), sum(local), sum(back), sum(chat_cost), sum(saved), sum(would), sum(would_save)"


def routing(db: sqlite3.Connection, part: Part) -> dict[str, Any]:
    """Return what routing did with chats that were not refused: all, by agent, by the model that was asked for, by hour and by route."""
    where, values = _from(part)
    first, end = part.hours()
    step = HOUR_S if end - first <= 8 * DAY_S else DAY_S
    total = db.execute(f"SELECT {_ROUTED} FROM {where}", values).fetchone()
    by = f"SELECT %s, {_ROUTED} FROM %s AND chats > 0 GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {MOST_LINES}"
    by_model = db.execute(by % ("asked", where), values)
    spread, spread_values = _by_agent(part)
    by_agent = db.execute(by % ("agent", spread), spread_values)
    points = db.execute(f"SELECT hour / {step} * {step}, {_ROUTED} FROM {where} GROUP BY 1 ORDER BY 1 DESC LIMIT {MOST_POINTS}", values)
    routes = db.execute(f"SELECT route, sum(chats) FROM {where} AND chats > 0 GROUP BY 1 ORDER BY 2 DESC", values)
    return {
        "total": _routed(total),
        "agents": [{"key": row[0]} | _routed(row[1:]) for row in by_agent],
        "models": [{"key": row[0]} | _routed(row[1:]) for row in by_model],
        "points": [{"t": row[0]} | _brief(row[1:]) for row in points][::-1],
        "routes": [{"route": name, "calls": calls} for name, calls in routes],
    }


def _by_agent(part: Part) -> tuple[str, list[Any]]:
    """Return where the rows by agent are: those of so many thousand agents are read for `LONGEST_BY_AGENT_S` at most."""
    if part.agent is not None:
        return _from(part)
    where, values = _from(replace(part, since=max(part.since, part.until - LONGEST_BY_AGENT_S)))
    return where.replace("main.totals", "main.agents", 1), values


def _routed(row: Sequence[Any]) -> dict[str, Any]:
    calls, local, back, cost, saved, would, would_save = (value or 0 for value in row)
    return {
        "calls": calls,
        "routed": local,
        "share": _share(local, calls),
        "fell_back": back,
        "fallback_rate": _share(back, local),
        "cost_usd": dollars(cost),
        "saved_usd": dollars(saved),
        "saved_share": _share(saved, cost + saved),
        "would_route": would,
        "would_share": _share(would, calls),
        "would_save_usd": dollars(would_save),
    }


def _brief(row: Sequence[Any]) -> dict[str, Any]:
    return {name: value for name, value in _routed(row).items() if name in ("calls", "routed", "fell_back", "cost_usd", "saved_usd")}


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0


# --- budgets --------------------------------------------------------------------------------------------------------------------------


def burned(db: sqlite3.Connection, counter: str) -> list[tuple[int, int]]:
    """Return what a shared counter was charged, as (slot, amount), oldest first; by hours, days or weeks where there are too many slots."""
    return _fewer(db.execute("SELECT slot, amount FROM main.burn WHERE counter = ? ORDER BY 1", (counter,)).fetchall())


def _fewer(slots: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the same sums in steps so long that there are few enough of them."""
    for step in (HOUR_S, DAY_S, 7 * DAY_S):
        if len(slots) <= MOST_POINTS:
            break
        found: dict[int, int] = {}
        for slot, amount in slots:
            found[slot // step * step] = found.get(slot // step * step, 0) + amount
        slots = list(found.items())
    return slots[-MOST_POINTS:]


_OWN = (
    "SELECT CAST(time AS INTEGER) / ?1 * ?1, sum(value ->> 2) FROM"
    " (SELECT time, charges FROM ledger.records WHERE agent = ?2 AND time >= ?3 ORDER BY time DESC LIMIT ?4),"
    " json_each(charges) WHERE value ->> 0 = ?5 GROUP BY 1 ORDER BY 1"
)
MOST_READ = 10_000
"""Records of one agent that are looked through for one counter."""


def burned_by(db: sqlite3.Connection, agent: str, counter: str, since: float) -> list[tuple[int, int]]:
    """Return the same of a counter of one agent, from its latest records."""
    return _fewer(db.execute(_OWN, (SLOT_S, agent, since, MOST_READ, counter)).fetchall())


def spenders(db: sqlite3.Connection, counter: str) -> tuple[list[tuple[str, int]], int, int]:
    """Return the `TOP` agents that a shared counter was charged most by, and of all: how many there are, and the sum."""
    found = db.execute("SELECT agent, amount FROM main.spenders WHERE counter = ? ORDER BY 2 DESC, 1 LIMIT ?", (counter, TOP)).fetchall()
    count, amount = db.execute("SELECT count(*), coalesce(sum(amount), 0) FROM main.spenders WHERE counter = ?", (counter,)).fetchone()
    return found, count, amount
