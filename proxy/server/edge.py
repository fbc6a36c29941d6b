"""Where exchanges begin: it listens, finds the codec of a path, and hands each request to the engine on the snapshot of that moment.

It knows paths only as far as to find a codec; a path without one is refused as `unmetered_route`, with a record like any other exchange.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections.abc import Awaitable, Callable
from urllib.parse import unquote

from proxy.engine.exchange import Exchange, Runtime, new_id
from proxy.engine.ports import ClientGone, Clock
from proxy.engine.run import Engine
from proxy.model import Deny, Reason
from proxy.server import connection
from proxy.server.client import EdgeClient
from proxy.server.connection import Connection
from proxy.server.flow import Outbox
from proxy.server.reply import head_of
from proxy.wire.refusals import dialect, refuse
from proxy.wire.registry import find

CUT_S = 2.0
"""How long exchanges that were cut short at shutdown may take to say so."""
CLOSE_S = 1.0
"""How long connections may take to send their last bytes."""
_PREFIX = re.compile(r"/agent/([^/]+)(/.*)")
Local = Callable[[Exchange], Awaitable[tuple[int, bytes] | Deny]]


class Server:
    """Listens, and hands each request to the engine on the runtime snapshot of that moment.

    Args:
        runtime: returns the current snapshot.
        local: answers `GET /fleetgate/v1/me` for an exchange.
        body_s: the longest that a request body may take to arrive, and a client to take in a piece of a reply.
    """

    def __init__(self, engine: Engine, runtime: Callable[[], Runtime], local: Local, clock: Clock, body_s: float) -> None:
        self._engine, self._runtime, self._local, self._clock, self._body_s = engine, runtime, local, clock, body_s
        self._server: asyncio.Server | None = None
        self._open: set[Connection] = set()

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None = None, *, shared: bool = False) -> int:
        """Listen and return the port; `shared` beside other processes on the same one. Raises OSError when the address is taken."""
        loop = asyncio.get_running_loop()
        outbox = Outbox(loop)
        self._server = await loop.create_server(
            lambda: Connection(self._handle, _refusal, self._body_s, self._open, outbox),
            host,
            port,
            ssl=tls,
            ssl_handshake_timeout=None if tls is None else connection.HEAD_S,
            backlog=1024,
            reuse_port=shared or None,
        )
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self, drain_s: float) -> None:
        """Stop accepting, let running exchanges finish for at most `drain_s`, then close what is left."""
        if self._server is None:
            return
        self._server.close()
        for each in list(self._open):
            each.retire()
        if not await self._engine.idle(drain_s):
            self._engine.cut_short()
            await self._engine.idle(CUT_S)
        if not await self._closed():
            for each in list(self._open):
                each.abort()
            await self._closed()

    async def _closed(self) -> bool:
        """Return whether all connections have closed and their exchanges ended, after waiting for that at most `CLOSE_S`."""
        waits: list[asyncio.Future[None]] = [each.lost for each in self._open]
        waits += [each.task for each in self._open if each.task is not None]
        return not waits or not (await asyncio.wait(waits, timeout=CLOSE_S))[1]

    async def _handle(self, client: EdgeClient) -> None:
        head = client.head
        path, _, query = head.target.partition("?")
        match = _PREFIX.fullmatch(path) if path.startswith("/agent/") else None
        if match is not None:
            path = match[2]
        codec = find(head.method, path, head.headers, query)
        ex = Exchange(self._runtime(), self._clock, client, codec.protocol if codec else dialect(path, head.headers))
        ex.method, ex.path, ex.query, ex.headers, ex.peer = head.method, path, query, head.headers, client.peer
        if match is not None:
            ex.named_agent = unquote(match[1])
        if path == "/fleetgate/v1/me" and head.method == "GET":
            await self._answer(ex, client)
        elif codec is None:
            await self._engine.turn_away(ex, _unmetered(ex))
        else:
            ex.codec = codec
            await self._engine.handle(ex, client.task)

    async def _answer(self, ex: Exchange, client: EdgeClient) -> None:
        found = await self._local(ex)
        try:
            if isinstance(found, Deny):
                await self._engine.turn_away(ex, found)
            else:
                await client.send(found[0], [("content-type", "application/json"), ("x-fleetgate-request-id", ex.id)], found[1])
        except ClientGone:
            pass


def _refusal(fault: bool) -> bytes:
    """Return the reply to what is no request, or to one that failed outside any exchange."""
    if fault:
        deny = Deny(Reason.INTERNAL, "Fleetgate failed while it handled this request.", rule="server", remedy="See the server log.")
    else:
        deny = Deny(Reason.MALFORMED_REQUEST, "This is not a well-formed HTTP/1.1 request.", rule="http", remedy="Correct the request.")
    answer = refuse("openai", deny, new_id(time.time()))
    return head_of(answer.status, answer.headers, f"content-length: {len(answer.body)}", False) + answer.body


def _unmetered(ex: Exchange) -> Deny:
    """Return the refusal of a path that nobody meters."""
    if "websocket" in ex.headers.get("upgrade", "").lower():
        return Deny(
            Reason.UNMETERED_ROUTE,
            "Websockets are not metered, so they are refused.",
            rule="routes",
            remedy="Use plain HTTP requests; clients that try a websocket first fall back to them by themselves.",
        )
    return Deny(
        Reason.UNMETERED_ROUTE,
        f"{ex.method} {ex.path[:200]} is not a route that Fleetgate meters, so it is refused.",
        rule="routes",
        remedy="Use one of the documented paths (docs/http.md).",
    )
