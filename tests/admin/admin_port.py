"""The admin port of a house that is made up, and one question to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
from aiohttp.test_utils import TestServer

from proxy.admin import AdminViews, build_admin
from proxy.engine.record import Record
from proxy.telemetry.ledger import MemoryLedger
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.query import Journal

NOW = 1_800_000_000.0
RECORD = Record(
    "one", NOW - 60, agent="a", model="m", model_asked="m", provider="p", status=200, outcome="ok", output_tokens=5, cost=1_500_000_000
)
RECORDS = [RECORD, replace(RECORD, id="two", time=NOW - 7200, agent="b", outcome="denied", reason="rate_limited", cost=0)]


@dataclass
class House:
    """What the admin plane shows in these tests."""

    ledger: Journal
    ready: bool = True
    detail: dict[str, Any] = field(default_factory=lambda: {"store": "ok", "config": "c1", "config_errors": ["AGENTS.md:3: bad"]})
    metrics: Metrics = field(default_factory=lambda: Metrics("1.2.3"))

    def views(self) -> AdminViews:
        async def budgets() -> Sequence[Mapping[str, Any]]:
            return [{"name": "fleet-month", "limit": "500.00"}]

        return AdminViews(
            ready=lambda: (self.ready, self.detail),
            metrics=self.metrics.render,
            agents=lambda: [{"id": "a", "models": ["m"]}],
            budgets=budgets,
            ledger=self.ledger,
            now=lambda: NOW,
            pairs=lambda: [{"agent": "a"}],
        )


def memory() -> House:
    ledger = MemoryLedger()
    for record in RECORDS:
        ledger.record(record)
    return House(ledger)


@dataclass
class Answer:
    """A reply that was read."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


def ask(
    house: House,
    *paths: str,
    token: str | None = None,
    host: str = "127.0.0.1",
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
) -> list[Answer]:
    """Serve the admin plane on a real socket of loopback and ask it; `host` is what it believes to be bound to."""

    async def main() -> list[Answer]:
        server = TestServer(build_admin(house.views(), token, host))
        await server.start_server(access_log=None)
        try:
            async with aiohttp.ClientSession() as session:
                answers = []
                for path in paths:
                    async with session.request(method, server.make_url(path), headers=headers) as reply:
                        answers.append(Answer(reply.status, reply.headers.copy(), await reply.text()))
                return answers
        finally:
            await server.close()

    return asyncio.run(main())
