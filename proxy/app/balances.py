"""What is left of every budget, and for how long at this pace: the counters that calls of an agent would draw from.

Reads the store; decides only which counters are looked at. Those of sessions, runs, models, providers and keys have no end: of them those
are shown that were charged lately. Nothing here is on a request's path, but for the few counters of one caller's own `me`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from proxy.app.build import Files
from proxy.budget.forecast import Pace, exhausted_in
from proxy.budget.port import BudgetStore, Claim
from proxy.budget.rules import Facts, RuleSet, enforced, window_of
from proxy.budget.windows import span_of
from proxy.identity.runs import OPEN, owner
from proxy.model import BudgetRule, Grant
from proxy.model.footprints import decimal
from proxy.money import dollars
from proxy.telemetry.charges import PASSING, Recent

AMOUNTS = {"usd": 1, "tokens": 1, "input_tokens": 1, "output_tokens": 1, "requests": 1, "concurrency": 1, "gco2e": 1}
AT_ONCE = 100
"""Counters in one question to the store, and agents in one turn of the loop, about a millisecond: others have theirs in between."""
NOTHING = Recent({}, 0.0)
_MONEY = ("limit", "spent", "held", "remaining")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who would call: an agent's grant, and what else its calls would be. Empty where that is not known."""

    grant: Grant
    key_id: str = ""
    session: str = ""
    run: str = ""


class Board:
    """The budgets of one snapshot, arranged once.

    Args:
        files: the snapshot.
    """

    def __init__(self, files: Files) -> None:
        self.files = files
        self._fleet = RuleSet(files.budgets)
        self._own = {agent: RuleSet(grant.budgets) for agent, grant in files.directory.agents.items() if grant.budgets}
        rules = [*files.budgets, *(rule for grant in files.directory.agents.values() for rule in grant.budgets)]
        self._rules: dict[tuple[str, str], BudgetRule] = {(rule.name, rule.unit): rule for rule in rules}

    def claims(self, caller: Caller, now: float) -> list[Claim]:
        """Return what a call of `caller` would claim now, the counters of models and providers left out."""
        grant = caller.grant
        facts = Facts(team=grant.team, agent=grant.agent, key=caller.key_id, session=caller.session, run=caller.run)
        own = self._own.get(grant.agent)
        return [*self._fleet.claims(facts, now, AMOUNTS), *(own.claims(facts, now, AMOUNTS) if own is not None else ())]

    async def fleet(self, grants: Sequence[Grant], now: float, recent: Recent = NOTHING) -> list[Claim]:
        """Return the counters that calls of `grants` would touch now, and those of this moment that were charged lately."""
        found: dict[str, Claim] = {}
        for i, grant in enumerate(grants):
            for claim in self.claims(Caller(grant), now):
                found.setdefault(claim.counter, claim)
            if i % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)
        names = {grant.agent for grant in grants}
        for counter in recent.amounts.keys() - found.keys():
            seen, agent = self.seen(counter, now), agent_of(counter.partition("|")[0], scope_of(counter))
            if seen is not None and (not agent or agent in names):
                found[counter] = seen
        return list(found.values())

    def seen(self, counter: str, now: float) -> Claim | None:
        """Return a claim on `counter`, whose key is all that is known; None when no rule of now has it, or not in this window."""
        parts = counter.rsplit("|", 3)
        rule = self._rules.get((parts[0], parts[1])) if len(parts) == 4 else None
        if rule is None:
            return None
        window, resets_at = window_of(rule, now)
        span = float(span_of(rule.window))
        return Claim(counter, rule.unit, rule.limit, 1, 0.0, rule, resets_at, span=span) if window == parts[3] else None


