"""What a model costs, in integer nano-dollars per million tokens: from the genai-prices table, or from the user's own file.

Decides which entry of the table is meant; computes no cost (`proxy.money` does). The table ships with the package and is never fetched.
A model that it does not know is unpriced (None): the caller must refuse, never guess. Only standard prices count: batch and other
variants are not what a proxied call pays.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from importlib.metadata import version
from typing import Any

from genai_prices.data import providers as _PROVIDERS
from genai_prices.types import ModelInfo, ModelPrice, Provider, TieredPrices

from proxy.config import Doc, KeyPath, near
from proxy.model import MEDIA, Price
from proxy.money import NANOS

VENDORS = ("openai", "anthropic", "google", "mistral", "deepseek", "x-ai", "cohere", "moonshotai", "zai", "meta", "voyageai")
"""Where a bare model name is looked up when the provider says nothing: those who make models, before those who resell them."""

Steps = tuple[tuple[int, int], ...]
_KINDS = ("input", "output", "cache_read", "cache_write", "cache_write_1h")
TABLE = f"genai-prices {version('genai-prices')}"
"""The table that prices come from, with its version: another release may say something else."""
_MEDIA = {kind: f"cache_{kind.removeprefix('cache_read_')}_read" if kind.startswith("cache_read") else kind for kind in MEDIA}
"""Our names of media, and the table's."""
MAX_USD_PER_MILLION = 1_000_000


def price_of(provider_hint: str, model: str, now: float | None = None) -> Price | None:
    """Return the standard price of `model` on the day of `now` (UTC seconds), or None when the table has none.

    Args:
        provider_hint: our provider's name, its base URL, or its URL's host; one that says nothing falls back to the makers of models.
        model: the name that the provider knows.
        now: which day's price; None is today's.
    """
    day = int((datetime.now(UTC).timestamp() if now is None else now) // 86_400)
    return _price_of(provider_hint, model, day)


@functools.lru_cache(maxsize=4096)
def _price_of(hint: str, model: str, day: int) -> Price | None:
    at = datetime.fromtimestamp(day * 86_400 + 43_200, UTC)  # noon: off-peak discounts are not counted on
    found = _find(hint, model)
    return None if found is None else _standard(*found, at)


def context_of(provider_hint: str, model: str) -> int | None:
    """Return the most tokens that `model` reads, None when the table does not say; arguments as for `price_of`."""
    found = _find(provider_hint, model)
    return None if found is None else found[0].context_window


def _find(hint: str, model: str) -> tuple[ModelInfo, Provider] | None:
    provider = _provider(hint)
    if provider is not None:
        found = provider.find_model(model, all_providers=_PROVIDERS)
        return None if found is None else (found, provider)
    by_id = {p.id: p for p in _PROVIDERS}
    bare = model.rpartition("/")[2]
    for vendor in VENDORS:
        found = by_id[vendor].find_model(bare) if vendor in by_id else None
        if found is not None:
            return found, by_id[vendor]
    return None


def _provider(hint: str) -> Provider | None:
    name = hint.strip().lower()
    for provider in _PROVIDERS:
        if provider.id == name:
            return provider
    if "." in name or "/" in name:
        url = name if "://" in name else f"https://{name}"
        return next((p for p in _PROVIDERS if re.match(p.api_pattern, url)), None)
    return next((p for p in _PROVIDERS if p.provider_match is not None and p.provider_match.is_match(name)), None)


def _standard(model: ModelInfo, provider: Provider, at: datetime) -> Price | None:
    found: ModelPrice = model.get_prices(at)
    rates = {kind: _steps(getattr(found, f"{kind}_mtok", None)) for kind in _KINDS}
    if rates["input"] is None and rates["output"] is None:
        return None
    return _price(
        input=rates["input"] or ((0, 0),),
        output=rates["output"] or ((0, 0),),
        cache_read=rates["cache_read"],
        cache_write=rates["cache_write"],
        cache_write_1h=rates["cache_write_1h"],
        media=tuple((kind, steps) for kind, name in _MEDIA.items() if (steps := _steps(getattr(found, f"{name}_mtok", None))) is not None),
        source=f"{TABLE} {provider.id}/{model.id}",
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


def _steps(rate: Decimal | TieredPrices | None) -> Steps | None:
    if rate is None:
        return None
    if isinstance(rate, TieredPrices):
        return ((0, _nanos(rate.base)), *((tier.start, _nanos(tier.price)) for tier in sorted(rate.tiers, key=lambda t: t.start)))
    return ((0, _nanos(rate)),)


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
