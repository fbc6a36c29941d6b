"""`python -m benchmarks.ledger`: a large ledger, and how long questions to it take.

    --records 10000000 --days 14 --agents 10000 [--file PATH] [--keep]

Makes a SQLite ledger of so many records of the last days (some 1.2 kB each, so ten million take 17 GB and a quarter of an hour), lets the
sums beside it catch up, and asks what people ask: sums of a day by several fields, `report` over a week, `top`, and every question of the
dashboard's pages. Printed as JSON: seconds, the best of three, by the clock and of CPU. `--file` makes it there, or takes what is there.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.records import TYPICAL
from proxy.telemetry import query, report, rolled, rollup, screen, sums, trails
from proxy.telemetry.query import Filter
from proxy.telemetry.schema import COLUMNS, prepare, to_row

DAY_S = 86_400
STEP = 250_000
MODELS = ("gpt-5", "gpt-5-mini", "claude-sonnet-4-5", "claude-haiku-4-5", "gemini-2.5-flash", "qwen3-8b", "mistral-large-latest")
COUNTER = "fleet-month|usd||2026-11"
_PICK = "(CASE {0} " + " ".join(f"WHEN {i} THEN '{name}'" for i, name in enumerate(MODELS)) + " END)"


def _dice(salt: int, sides: int) -> str:
    """Return SQL for a number below `sides` that depends on the record's alone."""
    return f"((((i + {salt * 7919}) * 2654435761) >> 9) % {sides})"


_WHO = _dice(1, 10_007)
_DENIED, _LOOPS, _DRY = (f"({_dice(salt, 100)} < {share})" for salt, share in ((2, 4), (3, 1), (4, 1)))
MADE = {
    "id": "printf('01%024d', i)",
    "time": ":since + i * :span / :count",
    "agent": f"'agent-' || ({_WHO} % :agents)",
    "team": f"'team-' || ({_WHO} % :agents % 40)",
    "session": f"'s-' || ({_WHO} % :agents) || '-' || (i / 400000)",
    "run": f"CASE WHEN {_dice(5, 50)} = 0 THEN 'run-' || (i / 5000) ELSE 's-' || ({_WHO} % :agents) || '-' || (i / 400000) END",
    "model_asked": _PICK.format(_dice(6, len(MODELS))),
    "model": f"CASE WHEN {_DENIED} THEN '' ELSE {_PICK.format(_dice(6, len(MODELS)))} END",
    "provider": f"CASE WHEN {_DENIED} THEN '' ELSE substr({_PICK.format(_dice(6, len(MODELS)))}, 1, 3) END",
    "route": f"CASE WHEN {_DENIED} THEN '' WHEN {_dice(6, len(MODELS))} = 5 THEN 'local' ELSE 'requested' END",
    "stream": _dice(7, 2),
    "status": f"CASE WHEN {_DENIED} THEN 402 ELSE 200 END",
    "upstream_status": f"CASE WHEN {_DENIED} THEN 0 ELSE 200 END",
    "outcome": f"CASE WHEN {_DENIED} THEN 'denied' ELSE 'ok' END",
    "reason": f"CASE WHEN {_DENIED} THEN CASE {_dice(8, 2)} WHEN 0 THEN 'budget_exceeded' ELSE 'loop_detected' END ELSE '' END",
    "rule": f"CASE WHEN {_DENIED} THEN 'budgets/fleet.yaml:' || {_dice(8, 90)} ELSE '' END",
    "input_tokens": f"CASE WHEN {_DENIED} THEN 0 ELSE 200 + {_dice(9, 9000)} END",
    "output_tokens": f"CASE WHEN {_DENIED} THEN 0 ELSE 20 + {_dice(10, 900)} END",
    "cache_read_tokens": f"CASE WHEN {_DENIED} THEN 0 ELSE {_dice(11, 20000)} END",
    "cost": f"CASE WHEN {_DENIED} THEN 0 ELSE 100000 + {_dice(12, 30_000_000)} END",
    "saved": f"CASE WHEN {_dice(6, len(MODELS))} = 5 AND NOT {_DENIED} THEN {_dice(13, 4_000_000)} ELSE 0 END",
    "loop": f"CASE WHEN {_LOOPS} THEN 'warn;rule=identical;count=3' ELSE '' END",
    "wasted_new": f"CASE WHEN {_LOOPS} THEN {_dice(14, 1_000_000)} ELSE 0 END",
    "findings": f"CASE WHEN {_DRY} THEN '[[\"shadow/model_not_allowed\",\"AGENTS.md:12\"]]' ELSE '[]' END",
    "charges": f"""CASE WHEN {_DENIED} THEN '[]' ELSE '[["{COUNTER}","usd",' || (100000 + {_dice(12, 30_000_000)}) || ']]' END""",
    "marks": f"""CASE WHEN {_DENIED} THEN '{{"body":100000,"closed":900000}}' ELSE '{{"body":100000,"admitted":500000,"sent":600000,"""
    f""""first_byte":' || (200000000 + {_dice(15, 900_000_000)}) || ',"closed":' || (1200000000 + {_dice(15, 900_000_000)}) || '}}' END""",
    "carbon_ug_low": f"CASE WHEN {_DENIED} THEN 0 ELSE {_dice(16, 40_000)} END",
    "carbon_ug": f"CASE WHEN {_DENIED} THEN 0 ELSE 2 * {_dice(16, 40_000)} END",
    "energy_uwh_low": f"CASE WHEN {_DENIED} THEN 0 ELSE {_dice(16, 90_000)} END",
    "energy_uwh": f"CASE WHEN {_DENIED} THEN 0 ELSE 2 * {_dice(16, 90_000)} END",
}
"""What of a record is not `TYPICAL`, as SQL of its number `i`."""


