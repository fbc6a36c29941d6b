"""The lean transport: HTTP/1.1 straight on asyncio's protocols, for a fraction of what a general client costs a request.

`request` writes a head, `pool` finds a connection, `connection` asks, `http1` reads the response, and a
compression that nobody asked for is undone. Every wait has a deadline; no redirects, no cookies,
and no forward proxy but those it is given.

A connection that broke before a byte of the reply came is reported as cut, not retried: the provider may have done the work. Only a
connection that could not be made is known to have cost nothing.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Mapping

from proxy.decoding import Decoder, Undecodable
from proxy.engine.ports import Take, UpstreamError, UpstreamRequest
from proxy.upstream.base import Deadlines, Provider, refused
from proxy.upstream.coded import decoded, decoder_of, undecodable
from proxy.upstream.connection import Connection, Waits
from proxy.upstream.http1 import Head
from proxy.upstream.pool import Origin, Pool
from proxy.upstream.proxies import DIRECT, Proxies
from proxy.upstream.request import Endpoint
from proxy.upstream.transport import LOCAL_KEEPALIVE_S, REMOTE_KEEPALIVE_S


class LeanTransport:
    """Implements the `Transport` port.

    Args:
        providers: the upstreams.
        deadlines: of those that have none of their own.
        connections: the most connections to one host of one provider.
        proxies: the forward proxies to go through.
    """

    def __init__(self, providers: Iterable[Provider], deadlines: Deadlines, connections: int = 1000, proxies: Proxies = DIRECT) -> None:
        self._providers = {p.name: p for p in providers}
        self._deadlines, self._connections, self._proxies = deadlines, connections, proxies
        self._ways: dict[tuple[str, str], tuple[Endpoint, Pool]] = {}
        self._pools: dict[tuple[str, str, int, bool], Pool] = {}
        self._tls: ssl.SSLContext | None = None
        self._active = 0
        self._idle: asyncio.Event | None = None

    async def send(self, request: UpstreamRequest) -> LeanReply:
        """Return the reply to `request` once its head is here. Raises UpstreamError."""
        target = request.target
        endpoint, pool = self._ways.get((target.provider, target.protocol)) or self._way(target.provider, target.protocol)
        request.idle = True
        head = endpoint.head(request)
        self._active += 1
        try:
            connection, found = await self._ask(pool, request, head)
            if found.status == 407 and endpoint.proxied:
                connection.abort()
                raise refused(target.provider)
            return LeanReply(found, connection, pool, self._done)
        except BaseException:
            self._done()
            raise

    async def _ask(self, pool: Pool, request: UpstreamRequest, head: bytes) -> tuple[Connection, Head]:
        """Return what answers, and the head of its answer. One of the pool that turns out to be closed before anything left is replaced."""
        while True:
            kept = pool.take()
            connection = kept or await pool.open()
            request.idle = False
            try:
                return connection, await connection.ask(head, request.body, request.method == "HEAD")
            except BaseException as e:
                request.idle = connection.unsent
                if kept is None or not (connection.unsent and isinstance(e, UpstreamError)):
                    raise

    def _done(self) -> None:
        self._active -= 1
        if self._idle is not None and not self._active:
            self._idle.set()

    def _way(self, name: str, protocol: str) -> tuple[Endpoint, Pool]:
        provider = self._providers[name]
        wait = provider.deadlines or self._deadlines
        proxy = self._proxies.of(provider.base_urls[protocol])
        endpoint = Endpoint(provider, protocol, proxy)
        host, port, tls = endpoint.origin
        pool = self._pools.get((name, host, port, tls))
        if pool is None:
            waits = Waits(wait.first_byte_s, wait.idle_s, LOCAL_KEEPALIVE_S if provider.local else REMOTE_KEEPALIVE_S, wait.total_s)
            origin = Origin(name, host, port, self._context() if tls else None, proxy)
            pool = self._pools[name, host, port, tls] = Pool(origin, provider.connections or self._connections, wait.connect_s, waits)
        way = self._ways[name, protocol] = (endpoint, pool)
        return way

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls

    async def warm(self) -> None:
        """Open the connections that providers want ahead. What cannot be opened is left to the request that needs it."""
        wanted = [p for p in self._providers.values() if p.warm]
        pools = {self._way(p.name, protocol)[1]: p.warm for p in wanted for protocol in p.base_urls}
        await asyncio.gather(*[pool.warm(count) for pool, count in pools.items()])

    async def retire(self) -> None:
        """Close every connection once nobody uses one: for a transport that a reload has replaced."""
        self._idle = asyncio.Event()
        if self._active:
            await self._idle.wait()
        await self.close()

    async def close(self) -> None:
        """Close every connection. Replies that are still being read break off; a later `send` connects anew."""
        pools, self._pools, self._ways = list(self._pools.values()), {}, {}
        for pool in pools:
            await pool.close()


class LeanReply:
    """A reply whose head has arrived; see `ports.UpstreamReply`."""

    __slots__ = ("_connection", "_decoder", "_done", "_ended", "_pool", "headers", "status")

    def __init__(self, head: Head, connection: Connection, pool: Pool, done: Callable[[], None]) -> None:
        """Raises UpstreamError, and closes the connection, when the body's encoding is unknown."""
        self.status = head.status
        self.headers: Mapping[str, str] = head.headers
        self._connection: Connection | None = connection
        self._pool, self._done, self._ended = pool, done, False
        self._decoder: Decoder | None = None
        if "content-encoding" in head.headers:
            try:
                self._decoder = decoder_of(head.headers, self.status)
            except UpstreamError:
                connection.abort()
                raise

    async def read(self, limit: int) -> bytes:
        """Return the whole body. Raises UpstreamError when it is cut, late or over `limit`."""
        parts: list[bytes] = []
        size = 0
        while piece := await self._piece():
            size += len(piece)
            if size > limit:
                raise UpstreamError("too_large", f"the answer is over {limit >> 20} MiB", self.status)
            parts.append(piece)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def chunks(self, take: Take | None = None) -> AsyncIterator[bytes]:
        """Yield the body as it arrives: each time all that came since. Raises UpstreamError when it is cut or late."""
        while piece := await self._piece(take):
            yield piece

    def close(self) -> None:
        """Give the connection back if the whole body has arrived, else close it at once."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.give(connection)
            self._done()

    async def _piece(self, take: Take | None = None) -> bytes:
        connection = self._connection
        if self._ended:
            return b""
        if connection is None:
            raise UpstreamError("cut", "the answer was closed", self.status)
        try:
            piece = await connection.piece(take) if self._decoder is None else await self._decoded(self._decoder, connection)
        except UpstreamError as e:
            e.status = self.status
            raise
        if not piece:
            self._ended = True
        return piece

    async def _decoded(self, decoder: Decoder, connection: Connection) -> bytes:
        try:
            return await decoded(decoder, connection.piece)
        except Undecodable as e:
            connection.abort()
            raise undecodable(e, self.status) from None
