"""The transport around both others: what is sent again, which provider is left alone, and that nobody waits at the end."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace
from steady_script import BAD, BUSY_FOR_LONG, DOWN, FAULT, Notes, alone, every, steady
from upstream_script import OK, Peer, Upstream, ask, outcome, run, whole

BUSY = b"HTTP/1.1 429 Busy\r\nRetry-After: 0\r\nContent-Length: 2\r\n\r\n{}"
BUSY_A_SECOND = BUSY.replace(b"After: 0", b"After: 2")


@every
@pytest.mark.parametrize("first", [DOWN, BUSY, BUSY.replace(b"429", b"529")])
def test_what_did_no_work_is_sent_again(case: str, first: bytes) -> None:
    async def main() -> None:
        notes = Notes()
        async with Upstream([first, OK]) as upstream, steady(case, upstream.url) as transport:
            assert await whole(transport, alone(notes)) == (200, b"{}")
            assert [one.line for one in upstream.asked] == ["POST /v1/chat HTTP/1.1"] * 2
            assert [one.body for one in upstream.asked] == [b"{}"] * 2
        status = first[9:12].decode()
        assert notes.said == [("upstream", f"p answered {status}; asking again in 0.12 s (attempt 2)")]

    run(case, main())


@every
@pytest.mark.parametrize(
    ("replies", "retries", "with_others", "status", "asked"),
    [
        ([DOWN, DOWN], 1, False, 503, 2),
        ([DOWN], 0, False, 503, 1),
        ([DOWN], 1, True, 503, 1),
        ([FAULT], 1, False, 500, 1),
        ([BAD], 1, False, 400, 1),
        ([BUSY_FOR_LONG], 1, False, 429, 1),
        ([BUSY, DOWN, BAD], 5, False, 400, 3),
    ],
)
def test_what_is_not(case: str, replies: list[bytes], retries: int, with_others: bool, status: int, asked: int) -> None:
    async def main() -> None:
        async with Upstream(replies) as upstream, steady(case, upstream.url, retries=retries) as transport:
            request = ask() if with_others else alone()
            assert await whole(transport, request) == (status, b"{}")
            assert len(upstream.asked) == asked

    run(case, main())


@every
def test_no_connection_is_tried_again_and_shares_its_deadline(case: str) -> None:
    async def main() -> None:
        upstream = await Upstream([OK]).__aenter__()
        await upstream.__aexit__(None, None, None)
        notes = Notes()
        async with steady(case, upstream.url, retries=2) as transport:
            assert await outcome(transport, alone(notes)) == "connect"
        assert [words.partition(";")[0] for _, words in notes.said] == ["p could not be reached"] * 2
        async with steady(case, upstream.url, retries=2, connect_s=0.1) as transport:
            assert await outcome(transport, alone(late := Notes())) == "connect"
        assert late.said == [], "the pause would outlast connect_s"

    run(case, main())


@every
def test_what_broke_off_is_never_sent_again(case: str) -> None:
    """The request reached the provider, on a connection used before: it may have worked."""

    async def main() -> None:
        async def play(peer: Peer) -> None:
            await peer.request()
            await peer.send(OK)
            await peer.request()
            peer.reset()

        async with Upstream(play=play) as upstream, steady(case, upstream.url, retries=5) as transport:
            assert await whole(transport, alone()) == (200, b"{}")
            assert await outcome(transport, alone()) == "cut"
            assert len(upstream.asked) == 2

    run(case, main())


@every
@pytest.mark.parametrize("end", ["the client leaves", "the process ends"])
def test_nobody_waits_at_the_end(case: str, end: str) -> None:
    async def main() -> None:
        paused = asyncio.Event()

        def note(stage: str, words: str) -> None:
            paused.set()

        async with Upstream([BUSY_A_SECOND, BUSY_A_SECOND]) as upstream, steady(case, upstream.url) as transport:
            request = replace(ask(), alone=True, note=note)
            asking = asyncio.ensure_future(whole(transport, request))
            await paused.wait()
            began = asyncio.get_running_loop().time()
            if end == "the client leaves":
                asking.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await asking
                assert request.idle, "who leaves in a pause owes nothing"
            else:
                await asyncio.sleep(0)
                transport.hurry()
                assert await asking == (429, b"{}"), "the reply that there was"
                assert await whole(transport, alone()) == (429, b"{}")
            assert asyncio.get_running_loop().time() - began < 1
            assert len(upstream.asked) == (1 if end == "the client leaves" else 2)
            await transport.retire()

    run(case, main())


@every
def test_a_reload_lets_those_who_pause_finish_on_the_old_transport(case: str) -> None:
    async def main() -> None:
        async with Upstream([BUSY, OK]) as upstream, steady(case, upstream.url) as transport:
            paused = asyncio.Event()
            request = replace(ask(), alone=True, note=lambda stage, words: paused.set())
            asking = asyncio.ensure_future(whole(transport, request))
            await paused.wait()
            await asyncio.sleep(0)
            await transport.retire()
            assert await asking == (200, b"{}")
            await upstream.all_closed(upstream.connections)

    run(case, main())
