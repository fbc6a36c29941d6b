"""What models take from the world: EcoLogits' answers as whole numbers, unknown models, and budgets in grams that hold them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from budget_bench import Bench, run
from budget_exchange import LOCAL, OTHER, STRONG, exchange, rule
from ecologits.tracers.utils import llm_impacts
from hypothesis import given
from hypothesis import strategies as st

from proxy.budget.cost import FITS_ALL, Cost
from proxy.budget.files import budgets_of
from proxy.budget.footprints import footprint_of, known_zone, written
from proxy.budget.left import SHARES
from proxy.budget.refusal import amount
from proxy.config import load_yaml
from proxy.engine.emitted import NOTHING, Emitted, emitted
from proxy.engine.exchange import Left
from proxy.model import Nanos, Reason, Route, Target, Usage
from proxy.model.footprints import MICRO, UNBOUNDED, Footprint, decimal

PRINT = Footprint((10, 1000), (50 * MICRO, 100 * MICRO), (1, 2), (3 * MICRO, 4 * MICRO), "test")
"""A milligram an answer and a tenth of one a token, at most."""
GREEN = replace(STRONG, footprint=PRINT)
SPARE = replace(OTHER, footprint=replace(PRINT, carbon_rate=(50 * MICRO, 200 * MICRO)))
GRAMS = "cap|gco2e||total"


@pytest.mark.parametrize("tokens", [1, 17, 500, 20_000, 300_000])
@pytest.mark.parametrize(
    ("hint", "model", "theirs"),
    [
        ("https://api.openai.com/v1", "gpt-5-mini", "openai"),
        ("anthropic", "claude-sonnet-4-5", "anthropic"),
        ("https://generativelanguage.googleapis.com", "gemini-2.5-flash", "google_genai"),
        ("https://api.mistral.ai/v1", "mistral-large-latest", "mistralai"),
    ],
)
def test_the_line_is_what_ecologits_says(hint: str, model: str, theirs: str, tokens: int) -> None:
    found = footprint_of(hint, model)
    assert found is not None
    said: Any = llm_impacts(theirs, model, tokens, math.inf)
    for (low, high), value in ((found.emits(tokens), said.gwp.value), (found.uses(tokens), said.energy.value)):
        least, most = (value.min, value.max) if hasattr(value, "min") else (value, value)
        assert low <= least * 1e9 * (1 + 1e-9)
        assert most * 1e9 * (1 - 1e-9) <= high
        assert low == pytest.approx(least * 1e9, rel=1e-3, abs=3)
        assert high == pytest.approx(most * 1e9, rel=1e-3, abs=3)


def test_what_nobody_knows_has_no_footprint() -> None:
    assert footprint_of("http://127.0.0.1:11434/v1", "qwen3:8b-nobody") is None
    assert footprint_of("openai", "text-embedding-3-small") is None
    assert footprint_of("openai", "gpt-4o", "XXX") is None
    assert not known_zone("XXX")


def test_a_reseller_is_looked_through_and_a_zone_matters() -> None:
    plain, resold = footprint_of("openai", "gpt-4o"), footprint_of("https://openrouter.ai/api/v1", "openai/gpt-4o")
    french = footprint_of("openai", "gpt-4o", "FRA")
    assert plain is not None
    assert french is not None
    assert resold == plain
    assert french.emits(1000)[1] < plain.emits(1000)[0]
    assert "ecologits" in plain.source


def test_what_is_written_holds() -> None:
    found = written({"gco2e": 0.4, "wh": 1.5}, "f.yaml")
    assert found.emits(1000) == (400_000, 400_000)
    assert found.uses(2000) == (3_000_000, 3_000_000)
    assert written({"gco2e": 0}, "f.yaml").output_for(0) == UNBOUNDED


@given(st.integers(0, 10**6), st.integers(0, 10**12), st.integers(0, 10**9))
def test_the_output_that_fits_never_takes_more(base: int, rate: int, left: int) -> None:
    footprint = Footprint((0, base), (0, rate))
    output = footprint.output_for(left)
    if output < 0:
        assert base > left
    else:
        assert footprint.emits(min(output, UNBOUNDED))[1] <= left
        if output < UNBOUNDED:
            assert footprint.emits(output + 1)[1] > left - 1


@given(st.integers(0, 10**7), st.integers(0, 10**7))
def test_bounds_are_rounded_apart_and_add_up(output: int, more: int) -> None:
    low, high = PRINT.emits(output)
    assert low <= high
    both = PRINT.beside(PRINT)
    assert both.emits(output)[1] == 2 * high
    assert PRINT.emits(output + more)[1] >= high


def test_millionths_are_shown_as_decimals() -> None:
    assert [decimal(n) for n in (0, 1, 500_000, 1_000_000, 1_250_000, -2_000_000)] == ["0", "0.000001", "0.5", "1", "1.25", "-2"]
    assert amount("gco2e", 1_500_000) == "1.5 gCO2e"
    assert SHARES["gco2e"] == MICRO


def test_a_cost_is_bounded_by_whoever_emits_most() -> None:
    cost = Cost((), (PRINT, SPARE.footprint or PRINT))
    assert cost.gco2e(10) == 1000 + 2000
    assert cost.output_for("gco2e", 3000) == 10
    assert Cost(()).gco2e(10) == 0
    assert Cost(()).output_for("gco2e", 0) == FITS_ALL


def entries(tmp_path: Path, text: str) -> tuple[list[Any], list[str]]:
    path = tmp_path / "b.yaml"
    path.write_text(text)
    rules, errors = budgets_of(load_yaml(path, "b.yaml"))
    return rules, [str(e) for e in errors]


def test_files_say_grams(tmp_path: Path) -> None:
    rules, errors = entries(tmp_path, "budgets:\n  - {name: co2, limit: {gco2e: 500, usd: 3}, window: month}\n")
    assert not errors
    assert [(r.unit, r.limit) for r in rules] == [("usd", 3_000_000_000), ("gco2e", 500_000_000)]
    for value in ("-1", "true", "lots", "10000000000000"):
        _, errors = entries(tmp_path, f"budgets:\n  - {{name: co2, limit: {{gco2e: {value}}}, window: month}}\n")
        assert "expected grams of CO2 equivalents such as 500" in errors[0]
    _, errors = entries(tmp_path, "limits:\n  - {name: co2, gco2e: 5, window: minute}\n")
    assert "unknown key" in errors[0]


def test_a_call_is_held_at_the_most_and_settled_at_the_most_of_what_it_made() -> None:
    async def body() -> None:
        bench = Bench(rule(unit="gco2e", limit=1_000_000))
        ex = exchange({"max_tokens": 100}, targets=(GREEN, SPARE))
        assert await bench.stage.request(ex) is None
        assert await bench.balance(GRAMS) == (0, 1000 + 100 * 200)
        ex.target = GREEN
        await bench.close(ex, Usage(input=10, output=5), 60_000)
        assert await bench.balance(GRAMS) == (1000 + 500, 0)

    run(body)


def test_a_ceiling_is_lowered_to_what_the_grams_allow_and_then_the_call_is_refused() -> None:
    async def body() -> None:
        bench = Bench(rule(unit="gco2e", limit=11_000))
        ex = exchange({"max_tokens": 1000}, targets=(GREEN,))
        assert await bench.stage.request(ex) is None
        assert ex.max_output == 100
        late = exchange({"max_tokens": 1000}, targets=(GREEN,))
        deny = await bench.stage.request(late)
        assert deny is not None
        assert deny.reason is Reason.BUDGET_EXCEEDED
        assert "0.011 gCO2e" in deny.message
        assert deny.remaining == "0 gCO2e"

    run(body)


def test_a_model_that_nobody_estimates_is_refused_where_grams_are_counted_and_nowhere_else() -> None:
    async def body() -> None:
        bench = Bench(rule(unit="gco2e", limit=1_000_000))
        for targets in ((STRONG,), (GREEN, STRONG), (LOCAL,)):
            ex = exchange(targets=targets)
            deny = await bench.stage.request(ex)
            assert deny is not None
            assert deny.reason is Reason.UNPRICED_MODEL
            assert deny.rule == "energy"
        assert await bench.balance(GRAMS) == (0, 0)
        free = Bench(rule(limit=1.0), rule("watched", unit="gco2e", limit=1, on_exceed="warn"))
        assert await free.stage.request(exchange({"max_tokens": 10}, targets=(STRONG,))) is None

    run(body)


def spent(target: Target | None, usage: Usage | None, left: tuple[Left, ...] = (), route: tuple[Target, ...] = (GREEN,)) -> Emitted:
    ex = exchange(targets=route)
    ex.target, ex.usage, ex.left, ex.route = target, usage, left, Route(route)
    return emitted(ex)


def test_what_was_replaced_has_worked_too() -> None:
    gone = Left(SPARE.provider, SPARE.model, "slow", "", Usage(input=5, output=10), Nanos(0), 1)
    assert spent(GREEN, Usage(input=5, output=10)).carbon == (10 + 500, 1000 + 1000)
    assert spent(GREEN, Usage(input=5, output=10)).energy == (1 + 30, 2 + 40)
    assert spent(GREEN, Usage(input=5, output=10), (gone,), (GREEN, SPARE)).carbon == (1020, 2000 + 1000 + 2000)
    assert spent(None, None, (gone,), (GREEN, SPARE)).carbon == (510, 3000)
    assert spent(None, None, (gone,)) == NOTHING
    assert spent(STRONG, Usage(input=5, output=10)) == NOTHING
    assert spent(GREEN, Usage()) == NOTHING
    assert spent(GREEN, None) == NOTHING
    assert spent(None, None) == NOTHING


def test_a_local_model_on_trial_is_held_beside_the_one_that_takes_its_place() -> None:
    async def body() -> None:
        bench = Bench(rule(unit="gco2e", limit=1_000_000))
        ex = exchange({"max_tokens": 100}, targets=(GREEN, SPARE))
        ex.route = Route((replace(GREEN, local=True), SPARE), "local")
        assert await bench.stage.request(ex) is None
        assert await bench.balance(GRAMS) == (0, 2 * 1000 + 100 * 300)

    run(body)
