"""One request through the routing stage, and what it is served by."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from multidict import CIMultiDict

from proxy.engine.exchange import Exchange
from proxy.engine.ports import SystemClock
from proxy.model import Clause, Deny, Grant, Price, Route, Source, Target
from proxy.routing.models import ModelTable
from proxy.routing.stage import Around, Mode, Options, RoutingStage
from proxy.wire.anthropic import MessagesCodec
from proxy.wire.base import Codec
from proxy.wire.call import Call, Message, Operation, Tools, ToolSpec
from proxy.wire.openai_chat import ChatCodec
from proxy.wire.openai_other import EmbeddingsCodec, ModelsCodec

PRICE = Price(((0, 1),), ((0, 2),))
PROVIDERS = {
    "cloud": SimpleNamespace(protocols=("openai",), operations=(), local=False, region="us"),
    "other": SimpleNamespace(protocols=("anthropic",), operations=(), local=False, region="us"),
    "here": SimpleNamespace(protocols=("openai",), operations=(), local=True, region=""),
}
GRANT = Grant("triage", "", "", "", "", (), (), local_ok=True, default_model="strong")
HARD = "Prove that the algorithm is correct, explain why, derive its complexity and compare it with two others: x^2 + 3x = 9. " * 20


def rule(pattern: str, provider: str) -> Any:
    return SimpleNamespace(
        pattern=pattern,
        provider=provider,
        upstream_model=None,
        price=None,
        failover=(),
        context=None,
        tools=None,
        images=None,
        json=None,
        footprint=None,
    )


def price_of(provider: str, model: str, override: Mapping[str, float] | None) -> Price | None:
    return PRICE


def table(*more: Any) -> ModelTable:
    rules = [*more, rule("strong", "cloud"), rule("spare", "cloud"), rule("claude", "other"), rule("small", "here")]
    return ModelTable(rules, PROVIDERS, price_of, lambda model: "o200k_base")


def only(*names: str) -> tuple[Clause, ...]:
    return (Clause(names, (), Source("AGENTS.md", 3), False, lambda name: name in names),)


def codec(operation: Operation, protocol: str) -> Codec:
    if operation == "models":
        return ModelsCodec(protocol)
    if operation == "embeddings":
        return EmbeddingsCodec()
    return ChatCodec() if protocol == "openai" else MessagesCodec()


class Case:
    """One request through the stage."""

    def __init__(
        self,
        *,
        text: str = "Hello",
        model: str = "strong",
        mode: Mode = "enforce",
        grant: Grant = GRANT,
        operation: Operation = "chat",
        tools: int = 0,
        simple_to: str | None = "small",
        rules: tuple[Any, ...] = (),
        protocol: str = "openai",
        listing: Mapping[str, Target] | None = None,
        headers: Mapping[str, str] | None = None,
        session: str = "",
        options: Options | None = None,
        around: Around | None = None,
        call: Call | None = None,
    ) -> None:
        missing: Any = None  # the stage reads neither runtime nor client
        self.ex = Exchange(missing, SystemClock(), missing, protocol)
        self.ex.codec = codec(operation, protocol)
        specs = Tools(tuple(ToolSpec(f"t{n}") for n in range(tools)))
        messages = (Message(b"", "user", (text,)),) if text else ()
        self.ex.call = call or Call(operation, model, text.encode(), messages=messages, tools=specs)
        self.ex.grant, self.ex.headers, self.ex.session = grant, CIMultiDict(headers or {}), session
        self.stage = RoutingStage(table(*rules), options or Options(mode, simple_to), listing, around or Around())
        self.deny: Deny | None = asyncio.run(self.stage.request(self.ex))

    @property
    def route(self) -> Route:
        assert self.deny is None
        return self.ex.route

    @property
    def models(self) -> list[str]:
        return [t.model for t in self.route.targets]
