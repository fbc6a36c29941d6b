"""`budgets --audit`: the counters of the store against the records of the ledger, and where they part."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from proxy.app.audit import WAIT_S, Audit
from proxy.app.balances import Board
from proxy.app.build import Files
from proxy.app.drift import LATE_S, Difference, Parting, lasting, parting
from proxy.app.storage import open_stores, reading
from proxy.money import dollars
from proxy.telemetry.charges import Charges
from proxy.telemetry.tables import count, table

EXPLAINED = 20
"""Differences whose first odd record is looked for: each takes a walk through the ledger."""
_WHY = {
    "rolling": "of rolling windows",
    "over": "of windows that are over",
    "older": "of sessions, runs and windows that began before anybody can say",
}


def audit(files: Files, *, as_json: bool) -> int:
    """Audit the store of `files`, print what differs and return the exit code. Raises StoreError, ValueError."""
    if files.settings.store.kind == "memory":
        raise ValueError("store memory: only the server can audit it; look at fleetgate_budget_drift on its admin port")
    with reading(files.settings.store) as journal:
        done, found = asyncio.run(_audit(files, journal))
        if done.sums.missing:
            raise ValueError("the ledger has let go of records (they were shipped, or too many), so nobody can say what counters should be")
        shown = [(d, parting(d, journal.parts(d.counter)) if i < EXPLAINED else Parting("", "")) for i, d in enumerate(found)]
    sys.stdout.write(_json(done, shown) if as_json else _text(done, shown))
    return 1 if found else 0


async def _audit(files: Files, journal: Charges) -> tuple[Audit, list[Difference]]:
    """Look once, and where something differs once more: only what stays is believed."""
    stores, board = open_stores(files.settings.store), Board(files)
    try:
        done = Audit(journal, stores.budget, lambda: board)
        found = await _look(done, files, WAIT_S / 2)
        return done, lasting(found, await _look(done, files, WAIT_S)) if found else []
    finally:
        await stores.close()


async def _look(done: Audit, files: Files, wait_s: float) -> list[Difference]:
    longest_s = files.settings.longest_s() + LATE_S
    return [*await done.look(time.time, wait_s), *await done.look_rolling(time.time, wait_s, longest_s)]


def _text(done: Audit, shown: Sequence[tuple[Difference, Parting]]) -> str:
    lines = [f"{count(done.audited)} counters audited against {count(done.sums.upto)} records"]
    lines += [f"  {count(number)} {_WHY[why]} not audited" for why, number in sorted(done.skipped.items()) if why != "over"]
    if not shown:
        return "\n".join([*lines, "no difference", ""])
    rows = [(d.counter, *(_amount(d.unit, n) for n in (d.spent, d.charged, d.over))) for d, _ in shown]
    lines += ["", table(("COUNTER", "SPENT", "RECORDS SAY", "TOO MUCH"), rows, {"SPENT", "RECORDS SAY", "TOO MUCH"}), ""]
    lines += [f"{d.counter}: {f'{first.id}: ' if first.id else ''}{first.why}" for d, first in shown if first.why]
    return "\n".join([*lines, ""])


def _json(done: Audit, shown: Sequence[tuple[Difference, Parting]]) -> str:
    found: list[dict[str, Any]] = [
        {"counter": d.counter, "unit": d.unit, "spent": d.spent, "charged": d.charged, "over": d.over, "first": first.id, "why": first.why}
        for d, first in shown
    ]
    told = {"audited": done.audited, "records": done.sums.upto, "skipped": done.skipped, "differences": found}
    return json.dumps(told, indent=1) + "\n"


def _amount(unit: str, value: int) -> str:
    return f"{dollars(value)} USD" if unit == "usd" else f"{count(value)} {unit}"
