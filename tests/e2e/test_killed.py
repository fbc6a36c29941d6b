"""A real server that ends by SIGKILL at a chosen moment: whichever it is, counters and records agree once a sweep has been."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from killing import CALL, MOMENTS
from redis_server import RedisServer, needs_own_redis
from serving import Proxy, Simulator, post

from proxy.app.audit import swept
from proxy.app.storage import open_ledger, open_stores
from proxy.settings.store import Store
from proxy.stores.redis_place import place_of

BUDGETS = {
    "budgets": [
        {"name": "cap", "scope": {"agent": "*"}, "limit": {"usd": 5, "tokens": 100_000}, "window": "total"},
        {"name": "talk", "scope": {"session": "*"}, "limit": {"usd": 1, "requests": 50}, "window": "session"},
        {"name": "lately", "scope": {"fleet": "*"}, "limit": {"usd": 5, "requests": 100}, "window": "rolling 5m"},
    ]
}
LEFT = {
    "reserving": set[str](),
    "reserved": {"expired"},
    "settling": {"expired"},
    "settled": {"lost"},
    "recorded": {"expired"},
    "both": set[str](),
}
"""What a sweep finds to record after each death at least: records of the calls before may not have been written either."""


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with Simulator() as sim:
        yield sim


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=needs_own_redis)])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "sqlite":
        yield "sqlite:fleetgate.db"
        return
    with RedisServer("--appendonly", "yes", "--appendfsync", "always") as server:
        yield server.url


def ask(proxy: Proxy, number: int) -> None:
    head = {"authorization": f"Bearer {proxy.key()}", "x-fleetgate-session": "s"}
    if number % 3 == 1:
        post(f"{proxy.url}/v1/embeddings", {"model": "text-embedding-3-small", "input": "hello there"}, head)
        return
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": f"hi {number}"}], "stream": number % 3 == 2}
    post(f"{proxy.url}/v1/chat/completions", body, head)


async def sweep(where: Store, at: float) -> list[str]:
    """Sweep as another server would at `at`; return the outcomes of what it recorded."""
    stores = open_stores(where)
    ledger = open_ledger(where, stores)
    found = swept(await stores.budget.sweep(at), ledger, at)
    for record in found.records:
        ledger.record(record)
    await stores.budget.recorded(found.known)
    await ledger.close()
    await stores.close()
    return [record.outcome for record in found.records]


def audit(proxy: Proxy) -> list[str]:
    """The counters that differ."""
    done = proxy.command("budgets", "--audit", "--json")
    told = json.loads(done.stdout)
    assert told["audited"] >= 4, done.stderr
    assert done.returncode == bool(told["differences"])
    return [d["counter"] for d in told["differences"]]


@pytest.mark.parametrize("moment", MOMENTS)
def test_whenever_a_server_is_killed_no_record_is_lost(sim: Simulator, url: str, moment: str) -> None:
    killed = Proxy(sim, budgets=BUDGETS, settings={"store": url})
    killed.program = (str(Path(__file__).with_name("killing.py")), moment)
    with killed as proxy:
        for number in range(CALL + 1):
            with contextlib.suppress(OSError, EOFError, AssertionError):
                ask(proxy, number)
        assert proxy.ended() == -signal.SIGKILL
        where = (
            Store(kind="sqlite", path=proxy.folder / "fleetgate.db")
            if url.startswith("sqlite")
            else Store(kind="redis", place=place_of(url))
        )
        if moment == "settled":
            assert audit(proxy), "else this test could not fail"
        left = asyncio.run(sweep(where, time.time() + 7200))
        assert set(left) >= LEFT[moment]
        assert len(left) <= CALL
        proxy.program = ("-m", "proxy")
        proxy.start()
        ask(proxy, 0)
        assert audit(proxy) == []
        assert asyncio.run(sweep(where, time.time() + 14400)) == []
