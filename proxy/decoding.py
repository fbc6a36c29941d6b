"""Undoing gzip, deflate, br and zstd, a bounded step at a time. Pure.

Clients compress what they send, and some providers what they answer, whatever was asked for; nothing could be metered if it stayed so.
It decides where an encoded body ends and that all of it is there: an unknown coding, more than one, a stream that breaks off or goes on
behind its end is refused with `Undecodable`. How much may come out in all is the reader's business: it takes step by step and stops.

What a hostile body can cost is bounded: the output of one step, the window of a zstd frame, the members of a gzip or zstd stream, and
the input that is copied when a member ends.

Source: RFC 9110 §8.4.1; RFC 1950 §2.2 for telling zlib from raw deflate, which some servers send under the name of the other; RFC 9659 §3
for the window of zstd.
"""

from __future__ import annotations

import sys
import zlib
from typing import Any, Protocol

import brotli

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

STEP = 262_144
"""About the most bytes that one step gives (br may give twice as much): what a hostile ratio can make us hold at once."""
WINDOW = 65_536
"""The most encoded bytes that are handed on at once: what is copied when a member ends."""
MAX_MEMBERS = 1024
"""Members of one stream. Each costs a new decoder, and an empty one has no more than 20 bytes."""
MAX_ZSTD_WINDOW_LOG = 23
_GZIP = 16 + zlib.MAX_WBITS


class Undecodable(Exception):
    """This body is not what its content encoding says, or that is none of ours."""


class Coding(Protocol):
    """One coding. `hungry`: all that it was given is used, so more may come. `whole`: no stream is open."""

    @property
    def hungry(self) -> bool:
        """See the class."""
        ...

    @property
    def whole(self) -> bool:
        """See the class."""
        ...

    def take(self, data: bytes) -> bytes:
        """Return the next decoded bytes, about `STEP` at most. Give it `data` only when it is hungry."""
        ...


class Decoder:
    """Decodes one body. Give it what arrived (`feed`), then take steps until there is none."""

    __slots__ = ("_at", "_coding", "_waiting")

    def __init__(self, coding: str) -> None:
        """Raises Undecodable when `coding` is not ours."""
        make = _CODINGS.get(coding.strip().lower())
        if make is None:
            raise Undecodable("a content encoding that is not one of gzip, deflate, br and zstd")
        self._coding: Coding = make()
        self._waiting, self._at = b"", 0

    def feed(self, data: bytes) -> None:
        """Take encoded bytes."""
        self._waiting, self._at = (self._waiting[self._at :] + data if self._at < len(self._waiting) else data), 0

    def step(self) -> bytes:
        """Return the next decoded bytes; nothing when more must be fed first. Raises Undecodable."""
        coding = self._coding
        while True:
            data = b""
            if coding.hungry:
                data = self._waiting[self._at : self._at + WINDOW]
                self._at += len(data)
            try:
                out = coding.take(data)
            except (zlib.error, brotli.error, zstd.ZstdError):
                raise Undecodable("a content encoding that cannot be undone") from None
            if out or (coding.hungry and self._at >= len(self._waiting)):
                return out

    def end(self) -> None:
        """The encoded bytes are over. Raises Undecodable when they broke off inside the stream."""
        if not self._coding.whole:
            raise Undecodable("a content encoding that breaks off")


class _Members:
    """A stream of members, each with a decoder of its own that says where it ends."""

    __slots__ = ("_left", "_now", "_rest")

    def __init__(self) -> None:
        self._now: Any = None
        self._rest, self._left = b"", MAX_MEMBERS

    def begin(self, data: bytes) -> Any:
        """Return a decoder for the member that begins with `data`."""
        raise NotImplementedError

    @property
    def hungry(self) -> bool:
        return not self._rest

    @property
    def whole(self) -> bool:
        return self._now is None or self._now.eof

    def take(self, data: bytes) -> bytes:
        data = self._rest or data
        if self.whole:
            if not data:
                return b""
            if not self._left:
                raise Undecodable(f"a content encoding of more than {MAX_MEMBERS} members")
            self._now = self.begin(data)
            self._left -= 1
        out: bytes = self._now.decompress(data, STEP)
        self._rest = self._now.unused_data if self._now.eof else self.unused()
        return out

    def unused(self) -> bytes:
        """Return what an unfinished member was given and did not use."""
        return b""


class _Gzip(_Members):
    __slots__ = ()

    def begin(self, data: bytes) -> Any:
        return zlib.decompressobj(_GZIP)

    def unused(self) -> bytes:
        return bytes(self._now.unconsumed_tail)


class _Deflate(_Gzip):
    __slots__ = ()

    def begin(self, data: bytes) -> Any:
        if self._now is not None:
            raise Undecodable("bytes after the end of a deflate stream")
        return zlib.decompressobj(zlib.MAX_WBITS if data[0] & 0x0F == 8 else -zlib.MAX_WBITS)


class _Zstd(_Members):
    __slots__ = ()

    @property
    def hungry(self) -> bool:
        return not self._rest and (self.whole or self._now.needs_input)

    def begin(self, data: bytes) -> Any:
        return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: MAX_ZSTD_WINDOW_LOG})


class _Brotli:
    __slots__ = ("_begun", "_now")

    def __init__(self) -> None:
        self._now, self._begun = brotli.Decompressor(), False

    @property
    def hungry(self) -> bool:
        return bool(self._now.can_accept_more_data())

    @property
    def whole(self) -> bool:
        return not self._begun or bool(self._now.is_finished())

    def take(self, data: bytes) -> bytes:
        self._begun = self._begun or bool(data)
        out: bytes = self._now.process(data, output_buffer_limit=STEP)
        return out


_CODINGS: dict[str, type[_Members] | type[_Brotli]] = {"gzip": _Gzip, "x-gzip": _Gzip, "deflate": _Deflate, "br": _Brotli, "zstd": _Zstd}
CODINGS = tuple(_CODINGS)
"""The names that are understood."""
