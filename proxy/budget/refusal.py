"""The words of a budget's refusal: which rule, what is left, when it starts anew, and what to do. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from proxy.budget.cost import Cost
from proxy.budget.port import Claim, Exceeded
from proxy.model import BudgetRule, Deny, Limit, Reason, Source, Target
from proxy.model.footprints import decimal
from proxy.money import dollars

_UNKNOWN = BudgetRule("budget", (), "usd", 0, "total", Source("", 0))
KEY_LIMIT = "key:limit"
SESSION_LIMIT = "header:x-fleetgate-limit-usd"
"""The budgets that a key brings with it, and that a header asks for; with the colon no file can have another of this name."""
RUNNING_RETRY_S = 5.0
"""When to come back if running calls hold what this one needs: most of it is freed when they end."""
MAX_RETRY_S = 30.0
PATIENCE_S = 62.0
"""A window that is over after this is worth coming back for: a minute, and the step by which a rolling one is late."""
SIZES = frozenset({"usd", "tokens", "input_tokens", "output_tokens", "gco2e"})
"""Units that a call uses as much of as it is large."""


def amount(unit: str, value: int) -> str:
    """Return `value` of `unit` for people: `0.12 USD`, `400 tokens`, `400 input tokens`."""
    if unit == "usd":
        return f"{dollars(value)} USD"
    if unit == "gco2e":
        return f"{decimal(value)} gCO2e"
    return f"{value:,} {'calls in flight' if unit == 'concurrency' else unit.replace('_', ' ')}"


def exceeded(claims: Sequence[Claim], answer: Exceeded, cost: Cost, least: int, now: float) -> Deny:
    """Return the refusal for `answer`: the claim that not even `least` output tokens fit into, or the one that the store named."""
    index = short(claims, answer, cost, least)
    claim, (spent, held) = claims[index], answer.balances[index]
    rule = claim.rule or _UNKNOWN
    needed = _needed(claim, cost, least)
    left = max(0, (claim.limit or 0) - spent - held)
    if claim.span:  # what the window forgets next may be enough; all of it is forgotten a whole span from now at the latest
        frees_at = answer.frees_at if index == answer.index else None
        claim = claim._replace(resets_at=now + claim.span if frees_at is None else max(now, frees_at))
    deny = _deny(claim, rule, needed, (spent, held), now)
    return replace(deny, rule=_where(rule), remaining=amount(claim.unit, left), resets_at=claim.resets_at)


def short(claims: Sequence[Claim], answer: Exceeded, cost: Cost, least: int) -> int:
    """Return the index of the claim that refuses: the first that not even `least` output tokens fit into, or the one that is named."""
    return next((i for i, claim in enumerate(claims) if _short(claim, answer.balances[i], cost, least)), answer.index)


def _deny(claim: Claim, rule: BudgetRule, needed: int, balance: tuple[int, int], now: float) -> Deny:
    (spent, held), unit, allowed = balance, claim.unit, amount(claim.unit, claim.limit or 0)
    if needed > (claim.limit or 0) and unit in SIZES:
        words = f"This call needs at least {amount(unit, needed)}, more than budget {rule.name} ever has ({allowed})."
        return Deny(Reason.REQUEST_TOO_COSTLY, words, remedy="Send a shorter prompt, or choose a cheaper model.")
    if unit == "concurrency":
        words = f"Limit {rule.name} allows {allowed}, and {held:,} are running."
        return Deny(rule.reason, words, remedy="Wait until one of them ends.", retry_after_s=1.0)
    if unit == "requests":
        words = f"Limit {rule.name} ({rule.window}) allows {allowed}, and {spent + held:,} were made."
        return Deny(rule.reason, words, remedy=_remedy(claim, rule), retry_after_s=_retry_after(claim, now))
    words = (
        f"Budget {rule.name} ({rule.window}) allows {allowed}: {amount(unit, spent)} spent, {amount(unit, held)} held by running calls; "
        f"this call needs at least {amount(unit, needed)}."
    )
    if spent + needed <= (claim.limit or 0):
        remedy = "Try again when the running calls have ended, or ask for a smaller ceiling on output."
        return Deny(rule.reason, words, remedy=remedy, retry_after_s=RUNNING_RETRY_S)
    return Deny(rule.reason, words, remedy=_remedy(claim, rule), retry_after_s=_retry_after(claim, now))


def _short(claim: Claim, balance: tuple[int, int], cost: Cost, least: int) -> bool:
    return claim.limit is not None and sum(balance) + _needed(claim, cost, least) > claim.limit


def used_up(claims: Sequence[Claim], answer: Exceeded | None, seen: int) -> Deny:
    """Return why a stream stops after about `seen` tokens: the claim that cannot grow, or a store that does not answer (None)."""
    after = f"the reply was cut after about {seen:,} tokens"
    if answer is None:
        words = f"What this reply had paid for is used up and the budgets' store cannot be reached for more: {after}."
        return Deny(Reason.BUDGET_EXCEEDED, words, rule="store", remedy="Try again.")
    claim, (spent, held) = claims[answer.index], answer.balances[answer.index]
    rule, limit = claim.rule or _UNKNOWN, claim.limit or 0
    words = (
        f"Budget {rule.name} ({rule.window}) allows {amount(claim.unit, limit)}: {amount(claim.unit, spent)} spent, "
        f"{amount(claim.unit, held)} held by running calls, this one among them; {after}."
    )
    left = amount(claim.unit, max(0, limit - spent - held))
    remedy = _remedy(claim, rule)
    return Deny(Reason.BUDGET_EXCEEDED, words, rule=_where(rule), remedy=remedy, remaining=left, resets_at=claim.resets_at)


def _where(rule: BudgetRule) -> str:
    return f"{rule.source} ({rule.name})" if rule.source.file else rule.name


def _needed(claim: Claim, cost: Cost, least: int) -> int:
    if claim.unit == "usd":
        return cost.usd(least)
    if claim.unit == "tokens":
        return cost.tokens(least)
    if claim.unit == "gco2e":
        return cost.gco2e(least)
    return least if claim.unit == "output_tokens" else claim.amount


def _remedy(claim: Claim, rule: BudgetRule) -> str:
    if rule.name == KEY_LIMIT:
        return "This is what the key itself may spend in all (`keys create --usd`): ask whoever made it for another."
    if rule.window == "session":
        return "Start a new session, or ask the owner of the budget to raise it."
    if rule.window == "run":
        return "Start a new run, or ask the owner of the budget to raise it."
    if claim.span:
        return "Wait until enough of the window has passed, or ask the owner of the budget to raise it."
    if claim.resets_at is not None:
        return f"Wait for the next {rule.window}, or ask the owner of the budget to raise it."
    return "Ask the owner of the budget to raise it."


def _retry_after(claim: Claim, now: float) -> float | None:
    wait = None if claim.resets_at is None else claim.resets_at - now
    return None if wait is None or wait > PATIENCE_S else max(1.0, min(wait, MAX_RETRY_S))


def too_much_input(tokens: int, limit: Limit) -> Deny:
    """Return the refusal of a prompt over its agent's bound."""
    return Deny(
        Reason.REQUEST_TOO_COSTLY,
        f"The prompt is about {tokens:,} tokens; this agent may send {limit.value:,}.",
        rule=str(limit.source),
        remedy="Shorten the conversation, or raise the limit in the agent's file.",
    )


