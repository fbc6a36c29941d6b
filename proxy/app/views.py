"""What the admin plane shows of the house, and what people may do through it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from proxy.admin.api import AdminViews
from proxy.app.balances import balance_json, balances
from proxy.app.contents import HouseContents
from proxy.app.hands import HouseHands
from proxy.app.me import grants_of
from proxy.app.panels import HousePanels

if TYPE_CHECKING:
    from proxy.app.house import House

MOST_AGENTS = 2000
"""Agents whose budgets one admin request looks up."""


def admin_views(house: House) -> AdminViews:
    """Return the admin plane's views of `house`."""
    return AdminViews(
        ready=partial(_ready, house),
        metrics=house.metrics.render,
        agents=partial(_agents, house),
        budgets=partial(_budgets, house),
        ledger=house.journal,
        now=house.clock.now,
        pairs=lambda: [pair.as_json() for pair in house.sampler.pairs.all()],
        hands=HouseHands(house),
        panels=HousePanels(house),
        contents=HouseContents(house),
    )


def _ready(house: House) -> tuple[bool, Mapping[str, Any]]:
    problem = house.journal_problem()
    detail = {
        "warming": house.warming,
        "draining": house.draining,
        "config": house.files.version,
        "config_errors": list(house.problems),
        "store": house.stores.problem or "ok",
        "ledger": problem or "ok",
        "circuits_open": [name for name, is_open in house.circuits().items() if is_open],
        "policy": house.opas.state(),
        "opa": house.opas.detail(),
        "control": house.kills.problem or "ok",
        "tokens": house.tokens.state(),
        "inflight": house.engine.live.inflight,
        "tasks": len(asyncio.all_tasks()),
    }
    behind = problem and not house.started.store.lease  # with a lease it serves while the store is away
    return not (house.draining or house.warming or behind or house.kills.stale or house.tokens.down or house.opas.down), detail


def _agents(house: House) -> Sequence[Mapping[str, Any]]:
    return [
        {
            "agent": g.agent,
            "team": g.team,
            "version": g.version,
            "description": g.description,
            "policy_digest": g.digest,
            "file_digest": g.file_digest,
        }
        for g in grants_of(house)
    ]


async def _budgets(house: House) -> Sequence[Mapping[str, Any]]:
    now, recent = house.clock.now(), house.gauges.recent
    claims = await house.board.fleet(grants_of(house)[:MOST_AGENTS], now, recent)
    return [balance_json(b) for b in await balances(house.stores.budget, claims, now, recent)]
