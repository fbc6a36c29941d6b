"""`ledger --reprice`: what history would have cost at today's prices and the configuration's own."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from typing import Any

from proxy.app.served import table as model_table
from proxy.app.storage import reading
from proxy.engine.record import Record
from proxy.model import Price
from proxy.money import dollars
from proxy.routing.models import ModelTable
from proxy.settings import Settings
from proxy.telemetry.query import Filter
from proxy.telemetry.reprice import Line, Priced, lines, paid, write
from proxy.telemetry.tables import count, table


def reprice(settings: Settings, where: Filter, *, apply: bool, as_json: bool) -> int:
    """Print charged and new costs by model; with `apply` also keep the new ones beside the old. Raises StoreError, ValueError."""
    if apply and settings.store.path is None:
        raise ValueError("ledger --reprice --apply: needs the ledger in a file (store: sqlite:PATH); from Redis, ship it to one first")
    costs: list[tuple[str, int]] = []

    def keep(id: str, amount: int) -> None:
        if apply:
            costs.append((id, amount))

    with reading(settings.store) as journal:
        found = lines(paid(journal.now(), where), today(model_table(settings)), keep)
    done = write(settings.store.path, costs) if apply and settings.store.path is not None else 0
    sys.stdout.write(_json(found, done) if as_json else _text(found, done, apply=apply))
    return 0


def today(models: ModelTable) -> Priced:
    """Return what finds the price of a record's model at the provider that served it; None where the configuration has none now."""
    known: dict[tuple[str, str, str], Price | None] = {}

    def price(record: Record) -> Price | None:
        key = (record.provider, record.model, record.protocol)
        if key not in known:
            targets = models.targets(record.model, record.protocol)
            target = next((t for t in targets if t.provider == record.provider), None)
            known[key] = None if target is None else target.price
        return known[key]

    return price


def _text(found: Sequence[Line], done: int, *, apply: bool) -> str:
    if not found:
        return "no exchanges that used tokens\n"
    total = Line("total", *(sum(values) for values in zip(*(dataclasses.astuple(line)[1:] for line in found), strict=True)))
    rows = [
        (line.model or "-", count(line.calls), count(line.changed), *(dollars(n) for n in (line.charged, line.now, line.difference)))
        for line in (*found, total)
    ]
    head = ("MODEL", "CALLS", "CHANGED", "CHARGED USD", "NOW USD", "DIFFERENCE USD")
    said = [table(head, rows, set(head[1:]))]
    if total.unpriced:
        said.append(f"{count(total.unpriced)} calls have no price now, and count as they were charged")
    kept = f"kept beside {count(done)} records (column repriced)"
    said.append(kept if apply else "nothing was changed; --apply keeps the new costs beside the old")
    return "\n".join([*said, ""])


def _json(found: Sequence[Line], done: int) -> str:
    shown: list[dict[str, Any]] = [dataclasses.asdict(line) | {"difference": line.difference} for line in found]
    return json.dumps({"models": shown, "applied": done}, indent=1) + "\n"
