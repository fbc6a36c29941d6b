"""One proxy before one simulated provider, on real sockets in one process and one event loop, for the whole matrix.

Everything is the product's own but three doors that are its ports: the clock stands still (no window ends inside a cell), the store notes
each verb and can be made to fail, and one more sink collects the records. A cell starts with an empty store, so that sums are exact.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from proxy.app import build
from proxy.app.house import House
from proxy.app.me import Me
from proxy.budget.port import Balance, Claim, Ended, Exceeded, Held
from proxy.engine.exchange import Runtime
from proxy.engine.ports import StoreError
from proxy.engine.record import Record
from proxy.server import Server
from proxy.sim import provider as simulator
from proxy.sim.calls import Calls
from proxy.stores.memory import MemoryBudget

NOON = 1_780_000_020.0
"""The time of every cell: far enough from the end of its minute, hour and day."""
WAITS_S = {False: 30.0, True: 0.15}
"""How long a provider may be silent: the short time is for cells in which it is."""
WITHIN_S = 30.0
"""How long anything else may take before the test gives up."""

INPUT, OUTPUT, CACHE_READ, CACHE_WRITE = 1000, 4000, 100, 1250
"""Nano-dollars a token of every model here."""
PRICE = {"input": 1, "output": 4, "cache_read": 0.1, "cache_write": 1.25}
SPENT_USD, POOR_USD = 0.1, 0.000001
FAMILIES = {"gpt": "openai", "chat": "openai", "resp": "openai", "claude": "anthropic", "gemini": "gemini", "llama": "ollama"}
"""How model names begin, and what their provider speaks."""
ONLY = {"chat": "chat", "resp": "responses"}
"""Families whose provider has one operation alone of its protocol."""
LISTED = {"gemini": "gemini-embedding-001", "llama": "qwen3:8b"}
"""What the provider calls the main model of a family, where it can be asked about: a name that the simulated one knows."""
MAX_BODY = 1 << 20
TRANSPORT = os.environ.get("TEST_TRANSPORT", "lean")
"""Which HTTP client asks the provider: `TEST_TRANSPORT=aiohttp` runs the whole matrix on the other one."""


def digest(key: str) -> str:
    """The SHA-256 of a key, as key files write it."""
    return hashlib.sha256(key.encode()).hexdigest()


AGENTS: dict[str, dict[str, Any]] = {
    "tester": {},
    "narrow": {"models": {"allow": ["somebody-elses-*"]}},
    "handless": {"tools": {"deny": ["*"]}},
    "brief": {"budgets": {"request": {"max_input_tokens": 5}}},
    "stepper": {},
    "poor": {},
    "spent": {},
    "rated": {},
    **{f"{family}-backed": {"models": {"allow": ["*"], "fallback": [f"{family}-second"]}} for family in FAMILIES},
}
"""Agents by the one thing that they may not do, or that is done for them."""
BUDGETS = {
    "budgets": [
        {"name": "fleet", "scope": {"fleet": "*"}, "limit": {"usd": 1000, "tokens": 10**9}, "window": "month"},
        {"name": "poor", "scope": {"agent": "poor"}, "limit": {"usd": POOR_USD}, "window": "day"},
        {"name": "spent", "scope": {"agent": "spent"}, "limit": {"usd": SPENT_USD}, "window": "day"},
    ],
    "limits": [
        {"name": "flow", "scope": {"fleet": "*"}, "requests": 10**6, "window": "hour", "concurrency": 100},
        {"name": "rated", "scope": {"agent": "rated"}, "requests": 1, "window": "minute"},
    ],
}


def key_of(agent: str) -> str:
    """The key of `agent` in this world."""
    return f"fg_{digest(agent)[:40]}"


def settings(sim: str, dead: str, wait_s: float, transport: str) -> dict[str, Any]:
    """Return fleetgate.yaml: for each family a provider that is the simulator, one that is asked twice, and one that is down."""
    providers: dict[str, Any] = {}
    models: dict[str, Any] = {}
    for family, protocol in FAMILIES.items():
        more = "/v1" if protocol == "openai" else ""
        base: dict[str, Any] = {"protocols": [protocol], "api_key": "env:KEY", "retries": 0} | (
            {"operations": [ONLY[family]]} if family in ONLY else {}
        )
        providers[family] = base | {"base_url": sim + more}
        providers[f"{family}-twice"] = base | {"base_url": sim + more, "retries": 1}
        providers[f"{family}-down"] = base | {"base_url": dead + more}
        models[f"{family}-down"] = {"provider": f"{family}-down", "price": PRICE}
        models[f"{family}-twice"] = {"provider": f"{family}-twice", "price": PRICE}
        models[f"{family}-unpriced"] = {"provider": family}
        models[f"{family}-main"] = {"provider": family, "price": PRICE, "upstream_model": LISTED.get(family, f"{family}-main")}
        models[f"{family}-*"] = {"provider": family, "price": PRICE}
    return {
        "listen": {"port": 0, "admin_port": 0, "max_body_mb": MAX_BODY >> 20},
        "agents": ["AGENTS.md"],
        "policies": "policies/",
        "budgets": "budgets/",
        "auth": {"mode": "keys", "keys": "keys.yaml"},
        "providers": providers,
        "models": models,
        "store": "memory:",
        "limits": {"body_s": 5, "first_byte_s": wait_s, "idle_s": wait_s},
        "upstream": {"transport": transport, "breaker": {"failures": 1000}},
    }


@dataclass(slots=True)
class Watched:
    """A budget store in memory that notes what is asked of it. `fails` names the verbs that cannot be reached."""

    inner: MemoryBudget = field(default_factory=MemoryBudget)
    fails: frozenset[str] = frozenset()
    held: dict[str, Sequence[Claim]] = field(default_factory=dict)
    expires: float = 0.0
    ends: list[tuple[str, str, Mapping[str, int]]] = field(default_factory=list)
    counters: dict[str, str] = field(default_factory=dict)

    def reset(self) -> None:
        """Forget everything, counters too."""
        self.inner, self.fails = MemoryBudget(), frozenset()
        self.held, self.ends, self.counters = {}, [], {}

    def forget(self) -> None:
        """Forget what was asked, not what was spent."""
        self.held, self.ends = {}, []

    def most(self, unit: str) -> int:
        """Return how much of `unit` is held for the one call, the same on every counter."""
        amounts = {claim.amount for claims in self.held.values() for claim in claims if claim.unit == unit}
        assert len(amounts) <= 1, amounts
        return amounts.pop() if amounts else 0

    def _asked(self, verb: str) -> None:
        if verb in self.fails:
            raise StoreError("the matrix says that the store is down")

    async def reserve(self, hold_id: str, claims: Sequence[Claim], now: float, hold_expires: float, about: str = "") -> Held | Exceeded:
        self._asked("reserve")
        answer = await self.inner.reserve(hold_id, claims, now, hold_expires, about)
        if isinstance(answer, Held):
            assert hold_id not in self.held, "one exchange holds once"
            self.held[hold_id] = claims
            self.expires = hold_expires
            self.counters |= {claim.counter: claim.unit for claim in claims}
        return answer

    async def extend(self, hold_id: str, amounts: Mapping[str, int], now: float, hold_expires: float | None = None) -> Held | Exceeded:
        return await self.inner.extend(hold_id, amounts, now, hold_expires)

    async def settle(self, hold_id: str, amounts: Mapping[str, int], now: float, refund: Collection[str] = ()) -> bool:
        self._asked("settle")
        self.ends.append(("settle", hold_id, dict(amounts)))
        return await self.inner.settle(hold_id, amounts, now, refund)

    async def release(self, hold_id: str, now: float) -> bool:
        self._asked("settle")
        self.ends.append(("release", hold_id, {}))
        return await self.inner.release(hold_id, now)

    async def balances(self, counters: Sequence[str], now: float) -> dict[str, Balance]:
        return await self.inner.balances(counters, now)

    async def sweep(self, now: float) -> list[Ended]:
        return await self.inner.sweep(now)

    async def recorded(self, hold_ids: Sequence[str]) -> None:
        await self.inner.recorded(hold_ids)

    async def close(self) -> None:
        await self.inner.close()


class Collected:
    """A sink that keeps the records of a cell."""

    name = "collected"

    def __init__(self) -> None:
        self.records: list[Record] = []

    def record(self, record: Record) -> None:
        self.records.append(record)

    async def close(self) -> None:
        """Nothing is queued."""


class Still:
    """A clock that stands at noon; durations are real."""

    def now(self) -> float:
        return NOON

    def ns(self) -> int:
        return time.perf_counter_ns()


class World:
    """The proxy, its provider, and what both noted. Made by `open`."""

    def __init__(self, folder: Path, sim_url: str, calls: Calls, dead: str, transport: str) -> None:
        self.calls, self.store, self.sink = calls, Watched(), Collected()
        files = {hasty: settings(sim_url, dead, wait, transport) for hasty, wait in WAITS_S.items()}
        read = {hasty: build.read(_write(folder, file), {"KEY": "sk-provider"}) for hasty, file in files.items()}
        self.house = House(read[False], clock=Still())
        self.house.stores = dataclasses.replace(self.house.stores, budget=self.store)
        self.house.sinks = (*self.house.sinks, self.sink)
        self.house.use(read[False])
        self.house.warming = False
        self.hurried = build.transport(read[True].settings)
        self.runtimes: dict[bool, Runtime] = {
            False: self.house.runtime,
            True: dataclasses.replace(self.house.runtime, transport=self.hurried),
        }
        self.hasty = self.spoken = False
        self.exchanges = 0
        self.server = Server(self.house.engine, self.runtime, Me(self.house).answer, self.house.clock, 5.0)
        self.port = 0

    @classmethod
    @asynccontextmanager
    async def open(cls, transport: str = TRANSPORT) -> AsyncIterator[Self]:
        """Start provider and proxy in the running loop; stop both at the end."""
        async with AsyncExitStack() as stack:
            runner, port = await simulator.start()
            stack.push_async_callback(runner.cleanup)
            unheard = stack.enter_context(socket.socket())
            unheard.bind(("127.0.0.1", 0))  # nobody listens, and nobody else can
            dead = f"http://127.0.0.1:{unheard.getsockname()[1]}"
            with tempfile.TemporaryDirectory(prefix="fleetgate-conformance-") as folder:
                world = cls(Path(folder), f"http://127.0.0.1:{port}", runner.app[simulator.CALLS], dead, transport)
            stack.push_async_callback(world.house.close)
            stack.push_async_callback(world.hurried.close)
            stack.push_async_callback(world.server.stop, WITHIN_S)
            world.port = await world.server.start("127.0.0.1", 0)
            yield world

    def runtime(self) -> Runtime:
        """Return the snapshot that the cell wants."""
        found = self.runtimes[self.hasty]
        return dataclasses.replace(found, refusal="message") if self.spoken else found

    def begin(self) -> None:
        """Make everything new for a cell."""
        self.forget()
        self.store.reset()
        self.hasty = self.spoken = False

    def forget(self) -> None:
        """Forget what happened, not what was spent."""
        self.calls.reset()
        self.store.forget()
        self.sink.records.clear()

    async def rest(self) -> None:
        """Wait until nothing runs, on either side, and every release is done."""
        assert await self.calls.settled(WITHIN_S), "the provider is still asked"
        assert await self.house.engine.idle(WITHIN_S), "an exchange is still running"
        await self.house.engine.drain(WITHIN_S)
        self.exchanges += len(self.sink.records)


def _write(folder: Path, config: Mapping[str, Any]) -> Path:
    agents = [
        {
            "name": name,
            "description": "of the matrix",
            **({"maxTurns": 1} if name == "stepper" else {}),
            "policy": {"models": {"allow": ["*"]}, "tools": {"allow": ["*"]}} | policy,
        }
        for name, policy in AGENTS.items()
    ]
    keys = [{"agent": name, "sha256": digest(key_of(name))} for name in (*AGENTS, "ghost")]
    for name, content in (
        ("AGENTS.md", f"---\n{json.dumps({'agents': agents})}\n---\nAgents of the matrix.\n"),
        ("policies/baseline.yaml", json.dumps({"policy": {"models": {"allow": ["*"]}}})),
        ("budgets/all.yaml", json.dumps(BUDGETS)),
        ("keys.yaml", json.dumps({"keys": keys})),
        ("fleetgate.yaml", json.dumps(config)),
    ):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return folder / "fleetgate.yaml"
