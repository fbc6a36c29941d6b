"""What the lean transport promises beyond the contract: who gets which connection, bounds, and that nothing leaks."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from upstream_script import LEAN, OK, Peer, Upstream, ask, chunked, client, outcome, run, runner, whole

from proxy.engine.ports import UpstreamError
from proxy.upstream import lean
from proxy.upstream.base import Deadlines
from proxy.upstream.connection import READ_HIGH
from proxy.upstream.lean import LeanTransport

every = pytest.mark.parametrize("case", LEAN)

HEAD = b"HTTP/1.1 200 OK\r\n"
TE = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def slots(transport: LeanTransport) -> int:
    return sum(pool._slots for pool in transport._pools.values())


@every
def test_the_connection_used_last_is_used_first(case: str) -> None:
    async def main() -> None:
        async with Upstream([OK] * 9) as upstream, client(case, upstream.url) as transport:
            first, second = await transport.send(ask()), await transport.send(ask())
            for reply in (first, second):
                await reply.read(9)
                reply.close()
            for _ in range(3):
                await whole(transport)
            assert [a.connection for a in upstream.asked] == [0, 1, 1, 1, 1]

    run(case, main())


@every
def test_who_waits_is_served_in_order(case: str) -> None:
    async def main() -> None:
        async with Upstream([OK] * 9) as upstream, client(case, upstream.url, connections=1) as transport:
            reply = await transport.send(ask(b"0"))
            tasks = [asyncio.ensure_future(whole(transport, ask(b"%d" % n))) for n in range(1, 6)]
            await asyncio.sleep(0)
            tasks[1].cancel()
            await reply.read(9)
            reply.close()
            await asyncio.wait(tasks)
            assert [a.body for a in upstream.asked] == [b"0", b"1", b"3", b"4", b"5"]
            assert upstream.connections == 1

    run(case, main())


@every
def test_the_next_in_line_connects_when_a_connection_is_lost(case: str) -> None:
    async def main() -> None:
        last = HEAD + b"Connection: close\r\nContent-Length: 0\r\n\r\n"
        async with Upstream([last] * 4) as upstream, client(case, upstream.url, connections=1) as transport:
            found = await asyncio.gather(*[whole(transport) for _ in range(4)])
            assert found == [(200, b"")] * 4
            assert upstream.connections == 4

    run(case, main())


@every
def test_waiting_in_line_has_a_deadline(case: str) -> None:
    async def main() -> None:
        async with Upstream([OK] * 2) as upstream, client(case, upstream.url, Deadlines(connect_s=0.05), connections=1) as transport:
            reply = await transport.send(ask())
            with pytest.raises(UpstreamError, match=r"all 1 connections to p were taken for 0\.05 s") as e:
                await transport.send(ask())
            assert (e.value.retryable, e.value.busy) == (True, True)
            await reply.read(9)
            reply.close()
            assert await whole(transport) == (200, b"{}")
            assert upstream.connections == 1

    run(case, main())


@every
@pytest.mark.parametrize("late", [False, True], ids=["with it", "later"])
def test_bytes_after_a_response_cost_the_connection(case: str, late: bool) -> None:
    async def main() -> None:
        async def play(peer: Peer) -> None:
            await peer.request()
            await peer.send(OK if late else OK + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
            if late and peer.number == 0:
                await closed.wait()
                await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
            assert await peer.gone() == b""

        closed = asyncio.Event()
        async with Upstream(play=play) as upstream, client(case, upstream.url) as transport:
            assert await whole(transport) == (200, b"{}")
            closed.set()
            await upstream.all_closed(1)
            assert await whole(transport) == (200, b"{}")
            assert upstream.connections == 2

    run(case, main())


@every
@pytest.mark.parametrize("local", [False, True])
def test_an_idle_connection_is_closed_in_time(case: str, local: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lean, "LOCAL_KEEPALIVE_S" if local else "REMOTE_KEEPALIVE_S", 0.05)

    async def main() -> None:
        async with Upstream([OK] * 2) as upstream, client(case, upstream.url, local=local) as transport:
            assert await whole(transport) == (200, b"{}")
            await upstream.all_closed(1)
            assert slots(transport) == 0
            assert await whole(transport) == (200, b"{}")

    run(case, main())


@every
def test_an_unread_but_complete_body_keeps_the_connection(case: str) -> None:
    async def main() -> None:
        async with Upstream([b"HTTP/1.1 429 Slow\r\nContent-Length: 2\r\n\r\n{}", OK]) as upstream, client(case, upstream.url) as transport:
            (await transport.send(ask())).close()
            assert await whole(transport) == (200, b"{}")
            assert upstream.connections == 1

    run(case, main())


@every
def test_nobody_reads_so_nothing_piles_up(case: str) -> None:
    async def main() -> None:
        size = 1 << 25
        large = HEAD + b"Content-Length: %d\r\n\r\n" % size + b"x" * size
        async with Upstream([large, OK]) as upstream, client(case, upstream.url) as transport:
            reply = await transport.send(ask())
            found = 0
            async for piece in reply.chunks():
                assert len(piece) <= 3 * READ_HIGH
                found += len(piece)
                for _ in range(50):
                    await asyncio.sleep(0)
            reply.close()
            assert found == size
            assert await whole(transport) == (200, b"{}")
            assert upstream.connections == 1

    run(case, main())


@every
def test_all_that_came_is_one_piece(case: str) -> None:
    async def main() -> None:
        parts = [b"%d" % n for n in range(500)]
        async with Upstream([TE + chunked(*parts)]) as upstream, client(case, upstream.url) as transport:
            reply = await transport.send(ask())
            found = [piece async for piece in reply.chunks()]
            reply.close()
            assert b"".join(found) == b"".join(parts)
            assert len(found) < 10

    run(case, main())


@every
@pytest.mark.parametrize("coding", ["gzip, br", "compress", "br, br"])
def test_an_encoding_that_is_not_ours(case: str, coding: str) -> None:
    async def main() -> None:
        data = HEAD + f"Content-Encoding: {coding}\r\nContent-Length: 2\r\n\r\nxx".encode()
        async with Upstream([data]) as upstream, client(case, upstream.url) as transport:
            assert await outcome(transport) == "protocol"
            await upstream.all_closed(1)
            await transport.retire()

    run(case, main())


@every
def test_close_breaks_off_what_runs_and_a_later_send_connects_anew(case: str) -> None:
    async def main() -> None:
        async def play(peer: Peer) -> None:
            await peer.request()
            if peer.number == 0:
                await peer.send(TE)
                await peer.gone()
            await peer.send(OK)

        async with Upstream(play=play) as upstream, client(case, upstream.url, connections=1) as transport:
            reply = await transport.send(ask())
            reading = asyncio.ensure_future(reply.read(9))
            waiting = asyncio.ensure_future(transport.send(ask()))
            await asyncio.sleep(0)
            await transport.close()
            with pytest.raises(UpstreamError) as read:
                await reading
            with pytest.raises(UpstreamError) as waited:
                await waiting
            assert (read.value.kind, waited.value.kind) == ("cut", "connect")
            reply.close()
            assert await whole(transport) == (200, b"{}")

    run(case, main())


@every
def test_a_closed_reply_gives_nothing_more(case: str) -> None:
    async def main() -> None:
        async with Upstream([OK, OK]) as upstream, client(case, upstream.url) as transport:
            reply = await transport.send(ask())
            reply.close()
            with pytest.raises(UpstreamError, match="was closed"):
                await reply.read(9)
            done = await transport.send(ask())
            assert await done.read(9) == b"{}"
            done.close()
            assert await done.read(9) == b""

    run(case, main())


@every
def test_protocols_of_one_host_share_their_connections(case: str) -> None:
    async def main() -> None:
        async with Upstream([OK] * 2) as upstream, client(case, upstream.url) as transport:
            await whole(transport)
            await whole(transport, ask(protocol="anthropic"))
            assert upstream.connections == 1

    run(case, main())


@every
def test_whatever_is_cancelled_nothing_leaks(case: str) -> None:
    """Forty senders on three connections to an upstream of moods; some are cancelled at some turn of the loop. All slots come back."""
    moods = [OK, HEAD + b"Connection: close\r\nContent-Length: 2\r\n\r\n{}", TE + chunked(b"a", b"b"), HEAD + b"\r\nx", b"junk\r\n", HEAD]

    with runner(case) as it:

        @settings(max_examples=40, deadline=None)
        @given(st.integers(0, 1 << 30), st.lists(st.integers(0, 60), min_size=40, max_size=40))
        def check(seed: int, turns: list[int]) -> None:
            dice = random.Random(seed)

            async def play(peer: Peer) -> None:
                while True:
                    await peer.request()
                    mood = dice.choice(moods)
                    await peer.send(mood[: len(mood) // 2], mood[len(mood) // 2 :])
                    if mood in moods[3:] or dice.random() < 0.1:
                        return

            async def cancel(task: asyncio.Task[Any], turn: int) -> None:
                for _ in range(turn):
                    await asyncio.sleep(0)
                if turn < 50:
                    task.cancel()

            async def main() -> None:
                async with asyncio.timeout(20), Upstream(play=play) as upstream, client(case, upstream.url, connections=3) as transport:
                    tasks = [asyncio.ensure_future(outcome(transport)) for _ in turns]
                    await asyncio.gather(*[cancel(t, n) for t, n in zip(tasks, turns, strict=True)])
                    found = await asyncio.gather(*tasks, return_exceptions=True)
                    assert all(not isinstance(f, Exception) for f in found)
                    pools = list(transport._pools.values())
                    await transport.retire()
                    assert [(p._slots, len(p._idle), len(p._alive), len(p._line)) for p in pools] == [(0, 0, 0, 0)] * len(pools)
                    assert transport._active == 0

            it.run(main())

        check()
