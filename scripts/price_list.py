#!/usr/bin/env python3
"""Writes proxy/budget/price_list/genai-prices.json: what the installed release of genai-prices says of prices, as far as it is used.

Run it when the release of the development dependencies changed, and read the diff: it is what calls will cost. Kept are providers,
models, how both are found, context windows and standard rates by tokens, with tiers and dates. Left out: variants (batch, priority),
rates by anything but tokens, and words. What holds at certain hours is kept if it holds at noon (UTC): off-peak discounts are not
counted on. Names are in lower case, as they are looked up.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
from genai_prices.data import providers
from genai_prices.types import ConditionalPrice, ModelInfo, ModelPrice, Provider, StartDateConstraint, TieredPrices

LIST = Path(__file__).resolve().parents[1] / "proxy" / "budget" / "price_list" / "genai-prices.json"
KINDS = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "input_audio": "input_audio_mtok",
    "input_image": "input_image_mtok",
    "input_video": "input_video_mtok",
    "cache_read_audio": "cache_audio_read_mtok",
    "cache_read_image": "cache_image_read_mtok",
    "cache_read_video": "cache_video_read_mtok",
    "output_audio": "output_audio_mtok",
    "output_image": "output_image_mtok",
    "output_video": "output_video_mtok",
}
"""Our names of kinds of tokens, and theirs."""
NOON = datetime(2000, 1, 1, 12, tzinfo=UTC)
_json = msgspec.json.Encoder(decimal_format="number")


def written() -> str:
    """Return the price list, a line for each model so that a diff can be read."""
    sold = ",\n".join(_provider(provider) for provider in providers)
    return f'{{"source": "genai-prices {version("genai-prices")}", "providers": [\n{sold}\n]}}\n'


def _provider(provider: Provider) -> str:
    found: dict[str, Any] = {"id": provider.id, "address": provider.api_pattern}
    if provider.provider_match is not None:
        found["name"] = clause(provider.provider_match)
    if provider.fallback_model_providers:
        found["fallback"] = provider.fallback_model_providers
    models = ",\n".join(_json.encode(_model(model)).decode() for model in provider.models)
    return f'{_json.encode(found).decode()[:-1]},"models":[\n{models}\n]}}'


def _model(model: ModelInfo) -> dict[str, Any]:
    found: dict[str, Any] = {"id": model.id, "match": clause(model.match)}
    if model.context_window is not None:
        found["context"] = model.context_window
    prices = [ConditionalPrice(prices=model.prices)] if isinstance(model.prices, ModelPrice) else model.prices
    return {**found, "periods": list(_periods(prices))}


def _periods(prices: list[ConditionalPrice]) -> Iterable[dict[str, Any]]:
    """Give the first, which holds where no other does, and of the others those that hold from a day on, or at noon."""
    for place, price in enumerate(prices):
        rates = {"rates": _rates(price.prices)}
        limit = price.constraint
        if place and isinstance(limit, StartDateConstraint):
            yield {"since": limit.start_date, **rates}
        elif not place or limit is None or limit.active(NOON):
            yield rates


def _rates(price: ModelPrice) -> dict[str, list[tuple[int, Decimal]]]:
    found = {ours: getattr(price, theirs) for ours, theirs in KINDS.items()}
    return {kind: _steps(rate) for kind, rate in found.items() if rate is not None}


def _steps(rate: Decimal | TieredPrices) -> list[tuple[int, Decimal]]:
    if isinstance(rate, TieredPrices):
        return [(0, rate.base), *sorted((tier.start, tier.price) for tier in rate.tiers)]
    return [(0, rate)]


def clause(match: Any) -> dict[str, Any]:
    """Return which names `match` means, in the list's words."""
    ((kind, value),) = vars(match).items()
    if isinstance(value, list):
        return {kind.rstrip("_"): [clause(part) for part in value]}
    return {kind: value if kind == "regex" else value.lower()}


if __name__ == "__main__":
    LIST.write_text(written(), encoding="utf-8")
