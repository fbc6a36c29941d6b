"""The budget stage: can this call pay, and if not in full, how much of an answer can it afford?

Order: price (a target without one is refused), the agent's bound on input, the output ceiling, then one reserve over all budgets that
the call touches. When the ceiling does not fit but a useful answer does, a stream begins with a part of it held and goes on as far as the
budget does (`budget.extend`); any other call has its ceiling lowered to what fits. A call is refused only when not even a useful answer
fits, and where the budget says so it goes to another model first (`budget.grades`). The hold is settled when the exchange closes, by the
release that is deferred before the reserve is awaited.

Decides nothing about who the caller is or where the call goes. Fails closed: `StoreError` refuses, and an outcome that nobody knows is
charged in full.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from proxy.budget.cost import Cost, fit
from proxy.budget.extend import STEP_OUTPUT, Steps, amounts, meterable
from proxy.budget.grades import MOST, Instead, grade, move, nowhere, unmoved
from proxy.budget.hold import Hold, about
from proxy.budget.learned import Learned, Lesson
from proxy.budget.need import MOST_OUTPUT, Bounds, Need, need_of, useful
from proxy.budget.port import Balance, BudgetStore, Claim, Held
from proxy.budget.refusal import KEY_LIMIT, SESSION_LIMIT, bad_limit, dearer, exceeded, short, too_much_input, unestimated, unpriced
from proxy.budget.rules import Facts, Plan, RuleSet, held_by, talks
from proxy.budget.settle import DEFAULT_MAX_OUTPUT, paid
from proxy.budget.watch import Watch
from proxy.engine.exchange import Exchange
from proxy.engine.stage import Stage
from proxy.model import FREE, BudgetRule, Deny, Grant, Nanos, Principal, Reason, Source
from proxy.money import dollars, nanos

__all__ = ["HOLD_S", "MOST_OUTPUT", "BudgetStage"]

HOLD_S = 1800.0
"""The default of `hold_s`."""
ATTEMPTS = 4
"""How often a lowered ceiling is tried when other calls take what was left in between."""
LEAST_GROWS = 256
"""A hold of less output does not grow: what is in flight at a cut could be more. The provider gets it as its ceiling."""
REMEMBERED = 10_000
"""Callers (a grant and a key) whose plans are kept."""
LIMIT_HEADER = "x-fleetgate-limit-usd"
"""With it a client tightens its own session; it can never widen one."""


@dataclass(frozen=True, slots=True)
class Short:
    """Nothing is held: the refusal, and the rule whose counter is short."""

    deny: Deny
    rule: BudgetRule | None


@dataclass(slots=True)
class Part:
    """What of a reply is held: so many output tokens, and whether that can grow."""

    hold: Hold
    output: int
    grows: bool


class BudgetStage(Stage):
    """See the module.

    Attributes:
        instead: where else a call may go, for budgets that have it served by another model when they are used up.
        learned: what is known of how providers count and send; it lives as long as the process.

    Args:
        rules: the fleet's budgets; an agent's own come with its grant.
        store: where counters and holds are.
        default_max_output: the ceiling of a call that has none, once a budget on money or tokens sees it.
        min_output: the least output tokens of one choice that make an answer worth paying for.
        step_output: output tokens of one choice that a stream holds at a time where its hold grows as it goes.
        hold_s: after this a hold settles in full: longer than any exchange may take, so that it happens after a crash alone.
    """

    name = "budget"
    needs = frozenset({"headers", "call", "principal", "grant", "session", "route"})
    gives = frozenset({"held_output"})

    def __init__(
        self,
        rules: Sequence[BudgetRule],
        store: BudgetStore,
        *,
        default_max_output: int = DEFAULT_MAX_OUTPUT,
        min_output: int = 64,
        step_output: int = STEP_OUTPUT,
        hold_s: float = HOLD_S,
    ) -> None:
        self._rules = RuleSet(rules)
        self._plans: dict[tuple[int, str], tuple[Grant, Nanos | None, Plan]] = {}
        self._store = store
        self._bounds = Bounds(default_max_output, min_output)
        self._hold_s = hold_s
        self._step_output, self._watch = max(step_output, min_output), Watch()
        self.instead: Instead = nowhere
        self.learned = Learned()

    async def request(self, ex: Exchange) -> Deny | None:
        """See `Stage.request`."""
        tighter = None
        asked = ex.headers.get(LIMIT_HEADER)
        if asked is not None:
            tighter = header_rule(asked)
            if tighter is None:
                return bad_limit(LIMIT_HEADER)
        if not paid(ex):
            refused = await self._reserve(ex, Need(Cost(()), 0, 0, 1, False))
            return refused.deny if refused is not None else None
        own, moved = ex.max_output, 0
        found = await self._afford(ex, tighter)
        while isinstance(found, Short) and moved < MOST and (model := grade(found.rule)) is not None and found.rule is not None:
            targets = self.instead(ex, model)
            if isinstance(targets, str):
                return unmoved(found.deny, found.rule, targets)
            move(ex, found.rule, model, targets)
            ex.max_output, moved, why = own, moved + 1, found
            found = await self._afford(ex, tighter)
            if isinstance(found, Deny):
                return unmoved(why.deny, why.rule, found.message)
            if isinstance(found, Short):
                found = Short(unmoved(why.deny, why.rule, f"there {found.deny.message}"), found.rule)
        return found.deny if isinstance(found, Short) else found

    async def _afford(self, ex: Exchange, tighter: BudgetRule | None) -> Deny | Short | None:
        """Hold what the call can use on its route; return why it cannot, and which rule was short where one was."""
        for target in ex.route.targets:
            if target.price is None and not target.local:
                return unpriced(target)
            if ex.call.dearer and target.price not in (None, FREE):
                return dearer(ex.call.dearer[0])
        need = await need_of(ex, self._bounds, self.learned)
        need.tighter = tighter
        if need.kind is not None:
            ex.defer("learn", Lesson(self.learned, need.kind, need.bound).learn)
        if ex.grant.max_input:
            deny = _input_bound(ex, need.bound)
            if deny is not None:
                return deny
        return await self._reserve(ex, need)

    def _plan(self, ex: Exchange) -> Plan:
        """Return the plan of the caller: the rules of the fleet, the agent and the key that can match it, remembered for both."""
        grant, principal = ex.grant, ex.principal
        who = (id(grant), principal.key_id)
        found = self._plans.get(who)
        if found is None or found[0] is not grant or found[1] != principal.limit:
            if len(self._plans) >= REMEMBERED:
                self._plans.clear()
            facts = Facts(grant.team, grant.agent, principal.key_id, "", "")
            own = RuleSet((*grant.budgets, *key_rules(principal)))
            plan = Plan((*self._rules.matching(facts), *own.matching(facts)))
            found = self._plans[who] = grant, principal.limit, plan
        return found[2]

    def _claims(self, ex: Exchange, plan: Plan, need: Need, output: int) -> list[Claim]:
        if not plan.size and need.tighter is None:
            return []
        wanted = amounts(need.cost, output) if need.cost.parts else {"requests": 1, "concurrency": 1}
        grant, targets = ex.grant, () if plan.regular else tuple([(t.provider, t.model) for t in ex.route.targets])
        facts = Facts(grant.team, grant.agent, ex.principal.key_id, ex.session, ex.run, targets)
        found = plan.claims(facts, ex.wall, wanted)
        if need.tighter is not None:
            found += RuleSet((need.tighter,)).claims(facts, ex.wall, wanted)
        if not need.cost.parts:  # a question about models or sizes is a request, but no step of an agent
            found = [claim for claim in found if claim.rule is None or claim.rule.reason is not Reason.STEP_LIMIT]
        return found

    async def _reserve(self, ex: Exchange, need: Need) -> Short | None:
        plan, grows = self._plan(ex), need.injects and meterable(ex, self.learned.bursts)
        output = self._step(need) if grows else need.output
        if plan.carbon and need.cost.parts and not need.cost.footprints:
            return Short(unestimated(ex.route.targets), None)
        claims = self._claims(ex, plan, need, output)
        nobody_asked = need.injects
        need.injects = nobody_asked and _bounded(claims)
        ex.held_input = need.cost.input_tokens
        ex.held_output = 0 if nobody_asked and not need.injects else output
        if not claims:
            return None
        hold = Hold(self._store, ex.id, aimed=not plan.regular)
        ex.defer(self.name, hold.release)
        ex.bill = hold.bill
        now = ex.clock.now()
        attempt = 1
        while True:
            hold.claims = claims
            answer = await self._store.reserve(ex.id, claims, now, now + self._hold_s, about(ex))
            if isinstance(answer, Held):
                if output != need.output or (need.injects and output):
                    self._part(ex, need, Part(hold, output, grows), answer.balances)
                self._said(ex, plan, claims, answer.balances)
                return None
            if attempt == 1:
                need.least, grows = useful(ex.call, need), grows or meterable(ex, self.learned.bursts)
            fits, tightest = fit(claims, answer.balances, need.cost)
            fits = min(fits, output, self._step(need) if grows else fits)
            if fits < need.least or tightest < 0 or attempt == ATTEMPTS:
                break
            attempt += 1
            output = fits // need.choices * need.choices
            claims = self._claims(ex, plan, need, output)
        hold.claims = ()
        index = short(claims, answer, need.cost, need.least)
        self._watch.refused(ex, claims[index], answer.balances[index])
        return Short(exceeded(claims, answer, need.cost, need.least, now), claims[index].rule)

    def _step(self, need: Need) -> int:
        """Return how many output tokens are held at a time where a hold grows."""
        return min(need.output, max(self._step_output * need.choices, need.least))

    def _part(self, ex: Exchange, need: Need, part: Part, balances: Sequence[Balance]) -> None:
        """A part of what was wanted is held, or a ceiling that nobody asked for: send the ceiling upstream, and say so.

        A stream whose hold can grow is sent with what could fit once the running calls have given back what they do not use.
        """
        hold, output = part.hold, part.output
        most = output
        if part.grows and LEAST_GROWS <= output < need.output:
            fits, _ = fit(hold.claims, [(spent, 0) for spent, _ in balances], need.cost)
            most = max(output, min(need.output, fits) // need.choices * need.choices)
        if most > output:
            ex.pace = steps = Steps(hold, need.cost, output, most, self._step(need))
            steps.balances, steps.learned = balances, self.learned
            ex.defer("steps", steps.close)
        ex.held_output = output
        if most == need.output and not need.injects:
            ex.note(self.name, f"output of {output} held, and more as the reply goes on")
            return
        ex.max_output = most // need.choices
        ex.reply_headers.append(("x-fleetgate-max-output", str(ex.max_output)))
        wanted = need.output // need.choices
        lowered = f", lowered from {wanted} to what the budget has left" if ex.max_output != wanted else ", since nobody asked for one"
        ex.note(self.name, f"output ceiling {ex.max_output}{lowered}{f'; {output} held at first' if most > output else ''}")

    def _said(self, ex: Exchange, plan: Plan, claims: Sequence[Claim], balances: Sequence[Balance]) -> None:
        """Say what holds the call, what is left of the tightest money budget, and which budgets are nearly used up."""
        if plan.regular and len(claims) == plan.size:
            money, watched, words = plan.money, plan.watched, plan.words
        else:
            money = [(i, claim.limit) for i, claim in enumerate(claims) if claim.unit == "usd" and claim.limit is not None]
            watched = [i for i, claim in enumerate(claims) if claim.rule is not None and talks(claim.rule)]
            words = held_by([claim.rule for claim in claims])
        if money:
            left = min([limit - sum(balances[i]) for i, limit in money])
            ex.reply_headers.append(("x-fleetgate-budget-remaining-usd", dollars(left)))
        for i in watched:
            self._watch.look(ex, claims[i], balances[i])
        ex.decisions.append((self.name, words))


def header_rule(value: str) -> BudgetRule | None:
    """Return the budget of one session that the header's `value` (USD) asks for, or None when it is no amount."""
    try:
        limit = nanos(value)
    except ValueError:
        return None
    return BudgetRule(SESSION_LIMIT, (("agent", "*"), ("session", "*")), "usd", limit, "session", Source("", 0))


def key_rules(principal: Principal) -> tuple[BudgetRule, ...]:
    """Return the budget that the caller's key brings with it, if it has one: what it may spend in all."""
    if principal.limit is None:
        return ()
    return (BudgetRule(KEY_LIMIT, (("key", "*"),), "usd", principal.limit, "total", Source("", 0)),)


def _bounded(claims: Sequence[Claim]) -> bool:
    """Return whether a budget on money, output or carbon may refuse: only then is a ceiling set that nobody asked for."""
    return any(claim.limit is not None and claim.unit in ("usd", "tokens", "output_tokens", "gco2e") for claim in claims)


def _input_bound(ex: Exchange, tokens: int) -> Deny | None:
    """Hold the call to its agent's bound on input; a dry-run bound leaves a finding."""
    over = [limit for limit in ex.grant.max_input if tokens > limit.value]
    if not over:
        return None
    enforced = min((limit for limit in over if not limit.shadow), key=lambda limit: limit.value, default=None)
    if enforced is not None:
        return too_much_input(tokens, enforced)
    deny = too_much_input(tokens, over[0])
    ex.find(f"shadow/{deny.reason}", deny.rule)
    ex.note("budget", f"would refuse (shadow): {deny.message} [{deny.rule}]")
    return None
