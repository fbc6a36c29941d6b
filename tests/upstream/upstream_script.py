"""A scripted upstream: it plays exact bytes over real sockets, and remembers what it was asked.

    async with Upstream([b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nhi"]) as upstream:
        reply = await transport.send(ask(...))

Replies are given in order to requests, over however many connections; `CLOSE` after a reply ends its connection. A test that needs more
than that gives a `play`, which has the connection to itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar

import uvloop

from proxy.engine.ports import UpstreamError, UpstreamReply, UpstreamRequest
from proxy.model import Target
from proxy.upstream.base import Deadlines, Provider
from proxy.upstream.lean import LeanTransport
from proxy.upstream.proxies import DIRECT, Proxies
from proxy.upstream.steady import SteadyTransport
from proxy.upstream.transport import AioTransport

T = TypeVar("T")
AnyTransport = AioTransport | LeanTransport | SteadyTransport
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
CASES = ("aiohttp-uvloop", "lean-asyncio", "lean-uvloop")
LEAN = CASES[1:]
SURE_S = 20.0
"""How long a test waits for what must happen."""


def runner(case: str) -> asyncio.Runner:
    return asyncio.Runner(loop_factory=uvloop.new_event_loop if case.endswith("uvloop") else None)


def run(case: str, main: Coroutine[Any, Any, T]) -> T:
    """Run `main` on the loop of `case`, within `SURE_S`."""

    async def bounded() -> T:
        async with asyncio.timeout(SURE_S):
            return await main

    with runner(case) as it:
        return it.run(bounded())


@dataclass(slots=True)
class Asked:
    """One request as it came."""

    line: str
    headers: list[tuple[str, str]]
    body: bytes
    connection: int

    def get(self, name: str) -> list[str]:
        return [v for n, v in self.headers if n.lower() == name]


class Peer:
    """The upstream's side of one connection."""

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: list[Asked]) -> None:
        self.number, self.reader, self.writer, self._asked = number, reader, writer, asked

    async def head(self) -> Asked:
        """Read a request's head. Raises IncompleteReadError when the client closes instead."""
        text = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *rest = text[:-4].split("\r\n")
        headers = [(n, v.strip()) for n, _, v in (h.partition(":") for h in rest)]
        asked = Asked(line, headers, b"", self.number)
        self._asked.append(asked)
        return asked

    async def request(self) -> Asked:
        asked = await self.head()
        asked.body = await self.reader.readexactly(int((asked.get("content-length") or ["0"])[0]))
        return asked

    async def send(self, *pieces: bytes) -> None:
        """Send pieces, giving the other side a turn between two."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0)

    async def gone(self) -> bytes:
        """Wait until the client has closed; return what it sent until then."""
        try:
            return await self.reader.read()
        except ConnectionError:
            return b""

    def reset(self) -> None:
        """Break the connection off with a reset."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.writer.transport.abort()


Play = Callable[[Peer], Awaitable[None]]


@dataclass
class Upstream:
    """Plays `replies`, or `play` on each connection."""

    replies: Sequence[bytes | Sequence[bytes]] = ()
    play: Play | None = None
    close_after: bool = False
    host: str = "127.0.0.1"
    tls: ssl.SSLContext | None = None
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    closed: int = 0
    faults: list[BaseException] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        if self.port:
            return self
        self._next = iter(self.replies)
        self._tasks: set[asyncio.Task[None]] = set()
        self._quiet = asyncio.Condition()
        self._server = await asyncio.start_server(self._serve, self.host, 0, ssl=self.tls)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.close()
        if kind is not None:
            for task in self._tasks:
                task.cancel()
        while self._tasks:
            await asyncio.wait(set(self._tasks))
        if kind is None:
            assert self.faults == []

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        peer = Peer(self.connections, reader, writer, self.asked)
        self.connections += 1
        try:
            await (self.play or self._answer)(peer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()
            async with self._quiet:
                self.closed += 1
                self._quiet.notify_all()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        fault = None if task.cancelled() else task.exception()
        if fault is not None:
            self.faults.append(fault)

    async def _answer(self, peer: Peer) -> None:
        while True:
            await peer.request()
            reply = next(self._next)
            await peer.send(*([reply] if isinstance(reply, bytes) else reply))
            if self.close_after:
                return

    async def all_closed(self, count: int) -> None:
        """Wait until `count` connections have ended."""
        async with self._quiet:
            await self._quiet.wait_for(lambda: self.closed >= count)

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"


@contextlib.asynccontextmanager
async def client(
    case: str, url: str, waits: Deadlines | None = None, connections: int = 1000, proxies: Proxies = DIRECT, **more: Any
) -> Any:
    """A transport whose provider `p` is at `url`."""
    kind = AioTransport if case.startswith("aiohttp") else LeanTransport
    provider = Provider("p", {"openai": f"{url}/v1", "anthropic": url}, **{"api_key": "sk-secret", **more})
    transport = kind([provider], waits or Deadlines(), connections, proxies)
    try:
        yield transport
    finally:
        await transport.close()


def ask(
    body: bytes = b"{}", path: str = "/chat", method: str = "POST", headers: Sequence[tuple[str, str]] = (), protocol: str = "openai"
) -> UpstreamRequest:
    return UpstreamRequest(Target("p", "m", "m", protocol, None), method, path, headers, body, False)


async def whole(transport: AnyTransport, request: UpstreamRequest | None = None) -> tuple[int, bytes]:
    """Ask and read to the end."""
    reply: UpstreamReply = await transport.send(request or ask())
    try:
        return reply.status, await reply.read(1 << 26)
    finally:
        reply.close()


async def outcome(transport: AnyTransport, request: UpstreamRequest | None = None) -> tuple[int, bytes] | str:
    """The status and body, or the kind of error."""
    try:
        return await whole(transport, request)
    except UpstreamError as e:
        return e.kind


def chunked(*parts: bytes, trailers: bytes = b"") -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in parts) + b"0\r\n" + trailers + b"\r\n"
