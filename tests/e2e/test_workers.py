"""Several real workers on one port and one SQLite file: one budget, one admin plane, one set of metrics, also when one of them dies.

The tests share one crew and end with its end: each start costs seconds of CPU, so they run in this order.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from serving import Proxy, Simulator, digest, post
from simulating import get
from streams import Stream

from proxy.app.desk import reserved
from proxy.identity.keys import KeyEntry, new_key
from proxy.settings.sections import Listen
from proxy.stores.keys import SqliteKeys
from proxy.telemetry import query
from proxy.telemetry.content_sqlite import SqliteContents

pytestmark = pytest.mark.timeout(300)
TOKEN = "canary-admin-token"
CAP = 40
BUDGETS = {"budgets": [{"name": "cap", "scope": {"agent": "capped"}, "limit": {"requests": CAP, "usd": 5}, "window": "total"}]}
AGENTS = """---
agents:
  - name: tester
    policy: {models: {allow: ["*"]}, tools: {allow: ["*"]}}
  - name: capped
    policy: {models: {allow: ["*"]}, data: {log_content: hash}}
---
"""


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with Simulator() as sim:
        yield sim


@pytest.fixture(scope="module")
def shared(sim: Simulator) -> Iterator[Proxy]:
    env = {"FLEETGATE_ADMIN_TOKEN": TOKEN, "FLEETGATE_LISTEN_WORKERS": "2", "FLEETGATE_TELEMETRY_CAPTURE": "true"}
    with Proxy(sim, agents=AGENTS, budgets=BUDGETS, keys=("tester", "capped"), env=env) as proxy:
        yield proxy


def until(claim: Callable[[], object], within_s: float = 100.0) -> None:
    deadline = time.monotonic() + within_s
    while not claim():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ask(proxy: Proxy, key: str = "") -> int:
    """One call over a connection of its own, which the kernel gives to any worker."""
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 20}
    return post(f"{proxy.url}/v1/chat/completions", body, {"authorization": f"Bearer {key or proxy.key()}"}).status


def detail(proxy: Proxy) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(get(f"{proxy.admin_url}/readyz")[1])
    return found


def workers(proxy: Proxy) -> dict[int, int]:
    """Worker to process, of those that are ready."""
    return {w["worker"]: w["pid"] for w in detail(proxy)["workers"] if w["ready"]}


def configs(proxy: Proxy) -> set[str]:
    """The snapshots in force: the supervisor's and those of all workers."""
    found = detail(proxy)
    return {found["config"], *(w["config"] for w in found["workers"])}


def metric(proxy: Proxy, name: str) -> float:
    lines = get(f"{proxy.admin_url}/metrics")[1].decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((name + "{", name + " ")))


@contextmanager
def streams(proxy: Proxy, tokens: int, chunk_ms: int) -> Iterator[list[Stream]]:
    """Six streams under way, on connections that the kernel spreads."""
    with ExitStack() as stack:
        found = [stack.enter_context(Stream(proxy, tokens, chunk_ms)) for _ in range(6)]
        for stream in found:
            stream.until(b"data:")
        yield found


def served_by(proxy: Proxy) -> set[str]:
    return {word for line in proxy.log().splitlines() if "exchange" in line for word in line.split() if word.startswith("worker=")}


@contextmanager
def alone(listen: Listen) -> Iterator[None]:
    """Listen as a server without workers does."""
    with socket.create_server((listen.host, listen.port)):
        yield


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_one_budget_one_ledger_and_one_set_of_metrics_for_all(sim: Simulator, shared: Proxy) -> None:
    before = len(sim.calls())
    found = [ask(shared, shared.key("capped")) for _ in range(CAP + 8)]
    assert sorted(found) == [200] * CAP + [402] * 8
    assert len(sim.calls()) == before + CAP, "what was refused was not sent"
    until(lambda: len(json.loads(get(f"{shared.admin_url}/api/v1/exchanges?limit=1000")[1])["exchanges"]) == CAP + 8)
    until(lambda: served_by(shared) == {"worker=1", "worker=2"})
    assert metric(shared, "fleetgate_requests_total") == CAP + 8
    assert metric(shared, "fleetgate_overhead_seconds_count") == CAP + 8
    until(lambda: metric(shared, "fleetgate_contents_total") == CAP + 8)
    contents = SqliteContents(shared.folder / "fleetgate.db", 100)
    assert all(contents.one(record.id) for record in query.rows(shared.folder / "fleetgate.db")), "each worker writes into one file"
    assert (metric(shared, "fleetgate_workers"), metric(shared, "fleetgate_worker_restarts_total")) == (2, 0)
    until(lambda: metric(shared, "fleetgate_budget_used_ratio") >= 1)
    me = post(f"{shared.url}/fleetgate/v1/me", b"", {"authorization": f"Bearer {shared.key('capped')}"}, "GET")
    assert [b["remaining"] for b in json.loads(me.body)["budgets"] if b["unit"] == "requests"] == [0]
    assert shared.command("budgets", "--audit").returncode == 0
    assert json.loads(get(f"{shared.admin_url}/api/v1/pairs")[1]) == {"pairs": []}


