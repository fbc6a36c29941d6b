"""An exchange as the budget stage finds it: decoded by the real codec, with a grant, a session and a route."""

from __future__ import annotations

import json
from typing import Any, cast

from multidict import CIMultiDict

from proxy.engine.exchange import Exchange, Runtime
from proxy.engine.ports import Client
from proxy.engine.stage import compile_plan
from proxy.model import BudgetRule, Grant, Limit, Price, Principal, Reason, Route, Source, Target
from proxy.wire import registry
from proxy.wire.base import Codec, Memos

USD = 1_000_000_000
PRICE = Price(input=((0, 1 * USD),), output=((0, 10 * USD),), source="test")
"""1 USD a million tokens in, 10 out: a thousand nanos a token in, ten thousand out."""
STRONG = Target("stub", "gpt-4o", "gpt-4o", "openai", PRICE)
OTHER = Target("second", "gpt-4.1", "gpt-4.1", "openai", PRICE)
LOCAL = Target("local", "small", "small:8b", "openai", None, local=True)
UNPRICED = Target("stub", "mystery", "mystery", "openai", None)
WALL = 1_795_000_000.0


class FixedClock:
    """A clock that stands until the test moves it."""

    def __init__(self, wall: float = WALL) -> None:
        self.wall = wall

    def now(self) -> float:
        return self.wall

    def ns(self) -> int:
        return int(self.wall * 1e9)


class NoTransport:
    """A transport that no test of a stage may use."""

    async def send(self, request: object) -> Any:
        raise AssertionError("a stage asked upstream")

    async def close(self) -> None:
        """Nothing is open."""


def rule(name: str = "cap", limit: float = 1.0, unit: Any = "usd", window: str = "total", **more: Any) -> BudgetRule:
    amount = round(limit * USD) if unit == "usd" else int(limit)
    fields: dict[str, Any] = {"scope": (), "source": Source("budgets/test.yaml", 3, f"budgets.{name}"), **more}
    return BudgetRule(name=name, unit=unit, limit=amount, window=window, **fields)


def grant(*budgets: BudgetRule, max_input: tuple[Limit, ...] = ()) -> Grant:
    return Grant(
        agent="triage", team="payments", version="1", file_digest="", digest="", models=(), tools=(), budgets=budgets, max_input=max_input
    )


def exchange(
    body: dict[str, Any] | None = None,
    *,
    targets: tuple[Target, ...] = (STRONG,),
    path: str = "/v1/chat/completions",
    given: Grant | None = None,
    headers: dict[str, str] | None = None,
    clock: FixedClock | None = None,
) -> Exchange:
    codec = registry.find("GET" if path == "/v1/models" else "POST", path, {})
    assert isinstance(codec, Codec)
    runtime = Runtime("v", compile_plan([], []), NoTransport(), ())
    ex = Exchange(runtime, clock or FixedClock(), cast(Client, None), codec.protocol)
    ex.codec = codec
    ex.method, ex.path, ex.headers = "POST", path, CIMultiDict(headers or {})
    ex.principal, ex.agent, ex.grant = Principal("triage", "0011aabb"), "triage", given or grant()
    ex.body = b"" if path == "/v1/models" else json.dumps(chat() | (body or {})).encode()
    ex.call = codec.decode(ex.body, Memos())
    ex.session, ex.run = "s1", ""
    ex.route = Route(targets)
    return ex


def chat(text: str = "hello there", **more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": text}], **more}


def refused(reason: Reason, deny: object) -> str:
    """Return the message of a refusal after checking its reason."""
    assert getattr(deny, "reason", None) == reason, deny
    return str(getattr(deny, "message", ""))
