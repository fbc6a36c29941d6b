"""The edge: HTTP in, exchanges out.

Built on aiohttp's low-level server. It knows paths only as far as to find a codec; a path without one is refused as `unmetered_route`,
with a record like any other exchange. A client that goes away cancels its exchange.
"""

from __future__ import annotations

import asyncio
import io
import logging
import re
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from aiohttp import HttpVersion11, web
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict

from proxy.decoding import Decoder, Undecodable
from proxy.engine.exchange import Exchange, Runtime, new_id
from proxy.engine.ports import BodyTimeout, BodyTooLarge, ClientGone, Clock
from proxy.engine.run import Engine
from proxy.model import Deny, Reason
from proxy.wire.call import WireError
from proxy.wire.refusals import dialect, refuse
from proxy.wire.registry import find

log = logging.getLogger("fleetgate.server")
HEAD_S = 30.0
"""How long a new connection may take to send the head of its first request; later ones have the keep-alive time."""
CUT_S = 2.0
"""How long exchanges that were cut short at shutdown may take to say so."""
_PREFIX = re.compile(r"/agent/([^/]+)(/.*)")
Local = Callable[[Exchange], Awaitable[tuple[int, bytes] | Deny]]


class AioClient:
    """Implements the `Client` port on one aiohttp request."""

    __slots__ = ("_body_s", "_chunked", "_done", "_kept", "_pending", "_request")

    def __init__(self, request: web.BaseRequest, body_s: float) -> None:
        self._request, self._body_s = request, body_s
        self._kept = self._chunked = self._done = False
        self._pending = b""

    @property
    def response(self) -> web.StreamResponse:
        """What was sent, for the server's own bookkeeping; a reply that was not finished closes the connection."""
        return _KEPT if self._done and self._kept else _CLOSED

    async def read(self, limit: int) -> bytes:
        """Return the body, expanded. Raises as the port says, and WireError for an encoding that is not what it says."""
        request, content = self._request, self._request.content
        coding = ",".join(request.headers.getall("content-encoding", ()))
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > limit:
            raise BodyTooLarge
        if not content.is_eof() and request.headers.get("expect", "").lower() == "100-continue" and request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            if not coding and content.is_eof() and content.total_bytes <= limit:
                return content.read_nowait()
            decoder = None if coding.strip().lower() in ("", "identity") else Decoder(coding)
            async with asyncio.timeout(self._body_s):
                return await (self._gather(limit) if decoder is None else self._expand(decoder, limit))
        except TimeoutError:
            raise BodyTimeout from None
        except Undecodable as e:
            raise WireError("http", "", f"the body cannot be read: {e}") from None
        except (HttpProcessingError, web.RequestPayloadError) as e:
            raise WireError("http", "", f"the body cannot be read: {_first_line(e)}") from None
        except ConnectionError:
            raise ClientGone from None

    async def _gather(self, limit: int) -> bytes:
        parts: list[bytes] = []
        size = 0
        while chunk := await self._request.content.readany():
            size += len(chunk)
            if size > limit:
                raise BodyTooLarge
            parts.append(chunk)
        return b"".join(parts)

    async def _expand(self, decoder: Decoder, limit: int) -> bytes:
        """Return the body decoded. No step is long, and others have their turn in between: a hostile one costs nobody but its client."""
        whole = io.BytesIO()  # hands out its buffer without copying it
        sent = 0
        while piece := await self._request.content.readany():
            sent += len(piece)
            decoder.feed(piece)
            while step := decoder.step():
                if whole.tell() + len(step) > limit:
                    raise BodyTooLarge
                whole.write(step)
                await asyncio.sleep(0)
            if sent > limit:
                raise BodyTooLarge
        decoder.end()
        return whole.getvalue()

    async def send(self, status: int, headers: Sequence[tuple[str, str]], body: bytes) -> None:
        """Send a whole reply in one write."""
        request = self._request
        self._kept = request.keep_alive
        head = _head(status, headers, f"content-length: {len(body)}", self._kept)
        await self._write(head if request.method == "HEAD" else head + body)
        self._done = True

    async def start(self, status: int, headers: Sequence[tuple[str, str]]) -> None:
        """Begin a reply of unknown length; its head goes out with the first piece."""
        request = self._request
        self._chunked = request.version >= HttpVersion11
        self._kept = request.keep_alive and self._chunked
        framing = "transfer-encoding: chunked" if self._chunked else ""
        self._pending = _head(status, headers, framing, self._kept)

    async def write(self, data: bytes) -> None:
        """Send a piece, waiting while the client is slow."""
        if not data:
            return
        pending, self._pending = self._pending, b""
        await self._write(b"%b%x\r\n%b\r\n" % (pending, len(data), data) if self._chunked else pending + data)

    async def end(self) -> None:
        """Finish a reply that was begun."""
        pending, self._pending = self._pending, b""
        await self._write(pending + b"0\r\n\r\n" if self._chunked else pending)
        self._done = True

    async def _write(self, data: bytes) -> None:
        protocol = self._request.protocol
        transport = protocol.transport
        if transport is None or transport.is_closing():
            raise ClientGone
        transport.write(data)
        if protocol._paused:
            try:
                async with asyncio.timeout(self._body_s):
                    await protocol._drain_helper()
            except TimeoutError:
                transport.abort()
                raise ClientGone from None
            except ConnectionError:
                raise ClientGone from None


