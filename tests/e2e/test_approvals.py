"""Approvals on real servers: a held call waits in every protocol, streamed or not, and passes or not as a person says."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from serving import Proxy, Raw, Simulator, post

RULES = """rules:
  - id: mail
    when: {tool: send_email}
    action: require_approval
    message: Mail leaves the house
  - id: never
    when: {tool: delete_all}
    action: deny
  - id: no-codenames
    when: {direction: request}
    match: {contains: moonshot}
    action: redact
  - id: asks-first
    when: {direction: request}
    match: {contains: launch the rocket}
    action: require_approval
    approval: {timeout: 1s, default: deny}
"""
AGENTS = """---
name: tester
policy:
  models: {allow: ["*"]}
  tools: {allow: ["*"], require_approval: [pay]}
---
"""
TOKEN = "canary-admin-token"
AUTH = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with Simulator() as sim:
        yield sim


@pytest.fixture(scope="module")
def proxy(sim: Simulator) -> Iterator[Proxy]:
    settings = {"approvals": {"buffered_s": 20}, "listen": {"admin_url": "https://admin.example/"}}
    env = {"FLEETGATE_ADMIN_TOKEN": TOKEN}
    with Proxy(sim, agents=AGENTS, policies={"mail.yaml": RULES}, settings=settings, env=env) as proxy:
        yield proxy


def chat(stream: bool) -> tuple[str, dict[str, Any]]:
    tool = {"type": "function", "function": {"name": "send_email", "parameters": {"type": "object"}}}
    body = {"model": "gpt-4o-mini", "stream": stream, "messages": [{"role": "user", "content": "mail"}], "tools": [tool], "max_tokens": 50}
    return "/v1/chat/completions", body


def responses(stream: bool) -> tuple[str, dict[str, Any]]:
    tool = {"type": "function", "name": "send_email", "parameters": {"type": "object"}}
    return "/v1/responses", {"model": "gpt-4o-mini", "stream": stream, "input": "mail", "tools": [tool], "max_output_tokens": 50}


def messages(stream: bool) -> tuple[str, dict[str, Any]]:
    tool = {"name": "send_email", "input_schema": {"type": "object"}}
    body = {"model": "claude-sonnet-5", "stream": stream, "messages": [{"role": "user", "content": "mail"}], "tools": [tool]}
    return "/v1/messages", body | {"max_tokens": 50}


def gemini(stream: bool, query: str = "") -> tuple[str, dict[str, Any]]:
    verb = f"streamGenerateContent{query}" if stream else "generateContent"
    tool = {"functionDeclarations": [{"name": "send_email", "parameters": {"type": "OBJECT"}}]}
    body = {"contents": [{"role": "user", "parts": [{"text": "mail"}]}], "tools": [tool], "generationConfig": {"maxOutputTokens": 50}}
    return f"/v1beta/models/gemini-2.5-flash:{verb}", body


def ollama(stream: bool) -> tuple[str, dict[str, Any]]:
    tool = {"type": "function", "function": {"name": "send_email", "parameters": {"type": "object"}}}
    return "/api/chat", {"model": "qwen3:8b", "stream": stream, "messages": [{"role": "user", "content": "mail"}], "tools": [tool]}


ASKS = {
    "chat": chat,
    "responses": responses,
    "messages": messages,
    "gemini": gemini,
    "gemini-sse": lambda stream: gemini(stream, "?alt=sse"),
    "ollama": ollama,
}


@dataclass
class Call:
    """One request that a thread makes, with a session and arguments of its own."""

    proxy: Proxy
    path: str
    body: dict[str, Any]
    session: str
    tool: str = "send_email"
    reply: Raw | None = None

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        script = json.dumps({"tool_calls": [{"name": self.tool, "arguments": {"to": f"{self.session}@example.com"}}]})
        headers = {"authorization": f"Bearer {self.proxy.key()}", "x-fleetgate-session": self.session, "x-sim-script": script}
        headers["anthropic-version"] = "2023-06-01"
        self.reply = post(f"{self.proxy.url}{self.path}", self.body, headers)

    def done(self) -> Raw:
        self.thread.join(30)
        assert self.reply is not None
        return self.reply


def waiting(proxy: Proxy, session: str) -> dict[str, Any]:
    """The question of a session, once it stands."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        found = json.loads(post(f"{proxy.admin_url}/api/v1/approvals", b"", AUTH, "GET").body)["approvals"]
        mine = [a for a in found if a["session"].endswith(session) and a["state"] == "waits"]
        if mine:
            return dict(mine[0])
    raise AssertionError("nothing waits")


