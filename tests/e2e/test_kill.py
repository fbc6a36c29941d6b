"""The kill switch on real servers: two replicas on one store, streams under way, restarts."""

from __future__ import annotations

import json
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from serving import Proxy, Simulator, post
from streams import CHAT, MESSAGES, Stream

AGENTS = """---
agents:
  - name: tester
    policy: {owner: {team: web}, models: {allow: ["*"]}, tools: {allow: ["*"]}}
  - name: other
    policy: {models: {allow: ["*"]}, tools: {allow: ["*"]}}
---
"""
TOKEN = "canary-admin-token"


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with Simulator() as sim:
        yield sim


@pytest.fixture
def proxy(sim: Simulator) -> Iterator[Proxy]:
    with Proxy(sim, agents=AGENTS, keys=("tester", "other"), env={"FLEETGATE_ADMIN_TOKEN": TOKEN}) as proxy:
        yield proxy


def until(claim: Callable[[], object], within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while not claim():
        assert time.monotonic() < deadline


def ask(proxy: Proxy, agent: str = "tester", model: str = "gpt-4o-mini", session: str = "s") -> tuple[int, dict[str, Any]]:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 20}
    headers = {"authorization": f"Bearer {proxy.key(agent)}", "x-fleetgate-session": session}
    reply = post(f"{proxy.url}/v1/chat/completions", body, headers)
    return reply.status, json.loads(reply.body)


def admin(proxy: Proxy, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
    headers = {"authorization": f"Bearer {TOKEN}"}
    reply = post(f"{proxy.admin_url}{path}", body or b"", headers, "GET" if body is None else "POST")
    return reply.status, json.loads(reply.body)


def asked(sim: Simulator) -> int:
    return len(sim.calls())


def test_a_killed_agent_is_refused_before_its_body_is_read_and_others_go_on(sim: Simulator, proxy: Proxy) -> None:
    assert ask(proxy)[0] == 200
    assert proxy.command("kill", "agent:tester", "--reason", "it deletes files", "--for", "1h").returncode == 0
    began = time.monotonic()
    until(lambda: ask(proxy)[0] == 403)
    assert time.monotonic() - began < 1.5, "effective within a second, and the command took its time before"
    before = asked(sim)
    status, said = ask(proxy)
    assert (status, said["fleetgate"]["reason"], said["fleetgate"]["rule"]) == (403, "agent_killed", "kill agent:tester")
    assert "it deletes files" in said["error"]["message"]
    assert post(f"{proxy.url}/v1/chat/completions", b"{not json", {"authorization": f"Bearer {proxy.key()}"}).status == 403
    assert asked(sim) == before, "upstream was not called"
    assert ask(proxy, "other")[0] == 200
    assert b"fleetgate_kills_active 1.0" in post(f"{proxy.admin_url}/metrics", b"", {"authorization": f"Bearer {TOKEN}"}, "GET").body
    assert proxy.command("resume", "agent:tester").returncode == 0
    until(lambda: ask(proxy)[0] == 200)


@pytest.mark.parametrize("target", ["team:web", "session:*mine*", "model:gpt-4o-mini", "all"])
def test_every_kind_of_target_over_the_admin_api(sim: Simulator, proxy: Proxy, target: str) -> None:
    assert admin(proxy, "/api/v1/kill", {"target": target, "reason": "test", "force": True})[0] == 200
    before = asked(sim)
    status, said = ask(proxy, session="mine")
    assert (status, said["fleetgate"]["rule"]) == (403, f"kill {target}"), "effective when the request returns"
    assert asked(sim) == before
    free = {"team:web": ("other", "gpt-4o-mini", "s"), "session:*mine*": ("tester", "gpt-4o-mini", "s")}
    free |= {"model:gpt-4o-mini": ("tester", "gpt-4.1-mini", "s")}
    if target in free:
        assert ask(proxy, *free[target])[0] == 200
    assert [k["target"] for k in admin(proxy, "/api/v1/kill")[1]["kills"]] == [target]
    assert admin(proxy, "/api/v1/resume", {"target": target})[0] == 200
    assert ask(proxy, session="mine")[0] == 200


def test_a_key_is_stopped_by_its_id(proxy: Proxy) -> None:
    key = json.loads(proxy.command("keys", "list", "--json").stdout)[0]
    assert admin(proxy, "/api/v1/kill", {"target": f"key:{key['id']}", "reason": "leaked"})[0] == 200
    assert ask(proxy, key["agent"])[0] == 403


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_a_stream_under_way_is_cut_with_its_ending_and_charged(proxy: Proxy, path: str) -> None:
    with Stream(proxy, 400, 25, path=path) as stream:
        stream.until(b"data:")
        stream.until(b"word") if b"word" in stream.got else stream.until(b"delta")
        began = time.monotonic()
        assert admin(proxy, "/api/v1/kill", {"target": "agent:tester", "reason": "enough now"})[0] == 200
        got = stream.rest()
        assert time.monotonic() - began < 1.0
    assert stream.whole
    assert b"enough now" in got
    assert (b"[DONE]" in got) is (path == CHAT)
    assert (b"event: error" in got) is (path == MESSAGES)
    record = proxy.record(stream.header("x-fleetgate-request-id"))
    assert (record["outcome"], record["reason"]) == ("denied", "agent_killed")
    assert 0 < record["output_tokens"] < 400
    assert record["cost"] > 0


def test_a_call_that_waits_for_its_provider_is_answered(sim: Simulator, proxy: Proxy) -> None:
    script = json.dumps({"delay_ms": 20_000})
    body = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 20}).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {proxy.key()}\r\nx-sim-script: {script}\r\n"
    before = asked(sim)
    with socket.create_connection(("127.0.0.1", proxy.port), 30) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
        until(lambda: asked(sim) > before)
        assert admin(proxy, "/api/v1/kill", {"target": "all", "reason": "enough now"})[0] == 200
        got = b""
        while piece := connection.recv(65536):
            got += piece
    assert got.startswith(b"HTTP/1.1 403")
    assert b"agent_killed" in got


