"""The aiohttp transport: one connection pool per provider, every wait with a deadline, no redirects, no cookies.

A connection that broke before a byte of the reply came is reported as cut, not retried: the provider may have done the work. Only a
connection that could not be made is known to have cost nothing.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Mapping

import aiohttp
from aiohttp import payload
from multidict import CIMultiDict
from yarl import URL

from proxy.decoding import Decoder, Undecodable
from proxy.engine.ports import Take, UpstreamError, UpstreamRequest
from proxy.upstream.base import Deadlines, Provider, busy, located, refused
from proxy.upstream.coded import decoded, decoder_of, undecodable
from proxy.upstream.proxies import DIRECT, ForwardProxy, Proxies

LOCAL_KEEPALIVE_S = 4.0
"""Below the five seconds after which uvicorn and Node close an idle connection, so that we rarely write into a closing one."""
REMOTE_KEEPALIVE_S = 55.0


class _Body(payload.BytesPayload):
    """A request body of any size as one write: it is in memory already, so aiohttp's advice to stream a file does not apply."""

    def __init__(self, value: bytes) -> None:
        payload.Payload.__init__(self, value, content_type="application/json")
        self._size = len(value)


class AioTransport:
    """Implements the `Transport` port on aiohttp's client.

    Args:
        providers: the upstreams.
        deadlines, connections: of those that have none of their own; connections are the most connections to one provider.
        proxies: the forward proxies to go through.
    """

    def __init__(self, providers: Iterable[Provider], deadlines: Deadlines, connections: int = 1000, proxies: Proxies = DIRECT) -> None:
        self._providers = {p.name: p for p in providers}
        self._deadlines, self._connections, self._proxies = deadlines, connections, proxies
        self._sessions: dict[str, aiohttp.ClientSession] = {}
        self._urls: dict[tuple[str, str, str, str], URL] = {}
        self._fixed: dict[tuple[str, str], tuple[tuple[str, str], ...]] = {}
        self._ways: dict[tuple[str, str], ForwardProxy | None] = {}
        self._active = 0
        self._idle: asyncio.Event | None = None

    async def send(self, request: UpstreamRequest) -> AioReply:
        """Return the reply to `request` once its head is here. Raises UpstreamError."""
        name = request.target.provider
        session, wait = self._sessions.get(name) or self._open(name), self._providers[name].deadlines or self._deadlines
        due = asyncio.get_running_loop().time() + wait.total_s
        self._active += 1
        request.idle = False
        try:
            response = await self._ask(session, request, wait, due)
            if response.status == 407 and self._plain(request) is not None:
                response.close()
                raise refused(name)
            return AioReply(response, wait, due, self._done)
        except BaseException:
            self._done()
            raise

    async def _ask(self, session: aiohttp.ClientSession, request: UpstreamRequest, wait: Deadlines, due: float) -> aiohttp.ClientResponse:
        target, proxy = request.target, self._way(request)
        way = f" through the proxy of {proxy.variable}" if proxy is not None else ""
        try:
            return await session.request(
                request.method,
                self._url(request),
                data=_Body(request.body) if request.body else None,
                headers=self._headers(request),
                allow_redirects=False,
                proxy=URL.build(scheme="http", host=proxy.host, port=proxy.port) if proxy is not None else None,
                proxy_headers=proxy.headers() if proxy is not None else None,
            )
        except aiohttp.ClientConnectorError as e:
            raise UpstreamError("connect", f"no connection to {target.provider}{way} ({_cause(e)})") from None
        except aiohttp.ClientHttpProxyError as e:
            raise UpstreamError("connect", f"no connection to {target.provider}{way} (the proxy answered {e.status})") from None
        except aiohttp.ConnectionTimeoutError:
            connector = session.connector
            if connector is not None and len(connector._acquired) >= connector.limit:
                raise busy(target.provider, connector.limit, wait.connect_s) from None
            raise UpstreamError("connect", f"no connection to {target.provider}{way} within {wait.connect_s:g} s") from None
        except TimeoutError:
            raise _late(wait, due, f"no answer within {wait.first_byte_s:g} s") from None
        except (aiohttp.ClientConnectionError, ConnectionError) as e:
            raise UpstreamError("cut", f"the connection ended before an answer ({_cause(e)})") from None
        except (aiohttp.ClientError, ValueError) as e:
            raise UpstreamError("protocol", f"the answer is not HTTP as it should be ({type(e).__name__})") from None

    def _done(self) -> None:
        self._active -= 1
        if self._idle is not None and not self._active:
            self._idle.set()

    def _open(self, name: str) -> aiohttp.ClientSession:
        provider = self._providers[name]
        wait = provider.deadlines or self._deadlines
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=provider.connections or self._connections,
                keepalive_timeout=LOCAL_KEEPALIVE_S if provider.local else REMOTE_KEEPALIVE_S,
                ttl_dns_cache=30,
                ssl=ssl.create_default_context() if any(u.startswith("https") for u in provider.base_urls.values()) else True,
            ),
            timeout=aiohttp.ClientTimeout(total=wait.total_s, connect=wait.connect_s, sock_read=wait.first_byte_s, ceil_threshold=86_400),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Content-Type", "Accept"),
            auto_decompress=False,
            trust_env=False,
            max_line_size=65_536,
            max_field_size=65_536,
            read_bufsize=1 << 17,
        )
        session._retry_connection = False  # it would send a GET again that a reused connection lost, unasked
        self._sessions[name] = session
        return session

    def _url(self, request: UpstreamRequest) -> URL:
        target = request.target
        key = (target.provider, target.protocol, request.path, target.upstream_model)
        url = self._urls.get(key)
        if url is None:
            if len(self._urls) > 1000:
                self._urls.clear()
            provider = self._providers[target.provider]
            where = located(provider.base_urls[target.protocol], request.path, target.upstream_model, provider.query)
            url = self._urls[key] = URL(where, encoded=True)
        return url

    def _way(self, request: UpstreamRequest) -> ForwardProxy | None:
        """Return the proxy that stands before the target."""
        key = (request.target.provider, request.target.protocol)
        if key not in self._ways:
            self._ways[key] = self._proxies.of(self._providers[key[0]].base_urls[key[1]])
        return self._ways[key]

    def _plain(self, request: UpstreamRequest) -> ForwardProxy | None:
        """Return the proxy that reads the request: none does where TLS goes through it."""
        return self._way(request) if self._url(request).scheme == "http" else None

    def _headers(self, request: UpstreamRequest) -> CIMultiDict[str]:
        target = request.target
        key = (target.provider, target.protocol)
        fixed = self._fixed.get(key)
        if fixed is None:
            provider = self._providers[target.provider]
            proxy = self._plain(request)
            theirs = proxy.headers() if proxy is not None else ()
            fixed = (("Accept-Encoding", "identity"), *provider.credentials(target.protocol), *provider.headers, *theirs)
            self._fixed[key] = fixed
        headers: CIMultiDict[str] = CIMultiDict(request.headers)
        for name, value in fixed:
            headers[name] = value
        return headers

    async def warm(self) -> None:
        """Open nothing: aiohttp's client has no connection without a request."""

    async def retire(self) -> None:
        """Close every connection once nobody uses one: for a transport that a reload has replaced."""
        self._idle = asyncio.Event()
        if self._active:
            await self._idle.wait()
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        sessions, self._sessions = list(self._sessions.values()), {}
        for session in sessions:
            await session.close()