def decide(proxy: Proxy, name: str, allow: bool) -> None:
    body = {"allow": allow, "reason": "because I say so", "by": "ann"}
    assert post(f"{proxy.admin_url}/api/v1/approvals/{name}", body, AUTH).status == 200


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("name", ASKS)
def test_every_protocol(proxy: Proxy, name: str, stream: bool) -> None:
    path, body = ASKS[name](stream)
    for allow in (True, False):
        session = f"{name}-{stream}-{allow}"
        call = Call(proxy, path, body, session)
        asked = waiting(proxy, session)
        assert (asked["what"], asked["agent"], asked["kind"]) == ("send_email", "tester", "tool_call")
        assert session in asked["preview"]
        assert "policies/mail.yaml:2 (mail)" in asked["rule"]
        decide(proxy, asked["id"], allow)
        reply = call.done()
        assert reply.status == 200
        assert reply.whole
        called = b'"type":"function_call"' if name == "responses" else b"send_email"  # a response repeats the tools of its request
        assert (called in reply.body) is allow
        assert (b"because I say so" in reply.body) is not allow
        record = proxy.record(reply.headers["x-fleetgate-request-id"])
        told = [words for stage, words in record["decisions"] if stage == "approval"]
        assert f"{'allowed' if allow else 'refused'} by ann (with the admin token), because I say so" in told[0]
        assert record["outcome"] == "ok"


def test_the_command_line_decides_and_shows(proxy: Proxy) -> None:
    call = Call(proxy, *chat(True), "cli")
    asked = waiting(proxy, "cli")
    assert asked["id"] in proxy.command("approvals", "list").stdout
    shown = proxy.command("approvals", "show", asked["id"]).stdout
    assert "cli@example.com" in shown
    done = proxy.command("approvals", "approve", asked["id"], "--reason", "fine")
    assert (done.returncode, done.stdout) == (0, f"approved {asked['id']}: send_email of tester\n")
    assert b"send_email" in call.done().body
    again = proxy.command("approvals", "deny", asked["id"], "--reason", "too late")
    assert (again.returncode, "decided already" in again.stderr) == (1, True)
    assert proxy.command("approvals", "approve", "ffff").returncode == 1
    assert proxy.command("approvals", "deny", asked["id"]).returncode == 2
    log = json.loads(proxy.command("kill", "--log", "--json").stdout)
    assert (log[0]["action"], log[0]["reason"]) == ("approve", "fine")


def test_a_call_that_is_forbidden_asks_nobody(proxy: Proxy) -> None:
    reply = Call(proxy, *chat(True), "never", tool="delete_all").done()
    assert b"delete_all" not in reply.body
    found = json.loads(post(f"{proxy.admin_url}/api/v1/approvals", b"", AUTH, "GET").body)["approvals"]
    assert not [a for a in found if a["what"] == "delete_all"]


def test_the_contract_asks_too(proxy: Proxy) -> None:
    call = Call(proxy, *messages(False), "pay", tool="pay")
    asked = waiting(proxy, "pay")
    assert "AGENTS.md:5" in asked["rule"]
    decide(proxy, asked["id"], True)
    assert b"pay@example.com" in call.done().body.replace(b"\\", b"")


def test_a_request_that_a_person_must_allow(sim: Simulator, proxy: Proxy) -> None:
    path, body = chat(False)
    body["messages"] = [{"role": "user", "content": "launch the rocket moonshot"}]
    headers = {"authorization": f"Bearer {proxy.key()}", "x-fleetgate-session": "rocket"}
    before = len(sim.calls())
    late = post(f"{proxy.url}{path}", body, headers)
    assert (late.status, json.loads(late.body)["fleetgate"]["reason"]) == (403, "approval_timeout")
    assert len(sim.calls()) == before, "upstream was not called"
    found = json.loads(post(f"{proxy.admin_url}/api/v1/approvals", b"", AUTH, "GET").body)["approvals"]
    asked = next(a for a in found if a["kind"] == "request")
    assert asked["state"] == "open"
    decide(proxy, asked["id"], True)
    assert post(f"{proxy.url}{path}", body, headers).status == 200, "the next try finds what was decided"
    sent = json.dumps(sim.calls()[-1])
    assert ("launch the rocket" in sent, "moonshot" in sent) == (True, False), "what else rules ask for is done all the same"
    assert post(f"{proxy.url}{path}", body, headers).status == 403, "once"


def test_a_kill_ends_the_wait(proxy: Proxy) -> None:
    call = Call(proxy, *chat(True), "killed")
    waiting(proxy, "killed")
    assert post(f"{proxy.admin_url}/api/v1/kill", {"target": "agent:tester", "reason": "enough now"}, AUTH).status == 200
    body = call.done().body
    assert b"enough now" in body
    assert b"send_email" not in body
    assert post(f"{proxy.admin_url}/api/v1/resume", {"target": "agent:tester"}, AUTH).status == 200