def test_it_holds_on_every_replica_at_once_and_after_a_restart(sim: Simulator, proxy: Proxy) -> None:
    settings = {"store": f"sqlite:{proxy.folder / 'fleetgate.db'}"}
    with Proxy(sim, agents=AGENTS, settings=settings, keys=("tester",), env={"FLEETGATE_ADMIN_TOKEN": TOKEN}) as second:
        with Stream(second, 400, 25) as stream:
            stream.until(b"data:")
            began = time.monotonic()
            assert admin(proxy, "/api/v1/kill", {"target": "agent:tester", "reason": "enough now"})[0] == 200
            stream.until(b"enough now")
            assert time.monotonic() - began < 1.0
        assert ask(second)[0] == 403
        second.stop()
        second.start()
        assert ask(second)[0] == 403
        assert admin(second, "/api/v1/resume", {"target": "agent:tester"})[0] == 200
        until(lambda: ask(proxy)[0] == 200)


def test_a_kill_ends_by_itself(proxy: Proxy) -> None:
    assert admin(proxy, "/api/v1/kill", {"target": "all", "reason": "a moment", "for": "1s"})[0] == 200
    assert ask(proxy)[0] == 403
    until(lambda: ask(proxy)[0] == 200)
    assert admin(proxy, "/api/v1/kill")[1]["kills"] == []


def test_a_name_that_nobody_has(proxy: Proxy) -> None:
    status, said = admin(proxy, "/api/v1/kill", {"target": "agent:nobody", "reason": "x"})
    assert (status, "tester" in said["error"]) == (404, True)
    assert admin(proxy, "/api/v1/kill")[1]["kills"] == []


def test_readiness_tells_of_the_store(proxy: Proxy) -> None:
    with urllib.request.urlopen(f"{proxy.admin_url}/readyz", timeout=10) as reply:
        assert json.loads(reply.read())["control"] == "ok"
