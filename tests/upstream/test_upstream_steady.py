"""The transport around both others: what is sent again, which provider is left alone, and that nobody waits at the end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import pytest
from upstream_script import CASES, OK, Peer, Upstream, ask, outcome, run, whole

from proxy.engine.ports import UpstreamError, UpstreamRequest
from proxy.upstream.base import Deadlines, Provider
from proxy.upstream.lean import LeanTransport
from proxy.upstream.steady import SteadyTransport
from proxy.upstream.transport import AioTransport

every = pytest.mark.parametrize("case", CASES)
DOWN = b"HTTP/1.1 503 Down\r\nContent-Length: 2\r\n\r\n{}"
FAULT = b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\n{}"
BUSY = b"HTTP/1.1 429 Busy\r\nRetry-After: 0\r\nContent-Length: 2\r\n\r\n{}"
BUSY_FOR_LONG = b"HTTP/1.1 429 Busy\r\nRetry-After: 20\r\nContent-Length: 2\r\n\r\n{}"
BAD = b"HTTP/1.1 400 Bad\r\nContent-Length: 2\r\n\r\n{}"
BUSY_A_SECOND = BUSY.replace(b"After: 0", b"After: 2")


@dataclass
class Clock:
    """Time that a test winds."""

    time: float = 1000.0

    def __call__(self) -> float:
        return self.time


@dataclass
class Notes:
    """What `fleetgate explain` would say."""

    said: list[tuple[str, str]] = field(default_factory=list)

    def __call__(self, stage: str, words: str) -> None:
        self.said.append((stage, words))


@contextlib.asynccontextmanager
async def steady(
    case: str, url: str, *, failures: int = 0, retries: int = 1, clock: Clock | None = None, connections: int = 9, **more: float
) -> AsyncIterator[SteadyTransport]:
    kind = AioTransport if case.startswith("aiohttp") else LeanTransport
    provider = Provider("p", {"openai": f"{url}/v1"}, retries=retries, deadlines=Deadlines(**more), connections=connections)
    inner = kind([provider], Deadlines())
    transport = SteadyTransport(inner, [provider], failures, 5.0, luck=lambda: 0.0, now=clock or time.monotonic)
    try:
        yield transport
    finally:
        await transport.close()


def alone(notes: Notes | None = None) -> UpstreamRequest:
    """A request with no other target behind it."""
    return replace(ask(), alone=True, note=notes or Notes())


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


@every
@pytest.mark.parametrize("failure", ["no connection", "500", "503", "cut", "timeout"])
def test_a_provider_that_fails_in_a_row_is_left_alone_and_found_again(case: str, failure: str) -> None:
    async def main() -> None:
        clock, up = Clock(), asyncio.Event()

        async def play(peer: Peer) -> None:
            while True:
                await peer.request()
                if up.is_set():
                    await peer.send(OK)
                elif failure == "cut":
                    return
                elif failure == "timeout":
                    await peer.gone()
                else:
                    await peer.send(FAULT if failure == "500" else DOWN)

        async with Upstream(play=play) as upstream:
            url = "http://127.0.0.1:1" if failure == "no connection" else upstream.url
            async with steady(case, url, failures=3, clock=clock, first_byte_s=0.05) as transport:
                for _ in range(3):
                    assert transport.circuits() == {"p": False}
                    await outcome(transport)
                assert transport.circuits() == {"p": True}
                asked = len(upstream.asked)
                clock.time += 4.0
                with pytest.raises(
                    UpstreamError, match=r"the circuit of p is open after 3 failures in a row; the next trial is in 1\.0 s"
                ) as e:
                    await transport.send(alone())
                assert (e.value.kind, e.value.retryable, e.value.retry_after_s) == ("connect", True, 1)
                assert len(upstream.asked) == asked, "nothing was sent"
                clock.time += 1.0
                await outcome(transport)
                assert transport.circuits() == {"p": True}
                with pytest.raises(UpstreamError, match=r"the next trial is in 10\.0 s"):
                    await transport.send(ask())
                if failure == "no connection":
                    return
                clock.time += 10.0
                up.set()
                assert await whole(transport) == (200, b"{}")
                assert transport.circuits() == {"p": False}

    run(case, main())


@every
@pytest.mark.parametrize("reply", [BAD, BUSY_FOR_LONG, OK])
def test_an_answer_is_no_failure(case: str, reply: bytes) -> None:
    async def main() -> None:
        async with Upstream([FAULT, reply, FAULT, reply, FAULT]) as upstream, steady(case, upstream.url, failures=2) as transport:
            for _ in range(5):
                await whole(transport)
            assert transport.circuits() == {"p": False}

    run(case, main())


@every
def test_a_request_that_cannot_be_sent_is_no_failure_of_the_provider(case: str) -> None:
    async def main() -> None:
        async with Upstream([OK]) as upstream, steady(case, upstream.url, failures=2) as transport:
            for _ in range(5):
                assert await outcome(transport, ask(headers=[("X-A", "b\r\nEvil: 1")])) == "protocol"
            assert await whole(transport) == (200, b"{}")

    run(case, main())


@every
def test_a_lack_of_free_connections_is_no_failure_of_the_provider(case: str) -> None:
    async def main() -> None:
        async def play(peer: Peer) -> None:
            await peer.request()
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{")
            await peer.gone()

        async with Upstream(play=play) as upstream, steady(case, upstream.url, failures=2, connections=1, connect_s=0.05) as transport:
            slow = await transport.send(first := ask())
            assert not first.idle, "it is with the provider"
            leaving = asyncio.ensure_future(transport.send(second := ask()))
            await asyncio.sleep(0)
            leaving.cancel()
            await asyncio.wait([leaving])
            assert second.idle is not case.startswith("aiohttp"), "only ours can tell that nothing was sent"
            for _ in range(3):
                with pytest.raises(UpstreamError, match=r"all 1 connections to p were taken for 0\.05 s") as e:
                    await transport.send(ask())
                assert (e.value.kind, e.value.retryable) == ("connect", True)
            assert transport.circuits() == {"p": False}
            slow.close()

    run(case, main())


@every
def test_the_failure_that_opens_the_circuit_is_not_tried_again(case: str) -> None:
    async def main() -> None:
        async with Upstream([DOWN, DOWN]) as upstream, steady(case, upstream.url, failures=2, retries=5) as transport:
            assert await whole(transport, alone()) == (503, b"{}")
            assert len(upstream.asked) == 2
            assert transport.circuits() == {"p": True}

    run(case, main())


# --- local servers that others stand behind ----------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def local(case: str, url: str, queue: int, clock: Clock | None = None, failures: int = 1) -> AsyncIterator[SteadyTransport]:
    kind = AioTransport if case.startswith("aiohttp") else LeanTransport
    provider = Provider("p", {"openai": f"{url}/v1"}, local=True, queue=queue)
    transport = SteadyTransport(kind([provider], Deadlines()), [provider], failures, 5.0, now=clock or time.monotonic)
    try:
        yield transport
    finally:
        await transport.close()


@every
def test_a_busy_local_server_is_passed_over_by_those_that_can_go_elsewhere(case: str) -> None:
    async def main() -> None:
        async with Upstream([OK] * 9) as upstream, local(case, upstream.url, 2) as transport:
            first, second = await transport.send(ask()), await transport.send(replace(ask(), spare=True))
            with pytest.raises(UpstreamError) as caught:
                await transport.send(replace(ask(), spare=True))
            assert (caught.value.kind, caught.value.busy) == ("connect", True)
            third = await transport.send(ask())  # nobody else can serve this one
            for reply in (first, second, third):
                assert await reply.read(1000) == b"{}"
                reply.close()
                reply.close()
            assert await whole(transport, replace(ask(), spare=True)) == (200, b"{}")

    run(case, main())


@every
def test_what_fails_is_not_in_flight(case: str) -> None:
    async def main() -> None:
        async with local(case, "http://127.0.0.1:9", 1, failures=0) as transport:
            for _ in range(3):
                with pytest.raises(UpstreamError) as caught:
                    await transport.send(replace(ask(), spare=True))
                assert not caught.value.busy

    run(case, main())


@every
def test_a_head_alone_does_not_close_the_circuit_of_a_server_that_says_no_more(case: str) -> None:
    clock = Clock()

    async def main() -> None:
        async with Upstream([OK] * 9) as upstream, local(case, upstream.url, 9, clock, failures=2) as transport:
            for _ in range(2):
                request = replace(ask(), spare=True)
                reply = await transport.send(request)
                reply.close()
                request.report(False)
            assert transport.circuits() == {"p": True}
            with pytest.raises(UpstreamError, match="is open"):
                await transport.send(replace(ask(), spare=True))
            clock.time += 6
            request = replace(ask(), spare=True)
            reply = await transport.send(request)
            reply.close()
            assert transport.circuits() == {"p": True}
            request.report(True)
            assert transport.circuits() == {"p": False}

    run(case, main())
