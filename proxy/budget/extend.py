"""Holds that grow in mid-stream: a step is held, and before it is used up by what has passed, the next.

Used where the worst case of a streamed reply does not fit into what is left, or nobody asked for a ceiling, so that calls near the end of
a budget share it instead of the first taking all. Only for replies whose text shows all that is billed: a model that thinks out of sight
is held in full.

What has passed is counted from above (`estimate.Tally`), calls with what stands around them, whenever it could have come near the end of
what is held.
Fails closed: a store that refuses or does not answer ends the stream when what is held is used up but for what may be in flight.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

from proxy.budget.cost import Cost, fit
from proxy.budget.estimate import IN_FLIGHT_TOKENS, PER_CALL, Tally
from proxy.budget.hold import Hold
from proxy.budget.learned import Learned
from proxy.budget.port import Balance, Exceeded
from proxy.budget.refusal import used_up
from proxy.budget.settle import hides_reasoning, tokenizer_of
from proxy.engine.exchange import Exchange
from proxy.engine.ports import StoreError
from proxy.model import Deny, Target
from proxy.wire.base import Meter

STEP_OUTPUT = 1024
"""The default of `step_output`."""
EXTEND_S = 0.25
"""The longest wait for an extension: the stream stands still meanwhile, and the provider does not."""
AMPLE = 8
"""A hold doubles while this many times as much is left, so that long replies ask seldom; else it grows by a step."""
BEHIND_TOKENS = 16
"""What may be read behind a cut: it is charged beside what may be in flight."""
NEVER = 1 << 62
LEAST_STEP = 32
"""Less than this is not worth asking for."""


def meterable(ex: Exchange, bursts: Collection[tuple[str, str]] = ()) -> bool:
    """Return whether all that the reply of `ex` costs can be counted while it passes, whoever serves it.

    `bursts` are those (provider, model) that were seen to send more at once than was held.
    """
    call = ex.call
    if not call.stream or call.operation != "chat":
        return False
    targets = ex.route.targets
    if bursts and any((target.provider, target.upstream_model) in bursts for target in targets):
        return False
    return not any(hides_reasoning(target.upstream_model, call) for target in targets)


def amounts(cost: Cost, output: int) -> dict[str, int]:
    """Return what a call with `output` tokens uses at most, by unit: its request and its place among those that run too."""
    total = cost.input_tokens
    found = {"usd": cost.usd(output), "tokens": total + output, "input_tokens": total, "output_tokens": output}
    found["requests"] = found["concurrency"] = 1
    if cost.footprints:
        found["gco2e"] = cost.gco2e(output)
    return found


class Steps:
    """The pace of one stream (`engine.pace.Pace`).

    Attributes:
        balances: those of the hold's claims, as last seen.
        learned: where to remember a provider that sends in one piece.

    Args:
        hold: the hold, which covers `held` output tokens.
        cost: what tokens cost, at the dearest.
        held: output tokens over all choices, as are `most` (what the provider was asked for) and `step`.
        most: as said.
        step: as said.
    """

    __slots__ = (
        "_biggest",
        "_burst",
        "_last",
        "_look",
        "_read",
        "_room",
        "_seen",
        "_tally",
        "balances",
        "cost",
        "held",
        "hold",
        "learned",
        "most",
        "step",
    )

    def __init__(self, hold: Hold, cost: Cost, held: int, most: int, step: int) -> None:
        self.hold, self.cost, self.held, self.most, self.step = hold, cost, held, most, step
        self.balances: Sequence[Balance] = ()
        self.learned = Learned()
        self._read = self._seen = 0
        self._biggest = self._burst = 0
        self._last = False
        self._room = self._look = -1
        self._tally: Tally | None = None

    async def close(self, ex: Exchange) -> None:
        """Remember a provider that had sent more than was held when it was cut: it does not stream as it goes, and holds in full."""
        usage, target = ex.usage, ex.target
        if usage is not None and target is not None and usage.output > self.held:
            self.learned.burst(target.provider, target.upstream_model)

    def came(self, events: int) -> None:
        """See `Pace.came`."""
        more = min(events, self.step // 4) - self._burst
        if more > 0:
            self._burst += more
            self._room, self._look = self._room - more, self._look - more

    def due(self, meter: Meter) -> bool:
        """See `Pace.due`."""
        texts = meter.texts
        count = len(texts)
        while self._read < count:
            text = texts[self._read]
            self._read += 1
            size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
            self._room -= size
            self._biggest = max(self._biggest, size)
        return self._room < 0 or meter.pieces >= self._look

    async def more(self, ex: Exchange) -> Deny | None:
        """See `Pace.more`; called more often than the hold must grow, since `due` takes every byte for a token."""
        meter, target = ex.meter, ex.target
        if meter is None or target is None:
            return None
        self._count(meter, target)
        found: Deny | None = None
        while found is None and self._left() <= 0:
            found = await self._extend(ex, self._wanted())
            last, self._last = self._last, found is not None
            if found is not None and (last or self._left() <= 0):
                return found
            if self.held >= self.most:
                self._retire(ex)
                return None
        self._arm(meter)
        return None

    async def rest(self, ex: Exchange) -> Deny | None:
        """See `Pace.rest`."""
        answer = await self._ask(ex, self.most)
        if isinstance(answer, Exceeded):
            return used_up(self.hold.claims, answer, self._seen)
        if answer is None:
            self._retire(ex)
        return answer

    def _wanted(self) -> int:
        """Return how much to hold next: twice as much while the balances last seen were ample, else a step more.

        Where more than that has passed already, as with a call that comes in one piece, all of it and a step.
        """
        ample = self._fits(self.balances) >= AMPLE * self.held
        return min(self.most, max(2 * self.held if ample else self.held + self.step, self._seen + self.step))

    def _fits(self, balances: Sequence[Balance]) -> int:
        """Return how many output tokens the hold could cover in all, with `balances` that it is part of."""
        own = amounts(self.cost, self.held)
        claims = self.hold.claims
        without = [(spent, held - own.get(c.unit, c.amount)) for c, (spent, held) in zip(claims, balances, strict=True)]
        return fit(claims, without, self.cost)[0]

    async def _extend(self, ex: Exchange, wanted: int) -> Deny | None:
        """Have the hold cover `wanted` output tokens, or where that does not fit a part of them; return why not."""
        answer = await self._ask(ex, wanted)
        if isinstance(answer, Exceeded):
            self.balances = answer.balances
            part = min(self._fits(answer.balances), self.held + self.step)
            if not self.held + LEAST_STEP <= part < wanted:
                return used_up(self.hold.claims, answer, self._seen)
            answer = await self._ask(ex, part)
        return used_up(self.hold.claims, answer, self._seen) if isinstance(answer, Exceeded) else answer

    async def _ask(self, ex: Exchange, wanted: int) -> Exceeded | Deny | None:
        try:
            async with asyncio.timeout(EXTEND_S):
                answer = await self.hold.extend(amounts(self.cost, wanted), ex.clock.now())
        except (StoreError, TimeoutError):
            return used_up(self.hold.claims, None, self._seen)
        if isinstance(answer, Exceeded):
            return answer
        self.held = ex.held_output = wanted
        self.balances = answer.balances
        return None

    def _count(self, meter: Meter, target: Target) -> None:
        """Count what has passed, from above."""
        tally = self._tally
        if tally is None:
            tally = self._tally = Tally(tokenizer_of(target))
        tally.take(meter.texts, 2 * self.held)
        self._seen = tally.bound(meter) + PER_CALL * (len(meter.tool_calls) + meter.calling)

    def _arm(self, meter: Meter) -> None:
        """Find out how much may pass before it has to be counted again: a token is a byte at least."""
        left = self._left()
        self._room, self._look = left, meter.pieces + left

    def _left(self) -> int:
        """Return how many tokens may pass until more is asked for; at the end of a budget, until the stream is cut."""
        margin = IN_FLIGHT_TOKENS + BEHIND_TOKENS + max(min(self._biggest // 2, self.step // 4), self._burst)
        if not self._last:
            margin += self.step // 8
        return self.held - margin - self._seen

    def _retire(self, ex: Exchange) -> None:
        """The hold covers all that the provider was asked for: from here on this is a stream like any other."""
        ex.pace = None
        self._room = self._look = NEVER
