"""Fetches the key document (JWKS) of an identity provider: one GET, within a deadline and a size, to the address of the configuration.

No redirects, no cookies, no proxy from the environment, no compression, nothing kept open. How it fails: always as `FetchError`, whose
words hold neither the token that was sent nor anything of the answer.

Source: OpenID Connect Discovery 1.0 §3 (`jwks_uri`); Kubernetes serves its own at `/openid/v1/jwks`, to whoever has a token.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from proxy import __version__
from proxy.identity.issuer import FetchError
from proxy.identity.keyset import MAX_DOCUMENT

TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class JwksEndpoint:
    """Where the document is.

    Args:
        url: https, or http on loopback.
        ca: the authorities that its certificate may come from; None for the system's.
        token: what it asks for as a bearer token, empty for nothing.
    """

    url: str
    ca: Path | None = None
    token: str = field(default="", repr=False)
    timeout_s: float = TIMEOUT_S

    async def fetch(self) -> bytes:
        """Return the document. Raises FetchError."""
        try:
            async with asyncio.timeout(self.timeout_s):
                return await self._get()
        except TimeoutError:
            raise FetchError(f"no whole answer within {self.timeout_s:g} s") from None
        except (aiohttp.ClientError, ssl.SSLError, OSError, ValueError) as e:
            raise FetchError(f"it cannot be fetched ({type(e).__name__})") from None  # its own text may hold the URL

    async def _get(self) -> bytes:
        tls = await asyncio.to_thread(self._context) if self.url.lower().startswith("https:") else False
        headers = {"accept": "application/json", "accept-encoding": "identity", "user-agent": f"fleetgate/{__version__}"}
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        connector = aiohttp.TCPConnector(limit=1, force_close=True, ssl=tls or True)
        async with (
            aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False) as session,
            session.get(self.url, headers=headers, allow_redirects=False) as reply,
        ):
            if reply.status != 200:
                redirect = ", and redirects are not followed" if 300 <= reply.status < 400 else ""
                raise FetchError(f"the answer is status {reply.status}{redirect}")
            if reply.headers.get("content-encoding", "identity").lower() != "identity":
                raise FetchError("the answer is compressed, which nobody asked for")
            return await _read(reply.content)

    def _context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.ca)


async def _read(content: aiohttp.StreamReader) -> bytes:
    found = bytearray()
    async for piece in content.iter_any():
        found += piece
        if len(found) > MAX_DOCUMENT:
            raise FetchError(f"the answer is over {MAX_DOCUMENT >> 10} KiB")
    return bytes(found)
