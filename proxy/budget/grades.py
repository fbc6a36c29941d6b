"""The graded end of a budget: a call that does not fit goes to a cheaper model, or a local one, where its rule says so.

Who may serve a call is routing's to say, inside the grant: that is injected. Nothing is held while this is decided, and the call must fit
at its new price like any other, within the same limits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from proxy.engine.exchange import Exchange
from proxy.model import BudgetRule, Deny, Route, Target

Instead = Callable[[Exchange, str], "tuple[Target, ...] | str"]
"""Returns where a model (empty: a local one) may serve an exchange in place of its route, or in words why nothing may."""
DOWNGRADE, LOCAL = "downgrade:", "local"
MOST = 2
"""How often one call is moved: a cheaper model, then a local one."""


def nowhere(ex: Exchange, model: str) -> str:
    """Know of no other route."""
    return "no other route is configured"


def grade(rule: BudgetRule | None) -> str | None:
    """Return the model that `rule` has a call that does not fit served by, empty for any local one, None where it refuses."""
    if rule is None:
        return None
    if rule.on_exceed.startswith(DOWNGRADE):
        return rule.on_exceed.removeprefix(DOWNGRADE).strip()
    return "" if rule.on_exceed == LOCAL else None


def move(ex: Exchange, rule: BudgetRule, model: str, found: tuple[Target, ...]) -> None:
    """Have `found` serve `ex`, and say which budget did it."""
    reason = "local" if not model else "downgrade"
    why = f"budget {rule.name} is used up ({rule.on_exceed})"
    ex.route = Route(found, reason, why, ex.route.difficulty)  # type: ignore[arg-type]
    ex.find(f"budget/{reason}", rule.name)
    ex.note("budget", f"{reason}: {found[0].provider} {found[0].model}, since {why} [{rule.source}]")


def unmoved(deny: Deny, rule: BudgetRule | None, why: str) -> Deny:
    """Return `deny` with the words that the call could not be served otherwise either."""
    if rule is None:
        return deny
    instead = "a local model" if rule.on_exceed == LOCAL else rule.on_exceed.removeprefix(DOWNGRADE).strip()
    return replace(deny, message=f"{deny.message} Budget {rule.name} would have had it served by {instead}: {why.rstrip('.')}.")
