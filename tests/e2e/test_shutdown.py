"""How a server ends, gently and otherwise: no exchange is lost, nothing stays held, no budget is passed, and the next start goes on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from serving import Proxy, Simulator, free_port, post
from streams import CHAT, MESSAGES, Stream

from proxy.stores import open_store
from proxy.stores.rows import Rows
from proxy.stores.schema import connect

BUDGETS = {"budgets": [{"name": "all", "scope": {"fleet": "*"}, "limit": {"usd": 10}, "window": "month"}]}


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with Simulator() as sim:
        yield sim


def until(claim: Callable[[], object], within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while not claim():
        assert time.monotonic() < deadline


def ready(proxy: Proxy) -> tuple[int, dict[str, Any]]:
    """What `/readyz` says; status 0 when nobody listens."""
    try:
        with urllib.request.urlopen(f"{proxy.admin_url}/readyz", timeout=10) as reply:
            return int(reply.status), json.loads(reply.read())
    except urllib.error.HTTPError as e:
        with e:
            return e.code, json.loads(e.read())
    except OSError:
        return 0, {}


def balance(folder: Path) -> tuple[int, int]:
    """What is spent and held of the budget `all`, in nanos, read from the file itself."""
    with contextlib.closing(connect(folder / "fleetgate.db", 5.0)) as db:
        Rows(db).recorded(())  # what was done last comes into the tables
        rows = db.execute("SELECT sum(spent), sum(held) FROM budget_counters WHERE counter LIKE 'all|usd%'").fetchall()
    return rows[0][0] or 0, rows[0][1] or 0


def refused(port: int) -> bool:
    """Whether the port takes no connections."""
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:  # it was about to close
        return False
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_a_running_stream_finishes_whole(sim: Simulator, number: signal.Signals, path: str) -> None:
    with Proxy(sim, budgets=BUDGETS) as proxy, Stream(proxy, 40, 40, path=path) as stream:
        stream.until(b"data:")
        proxy.signal(number)
        until(lambda: refused(proxy.port))
        status, detail = ready(proxy)
        assert (status, detail["draining"], detail["inflight"]) == (503, True, 1)
        stream.rest()
        assert stream.whole
        assert (b"[DONE]" if path == CHAT else b"message_stop") in stream.got
        assert proxy.ended() == 0
        record = proxy.ledger()[0]
        assert (record["outcome"], record["usage_exact"], record["output_tokens"]) == ("ok", True, 40)
        assert balance(proxy.folder) == (record["cost"], 0)


def test_an_idle_server_ends_at_once(sim: Simulator) -> None:
    with Proxy(sim) as proxy:
        body = {"model": "gpt-4o-mini", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
        assert post(proxy.url + CHAT, body, {"authorization": f"Bearer {proxy.key()}"}).status == 200
        kept = socket.create_connection(("127.0.0.1", proxy.port), 5)  # a client's idle connection holds nobody up
        began = time.monotonic()
        assert proxy.stop() == 0
        assert time.monotonic() - began < 5
        kept.close()
        assert proxy.log().count("stopped") == 1


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_a_stream_longer_than_the_drain_is_ended_and_charged(sim: Simulator, path: str) -> None:
    with Proxy(sim, budgets=BUDGETS, settings={"limits": {"drain_s": 1}}) as proxy, Stream(proxy, 2000, 50, path=path) as stream:
        stream.until(b"data:")
        assert proxy.stop() == 0
        stream.rest()
        assert stream.whole, "ended as HTTP says"
        assert b'"error"' in stream.got, "and as the protocol says, so that nobody takes it for a whole answer"
        record = proxy.ledger()[0]
        assert record["outcome"] != "ok"
        assert 0 < record["output_tokens"] < 2000
        assert record["cost"] > 0
        assert balance(proxy.folder) == (record["cost"], 0)
    assert sim.calls()[-1]["aborted"], "the provider's side is closed too"


def test_a_killed_server_leaves_holds_that_expire_charged_in_full(sim: Simulator) -> None:
    with Proxy(sim, budgets=BUDGETS) as proxy, Stream(proxy, 2000, 50) as stream:
        stream.until(b"data:")
        spent, held = balance(proxy.folder)
        assert spent == 0
        assert held > 0
        proxy.signal(signal.SIGKILL)
        assert proxy.ended() == -signal.SIGKILL
        stream.rest()
        assert not stream.whole, "the client can tell that this is no whole answer"

        proxy.start()
        assert proxy.command("ledger").returncode == 0
        assert balance(proxy.folder) == (0, held), "still held: nobody knows yet that its owner died"
        body = {"model": "gpt-4o-mini", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
        reply = post(proxy.url + CHAT, body, {"authorization": f"Bearer {proxy.key()}"})
        assert reply.status == 200
        cost = int(proxy.record(reply.headers["x-fleetgate-request-id"])["cost"])

        async def sweep(after_s: float) -> int:
            stores = open_store(f"sqlite:{proxy.folder / 'fleetgate.db'}")
            try:
                return len(await stores.budget.sweep(time.time() + after_s))
            finally:
                await stores.close()

        assert asyncio.run(sweep(0)) == 0, "not yet"
        assert asyncio.run(sweep(2 * 3600)) == 1
        assert balance(proxy.folder) == (held + cost, 0)
        assert asyncio.run(sweep(2 * 3600)) == 0, "once"


def test_two_servers_on_one_file_share_a_budget(sim: Simulator) -> None:
    """Clients of both at once: what was spent and held never passes the limit, and the ledgers' sum is what is spent."""
    limit = 3_000_000
    budgets = {"budgets": [{"name": "all", "scope": {"fleet": "*"}, "limit": {"usd": limit / 1e9}, "window": "month"}]}
    price = {"models": {"gpt-*": {"provider": "openai", "price": {"input": 1, "output": 10}}}}
    with Proxy(sim, budgets=budgets, settings=price) as one:
        second = yaml.safe_load(one.config.read_text())
        port, admin = free_port(), free_port()
        second["listen"] |= {"port": port, "admin_port": admin}
        (one.folder / "second.yaml").write_text(yaml.safe_dump(second), encoding="utf-8")
        command = [sys.executable, "-m", "proxy", "serve", "--config", str(one.folder / "second.yaml")]
        two = subprocess.Popen(command, env=one.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until(lambda: not refused(port), 60)
            statuses, over = race(one, [one.url, f"http://127.0.0.1:{port}"], limit)
        finally:
            two.terminate()
            assert two.wait(15) == 0
        assert not over, over
        assert statuses.count(200) > 5
        assert statuses.count(402) > 5, "the budget ran out for both"
        assert set(statuses) == {200, 402}
        records = one.records(len(statuses))
        until(lambda: balance(one.folder)[1] == 0)  # the last settle is on its way when its client has the reply
        spent, _ = balance(one.folder)
        assert spent == sum(r["cost"] for r in records) <= limit


def race(proxy: Proxy, urls: list[str], limit: int) -> tuple[list[int], list[tuple[int, int]]]:
    """Ask from four threads until each was refused five times; return all statuses, and every balance seen above the limit."""
    statuses: list[int] = []
    over: list[tuple[int, int]] = []
    body = {"model": "gpt-4o-mini", "max_tokens": 20, "messages": [{"role": "user", "content": "hi"}]}

    def client(url: str) -> None:
        no = 0
        while no < 5:
            status = post(url + CHAT, body, {"authorization": f"Bearer {proxy.key()}", "x-sim-script": '{"tokens": 20}'}).status
            statuses.append(status)
            no += status != 200

    threads = [threading.Thread(target=client, args=(url,)) for url in urls * 2]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        found = balance(proxy.folder)
        if sum(found) > limit:
            over.append(found)
        threads[0].join(0.005)
    return statuses, over


def test_a_port_in_use_is_one_sentence(sim: Simulator) -> None:
    with Proxy(sim) as proxy:
        done = proxy.command("serve")
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1, done.stderr
        assert "in use" in done.stderr
        assert str(proxy.port) in done.stderr
        assert ready(proxy)[0] == 200, "the first one is not disturbed"
