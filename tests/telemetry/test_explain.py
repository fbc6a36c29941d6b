from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from record_samples import REFUSED, SERVED, STRANGER

from proxy.engine.record import Record
from proxy.model import Price, Usage
from proxy.money import cost
from proxy.telemetry.explain import WIDTH, explain

PRICE = Price(
    input=((0, 1_250_000_000), (200_000, 2_500_000_000)),
    output=((0, 10_000_000_000),),
    cache_read=((0, 125_000_000),),
    cache_write=((0, 1_562_500_000),),
)


def one_line(text: str) -> str:
    return " ".join(text.split())


def test_a_served_exchange_in_words() -> None:
    text = one_line(explain(SERVED))
    for words in (
        "01jd3k8x9vq2m4n6p8r0s2t4w6 2026-11-21 07:06:00 UTC invoice-triage v1.4.0 served",
        "asked openai chat, model gpt-5, streamed, 60,000 bytes",
        "identity agent invoice-triage of team payments, by key k12",
        "session s-1 (from x-fleetgate-session)",
        "loops warn: rule identical, count 3",
        "policy gpt-5 allowed by AGENTS.md:12 policy.models.allow",
        "budget 0.05 USD held of fleet-month",
        "route downgrade: budget fleet-month is at 0.80 difficulty 0.12 of 1",
        "upstream openai, model gpt-5-mini, answered 200",
        "reply status 200, 4,321 bytes to the client",
        "5,000 input 2,000 read from cache 30 written to cache 12 written to cache for 1 h 600 output, of them 100 reasoning",
        "charged 0.012345678 USD, price from genai-prices",
        "findings secrets/aws-key: 1 place shadow/model_not_allowed",
        "time 1.00 s in all, 3.0 ms ours, 1.00 s the provider's, first byte after 400.0 ms, 1.0 ms until the request was read",
    ):
        assert words in text
    assert "refused" not in text


def test_with_the_price_each_kind_of_token_has_its_cost() -> None:
    usage = Usage(input=5000, output=600, cache_read=2000, cache_write=30, cache_write_1h=12, reasoning=100)
    text = explain(replace(SERVED, cost=cost(usage, PRICE)), PRICE)
    assert "5,000 input at 1.25 USD per million: 0.00625 USD" in text
    assert "2,000 read from cache at 0.125 USD per million: 0.00025 USD" in text
    assert "12 written to cache for 1 h at 1.5625 USD per million: 0.00001875 USD" in text
    assert "600 output, of them 100 reasoning at 10.00 USD per million: 0.006 USD" in text
    assert "do not add up" not in text


def test_the_size_of_the_prompt_picks_the_step_of_the_price() -> None:
    assert "250,000 input at 2.50 USD per million: 0.625 USD" in explain(replace(SERVED, input_tokens=250_000), PRICE)


def test_a_price_that_changed_since_is_said() -> None:
    assert "the price has changed since" in explain(replace(SERVED, cost=1), PRICE)


@given(st.builds(Usage, *[st.integers(0, 10**7)] * 5))
def test_the_parts_add_up_to_the_charge(usage: Usage) -> None:
    record = Record(
        "i",
        0.0,
        input_tokens=usage.input,
        output_tokens=usage.output,
        cache_read_tokens=usage.cache_read,
        cache_write_tokens=usage.cache_write,
        cache_write_1h_tokens=usage.cache_write_1h,
        cost=cost(usage, PRICE),
    )
    assert "do not add up" not in explain(record, PRICE)


def test_a_refusal_says_why_by_which_rule_and_what_to_do() -> None:
    text = one_line(explain(REFUSED))
    assert "invoice-triage refused: budget_exceeded" in text
    assert "upstream not asked" in text
    assert "money nothing charged" in text
    assert "Why it was refused: budget_exceeded" in text
    assert "rule budgets/fleet.yaml:3 budgets[0].limit" in text
    assert "remedy Wait for the first of the month, or raise the limit." in text


def test_a_stranger() -> None:
    text = one_line(explain(STRANGER))
    assert "unknown agent refused: unauthenticated" in text
    assert "identity the caller did not prove to be any agent" in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"usage_exact": False}, "(a bound: no usage of the provider covers it)"),
        ({"outcome": "upstream_error", "reason": "upstream_timeout"}, "What went wrong: upstream_timeout"),
        ({"outcome": "client_gone", "status": 0}, "none: the client was gone before any"),
        ({"upstream_status": 0}, "gave no answer"),
        ({"run": "r1", "parent": "p1"}, "run r1, parent p1"),
        ({"route": ""}, "not chosen: it was over before"),
    ],
)
def test_other_ends(changes: dict[str, object], words: str) -> None:
    assert words in one_line(explain(replace(SERVED, **changes)))  # type: ignore[arg-type]


def test_colour_only_on_a_terminal() -> None:
    assert "\x1b" not in explain(REFUSED)
    assert "\x1b[31mrefused: budget_exceeded\x1b[0m" in explain(REFUSED, tty=True)


@given(st.text(max_size=300), st.text(max_size=300))
def test_what_others_wrote_cannot_move_the_cursor_or_leave_the_page(asked: str, said: str) -> None:
    record = replace(REFUSED, model_asked=asked, message=said, decisions=((said[:20], asked),), findings=((asked, said),))
    lines = explain(record).split("\n")
    assert all(line.isprintable() for line in lines)
    assert max(len(line) for line in lines[1:]) <= WIDTH
