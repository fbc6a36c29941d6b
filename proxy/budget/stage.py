"""The budget stage: can this call pay, and if not in full, how much of an answer can it afford?

Order: price (a target without one is refused), the agent's bound on input, the output ceiling, then one reserve over all budgets that
the call touches. When the ceiling does not fit but a useful answer does, the ceiling is lowered to what fits; a call is refused only
when not even that fits. The hold is settled when the exchange closes, by the release that is deferred before the reserve is awaited.

Decides nothing about who the caller is or where the call goes. Fails closed: `StoreError` refuses, and an outcome that nobody knows is
charged in full.
"""

from __future__ import annotations

from collections.abc import Sequence

from proxy.budget.cost import Cost, fit
from proxy.budget.estimate import bound_now, measure
from proxy.budget.port import Balance, BudgetStore, Claim, Held
from proxy.budget.refusal import bad_limit, dearer, exceeded, too_much_input, unpriced
from proxy.budget.rules import Facts, Plan, RuleSet, held_by, talks
from proxy.budget.settle import DEFAULT_MAX_OUTPUT, paid, stored, tokenizer_of
from proxy.engine.exchange import Charges, Exchange
from proxy.engine.stage import Stage
from proxy.model import FREE, BudgetRule, Deny, Grant, Reason, Source
from proxy.money import dollars, nanos
from proxy.wire import jsonio
from proxy.wire.call import Call, WireError

HOLD_S = 1800.0
"""The default of `hold_s`."""
ATTEMPTS = 4
"""How often a lowered ceiling is tried when other calls take what was left in between."""
REMEMBERED = 10_000
"""Callers (a grant and a key) whose plans are kept."""
MOST_OUTPUT = 1 << 31
"""No call is held for more output tokens than this: more than any model gives, and no counter overflows."""
LIMIT_HEADER = "x-fleetgate-limit-usd"
"""With it a client tightens its own session; it can never widen one."""


