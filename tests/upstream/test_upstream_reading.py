"""What both transports make of the bytes of a response, over real sockets, on both event loops."""

from __future__ import annotations

import asyncio
import gzip
import sys
import zlib
from collections.abc import Callable

import brotli
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from upstream_script import CASES, OK, Peer, Upstream, ask, chunked, client, outcome, run, runner, whole

from proxy.engine.ports import UpstreamError
from proxy.upstream.base import Deadlines

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

every = pytest.mark.parametrize("case", CASES)
HEAD = b"HTTP/1.1 200 OK\r\n"
TE = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"

GOOD: dict[str, tuple[bytes, bool, tuple[int, bytes]]] = {
    # name: (bytes, the upstream closes after them, (status, body))
    "length": (HEAD + b"Content-Length: 5\r\n\r\nhello", False, (200, b"hello")),
    "no body": (HEAD + b"Content-Length: 0\r\n\r\n", False, (200, b"")),
    "chunked": (TE + chunked(b"hel", b"lo"), False, (200, b"hello")),
    "chunked, upper case": (HEAD + b"TRANSFER-ENCODING: Chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n", False, (200, b"0123456789")),
    "chunk extensions": (TE + b'5;a=b;c="d"\r\nhello\r\n0;x\r\n\r\n', False, (200, b"hello")),
    "trailers": (TE + chunked(b"hello", trailers=b"X-Sum: 1\r\nY:\r\n"), False, (200, b"hello")),
    "until close": (HEAD + b"\r\nhello", True, (200, b"hello")),
    "until close, nothing": (HEAD + b"\r\n", True, (200, b"")),
    "http/1.0": (b"HTTP/1.0 200 OK\r\n\r\nhello", True, (200, b"hello")),
    "100": (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, False, (200, b"{}")),
    "102, 103": (b"HTTP/1.1 102 P\r\n\r\nHTTP/1.1 103 Hints\r\nLink: </a>\r\n\r\n" + OK, False, (200, b"{}")),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", False, (204, b"")),
    "304": (b"HTTP/1.1 304 Not Modified\r\n\r\n", False, (304, b"")),
    "no reason": (b"HTTP/1.1 429 \r\nContent-Length: 2\r\n\r\n{}", False, (429, b"{}")),
    "redirect stays": (b"HTTP/1.1 307 T\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", False, (307, b"")),
    "500": (b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\n{}", False, (500, b"{}")),
    "no space after the colon": (HEAD + b"Content-Length:5\r\nA:\r\nB: \t\r\n\r\nhello", False, (200, b"hello")),
    "gzip": (HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"hello"), True, (200, b"hello")),
    "zlib": (HEAD + b"Content-Encoding: deflate\r\n\r\n" + zlib.compress(b"hello"), True, (200, b"hello")),
    "raw deflate": (HEAD + b"Content-Encoding: deflate\r\n\r\n" + zlib.compress(b"hello", wbits=-15), True, (200, b"hello")),
    "br": (HEAD + b"Content-Encoding: br\r\n\r\n" + brotli.compress(b"hello"), True, (200, b"hello")),
    "zstd": (HEAD + b"Content-Encoding: zstd\r\n\r\n" + zstd.compress(b"hello"), True, (200, b"hello")),
    "encoding of nothing": (HEAD + b"Content-Encoding: gzip\r\nContent-Length: 0\r\n\r\n", False, (200, b"")),
    "identity": (HEAD + b"Content-Encoding: identity\r\nContent-Length: 2\r\n\r\n{}", False, (200, b"{}")),
}