def make(path: Path, count: int, days: float, agents: int) -> None:
    """Write a ledger of `count` records over the last `days`."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -2000000", "temp_store = FILE"):
            db.execute(f"PRAGMA {pragma}")
        prepare(db, str(path))
        indices = db.execute("SELECT name, sql FROM sqlite_master WHERE type IN ('index', 'trigger') AND sql IS NOT NULL").fetchall()
        for name, sql in indices:
            db.execute(f"DROP {'INDEX' if sql.startswith('CREATE INDEX') else 'TRIGGER'} {name}")
        record = replace(TYPICAL, price="genai-prices 0.0.31 openai/gpt-5", price_digest="0123abcd")
        typical = dict(zip(COLUMNS, to_row(record), strict=True))
        values = ", ".join(MADE.get(name, f":{name}") for name in COLUMNS)
        rows = "WITH RECURSIVE n (i) AS (SELECT :first UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :end)"
        sql = f"INSERT INTO records ({', '.join(COLUMNS)}) {rows} SELECT {values} FROM n"
        given = typical | {"since": time.time() - days * DAY_S, "span": days * DAY_S, "count": count, "agents": agents}
        for first in range(0, count, STEP):
            db.execute(sql, given | {"first": first, "end": min(count, first + STEP)})
            sys.stderr.write(f"\r{min(count, first + STEP):,} records")
        for _, sql in indices:
            db.execute(sql)
        db.execute("PRAGMA journal_mode = WAL")
    sys.stderr.write("\n")


def questions(path: Path, now: float) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield what is asked, by name."""
    day, week = Filter(since=now - DAY_S), 7 * DAY_S
    for by in (("agent",), ("team",), ("model",), ("provider",), ("hour", "team"), ("reason", "rule"), ("session",), ("route",)):
        yield f"ledger --by {','.join(by)} --since 1d", lambda by=by: rolled.asking(path, now)(by, day, 100)  # type: ignore[misc]
    yield "ledger --by agent --since 7d", lambda: rolled.asking(path, now)(("agent",), Filter(since=now - week), 100)
    yield "ledger --since 1d", lambda: query.rows(path, day)
    yield "top", lambda: screen.snapshot(path, now, 15)
    yield "report of a week", lambda: report.gather(path, now - week, now)
    yield "report of 31 days", lambda: report.gather(path, now - 31 * DAY_S, now)
    part, refused = sums.Part(now - DAY_S, now), trails.Refused(now - DAY_S, now, None, None, "")
    read: dict[str, Callable[[sqlite3.Connection], Any]] = {
        "series of a day": lambda db: sums.series(db, part, 3600),
        "series of a month by day": lambda db: sums.series(db, replace(part, since=now - 31 * DAY_S), DAY_S),
        "series of an agent": lambda db: sums.series(db, replace(part, agent="agent-7"), 3600),
        "teams": lambda db: sums.teams(db, part),
        "models of an agent": lambda db: sums.models(db, replace(part, agent="agent-7")),
        "routing of a day": lambda db: sums.routing(db, part),
        "routing of a week": lambda db: sums.routing(db, replace(part, since=now - week)),
        "sessions": lambda db: trails.sessions(db, trails.Wanted(now - DAY_S, None, None, "", "last", True, 0, 50)),
        "sessions by cost": lambda db: trails.sessions(db, trails.Wanted(now - DAY_S, None, None, "", "usd", True, 0, 50)),
        "decisions": lambda db: (trails.refusals(db, refused, 50, None), trails.counted(db, refused)),
        "shadow": lambda db: trails.dry_runs(db, refused),
        "session": lambda db: trails.timeline(db, "s-7-20", 100, None),
        "run": lambda db: trails.run(db, "run-1500"),
        "burn": lambda db: (sums.burned(db, COUNTER), sums.spenders(db, COUNTER)),
    }
    for name, ask in read.items():
        yield f"dashboard: {name}", lambda ask=ask: _read(path, ask)  # type: ignore[misc]


def _read(path: Path, ask: Callable[[sqlite3.Connection], Any]) -> Any:
    with rollup.reading(path, 60.0) as db:
        return ask(db)


def measured(path: Path) -> dict[str, Any]:
    """Return how long each question takes, in seconds, and how long the sums take to catch up."""
    now, begun = time.time(), time.perf_counter()
    followed = rollup.reach(path, now)
    while (reach := rollup.follow(path, now, 10.0)).behind:
        sys.stderr.write(f"\r{reach.behind:,} records to add up ")
    found: dict[str, Any] = {"records": reach.upto, "adding_up_s": round(time.perf_counter() - begun, 1), "added_up": followed.behind}
    found["megabytes"] = {p.name: p.stat().st_size // 1_000_000 for p in (path, rollup.beside(path))}
    for name, ask in questions(path, now):
        times: list[tuple[float, float]] = []
        for _ in range(3):
            at, cpu = time.perf_counter(), time.process_time()
            try:
                ask()
            except Exception as e:  # noqa: BLE001 - what went wrong is a finding
                found[name] = f"{type(e).__name__}: {e}"
                break
            times.append((time.perf_counter() - at, time.process_time() - cpu))
        else:
            found[name] = [round(min(part), 3) for part in zip(*times, strict=True)]
        sys.stderr.write(f"{name}: {found[name]}\n")
    return found


def main() -> int:
    """Make the ledger, ask, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ledger", description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--days", type=float, default=14)
    parser.add_argument("--agents", type=int, default=10_000)
    parser.add_argument("--file", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fleetgate-ledger-") as folder:
        path = args.file or Path(folder, "fleetgate.db")
        if not path.exists():
            make(path, args.records, args.days, args.agents)
        sys.stdout.write(json.dumps(measured(path), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
