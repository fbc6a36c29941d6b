"""What a model costs, in integer nano-dollars per million tokens: from the price list, or from the user's own file.

Turns what the list says into a price; which entry is meant `budget.catalogue` finds, and what a call costs `proxy.money` computes.
A model that the list does not know is unpriced (None): the caller must refuse, never guess. Only standard prices count: batch and other
variants are not what a proxied call pays.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from typing import Any

from proxy.budget.catalogue import Rates, find, price_list
from proxy.config import Doc, KeyPath, near
from proxy.model import MEDIA, Price
from proxy.money import NANOS

Steps = tuple[tuple[int, int], ...]
_KINDS = ("input", "output", "cache_read", "cache_write", "cache_write_1h")
_EPOCH = date(1970, 1, 1)
MAX_USD_PER_MILLION = 1_000_000


def price_of(provider_hint: str, model: str, now: float | None = None) -> Price | None:
    """Return the standard price of `model` on the day of `now` (UTC seconds), or None when the list has none.

    Args:
        provider_hint: our provider's name, its base URL, or its URL's host; one that says nothing falls back to the makers of models.
        model: the name that the provider knows.
        now: which day's price; None is today's.
    """
    day = int((datetime.now(UTC).timestamp() if now is None else now) // 86_400)
    return _price_of(provider_hint, model, day)


@functools.lru_cache(maxsize=4096)
def _price_of(hint: str, model: str, day: int) -> Price | None:
    found = find(hint, model)
    if found is None:
        return None
    entry, provider = found
    return _standard(entry.rates(_EPOCH + timedelta(day)), f"{price_list().source} {provider.id}/{entry.id}")


def context_of(provider_hint: str, model: str) -> int | None:
    """Return the most tokens that `model` reads, None when the list does not say; arguments as for `price_of`."""
    found = find(provider_hint, model)
    return None if found is None else found[0].context


def _standard(rates: Rates, source: str) -> Price | None:
    if "input" not in rates and "output" not in rates:
        return None
    steps = {kind: tuple((size, _nanos(usd)) for size, usd in rate) for kind, rate in rates.items()}
    free = ((0, 0),)
    return _price(
        input=steps.get("input", free),
        output=steps.get("output", free),
        cache_read=steps.get("cache_read"),
        cache_write=steps.get("cache_write"),
        cache_write_1h=steps.get("cache_write_1h"),
        media=tuple((kind, steps[kind]) for kind in MEDIA if kind in steps),
        source=source,
    )


def _price(**fields: Any) -> Price:
    price = Price(**fields)
    return replace(price, digest=digest_of(price))


def free(price: Price) -> bool:
    """Return whether nothing at `price` costs anything."""
    rates = [*(getattr(price, kind) or () for kind in _KINDS), *(steps for _, steps in price.media)]
    return not any(value for steps in rates for _, value in steps)


def digest_of(price: Price) -> str:
    """Return 8 hex digits that identify the rates of `price`, whatever their source."""
    rates = ";".join([*(f"{kind}={getattr(price, kind)}" for kind in _KINDS), *(f"{kind}={steps}" for kind, steps in price.media)])
    return hashlib.sha256(rates.encode()).hexdigest()[:8]


def _nanos(usd: Decimal) -> int:
    return int((usd * NANOS).to_integral_value(ROUND_CEILING))


def price_from(doc: Doc, path: KeyPath, value: Any) -> Price:
    """Return the price that a user wrote at `path` of `doc`: a mapping of `input`, `output` and the cache rates, USD per million tokens.

    Raises:
        ConfigError: an unknown or missing rate, or one that is no price.
    """
    if not isinstance(value, dict):
        raise doc.error(path, f"{value!r}", "{input: 1.25, output: 10} in USD per million tokens")
    for kind in value:
        if kind not in _KINDS:
            raise doc.error((*path, kind), "unknown rate", hint=near(kind, _KINDS))
    rates = {kind: _own_rate(doc, (*path, kind), value[kind]) for kind in _KINDS if kind in value}
    missing: Sequence[str] = [kind for kind in ("input", "output") if kind not in rates]
    if missing:
        raise doc.error(path, f"no {' and no '.join(missing)} price", "{input: …, output: …} in USD per million tokens")
    return _price(
        input=rates["input"],
        output=rates["output"],
        cache_read=rates.get("cache_read"),
        cache_write=rates.get("cache_write"),
        cache_write_1h=rates.get("cache_write_1h"),
        source=f"{doc.file}:{doc.line(path)}",
    )


def _own_rate(doc: Doc, path: KeyPath, value: Any) -> Steps:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_USD_PER_MILLION:
        raise doc.error(path, f"{value!r}", "USD per million tokens, 0 or more")
    return ((0, _nanos(Decimal(str(value)))),)