BAD: dict[str, tuple[bytes, set[str]]] = {
    # name: (bytes before the upstream closes, the kinds of error that say so)
    "nothing": (b"", {"cut"}),
    "half a status line": (b"HTTP/1.1 20", {"cut", "protocol"}),
    "half a head": (HEAD + b"Content-Le", {"cut", "protocol"}),
    "half a body": (HEAD + b"Content-Length: 5\r\n\r\nhel", {"cut"}),
    "no last chunk": (TE + b"5\r\nhello\r\n", {"cut"}),
    "half a chunk": (TE + b"5\r\nhel", {"cut"}),
    "half a chunk size": (TE + b"5", {"cut"}),
    "no end of trailers": (TE + b"0\r\nX: y\r\n", {"cut"}),
    "no chunk size": (TE + b"zz\r\nhello\r\n0\r\n\r\n", {"cut", "protocol"}),
    "negative chunk": (TE + b"-5\r\nhello\r\n0\r\n\r\n", {"cut", "protocol"}),
    "chunk too long": (TE + b"4\r\nhello\r\n0\r\n\r\n", {"cut", "protocol"}),
    "endless chunk size": (TE + b"f" * 40 + b"\r\nhello", {"cut", "protocol"}),
    "length and chunked": (HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"hello"), {"protocol"}),
    "chunked and length": (HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n" + chunked(b"hello"), {"protocol"}),
    "two lengths": (HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", {"protocol"}),
    "length list": (HEAD + b"Content-Length: 5, 5\r\n\r\nhello", {"protocol"}),
    "signed length": (HEAD + b"Content-Length: +5\r\n\r\nhello", {"protocol"}),
    "huge length": (HEAD + b"Content-Length: 99999999999999999999999\r\n\r\nhello", {"protocol"}),
    "another protocol": (b"SSH-2.0-OpenSSH_9.6\r\n", {"protocol"}),
    "http/2": (b"HTTP/2 200\r\n\r\n", {"protocol"}),
    "html only": (b"<html></html>", {"protocol"}),
    "status of words": (b"HTTP/1.1 abc OK\r\n\r\n", {"protocol"}),
    "space in a name": (HEAD + b"Content Length: 5\r\n\r\nhello", {"protocol"}),
    "space before the colon": (HEAD + b"Content-Length : 5\r\n\r\nhello", {"protocol"}),
    "no colon": (HEAD + b"Content-Length\r\n\r\nhello", {"protocol"}),
    "NUL in a value": (HEAD + b"A: b\0c\r\nContent-Length: 2\r\n\r\n{}", {"protocol"}),
    "a head without end": (HEAD + b"A: " + b"b" * 200_000 + b"\r\n\r\n", {"protocol"}),
    "broken gzip": (HEAD + b"Content-Encoding: gzip\r\n\r\nhello", {"protocol", "cut"}),
    "broken br": (HEAD + b"Content-Encoding: br\r\n\r\n" + brotli.compress(b"hello" * 9)[:-2], {"protocol", "cut"}),
    "broken zstd": (HEAD + b"Content-Encoding: zstd\r\n\r\n" + zstd.compress(b"hello")[:-2], {"protocol", "cut"}),
    "two encodings": (HEAD + b"Content-Encoding: gzip\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx", {"protocol"}),
    "broken deflate": (HEAD + b"Content-Encoding: deflate\r\n\r\n" + zlib.compress(b"hello")[:-5], {"protocol", "cut"}),
}

AIOHTTP_TAKES = {"space before the colon": (200, b"hello")}
"""What aiohttp's client reads where ours refuses; more of the kind in test_upstream_fuzz.py."""
AIOHTTP_HANGS = {"no chunk size", "negative chunk", "chunk too long", "endless chunk size"}
"""Broken framing that comes after the head's packet: aiohttp's client (3.14.5) never says so, only the deadline ends the wait."""


@every
@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("apart", [False, True], ids=["at once", "byte by byte"])
def test_good(case: str, name: str, apart: bool) -> None:
    data, close, expected = GOOD[name]

    async def main() -> None:
        pieces = [data[i : i + 1] for i in range(len(data))] if apart else [data]
        async with Upstream([pieces, OK], close_after=close) as upstream, client(case, upstream.url) as transport:
            assert await whole(transport) == expected
            if not close:
                assert await whole(transport) == (200, b"{}")
                assert upstream.connections == 1

    run(case, main())


@pytest.mark.parametrize(
    ("case", "name", "apart"),
    [(c, n, a) for c in CASES for n in BAD for a in (False, True)],
)
def test_bad(case: str, name: str, apart: bool) -> None:
    data, kinds = BAD[name]
    taken = AIOHTTP_TAKES.get(name) if case in CASES[:1] else None
    hangs = apart and case in CASES[:1] and name in AIOHTTP_HANGS
    if apart and len(data) > 1000:
        data = data[:70_000]
    pieces = [data[i : i + 1] for i in range(len(data))] if apart and len(data) < 1000 else [data]

    async def main() -> None:
        waits = Deadlines(idle_s=0.2) if hangs else None
        async with Upstream([pieces], close_after=True) as upstream, client(case, upstream.url, waits) as transport:
            found = await outcome(transport)
            assert found == taken if taken else found in (kinds | {"timeout"} if hangs else kinds)
            assert len(upstream.asked) == 1, "nothing is sent twice"

    run(case, main())


@every
def test_any_pieces(case: str) -> None:
    with runner(case) as it:
        bodies = st.lists(st.binary(min_size=1, max_size=40), max_size=5)

        @settings(max_examples=40, deadline=None)
        @given(bodies, st.booleans(), st.lists(st.integers(1, 30), max_size=30))
        def check(parts: list[bytes], by_length: bool, cuts: list[int]) -> None:
            body = b"".join(parts)
            data = (HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)) if by_length else TE + chunked(*parts)
            pieces: list[bytes] = []
            for cut in cuts:
                pieces.append(data[:cut])
                data = data[cut:]

            async def main() -> None:
                async with Upstream([[*pieces, data]]) as upstream, client(case, upstream.url) as transport:
                    assert await whole(transport) == (200, body)

            it.run(main())

        check()


