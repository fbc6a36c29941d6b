"""Prices from the table and from files."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest
from genai_prices import Usage as GenaiUsage
from genai_prices.data import providers

from proxy.budget.catalogue import price_list
from proxy.budget.prices import digest_of, free, price_from, price_of
from proxy.config import ConfigError, parse_yaml
from proxy.model import FREE, Usage
from proxy.money import ceiling, cost, dearest

NOW = datetime(2026, 11, 20, tzinfo=UTC).timestamp()
USD = 10**9
SOLD = {provider.id: provider for provider in providers}


@pytest.mark.parametrize(
    ("hint", "model", "source", "rates"),
    [
        ("openai", "gpt-4o", "openai/gpt-4o", (2.5, 10, 1.25, None)),
        ("https://api.openai.com/v1", "gpt-4o-2024-08-06", "openai/gpt-4o", (2.5, 10, 1.25, None)),
        ("api.anthropic.com", "claude-opus-4-8", "anthropic/claude-opus-4-8", (5, 25, 0.5, 6.25)),
        ("our-gateway", "claude-sonnet-4-6", "anthropic/claude-sonnet-4-6", (3, 15, 0.3, 3.75)),
        ("our-gateway", "openai/gpt-4o", "openai/gpt-4o", (2.5, 10, 1.25, None)),
        ("http://127.0.0.1:9000/v1", "gpt-4o", "openai/gpt-4o", (2.5, 10, 1.25, None)),
        ("gemini", "gemini-2.5-flash", "google/gemini-2.5-flash", (0.3, 2.5, 0.03, None)),
    ],
)
def test_the_table_is_found_by_name_address_or_model(hint: str, model: str, source: str, rates: tuple[float | None, ...]) -> None:
    price = price_of(hint, model, NOW)
    assert price is not None
    assert price.source == f"{price_list().source} {source}"
    found = (price.input, price.output, price.cache_read, price.cache_write)
    assert found == tuple(None if rate is None else ((0, round(rate * USD)),) for rate in rates)


def test_long_prompts_have_their_own_step() -> None:
    price = price_of("google", "gemini-2.5-pro", NOW)
    assert price is not None
    assert price.input == ((0, 1_250_000_000), (200_000, 2_500_000_000))


def test_a_price_is_that_of_its_day() -> None:
    before, after = (price_of("anthropic", "claude-sonnet-4-6", datetime(2026, month, 1, tzinfo=UTC).timestamp()) for month in (3, 4))
    assert before is not None
    assert after is not None
    assert (len(before.input), len(after.input)) == (2, 1), "the long-context tier ended on 2026-03-13"


@pytest.mark.parametrize(("hint", "model"), [("stub", "strong-model"), ("openai", "no-such-model"), ("local", "qwen3:8b"), ("", "")])
def test_what_nobody_priced_has_no_price(hint: str, model: str) -> None:
    assert price_of(hint, model, NOW) is None


def test_cached_tokens_are_charged_once_at_their_own_rate() -> None:
    price = price_of("anthropic", "claude-opus-4-8", NOW)
    assert price is not None
    usage = Usage(input=1000, output=100, cache_read=10_000, cache_write=2000, cache_write_1h=500)
    assert cost(usage, price) == 1000 * 5000 + 100 * 25_000 + 10_000 * 500 + 2000 * 6250 + 500 * 10_000


def test_a_price_of_ones_own() -> None:
    doc = parse_yaml("price: {input: 0.05, output: 1, cache_read: 0.0000004}", "fleetgate.yaml")
    price = price_from(doc, ("price",), doc.value["price"])
    assert (price.input, price.output) == (((0, 50_000_000),), ((0, 10**9),))
    assert (price.cache_read, price.cache_write) == (((0, 400),), None)
    assert price.source == "fleetgate.yaml:1"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("price: 5", "USD per million tokens"),
        ("price: {input: 1}", "no output price"),
        ("price: {}", "no input and no output price"),
        ("price: {input: 1, outptu: 2}", "did you mean output?"),
        ("price: {input: -1, output: 2}", "0 or more"),
        ("price: {input: free, output: 2}", "0 or more"),
        ("price: {input: true, output: 2}", "0 or more"),
        ("price: {input: 2000000, output: 2}", "0 or more"),
    ],
)
def test_a_price_that_is_none_is_refused_with_its_line(text: str, words: str) -> None:
    doc = parse_yaml("\n" + text, "fleetgate.yaml")
    with pytest.raises(ConfigError, match=r"fleetgate\.yaml:2") as caught:
        price_from(doc, ("price",), doc.value["price"])
    assert words in str(caught.value)


def test_a_price_is_known_by_its_rates() -> None:
    assert FREE.digest == digest_of(FREE)
    table = price_of("openai", "gpt-4o", NOW)
    doc = parse_yaml("price: {input: 2.5, output: 10, cache_read: 1.25}", "fleetgate.yaml")
    own = price_from(doc, ("price",), doc.value["price"])
    assert table is not None
    assert (table.digest, len(table.digest)) == (own.digest, 8), "the same rates, from two sources"
    dearer = price_from(parse_yaml("price: {input: 2.5, output: 10.01, cache_read: 1.25}", "x"), (), {"input": 2.5, "output": 10.01})
    assert dearer.digest != own.digest


def everything() -> list[tuple[str, str]]:
    """Every model of the table that is priced by tokens, at every provider."""
    return [(provider.id, model.id) for provider in providers for model in provider.models if price_of(provider.id, model.id, NOW)]


@pytest.mark.parametrize("provider", sorted({provider for provider, _ in everything()}))
def test_every_model_of_the_table_costs_what_the_table_says_to_the_last_nano(provider: str) -> None:
    """The table's own arithmetic, on sizes around the steps, with cached tokens and media."""
    checked = 0
    for _, model in [both for both in everything() if both[0] == provider]:
        price = price_of(provider, model, NOW)
        assert price is not None
        kinds = dict(price.media)
        for size in (1, 999, 128_000, 200_000, 200_001, 272_001, 1_000_000):
            read, write = (size // 3, size // 5) if price.cache_write else (size // 3, 0)
            audio, image = (size // 7 if f"input_{kind}" in kinds else 0 for kind in ("audio", "image"))
            heard = read // 2 if "cache_read_audio" in kinds else 0
            seen = read // 2 if "cache_read_image" in kinds else 0
            said = 70 if "output_image" in kinds else 0
            media = (
                ("input_audio", audio),
                ("input_image", image),
                ("cache_read_audio", heard),
                ("cache_read_image", seen),
                ("output_image", said),
            )
            ours = Usage(size - read - write, 100, read, write, media=media)
            theirs = GenaiUsage(
                input_tokens=size,
                output_tokens=100,
                cache_read_tokens=read,
                cache_write_tokens=write,
                input_audio_tokens=audio + heard,
                cache_audio_read_tokens=heard,
                input_image_tokens=image + seen,
                cache_image_read_tokens=seen,
                output_image_tokens=said,
            )
            named = SOLD[provider].find_model(model, all_providers=providers)
            assert named is not None
            day = datetime.fromtimestamp(NOW, UTC).replace(hour=0, minute=0)
            hours = {id(rates): rates.calc_price(theirs) for rates in [named.get_prices(day.replace(hour=i)) for i in range(24)]}
            expected = max(hour["input_price"] + hour["output_price"] for hour in hours.values())
            assert cost(ours, price) == math.ceil(expected * USD), (model, size)
            assert cost(ours, price) <= dearest(size, 100, ceiling(price, heard=True)), "and no hold is below it"
            checked += 1
    assert checked


def test_free_is_what_costs_nothing_at_all() -> None:
    assert free(FREE)
    image = price_of("google", "gemini-2.5-flash-image", NOW)
    assert image is not None
    assert not free(image)
    assert dict(image.media)["output_image"] == ((0, 30 * USD),)
