"""An admin port of a whole house, at a time of the test's choosing, and the calls that its ledger knows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp.test_utils import TestServer

from proxy.admin import build_admin
from proxy.app import build
from proxy.app.house import House
from proxy.app.views import admin_views
from proxy.engine.ports import SystemClock
from proxy.engine.record import Record

NOW = 1_800_000_000.0  # 08:00 UTC
NASTY = "<img src=x onerror=alert(1)>\"'\u202e" + "x" * 200
AGENTS = """---
agents:
  - name: triage
    version: 1.4.0
    description: Sorts
    policy: {owner: {team: payments}, models: {allow: ["claude-*"]}, budgets: {day: {usd: 40}}, data: {log_content: hash}}
  - {name: scout, policy: {owner: {team: web}}}
  - {name: idle, policy: {owner: {team: web}}}
---
"""
CONFIG = """
agents: [AGENTS.md]
budgets: budgets/
policies: policies/
providers: {p: {protocols: [openai], base_url: "http://127.0.0.1:9/v1", api_key: env:KEY}}
models: {"claude-*": {provider: p, price: {input: 1, output: 1}}}
store: "%s"
"""
FLEET = "fleet-month|usd||2027-01"
BASE = Record(
    "0001", NOW - 30, agent="triage", team="payments", version="1.4.0", file_digest="f1", policy_digest="p1", session="triage/s1",
    run="triage/s1", protocol="openai.chat", operation="chat", stream=True, model_asked="claude-x", model="claude-x", provider="p",
    route="requested", status=200, outcome="ok", input_tokens=100, output_tokens=10, cache_read_tokens=50, cost=2_000_000_000,
    decisions=(("routing", "requested"),),
    marks={"sent": 1_000_000, "first_byte": 301_000_000, "last_byte": 800_000_000, "closed": 801_000_000},
    tools=(("Read", "passed"), ("rm", "withheld")),
    charges=((FLEET, "usd", 2_000_000_000), ("agent:triage/day/usd|usd||2027-01-15", "usd", 2_000_000_000)),
)  # fmt: skip
RECORDS = [
    replace(BASE, id="0000", time=NOW - 7200, policy_digest="p0", session="triage/s0", run="triage/s0"),
    BASE,
    replace(BASE, id="0002", time=NOW - 20, agent="scout", team="web", session="scout/s2", run="triage/s1", parent="triage/s1",
            policy_digest="q", route="local", model="local/q", saved=500_000_000, cost=0,
            decisions=(("routing", "local: simple"),), charges=(),
            findings=(("shadow/content_blocked", "policies/pii.yaml:4"), ("pii/email", "in message 1"))),
    replace(BASE, id="0003", time=NOW - 10, outcome="denied", reason="tool_call_blocked", rule="AGENTS.md:3", status=403, message="No.",
            remedy="Ask.", cost=0, output_tokens=0, marks={}, charges=()),
    replace(BASE, id="0004", time=NOW - 5, loop="block;rule=identical;count=5", wasted=7, reason="loop_detected", outcome="denied", cost=0,
            marks={}, charges=()),
    replace(BASE, id="0005", time=NOW - 4, agent=NASTY, team="", session=f"{NASTY}/s", run=f"{NASTY}/s", cost=1, charges=()),
]  # fmt: skip


class Clock(SystemClock):
    """A clock that stands."""

    def now(self) -> float:
        return NOW


def folder(tmp: Path, store: str) -> Path:
    (tmp / "AGENTS.md").write_text(AGENTS)
    (tmp / "budgets").mkdir()
    (tmp / "policies").mkdir()
    (tmp / "budgets" / "fleet.yaml").write_text("budgets: [{name: fleet-month, scope: {fleet: '*'}, limit: {usd: 500}, window: month}]\n")
    path = tmp / "fleetgate.yaml"
    path.write_text(CONFIG % store)
    return path


class Port:
    """The admin port of a house."""

    def __init__(self, house: House, server: TestServer, session: aiohttp.ClientSession) -> None:
        self.house, self.server, self.session = house, server, session

    async def get(self, path: str, status: int = 200) -> Any:
        async with self.session.get(self.server.make_url(path)) as reply:
            text = await reply.text()
            assert reply.status == status, (path, text)
            assert reply.headers["Cache-Control"] == "no-store"
            return json.loads(text)


@asynccontextmanager
async def port(path: Path) -> Any:
    house = House(build.read(path, {"KEY": "sk-test"}), clock=Clock())
    server = TestServer(build_admin(admin_views(house), None))
    await server.start_server(access_log=None)
    try:
        async with aiohttp.ClientSession() as session:
            yield Port(house, server, session)
    finally:
        await server.close()
        await house.close()


def play(path: Path, script: Callable[[Port], Awaitable[None]]) -> None:
    async def main() -> None:
        async with port(path) as p:
            await script(p)

    asyncio.run(main())
