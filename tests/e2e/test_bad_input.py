"""Hostile requests and broken clients over real sockets: each ends in the protocol's own error, one record, no hold, no trace of us."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import sys
import time
import urllib.request
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from serving import Proxy, Raw, Simulator, post

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
BUDGETS = {"budgets": [{"name": "all", "scope": {"fleet": "*"}, "limit": {"usd": 1000}, "window": "month"}]}


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with Simulator() as sim:
        yield sim


@pytest.fixture(scope="module")
def proxy(sim: Simulator) -> Iterator[Proxy]:
    with Proxy(sim, budgets=BUDGETS, settings={"limits": {"body_s": 1, "first_byte_s": 2, "idle_s": 1}}) as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def nothing_leaks(sim: Simulator, proxy: Proxy) -> Iterator[None]:
    """After each test: nothing runs, nothing is held, the server still works."""
    sim.reset()
    yield
    deadline = time.monotonic() + 10
    budgets: Any = ()
    while True:
        budgets = admin(proxy, "/api/v1/budgets")["budgets"]
        ready = admin(proxy, "/readyz")
        if not ready["inflight"] and all(float(b["held"]) == 0 for b in budgets):
            break
        assert time.monotonic() < deadline, (ready, budgets)
    assert ask(proxy, {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "still there?"}]}).status == 200


def admin(proxy: Proxy, path: str) -> Any:
    with urllib.request.urlopen(proxy.admin_url + path, timeout=10) as reply:
        return json.loads(reply.read())


def ask(proxy: Proxy, body: Any, path: str = CHAT, **headers: str) -> Raw:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return post(proxy.url + path, data, {"authorization": f"Bearer {proxy.key()}", "anthropic-version": "2023-06-01", **headers})


def reason(reply: Raw) -> str:
    body = json.loads(reply.body)
    assert body["error"]["message"]
    assert "Traceback" not in reply.body.decode()
    return str(body["fleetgate"]["reason"])


USER = {"role": "user", "content": "hi"}
BAD: list[tuple[str, bytes]] = [
    ("empty", b""),
    ("cut", b'{"model": "gpt-4o-mini", "messages": [{"role": "us'),
    ("not an object", b'["model"]'),
    ("a text", b'"hello"'),
    ("null", b"null"),
    ("no model", b'{"messages": [{"role": "user", "content": "hi"}]}'),
    ("model is a number", b'{"model": 7, "messages": [{"role": "user", "content": "hi"}]}'),
    ("messages is a text", b'{"model": "gpt-4o-mini", "messages": "hi"}'),
    ("messages holds a number", b'{"model": "gpt-4o-mini", "messages": [1]}'),
    ("stream is a text", b'{"model": "gpt-4o-mini", "stream": "yes", "messages": [{"role": "user", "content": "hi"}]}'),
    ("a negative ceiling", b'{"model": "gpt-4o-mini", "max_tokens": -5, "messages": [{"role": "user", "content": "hi"}]}'),
    ("a key twice", b'{"model": "gpt-4o-mini", "model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}'),
    ("a key twice, deep", b'{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi", "content": "ho"}]}'),
    ("an escaped key", b'{"mod\\u0065l": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}'),
    ("a look-alike key", b'{"model": "gpt-4o-mini", "Model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}'),
    ("not UTF-8", b'{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "\xff\xfe"}]}'),
    ("not UTF-8 elsewhere", b'{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}], "x": "\xc3"}'),
    ("NaN", b'{"model": "gpt-4o-mini", "temperature": NaN, "messages": [{"role": "user", "content": "hi"}]}'),
    ("deep", b'{"model": "gpt-4o-mini", "messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    (
        "deep in a message",
        b'{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": ' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}]}",
    ),
    ("rubbish behind", b'{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]} {"model": "gpt-4o"}'),
]


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
@pytest.mark.parametrize(("name", "body"), BAD, ids=[name for name, _ in BAD])
def test_a_body_that_is_not_the_protocols_is_refused(sim: Simulator, proxy: Proxy, path: str, name: str, body: bytes) -> None:
    reply = ask(proxy, body.replace(b"gpt-4o-mini", b"claude-sonnet-5") if path == MESSAGES else body, path)
    assert reply.status == 400, reply.body[:300]
    assert reason(reply) == "malformed_request"
    assert ("type" in json.loads(reply.body)) == (path == MESSAGES), "the protocol's own shape"
    assert sim.stats()["total"] == 0
    assert proxy.record(reply.headers["x-fleetgate-request-id"])["reason"] == "malformed_request"


def test_a_body_over_the_limit_is_refused_without_reading_it(sim: Simulator, proxy: Proxy) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), 10) as s:
        head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {proxy.key()}\r\nContent-Length: {40 << 20}\r\n\r\n"
        s.sendall(head.encode() + b'{"model"')
        reply = s.recv(65536)
    assert reply.startswith(b"HTTP/1.1 413")
    assert b"request_too_large" in reply
    assert sim.stats()["total"] == 0


def test_a_chunked_body_over_the_limit_is_refused(sim: Simulator, proxy: Proxy) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), 30) as s:
        s.sendall(f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {proxy.key()}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        piece = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
        with contextlib.suppress(ConnectionError):
            for _ in range(40):
                s.sendall(piece)
        assert s.recv(65536).startswith(b"HTTP/1.1 413")


def test_a_body_of_a_hundred_thousand_messages_is_refused_in_time(sim: Simulator, proxy: Proxy) -> None:
    began = time.monotonic()
    body = (
        b'{"model":"gpt-4o-mini","max_tokens":5,"messages":['
        + b",".join(b'{"role":"user","content":"m%d"}' % i for i in range(100_000))
        + b"]}"
    )
    reply = ask(proxy, body)
    assert (reply.status, reason(reply)) == (400, "malformed_request")
    assert "more than" in json.loads(reply.body)["error"]["message"]
    assert time.monotonic() - began < 5
    assert sim.stats()["total"] == 0


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_compressed_body_is_read_and_a_bomb_is_refused(sim: Simulator, proxy: Proxy, coding: str, pack: Any) -> None:
    good = {"model": "gpt-4o-mini", "max_tokens": 5, "messages": [USER]}
    assert ask(proxy, pack(json.dumps(good).encode()), **{"content-encoding": coding}).status == 200
    assert sim.calls()[-1]["body"]["messages"] == [USER]
    bomb = pack(b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"' + b" " * (200 << 20) + b'"}]}')
    reply = ask(proxy, bomb, **{"content-encoding": coding})
    assert (reply.status, reason(reply)) == (413, "request_too_large")


def test_an_encoding_that_lies_is_refused(sim: Simulator, proxy: Proxy) -> None:
    reply = ask(proxy, b'{"model":"gpt-4o-mini"}', **{"content-encoding": "gzip"})
    assert reply.status == 400, reply.body
    assert sim.stats()["total"] == 0


def test_a_length_that_lies_times_out(sim: Simulator, proxy: Proxy) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), 10) as s:
        s.sendall(f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {proxy.key()}\r\nContent-Length: 500\r\n\r\n".encode() + b"{")
        reply = s.recv(65536)
    assert reply.startswith(b"HTTP/1.1 400")
    assert b"did not arrive in time" in reply
    assert sim.stats()["total"] == 0


@pytest.mark.parametrize(
    "sent", [b"", b"POST /v1/chat/compl", b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 90\r\n\r\n{"]
)
def test_a_client_that_vanishes_early_costs_nothing(sim: Simulator, proxy: Proxy, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), 10) as s:
        s.sendall(sent)
    assert sim.stats()["total"] == 0


@pytest.mark.parametrize(
    "line", [b"NONSENSE\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: -4\r\n\r\n"]
)
def test_what_is_not_http_is_refused(proxy: Proxy, line: bytes) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), 10) as s:
        s.sendall(line)
        reply = s.recv(65536)
    assert b" 400 " in reply.split(b"\r\n")[0]
    assert b"Traceback" not in reply


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("POST", "/v1/responses/"), ("POST", "/v1/chat/completions/"), ("POST", "//v1/chat/completions"), ("GET", CHAT),
     ("POST", "/v1/chat%2Fcompletions"), ("DELETE", "/v1/models"), ("POST", "/v1/fine_tuning/jobs"), ("HEAD", "/api/hello"),
     ("POST", "/agent/tester/v1/files"), ("POST", "/v1/chat/completions;x"), ("POST", "/v1/../v1/chat/completions")],
)  # fmt: skip
def test_every_other_path_is_refused(sim: Simulator, proxy: Proxy, method: str, path: str) -> None:
    reply = post(proxy.url + path, b"{}", {"authorization": f"Bearer {proxy.key()}"}, method=method)
    assert reply.status == 404
    if method != "HEAD":
        assert reason(reply) == "unmetered_route"
    assert sim.stats()["total"] == 0
    assert proxy.record(reply.headers["x-fleetgate-request-id"])["reason"] == "unmetered_route"


@pytest.mark.parametrize(
    ("script", "status", "why"),
    [
        ({"html": True}, 502, "upstream_error"),
        ({"nothing": True}, 502, "upstream_error"),
        ({"half_chunk": True}, 502, "upstream_error"),
        ({"cut_after": 20}, 502, "upstream_error"),
        ({"hang": True}, 504, "upstream_timeout"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_an_upstream_that_misbehaves(sim: Simulator, proxy: Proxy, path: str, script: Any, status: int, why: str) -> None:
    model = "gpt-4o-mini" if path == CHAT else "claude-sonnet-5"
    body = {"model": model, "max_tokens": 20, "messages": [USER]}
    reply = ask(proxy, body, path, **{"x-sim-script": json.dumps(script)})
    assert (reply.status, reason(reply)) == (status, why)
    assert proxy.record(reply.headers["x-fleetgate-request-id"])["outcome"] == "upstream_error"


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
@pytest.mark.parametrize("script", [{"cut_after": 3}, {"stall_after": 3}, {"half_chunk": True}], ids=lambda s: next(iter(s)))
def test_a_stream_that_breaks_ends_as_the_protocol_says(proxy: Proxy, path: str, script: Any) -> None:
    model = "gpt-4o-mini" if path == CHAT else "claude-sonnet-5"
    body = {"model": model, "max_tokens": 50, "stream": True, "messages": [USER]}
    reply = ask(proxy, body, path, **{"x-sim-script": json.dumps(script | {"tokens": 30})})
    if reply.status == 200:
        assert reply.whole
        assert b'"error"' in reply.body
        assert reply.body.endswith(b"data: [DONE]\n\n") == (path == CHAT)
    record = proxy.record(reply.headers["x-fleetgate-request-id"])
    assert record["outcome"] == "upstream_error"
    assert record["cost"] > 0
    assert record["usage_exact"] is False


@pytest.mark.parametrize("status", [400, 403, 404, 429, 500, 503])
def test_a_providers_error_goes_through_and_costs_nothing(proxy: Proxy, status: int) -> None:
    reply = ask(
        proxy, {"model": "gpt-4o-mini", "messages": [USER]}, **{"x-sim-script": json.dumps({"status": status, "message": "theirs"})}
    )
    assert reply.status == status
    assert json.loads(reply.body)["error"]["message"] == "theirs"
    record = proxy.record(reply.headers["x-fleetgate-request-id"])
    assert (record["cost"], record["upstream_status"]) == (0, status)


@pytest.mark.parametrize("read", [0, 200, 1500])
@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_a_client_that_hangs_up_closes_the_upstream_and_pays_for_what_was_made(sim: Simulator, proxy: Proxy, path: str, read: int) -> None:
    model = "gpt-4o-mini" if path == CHAT else "claude-sonnet-5"
    script = json.dumps({"tokens": 2000, "chunk_ms": 5})
    body = json.dumps({"model": model, "max_tokens": 2000, "stream": True, "messages": [USER]}).encode()
    with socket.create_connection(("127.0.0.1", proxy.port), 10) as s:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {proxy.key()}\r\nAnthropic-Version: 2023-06-01\r\n"
        s.sendall(f"{head}x-sim-script: {script}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        got = b""
        while len(got) < max(read, 1):
            got += s.recv(4096)
    call = sim.calls()[-1]
    assert call["aborted"]
    request_id = got.split(b"x-fleetgate-request-id: ")[1].split(b"\r\n")[0].decode()
    record = proxy.record(request_id)
    assert record["outcome"] == "client_gone"
    assert record["output_tokens"] >= call["output_tokens"], "never less than the provider generated"
    assert record["output_tokens"] < 2000, "and not the whole ceiling"


def test_a_buffered_client_that_hangs_up_closes_the_upstream(sim: Simulator, proxy: Proxy) -> None:
    body = json.dumps({"model": "gpt-4o-mini", "max_tokens": 20, "messages": [USER]}).encode()
    script = json.dumps({"delay_ms": 1500})
    with socket.create_connection(("127.0.0.1", proxy.port), 10) as s:
        head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {proxy.key()}\r\nAnthropic-Version: 2023-06-01\r\n"
        s.sendall(f"{head}x-sim-script: {script}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        deadline = time.monotonic() + 10
        while not sim.stats()["running"]:
            assert time.monotonic() < deadline
    assert sim.calls()[-1]["aborted"]


def test_a_client_that_stops_reading_is_let_go(sim: Simulator, proxy: Proxy) -> None:
    body = json.dumps({"model": "gpt-4o-mini", "max_tokens": 200_000, "stream": True, "messages": [USER]}).encode()
    script = json.dumps({"tokens": 200_000})
    with socket.create_connection(("127.0.0.1", proxy.port), 10) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {proxy.key()}\r\nContent-Type: application/json\r\n"
        s.sendall(f"{head}x-sim-script: {script}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        request_id = s.recv(2048).split(b"x-fleetgate-request-id: ")[1].split(b"\r\n")[0].decode()
        record = proxy.record(request_id)
    assert record["outcome"] == "client_gone"
    assert sim.calls()[-1]["aborted"]
