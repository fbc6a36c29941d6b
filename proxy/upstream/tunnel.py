"""Opening a way through a forward proxy: `CONNECT` on a socket that is open, and nothing of the provider's own exchange.

It decides when the proxy has agreed: a 2xx whose head is whole, with nothing behind it, since in TLS the client speaks first. Anything
else is `TunnelRefused`, an OSError: nothing was sent to the provider. The caller holds the deadline and closes the socket.

Source: RFC 9110 §9.3.6.
"""

from __future__ import annotations

import asyncio
import socket

from proxy.http1 import Malformed
from proxy.upstream.http1 import ResponseParser
from proxy.upstream.proxies import ForwardProxy

MAX_ANSWER = 16_384
"""Bytes of the proxy's answer."""


class TunnelRefused(OSError):
    """The proxy did not open the way. The text is safe to show."""


async def tunnel(sock: socket.socket, proxy: ForwardProxy, host: str, port: int) -> None:
    """Ask `proxy` on `sock` for a connection to `host`. Raises TunnelRefused, OSError."""
    loop = asyncio.get_running_loop()
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {where} HTTP/1.1", f"Host: {where}", *(f"{name}: {value}" for name, value in proxy.headers()), "", ""]
    await loop.sock_sendall(sock, "\r\n".join(lines).encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        piece = await loop.sock_recv(sock, 4096)
        answer += piece
        if not piece or len(answer) > MAX_ANSWER:
            raise TunnelRefused("the proxy gave no answer" if not piece else "the proxy's answer has no end")
    status = _status(answer)
    if not 200 <= status < 300:
        raise TunnelRefused(f"the proxy answered {status}")
    if not answer.endswith(b"\r\n\r\n") or answer.count(b"\r\n\r\n") > 1:
        raise TunnelRefused("the proxy said more than that the way is open")


def _status(answer: bytes) -> int:
    parser = ResponseParser(bodiless=True)
    try:
        parser.feed(answer[: answer.index(b"\r\n\r\n") + 4])
    except Malformed:
        raise TunnelRefused("the proxy's answer is not HTTP") from None
    return parser.head.status if parser.head is not None else 100
