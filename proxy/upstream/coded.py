"""Replies that came compressed although we asked for `identity`: undone step by step, for both transports.

What cannot be undone is an UpstreamError of kind `protocol`: it could not be metered, and nobody asked for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from multidict import MultiMapping

from proxy.decoding import Decoder, Undecodable
from proxy.engine.ports import UpstreamError


def decoder_of(headers: MultiMapping[str], status: int) -> Decoder | None:
    """Return what undoes the encoding that a reply's head names, or None where there is none. Raises UpstreamError."""
    codings = headers.getall("content-encoding", None)
    coding = ",".join(codings) if codings else ""
    if coding.strip().lower() in ("", "identity"):
        return None
    try:
        return Decoder(coding)
    except Undecodable as e:
        raise undecodable(e, status) from None


async def decoded(decoder: Decoder, more: Callable[[], Awaitable[bytes]]) -> bytes:
    """Return the next decoded bytes, asking `more` for encoded ones (nothing at their end); nothing at the end.

    Raises:
        Undecodable: the body is not what its encoding says.
    """
    while True:
        piece = decoder.step()
        if piece:
            return piece
        raw = await more()
        if not raw:
            decoder.end()
            return b""
        decoder.feed(raw)


def undecodable(e: Undecodable, status: int) -> UpstreamError:
    """Return the error of a reply whose encoding cannot be undone."""
    return UpstreamError("protocol", f"the answer is not HTTP as it should be ({e})", status)
