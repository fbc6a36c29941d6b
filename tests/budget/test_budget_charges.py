"""What a record says that its settle charged is what the counters got, whatever became of the exchange."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from budget_bench import Bench
from budget_exchange import OTHER, PRICE, STRONG, USD, exchange, rule

from proxy.budget.cost import bounding
from proxy.engine.record import record_of
from proxy.model import FREE, Price, Reason, Target, Usage

RULES = (
    rule(limit=1.0),
    rule("words", 1_000_000, "tokens", "day", scope=(("agent", "*"),)),
    rule("calls", 100, "requests", "hour"),
    rule("asked", 1_000_000, "input_tokens", "day"),
    rule("said", 1_000_000, "output_tokens", "hour"),
    rule("rate", 100, "requests", "rolling 1m"),
    rule("at-once", 8, "concurrency"),
    rule("by-model", 1.0, window="month", scope=(("model", "*"),)),
    rule("steps", 50, "requests", "session", scope=(("session", "*"),), reason=Reason.STEP_LIMIT),
)


@pytest.mark.parametrize("target", [STRONG, OTHER])
@pytest.mark.parametrize("sent", [True, False])
@pytest.mark.parametrize("usage", [Usage(10, 5), Usage(), None])
@pytest.mark.parametrize("outcome", ["ok", "upstream_error", "client_gone"])
@pytest.mark.parametrize("settled_first", [True, False])
def test_the_charges_of_a_record_are_what_the_counters_got(
    target: Target, sent: bool, usage: Usage | None, outcome: str, settled_first: bool
) -> None:
    async def body() -> None:
        bench, ex = Bench(*RULES), exchange({"max_tokens": 100}, targets=(STRONG, OTHER))
        assert await bench.stage.request(ex) is None
        ex.outcome, before = outcome, None
        if not settled_first:
            ex.sent, ex.usage, ex.target = sent, usage, target if sent else None
            ex.cost = ex.cost.__class__(60_000 if usage else 0)
            before = record_of(ex)
        await bench.close(ex, usage, 60_000 if usage else 0, sent=sent, target=target)
        record = record_of(ex)
        counters = bench.store._book.counters
        assert {c[0]: c[2] for c in record.charges} == {key: c.spent for key, c in counters.items() if c.spent}
        assert all(c.held == 0 for c in counters.values())
        assert before is None or before.charges == record.charges
        assert bool(record.charges) == sent

    asyncio.run(body())


def test_a_call_that_is_refused_or_that_no_budget_sees_has_no_charges() -> None:
    async def body(*rules: Any) -> None:
        bench, ex = Bench(*rules), exchange({"max_tokens": 100})
        deny = await bench.stage.request(ex)
        assert (deny is None) == (not rules)
        await bench.close(ex, Usage(10, 5), 60_000, sent=deny is None)
        assert record_of(ex).charges == ()

    asyncio.run(body(rule(limit=0.000001)))
    asyncio.run(body())


def test_the_record_says_which_rates_were_charged() -> None:
    free = Target("local", "small", "small:8b", "openai", FREE, local=True)
    assert record_of(exchange(targets=(free,))).price_digest == FREE.digest


def test_a_prompt_with_audio_is_held_at_the_price_of_audio() -> None:
    heard = Price(((0, USD),), ((0, 10 * USD),), media=(("input_audio", ((0, 3 * USD),)), ("output_image", ((0, 90 * USD),))))
    sound = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    text, audio = ({"messages": [{"role": "user", "content": content}]} for content in ("hi", [sound]))
    quiet, loud = bounding(heard, exchange(text).call), bounding(heard, exchange(audio).call)
    assert (quiet.input, loud.input, quiet.output) == (((0, USD),), ((0, 3 * USD),), ((0, 90 * USD),))
    assert bounding(heard, exchange(audio).call) is loud, "made once"
    assert bounding(PRICE, exchange(audio).call) is PRICE