@every
def test_head_request(case: str) -> None:
    async def main() -> None:
        bare = HEAD + b"Content-Length: 700\r\n\r\n"
        async with Upstream([bare, OK]) as upstream, client(case, upstream.url) as transport:
            assert await whole(transport, ask(b"", "/models", "HEAD")) == (200, b"")
            assert await whole(transport) == (200, b"{}")
            assert upstream.connections == 1

    run(case, main())


@every
def test_headers_are_found_in_any_case(case: str) -> None:
    async def main() -> None:
        data = HEAD + b"CONTENT-type: text/x ;a=b\r\nRetry-After:  7 \r\nX-A: 1\r\nX-A: 2\r\nContent-Length: 0\r\n\r\n"
        async with Upstream([data]) as upstream, client(case, upstream.url) as transport:
            reply = await transport.send(ask())
            assert reply.headers.get("content-TYPE") == "text/x ;a=b"
            assert reply.headers["retry-after"] == "7"
            assert [v for n, v in reply.headers.items() if n.lower() == "x-a"] == ["1", "2"]
            assert reply.headers.get("nothing", "-") == "-"
            reply.close()

    run(case, main())


@every
def test_a_compressed_bomb_is_stopped(case: str) -> None:
    async def main() -> None:
        data = gzip.compress(b"0" * 200_000_000, 1)
        head = HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(data)
        async with Upstream([head + data]) as upstream, client(case, upstream.url) as transport:
            reply = await transport.send(ask())
            with pytest.raises(UpstreamError) as e:
                await reply.read(1 << 20)
            assert e.value.kind == "too_large"
            reply.close()
            await upstream.all_closed(1)

    run(case, main())


@every
@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
def test_events_of_a_compressed_stream_come_as_they_are_flushed(case: str, coding: str) -> None:
    async def main() -> None:
        heard = asyncio.Event()
        pack, flush = packer(coding)

        async def play(peer: Peer) -> None:
            await peer.request()
            await peer.send(TE[:-2] + f"Content-Encoding: {coding}\r\n\r\n".encode())
            for event in (b"data: one\n\n", b"data: two\n\n"):
                heard.clear()
                wire = pack(event) + flush()
                await peer.send(b"%x\r\n%b\r\n" % (len(wire), wire))
                await heard.wait()
            await peer.gone()

        async with Upstream(play=play) as upstream, client(case, upstream.url) as transport:
            reply = await transport.send(ask())
            pieces = reply.chunks()
            for event in (b"data: one\n\n", b"data: two\n\n"):
                found = b""
                while len(found) < len(event):
                    found += await anext(pieces)
                assert found == event
                heard.set()
            reply.close()

    run(case, main())


def packer(coding: str) -> tuple[Callable[[bytes], bytes], Callable[[], bytes]]:
    if coding == "br":
        br = brotli.Compressor()
        return br.process, br.flush
    if coding == "zstd":
        frame = zstd.ZstdCompressor()
        return frame.compress, lambda: frame.flush(frame.FLUSH_BLOCK)
    member = zlib.compressobj(wbits=31)
    return member.compress, lambda: member.flush(zlib.Z_SYNC_FLUSH)
