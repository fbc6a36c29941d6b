"""What a record says that the simple model saved."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from engine_script import CLAUDE, LOCAL, STRONG

from proxy.engine.exchange import Exchange
from proxy.engine.ports import SystemClock
from proxy.engine.record import record_of
from proxy.model import Nanos, Route, Target, Usage

USED = Usage(input=1_000_000, output=100_000)
FULL = 2_000_000_000


@pytest.mark.parametrize(
    ("route", "target", "usage", "cost", "saved", "would"),
    [
        (Route((LOCAL, STRONG), "local", other=STRONG), LOCAL, USED, 0, FULL, 0),
        (Route((LOCAL, STRONG), "local", other=STRONG), LOCAL, USED, FULL + 5, -5, 0),
        (Route((LOCAL, STRONG), "local", other=STRONG), STRONG, USED, FULL, 0, 0),
        (Route((STRONG,), other=LOCAL), STRONG, USED, FULL, 0, FULL),
        (Route((STRONG,)), STRONG, USED, FULL, 0, 0),
        (Route((LOCAL,), "local", other=dataclasses.replace(CLAUDE, price=None)), LOCAL, USED, 0, 0, 0),
        (Route((LOCAL, STRONG), "local", other=STRONG), None, USED, 0, 0, 0),
        (Route((LOCAL, STRONG), "local", other=STRONG), LOCAL, None, 0, 0, 0),
        (Route((LOCAL, STRONG), "local", other=STRONG), LOCAL, Usage(), 0, 0, 0),
        (None, None, None, 0, 0, 0),
    ],
)
def test_the_same_tokens_at_two_prices(
    route: Route | None, target: Target | None, usage: Usage | None, cost: int, saved: int, would: int
) -> None:
    from_nobody: Any = type("Runtime", (), {"version": "v"})()
    ex = Exchange(from_nobody, SystemClock(), from_nobody, "openai")
    ex.headers = {}
    ex.target, ex.usage, ex.cost = target, usage, Nanos(cost)
    if route is not None:
        ex.route = route
    record = record_of(ex)
    assert (record.saved, record.would_save) == (saved, would)
