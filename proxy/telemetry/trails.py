"""What a ledger says of single exchanges: sessions, the sessions of a run, timelines, refusals and dry runs.

Decides which records are read, always by an index and never more than a bound; every function takes a connection of `rollup.reading` and
runs in a thread. Lists of records go from new to old and end with a cursor, which is the place of the last one.
"""

# ruff: noqa: S608 - statements are put together from names and parts of ours alone; values are bound

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass
from typing import Any

from proxy.engine.record import Record
from proxy.money import dollars
from proxy.telemetry.schema import COLUMNS, to_record
from proxy.telemetry.stretches import OF_RUN, WITHIN, of_session, stretches
from proxy.telemetry.timing import overhead_ns, total_ns, ttft_ns, upstream_ns

MOST_READ = 5_000
"""Records that a list of sessions looks at: of a busy day it takes the end."""
MOST_NODES, MOST_LINES, EXAMPLES = 500, 50, 5
MOST_LOOKS = 100_000
"""Looks into stretches of the ledger, some microseconds each, for the sessions of a run."""
MOST_CHARS = 1000
"""Characters of one text that are shown."""
_CURSOR = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)~(\d{1,18})", re.ASCII)
_OF_SESSION = of_session("ledger.records")
_COLUMNS = ", ".join(f"records.{name}" for name in COLUMNS)

Place = tuple[float, int]
"""Where a list goes on: the time and the number of the last record that was shown."""


def place_of(cursor: str) -> Place:
    """Return what a cursor says.

    Raises:
        ValueError: it is none.
    """
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise ValueError("`cursor` must be what `next` said.")
    return float(found[1]), int(found[2])


def _cursor(time: float, seq: int) -> str:
    return f"{time!r}~{seq}" if "e" not in repr(time) else f"{time:.6f}~{seq}"


# --- sessions -------------------------------------------------------------------------------------------------------------------------

