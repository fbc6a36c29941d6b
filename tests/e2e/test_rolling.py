"""A rolling update under load over one real Valkey: servers replaced one by one, files edited in the middle, and a worker killed.

No request fails, no budget is passed and no counter differs from the ledger. The tests share what they start: the second one begins with
the crew that the first one ends with.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from balancing import Balancer, Replica
from redis_server import RedisServer, needs_own_redis
from serving import Proxy, Simulator, post
from simulating import end, get
from streams import CHAT, Stream

pytestmark = [needs_own_redis, pytest.mark.timeout(300)]
CAP = 24
BUDGETS = """budgets:
  - {name: all, scope: {fleet: "*"}, limit: {usd: 500, requests: 100000}, window: total}
  - {name: cap, scope: {agent: capped}, limit: {requests: 24}, window: total}
"""
AGENTS = """---
agents:
  - {name: tester, policy: {models: {allow: ["*"]}}}
  - {name: capped, policy: {models: {allow: ["*"]}}}
---
"""
CLIENTS, PACE_S = 4, 0.1


@dataclass
class Fleet:
    """The first server with the folder of files that all share, what stands before it, and the servers that came after."""

    sim: Simulator
    first: Proxy
    balancer: Balancer
    crew: Replica | None = None


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with Simulator() as sim, RedisServer("--appendonly", "yes") as server, Balancer() as balancer:
        proxy = Proxy(
            sim, agents=AGENTS, budgets=BUDGETS, keys=("tester", "capped"), settings={"store": {"url": server.url, "timeout_s": 10}}
        )
        with proxy:
            fleet = Fleet(sim, proxy, balancer)
            try:
                yield fleet
            finally:
                if fleet.crew is not None:
                    end(fleet.crew.process)


@dataclass
class Load:
    """Clients that ask again and again, every other time for a stream, each time over a new connection."""

    url: str
    key: str
    failed: list[str] = field(default_factory=list)
    done: int = 0
    _over: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> Load:
        self._threads = [threading.Thread(target=self._client, args=(i,)) for i in range(CLIENTS)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)

    def _client(self, number: int) -> None:
        turn = number
        while not self._over.wait(PACE_S):
            turn += 1
            why = self._ask(turn % 2 == 0)
            with self._lock:
                self.done += 1
                self.failed += [why] if why else []

    def _ask(self, stream: bool) -> str:
        body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 20, "stream": stream}
        headers = {"authorization": f"Bearer {self.key}", "x-sim-script": json.dumps({"tokens": 10, "chunk_ms": 20})}
        try:
            reply = post(f"{self.url}{CHAT}", body, headers)
        except OSError as e:
            return repr(e)
        fine = reply.status == 200 and reply.whole and (b"[DONE]" in reply.body if stream else b"usage" in reply.body)
        return "" if fine else f"{reply.status} {reply.whole} {reply.body[-300:]!r}"

    def more(self, count: int) -> None:
        """Wait until so many more are done, whoever serves."""
        wanted = self.done + count
        until(lambda: self.done >= wanted)


def until(claim: Callable[[], object], within_s: float = 100.0) -> None:
    deadline = time.monotonic() + within_s
    while not claim():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def ready(url: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(get(f"{url}/readyz")[1])
    return found


def counted(url: str, name: str, unit: str = "requests") -> tuple[int, int]:
    """What is spent and held of a budget, as the store says."""
    rows = json.loads(get(f"{url}/api/v1/budgets")[1])["budgets"]
    return next((int(row["spent"]), int(row["held"])) for row in rows if (row["name"], row["unit"]) == (name, unit))


def test_servers_are_replaced_and_files_edited_and_no_request_fails(fleet: Fleet) -> None:
    first, balancer = fleet.first, fleet.balancer
    balancer.add(first.port, first.admin_port)
    with Replica(first) as second, Load(balancer.url, first.key("tester")) as load:
        balancer.add(second.port, second.admin_port)
        second.wait_ready()
        until(lambda: len(balancer.served) == 2)
        third = fleet.crew = Replica(first, FLEETGATE_LISTEN_WORKERS="2")
        third.wait_ready()
        balancer.add(third.port, third.admin_port)
        balancer.withdraw(second.port)
        load.more(4)
        second.process.send_signal(signal.SIGTERM)
        assert second.process.wait(60) == 0
        old = ready(third.admin_url)["config"]
        path = first.folder / "budgets" / "test.yaml"
        path.write_text(BUDGETS + "  - {name: late, scope: {agent: '*'}, limit: {requests: 100000}, window: total}\n")
        until(lambda: old not in {ready(first.admin_url)["config"], *(w["config"] for w in ready(third.admin_url)["workers"])})
        load.more(CLIENTS * 2)
        balancer.withdraw(first.port)
        load.more(4)
        assert first.stop() == 0
        load.more(CLIENTS * 2)
    assert load.failed == []
    assert {first.port, second.port, third.port} == set(balancer.served)
    calls = [call for call in fleet.sim.calls() if call["path"].endswith(CHAT)]
    assert len(calls) == load.done, "each went to the provider once"
    until(lambda: counted(third.admin_url, "all") == (load.done, 0))
    spent, _ = counted(third.admin_url, "late")
    assert 0 < spent < load.done, "the edit held in the middle"
    until(lambda: len(json.loads(get(f"{third.admin_url}/api/v1/exchanges?limit=1000")[1])["exchanges"]) == min(load.done, 1000))
    audit = first.command("budgets", "--audit")
    assert audit.returncode == 0, audit.stdout + audit.stderr


def test_a_worker_that_is_killed_passes_no_budget_and_cuts_its_own_calls_alone(fleet: Fleet) -> None:
    crew, sim, key = fleet.crew, fleet.sim, fleet.first.key("capped")
    assert crew is not None
    sim.reset()
    with crew:
        front = Front(crew.port, key)
        streams = [Stream(front, 600, 20) for _ in range(8)]
        try:
            for stream in streams:
                stream.until(b"data:")
            until(lambda: sum(w["inflight"] or 0 for w in ready(crew.admin_url)["workers"]) == 8)
            victim, other = sorted(ready(crew.admin_url)["workers"], key=lambda w: -int(w["inflight"]))
            os.kill(victim["pid"], signal.SIGKILL)
            for stream in streams:
                stream.rest()
            cut = [stream for stream in streams if not stream.whole]
            assert len(cut) == victim["inflight"]
            assert all(b"[DONE]" in stream.got for stream in streams if stream.whole)
        finally:
            for stream in streams:
                stream.__exit__(None, None, None)
        until(
            lambda: (
                len(now := [w for w in ready(crew.admin_url)["workers"] if w["ready"]]) == 2
                and victim["pid"] not in {w["pid"] for w in now}
            )
        )
        found = [ask(crew.url, key) for _ in range(CAP - 8 + 6)]
        assert found == [200] * (CAP - 8) + [402] * 6, "a hold that nobody settled counts as long as it stands"
        assert len(sim.calls()) == CAP, "what was refused was not sent"
        until(lambda: counted(crew.admin_url, "cap") == (CAP - len(cut), len(cut)))
        assert json.loads(get(f"{crew.admin_url}/api/v1/pairs")[1]) == {"pairs": []}, "asked of all workers"
        assert other["pid"] in {w["pid"] for w in ready(crew.admin_url)["workers"]}
        audit = fleet.first.command("budgets", "--audit")
        assert audit.returncode == 0, audit.stdout + audit.stderr


@dataclass(frozen=True)
class Front:
    """Where a stream goes, and with which key."""

    port: int
    _key: str

    def key(self) -> str:
        return self._key


def ask(url: str, key: str) -> int:
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 20}
    return post(f"{url}{CHAT}", body, {"authorization": f"Bearer {key}"}).status
