"""What our own client sends and what it refuses to send: bodies, paths, names and framing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket

import pytest
from upstream_script import LEAN, OK, Peer, Upstream, ask, client, outcome, run, whole

from proxy.upstream.base import Deadlines

every = pytest.mark.parametrize("case", LEAN)


@every
def test_an_upstream_that_does_not_take_the_body(case: str) -> None:
    async def main() -> None:
        async def play(peer: Peer) -> None:
            await peer.head()
            await ended.wait()

        ended = asyncio.Event()
        async with Upstream(play=play) as upstream, client(case, upstream.url, Deadlines(first_byte_s=0.1)) as transport:
            assert await outcome(transport, ask(b"x" * 30_000_000)) == "timeout"
            ended.set()

    run(case, main())


@every
def test_an_upstream_that_goes_away_inside_the_body(case: str) -> None:
    async def main() -> None:
        async def play(peer: Peer) -> None:
            await peer.head()
            peer.reset()

        async with Upstream(play=play) as upstream, client(case, upstream.url) as transport:
            assert await outcome(transport, ask(b"x" * 30_000_000)) == "cut"

    run(case, main())


@every
@pytest.mark.parametrize("path", ["/a b", "/a\r\nX: y", "/a\x00", "/\u00e9", "/a#b", "/a\x7f"])
def test_a_path_that_cannot_be_sent(case: str, path: str) -> None:
    async def main() -> None:
        async with Upstream([OK]) as upstream, client(case, upstream.url) as transport:
            assert await outcome(transport, ask(path=path)) == "protocol"
            assert await outcome(transport, ask(method="GE T")) == "protocol"
            assert await outcome(transport, ask(headers=[("a b", "c")])) == "protocol"
            assert await outcome(transport, ask(headers=[("", "c")])) == "protocol"
            assert await outcome(transport, ask(headers=[("a", "\ud800")])) == "protocol"
            assert upstream.asked == []

    run(case, main())


@every
def test_framing_is_the_transports_own(case: str) -> None:
    async def main() -> None:
        headers = [("Content-Length", "1"), ("transfer-encoding", "chunked"), ("Host", "evil"), ("Connection", "close"), ("Expect", "100")]
        async with Upstream([OK]) as upstream, client(case, upstream.url) as transport:
            await whole(transport, ask(b"xyz", headers=headers))
            asked = upstream.asked[0]
            assert asked.body == b"xyz"
            assert [n.lower() for n, _ in asked.headers] == ["host", "accept-encoding", "authorization", "content-length"]
            assert asked.get("host") == [f"127.0.0.1:{upstream.port}"]

    run(case, main())


def test_many_paths_and_names_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.upstream.request.REMEMBERED", 3)

    async def main() -> None:
        async with Upstream([OK] * 10) as upstream, client(LEAN[0], upstream.url) as transport:
            for n in range(10):
                assert await whole(transport, ask(path=f"/{n}", headers=[(f"X-{n}", "1")])) == (200, b"{}")
            endpoint = transport._ways["p", "openai"][0]
            assert max(len(endpoint._starts), len(endpoint._passes)) <= 3
            assert [a.get(f"x-{n}") for n, a in enumerate(upstream.asked)] == [["1"]] * 10

    run(LEAN[0], main())


def test_long_paths_and_names_are_not_kept() -> None:
    long = "x" * 5000

    async def main() -> None:
        async with Upstream([OK] * 2) as upstream, client(LEAN[0], upstream.url) as transport:
            for _ in range(2):
                assert await whole(transport, ask(path=f"/{long}", headers=[(long, "1"), ("Connection", "close")])) == (200, b"{}")
            endpoint = transport._ways["p", "openai"][0]
            assert (list(endpoint._starts), list(endpoint._passes)) == ([], ["Connection"])
            assert [(a.get(long), len(a.line) > 5000) for a in upstream.asked] == [(["1"], True)] * 2

    run(LEAN[0], main())


@every
def test_a_connection_that_ends_before_its_request_has_left(case: str) -> None:
    async def main() -> None:
        faults = list[object]()
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: faults.append(context))
        async with Upstream([OK, OK]) as upstream, client(case, upstream.url) as transport:
            await whole(transport, ask())
            pool = transport._ways["p", "openai"][1]
            [connection] = pool._alive
            asking = loop.create_task(outcome(transport, ask(b"sent once")))
            loop.call_soon(connection.abort)  # behind the first step of `asking`, in front of what it leaves for the end of the turn
            assert await asking == (200, b"{}"), "on another one"
            assert [asked.body for asked in upstream.asked] == [b"{}", b"sent once"]
            assert faults == []

    run(case, main())


@every
@pytest.mark.parametrize("unasked", [b"", OK])
def test_a_connection_that_the_upstream_gives_up_before_a_request_has_left_is_replaced(case: str, unasked: bytes) -> None:
    async def main() -> None:
        async def play(peer: Peer) -> None:
            peers.append(peer)
            with contextlib.suppress(asyncio.IncompleteReadError):
                while (await peer.request()).line:
                    await peer.send(OK)

        peers: list[Peer] = []
        loop = asyncio.get_running_loop()
        async with Upstream(play=play) as upstream, client(case, upstream.url) as transport:
            await whole(transport, ask(b"one"))
            asking = loop.create_task(whole(transport, ask(b"two")))
            with socket.socket(fileno=os.dup(peers[0].writer.get_extra_info("socket").fileno())) as theirs:
                loop.call_soon(*((theirs.send, unasked) if unasked else (theirs.shutdown, socket.SHUT_RDWR)))
                assert await asking == (200, b"{}")
            assert [(asked.body, asked.connection) for asked in upstream.asked] == [(b"one", 0), (b"two", 1)]

    run(case, main())
