"""The price list that ships says what the release of genai-prices says that it comes from: every model, rate, tier and day."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from genai_prices.data import providers
from genai_prices.types import ModelInfo, ModelPrice, Provider, StartDateConstraint, TieredPrices
from simulating import ROOT

from proxy.app.process import warm
from proxy.budget import catalogue
from proxy.budget.catalogue import VENDORS, PriceList, PriceListError, find, price_list
from proxy.budget.prices import context_of, price_of
from proxy.model import MEDIA, Price

SOLD = {provider.id: provider for provider in providers}
TODAY = date(2026, 11, 20)
HINTS = ("", "local", "https://gateway.internal/v1", "Vertex", "my-bedrock", "https://api.x.ai/v1", "eu.azure-api.net", "huggingface/groq")
KINDS = {kind: f"{kind}_mtok" for kind in ("input", "output", "cache_read", "cache_write", "cache_write_1h")}
KINDS |= {kind: f"cache_{kind[11:]}_read_mtok" if kind.startswith("cache_read_") else f"{kind}_mtok" for kind in MEDIA}


def test_the_list_is_what_the_script_makes_of_the_locked_release() -> None:
    spec = importlib.util.spec_from_file_location("price_list", ROOT / "scripts" / "price_list.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.written() == script.LIST.read_text(encoding="utf-8"), "run scripts/price_list.py and read the diff"
    assert script.KINDS == KINDS


def test_serving_does_not_load_what_the_list_was_made_from() -> None:
    asked = "import sys, proxy.app.serve; print({'genai_prices', 'pydantic'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("provider", providers, ids=lambda provider: provider.id)
def test_every_name_means_the_same_model_at_the_same_price_on_every_day(provider: Provider) -> None:
    called = list(names(provider))
    for name in called[:: 1 + len(called) // 900]:
        theirs = provider.find_model(name, all_providers=providers)
        found = find(provider.id, name)
        assert (None if found is None else (found[0].id, found[1].id)) == (None if theirs is None else (theirs.id, provider.id)), name
    for model in provider.models:
        theirs = provider.find_model(model.id, all_providers=providers)
        assert context_of(provider.id, model.id) == (theirs and theirs.context_window)
        for day in days(theirs):
            assert price_of(provider.id, model.id, seconds(day)) == price(theirs, day, provider), (model.id, day)


@pytest.mark.parametrize("hint", HINTS)
def test_a_provider_is_known_by_its_name_or_address_and_makers_come_before_those_who_resell(hint: str) -> None:
    for name in [name for vendor in VENDORS for name in list(names(SOLD[vendor]))[::9]]:
        theirs, ours = looked_up(hint, name), find(hint, name)
        assert (ours and (ours[1].id, ours[0].id)) == theirs, name


@pytest.mark.parametrize(("model", "usd"), [("deepseek-chat", 1.1), ("deepseek-v4-pro", 3.96)])
def test_what_is_dearer_at_certain_hours_counts_all_day(model: str, usd: float) -> None:
    """Both of the night's discount and of the price for the busy hours of the morning: a call may come in the dearest hour."""
    found = price_of("deepseek", model, seconds(TODAY))
    assert found is not None
    assert found.output == ((0, round(usd * 10**9)),)


