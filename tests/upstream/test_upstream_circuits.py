"""Providers that fail in a row: when one is left alone, what counts as a failure, and how it is found again."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace
from steady_script import BAD, BUSY_FOR_LONG, DOWN, FAULT, Clock, alone, every, steady
from upstream_script import OK, Peer, Upstream, ask, outcome, run, whole

from proxy.engine.ports import UpstreamError
from proxy.upstream.base import Deadlines, Provider
from proxy.upstream.lean import LeanTransport
from proxy.upstream.steady import SteadyTransport
from proxy.upstream.transport import AioTransport


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