class AioReply:
    """A reply on aiohttp; see `ports.UpstreamReply`."""

    __slots__ = ("_decoder", "_done", "_due", "_response", "_wait", "headers", "status")

    def __init__(self, response: aiohttp.ClientResponse, wait: Deadlines, due: float, done: Callable[[], None]) -> None:
        """Raises UpstreamError, and closes the connection, when the body's encoding is unknown."""
        self._response, self._wait, self._due = response, wait, due
        self._done: Callable[[], None] | None = done
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        try:
            self._decoder: Decoder | None = decoder_of(response.headers, self.status)
        except UpstreamError:
            response.close()
            raise
        connection = response.connection
        if connection is not None and connection.protocol is not None:
            connection.protocol.read_timeout = None  # it would run on while nobody reads, and not at all after broken framing
            connection.protocol.start_timeout()

    async def read(self, limit: int) -> bytes:
        """Return the whole body. Raises UpstreamError when it is cut, late or over `limit`."""
        parts: list[bytes] = []
        size = 0
        async for chunk in self.chunks():
            size += len(chunk)
            if size > limit:
                raise UpstreamError("too_large", f"the answer is over {limit >> 20} MiB", self.status)
            parts.append(chunk)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def chunks(self, take: Take | None = None) -> AsyncIterator[bytes]:
        """Yield the body as it arrives. Raises UpstreamError when it is cut or late."""
        decoder = self._decoder
        try:
            while chunk := await (self._more() if decoder is None else decoded(decoder, self._more)):
                if take is None or not take((chunk,)):
                    yield chunk
        except Undecodable as e:
            self._response.close()
            raise undecodable(e, self.status) from None
        except TimeoutError:
            raise _late(self._wait, self._due, f"no data for {self._wait.idle_s:g} s", self.status) from None
        except (aiohttp.ClientError, ConnectionError, asyncio.IncompleteReadError) as e:
            raise UpstreamError("cut", f"the answer broke off ({_cause(e)})", self.status) from None

    async def _more(self) -> bytes:
        async with asyncio.timeout_at(min(asyncio.get_running_loop().time() + self._wait.idle_s, self._due)):
            return await self._response.content.readany()

    def close(self) -> None:
        """Give the connection back if the body was read to its end, else close it at once."""
        if self._done is None:
            return
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()
        self._done()
        self._done = None


def _late(wait: Deadlines, due: float, why: str, status: int = 0) -> UpstreamError:
    """Return the error of a missed deadline: `why`, unless it was the one of the whole exchange."""
    if asyncio.get_running_loop().time() >= due - 0.001:
        why = f"the answer was not over within {wait.total_s:g} s"
    return UpstreamError("timeout", why, status)


def _cause(e: BaseException) -> str:
    """Return why it failed, without addresses: the text goes to clients."""
    inner = getattr(e, "os_error", None) or e.__cause__
    if isinstance(inner, ConnectionError) and inner.errno:
        return os.strerror(inner.errno)
    text = getattr(inner, "strerror", None) or type(inner if inner is not None else e).__name__
    return str(text)
