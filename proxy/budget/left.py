"""What is left of the budgets that a call would draw from, for whoever decides before it is reserved. Reads only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from proxy.budget.port import BudgetStore, Claim
from proxy.budget.rules import Facts, RuleSet
from proxy.engine.exchange import Exchange
from proxy.model import BudgetRule

Left = Callable[[Exchange], Awaitable[list[dict[str, Any]]]]
AMOUNTS = {"usd": 1, "tokens": 1, "input_tokens": 1, "output_tokens": 1, "requests": 1, "concurrency": 1, "gco2e": 1}
SHARES = {"usd": 1e9, "gco2e": 1e6}
"""Of what units counters hold more, and smaller ones."""


def left(rules: Sequence[BudgetRule], store: BudgetStore) -> Left:
    """Return what looks up `{name, unit, window, limit, left}` of each budget that matches an exchange; `usd` in dollars, `gco2e` in grams.

    Budgets on models and providers are not among them: the route is not known yet. Raises StoreError.
    """
    fleet = RuleSet(rules)

    async def look(ex: Exchange) -> list[dict[str, Any]]:
        facts = Facts(ex.grant.team, ex.grant.agent, ex.principal.key_id, ex.session, ex.run)
        claims = [*fleet.claims(facts, ex.wall, AMOUNTS), *RuleSet(ex.grant.budgets).claims(facts, ex.wall, AMOUNTS)]
        if not claims:
            return []
        known = await store.balances([claim.counter for claim in claims], ex.wall)
        return [_shown(claim, *known.get(claim.counter, (0, 0))) for claim in claims if claim.rule is not None]

    return look


def _shown(claim: Claim, spent: int, held: int) -> dict[str, Any]:
    rule = claim.rule
    assert rule is not None  # noqa: S101  asked above
    part = SHARES.get(rule.unit, 1)
    names = {"name": rule.name, "unit": rule.unit, "window": rule.window}
    return {**names, "limit": rule.limit / part, "left": max(0, rule.limit - spent - held) / part}