def test_a_key_that_is_revoked_is_refused_by_all(shared: Proxy) -> None:
    store = SqliteKeys(shared.folder / "fleetgate.db")
    try:
        key = new_key("tester")
        entry = KeyEntry("tester", digest(key))
        store.add(entry)
        until(lambda: all(ask(shared, key) == 200 for _ in range(6)))
        store.revoke(entry.id)
        until(lambda: all(ask(shared, key) == 401 for _ in range(6)))
        assert {ask(shared, key) for _ in range(10)} == {401}
    finally:
        store.close()


def test_an_edit_reaches_all_and_a_wrong_one_none(shared: Proxy) -> None:
    path = shared.folder / "AGENTS.md"
    old = detail(shared)["config"]
    path.write_text(AGENTS.replace('["*"]', '["claude-*"]', 1))
    shared.signal(signal.SIGHUP)
    until(lambda: old not in configs(shared) and len(configs(shared)) == 1)
    assert {ask(shared) for _ in range(8)} == {403}
    path.write_text("---\nagents: [{name: tester, policy: {modles: 1}}]\n---\n")
    until(lambda: detail(shared)["config_errors"])
    assert metric(shared, "fleetgate_config_stale") == 1
    path.write_text(AGENTS)
    until(lambda: configs(shared) == {old} and not detail(shared)["config_errors"])
    assert {ask(shared) for _ in range(8)} == {200}
    assert "asked to read the files again" in shared.log()


def test_a_kill_stops_what_runs_in_any_worker(sim: Simulator, shared: Proxy) -> None:
    headers = {"authorization": f"Bearer {TOKEN}"}
    assert metric(shared, "fleetgate_kills_active") == 0
    with streams(shared, 2000, 20) as running:
        until(lambda: detail(shared)["inflight"] == 6)
        reply = post(f"{shared.admin_url}/api/v1/kill", {"target": "agent:tester", "reason": "a drill"}, headers)
        assert reply.status == 200, reply.body
        for stream in running:
            assert b"agent_killed" in stream.rest()
    before = len(sim.calls())
    assert {ask(shared) for _ in range(8)} == {403}, "both knew before the answer came"
    assert len(sim.calls()) == before
    assert metric(shared, "fleetgate_kills_active") == 1, "of one kill, however many look"
    assert post(f"{shared.admin_url}/api/v1/resume", {"target": "agent:tester"}, headers).status == 200
    assert {ask(shared) for _ in range(8)} == {200}


def test_a_worker_that_dies_is_replaced_and_the_other_goes_on(shared: Proxy) -> None:
    before = workers(shared)
    until(lambda: metric(shared, "fleetgate_inflight") == 0)
    counted = metric(shared, "fleetgate_requests_total")
    settings = shared.config.read_text()
    shared.config.write_text(settings.replace("fleetgate.db", "other.db"))
    until(lambda: "store changed: that takes effect at the next start" in shared.log())
    os.kill(before[1], signal.SIGKILL)
    until(lambda: metric(shared, "fleetgate_worker_restarts_total") == 1)  # it is gone with all of its threads and sockets
    assert {ask(shared) for _ in range(8)} == {200}, "the kernel asks who is left"
    until(lambda: len(now := workers(shared)) == 2 and now[1] != before[1])
    assert workers(shared)[2] == before[2]
    assert {ask(shared) for _ in range(8)} == {200}
    assert metric(shared, "fleetgate_worker_restarts_total") == 1
    until(lambda: metric(shared, "fleetgate_requests_total") == counted + 16)
    assert "worker 1 is gone (it ended with -9)" in shared.log()
    assert not (shared.folder / "other.db").exists(), "a worker that is started again has the store of the others, not one of its own"
    shared.config.write_text(settings)


def test_a_supervisor_that_is_killed_leaves_nobody_behind(shared: Proxy) -> None:
    for taken in (reserved, alone):
        with pytest.raises((ValueError, OSError), match="in use"), taken(Listen(port=shared.port)):
            pass
    pids = list(workers(shared).values())
    shared.signal(signal.SIGKILL)
    assert shared.ended() == -signal.SIGKILL
    until(lambda: all(gone(pid) for pid in pids))
    shared.start()
    assert ask(shared) == 200


def test_a_stop_lets_streams_of_all_workers_finish(shared: Proxy) -> None:
    path = shared.folder / "fleetgate.db"
    before = {record.id for record in query.rows(path)}
    with streams(shared, 40, 40) as running:
        shared.signal(signal.SIGTERM)
        until(lambda: detail(shared)["draining"])
        for stream in running:
            stream.rest()
            assert stream.whole
            assert b"[DONE]" in stream.got
    assert shared.ended() == 0
    assert [record.outcome for record in query.rows(path) if record.stream and record.id not in before] == ["ok"] * 6
