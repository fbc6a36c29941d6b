"""Windows, scopes, counters and what fits: pure rules."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from budget_exchange import PRICE, USD, rule
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from proxy.budget.cost import FITS_ALL, Cost, fit
from proxy.budget.port import Claim
from proxy.budget.rules import FOREVER, Facts, RuleSet, safe, window_of
from proxy.budget.windows import span_of
from proxy.model import Price
from proxy.money import dearest

FACTS = Facts(team="payments", agent="triage", key="k1", session="s1", run="r1", targets=(("openai", "gpt-4o"),))
AMOUNTS = {"usd": 5, "tokens": 7, "input_tokens": 4, "output_tokens": 3, "requests": 1, "concurrency": 1}


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("window", "now", "name", "ends"),
    [
        ("minute", "2026-02-28T23:59:59", "2026-02-28T23:59", "2026-03-01T00:00:00"),
        ("hour", "2026-02-28T23:59:59", "2026-02-28T23", "2026-03-01T00:00:00"),
        ("day", "2024-02-29T12:00:00", "2024-02-29", "2024-03-01T00:00:00"),
        ("week", "2026-11-22T23:59:59", "2026-W47", "2026-11-23T00:00:00"),
        ("week", "2026-11-23T00:00:00", "2026-W48", "2026-11-30T00:00:00"),
        ("week", "2027-01-01T00:00:00", "2026-W53", "2027-01-04T00:00:00"),
        ("week", "2024-12-30T00:00:00", "2025-W01", "2025-01-06T00:00:00"),
        ("day", "2026-03-29T01:30:00", "2026-03-29", "2026-03-30T00:00:00"),
        ("hour", "2026-10-25T00:59:59", "2026-10-25T00", "2026-10-25T01:00:00"),
        ("month", "2026-12-31T23:59:59", "2026-12", "2027-01-01T00:00:00"),
        ("month", "2026-01-01T00:00:00", "2026-01", "2026-02-01T00:00:00"),
    ],
)
def test_calendar_windows_are_utc_and_weeks_start_on_monday(window: str, now: str, name: str, ends: str) -> None:
    assert window_of(rule(window=window), at(now)) == (name, at(ends))


@pytest.mark.parametrize("window", ["session", "run", "total"])
def test_other_windows_have_no_end_on_the_clock(window: str) -> None:
    assert window_of(rule(window=window), 0.0) == (window, None)


@given(st.sampled_from(["minute", "hour", "day", "week", "month"]), st.floats(0, 4e9))
def test_a_window_holds_now_and_the_next_begins_where_it_ends(window: str, now: float) -> None:
    name, end = window_of(rule(window=window), now)
    assert end is not None
    assert now < end
    assert window_of(rule(window=window), end)[0] != name
    assert window_of(rule(window=window), end - 0.5)[0] == name


@pytest.mark.parametrize(
    ("scope", "counter"),
    [
        ((), "cap|usd||total"),
        ((("fleet", "*"),), "cap|usd||total"),
        ((("agent", "*"),), "cap|usd|agent=triage|total"),
        ((("agent", "triage"),), "cap|usd||total"),
        ((("agent", "tri*"),), "cap|usd||total"),
        ((("agent", "other"),), None),
        ((("agent", "Triage"),), None),
        ((("team", "*"), ("agent", "*")), "cap|usd|team=payments,agent=triage|total"),
        ((("team", "payments"), ("agent", "other")), None),
        ((("session", "*"),), "cap|usd|,session=s1|total"),
        ((("session", "s1"),), "cap|usd||total"),
        ((("session", "s2"),), None),
        ((("run", "*"),), "cap|usd|,run=r1|total"),
        ((("key", "*"),), "cap|usd|key=k1|total"),
        ((("model", "gpt-*"),), "cap|usd||total"),
        ((("model", "claude-*"),), None),
        ((("provider", "*"), ("model", "*")), "cap|usd|,provider=openai,model=gpt-4o|total"),
    ],
)
def test_a_scope_selects_calls_and_names_their_counter(scope: tuple[tuple[str, str], ...], counter: str | None) -> None:
    found = RuleSet([rule(scope=scope)]).claims(FACTS, 0.0, AMOUNTS)
    assert [claim.counter for claim in found] == ([] if counter is None else [counter])


@pytest.mark.parametrize("dimension", ["team", "session", "run", "key"])
def test_a_dimension_that_the_call_lacks_does_not_match(dimension: str) -> None:
    empty: dict[str, Any] = {dimension: ""}
    facts = replace(FACTS, **empty)
    assert RuleSet([rule(scope=((dimension, "*"),))]).claims(facts, 0.0, AMOUNTS) == []
    assert RuleSet([rule(scope=((dimension, "*"),))]).claims(FACTS, 0.0, AMOUNTS) != []


def test_a_session_window_counts_each_session_by_itself() -> None:
    rules = RuleSet([rule(window="session", scope=(("agent", "*"),))])
    one, two = (rules.claims(replace(FACTS, session=s), 100.0, AMOUNTS)[0] for s in ("s1", "s2"))
    assert (one.counter, two.counter) == ("cap|usd|agent=triage,session=s1|session", "cap|usd|agent=triage,session=s2|session")
    assert one.expires == 100.0 + 86_400


def test_each_unit_claims_its_own_amount_and_units_without_amount_nothing() -> None:
    rules = RuleSet([rule("a"), rule("b", 9, unit="tokens"), rule("c", 9, unit="requests"), rule("d", 2, unit="concurrency")])
    found = rules.claims(FACTS, 0.0, AMOUNTS)
    assert [(c.unit, c.amount) for c in found] == [("usd", 5), ("tokens", 7), ("requests", 1), ("concurrency", 1)]
    assert [c.unit for c in rules.claims(FACTS, 0.0, {"requests": 1})] == ["requests"]


def test_prompts_and_answers_can_be_counted_by_themselves() -> None:
    rules = RuleSet([rule("in", 9, unit="input_tokens"), rule("out", 9, unit="output_tokens")])
    assert [(c.counter, c.amount) for c in rules.claims(FACTS, 0.0, AMOUNTS)] == [
        ("in|input_tokens||total", 4),
        ("out|output_tokens||total", 3),
    ]
    cost = Cost(((100, PRICE),))
    assert fit([claim(99, "input_tokens")], [(0, 0)], cost) == (-1, 0)
    assert fit([claim(100, "input_tokens")], [(0, 0)], cost) == (FITS_ALL, -1)
    assert fit([claim(100, "output_tokens")], [(30, 20)], cost) == (50, 0)
    assert fit([claim(10, "output_tokens")], [(30, 20)], cost) == (-40, 0)


@pytest.mark.parametrize(
    ("window", "span"),
    [("rolling 60s", 60), ("rolling 30m", 1800), ("rolling 24h", 86_400), ("rolling 7d", 604_800), ("rolling 366d", 31_622_400)],
)
def test_a_rolling_window_is_one_counter_with_a_span(window: str, span: float) -> None:
    rules = RuleSet([rule(window=window, scope=(("agent", "*"),)), rule("s", window=window, scope=(("session", "*"),))])
    one, two = rules.claims(FACTS, 1000.0, AMOUNTS)
    assert (one.counter, one.span, one.resets_at) == (f"cap|usd|agent=triage|{window.replace(' ', '-')}", span, None)
    assert (two.counter, two.span) == (f"s|usd|,session=s1|{window.replace(' ', '-')}", span)
    assert one.expires == two.expires == 1000 + span + 86_400
    later = rules.claims(FACTS, 9e9, AMOUNTS)[0]
    assert (later.counter, later.expires) == (one.counter, 9e9 + span + 86_400)
    by_model = RuleSet([rule(window=window, scope=(("model", "*"),))]).claims(FACTS, 1000.0, AMOUNTS)
    assert [(c.span, c.expires) for c in by_model] == [(span, one.expires)]


@pytest.mark.parametrize("window", ["day", "rolling", "rolling 0h", "rolling 59s", "rolling 367d", "rolling 24H", "rolling 24h "])
def test_other_words_have_no_span(window: str) -> None:
    assert span_of(window) == 0


def test_rules_that_warn_or_run_dry_only_count() -> None:
    rules = RuleSet([rule("a", on_exceed="warn"), rule("b", shadow=True), rule("c")])
    assert [c.limit for c in rules.claims(FACTS, 0.0, AMOUNTS)] == [None, None, USD]


def test_windows_reset_and_old_counters_expire_later() -> None:
    rules = RuleSet([rule(window="day")])
    now = at("2026-11-21T10:00:00")
    first, later, next_day = (rules.claims(FACTS, t, AMOUNTS)[0] for t in (now, now + 3600, now + 86_400))
    assert first.counter == later.counter != next_day.counter
    assert first.resets_at == at("2026-11-22T00:00:00")
    assert first.expires > first.resets_at
    assert RuleSet([rule()]).claims(FACTS, now, AMOUNTS)[0].expires == FOREVER
    back = rules.claims(FACTS, now, AMOUNTS)[0]
    assert back.counter == first.counter, "a clock that steps back finds the old window"


def test_every_target_that_may_serve_is_claimed_and_shared_counters_once() -> None:
    facts = replace(FACTS, targets=(("openai", "gpt-4o"), ("azure", "gpt-4o"), ("local", "qwen")))
    each = RuleSet([rule(scope=(("provider", "*"),))]).claims(facts, 0.0, AMOUNTS)
    assert [(c.counter, c.target) for c in each] == [
        ("cap|usd|,provider=openai|total", ("openai", "gpt-4o")),
        ("cap|usd|,provider=azure|total", ("azure", "gpt-4o")),
        ("cap|usd|,provider=local|total", ("local", "qwen")),
    ]
    shared = RuleSet([rule(scope=(("model", "gpt-*"),))]).claims(facts, 0.0, AMOUNTS)
    assert [c.counter for c in shared] == ["cap|usd||total"], "one counter, one claim"


@given(st.text(max_size=300))
def test_counter_keys_stay_short_plain_and_distinct(value: str) -> None:
    key = safe(value)
    assert len(key) <= 96
    assert not set(key) & set("|,= \n")
    assert safe(value + "x") != key


def test_ten_thousand_rules_cost_only_those_that_can_match() -> None:
    rules = RuleSet([rule(f"r{i}", scope=(("agent", f"agent-{i}"),)) for i in range(10_000)] + [rule("all", scope=(("agent", "*"),))])
    facts = replace(FACTS, agent="agent-77")
    assert [c.rule.name for c in rules.claims(facts, 0.0, AMOUNTS) if c.rule] == ["r77", "all"]
    assert rules.plan(facts).size == 2, "only what matches is looked at per call"


def test_what_is_remembered_of_callers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.budget.rules._REMEMBERED", 3)
    rules = RuleSet([rule(scope=(("agent", "*"),))])
    for i in range(10):
        (found,) = rules.claims(replace(FACTS, agent=f"a{i}"), 0.0, AMOUNTS)
        assert found.counter == f"cap|usd|agent=a{i}|total"
        assert len(rules._plans) <= 3


# --- what fits -----------------------------------------------------------------------------------------------------------------------

Steps = tuple[tuple[int, int], ...]
steps = st.lists(st.integers(0, 10**12), min_size=1, max_size=3).map(lambda v: tuple((i * 1000, x) for i, x in enumerate(sorted(v))))


@given(st.integers(0, 10**6), steps, steps, st.integers(0, 10**15))
def test_what_fits_is_the_most_that_fits(tokens: int, inputs: Steps, outputs: Steps, left: int) -> None:
    price = Price(input=inputs, output=outputs)
    fits = Cost(((tokens, price),)).output_for("usd", left)
    if fits < 0:
        assert dearest(tokens, 0, price) > left
    elif fits < FITS_ALL:
        assert dearest(tokens, fits, price) <= left < dearest(tokens, fits + 1, price)
    else:
        assert dearest(tokens, 10**9, price) <= left


def claim(limit: int | None, unit: str = "usd", amount: int = 0) -> Claim:
    return Claim("c", unit, limit, amount, FOREVER)  # type: ignore[arg-type]


def test_the_tightest_claim_decides() -> None:
    cost = Cost(((100, PRICE),))
    claims = [claim(10**9), claim(400, "tokens"), claim(None), claim(5, "requests")]
    assert fit(claims, [(0, 0), (100, 50), (10**18, 0), (4, 0)], cost) == (150, 1)
    assert fit(claims, [(10**9, 0), (0, 0), (0, 0), (0, 0)], cost) == (-1, 0)
    assert fit(claims, [(0, 0), (0, 0), (0, 0), (5, 0)], cost) == (-1, 3)
    assert fit([claim(None)], [(5, 5)], cost) == (FITS_ALL, -1)


def test_the_dearest_target_bounds_the_call() -> None:
    cheap, dear = Price(((0, USD),), ((0, USD),)), Price(((0, 3 * USD),), ((0, 30 * USD),))
    cost = Cost(((100, dear), (120, cheap)))
    assert cost.input_tokens == 120
    assert cost.usd(10) == dearest(100, 10, dear)
    assert cost.tokens(10) == 130
    assert cost.output_for("usd", cost.usd(10)) == 10
    assert Cost(()).usd(5) == 0


@given(st.integers(0, 10**7), st.integers(0, 10**7), steps, steps, st.none() | steps)
def test_the_fast_price_is_the_price(tokens: int, output: int, inputs: Steps, outputs: Steps, cached: Steps | None) -> None:
    price = Price(input=inputs, output=outputs, cache_read=cached)
    for _ in range(2):
        assert Cost(((tokens, price),)).usd(output) == dearest(tokens, output, price)
