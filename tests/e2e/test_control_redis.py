"""Kills and approvals across two real servers on one real Redis store: cut on the other, decided on the other."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from redis_server import RedisServer, needs_own_redis
from serving import Proxy, Raw, Simulator, post
from streams import Stream

pytestmark = needs_own_redis
TOKEN = "canary-admin-token"
AUTH = {"authorization": f"Bearer {TOKEN}"}
RULES = "rules:\n  - {id: mail, when: {tool: send_email}, action: require_approval}\n"


@pytest.fixture(scope="module")
def replicas() -> Iterator[tuple[Proxy, Proxy]]:
    with Simulator() as sim, RedisServer() as server:

        def replica() -> Proxy:
            settings = {"store": {"url": server.url}}
            return Proxy(sim, policies={"mail.yaml": RULES}, settings=settings, env={"FLEETGATE_ADMIN_TOKEN": TOKEN})

        with replica() as one, replica() as two:
            yield one, two


def test_a_kill_on_one_cuts_a_stream_on_the_other(replicas: tuple[Proxy, Proxy]) -> None:
    one, two = replicas
    with Stream(two, 400, 25) as stream:
        stream.until(b"data:")
        began = time.monotonic()
        assert post(f"{one.admin_url}/api/v1/kill", {"target": "agent:tester", "reason": "enough now"}, AUTH).status == 200
        stream.until(b"enough now")
        assert time.monotonic() - began < 1.0
    listed = one.command("kill", "--list", "--json")
    assert [kill["target"] for kill in json.loads(listed.stdout)] == ["agent:tester"]
    assert two.command("resume", "agent:tester").returncode == 0
    assert [e["action"] for e in json.loads(one.command("kill", "--log", "--json").stdout)] == ["resume", "kill"]
    assert one.command("kill", "session:nobody", "--reason", "x").returncode == 1
    assert one.command("kill", "agent:nobody", "--reason", "x").returncode == 1


def test_a_call_that_waits_on_one_is_decided_on_the_other(replicas: tuple[Proxy, Proxy]) -> None:
    one, two = replicas
    got: list[Raw] = []

    def call() -> None:
        tool = {"type": "function", "function": {"name": "send_email", "parameters": {"type": "object"}}}
        body: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "mail"}], "tools": [tool]}
        script = json.dumps({"tool_calls": [{"name": "send_email", "arguments": {"to": "ann"}}]})
        got.append(post(f"{one.url}/v1/chat/completions", body, {"authorization": f"Bearer {one.key()}", "x-sim-script": script}))

    deadline = time.monotonic() + 20
    while post(f"{one.url}/v1/models", b"", {"authorization": f"Bearer {one.key()}"}, "GET").status == 403:  # the kill of the test before
        assert time.monotonic() < deadline
    thread = threading.Thread(target=call)
    thread.start()
    while not (found := json.loads(post(f"{two.admin_url}/api/v1/approvals", b"", AUTH, "GET").body)["approvals"]):
        assert time.monotonic() < deadline
    assert found[0]["id"] in two.command("approvals", "list").stdout
    began = time.monotonic()
    assert post(f"{two.admin_url}/api/v1/approvals/{found[0]['id']}", {"allow": True}, AUTH).status == 200
    thread.join(20)
    assert time.monotonic() - began < 1.0
    assert b"send_email" in got[0].body
