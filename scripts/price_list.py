#!/usr/bin/env python3
"""Writes proxy/budget/price_list/genai-prices.json: what the installed release of genai-prices says of prices, as far as it is used.

Run it when the release of the development dependencies changed, and read the diff: it is what calls will cost. Kept are providers,
models, how both are found, context windows and standard rates by tokens, with tiers and dates. Left out: variants (batch, priority),
rates by anything but tokens, and words. Of what holds at certain hours the dearest counts all day, because a call may come then: off-peak
discounts are not counted on. Names are in lower case, as they are looked up.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
from genai_prices.data import providers
from genai_prices.types import ModelInfo, ModelPrice, Provider, StartDateConstraint, TieredPrices, TimeOfDateConstraint

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
EVER = date(1970, 1, 1)
Steps = list[tuple[int, Decimal]]
"""A rate by the size of the prompt."""
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
    return {**found, "periods": list(_periods(model))}


def _periods(model: ModelInfo) -> Iterable[dict[str, Any]]:
    """Give what holds from ever, and what holds from each day on that changes it: at the dearest of the hours between which it differs."""
    limits = [price.constraint for price in model.prices] if isinstance(model.prices, list) else []
    days = sorted({limit.start_date for limit in limits if isinstance(limit, StartDateConstraint)})
    hours = [time(tzinfo=UTC)]
    for limit in limits:
        hours += [limit.start_time, limit.end_time] if isinstance(limit, TimeOfDateConstraint) else []
    for since in (None, *days):
        rates = _dearest([_rates(model.get_prices(datetime.combine(since or EVER, hour))) for hour in hours])
        yield {"rates": rates} if since is None else {"since": since, "rates": rates}


def _dearest(several: list[dict[str, Steps]]) -> dict[str, Steps]:
    """Return of each kind the highest rate."""
    kinds = [kind for kind in KINDS if any(kind in rates for rates in several)]
    return {kind: max([rates[kind] for rates in several if kind in rates], key=_usd) for kind in kinds}


def _usd(steps: Steps) -> list[Decimal]:
    return [usd for _, usd in steps]


def _rates(price: ModelPrice) -> dict[str, Steps]:
    found = {ours: getattr(price, theirs) for ours, theirs in KINDS.items()}
    return {kind: _steps(rate) for kind, rate in found.items() if rate is not None}


def _steps(rate: Decimal | TieredPrices) -> Steps:
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
