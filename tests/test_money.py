"""Money is whole nano-dollars, rounded up against the caller, and a bound is never below a cost."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model import Price, Usage
from proxy.money import ceiling, cost, dearest, dollars, nanos, rate, together

SONNET = Price(
    input=((0, 3_000_000_000), (200_000, 6_000_000_000)),
    output=((0, 15_000_000_000), (200_000, 22_500_000_000)),
    cache_read=((0, 300_000_000), (200_000, 600_000_000)),
    cache_write=((0, 3_750_000_000), (200_000, 7_500_000_000)),
    cache_write_1h=((0, 6_000_000_000),),
)
PLAIN = Price(input=((0, 150_000_000),), output=((0, 600_000_000),))


@pytest.mark.parametrize(
    ("usd", "expected"),
    [(5, 5_000_000_000), ("0.5", 500_000_000), (0.1, 100_000_000), (Decimal("0.0000000001"), 1), (0, 0), (1e-12, 1), ("1e9", 10**18)],
)
def test_dollars_become_nanos_rounded_up(usd: object, expected: int) -> None:
    assert nanos(usd) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("usd", [-1, "nan", "inf", "-inf", "ten", 1e10, "1e308"])
def test_what_is_no_amount_is_refused(usd: object) -> None:
    with pytest.raises(ValueError, match="not an amount"):
        nanos(usd)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("amount", "text"), [(0, "0.00"), (1, "0.000000001"), (10**9, "1.00"), (1_230_000_000, "1.23"), (-5 * 10**8, "-0.50")]
)
def test_nanos_are_shown_as_dollars(amount: int, text: str) -> None:
    assert dollars(amount) == text


@given(st.integers(0, 10**15))
def test_showing_and_reading_agree(amount: int) -> None:
    assert nanos(dollars(amount)) == amount


@pytest.mark.parametrize(
    ("usage", "price", "expected"),
    [
        (Usage(input=1_000_000), PLAIN, 150_000_000),
        (Usage(input=1, output=1), PLAIN, 750),
        (Usage(input=100, cache_read=50), PLAIN, 150 * 150),
        (Usage(input=10, output=20, cache_read=30, cache_write=40), SONNET, 10 * 3000 + 20 * 15000 + 30 * 300 + 40 * 3750),
        (Usage(cache_write_1h=10), SONNET, 60_000),
        (Usage(input=200_001), SONNET, 200_001 * 6000),
        (Usage(input=200_000), SONNET, 200_000 * 3000),
        (Usage(input=1), Price(input=((0, 1),), output=((0, 1),)), 1),
        (Usage(), SONNET, 0),
    ],
)
def test_each_kind_of_token_has_its_rate(usage: Usage, price: Price, expected: int) -> None:
    assert cost(usage, price) == expected


def test_cached_tokens_without_a_rate_of_their_own_cost_the_input_rate() -> None:
    price = Price(input=((0, 2_000_000),), output=((0, 4_000_000),))
    assert cost(Usage(cache_write=1, cache_write_1h=1, cache_read=1), price) == 6


def test_a_step_begins_above_its_start() -> None:
    assert [rate(((0, 1), (10, 2), (20, 3)), n) for n in (0, 10, 11, 20, 21)] == [1, 1, 2, 2, 3]


steps = st.lists(st.tuples(st.integers(1, 10**6), st.integers(0, 10**11)), max_size=3).map(
    lambda tiers: ((0, 10**9), *sorted({start: (start, value) for start, value in tiers}.values()))
)
prices = st.builds(
    Price, input=steps, output=steps, cache_read=st.none() | steps, cache_write=st.none() | steps, cache_write_1h=st.none() | steps
)
tokens = st.integers(0, 500_000)


@given(prices, tokens, tokens, tokens, tokens, tokens)
def test_no_reply_within_a_bound_costs_more_than_the_bound(price: Price, a: int, b: int, c: int, d: int, out: int) -> None:
    usage = Usage(input=a, cache_read=b, cache_write=c, cache_write_1h=d, output=out)
    assert cost(usage, price) <= dearest(usage.total_input, out, price)
    assert dearest(usage.total_input, out, price) <= dearest(usage.total_input + 1, out + 1, price)


M = 1_000_000
HEARD = Price(
    input=((0, 300 * M), (200, 600 * M)),
    output=((0, 2500 * M),),
    cache_read=((0, 30 * M),),
    media=(
        ("input_audio", ((0, 1000 * M), (200, 400 * M))),
        ("cache_read_audio", ((0, 100 * M),)),
        ("output_image", ((0, 30_000 * M),)),
    ),
)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (Usage(input=100, media=(("input_audio", 40),)), 60 * 300 + 40 * 1000),
        (Usage(input=100, media=(("input_video", 40),)), 100 * 300),
        (Usage(input=60, cache_read=40, media=(("cache_read_audio", 10),)), 60 * 300 + 30 * 30 + 10 * 100),
        (Usage(output=100, media=(("output_image", 90), ("output_audio", 5))), 10 * 2500 + 90 * 30_000),
        (Usage(input=300, media=(("input_audio", 300),)), 300 * 400),
        (Usage(), 0),
    ],
)
def test_media_cost_their_own_rate_where_there_is_one(usage: Usage, expected: int) -> None:
    assert cost(usage, HEARD) == expected


def test_a_ceiling_holds_whatever_medium_comes_and_audio_only_where_the_prompt_has_any() -> None:
    assert ceiling(PLAIN, heard=True) is PLAIN
    quiet, loud = ceiling(HEARD, heard=False), ceiling(HEARD, heard=True)
    assert (quiet.input, quiet.output, quiet.media) == (HEARD.input, ((0, 30_000 * M),), ())
    assert loud.input == ((0, 1000 * M), (200, 600 * M))


@given(st.integers(0, 400), st.integers(0, 400), st.integers(0, 400), st.integers(0, 400), st.integers(0, 400))
def test_no_media_cost_more_than_the_ceiling(text: int, audio: int, read: int, words: int, image: int) -> None:
    usage = Usage(text + audio, words + image, read, media=(("input_audio", audio), ("cache_read_audio", read), ("output_image", image)))
    assert cost(usage, HEARD) <= dearest(usage.total_input, usage.output, ceiling(HEARD, heard=True))
    silent = Usage(text, words + image, read, media=(("output_image", image),))
    assert cost(silent, HEARD) <= dearest(silent.total_input, silent.output, ceiling(HEARD, heard=False))


STEPS = Price(input=((0, 3_000), (500, 9_000)), output=((0, 5_000), (500, 2_000)), cache_write=((0, 4_000),), cache_read=((0, 1),))


@given(st.integers(0, 1200), st.integers(0, 1200), st.integers(0, 50))
def test_no_call_at_two_prices_costs_more_than_both_together(small: int, large: int, output: int) -> None:
    both = dearest(max(small, large), output, together(STEPS, HEARD))
    assert dearest(small, output, STEPS) + dearest(large, output, replace(HEARD, media=())) <= both + 1