async def balances(store: BudgetStore, claims: Iterable[Claim], now: float, recent: Recent = NOTHING) -> list[dict[str, Any]]:
    """Return the balance of the counter of each claim, the one nearest to its limit first.

    Each is `{name, counter, scope, unit, window, limit, spent, held, remaining, used, enforced, resets_at, exhausted_in, source}`: amounts
    of `usd` in nanos, `used` as a share of the limit, `exhausted_in` in seconds, None when it lasts. Raises StoreError.
    """
    asked, pace, found = list(claims), _paces(recent), list[dict[str, Any]]()
    for start in range(0, len(asked), AT_ONCE):
        part = asked[start : start + AT_ONCE]
        known = await store.balances([claim.counter for claim in part], now)
        found += [_shown(claim, known.get(claim.counter, (0, 0)), pace, now) for claim in part]
    return sorted(found, key=lambda b: (-b["used"], b["name"], b["counter"]))


@dataclass(frozen=True, slots=True)
class _Paces:
    """What was charged lately, by a counter's key without its window: a window that has just begun goes on at the pace of the last."""

    amounts: Mapping[str, int]
    seconds: float

    def of(self, counter: str, pace: Pace) -> Pace:
        if self.seconds <= 0:
            return pace
        return replace(pace, recent=self.amounts.get(counter.rpartition("|")[0], 0), recent_s=self.seconds)


def _paces(recent: Recent) -> _Paces:
    amounts: dict[str, int] = {}
    for counter, amount in recent.amounts.items():
        key = counter.rpartition("|")[0]
        amounts[key] = amounts.get(key, 0) + amount
    return _Paces(amounts, recent.seconds)


def _shown(claim: Claim, balance: tuple[int, int], paces: _Paces, now: float) -> dict[str, Any]:
    (spent, held), rule = balance, claim.rule
    limit = rule.limit if rule is not None else claim.limit or 0
    window = rule.window if rule is not None else ""
    pace = Pace(limit, spent, held, window, claim.resets_at, span=claim.span)
    lasts = claim.unit == "concurrency"  # a number of calls, which no pace uses up
    return {
        "name": rule.name if rule is not None else claim.counter,
        "counter": claim.counter,
        "scope": scope_of(claim.counter),
        "unit": claim.unit,
        "window": window,
        "limit": limit,
        "spent": spent,
        "held": held,
        "remaining": max(0, limit - spent - held),
        "used": round((spent + held) / limit, 6) if limit else 1.0,
        "enforced": rule is None or enforced(rule),
        "resets_at": claim.resets_at,
        "exhausted_in": None if lasts else exhausted_in(paces.of(claim.counter, pace), now),
        "source": str(rule.source) if rule is not None and rule.source.file else "",
    }


def passing(counter: str) -> bool:
    """Return whether a counter is a session's or a run's: of those there may be as many as there are calls."""
    return any(mark in counter for mark in PASSING)


def scope_of(counter: str) -> str:
    """Return whose counter it is, as `agent=clerk,session=s1`; empty where all share it."""
    parts = counter.rsplit("|", 2)
    return parts[1].lstrip(",") if len(parts) == 3 else ""


def agent_of(name: str, scope: str) -> str:
    """Return the one agent whose calls draw from a budget of this name and scope; empty where others do too."""
    if name.startswith("agent:"):
        return name.removeprefix("agent:").rsplit("/", 2)[0]
    for part in scope.split(","):
        kind, _, value = part.partition("=")
        if kind == "agent":
            return value
        if kind == "session" or (kind == "run" and not owner(value)):
            return value.rpartition("/")[0].removeprefix(f"{OPEN}:")
    return ""


def balance_json(balance: Mapping[str, Any]) -> dict[str, Any]:
    """Return a balance for people: dollars as decimal text, counts as numbers."""
    shown = dict(balance)
    if shown["unit"] == "usd":
        for name in _MONEY:
            shown[name] = dollars(shown[name])
    if shown["unit"] == "gco2e":
        for name in _MONEY:
            shown[name] = decimal(shown[name])
    if shown["exhausted_in"] is not None:
        shown["exhausted_in"] = round(shown["exhausted_in"])
    return shown
