"""How exchanges end early on both transports: cut, late, cancelled, refused. Nothing is sent twice and nothing stays open."""

from __future__ import annotations

import asyncio

import pytest
from upstream_script import CASES, LEAN, OK, Peer, Upstream, ask, client, outcome, run, whole

from proxy.engine.ports import UpstreamError
from proxy.upstream.base import Deadlines

every = pytest.mark.parametrize("case", CASES)
lean = pytest.mark.parametrize("case", LEAN)
HEAD = b"HTTP/1.1 200 OK\r\n"
TE = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
SHORT = Deadlines(connect_s=5, first_byte_s=0.05, idle_s=0.05)


@every
def test_closing_early_closes_the_connection(case: str) -> None:
    async def main() -> None:
        async def play(peer: Peer) -> None:
            await peer.request()
            await peer.send(HEAD + b"Content-Length: 1000000\r\n\r\nhel")
            assert await peer.gone() == b""

        async with Upstream(play=play) as upstream, client(case, upstream.url) as transport:
            reply = await transport.send(ask())
            reply.close()
            await upstream.all_closed(1)
            reply.close()

    run(case, main())


@every
def test_cancelled_while_waiting_for_the_head(case: str) -> None:
    async def main() -> None:
        asked = asyncio.Event()

        async def play(peer: Peer) -> None:
            await peer.request()
            asked.set()
            assert await peer.gone() == b""

        async with Upstream(play=play) as upstream, client(case, upstream.url) as transport:
            task = asyncio.ensure_future(transport.send(ask()))
            await asked.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await upstream.all_closed(1)
            await transport.retire()

    run(case, main())


@every
def test_cancelled_while_waiting_for_a_piece(case: str) -> None:
    async def main() -> None:
        got = asyncio.Event()

        async def play(peer: Peer) -> None:
            await peer.request()
            await peer.send(TE + b"3\r\none\r\n")
            assert await peer.gone() == b""

        async def read() -> None:
            reply = await transport.send(ask())
            try:
                async for _ in reply.chunks():
                    got.set()
            finally:
                reply.close()

        async with Upstream(play=play) as upstream, client(case, upstream.url) as transport:
            task = asyncio.ensure_future(read())
            await got.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await upstream.all_closed(1)
            await transport.retire()

    run(case, main())


@every
def test_no_head_in_time(case: str) -> None:
    async def main() -> None:
        async def play(peer: Peer) -> None:
            await peer.request()
            await peer.gone()

        async with Upstream(play=play) as upstream, client(case, upstream.url, SHORT) as transport:
            with pytest.raises(UpstreamError, match=r"no answer within 0\.05 s") as e:
                await transport.send(ask())
            assert (e.value.kind, e.value.retryable) == ("timeout", False)
            await upstream.all_closed(1)

    run(case, main())


@every
def test_no_piece_in_time(case: str) -> None:
    async def main() -> None:
        async def play(peer: Peer) -> None:
            await peer.request()
            await peer.send(b"HTTP/1.1 202 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
            await peer.gone()

        async with Upstream(play=play) as upstream, client(case, upstream.url, Deadlines(idle_s=0.05)) as transport:
            reply = await transport.send(ask())
            pieces = reply.chunks()
            assert await anext(pieces) == b"one"
            with pytest.raises(UpstreamError, match=r"no data for 0\.05 s") as e:
                await anext(pieces)
            assert (e.value.kind, e.value.status) == ("timeout", 202)
            reply.close()
            await upstream.all_closed(1)

    run(case, main())


@every
def test_nobody_listens(case: str) -> None:
    async def main() -> None:
        async with Upstream() as upstream:
            pass
        async with client(case, upstream.url) as transport:
            with pytest.raises(UpstreamError) as e:
                await transport.send(ask())
            assert (e.value.kind, e.value.retryable) == ("connect", True)
            assert "sk-secret" not in str(e.value)
            await transport.retire()

    run(case, main())


@every
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_a_used_connection_lost_is_not_sent_again(case: str, method: str) -> None:
    async def main() -> None:
        async def play(peer: Peer) -> None:
            await peer.request()
            await peer.send(OK)
            await peer.request()

        async with Upstream(play=play) as upstream, client(case, upstream.url) as transport:
            assert await whole(transport) == (200, b"{}")
            assert await outcome(transport, ask(b"", method=method)) == "cut"
            assert len(upstream.asked) == 2

    run(case, main())


@every
def test_reset_before_the_head(case: str) -> None:
    async def main() -> None:
        async def play(peer: Peer) -> None:
            await peer.request()
            peer.reset()

        async with Upstream(play=play) as upstream, client(case, upstream.url) as transport:
            assert await outcome(transport) == "cut"
            assert upstream.connections == 1, "never retried"

    run(case, main())


@lean  # aiohttp takes a reset for the end of such a body
def test_reset_inside_a_body_without_length(case: str) -> None:
    async def main() -> None:
        seen = asyncio.Event()

        async def play(peer: Peer) -> None:
            await peer.request()
            await peer.send(HEAD + b"\r\nhel")
            await seen.wait()
            peer.reset()

        async with Upstream(play=play) as upstream, client(case, upstream.url) as transport:
            reply = await transport.send(ask())
            pieces = reply.chunks()
            assert await anext(pieces) == b"hel"
            seen.set()
            with pytest.raises(UpstreamError) as e:
                await anext(pieces)
            assert e.value.kind == "cut"
            reply.close()

    run(case, main())


@every
def test_closed_while_idle_is_not_used_again(case: str) -> None:
    async def main() -> None:
        async def play(peer: Peer) -> None:
            await peer.request()
            await peer.send(OK)

        async with Upstream(play=play) as upstream, client(case, upstream.url) as transport:
            for n in range(1, 4):
                assert await whole(transport) == (200, b"{}")
                await upstream.all_closed(n)
            assert upstream.connections == 3

    run(case, main())


@every
def test_over_the_limit(case: str) -> None:
    async def main() -> None:
        data = HEAD + b"Content-Length: 3000000\r\n\r\n" + b"x" * 3_000_000
        async with Upstream([data]) as upstream, client(case, upstream.url) as transport:
            reply = await transport.send(ask())
            with pytest.raises(UpstreamError, match="over 1 MiB") as e:
                await reply.read(1 << 20)
            assert e.value.kind == "too_large"
            reply.close()
            await upstream.all_closed(1)

    run(case, main())


@every
def test_retire_waits_for_the_last_reply(case: str) -> None:
    async def main() -> None:
        async with Upstream([OK]) as upstream, client(case, upstream.url) as transport:
            reply = await transport.send(ask())
            retiring = asyncio.ensure_future(transport.retire())
            assert await reply.read(100) == b"{}"
            assert not retiring.done()
            reply.close()
            await retiring
            await upstream.all_closed(1)

    run(case, main())


@every
def test_a_name_that_leads_nowhere(case: str) -> None:
    async def main() -> None:
        async with client(case, "http://no-such-host.invalid") as transport:
            assert await outcome(transport) == "connect"

    run(case, main())
