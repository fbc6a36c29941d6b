"""Undoing gzip and deflate, a bounded step at a time. Pure.

We ask for `identity`; a provider that compresses all the same is understood, since otherwise nothing could be metered. Any other coding,
more than one, or a stream that breaks off is refused with `Malformed`.

Source: RFC 9110 §8.4.1; RFC 1950 §2.2 for telling zlib from raw deflate, which some servers send under the name of the other.
"""

from __future__ import annotations

import zlib

from proxy.upstream.http1 import Malformed

STEP = 262_144
"""The most bytes that one step gives: what a hostile ratio can make us hold at once."""
_GZIP = 16 + zlib.MAX_WBITS


class Decoder:
    """Decodes one body. Give it what arrived (`feed`), then take steps until there is none."""

    __slots__ = ("_gzip", "_inflate", "_waiting")

    def __init__(self, coding: str) -> None:
        """Raises Malformed when `coding` is not ours."""
        coding = coding.strip().lower()
        if coding not in ("gzip", "x-gzip", "deflate"):
            raise Malformed("a content encoding that was not asked for")
        self._gzip = coding != "deflate"
        self._inflate: zlib._Decompress | None = None
        self._waiting = b""

    def feed(self, data: bytes) -> None:
        """Take encoded bytes."""
        self._waiting += data

    def step(self) -> bytes:
        """Return the next decoded bytes, at most `STEP`; nothing when more must be fed first. Raises Malformed."""
        while True:
            out = self._step()
            if out or not self._waiting:
                return out

    def _step(self) -> bytes:
        inflate = self._inflate
        if inflate is None or inflate.eof:
            if not self._waiting:
                return b""
            if inflate is not None and not self._gzip:
                raise Malformed("bytes after the end of a deflate stream")
            inflate = self._inflate = zlib.decompressobj(self._window())
        try:
            out = inflate.decompress(self._waiting, STEP)
        except zlib.error:
            raise Malformed("a content encoding that cannot be undone") from None
        self._waiting = inflate.unused_data if inflate.eof else inflate.unconsumed_tail
        return out

    def _window(self) -> int:
        if self._gzip:
            return _GZIP
        return zlib.MAX_WBITS if self._waiting[0] & 0x0F == 8 else -zlib.MAX_WBITS

    def end(self) -> None:
        """The encoded bytes are over. Raises Malformed when they broke off inside the stream."""
        if self._inflate is not None and not self._inflate.eof:
            raise Malformed("a content encoding that breaks off")
