"""The models that providers sell and what they ask for them: the price list that ships with the package, read as far as it is asked for.

Decides which entry a provider and a model's name mean, and which of its rates hold on a day; makes no price of them (`budget.prices`
does). The list is derived from a release of genai-prices by `scripts/price_list.py` and never fetched: importing that package would keep
2,300 models in memory, of which a fleet uses ten. A name that it does not know is None, and so is a provider. A list that is missing or
damaged is an error wherever it is asked: no call goes out at a price that nobody knows.
"""

from __future__ import annotations

import functools
import importlib.resources
import re
from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import msgspec

VENDORS = ("openai", "anthropic", "google", "mistral", "deepseek", "x-ai", "cohere", "moonshotai", "zai", "meta", "voyageai")
"""Where a bare model name is looked up when the provider says nothing: those who make models, before those who resell them."""

Clause = Mapping[str, Any]
"""Which names are meant, in lower case: one of `equals`, `starts_with`, `ends_with`, `contains`, `regex`; `or` and `and` of such."""
Rates = Mapping[str, tuple[tuple[int, Decimal], ...]]
"""By kind of tokens: USD per million, in steps by the size of the prompt."""


class PriceListError(ValueError):
    """The price list is missing from the installation, or damaged."""

    def __init__(self, why: Exception) -> None:
        super().__init__(f"the price list of this installation is missing or damaged; reinstall ({why})")


class Period(msgspec.Struct, frozen=True):
    """The rates of a model from a day on (UTC); without one, from ever."""

    rates: Rates
    since: date | None = None


class Model(msgspec.Struct, frozen=True):
    """One model of a provider. Of its periods the last that has begun holds, before all of them the first."""

    id: str
    match: Clause
    periods: tuple[Period, ...]
    context: int | None = None

    def rates(self, day: date) -> Rates:
        """Return the rates of `day`."""
        begun = (period for period in reversed(self.periods) if period.since is None or period.since <= day)
        return next(begun, self.periods[0]).rates


class Provider(msgspec.Struct, frozen=True):
    """Who sells models: known by the beginning of its addresses, or by its name. What it does not list may be of those in `fallback`."""

    id: str
    address: str
    models: msgspec.Raw
    name: Clause | None = None
    fallback: tuple[str, ...] = ()


class PriceList(msgspec.Struct, frozen=True):
    """All of it. `source` is the release that it comes from; models are bytes until somebody asks for one."""

    source: str
    providers: tuple[Provider, ...]


@functools.cache
def price_list() -> PriceList:
    """Return the price list of this installation. Raises PriceListError."""
    try:
        text = importlib.resources.files("proxy.budget").joinpath("price_list", "genai-prices.json").read_bytes()
        return msgspec.json.decode(text, type=PriceList)
    except (OSError, msgspec.MsgspecError) as e:
        raise PriceListError(e) from None


def find(hint: str, model: str) -> tuple[Model, Provider] | None:
    """Return the entry of `model`, and the provider whose price it is.

    Args:
        hint: a provider's name, its base URL, or its URL's host; one that says nothing falls back to `VENDORS`.
        model: the name that the provider knows.
    """
    provider = _provider(hint)
    if provider is not None:
        found = _model((provider.id, *provider.fallback), model)
        return None if found is None else (found, provider)
    bare = model.rpartition("/")[2]
    for vendor in VENDORS:
        found = _model((vendor,), bare)
        if found is not None:
            return found, _by_id()[vendor]
    return None


def _provider(hint: str) -> Provider | None:
    name = hint.strip().lower()
    if name in _by_id():
        return _by_id()[name]
    providers = price_list().providers
    if "." in name or "/" in name:
        url = name if "://" in name else f"https://{name}"
        return next((provider for provider in providers if re.match(provider.address, url)), None)
    return next((provider for provider in providers if provider.name is not None and _means(provider.name, name)), None)


def _model(providers: tuple[str, ...], name: str) -> Model | None:
    """Return the first of the `providers`' models that is called `name`, or the same with its date as vendors write it."""
    name = name.lower()
    for called in dict.fromkeys((name, _COMPACT_DATE.sub(_with_dashes, name))):
        for provider in providers:
            found = next((model for model in _models(provider) if _means(model.match, called)), None)
            if found is not None:
                return found
    return None


_COMPACT_DATE = re.compile(r"(?<=-)20[0-9]{6}(?=[-:]|$)")
"""A day at the end of a model's name as routers write it: `gpt-5.2-20251211` for `gpt-5.2-2025-12-11`."""


def _with_dashes(found: re.Match[str]) -> str:
    try:
        return date.fromisoformat(found[0]).isoformat()
    except ValueError:
        return found[0]


def _means(clause: Clause, name: str) -> bool:
    ((kind, value),) = clause.items()
    if isinstance(value, str):
        return _TESTS[kind](name, value)
    return (any if kind == "or" else all)(_means(part, name) for part in value)


_TESTS: Mapping[str, Callable[[str, str], bool]] = {
    "equals": str.__eq__,
    "starts_with": str.startswith,
    "ends_with": str.endswith,
    "contains": str.__contains__,
    "regex": lambda name, pattern: re.search(pattern, name) is not None,
}


@functools.cache
def _by_id() -> Mapping[str, Provider]:
    return {provider.id: provider for provider in price_list().providers}


@functools.cache
def _models(provider: str) -> tuple[Model, ...]:
    try:
        return msgspec.json.decode(_by_id()[provider].models, type=tuple[Model, ...])
    except msgspec.MsgspecError as e:
        raise PriceListError(e) from None
