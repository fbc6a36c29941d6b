"""The connections to one origin: the one used last is used first, at most so many at once, the others wait in line.

It decides who gets a connection and when a new one is made. It never sends a request twice: whether an upstream that broke off did any
work is not known here.

A slot stands for the right to one connection, open or being opened. It is freed when the connection is really closed, and goes to the
first in line then. Waiting for a slot and connecting share one deadline; missing it is a `connect` error, since nothing was sent.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiohappyeyeballs

from proxy.engine.ports import UpstreamError
from proxy.upstream.base import busy
from proxy.upstream.connection import Connection, Waits
from proxy.upstream.proxies import ForwardProxy
from proxy.upstream.tunnel import TunnelRefused, tunnel

NEXT_ADDRESS_S = 0.25
"""After this the next address of a name is tried beside the first. Source: RFC 8305 §5."""

ADDRESSES_S = 30.0
"""How long the addresses of a name are believed."""

AddressInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where connections lead. `tls` is None for plain TCP; with a `proxy` they go to that, and TLS through a tunnel that it opens."""

    provider: str
    host: str
    port: int
    tls: ssl.SSLContext | None
    proxy: ForwardProxy | None = None


class Pool:
    """Connections to `origin`.

    Args:
        size: the most connections, idle ones included.
        connect_s: seconds to wait for a slot and a connection.
    """

    def __init__(self, origin: Origin, size: int, connect_s: float, waits: Waits) -> None:
        self._origin, self._size, self._connect_s, self._waits = origin, size, connect_s, waits
        self._idle: dict[Connection, None] = {}
        self._alive: set[Connection] = set()
        self._line: deque[asyncio.Future[Connection | None]] = deque()
        self._slots = 0
        self._closed = False
        self._empty: asyncio.Event | None = None
        self._addresses: tuple[float, Sequence[AddressInfo]] = 0.0, ()

    def take(self) -> Connection | None:
        """Return an idle connection if there is one: the one used last. Whether it still is one, it finds out when it sends."""
        return self._idle.popitem()[0] if self._idle else None

    async def open(self) -> Connection:
        """Return a connection once one is free or made.

        Raises:
            UpstreamError: kind `connect`.
        """
        name, turned = self._origin.provider, False
        way = f" through the proxy of {self._origin.proxy.variable}" if self._origin.proxy is not None else ""
        try:
            async with asyncio.timeout(self._connect_s):
                found = await self._turn()
                turned = True
                return found or await self._connect()
        except TimeoutError:
            if not turned:
                raise busy(name, self._size, self._connect_s) from None
            raise UpstreamError("connect", f"no connection to {name}{way} within {self._connect_s:g} s") from None
        except (OSError, UnicodeError) as e:
            raise UpstreamError("connect", f"no connection to {name}{way} ({_cause(e)})") from None

    async def warm(self, count: int) -> None:
        """Open `count` connections, as far as there is room; what fails is left to the request that needs it."""
        room = max(0, min(count, self._size - self._slots))
        for found in await asyncio.gather(*[self.open() for _ in range(room)], return_exceptions=True):
            if isinstance(found, Connection):
                self._return(found)
            elif not isinstance(found, UpstreamError):
                raise found

    def give(self, connection: Connection) -> None:
        """Take `connection` back after its exchange; it goes to the first in line, or idles, or was closed."""
        if not connection.finish():
            return
        if self._closed:
            connection.abort()
        elif not self._hand_on(connection):
            self._idle[connection] = None

    async def close(self) -> None:
        """Close all connections, whoever uses them, and turn away those who wait for one."""
        self._closed = True
        while self._line:
            waiter = self._line.popleft()
            if not waiter.done():
                waiter.set_exception(ConnectionAbortedError("the pool was closed"))
        for connection in list(self._alive):
            connection.abort()
        if self._alive:
            self._empty = self._empty or asyncio.Event()
            await self._empty.wait()

    # --- slots -----------------------------------------------------------------------------------------------------------------

    async def _turn(self) -> Connection | None:
        """Return a connection that was handed on, or None with a slot to make one in."""
        if self._slots < self._size:
            self._slots += 1
            return None
        waiter = asyncio.get_running_loop().create_future()
        self._line.append(waiter)
        try:
            found: Connection | None = await waiter
        except BaseException:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._return(waiter.result())
            raise
        if found is None or found.usable():
            return found
        found.abort()
        return await self._turn()

    def _return(self, handed: Connection | None) -> None:
        """Take back what was handed to someone who had just given up."""
        if handed is None:
            self._free()
        elif not handed.usable():
            handed.abort()
        elif not self._hand_on(handed):
            self._idle[handed] = None

    def _hand_on(self, what: Connection | None) -> bool:
        while self._line:
            waiter = self._line.popleft()
            if not waiter.done():
                waiter.set_result(what)
                return True
        return False

    def _free(self) -> None:
        if self._closed or not self._hand_on(None):
            self._slots -= 1

    # --- connections -----------------------------------------------------------------------------------------------------------

    async def _connect(self) -> Connection:
        """Make a connection in the slot that the caller holds; without one the slot is freed."""
        try:
            connection = await self._dial()
        except BaseException:
            self._free()
            raise
        if connection.closed:
            self._free()
            raise ConnectionResetError("closed at once")
        self._alive.add(connection)
        if self._closed:
            connection.abort()
            raise ConnectionAbortedError("the pool was closed")
        return connection

    async def _dial(self) -> Connection:
        loop, origin = asyncio.get_running_loop(), self._origin
        try:
            sock = await aiohappyeyeballs.start_connection(await self._resolve(), happy_eyeballs_delay=NEXT_ADDRESS_S, loop=loop)
        except RuntimeError as e:  # uvloop, for a socket that was closed under it
            raise ConnectionAbortedError(str(e)) from None
        try:
            if origin.proxy is not None and origin.tls is not None:
                await tunnel(sock, origin.proxy, origin.host, origin.port)
            _, connection = await loop.create_connection(
                lambda: Connection(self._waits, self._gone, self._lost),
                sock=sock,
                ssl=origin.tls,
                server_hostname=origin.host if origin.tls is not None else None,
            )
        except BaseException:
            sock.close()
            raise
        return connection

    async def _resolve(self) -> Sequence[AddressInfo]:
        loop = asyncio.get_running_loop()
        expiry, found = self._addresses
        if not found or loop.time() >= expiry:
            to = self._origin.proxy or self._origin
            found = await loop.getaddrinfo(to.host, to.port, type=socket.SOCK_STREAM)
            self._addresses = loop.time() + ADDRESSES_S, found
        return found

    def _gone(self, connection: Connection) -> None:
        self._idle.pop(connection, None)

    def _lost(self, connection: Connection) -> None:
        if connection not in self._alive:
            return
        self._alive.remove(connection)
        self._free()
        if self._empty is not None and not self._alive:
            self._empty.set()


def _cause(e: Exception) -> str:
    """Return why there is no connection, without addresses: the text goes to clients."""
    if isinstance(e, ssl.SSLCertVerificationError):
        return e.verify_message
    if isinstance(e, TunnelRefused):
        return str(e)
    if isinstance(e, ssl.SSLError | socket.gaierror):
        return str(getattr(e, "reason", None) or e.strerror)
    errno = getattr(e, "errno", None)
    return os.strerror(errno) if errno else type(e).__name__