class _Connection(web.RequestHandler):
    """One client connection; what is not HTTP gets our own refusal, without an echo of its bytes anywhere (a key may be among them)."""

    __slots__ = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to listen, but not for ever: a client that never finishes its first request's head is let go."""
        super().connection_made(transport)
        self._loop.call_later(HEAD_S, self._let_go)

    def _let_go(self) -> None:
        if not self._request_count:
            self.force_close()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer for bytes that never became an exchange, or for a fault of ours outside one."""
        if status < 500:
            deny = Deny(Reason.MALFORMED_REQUEST, "This is not a well-formed HTTP/1.1 request.", rule="http", remedy="Correct the request.")
        else:
            log.error("a request failed outside any exchange", exc_info=exc)
            deny = Deny(Reason.INTERNAL, "Fleetgate failed while it handled this request.", rule="server", remedy="See the server log.")
        answer = refuse("openai", deny, new_id(time.time()))
        response = web.Response(status=answer.status, headers=CIMultiDict(answer.headers), body=answer.body)
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Log a fault, but not a body that the client broke: that is on its record already."""
        if not isinstance(kw.get("exc_info"), web.RequestPayloadError | HttpProcessingError):
            super().log_exception(*args, **kw)


class _Listener(web.Server):
    """aiohttp's low-level server with our connections."""

    def __call__(self) -> web.RequestHandler:
        """Return the protocol of a new connection."""
        return _Connection(self, loop=self._loop, **self._kwargs)


class Server:
    """Listens, and hands each request to the engine on the runtime snapshot of that moment.

    Args:
        runtime: returns the current snapshot.
        local: answers `GET /fleetgate/v1/me` for an exchange.
        body_s: the longest that a request body may take to arrive, and a client to take in a piece of a reply.
    """

    def __init__(self, engine: Engine, runtime: Callable[[], Runtime], local: Local, clock: Clock, body_s: float) -> None:
        self._engine, self._runtime, self._local, self._clock, self._body_s = engine, runtime, local, clock, body_s
        self._server: web.Server | None = None
        self._runner: web.ServerRunner | None = None

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None = None, *, shared: bool = False) -> int:
        """Listen and return the port; `shared` beside other processes on the same one. Raises OSError when the address is taken."""
        self._server = _Listener(
            self._handle,
            request_factory=_unbounded,
            handler_cancellation=True,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=75.0,
            read_bufsize=1 << 19,
            max_line_size=16_384,
            max_field_size=65_536,
        )
        self._runner = web.ServerRunner(self._server)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port, ssl_context=tls, backlog=1024, reuse_port=shared or None)
        await site.start()
        return int(self._runner.addresses[0][1])

    async def stop(self, drain_s: float) -> None:
        """Stop accepting, let running exchanges finish for at most `drain_s`, then close what is left."""
        if self._runner is None or self._server is None:
            return
        for site in list(self._runner.sites):
            await site.stop()
        self._server.pre_shutdown()
        if not await self._engine.idle(drain_s):
            self._engine.cut_short()
            await self._engine.idle(CUT_S)
        await self._server.shutdown(1.0)
        await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        client = AioClient(request, self._body_s)
        path, _, query = request._message.path.partition("?")
        match = _PREFIX.fullmatch(path) if path.startswith("/agent/") else None
        if match:
            path = match[2]
        codec = find(request.method, path, request.headers, query)
        ex = Exchange(self._runtime(), self._clock, client, codec.protocol if codec else dialect(path, request.headers))
        ex.method, ex.path, ex.query, ex.headers = request.method, path, query, request.headers
        ex.peer = request.remote or ""
        if match:
            ex.named_agent = unquote(match[1])
        if path == "/fleetgate/v1/me" and request.method == "GET":
            await self._answer(ex, client)
        elif codec is None:
            await self._engine.turn_away(ex, _unmetered(ex))
        else:
            ex.codec = codec
            await self._engine.handle(ex)
        return client.response

    async def _answer(self, ex: Exchange, client: AioClient) -> None:
        found = await self._local(ex)
        try:
            if isinstance(found, Deny):
                await self._engine.turn_away(ex, found)
            else:
                await client.send(found[0], [("content-type", "application/json"), ("x-fleetgate-request-id", ex.id)], found[1])
        except ClientGone:
            pass


def _unbounded(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
    """Return the request without aiohttp's own body limit: `AioClient.read` keeps ours."""
    return web.BaseRequest(message, payload, protocol, writer, task, protocol._loop, client_max_size=0)


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


class _Written(web.StreamResponse):
    """Stands for a reply whose bytes are out already."""

    def __init__(self, kept: bool) -> None:
        super().__init__()
        self._eof_sent, self._keep_alive = True, kept


_KEPT, _CLOSED = _Written(True), _Written(False)
_STATUS = {s.value: f"HTTP/1.1 {s.value} {s.phrase}" for s in HTTPStatus}


def _head(status: int, headers: Sequence[tuple[str, str]], framing: str, kept: bool) -> bytes:
    """Return the head of a reply. A value with a line break in it (a model's name is the client's text) is written as one line."""
    lines = [
        _STATUS.get(status) or f"HTTP/1.1 {status} ",
        *[f"{name}: {value}" for name, value in headers],
        f"date: {rfc822_formatted_time()}",
        f"server: fleetgate\r\nconnection: {'keep-alive' if kept else 'close'}",
    ]
    if framing:
        lines.append(framing)
    text = "\r\n".join(lines)
    if text.count("\n") != len(lines) or text.count("\r") != len(lines) or "\0" in text:
        safe = [(name, "".join(c if c.isprintable() else "?" for c in value)) for name, value in headers]
        return _head(status, safe, framing, kept)
    return text.encode("utf-8", "replace") + b"\r\n\r\n"


def _first_line(e: Exception) -> str:
    return (str(e).splitlines() or [type(e).__name__])[0][:200]
