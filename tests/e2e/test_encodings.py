"""Compressed request bodies over real sockets: read in every coding that clients use, bounded while they are expanded, never a hang."""

from __future__ import annotations

import gzip
import json
import os
import socket
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import brotli
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from serving import Proxy, Raw, Simulator, post

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CHAT = "/v1/chat/completions"
LIMIT_MB = 8
GOOD = json.dumps({"model": "gpt-4o-mini", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}).encode()


def halves(pack: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Two members, one after the other."""
    return lambda data: pack(data[: len(data) // 2]) + pack(data[len(data) // 2 :])


PACKS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "gzip in capitals": ("GZIP", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "raw deflate": ("deflate", lambda data: zlib.compress(data, wbits=-15)),
    "br": ("br", brotli.compress),
    "zstd": ("zstd", zstd.compress),
    "two gzip members": ("gzip", halves(gzip.compress)),
    "two zstd frames": ("zstd", halves(zstd.compress)),
    "identity": ("identity", bytes),
}
ALONE = ("gzip", "deflate", "br", "zstd")
every = pytest.mark.parametrize("coding", ALONE)


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with Simulator() as sim:
        yield sim


@pytest.fixture(scope="module")
def proxy(sim: Simulator) -> Iterator[Proxy]:
    with Proxy(sim, settings={"listen": {"max_body_mb": LIMIT_MB}, "limits": {"body_s": 5}}) as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def fresh(sim: Simulator) -> None:
    sim.reset()


def ask(proxy: Proxy, body: bytes, coding: str) -> Raw:
    return post(proxy.url + CHAT, body, {"authorization": f"Bearer {proxy.key()}", "content-encoding": coding})


def told(reply: Raw) -> tuple[int, str, str]:
    body = json.loads(reply.body)
    return reply.status, body["fleetgate"]["reason"], body["error"]["message"]


@pytest.mark.parametrize("name", PACKS)
def test_what_goes_upstream_is_the_expanded_body(sim: Simulator, proxy: Proxy, name: str) -> None:
    coding, pack = PACKS[name]
    assert ask(proxy, pack(GOOD), coding).status == 200
    call = sim.calls()[0]
    assert json.loads(GOOD).items() <= call["body"].items()
    assert call["body_bytes"] >= len(GOOD)
    assert "content-encoding" not in {k.lower() for k in call["headers"]}
    record = proxy.records(1)[-1]
    assert record["bytes_in"] == len(GOOD), "the size that counts is the expanded one"


def padded(size: int) -> bytes:
    """A chat request of `size` bytes."""
    head, tail = b'{"model":"gpt-4o-mini","max_tokens":5,"messages":[{"role":"user","content":"', b'"}]}'
    return head + b"hello " * ((size - len(head) - len(tail)) // 6) + b" " * ((size - len(head) - len(tail)) % 6) + tail


@every
def test_the_bound_is_on_the_expanded_size_to_the_byte(sim: Simulator, proxy: Proxy, coding: str) -> None:
    pack = PACKS[coding][1]
    assert ask(proxy, pack(padded(LIMIT_MB << 20)), coding).status == 200
    sim.reset()
    assert told(ask(proxy, pack(padded((LIMIT_MB << 20) + 1)), coding))[:2] == (413, "request_too_large")
    assert sim.stats()["total"] == 0


@every
def test_a_bomb_costs_bounded_memory_and_time(sim: Simulator, proxy: Proxy, coding: str) -> None:
    """Ten megabytes of zeros packed a thousand to one and more: the reader stops at its bound."""
    ask(proxy, GOOD, "identity")
    sim.reset()
    member = PACKS[coding][1](b"\0" * (64 << 20))
    bomb = member * max(1, (6 << 20) // len(member)) if coding in ("gzip", "zstd") else member
    before, cpu = peak_mb(proxy), cpu_s(proxy)
    for _ in range(3):
        assert told(ask(proxy, bomb, coding))[:2] == (413, "request_too_large")
    assert peak_mb(proxy) - before < 6 * LIMIT_MB
    assert cpu_s(proxy) - cpu < 5, "what is behind the bound is not expanded"
    assert sim.stats()["total"] == 0


def pid(proxy: Proxy) -> int:
    return proxy._process.pid


def peak_mb(proxy: Proxy) -> float:
    """The most memory that the server ever held."""
    path = Path(f"/proc/{pid(proxy)}/status")
    if not path.exists():
        pytest.skip("the peak of a process's memory is read from /proc, which this system does not have")
    line = next(line for line in path.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def cpu_s(proxy: Proxy) -> float:
    """The processor time that the server used."""
    fields = Path(f"/proc/{pid(proxy)}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wide() -> bytes:
    """A zstd frame that asks its reader to remember 128 MiB."""
    made = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 27})
    return made.compress(GOOD, made.FLUSH_BLOCK) + made.flush()


CORRUPT: dict[str, tuple[str, bytes]] = {
    **{f"{c} cut": (c, PACKS[c][1](GOOD * 20)[:-3]) for c in ALONE},
    **{f"{c} of nothing of the kind": (c, b"\xff\xfe" + GOOD) for c in ALONE},
    **{f"{c} with more behind": (c, PACKS[c][1](GOOD) + b"{}") for c in ALONE},
    "gzip with a wrong sum": ("gzip", gzip.compress(GOOD)[:-8] + b"\0" * 8),
    "members without end": ("gzip", gzip.compress(b"") * 100_000),
    "a window of 128 MiB": ("zstd", wide()),
}


@pytest.mark.parametrize("name", CORRUPT)
def test_a_broken_stream_is_malformed(sim: Simulator, proxy: Proxy, name: str) -> None:
    coding, body = CORRUPT[name]
    began = time.monotonic()
    status, reason, message = told(ask(proxy, body, coding))
    assert (status, reason) == (400, "malformed_request")
    assert "the body cannot be read" in message
    assert time.monotonic() - began < 10
    assert sim.stats()["total"] == 0


@pytest.mark.parametrize("coding", ["compress", "gzip, gzip", "br, zstd", "gzip;q=1", "aes128gcm"])
def test_an_unknown_or_double_encoding_is_named(sim: Simulator, proxy: Proxy, coding: str) -> None:
    status, reason, message = told(ask(proxy, gzip.compress(gzip.compress(GOOD)), coding))
    assert (status, reason) == (400, "malformed_request")
    assert "gzip, deflate, br and zstd" in message
    assert sim.stats()["total"] == 0


def test_what_a_refused_body_leaves_behind_is_no_next_request(sim: Simulator, proxy: Proxy) -> None:
    """The connection is closed or the rest is read: it is never taken for another request."""
    inner = b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 0\r\n\r\n"
    assert told(ask(proxy, inner * 50_000, "compress"))[0] == 400
    assert sim.stats()["total"] == 0


def test_a_compressed_body_that_stalls_times_out_and_one_that_leaves_costs_nothing(sim: Simulator, proxy: Proxy) -> None:
    body = gzip.compress(GOOD)
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {proxy.key()}\r\nContent-Encoding: gzip\r\n"
    begun = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:-9]
    with socket.create_connection(("127.0.0.1", proxy.port), 20) as s:
        s.sendall(begun)
    with socket.create_connection(("127.0.0.1", proxy.port), 20) as s:
        s.sendall(begun)
        reply = s.recv(65536)
    assert reply.startswith(b"HTTP/1.1 400")
    assert b"did not arrive in time" in reply
    assert {record["outcome"] for record in proxy.records(2)[-2:]} == {"client_gone", "denied"}
    assert sim.stats()["total"] == 0


def test_a_compressed_body_in_chunks_one_byte_each(sim: Simulator, proxy: Proxy) -> None:
    body = zstd.compress(GOOD)
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {proxy.key()}\r\nContent-Encoding: zstd\r\n"
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    with socket.create_connection(("127.0.0.1", proxy.port), 20) as s:
        s.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunks + b"0\r\n\r\n")
        assert s.recv(65536).startswith(b"HTTP/1.1 200")
    assert sim.calls()[0]["body"]["model"] == "gpt-4o-mini"


@every
def test_an_anthropic_client_may_compress_too(sim: Simulator, proxy: Proxy, coding: str) -> None:
    body: dict[str, Any] = {"model": "claude-sonnet-4-5", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
    packed = PACKS[coding][1](json.dumps(body).encode())
    headers = {"x-api-key": proxy.key(), "anthropic-version": "2023-06-01", "content-encoding": coding}
    assert post(proxy.url + "/v1/messages", packed, headers).status == 200
    assert sim.calls()[0]["body"] == body
