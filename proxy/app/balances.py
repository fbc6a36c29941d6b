"""What is left of every budget: the counters that calls of an agent would draw from, read from the store."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from proxy.app.build import Files
from proxy.budget.port import BudgetStore, Claim
from proxy.budget.rules import Facts, RuleSet
from proxy.model import Grant

AMOUNTS = {"usd": 1, "tokens": 1, "input_tokens": 1, "output_tokens": 1, "requests": 1, "concurrency": 1}


async def balances(files: Files, store: BudgetStore, grants: Iterable[Grant], now: float, key_id: str = "") -> list[dict[str, Any]]:
    """Return the balance of each counter that a call of one of `grants` would touch now, sessions and runs left out.

    Each is `{name, counter, scope, unit, window, limit, spent, held, remaining, resets_at, source}`, amounts of `usd` in nanos.
    """
    fleet, found = RuleSet(files.budgets), dict[str, Claim]()
    for grant in grants:
        facts = Facts(team=grant.team, agent=grant.agent, key=key_id, session="", run="")
        for claim in (*fleet.claims(facts, now, AMOUNTS), *RuleSet(grant.budgets).claims(facts, now, AMOUNTS)):
            found.setdefault(claim.counter, claim)
    known = await store.balances(list(found), now)
    return [_shown(claim, *known.get(counter, (0, 0))) for counter, claim in found.items()]


def _shown(claim: Claim, spent: int, held: int) -> dict[str, Any]:
    rule = claim.rule
    limit = rule.limit if rule is not None else claim.limit or 0
    return {
        "name": rule.name if rule is not None else claim.counter,
        "counter": claim.counter,
        "unit": claim.unit,
        "window": rule.window if rule is not None else "",
        "limit": limit,
        "spent": spent,
        "held": held,
        "remaining": max(0, limit - spent - held),
        "resets_at": claim.resets_at,
        "source": str(rule.source) if rule is not None else "",
    }
