"""Canaries: words that nobody may keep, put wherever a client can put any, and looked for in every sink of a real proxy.

Each place has a word of its own. With `log_content` as it is by default, none of them may be in the log, the metrics, the traces, the files
of the store (ledger, rollup, questions, pairs) or the keys of a Redis, the admin API, the notices of webhooks, reports, tables and CSV, or
in an answer that refuses. `FEATURES` names the exceptions, and why each is one.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import secrets
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import quote

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

import redis
from redis_server import RedisServer, needs_own_redis
from serving import PROVIDER_KEY, Proxy, Raw, Simulator, post
from simulating import get

from proxy.cli import main

HOOK_SECRET = "hook-secret-that-nobody-may-see"
PLACES = """system prompt answer history result args blocked chanted email awskey ruled embedded broken header cookie query wrongkey
keyquery user metadata baggage fault pathquery toolname schema model agent session run path approval""".split()
FEATURES: Mapping[str, frozenset[str]] = {
    # The name that the client wrote is what the operator must see of a refusal: `model_asked` in the ledger, and in its words.
    "model": frozenset({"log", "store", "admin", "answer", "trace", "csv", "webhook"}),
    # Whom a key tried to speak for, likewise.
    "agent": frozenset({"log", "store", "admin", "answer", "trace", "csv"}),
    # Correlation ids are kept on purpose: a client finds its session and its run by them.
    "session": frozenset({"log", "store", "admin", "trace", "csv", "answer", "webhook"}),
    "run": frozenset({"log", "store", "admin", "trace", "csv", "answer", "webhook"}),
    # What the provider says of a failure is for the client who asked.
    "fault": frozenset({"answer"}),
    # An unmetered path is named, so that whoever reads the refusal knows what the client tried. Its query is not.
    "path": frozenset({"log", "store", "admin", "answer", "trace", "csv"}),
    # A tool's name is what rules decide on and refusals name.
    "toolname": frozenset({"log", "store", "admin", "answer", "trace", "csv"}),
    # A person must see what is asked: the arguments are in the question, while it is kept, and on the page that decides it.
    "approval": frozenset({"store", "admin"}),
}
RULES = """rules:
  - {id: mail, when: {tool: send_email}, action: require_approval, approval: {timeout: 2m}}
  - {id: words, match: {regex: 'ruled[a-z0-9]+'}, action: deny}
"""
AGENTS = """---
name: tester
version: 1.0.0
policy:
  owner: {team: office}
  models: {allow: ["gpt-4o*", "local/*", "text-embedding-*"]}
  tools: {allow: ["*"], deny: ["delete_*"]}
  loops: {identical: {warn: 2, block: 3}}
  routing: {local_ok: true}
  data: {secrets: warn, pii: warn}
---
"""
SETTINGS: dict[str, Any] = {
    "models": {"local/qwen3": {"price": {"input": 1, "output": 1}}},
    "routing": {"simple_to": "local/qwen3", "threshold": 0.2, "mode": "enforce", "sample": 1.0},
}


class Receiver(ThreadingHTTPServer):
    """Takes what is posted, notices and spans alike, and keeps it unpacked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.got: dict[str, list[bytes]] = {"webhook": [], "trace": []}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        body = gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body
        self.server.got["webhook" if self.path == "/hook" else "trace"].append(body + str(self.headers).encode())
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield found
        found.shutdown()
        thread.join()