SORTS = {"last": "last", "first": "first", "calls": "calls", "refused": "refused", "tokens": "tokens", "usd": "cost"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which sessions are meant, and in which order: those with a call since then, of one agent or run, with `part` in the name."""

    since: float
    agent: str | None = None
    run: str | None = None
    part: str = ""
    sort: str = "last"
    down: bool = True
    offset: int = 0
    limit: int = 50


_SUMMED = """
SELECT latest.session, latest.agent, latest.run, latest.parent, latest.model, latest.loop, sums.first, latest.last, sums.calls,
  sums.refused, sums.tokens, sums.cost
FROM (SELECT session, agent, run, parent, model, loop, max(time) AS last FROM seen GROUP BY session) AS latest
JOIN (
  SELECT session, min(time) AS first, count(*) AS calls, sum(outcome = 'denied') AS refused,
    sum(tokens) AS tokens, sum(cost) AS cost
  FROM seen GROUP BY session
) AS sums USING (session)"""
_SEEN = (
    "WITH seen AS MATERIALIZED (SELECT session, agent, run, parent, CASE model WHEN '' THEN model_asked ELSE model END AS model, loop,"
    " time, outcome, input_tokens + cache_read_tokens + cache_write_tokens + cache_write_1h_tokens + output_tokens AS tokens, cost"
    " FROM ledger.records WHERE %s ORDER BY time DESC LIMIT ?)"
)
_NAMES = ("session", "agent", "run", "parent", "model", "loop", "first", "last", "calls", "refused", "tokens", "usd")


def sessions(db: sqlite3.Connection, wanted: Wanted) -> dict[str, Any]:
    """Return the sessions that are meant: `{total, more, sessions}`; `more` when there were more records than are looked at."""
    conditions, values = ["time >= ?", "session <> ''"], list[Any]([wanted.since])
    if wanted.agent is not None:
        conditions, values = [*conditions, "agent = ?"], [*values, wanted.agent]
    if wanted.run is not None:
        conditions, values = [*conditions, OF_RUN], [*values, wanted.run, wanted.run, wanted.run]
    seen = _SEEN % " AND ".join(conditions)
    match = "WHERE instr(lower(latest.session), ?)" if wanted.part else ""
    part = [wanted.part.lower()] if wanted.part else []
    order = f"ORDER BY {SORTS[wanted.sort]} {'DESC' if wanted.down else 'ASC'}, 1 LIMIT ? OFFSET ?"
    sql = f"{seen} SELECT *, count(*) OVER (), (SELECT count(*) FROM seen) FROM ({_SUMMED} {match}) {order}"
    found = db.execute(sql, (*values, MOST_READ, *part, wanted.limit, wanted.offset)).fetchall()
    total, read = (found[0][-2], found[0][-1]) if found else (0, 0)
    return {"total": total, "more": read >= MOST_READ, "sessions": [_session(row[:-2]) for row in found]}


def session(db: sqlite3.Connection, name: str, between: tuple[int, int] | None = None) -> dict[str, Any] | None:
    """Return one session, all of its calls; None where the ledger has none. `between` its first and its last record, where the rollup
    knows their numbers, it is found sooner.
    """
    condition, values = (_OF_SESSION, (name, -1)) if between is None else (WITHIN, (name, *between, -1))
    row = db.execute((_SEEN % condition) + _SUMMED, values).fetchone()
    return None if row is None else _session(row)


def _session(row: tuple[Any, ...]) -> dict[str, Any]:
    return {name: _cut(value) for name, value in zip(_NAMES, row, strict=True)} | {"usd": dollars(row[-1])}


_LISTED = (
    "SELECT session, first_seq, last_seq FROM main.runs WHERE run = ?1 UNION ALL"
    " SELECT ?1, NULL, NULL WHERE NOT EXISTS (SELECT 1 FROM main.runs WHERE run = ?1 AND session = ?1) ORDER BY 1 LIMIT ?2"
)


def run(db: sqlite3.Connection, name: str) -> dict[str, Any] | None:
    """Return the sessions that draw from one run as a tree, `{run, more, nodes, edges}`; None where the ledger has none.

    Of many sessions in a large ledger only the calls from the first to the last that drew from the run are looked for.
    """
    listed = db.execute(_LISTED, (name, MOST_NODES + 1)).fetchall()
    nodes = {}
    whole = len(listed) * stretches(db) <= MOST_LOOKS
    for each, first, last in listed[:MOST_NODES]:
        found = session(db, each, None if whole or first is None else (first, last))
        if found is not None and name in (found["run"], each):
            nodes[each] = found
    if not nodes:
        return None
    parents = {each: _parent(node, nodes) for each, node in nodes.items()}
    shown = [node | {"id": each, "parent": parents[each], "depth": _depth(each, parents)} for each, node in nodes.items()]
    edges = [{"from": parent, "to": each} for each, parent in parents.items() if parent is not None]
    return {"run": name, "more": len(listed) > MOST_NODES, "nodes": sorted(shown, key=lambda n: (n["first"], n["id"])), "edges": edges}


def _parent(node: dict[str, Any], nodes: dict[str, dict[str, Any]]) -> str | None:
    """Return the session that began another: the one that a client named, by its name or as AGENT/SESSION, else the run's first."""
    said, own = node["parent"], node["session"]
    for name in (said, f"{node['agent']}/{said}") if said else ():
        if name in nodes and name != own:
            return name
    near = [name for name in nodes if said and name.rpartition("/")[2] == said and name != own]
    if len(near) == 1:
        return near[0]
    return node["run"] if node["run"] in nodes and node["run"] != own else None


def _depth(name: str, parents: dict[str, str | None]) -> int:
    depth, at, seen = 0, parents[name], {name}
    while at is not None and at not in seen:
        seen.add(at)
        depth, at = depth + 1, parents[at]
    return depth


# --- timelines ------------------------------------------------------------------------------------------------------------------------


def timeline(db: sqlite3.Connection, name: str, limit: int, after: Place | None) -> dict[str, Any]:
    """Return the exchanges of one session from new to old: `{exchanges, next}`."""
    more, values = ("AND (time, seq) < (?, ?)", list(after)) if after is not None else ("", [])
    sql = f"SELECT seq, {_COLUMNS} FROM ledger.records WHERE {_OF_SESSION} {more} ORDER BY time DESC, seq DESC LIMIT ?"
    found = db.execute(sql, (name, *values, limit + 1)).fetchall()
    rows = [(row[0], to_record(row[1:])) for row in found[:limit]]
    left = len(found) > limit
    return {"exchanges": [view(record) for _, record in rows], "next": _cursor(rows[-1][1].time, rows[-1][0]) if left else None}


def view(r: Record) -> dict[str, Any]:
    """Return an exchange as a page shows it."""
    took = {"total_ms": total_ns(r), "ttft_ms": ttft_ns(r), "upstream_ms": upstream_ns(r), "ours_ms": overhead_ns(r)}
    same: tuple[str, ...] = (
        "id",
        "time",
        "agent",
        "session",
        "run",
        "operation",
        "protocol",
        "stream",
        "model_asked",
        "model",
        "provider",
        "route",
    )
    same += ("route_why", "difficulty", "status", "outcome", "reason", "rule", "message", "remedy", "output_tokens", "reasoning_tokens")
    same += ("usage_exact", "trace_id")
    return {
        **{name: _cut(getattr(r, name)) for name in same},
        "input_tokens": r.input_tokens + r.cache_read_tokens + r.cache_write_tokens + r.cache_write_1h_tokens,
        "cached_tokens": r.cache_read_tokens,
        "usd": dollars(r.cost),
        "saved_usd": dollars(r.saved),
        **{name: None if ns is None else round(ns / 1e6, 2) for name, ns in took.items()},
        "carbon_g": [r.carbon_ug_low / 1e6, r.carbon_ug / 1e6] if r.carbon_ug else None,
        "energy_wh": [r.energy_uwh_low / 1e6, r.energy_uwh / 1e6] if r.energy_uwh else None,
        "tools": [{"name": name, "status": status} for name, status in r.tools],
        "loop": loop_of(r.loop, r.wasted),
        "findings": [{"rule": rule, "detail": detail} for rule, detail in r.findings],
        "decisions": [{"stage": stage, "words": words} for stage, words in r.decisions],
        "fallbacks": [
            {"provider": f[0], "model": f[1], "cause": f[2], "usd": dollars(f[5]), "ms": round(f[6] / 1e6, 2)} for f in r.fallbacks
        ],
    }


def _cut(value: Any) -> Any:
    """Return a value as it may be shown: what clients wrote can be long."""
    return value[:MOST_CHARS] if isinstance(value, str) else value


def loop_of(header: str, wasted: int = 0) -> dict[str, Any] | None:
    """Return what a loop signal says (`block;rule=identical;count=5`), None when it says nothing."""
    level, _, rest = header.partition(";")
    if level in ("", "none"):
        return None
    said = dict(part.partition("=")[::2] for part in rest.split(";"))
    count = said.get("count", "")
    return {
        "level": level,
        "rule": said.get("rule", ""),
        "count": int(count) if count.isascii() and count.isdigit() else 0,
        "action": said.get("action", ""),
        "usd": dollars(wasted),
    }


# --- refusals and dry runs ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Refused:
    """Which refusals are meant: UTC seconds, `until` exclusive; None lets all pass, `part` is a part of the rule."""

    since: float
    until: float | None = None
    agent: str | None = None
    reason: str | None = None
    part: str = ""

    def sql(self, kind: str) -> tuple[str, list[Any]]:
        """Return the condition on `notes` and its values."""
        parts, values = ["kind = ?", "notes.time >= ?"], list[Any]([kind, self.since])
        for sql, value in (("notes.time < ?", self.until), ("notes.agent = ?", self.agent), ("notes.reason = ?", self.reason)):
            if value is not None:
                parts, values = [*parts, sql], [*values, value]
        if self.part:
            parts, values = [*parts, "instr(lower(notes.rule), ?)"], [*values, self.part.lower()]
        return " AND ".join(parts), values


_SHOWN = ("id", "time", "agent", "session", "run", "model_asked", "reason", "rule", "status", "outcome", "message", "remedy")


def refusals(db: sqlite3.Connection, wanted: Refused, limit: int, after: Place | None) -> dict[str, Any]:
    """Return what was refused or cut, from new to old: `{decisions, next}`."""
    condition, values = wanted.sql("refused")
    if after is not None:
        condition, values = f"{condition} AND (notes.time, notes.seq) < (?, ?)", [*values, *after]
    columns = ", ".join(f"records.{name}" for name in _SHOWN)
    sql = (
        f"SELECT seq, {columns} FROM main.notes JOIN ledger.records USING (seq) WHERE {condition}"
        " ORDER BY notes.time DESC, seq DESC LIMIT ?"
    )
    found = db.execute(sql, (*values, limit + 1)).fetchall()
    rows = [dict(zip(("seq", *_SHOWN), row, strict=True)) for row in found[:limit]]
    cursor = _cursor(rows[-1]["time"], rows[-1]["seq"]) if len(found) > limit else None
    return {
        "decisions": [{("model" if k == "model_asked" else k): _cut(v) for k, v in row.items() if k != "seq"} for row in rows],
        "next": cursor,
    }


def counted(db: sqlite3.Connection, wanted: Refused, kind: str = "refused") -> dict[str, Any]:
    """Return how often each reason and each rule refused, most first, at most `MOST_LINES`."""
    condition, values = wanted.sql(kind)
    facts = "count(*), count(DISTINCT agent), max(time)"
    by_rule = f"SELECT reason, rule, {facts} FROM main.notes WHERE {condition} GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT ?"
    by_reason = f"SELECT reason, {facts} FROM main.notes WHERE {condition} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT ?"
    names = ("count", "agents", "last")
    return {
        "reasons": [dict(zip(("reason", *names), row, strict=True)) for row in db.execute(by_reason, (*values, MOST_LINES))],
        "rules": [dict(zip(("reason", "rule", *names), row, strict=True)) for row in db.execute(by_rule, (*values, MOST_LINES))],
    }


def dry_runs(db: sqlite3.Connection, wanted: Refused) -> list[dict[str, Any]]:
    """Return what would have been refused, by rule, most first, each with its latest examples."""
    found: list[dict[str, Any]] = counted(db, wanted, "shadow")["rules"]
    condition, values = wanted.sql("shadow")
    sql = f"SELECT id, agent, time FROM main.notes WHERE {condition} AND reason = ? AND rule = ? ORDER BY time DESC LIMIT ?"
    for line in found:
        rows = db.execute(sql, (*values, line["reason"], line["rule"], EXAMPLES))
        line["examples"] = [{"id": row[0], "agent": row[1], "time": row[2]} for row in rows]
    return found
