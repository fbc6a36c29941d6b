"""Every fault that a script can ask for, seen from a client that has no library between itself and the bytes."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import socket
import time
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from serving import Raw, Simulator, post

PATHS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]},
    "/v1/responses": {"model": "gpt-4o", "input": "hi"},
    "/v1/completions": {"model": "gpt-3.5-turbo-instruct", "prompt": "hi", "max_tokens": 9000},
    "/v1/messages": {"model": "claude-sonnet-5", "max_tokens": 9000, "messages": [{"role": "user", "content": "hi"}]},
}


@pytest.fixture(scope="module")
def running() -> Iterator[Simulator]:
    with Simulator() as sim:
        yield sim


@pytest.fixture
def sim(running: Simulator) -> Simulator:
    running.reset()
    return running


@pytest.fixture(params=PATHS)
def path(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def ask(sim: Simulator, path: str, *, stream: bool = False, **wishes: Any) -> Raw:
    headers = {"anthropic-version": "2023-06-01", "x-sim-script": json.dumps(wishes)}
    return post(f"{sim.url}{path}", {**PATHS[path], "stream": stream}, headers)


def test_a_stream_cut_after_so_many_events(sim: Simulator, path: str) -> None:
    whole, cut = ask(sim, path, stream=True, tokens=20), ask(sim, path, stream=True, tokens=20, cut_after=4)
    assert (whole.whole, cut.whole) == (True, False)
    assert cut.body == b"\n\n".join(whole.body.split(b"\n\n")[:4]) + b"\n\n"
    first, second = sim.calls()
    assert (first["cut"], second["cut"], second["events"], second["aborted"]) == (False, True, 4, False)


def test_a_body_cut_after_so_many_bytes(sim: Simulator, path: str) -> None:
    whole, cut = ask(sim, path), ask(sim, path, cut_after=17)
    assert (cut.whole, cut.body) == (False, whole.body[:17])
    assert cut.headers["content-length"] == str(len(whole.body))
    assert sim.calls()[1]["output_tokens"] == 0


def test_a_cut_beyond_the_end_is_none(sim: Simulator, path: str) -> None:
    assert ask(sim, path, cut_after=100_000).whole
    assert ask(sim, path, stream=True, cut_after=100_000).whole


@pytest.mark.parametrize("half", [2, True, 0])
def test_half_a_chunk(sim: Simulator, path: str, half: int | bool) -> None:
    whole, broken = ask(sim, path, stream=True), ask(sim, path, stream=True, half_chunk=half)
    came = b"".join(block + b"\n\n" for block in whole.body.split(b"\n\n")[: int(half)])
    assert not broken.whole
    assert broken.body.startswith(came)
    assert whole.body.startswith(broken.body)
    assert len(came) < len(broken.body) < len(whole.body)


def test_half_a_chunk_of_a_buffered_body(sim: Simulator, path: str) -> None:
    whole, broken = ask(sim, path), ask(sim, path, half_chunk=True)
    assert (broken.whole, broken.body) == (False, whole.body[: len(whole.body) // 2])
    assert broken.headers["transfer-encoding"] == "chunked"


def test_nothing_at_all(sim: Simulator, path: str) -> None:
    with pytest.raises(http.client.RemoteDisconnected):
        ask(sim, path, nothing=True)
    (call,) = sim.calls()
    assert (call["status"], call["cut"]) == (0, True)


def test_an_html_page(sim: Simulator, path: str) -> None:
    reply = ask(sim, path, html=True)
    assert (reply.status, reply.headers["content-type"]) == (502, "text/html")
    assert reply.body.startswith(b"<html>")


def test_gzip(sim: Simulator, path: str) -> None:
    plain, packed = ask(sim, path, tokens=50), ask(sim, path, tokens=50, gzip=True)
    assert gzip.decompress(packed.body) == plain.body
    plain, packed = ask(sim, path, tokens=50, stream=True), ask(sim, path, tokens=50, stream=True, gzip=True)
    assert packed.headers["content-encoding"] == "gzip"
    assert zlib.decompress(packed.body, wbits=31) == plain.body


def test_an_error_in_the_middle(sim: Simulator, path: str) -> None:
    whole = ask(sim, path, stream=True, tokens=20)
    failed = ask(sim, path, stream=True, tokens=20, error_after=3, message="that was it")
    came = b"".join(block + b"\n\n" for block in whole.body.split(b"\n\n")[:3])
    assert failed.whole
    assert failed.body.startswith(came)
    assert b"that was it" in failed.body.removeprefix(came)


def test_waits_are_kept(sim: Simulator, path: str) -> None:
    began = time.monotonic()
    ask(sim, path, stream=True, tokens=4, delay_ms=40, first_byte_ms=40, chunk_ms=10)
    ask(sim, path, delay_ms=40, first_byte_ms=40)
    assert time.monotonic() - began >= 0.2


def _open(sim: Simulator, path: str, **wishes: Any) -> socket.socket:
    """Send a request by hand and return the open socket."""
    body = json.dumps({**PATHS[path], "stream": True}).encode()
    wish = json.dumps(wishes)
    head = f"POST {path} HTTP/1.1\r\nhost: sim\r\nanthropic-version: 1\r\nx-sim-script: {wish}\r\ncontent-length: {len(body)}\r\n\r\n"
    opened = socket.create_connection(("127.0.0.1", sim.port), timeout=10)
    opened.sendall(head.encode() + body)
    return opened


def _arrived(sim: Simulator) -> None:
    """Wait until the simulator works on one call."""
    deadline = time.monotonic() + 10
    while sim.stats()["running"] != 1:
        assert time.monotonic() < deadline


def test_a_hang_ends_when_the_client_goes(sim: Simulator, path: str) -> None:
    with contextlib.closing(_open(sim, path, hang=True)) as opened:
        _arrived(sim)
        opened.settimeout(0.05)
        with pytest.raises(TimeoutError):
            opened.recv(1)
    (call,) = sim.calls()
    assert (call["status"], call["aborted"], call["done"]) == (0, True, True)


@pytest.mark.parametrize("after", [0, 2])
def test_a_stall_sends_what_it_says_and_no_more(sim: Simulator, path: str, after: int) -> None:
    with contextlib.closing(_open(sim, path, stall_after=after, tokens=9)) as opened:
        got = b""
        opened.settimeout(0.3)
        with contextlib.suppress(TimeoutError):
            while piece := opened.recv(65536):
                got += piece
    assert got.startswith(b"HTTP/1.1 200")
    assert got.count(b"data: ") == after
    (call,) = sim.calls()
    assert (call["aborted"], call["events"]) == (True, after)


def test_a_client_that_leaves_is_noticed_at_once(sim: Simulator, path: str) -> None:
    with contextlib.closing(_open(sim, path, tokens=8000, chunk_ms=5)) as opened:
        assert opened.recv(10)
    (call,) = sim.calls()
    assert call["aborted"]
    assert call["output_tokens"] < 4000