@dataclass
class Visit:
    """One client that says all canaries, and what became of it. `words` is what each place is given."""

    proxy: Proxy
    words: dict[str, str] = field(default_factory=lambda: {name: f"{name}zq{secrets.token_hex(6)}" for name in PLACES})
    answers: list[bytes] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)

    def post(self, body: Any, path: str = "/v1/chat/completions", headers: Mapping[str, str] | None = None) -> Raw:
        """Post, with canaries in every header that clients send; what refuses is kept."""
        w = self.words
        usual = {
            "authorization": f"Bearer {self.proxy.key()}",
            "x-secret-header": w["header"],
            "cookie": f"id={w['cookie']}",
            "baggage": f"user={w['baggage']}",
            "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "x-fleetgate-session": w["session"],
        }
        reply = post(self.proxy.url + path, body, usual | dict(headers or {}))
        self.ids.append(reply.headers["x-fleetgate-request-id"])
        if reply.status >= 400:
            head = "\n".join(f"{k}: {v}" for k, v in reply.headers.items())
            self.answers.append(reply.body + head.encode())
        return reply

    def chat(self, words: str, script: Mapping[str, Any] | None = None, **more: Any) -> Any:
        """A chat completion's body."""
        w = self.words
        said = f"{words} [[sim: {json.dumps(script)}]]" if script else words
        messages = [{"role": "system", "content": f"You guard {w['system']}."}, {"role": "user", "content": said}]
        extra = {"user": w["user"], "metadata": {"note": w["metadata"]}}
        return {"model": "gpt-4o", "max_tokens": 60, "messages": messages, **extra, **more}

    def say_everything(self) -> list[int]:
        """Send it all; return the statuses."""
        w, got = self.words, list[int]()

        def ask(body: Any, path: str = "/v1/chat/completions", headers: Mapping[str, str] | None = None) -> None:
            got.append(self.post(body, path, headers).status)

        hard = f"Prove step by step why {w['prompt']} holds, and explain each trade-off of the architecture. " * 20
        tool = _tool("look_up", w["schema"])
        ask(self.chat(hard, {"text": f"It is {w['answer']}."}), f"/v1/chat/completions?canary={w['query']}")
        ask(self.chat(f"hi {w['prompt']}", stream=True, stream_options={"include_usage": True}))  # routed, and sampled
        ask(self.chat(hard, {"tool_calls": [{"name": "look_up", "arguments": {"q": w["args"]}}]}, tools=[tool], stream=True))
        ask(self.chat(hard, {"tool_calls": [{"name": "delete_all", "arguments": {"q": w["blocked"]}}]}, tools=[_tool("delete_all", "x")]))
        ask(self.chat(hard, {"tool_calls": [{"name": w["toolname"], "arguments": {"q": w["args"]}}]}, tools=[tool]))
        ask(self.chat(f"Mail {w['email']}@example.com the key AKIAIOSFODNN7EXAMPLE and password={w['awskey']}"))
        ask(self.chat(f"The {w['ruled']} is over."))
        ask(self.chat(hard, {"status": 500, "message": f"cannot parse {w['fault']}"}))
        ask(self.chat(hard, {"text": f"{w['chanted']} " * 400}, stream=True, max_tokens=2000))
        ask(self.loop())
        ask({"model": "text-embedding-3-small", "input": w["embedded"]}, "/v1/embeddings")
        ask(f'{{"model": "gpt-4o", "messages": [{{"role": "{w["broken"]}'.encode())
        ask(self.chat("hello", model=f"gpt-9-{w['model']}"))
        ask(self.chat("hello"), headers={"x-fleetgate-agent": w["agent"]})
        ask(self.chat("hello"), headers={"authorization": f"Bearer fg_{w['wrongkey']}"})
        ask(self.chat("hello"), f"/v1/chat/completions?key=fg_{w['keyquery']}", headers={"authorization": ""})
        ask(self.chat("hello"), headers={"x-fleetgate-run": w["run"]})
        ask(b"{}", f"/v1/files/{w['path']}?q={w['pathquery']}")
        self.approve()
        return got

    def loop(self) -> Any:
        """A history in which one call is made again and again."""
        w = self.words
        call = {"id": "c", "type": "function", "function": {"name": "look_up", "arguments": json.dumps({"q": w["history"]})}}
        turn = [
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": f"failed: {w['result']}"},
        ]
        body = self.chat("Look it up.", tools=[_tool("look_up", "x")])
        body["messages"] += turn * 6
        return body

    def approve(self) -> None:
        """Have a call held, and let a person deny it."""
        script = {"tool_calls": [{"name": "send_email", "arguments": {"to": self.words["approval"]}}]}
        body = self.chat("Prove and explain, step by step, then mail it. " * 20, script, tools=[_tool("send_email", "x")])
        thread = threading.Thread(target=lambda: self.post(body))
        thread.start()
        deadline = time.monotonic() + 60
        while not (found := json.loads(get(f"{self.proxy.admin_url}/api/v1/approvals")[1])["approvals"]):
            assert time.monotonic() < deadline
        self.held = json.dumps(found).encode() + get(f"{self.proxy.admin_url}/api/v1/approvals/{found[0]['id']}")[1]
        command(self.proxy, "approvals", "deny", found[0]["id"], "--reason", "no")
        thread.join(60)


def command(proxy: Proxy, *arguments: str) -> bytes:
    """Run a command in this process and return what it wrote."""
    out = io.StringIO()
    with mock.patch.dict(os.environ, proxy.environment()), contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        assert main([*arguments, "--config", str(proxy.config)]) == 0, out.getvalue()
    return out.getvalue().encode()


def _tool(name: str, words: str) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {"q": {"type": "string", "description": words}}}
    return {"type": "function", "function": {"name": name, "description": words, "parameters": parameters}}


def admin(visit: Visit) -> bytes:
    """Everything that the admin plane tells, the approvals apart."""
    proxy, session = visit.proxy, f"tester/{visit.words['session']}"
    lists: tuple[str, ...] = (
        "agents",
        "budgets",
        "exchanges?limit=1000",
        "exchanges?by=session",
        "pairs",
        "kill",
        "fleet",
        "series",
        "teams",
        "sessions",
    )
    lists += ("decisions", "shadow", "routing", "config", "agents/tester", f"sessions/{quote(session)}", f"runs/{quote(session)}")
    lists += tuple(f"decisions/{name}" for name in visit.ids)
    said = [get(f"{proxy.admin_url}{path}")[1] for path in ("/", "/readyz", "/healthz")]
    for path in lists:
        status, body = get(f"{proxy.admin_url}/api/v1/{path}", timeout_s=30)
        assert status == 200, (path, body)
        said.append(body)
    return b"\n".join(said)


