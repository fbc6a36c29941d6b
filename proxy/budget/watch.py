"""What people hear of budgets while calls pass: findings on the call, and a notice when a budget crosses a threshold or first refuses.

Decides nothing. A notice is told once for each counter and threshold, as far as this process remembers.
"""

from __future__ import annotations

from proxy.budget.port import Balance, Claim
from proxy.budget.refusal import amount
from proxy.engine.exchange import Exchange
from proxy.engine.notice import Notice
from proxy.model import BudgetRule

REMEMBERED = 10_000
"""Crossings that are remembered; beyond that some may be told twice."""


class Watch:
    """Says what is nearly used up."""

    __slots__ = ("_told",)

    def __init__(self) -> None:
        self._told: set[tuple[str, float]] = set()

    def look(self, ex: Exchange, claim: Claim, balance: Balance) -> None:
        """Note a budget that a dry run would have refused, or that is nearly used up."""
        rule, used = claim.rule, sum(balance)
        if rule is None:
            return
        if used > rule.limit:
            if rule.shadow:
                ex.find(f"shadow/{rule.reason}", rule.name)
            elif rule.on_exceed == "warn":
                ex.find("budget/exceeded", rule.name)
        if not rule.warn_at:
            return
        passed = [share for share in rule.warn_at if used >= share * rule.limit]
        if not passed:
            return
        if used <= rule.limit:
            ex.find("budget/warn", f"{rule.name} {passed[-1] * 100:g}%")
        self._crossed(ex, rule, claim, balance[0])

    def _crossed(self, ex: Exchange, rule: BudgetRule, claim: Claim, spent: int) -> None:
        """Tell of the highest threshold that what is spent has passed: what is held may come back."""
        passed = [share for share in rule.warn_at if spent >= share * rule.limit]
        if passed:
            share = max(passed)
            text = f"Budget {rule.name} ({rule.window}) is {share * 100:g} % used: {_of(claim, spent)}."
            self._tell(ex, (claim.counter, share), text, {**_facts(rule, claim, spent), "threshold": share})

    def refused(self, ex: Exchange, claim: Claim, balance: Balance) -> None:
        """Tell of the first refusal of a counter."""
        rule = claim.rule
        if rule is None or claim.unit == "concurrency":
            return
        text = f"Budget {rule.name} ({rule.window}) refuses calls: {_of(claim, balance[0])}, {amount(claim.unit, balance[1])} held."
        self._tell(ex, (claim.counter, 1.0), text, {**_facts(rule, claim, balance[0]), "refused": True})

    def _tell(self, ex: Exchange, what: tuple[str, float], text: str, facts: dict[str, str | int | float | bool | None]) -> None:
        if what in self._told:
            return
        if len(self._told) >= REMEMBERED:
            self._told.clear()
        self._told.add(what)
        ex.rt.tell(Notice("budget", f"{what[0]} {what[1]:g}", text, facts, ex.wall))


def _of(claim: Claim, spent: int) -> str:
    return f"{amount(claim.unit, spent)} of {amount(claim.unit, (claim.rule.limit if claim.rule else 0))} spent"


def _facts(rule: BudgetRule, claim: Claim, spent: int) -> dict[str, str | int | float | bool | None]:
    return {
        "budget": rule.name,
        "counter": claim.counter,
        "unit": claim.unit,
        "window": rule.window,
        "spent": spent,
        "limit": rule.limit,
        "resets_at": claim.resets_at,
    }
