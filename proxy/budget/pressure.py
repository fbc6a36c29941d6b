"""How much faster than their windows pass the budgets of a call burn, for whoever can take work off them. Reads only.

A budget of the calendar has a plan: half of it by half of its window. What is used and held beyond that, as a share of what the plan
leaves for the rest of the window, is its pressure: 0 on plan, 1 when it is used up. The highest counts. Budgets without a calendar window,
without a limit, or of no money or tokens, have no plan. What is found is kept a second for the same counters, so that a burst looks once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta

from proxy.budget.port import BudgetStore, Claim
from proxy.budget.rules import Facts, RuleSet
from proxy.engine.exchange import Exchange
from proxy.engine.ports import StoreError
from proxy.model import BudgetRule

Pressure = Callable[[Exchange], Awaitable[float]]
KEPT_S = 1.0
MOST = 4096
_AMOUNTS = {"usd": 1, "tokens": 1, "input_tokens": 1, "output_tokens": 1}
_LENGTH = {"minute": 60.0, "hour": 3600.0, "day": 86_400.0, "week": 604_800.0}


def over_plan(used: int, limit: int, elapsed: float) -> float:
    """Return the pressure on a budget of which `used` of `limit` is gone when the share `elapsed` of its window is over."""
    share = 1.0 if limit <= 0 else used / limit
    if share <= elapsed:
        return 0.0
    return min(1.0, (share - elapsed) / (1.0 - elapsed)) if elapsed < 1.0 else 1.0


def elapsed(window: str, ends: float, now: float) -> float:
    """Return which share of the calendar `window` that ends at `ends` (UTC seconds) is over."""
    length = _LENGTH.get(window)
    if length is None:
        begun = (datetime.fromtimestamp(ends, UTC) - timedelta(days=1)).replace(day=1)
        length = ends - begun.timestamp()
    return min(1.0, max(0.0, 1.0 - (ends - now) / length))


def pressure(rules: Sequence[BudgetRule], store: BudgetStore) -> Pressure:
    """Return what looks up the pressure on the budgets of an exchange; 0 where the store cannot say."""
    fleet = RuleSet(rules)
    known: dict[tuple[str, ...], tuple[float, float]] = {}

    async def look(ex: Exchange) -> float:
        facts = Facts(ex.grant.team, ex.grant.agent, ex.principal.key_id, ex.session, ex.run)
        found = [*fleet.claims(facts, ex.wall, _AMOUNTS), *RuleSet(ex.grant.budgets).claims(facts, ex.wall, _AMOUNTS)]
        claims = [claim for claim in found if claim.limit is not None and claim.resets_at is not None]
        counters = tuple([claim.counter for claim in claims])
        kept = known.get(counters)
        if kept is not None and 0 <= ex.wall - kept[0] < KEPT_S:
            return kept[1]
        try:
            balances = await store.balances(counters, ex.wall) if counters else {}
        except StoreError:  # whoever reserves will find out, and refuse
            return 0.0
        highest = max([_of(claim, *balances.get(claim.counter, (0, 0)), ex.wall) for claim in claims], default=0.0)
        if len(known) >= MOST:
            known.clear()
        known[counters] = (ex.wall, highest)
        return highest

    return look


def _of(claim: Claim, spent: int, held: int, now: float) -> float:
    assert claim.rule is not None and claim.limit is not None and claim.resets_at is not None  # noqa: S101, PT018  chosen so
    return over_plan(spent + held, claim.limit, elapsed(claim.rule.window, claim.resets_at, now))