def sinks(visit: Visit, receiver: Receiver, server: RedisServer | None) -> dict[str, bytes]:
    """What each sink holds once the proxy has ended, so that all has been written."""
    proxy = visit.proxy
    found = {"admin": admin(visit) + visit.held, "answer": b"\n".join(visit.answers), "metrics": get(f"{proxy.admin_url}/metrics")[1]}
    bill = ("ledger", "--by", "agent,reason")
    found["csv"] = b"".join(
        command(proxy, *words)
        for words in (("ledger",), ("ledger", "--csv"), ("ledger", "--json"), ("explain", visit.ids[0]), ("top",), bill)
    )
    command(proxy, "report", "--out", str(proxy.folder / "report.html"))
    found["report"] = (proxy.folder / "report.html").read_bytes()
    assert proxy.stop() == 0
    found |= {name: b"\n".join(got) for name, got in receiver.got.items()}
    found["log"] = proxy.log().encode()
    files = [p for p in proxy.folder.rglob("*") if p.is_file() and p.name.startswith("fleetgate.db")]
    found["store"] = b"".join(p.read_bytes() for p in files) + (dump(server.client()) if server else b"")
    return found


def dump(client: redis.Redis) -> bytes:
    """All keys of a Redis and all that is in them, and its log of slow commands."""
    said = list[bytes]()
    for key in client.scan_iter(count=1000):
        said += [key, client.dump(key) or b""]
        kind = client.type(key)
        if kind == b"stream":
            said.append(repr(client.xrange(key)).encode())
        elif kind == b"hash":
            said.append(repr(client.hgetall(key)).encode())
    said.append(repr(client.slowlog_get(1000)).encode())
    client.close()
    return b"\n".join(said)


def leaks(visit: Visit, found: Mapping[str, bytes]) -> list[str]:
    """Which words are where they may not be."""
    wrong = []
    for sink, text in found.items():
        low = text.lower()
        for place, word in visit.words.items():
            if word.encode() in low and sink not in FEATURES.get(place, frozenset()):
                at = low.index(word.encode())
                wrong.append(f"{place} in {sink}: …{text[max(0, at - 120) : at + 60]!r}…")
        for secret in (PROVIDER_KEY, visit.proxy.key(), HOOK_SECRET):
            if secret.encode() in text:
                wrong.append(f"a key in {sink}")
    return wrong


def settings(receiver: Receiver) -> dict[str, Any]:
    hook = {"url": f"{receiver.url}/hook", "secret": "env:HOOK_SECRET"}
    return {**SETTINGS, "webhooks": [hook], "telemetry": {"otlp_endpoint": receiver.url}}


def visited(proxy: Proxy, sim: Simulator) -> Visit:
    """A client that has said everything, and has been heard: else finding nothing would prove nothing."""
    visit = Visit(proxy)
    statuses = visit.say_everything()
    assert {200, 400, 401, 403, 404} <= set(statuses), statuses
    seen = json.dumps(sim.calls()).encode()
    for place in ("system", "prompt", "history", "result", "embedded", "schema"):
        if place not in ("history", "result"):  # a loop that is blocked is not sent
            assert visit.words[place].encode() in seen, f"{place} reached the provider"
    deadline = time.monotonic() + 60
    while len(json.loads(get(f"{proxy.admin_url}/api/v1/exchanges?limit=1000")[1])["exchanges"]) < len(visit.ids):
        assert time.monotonic() < deadline
    return visit


def test_no_sink_of_a_file_keeps_what_clients_say(receiver: Receiver) -> None:
    budgets = {"budgets": [{"name": "all", "scope": {"fleet": "*"}, "limit": {"usd": 0.2}, "window": "total", "warn_at": [0.01]}]}
    env = {"HOOK_SECRET": HOOK_SECRET}
    with (
        Simulator() as sim,
        Proxy(sim, agents=AGENTS, policies={"r.yaml": RULES}, budgets=budgets, settings=settings(receiver), env=env) as proxy,
    ):
        visit = visited(proxy, sim)
        found = sinks(visit, receiver, None)
    assert all(found.values()), {name: len(text) for name, text in found.items()}
    assert not (wrong := leaks(visit, found)), "\n".join(wrong)
    assert visit.words["approval"].encode() in visit.held, "whoever decides sees what is asked"


@needs_own_redis
def test_no_key_of_a_shared_store_keeps_what_clients_say(receiver: Receiver) -> None:
    env = {"HOOK_SECRET": HOOK_SECRET}
    with RedisServer("--slowlog-log-slower-than", "0", "--slowlog-max-len", "1000") as server, Simulator() as sim:
        more = {**settings(receiver), "store": server.url}
        with Proxy(sim, agents=AGENTS, policies={"r.yaml": RULES}, settings=more, env=env) as proxy:
            visit = visited(proxy, sim)
            found = sinks(visit, receiver, server)
    assert all(found.values()), {name: len(text) for name, text in found.items()}
    assert not (wrong := leaks(visit, found)), "\n".join(wrong)