@pytest.mark.parametrize(
    "text", [None, b"", b"\xff", b'{"source": "x"}', b'{"source": "x", "providers": [{"id": "openai", "address": "x"}]}']
)
def test_a_list_that_is_missing_or_damaged_makes_no_price(text: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.resources.files", lambda package: tmp_path)
    (tmp_path / "price_list").mkdir()
    if text is not None:
        (tmp_path / "price_list" / "genai-prices.json").write_bytes(text)
    with fresh():
        with pytest.raises(PriceListError, match="reinstall"):
            find("openai", "gpt-4o")
        with pytest.raises(ValueError, match="reinstall"):
            asyncio.run(warm())


def test_models_that_are_damaged_make_no_price(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = msgspec.structs.replace(price_list().providers[0], models=msgspec.Raw(b'[{"id": 1}]'))
    monkeypatch.setattr(catalogue, "price_list", lambda: PriceList("x", (broken,)))
    with fresh(), pytest.raises(PriceListError, match="reinstall"):
        find(broken.id, "a")


@contextlib.contextmanager
def fresh() -> Iterator[None]:
    """Have the list read anew, now and afterwards."""
    for clear in (price_list.cache_clear, catalogue._by_id.cache_clear, catalogue._models.cache_clear):
        clear()
    try:
        yield
    finally:
        for clear in (catalogue._by_id.cache_clear, catalogue._models.cache_clear):
            clear()


def test_the_release_is_named_with_the_price() -> None:
    found = price_of("openai", "gpt-4o")
    assert found is not None
    assert found.source == f"{price_list().source} openai/gpt-4o"


def names(provider: Provider) -> Iterator[str]:
    """Give what a model may be called: its name, the words that it is found by, in other letters, with a day or more behind."""
    for model in provider.models:
        yield from {model.id, *words(model.match)}
        yield from (f"{model.id.upper()}-latest", f"{model.id}-20251211", f"{model.id}-20251399:free", f"models/{model.id}")
    yield from ("", "no-such-model")


def words(clause: Any) -> Iterator[str]:
    ((_, value),) = vars(clause).items()
    for part in value if isinstance(value, list) else []:
        yield from words(part)
    if isinstance(value, str):
        yield value


def days(model: ModelInfo | None) -> Iterator[date]:
    """Give the days on which a price of `model` changes, those before, and today."""
    yield TODAY
    for one in model.prices if model is not None and isinstance(model.prices, list) else []:
        yield date(1999, 1, 1)
        if isinstance(one.constraint, StartDateConstraint):
            yield from (one.constraint.start_date, one.constraint.start_date - timedelta(1))


def seconds(day: date) -> float:
    return datetime(day.year, day.month, day.day, 23, 59, tzinfo=UTC).timestamp()


def price(model: ModelInfo | None, day: date, provider: Provider) -> Price | None:
    """Return what the package says, at the dearest half hour of `day`."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    hours = [ModelPrice() if model is None else model.get_prices(midnight + timedelta(minutes=30 * i)) for i in range(48)]
    rates = {kind: [getattr(hour, theirs) for hour in hours if getattr(hour, theirs) is not None] for kind, theirs in KINDS.items()}
    said = {kind: max(map(steps, found)) for kind, found in rates.items() if found}
    if model is None or not {"input", "output"} & said.keys():
        return None
    free, media = ((0, 0),), tuple((kind, said[kind]) for kind in MEDIA if kind in said)
    read, write, longer = (said.get(kind) for kind in ("cache_read", "cache_write", "cache_write_1h"))
    source = f"{price_list().source} {provider.id}/{model.id}"
    return Price(said.get("input", free), said.get("output", free), read, write, longer, source, media)


def steps(rate: Decimal | TieredPrices) -> tuple[tuple[int, int], ...]:
    tiers = [(tier.start, tier.price) for tier in rate.tiers] if isinstance(rate, TieredPrices) else []
    usd = [(0, rate.base if isinstance(rate, TieredPrices) else rate), *tiers]
    return tuple((start, int((price * 10**9).to_integral_value(ROUND_CEILING))) for start, price in usd)


def looked_up(hint: str, name: str) -> tuple[str, str] | None:
    """Return provider and model as the package's own objects have them, asked as the list is."""
    known = by_hint(hint.lower())
    if known is not None:
        found = known.find_model(name, all_providers=providers)
        return None if found is None else (known.id, found.id)
    sold = ((vendor, SOLD[vendor].find_model(name.rpartition("/")[2])) for vendor in VENDORS)
    return next(((vendor, found.id) for vendor, found in sold if found is not None), None)


def by_hint(hint: str) -> Provider | None:

    if "." in hint or "/" in hint:
        url = hint if "://" in hint else f"https://{hint}"
        return next((provider for provider in providers if re.match(provider.api_pattern, url)), None)
    return next((provider for provider in providers if provider.provider_match and provider.provider_match.is_match(hint)), None)
