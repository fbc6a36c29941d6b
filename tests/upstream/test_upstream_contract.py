"""What both transports must do, over real sockets, on both event loops. How bytes are read: test_upstream_reading.py."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from upstream_script import CASES, OK, Peer, Upstream, ask, chunked, client, outcome, run, whole

every = pytest.mark.parametrize("case", CASES)
HEAD = b"HTTP/1.1 200 OK\r\n"
TE = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@every
def test_request_bytes(case: str) -> None:
    async def main() -> None:
        extra = (("X-Fixed", "1"), ("User-Agent", "fixed"))
        async with Upstream([OK, OK, OK, OK]) as upstream, client(case, upstream.url, headers=extra) as transport:
            headers = [("content-type", "application/json"), ("X-Two", "a"), ("X-Two", "b"), ("user-agent", "client"), ("x-u", "\u00e9")]
            await whole(transport, ask(b'{"a": 1}', "/chat?b=%20c", headers=headers))
            await whole(transport, ask(b"", "/models", "GET"))
            await whole(transport, ask(b"", "/x"))
            await whole(transport, ask(b"x", "/v1/messages", protocol="anthropic", headers=[("x-api-key", "stolen")]))
            first, second, third, fourth = upstream.asked
        assert first.line == "POST /v1/chat?b=%20c HTTP/1.1"
        assert first.body == b'{"a": 1}'
        assert first.get("content-length") == ["8"]
        assert first.get("host") == [f"127.0.0.1:{upstream.port}"]
        assert first.get("authorization") == ["Bearer sk-secret"]
        assert first.get("accept-encoding") == ["identity"]
        assert first.get("x-two") == ["a", "b"]
        assert first.get("user-agent") == ["fixed"]
        assert first.get("x-fixed") == ["1"]
        assert first.get("x-u") == ["\u00e9".encode().decode("latin-1")]
        assert first.get("content-type") == ["application/json"]
        assert first.get("transfer-encoding") == []
        assert second.line == "GET /v1/models HTTP/1.1"
        assert (second.get("content-length"), second.get("transfer-encoding")) == ([], [])
        assert third.get("content-length") == ["0"]
        assert fourth.line == "POST /v1/messages HTTP/1.1"
        assert (fourth.get("x-api-key"), fourth.get("authorization")) == (["sk-secret"], [])

    run(case, main())


@every
@pytest.mark.parametrize("bad", [("X-A", "b\r\nEvil: 1"), ("X-A", "b\nEvil: 1"), ("X-A\r\nEvil", "1"), ("X-A", "b\0"), ("X-A", "b\r")])
def test_no_header_injection(case: str, bad: tuple[str, str]) -> None:
    async def main() -> None:
        async with Upstream([OK]) as upstream, client(case, upstream.url) as transport:
            assert await outcome(transport, ask(headers=[bad])) == "protocol"
            assert await whole(transport) == (200, b"{}")
            assert len(upstream.asked) == 1

    run(case, main())


@every
@pytest.mark.parametrize("say", [b"Connection: close\r\n", b"connection: x, Close\r\n"])
def test_the_upstream_may_close(case: str, say: bytes) -> None:
    async def main() -> None:
        last = HEAD + say + b"Content-Length: 2\r\n\r\n{}"
        async with Upstream([last, last]) as upstream, client(case, upstream.url) as transport:
            assert await whole(transport) == (200, b"{}")
            assert await whole(transport) == (200, b"{}")
            assert upstream.connections == 2

    run(case, main())


@every
def test_chunks_give_what_is_there(case: str) -> None:
    async def main() -> None:
        more, seen = asyncio.Event(), asyncio.Event()

        async def play(peer: Peer) -> None:
            await peer.request()
            await peer.send(TE + b"3\r\none\r\n")
            await more.wait()
            await peer.send(b"3\r\ntwo\r\n5\r\nthree\r\n")
            await seen.wait()
            await peer.send(b"0\r\n\r\n")
            await peer.gone()

        async with Upstream(play=play) as upstream, client(case, upstream.url) as transport:
            reply = await transport.send(ask())
            found = []
            async for piece in reply.chunks():
                found.append(piece)
                more.set()
                if b"".join(found) == b"onetwothree":
                    seen.set()
            assert found[0] == b"one"
            assert b"".join(found) == b"onetwothree"
            reply.close()
            reply.close()

    run(case, main())


@every
def test_what_is_taken_where_it_comes_is_not_yielded(case: str) -> None:
    async def main() -> None:
        more = asyncio.Event()
        offered: list[bytes] = []

        async def play(peer: Peer) -> None:
            await peer.request()
            await peer.send(TE)
            for word in (b"leave", b"take one", b"take two"):
                await peer.send(b"%x\r\n%b\r\n" % (len(word), word))
                await more.wait()
                more.clear()
            await peer.send(b"a\r\ntake three\r\n0\r\n\r\n")
            await peer.gone()

        def take(pieces: Sequence[bytes]) -> int:
            offered.extend(pieces)
            more.set()
            return next((number for number, piece in enumerate(pieces) if not piece.startswith(b"take")), len(pieces))

        async with Upstream(play=play) as upstream, client(case, upstream.url) as transport:
            reply = await transport.send(ask())
            found = []
            async for piece in reply.chunks(take):
                found.append(piece)
                more.set()
            assert found == [b"leave"]
            assert [piece for piece in offered if piece != b"leave"] == [b"take one", b"take two", b"take three"]
            reply.close()

    run(case, main())


@every
def test_taking_makes_room_for_more(case: str) -> None:
    """Nothing is yielded, so nothing but the taking itself can have the connection read on after it stopped."""

    async def main() -> None:
        size, taken = 1 << 23, 0

        def take(pieces: Sequence[bytes]) -> int:
            nonlocal taken
            taken += sum(map(len, pieces))
            return len(pieces)

        large = HEAD + b"Content-Length: %d\r\n\r\n" % size + b"x" * size
        async with Upstream([large]) as upstream, client(case, upstream.url) as transport:
            reply = await transport.send(ask())
            for _ in range(1000):
                await asyncio.sleep(0)
            assert [piece async for piece in reply.chunks(take)] == []
            assert taken == size
            reply.close()

    run(case, main())


@every
def test_large_both_ways(case: str) -> None:
    async def main() -> None:
        body = bytes(range(256)) * 20_000
        data = HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
        async with Upstream([data, TE + chunked(body, body)]) as upstream, client(case, upstream.url) as transport:
            assert await whole(transport, ask(body)) == (200, body)
            assert upstream.asked[0].body == body
            assert await whole(transport) == (200, body + body)
            assert upstream.connections == 1

    run(case, main())


@every
def test_an_early_answer_is_heard_while_the_body_is_written(case: str) -> None:
    async def main() -> None:
        heard = asyncio.Event()

        async def play(peer: Peer) -> None:
            await peer.head()
            await peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\n{}")
            await heard.wait()
            await peer.gone()

        async with Upstream(play=play) as upstream, client(case, upstream.url) as transport:
            assert await whole(transport, ask(b"x" * 30_000_000)) == (413, b"{}")
            heard.set()
            await upstream.all_closed(1)

    run(case, main())


@every
def test_many_at_once(case: str) -> None:
    async def main() -> None:
        async def play(peer: Peer) -> None:
            while True:
                asked = await peer.request()
                await peer.send(HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(asked.body), asked.body))

        async with Upstream(play=play) as upstream, client(case, upstream.url, connections=7) as transport:
            bodies = [b"%d" % n for n in range(300)]
            found = await asyncio.gather(*[whole(transport, ask(b)) for b in bodies])
            assert found == [(200, b) for b in bodies]
            assert upstream.connections <= 7

    run(case, main())


@every
@pytest.mark.parametrize("host", ["::1", "127.0.0.1"])
def test_both_families(case: str, host: str) -> None:
    async def main() -> None:
        try:
            upstream = await Upstream([OK], host=host).__aenter__()
        except OSError:
            pytest.skip(f"this machine has no {host}: enable IPv6 on the loopback")
        async with upstream, client(case, upstream.url) as transport:
            assert await whole(transport) == (200, b"{}")

    run(case, main())


@every
def test_a_name(case: str) -> None:
    async def main() -> None:
        async with Upstream([OK]) as upstream, client(case, f"http://localhost:{upstream.port}") as transport:
            assert await whole(transport) == (200, b"{}")
            assert upstream.asked[0].get("host") == [f"localhost:{upstream.port}"]

    run(case, main())
