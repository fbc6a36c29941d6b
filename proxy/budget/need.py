"""What a call may use before anyone was asked: its prompt, its output ceiling, and the least that is worth sending."""

from __future__ import annotations

import math
from dataclasses import dataclass

from proxy.budget.cost import Cost, bounding
from proxy.budget.estimate import FAMILIES, OWN, bound_now, family_of, measure
from proxy.budget.learned import Kind, Learned, kind_of
from proxy.budget.settle import stored, tokenizer_of
from proxy.engine.cascade import on_trial
from proxy.engine.exchange import Exchange
from proxy.model import FREE, BudgetRule, Price, Route
from proxy.model.footprints import Footprint
from proxy.money import together
from proxy.wire import jsonio
from proxy.wire.blocks import has_media
from proxy.wire.call import Call, WireError

MOST_OUTPUT = 1 << 31
"""No call is held for more output tokens than this: more than any model gives, and no counter overflows."""


class Need:
    """What a call may use: its cost by output, the output wanted, the least useful, over how many choices, whether we chose
    it, the budget that the client's header asks for, the bound of its prompt, and of which kind that is where its count can be learned."""

    __slots__ = ("bound", "choices", "cost", "injects", "kind", "least", "output", "tighter")

    def __init__(self, cost: Cost, output: int, least: int, choices: int, injects: bool) -> None:
        self.cost, self.output, self.least, self.choices, self.injects = cost, output, least, choices, injects
        self.tighter: BudgetRule | None = None
        self.bound = cost.input_tokens
        self.kind: Kind | None = None


@dataclass(frozen=True, slots=True)
class Bounds:
    """What bounds output: the ceiling of a call that has none, and the least that is worth sending; both of one choice."""

    default_max_output: int
    min_output: int


async def need_of(ex: Exchange, bounds: Bounds, learned: Learned) -> Need:
    """Return the most that the call of `ex` can use on its route, and the least that is worth sending."""
    call, targets = ex.call, ex.route.targets
    kind, bound = None, 0
    if len(targets) == 1:
        target = targets[0]
        name = tokenizer_of(target)
        tokens = bound_now(call, name)
        if tokens is None:
            tokens = (await measure(call, (name,)))[name]
        bound = tokens + stored(ex, target)
        if _learnable(call, name, ex.history):
            kind = kind_of(target.provider, target.upstream_model, bound, bool(call.tools.text), ex.agent)
        held = bound if kind is None else math.ceil(bound * learned.factor(kind))
        cost = Cost(((held, bounding(target.price or FREE, call)),))
    else:
        names = [tokenizer_of(target) for target in targets]
        inputs = await measure(call, names)
        each = [(inputs[name] + stored(ex, t), bounding(t.price or FREE, call)) for name, t in zip(names, targets, strict=True)]
        cost = Cost(tuple(dict.fromkeys(_beside(ex.route, each) if ex.route.reason == "local" else each)))
    if targets[0].footprint is not None:
        cost.footprints = _footprints(ex.route)
    if call.operation == "embeddings":
        return Need(cost, 0, 0, 1, False)
    own = ex.max_output if ex.max_output is not None else call.max_output
    choices = call.choices if call.choices > 1 else 1
    ceiling = bounds.default_max_output if own is None else own
    wanted = min(ceiling * choices, MOST_OUTPUT)
    need = Need(cost, wanted, min(wanted, min(ceiling, bounds.min_output) * choices), choices, own is None)
    need.bound, need.kind = bound or need.bound, kind
    return need


def _footprints(route: Route) -> tuple[Footprint, ...]:
    """Return what bounds the carbon of a call on `route`, nothing where one of its targets has no footprint.

    A local target that does its work badly has done it, and the one that takes its place does it once more.
    """
    found = [target.footprint for target in route.targets if target.footprint is not None]
    if len(found) != len(route.targets):
        return ()
    if route.reason != "local" or len(found) == 1:
        return tuple(found)
    whole = found[0]
    for footprint in found[1:]:
        whole = whole.beside(footprint)
    return (whole,)


def _beside(route: Route, each: list[tuple[int, Price]]) -> list[tuple[int, Price]]:
    """Return `each` with what may be paid twice: a local target that does its work badly, and the one that takes its place."""
    tried = [part for part, target in zip(each, route.targets, strict=True) if target in on_trial(route)]
    for tokens, price in [part for part in tried if part[1] != FREE]:
        each = [(max(tokens, most), together(price, other)) for most, other in each]
    return each


def _learnable(call: Call, tokenizer: str, history: int) -> bool:
    """Return whether a prompt is text alone, all of it in the request, and not counted exactly anyway."""
    if call.operation != "chat" or history or FAMILIES[family_of(tokenizer)].ratio == 1.0:
        return False
    return not has_media(call.messages) and all(spec.kind in OWN for spec in call.tools.specs)


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
