"""Whose fault a silence is: an upstream has deadlines, a reader of ours has none. And a reply can be closed under its reader."""

from __future__ import annotations

import asyncio

import pytest
from upstream_script import CASES, Peer, Upstream, ask, client, outcome, run

from proxy.engine.ports import UpstreamError
from proxy.upstream.base import Deadlines


@pytest.mark.parametrize("case", CASES)
def test_a_slow_reader_is_not_a_silent_upstream(case: str) -> None:
    async def main() -> None:
        more = asyncio.Event()

        async def play(peer: Peer) -> None:
            await peer.request()
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\none")
            if peer.number == 0:
                await more.wait()
                await peer.send(b"two")
            await peer.gone()

        async with Upstream(play=play) as upstream, client(case, upstream.url, Deadlines(first_byte_s=0.05, idle_s=0.05)) as transport:
            slow = await transport.send(ask())
            pieces = slow.chunks()
            assert await anext(pieces) == b"one"
            for _ in range(3):
                assert await outcome(transport) == "timeout", "the deadline has passed once more, for another exchange"
            more.set()
            assert await anext(pieces) == b"two"
            with pytest.raises(StopAsyncIteration):
                await anext(pieces)
            slow.close()

    run(case, main())


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("own", [True, False])
def test_a_reply_that_never_ends_is_cut_at_its_deadline(case: str, own: bool) -> None:
    """Each piece comes in time, only the whole is too long. A provider's own deadline holds before the common one."""

    async def main() -> None:
        async def play(peer: Peer) -> None:
            await peer.request()
            await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while not peer.writer.transport.is_closing():
                await peer.send(b"1\r\nx\r\n")

        short = Deadlines(total_s=0.1)
        common, its = (Deadlines(), short) if own else (short, None)
        async with Upstream(play=play) as upstream, client(case, upstream.url, common, deadlines=its) as transport:
            reply = await transport.send(ask())
            with pytest.raises(UpstreamError, match=r"was not over within 0\.1 s") as e:
                async for _ in reply.chunks():
                    pass
            reply.close()
            assert (e.value.kind, e.value.status, e.value.retryable) == ("timeout", 200, False)
            await upstream.all_closed(1)

    run(case, main())


@pytest.mark.parametrize("case", CASES)
def test_the_whole_deadline_holds_for_the_head_too(case: str) -> None:
    async def main() -> None:
        async def play(peer: Peer) -> None:
            await peer.request()
            await peer.gone()

        async with Upstream(play=play) as upstream, client(case, upstream.url, Deadlines(total_s=0.05)) as transport:
            with pytest.raises(UpstreamError, match=r"was not over within 0\.05 s") as e:
                await transport.send(ask())
            assert e.value.kind == "timeout"

    run(case, main())


@pytest.mark.parametrize("case", CASES)
def test_a_provider_has_its_own_number_of_connections_and_the_wait_for_one_is_bounded(case: str) -> None:
    """Requests above the cap wait for `connect_s`; what waits in vain cost nothing, and nothing is kept for it."""

    async def main() -> None:
        async def play(peer: Peer) -> None:
            await peer.request()
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\none")
            await peer.gone()

        bounds = Deadlines(connect_s=0.1)
        async with Upstream(play=play) as upstream, client(case, upstream.url, connections=2, deadlines=bounds) as transport:
            held = [await transport.send(ask()) for _ in range(2)]
            found = await asyncio.gather(*[outcome(transport) for _ in range(100)])
            assert found == ["connect"] * 100
            assert upstream.connections == 2
            for reply in held:
                reply.close()

    run(case, main())


@pytest.mark.parametrize("case", CASES)
def test_a_reply_closed_by_someone_else_breaks_off(case: str) -> None:
    async def main() -> None:
        async def play(peer: Peer) -> None:
            await peer.request()
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\none")
            await peer.gone()

        async with Upstream(play=play) as upstream, client(case, upstream.url) as transport:
            reply = await transport.send(ask())
            pieces = reply.chunks()
            assert await anext(pieces) == b"one"
            reading = asyncio.ensure_future(anext(pieces))
            await asyncio.sleep(0)
            reply.close()
            with pytest.raises(UpstreamError) as e:
                await reading
            assert e.value.kind == "cut"
            await upstream.all_closed(1)

    run(case, main())
