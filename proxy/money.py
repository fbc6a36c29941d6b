"""Prices and amounts in integer nano-dollars, rounded up against the caller.

Pure arithmetic: no price table, no clock. A rate is nano-dollars per million tokens, so the smallest published price (fractions of a
cent per million) is a whole number and no cost is ever a float.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import ROUND_CEILING, Decimal, InvalidOperation

from proxy.model import Nanos, Price, Usage

NANOS = 1_000_000_000
MILLION = 1_000_000
MAX_USD = Decimal(10) ** 9
"""A limit or price above a billion dollars is a typing error, not a budget (and must fit a 64-bit counter)."""


def nanos(usd: Decimal | int | float | str) -> Nanos:
    """Return `usd` dollars as nano-dollars, rounded up.

    Raises:
        ValueError: not a number, not finite, negative, or above `MAX_USD`.
    """
    try:
        amount = Decimal(str(usd))
    except InvalidOperation:
        raise ValueError(f"{usd!r} is not an amount of dollars") from None
    if not amount.is_finite() or amount < 0 or amount > MAX_USD:
        raise ValueError(f"{usd!r} is not an amount between 0 and {MAX_USD:,} dollars")
    return Nanos(int((amount * NANOS).to_integral_value(ROUND_CEILING)))


def dollars(amount: int) -> str:
    """Return `amount` nanos as a plain decimal number of dollars without trailing zeros, at least two decimals."""
    sign, amount = ("-", -amount) if amount < 0 else ("", amount)
    whole, rest = divmod(amount, NANOS)
    text = f"{rest:09d}".rstrip("0").ljust(2, "0")
    return f"{sign}{whole}.{text}"


def rate(steps: tuple[tuple[int, int], ...], total_input: int) -> int:
    """Return the nanos per million tokens that hold for a prompt of `total_input` tokens."""
    found = steps[0][1]
    for start, value in steps[1:]:
        if total_input <= start:
            break
        found = value
    return found


def cost(usage: Usage, price: Price) -> Nanos:
    """Return what `usage` costs at `price`: each kind of token at its own rate, the sum rounded up to a whole nano."""
    size = usage.total_input
    flat = rate(price.input, size)
    total = usage.input * flat + usage.output * rate(price.output, size)
    if usage.cache_read:
        total += usage.cache_read * (flat if price.cache_read is None else rate(price.cache_read, size))
    if usage.cache_write:
        total += usage.cache_write * (flat if price.cache_write is None else rate(price.cache_write, size))
    if usage.cache_write_1h:
        hour = price.cache_write_1h or price.cache_write
        total += usage.cache_write_1h * (flat if hour is None else rate(hour, size))
    if usage.media and price.media:
        total += _apart(usage, price, size)
    return Nanos(-(-total // MILLION))


def _apart(usage: Usage, price: Price, size: int) -> int:
    """Return how much more (or less) media cost than as much text, in nanos a million times."""
    rates, total = dict(price.media), 0
    for kind, tokens in usage.media:
        if kind in rates:
            text = price.output if kind.startswith("output") else price.input
            if kind.startswith("cache_read"):
                text = price.cache_read or price.input
            total += tokens * (rate(rates[kind], size) - rate(text, size))
    return total


def ceiling(price: Price, heard: bool) -> Price:
    """Return a price without media that no call at `price` can exceed: output costs as the dearest medium that may come.

    Args:
        price: any price.
        heard: the prompt holds media, so that it may cost as the dearest of them; else it is text.
    """
    if not price.media:
        return price
    outputs = [steps for kind, steps in price.media if kind.startswith("output")]
    inputs = [steps for kind, steps in price.media if heard and not kind.startswith("output")]
    return replace(price, input=_highest(price.input, *inputs), output=_highest(price.output, *outputs), media=())


def _highest(*each: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    """Return steps that are at each size the highest of `each`."""
    starts = sorted({start for steps in each for start, _ in steps})
    return tuple((start, max(rate(steps, start + 1) for steps in each)) for start in starts)


def together(a: Price, b: Price) -> Price:
    """Return a price that bounds what one call costs at both: each at its dearest kind of prompt, added up step by step."""
    prompts = [_highest(*[steps for steps in (p.input, p.cache_read, p.cache_write, p.cache_write_1h) if steps]) for p in (a, b)]
    return Price(_added(*prompts), _added(a.output, b.output), source=b.source)


def _added(a: tuple[tuple[int, int], ...], b: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    starts = sorted({start for start, _ in (*a, *b)})
    return tuple([(start, sum(max(value for begins, value in steps if begins <= start) for steps in (a, b))) for start in starts])


def dearest(input_tokens: int, output_tokens: int, price: Price) -> Nanos:
    """Return the most that a call of at most this size can cost: every prompt token at the dearest of the input and cache rates.

    A tier counts as soon as the prompt could reach it; a longer prompt never costs less than a shorter one.
    """

    def top(steps: tuple[tuple[int, int], ...] | None) -> int:
        return max((value for start, value in steps or () if start <= input_tokens), default=0)

    per_input = max(top(price.input), top(price.cache_read), top(price.cache_write), top(price.cache_write_1h))
    total = input_tokens * per_input + output_tokens * top(price.output)
    return Nanos(-(-total // MILLION))
