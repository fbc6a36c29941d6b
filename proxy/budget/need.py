"""What a call may use before anyone was asked: its prompt, its output ceiling, and the least that is worth sending."""

from __future__ import annotations

from proxy.budget.cost import Cost
from proxy.budget.estimate import bound_now, measure
from proxy.budget.settle import stored, tokenizer_of
from proxy.engine.exchange import Exchange
from proxy.model import FREE, BudgetRule
from proxy.wire import jsonio
from proxy.wire.call import Call, WireError

MOST_OUTPUT = 1 << 31
"""No call is held for more output tokens than this: more than any model gives, and no counter overflows."""


class Need:
    """What a call may use: its cost by output, the output wanted, the least useful, over how many choices, whether we chose
    it, and the budget that the client's header asks for."""

    __slots__ = ("choices", "cost", "injects", "least", "output", "tighter")

    def __init__(self, cost: Cost, output: int, least: int, choices: int, injects: bool) -> None:
        self.cost, self.output, self.least, self.choices, self.injects = cost, output, least, choices, injects
        self.tighter: BudgetRule | None = None


async def need_of(ex: Exchange, default_max_output: int, min_output: int) -> Need:
    """Return the most that the call of `ex` can use on its route, and the least that is worth sending."""
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
    ceiling = default_max_output if own is None else own
    wanted = min(ceiling * choices, MOST_OUTPUT)
    return Need(cost, wanted, min(wanted, min(ceiling, min_output) * choices), choices, own is None)


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