def unpriced(target: Target) -> Deny:
    """Return the refusal of a target that nobody knows the price of."""
    return Deny(
        Reason.UNPRICED_MODEL,
        f"The price of {target.model} at {target.provider} is not known, so no budget could hold it.",
        rule="prices",
        remedy=f'Give it one under models in fleetgate.yaml: "{target.model}": {{price: {{input: …, output: …}}}}.',
    )


def unestimated(targets: Sequence[Target]) -> Deny:
    """Return the refusal of a call whose carbon nobody can bound, where a budget counts it."""
    target = next((target for target in targets if target.footprint is None), targets[0])
    return Deny(
        Reason.UNPRICED_MODEL,
        f"Nobody knows what answers of {target.model} at {target.provider} emit, so no budget in gco2e could hold it.",
        rule="energy",
        remedy=f'Set energy.estimate, or say it under models in fleetgate.yaml: "{target.model}": {{footprint: {{gco2e: …}}}}.',
    )


def dearer(member: str) -> Deny:
    """Return the refusal of a call that asks for a service above the price in the table."""
    return Deny(
        Reason.UNPRICED_MODEL,
        f"`{member}` asks for a service whose price is not in the table, so no budget could hold it.",
        rule="prices",
        remedy=f"Leave `{member}` out of the request, or set it to the provider's standard.",
    )


def bad_limit(header: str) -> Deny:
    """Return the refusal of a limit that cannot be read: a limit that somebody asked for is never ignored."""
    return Deny(Reason.MALFORMED_REQUEST, f"{header} is not an amount of dollars.", rule=header, remedy=f"Write it as in {header}: 0.50.")
