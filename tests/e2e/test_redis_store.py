"""Two real servers on one real Redis store: one budget, one ledger, and what becomes of both while it is away."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis_server import RedisServer, needs_own_redis
from serving import Proxy, Simulator, post
from simulating import get

pytestmark = needs_own_redis
BUDGET = {"budgets": [{"name": "cap", "scope": {"agent": "*"}, "limit": {"requests": 6, "usd": 5}, "window": "total"}]}


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with Simulator() as sim:
        yield sim


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer("--appendonly", "yes", "--appendfsync", "always") as server:
        yield server


def proxy(sim: Simulator, server: RedisServer, **store: Any) -> Proxy:
    return Proxy(sim, budgets=BUDGET, settings={"store": {"url": server.url, "timeout_s": 1, **store}})


def ask(proxy: Proxy, key: str = "") -> tuple[int, dict[str, Any]]:
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 20}
    reply = post(f"{proxy.url}/v1/chat/completions", body, {"authorization": f"Bearer {key or proxy.key()}"})
    return reply.status, json.loads(reply.body)


def until(claim: Callable[[], object], within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not claim():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def spent(proxy: Proxy) -> int:
    done = proxy.command("budgets", "--json")
    assert done.returncode == 0, done.stderr
    return next(int(b["spent"]) for b in json.loads(done.stdout) if b["unit"] == "requests")


def test_replicas_share_budgets_and_keys(sim: Simulator, server: RedisServer) -> None:
    with proxy(sim, server) as one, proxy(sim, server) as two:
        before = len(sim.calls())
        found = [ask(replica)[0] for replica in (one, two) * 4]
        assert found == [200] * 6 + [402] * 2
        assert len(sim.calls()) == before + 6, "what was refused was not sent"
        key = one.command("keys", "create", "tester").stdout.strip()
        until(lambda: ask(two, key)[0] == 402)
        listed = json.loads(two.command("keys", "list", "--json").stdout)
        assert [k["from"] for k in listed].count("store") == 1


def test_a_kill_holds_on_every_replica(sim: Simulator, server: RedisServer) -> None:
    with proxy(sim, server) as one:
        killed = one.command("kill", "agent:tester", "--reason", "a drill")
        assert killed.returncode == 0, killed.stderr
        until(lambda: ask(one)[0] == 403)
        before = len(sim.calls())
        assert ask(one)[0] == 403
        assert len(sim.calls()) == before
        assert one.command("resume", "agent:tester").returncode == 0
        until(lambda: ask(one)[0] == 200)


def test_replicas_write_one_ledger_that_can_be_shipped(sim: Simulator, server: RedisServer) -> None:
    with proxy(sim, server) as one, proxy(sim, server) as two:
        for replica in (one, two) * 4:
            ask(replica)
        records = two.records(8)
        refused = next(r for r in records if r["reason"] == "budget_exceeded")
        told = one.command("explain", refused["id"])
        assert "budget_exceeded" in told.stdout
        assert one.record(refused["id"])["id"] == refused["id"], "of either replica's admin plane"
        shipped = one.command("ledger", "ship", "--to", f"sqlite:{one.folder / 'all.db'}")
        assert shipped.stdout.startswith("shipped 8 records"), shipped.stderr
        assert one.command("ledger", "ship").returncode == 1
        with server.client() as other:
            assert other.xlen("{fleetgate}:ledger") == 0


def test_a_store_that_is_away_refuses_and_comes_back(sim: Simulator, server: RedisServer) -> None:
    with proxy(sim, server) as one:
        assert ask(one)[0] == 200
        server.kill()
        before = len(sim.calls())
        status, body = ask(one)
        assert (status, body["fleetgate"]["reason"]) == (503, "store_unavailable")
        assert len(sim.calls()) == before
        detail = json.loads(get(f"{one.admin_url}/readyz")[1])
        assert "cannot be reached" in detail["store"] or "ended" in detail["store"], detail
        server.start()
        until(lambda: ask(one)[0] == 200)
        until(lambda: json.loads(get(f"{one.admin_url}/readyz")[1])["store"] == "ok")
        until(lambda: spent(one) == 2)


def test_a_lease_serves_while_the_store_is_away_and_is_posted_after(sim: Simulator, server: RedisServer) -> None:
    with proxy(sim, server, lease=0.01) as one:
        assert "each replica may spend up to 0.01 USD beyond its budgets" in one.command("check").stdout
        assert ask(one)[0] == 200
        server.kill()
        before = len(sim.calls())
        found = [ask(one)[0] for _ in range(8)]
        assert found == [200] * 5 + [402] * 3, "the limit on requests holds, as it was last seen"
        assert len(sim.calls()) == before + 5
        server.start()
        until(lambda: spent(one) == 6)
        assert len(one.records(9)) == 9, "and no record was lost"


def test_a_server_that_must_not_be_used_stops_the_start(sim: Simulator, server: RedisServer) -> None:
    with server.client() as other:
        other.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(AssertionError, match="would throw counters away"), proxy(sim, server):
        pass
