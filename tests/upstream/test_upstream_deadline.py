"""Whose fault a silence is: an upstream has deadlines, a reader of ours has none. And a reply can be closed under its reader."""

from __future__ import annotations

import asyncio

import pytest
from upstream_script import CASES, LEAN, Peer, Upstream, ask, client, outcome, run

from proxy.engine.ports import UpstreamError
from proxy.upstream.transport import Deadlines


@pytest.mark.parametrize("case", LEAN)
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