class BudgetStage(Stage):
    """See the module.

    Args:
        rules: the fleet's budgets; an agent's own come with its grant.
        store: where counters and holds are.
        default_max_output: the ceiling of a call that has none, once a budget on money or tokens sees it.
        min_output: the least output tokens of one choice that make an answer worth paying for.
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
        hold_s: float = HOLD_S,
    ) -> None:
        self._rules = RuleSet(rules)
        self._plans: dict[tuple[int, str], tuple[Grant, Plan]] = {}
        self._store = store
        self._default_max_output = default_max_output
        self._min_output, self._hold_s = min_output, hold_s

    async def request(self, ex: Exchange) -> Deny | None:
        """See `Stage.request`."""
        tighter = None
        asked = ex.headers.get(LIMIT_HEADER)
        if asked is not None:
            tighter = header_rule(asked)
            if tighter is None:
                return bad_limit(LIMIT_HEADER)
        if not paid(ex):
            return await self._reserve(ex, Need(Cost(()), 0, 0, 1, False))
        for target in ex.route.targets:
            if target.price is None and not target.local:
                return unpriced(target)
            if ex.call.dearer and target.price not in (None, FREE):
                return dearer(ex.call.dearer[0])
        need = await self._need(ex)
        need.tighter = tighter
        if ex.grant.max_input:
            deny = _input_bound(ex, need.cost.input_tokens)
            if deny is not None:
                return deny
        return await self._reserve(ex, need)

    async def _need(self, ex: Exchange) -> Need:
        """Return the most that the call can use, and the least that is worth sending."""
        call, targets = ex.call, ex.route.targets
        if len(targets) == 1:
            target = targets[0]
            name = tokenizer_of(target)
            tokens = bound_now(call, name)
            if tokens is None:
                tokens = (await measure(call, (name,)))[name]
            cost = Cost(((tokens + stored(ex, target), target.price or FREE),))
        else:
            names = [tokenizer_of(target) for target in targets]
            inputs = await measure(call, names)
            each = [(inputs[name] + stored(ex, t), t.price or FREE) for name, t in zip(names, targets, strict=True)]
            cost = Cost(tuple(dict.fromkeys(each)))
        if call.operation == "embeddings":
            return Need(cost, 0, 0, 1, False)
        own = ex.max_output if ex.max_output is not None else call.max_output
        choices = call.choices if call.choices > 1 else 1
        ceiling = self._default_max_output if own is None else own
        wanted = min(ceiling * choices, MOST_OUTPUT)
        return Need(cost, wanted, min(wanted, min(ceiling, self._min_output) * choices), choices, own is None)

    def _plan(self, ex: Exchange) -> Plan:
        """Return the plan of the caller: the fleet's rules and the agent's own that can match it, remembered for its grant and key."""
        grant, key = ex.grant, ex.principal.key_id
        who = (id(grant), key)
        found = self._plans.get(who)
        if found is None or found[0] is not grant:
            if len(self._plans) >= REMEMBERED:
                self._plans.clear()
            facts = Facts(grant.team, grant.agent, key, "", "")
            found = self._plans[who] = grant, Plan((*self._rules.matching(facts), *RuleSet(grant.budgets).matching(facts)))
        return found[1]

    def _claims(self, ex: Exchange, plan: Plan, need: Need, output: int) -> list[Claim]:
        if not plan and need.tighter is None:
            return []
        amounts = {"requests": 1, "concurrency": 1}
        if need.cost.parts:
            amounts["usd"], amounts["tokens"] = need.cost.usd(output), need.cost.tokens(output)
            amounts["input_tokens"], amounts["output_tokens"] = need.cost.input_tokens, output
        grant, targets = ex.grant, () if plan.regular else tuple([(t.provider, t.model) for t in ex.route.targets])
        facts = Facts(grant.team, grant.agent, ex.principal.key_id, ex.session, ex.run, targets)
        found = plan.claims(facts, ex.wall, amounts)
        if need.tighter is not None:
            found += RuleSet((need.tighter,)).claims(facts, ex.wall, amounts)
        if not need.cost.parts:  # a question about models or sizes is a request, but no step of an agent
            found = [claim for claim in found if claim.rule is None or claim.rule.reason is not Reason.STEP_LIMIT]
        return found

    async def _reserve(self, ex: Exchange, need: Need) -> Deny | None:
        output, plan = need.output, self._plan(ex)
        claims = self._claims(ex, plan, need, output)
        injects = need.injects and _bounded(claims)
        ex.held_output = 0 if need.injects and not injects else output
        if not claims:
            return None
        hold = Hold(self._store, ex.id)
        ex.defer(self.name, hold.release)
        ex.bill = hold.bill
        now = ex.clock.now()
        attempt = 1
        while True:
            hold.claims = claims
            answer = await self._store.reserve(ex.id, claims, now, now + self._hold_s)
            if isinstance(answer, Held):
                if output != need.output or (injects and output):
                    self._lowered(ex, need, output)
                self._held(ex, plan, claims, answer.balances)
                return None
            if attempt == 1:
                need.least = useful(ex.call, need)
            fits, tightest = fit(claims, answer.balances, need.cost)
            fits = min(fits, output)
            if fits < need.least or tightest < 0 or attempt == ATTEMPTS:
                break
            attempt += 1
            output = fits // need.choices * need.choices
            claims = self._claims(ex, plan, need, output)
        hold.claims = ()
        return exceeded(claims, answer, need.cost, need.least, now)

    def _lowered(self, ex: Exchange, need: Need, output: int) -> None:
        """Send the ceiling that is held for upstream, and say so."""
        ex.held_output = output
        ex.max_output = output // need.choices
        ex.reply_headers.append(("x-fleetgate-max-output", str(ex.max_output)))
        wanted = need.output // need.choices
        lowered = f", lowered from {wanted} to what the budget has left" if ex.max_output != wanted else ", since nobody asked for one"
        ex.note(self.name, f"output ceiling {ex.max_output}{lowered}")

    def _held(self, ex: Exchange, plan: Plan, claims: Sequence[Claim], balances: Sequence[Balance]) -> None:
        """Say what holds the call, what is left of the tightest money budget, and which budgets are nearly used up."""
        if plan.regular and len(claims) == len(plan):
            money, watched, words = plan.money, plan.watched, plan.words
        else:
            money = [i for i, claim in enumerate(claims) if claim.unit == "usd" and claim.limit is not None]
            watched = [i for i, claim in enumerate(claims) if claim.rule is not None and talks(claim.rule)]
            words = held_by([claim.rule for claim in claims])
        if money:
            left = min([(claims[i].limit or 0) - sum(balances[i]) for i in money])
            ex.reply_headers.append(("x-fleetgate-budget-remaining-usd", dollars(left)))
        for i in watched:
            rule = claims[i].rule
            if rule is not None:
                _look(ex, rule, sum(balances[i]))
        ex.decisions.append((self.name, words))


def header_rule(value: str) -> BudgetRule | None:
    """Return the budget of one session that the header's `value` (USD) asks for, or None when it is no amount."""
    try:
        limit = nanos(value)
    except ValueError:
        return None
    return BudgetRule(LIMIT_HEADER, (("agent", "*"), ("session", "*")), "usd", limit, "session", Source("", 0))


