"""The edge on real sockets, plain and in TLS, on both event loops: what clients read, also when they are still sending, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, cast

import pytest
import uvloop

from proxy.engine.exchange import Exchange, Runtime
from proxy.engine.ports import SystemClock
from proxy.engine.run import Engine
from proxy.model import Deny
from proxy.server import Server, edge

ME = b"GET /fleetgate/v1/me HTTP/1.1\r\nHost: x\r\n"
LOOPS = pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
Loop = Callable[[], asyncio.AbstractEventLoop]
Tls = tuple[ssl.SSLContext, ssl.SSLContext]


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    """The server's side and its client's."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not on PATH: apt-get install openssl")
    folder: Path = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*command, *names, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    return server, ssl.create_default_context(cafile=str(certificate))


async def me(_: Exchange) -> tuple[int, bytes] | Deny:
    return 200, b"{}"


@contextlib.asynccontextmanager
async def serving(
    local: Callable[[Exchange], Awaitable[tuple[int, bytes] | Deny]] = me, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[Server, int]]:
    def unused(ex: Exchange) -> Any:
        raise AssertionError("no exchange is settled here")

    server = Server(Engine(unused), lambda: cast(Runtime, None), local, SystemClock(), 5.0)
    port = await server.start("127.0.0.1", 0, tls)
    try:
        yield server, port
    finally:
        await server.stop(0)


def run(new_loop: Loop, work: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(asyncio.wait_for(work, 30))


async def replies(reader: asyncio.StreamReader, count: int) -> list[bytes]:
    return [await reader.readuntil(b"{}") for _ in range(count)]


@LOOPS
@pytest.mark.parametrize("secret", [False, True], ids=["plain", "tls"])
def test_one_connection_carries_many_requests_and_ends_with_what_is_none(new_loop: Loop, secret: bool, tls: Tls) -> None:
    async def work() -> None:
        async with serving(tls=tls[0] if secret else None) as (_, port):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=tls[1] if secret else None, server_hostname="localhost" if secret else None
            )
            writer.write(ME + b"\r\n" + ME + b"Content-Length: 3\r\n\r\nabc" + ME + b"Transfer-Encoding: chunked\r\n\r\n")
            found = await replies(reader, 3)
            writer.write(b"1\r\nx\r\n0\r\n\r\n" + ME + b"\r\n")
            found += await replies(reader, 1)
            assert all(reply.startswith(b"HTTP/1.1 200 OK\r\n") and b"connection: keep-alive" in reply for reply in found)
            writer.write(b"nonsense\r\n\r\n")
            assert b"malformed_request" in await reader.read()
            writer.close()

    run(new_loop, work())


@LOOPS
def test_a_reply_to_bytes_that_are_still_coming_is_read(new_loop: Loop) -> None:
    """The client sends more than all buffers hold before it looks: without a lingering close it would read a reset."""

    async def work() -> None:
        async with serving() as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"BREW /tea HTTP/1.1\r\nHost: x\r\n\r\n" + b"x" * (16 << 20))
            await writer.drain()
            assert (await reader.read()).startswith(b"HTTP/1.1 400")
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(ME + b"Content-Length: %d\r\n\r\n" % (16 << 20) + b"x" * (16 << 20) + ME + b"\r\n")
            await writer.drain()
            assert len(await replies(reader, 2)) == 2
            writer.close()

    run(new_loop, work())


@LOOPS
def test_it_stops_although_a_client_stays_and_an_answer_never_comes(new_loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "CLOSE_S", 0.05)
    asked, ended = asyncio.Event(), list[str]()

    async def never(ex: Exchange) -> tuple[int, bytes]:
        asked.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        raise AssertionError

    async def work() -> None:
        async with serving(never) as (_, port):
            idle, idle_writer = await asyncio.open_connection("127.0.0.1", port)
            busy, busy_writer = await asyncio.open_connection("127.0.0.1", port)
            busy_writer.write(ME + b"\r\n")
            await asked.wait()
        assert ended == ["cancelled"]
        assert await idle.read() == await busy.read() == b""
        idle_writer.close()
        busy_writer.close()
        with pytest.raises(OSError, match=r"."):
            await asyncio.open_connection("127.0.0.1", port)

    run(new_loop, work())


@LOOPS
def test_a_fault_outside_any_exchange_is_an_answer_without_a_trace(new_loop: Loop) -> None:
    async def fails(ex: Exchange) -> tuple[int, bytes]:
        raise ValueError("a secret")

    async def work() -> None:
        async with serving(fails) as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(ME + b"\r\n")
            reply = await reader.read()
            assert reply.startswith(b"HTTP/1.1 500")
            assert b'"internal"' in reply
            assert b"secret" not in reply
            writer.close()

    run(new_loop, work())


def test_a_server_that_never_started_stops() -> None:
    asyncio.run(Server(Engine(lambda ex: (_ for _ in ()).throw(AssertionError)), lambda: cast(Runtime, None), me, SystemClock(), 1).stop(0))
