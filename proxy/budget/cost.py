"""What bounds a call's cost, and how much output still fits into what is left of its budgets. Pure."""

from __future__ import annotations

import bisect
from collections.abc import Sequence

from proxy.budget.port import Balance, Claim
from proxy.model import Price
from proxy.model.footprints import Footprint
from proxy.money import MILLION, ceiling, dearest
from proxy.wire.blocks import has_media
from proxy.wire.call import Call

_MOST_PRICES = 10_000


class Cost:
    """What bounds a call.

    Attributes:
        parts: the most prompt tokens and the price, for each target.
        footprints: what bounds the answer's carbon, for each target; empty where it is not known of all of them.
        input_tokens: the most prompt tokens, whoever serves.
    """

    __slots__ = ("footprints", "input_tokens", "parts")

    def __init__(self, parts: tuple[tuple[int, Price], ...], footprints: tuple[Footprint, ...] = ()) -> None:
        self.parts, self.footprints = parts, footprints
        self.input_tokens = parts[0][0] if len(parts) == 1 else max([tokens for tokens, _ in parts], default=0)

    def usd(self, output_tokens: int) -> int:
        """Return the most nanos that the call can cost with `output_tokens` of output, whoever serves."""
        if len(self.parts) == 1:
            return _dearest(self.parts[0][0], output_tokens, self.parts[0][1])
        return max([_dearest(tokens, output_tokens, price) for tokens, price in self.parts], default=0)

    def tokens(self, output_tokens: int) -> int:
        """Return the most tokens, in and out."""
        return self.input_tokens + output_tokens

    def gco2e(self, output_tokens: int) -> int:
        """Return the most micrograms of CO2 equivalents, whoever serves; 0 where that is not known."""
        if not self.footprints:
            return 0
        return max([footprint.emits(output_tokens)[1] for footprint in self.footprints])

    def output_for(self, unit: str, amount: int) -> int:
        """Return how many output tokens fit when `amount` of `unit` is left; negative when not even the prompt fits."""
        if unit == "tokens":
            return amount - self.input_tokens
        if unit == "output_tokens":
            return amount
        if unit == "input_tokens":
            return FITS_ALL if amount >= self.input_tokens else -1
        if unit == "gco2e":
            return min([footprint.output_for(amount) for footprint in self.footprints], default=FITS_ALL)
        if unit != "usd":
            return FITS_ALL if amount > 0 else -1
        return min((_output_for(tokens, price, amount) for tokens, price in self.parts), default=FITS_ALL)


_ceilings: dict[tuple[int, bool], tuple[Price, Price]] = {}
"""Prices with rates for media by identity, and what bounds them with and without media in the prompt."""


def bounding(price: Price, call: Call) -> Price:
    """Return a price that bounds what `call` costs at `price`: media may come out, and go in where the prompt holds any."""
    if not price.media:
        return price
    key = (id(price), has_media(call.system) or has_media(call.messages))
    known = _ceilings.get(key)
    if known is None or known[0] is not price:
        if len(_ceilings) >= _MOST_PRICES:
            _ceilings.clear()
        known = _ceilings[key] = (price, ceiling(price, key[1]))
    return known[1]


_flat: dict[int, tuple[Price, int, int]] = {}
"""Prices without steps by identity, with their dearest rates in and out: what most models have, and asked of every call."""


def _rates(price: Price) -> tuple[int, int] | None:
    """Return the dearest rates in and out of a price without steps, None for one with steps."""
    known = _flat.get(id(price))
    if known is None or known[0] is not price:
        kinds = (price.input, price.cache_read, price.cache_write, price.cache_write_1h)
        if any(steps is not None and len(steps) > 1 for steps in (*kinds, price.output)):
            return None
        if len(_flat) >= _MOST_PRICES:
            _flat.clear()
        known = _flat[id(price)] = (price, max(steps[0][1] for steps in kinds if steps), price.output[0][1])
    return known[1], known[2]


def _dearest(input_tokens: int, output_tokens: int, price: Price) -> int:
    """Return `money.dearest`, faster where the price has no steps."""
    rates = _rates(price)
    if rates is None:
        return dearest(input_tokens, output_tokens, price)
    return -((input_tokens * rates[0] + output_tokens * rates[1]) // -MILLION)


FITS_ALL = 1 << 40
"""More output than any model gives: this claim does not bound it."""


def _output_for(tokens: int, price: Price, nanos: int) -> int:
    rates = _rates(price)
    if rates is not None:
        left = nanos * MILLION - tokens * rates[0]
        return -1 if left < 0 else left // rates[1] if rates[1] else FITS_ALL
    base = dearest(tokens, 0, price)
    if base > nanos:
        return -1
    per_million = max((value for start, value in price.output if start <= tokens), default=0)
    if per_million == 0:
        return FITS_ALL
    least = (nanos - base) * MILLION // per_million  # the base was rounded up: the rounding may hold some tokens more
    steps = range(least, least + MILLION // per_million + 2)
    return steps.start - 1 + bisect.bisect_right(steps, nanos, key=lambda output: dearest(tokens, output, price))


def fit(claims: Sequence[Claim], balances: Sequence[Balance], cost: Cost) -> tuple[int, int]:
    """Return the most output tokens that fit into what is left of every claim, and the index of the tightest claim.

    The amount is negative when not even the prompt fits, and at least `FITS_ALL` when nothing bounds it.
    """
    best, tightest = FITS_ALL, -1
    for index, (claim, (spent, held)) in enumerate(zip(claims, balances, strict=True)):
        if claim.limit is None:
            continue
        output = cost.output_for(claim.unit, claim.limit - spent - held)
        if output < best:
            best, tightest = output, index
    return best, tightest