def useful(call: Call, need: Need) -> int:
    """Return the least output that is worth sending when the ceiling has to be lowered.

    A call that sets tokens for thinking apart is refused by its provider unless its ceiling is above them; one whose own ceiling is not
    above them either knows what it does (thinking between tool calls).

    Source: Anthropic, "Extended thinking": `budget_tokens` must be less than `max_tokens`, except with interleaved thinking.
    """
    span = call.members.get("thinking")
    if span is None:
        return need.least
    try:
        thinking = jsonio.strict(call.body[span[0] : span[1]], "", "/thinking")
    except WireError:  # the provider will say so
        return need.least
    apart = thinking.get("budget_tokens") if isinstance(thinking, dict) else None
    if not isinstance(apart, int) or not 0 < apart < need.output:
        return need.least
    return max(need.least, apart + 1)


class Need:
    """What a call may use: its cost by output, the output wanted, the least useful, over how many choices, whether we chose
    it, and the budget that the client's header asks for."""

    __slots__ = ("choices", "cost", "injects", "least", "output", "tighter")

    def __init__(self, cost: Cost, output: int, least: int, choices: int, injects: bool) -> None:
        self.cost, self.output, self.least, self.choices, self.injects = cost, output, least, choices, injects
        self.tighter: BudgetRule | None = None


class Hold:
    """The hold of one exchange, and how it ends."""

    __slots__ = ("_found", "claims", "hold_id", "store")

    def __init__(self, store: BudgetStore, hold_id: str) -> None:
        self.store, self.hold_id = store, hold_id
        self.claims: Sequence[Claim] = ()
        self._found: tuple[dict[str, int], list[str]] | None = None

    async def release(self, ex: Exchange) -> None:
        """Settle at what the exchange used; see `engine.exchange.Release`."""
        if not self.claims:
            return
        now = ex.clock.now()
        if not ex.sent:
            await self.store.release(self.hold_id, now)
            return
        amounts, refund = self._due(ex)
        await self.store.settle(self.hold_id, amounts, now, refund)

    def bill(self, ex: Exchange) -> Charges:
        """Return what the settle charges to each counter, for the record."""
        if not self.claims or not ex.sent:
            return ()
        amounts, refund = self._due(ex)
        return tuple([(c[0], c[1], due) for c in self.claims if (due := amounts.get(c[1])) and c[0] not in refund])

    def _due(self, ex: Exchange) -> tuple[dict[str, int], list[str]]:
        """Return what is charged by unit, and the counters that are charged nothing: found once, so that settle and record agree."""
        if self._found is not None:
            return self._found
        amounts = {"requests": 1}
        if ex.usage is not None:
            used = ex.usage
            amounts |= {"usd": ex.cost, "tokens": used.total, "input_tokens": used.total_input, "output_tokens": used.output}
        else:
            amounts |= {claim.unit: claim.amount for claim in self.claims if claim.unit != "concurrency"}
        served = (ex.target.provider, ex.target.model) if ex.target is not None else None
        refund = [c.counter for c in self.claims if c.target is not None and c.target != served]
        if ex.outcome == "upstream_error" and not ex.served:  # a turn that failed is none: the client's SDK sends it again
            refund += [c.counter for c in self.claims if c.rule is not None and c.rule.reason is Reason.STEP_LIMIT]
        self._found = amounts, refund
        return self._found


def _bounded(claims: Sequence[Claim]) -> bool:
    """Return whether a budget on money or output may refuse: only then is a ceiling set that nobody asked for."""
    return any(claim.limit is not None and claim.unit in ("usd", "tokens", "output_tokens") for claim in claims)


def _look(ex: Exchange, rule: BudgetRule, used: int) -> None:
    """Note a budget that a dry run would have refused, or that is nearly used up."""
    if used > rule.limit:
        if rule.shadow:
            ex.find(f"shadow/{rule.reason}", rule.name)
        elif rule.on_exceed == "warn":
            ex.find("budget/exceeded", rule.name)
    elif rule.warn_at:
        passed = [share for share in rule.warn_at if used >= share * rule.limit]
        if passed:
            ex.find("budget/warn", f"{rule.name} {passed[-1] * 100:g}%")


def _input_bound(ex: Exchange, tokens: int) -> Deny | None:
    """Hold the call to its agent's bound on input; a dry-run bound leaves a finding."""
    enforced = min((limit for limit in ex.grant.max_input if not limit.shadow), key=lambda limit: limit.value, default=None)
    if enforced is not None and tokens > enforced.value:
        return too_much_input(tokens, enforced)
    for limit in ex.grant.max_input:
        if limit.shadow and tokens > limit.value:
            deny = too_much_input(tokens, limit)
            ex.find(f"shadow/{deny.reason}", deny.rule)
            ex.note("budget", f"would refuse (shadow): {deny.message} [{deny.rule}]")
            break
    return None
