"""A webhook of a real server: an edit that is refused is told once, signed, and nothing of it is said."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from serving import Proxy, Simulator, post
from simulating import get

SECRET = "hook-secret-that-nobody-may-see"


class Receiver(ThreadingHTTPServer):
    """Keeps what is posted: headers and body."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.came = threading.Semaphore(0)


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.got.append(({k.lower(): v for k, v in self.headers.items()}, body))
        self.send_response(204)
        self.end_headers()
        self.server.came.release()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def test_a_refused_edit_is_told(receiver: Receiver) -> None:
    hook = {"url": f"http://127.0.0.1:{receiver.server_port}/hook", "secret": "env:HOOK_SECRET", "events": ["config"]}
    with Simulator() as sim, Proxy(sim, settings={"webhooks": [hook]}, env={"HOOK_SECRET": SECRET}) as proxy:
        assert proxy.command("check").returncode == 0
        agents = proxy.folder / "AGENTS.md"
        good = agents.read_text()
        agents.write_text("---\nname: tester\npolicy: {modles: {allow: [the-text-of-the-edit]}}\n---\n")
        assert receiver.came.acquire(timeout=20)
        ((headers, body),) = receiver.got
        told = json.loads(body)
        assert told["kind"] == "config"
        assert told["text"] == "An edit of the configuration was not applied, the one before stays: 1 problem, the first at AGENTS.md:3."
        assert told["facts"]["first"] == "AGENTS.md:3"
        assert b"the-text-of-the-edit" not in body
        sent, _, signature = headers["x-fleetgate-signature"].removeprefix("t=").partition(",v1=")
        assert signature == hmac.new(SECRET.encode(), f"{sent}.".encode() + body, hashlib.sha256).hexdigest()
        assert 'fleetgate_webhook_total{outcome="delivered"} 1.0' in get(f"{proxy.admin_url}/metrics")[1].decode()
        agents.write_text(good.replace("May do everything", "[" * 100))
        agents.write_text("---\nname: [\n---\n")
        assert receiver.came.acquire(timeout=20), "another mistake is another notice"
        assert SECRET not in proxy.log()
    assert 2 <= len(receiver.got) <= 3


def test_a_budget_nearly_gone_and_a_kill_are_told_once(receiver: Receiver) -> None:
    hook = {"url": f"http://127.0.0.1:{receiver.server_port}/hook", "secret": "env:HOOK_SECRET"}
    settings = {
        "webhooks": [hook],
        "models": {"m": {"provider": "openai", "upstream_model": "gpt-4o-mini", "price": {"input": 0, "output": 1000}}},
        "budget": {"min_output": 1},
    }
    budgets = {"budgets": [{"name": "all", "scope": {"fleet": "*"}, "limit": {"usd": 0.1}, "window": "total", "warn_at": [0.5]}]}
    with Simulator() as sim, Proxy(sim, settings=settings, budgets=budgets, env={"HOOK_SECRET": SECRET}) as proxy:

        def ask(tokens: int) -> int:
            words = f'{secrets.token_hex(20)} [[sim:{{"tokens": {tokens}}}]]'
            body = {"model": "m", "max_tokens": tokens, "messages": [{"role": "user", "content": f"prompt-text {words}"}]}
            return post(f"{proxy.url}/v1/chat/completions", body, {"authorization": f"Bearer {proxy.key()}"}).status

        assert [ask(60), ask(10), ask(10)] == [200, 200, 200]
        assert receiver.came.acquire(timeout=20)
        assert proxy.command("kill", "agent:tester", "--reason", "test").returncode == 0
        assert receiver.came.acquire(timeout=20)
        deadline = time.monotonic() + 10
        while ask(1) != 403:
            assert time.monotonic() < deadline
        told = [json.loads(body) for _, body in receiver.got]
        assert [t["kind"] for t in told] == ["budget", "kill"]
        assert told[0]["facts"]["budget"] == "all"
        assert all(b"prompt-text" not in body and proxy.key().encode() not in body for _, body in receiver.got)


def test_a_link_from_a_notice_decides_once(receiver: Receiver) -> None:
    hook = {"url": f"http://127.0.0.1:{receiver.server_port}/hook", "secret": "env:HOOK_SECRET", "events": ["approval"]}
    rules = "rules:\n  - {id: mail, when: {tool: send_email}, action: require_approval}\n"
    settings = {"webhooks": [hook], "listen": {"admin_url": "https://admin.example"}}
    with Simulator() as sim, Proxy(sim, policies={"mail.yaml": rules}, settings=settings, env={"HOOK_SECRET": SECRET}) as proxy:
        got: list[bytes] = []

        def call() -> None:
            tool = {"type": "function", "function": {"name": "send_email", "parameters": {"type": "object"}}}
            words = 'mail [[sim:{"tool_calls": [{"name": "send_email", "arguments": {"to": "<b>ann</b>"}}]}]]'
            body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": words}], "tools": [tool]}
            got.append(post(f"{proxy.url}/v1/chat/completions", body, {"authorization": f"Bearer {proxy.key()}"}).body)

        thread = threading.Thread(target=call)
        thread.start()
        assert receiver.came.acquire(timeout=20)
        told = json.loads(receiver.got[0][1])
        assert (told["kind"], told["facts"]["what"], told["facts"]["agent"]) == ("approval", "send_email", "tester")
        link = told["facts"]["link"]
        assert link.startswith("https://admin.example/approve/")
        assert link in told["text"]
        path, _, token = link.removeprefix("https://admin.example").partition("?token=")
        page = get(f"{proxy.admin_url}{path}?token={token}")[1].decode()
        assert "&lt;b&gt;ann" in page
        assert "<b>" not in page
        assert not got, "looking decides nothing"
        form = {"content-type": "application/x-www-form-urlencoded", "host": "admin.example"}
        pressed = [post(f"{proxy.admin_url}{path}", f"token={token}&decision=approve&by=bob".encode(), form).status for _ in range(2)]
        assert pressed == [200, 403]
        thread.join(20)
        assert b"<b>ann</b>" in got[0]
        assert token not in proxy.log()
        assert token.encode() not in b"".join(f.read_bytes() for f in proxy.folder.glob("fleetgate.db*"))
