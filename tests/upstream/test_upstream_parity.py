"""What went unsaid for one of the two transports: half-closes, stale connections, bounds of heads, and pressure in both directions."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from upstream_script import CASES, LEAN, OK, Peer, Upstream, ask, chunked, client, outcome, run, whole

from proxy.upstream.base import Deadlines

every = pytest.mark.parametrize("case", CASES)
HEAD = b"HTTP/1.1 200 OK\r\n"
TE = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@every
@pytest.mark.parametrize(
    ("reply", "found"),
    [
        (OK, (200, b"{}")),
        (HEAD + b"\r\nuntil the end", (200, b"until the end")),
        (b"", "cut"),
        (HEAD + b"Content-Length: 5\r\n\r\nhel", "cut"),
        (TE + b"5\r\nhello\r\n", "cut"),
    ],
    ids=["whole", "without length", "no head", "half a body", "no last chunk"],
)
def test_an_upstream_that_says_no_more_but_still_listens(case: str, reply: bytes, found: object) -> None:
    """After its end of stream nothing can come, so our side closes too, and the next request has a connection of its own."""

    async def main() -> None:
        async def play(peer: Peer) -> None:
            await peer.request()
            await peer.send(*([reply] if reply else ()))
            peer.writer.write_eof()
            assert await peer.gone() == b""

        async with Upstream(play=play) as upstream, client(case, upstream.url) as transport:
            for n in range(1, 3):
                assert await outcome(transport) == found
                await upstream.all_closed(n)
            assert upstream.connections == 2

    run(case, main())


@contextlib.contextmanager
def stale() -> Iterator[tuple[int, Callable[[], None], list[bytes]]]:
    """A server in a thread that answers one request a connection and closes it when it is told to, whatever the client's loop does."""
    requests: list[bytes] = []
    close, closed, over = threading.Event(), threading.Event(), threading.Event()

    def serve(listener: socket.socket) -> None:
        while True:
            connection, _ = listener.accept()
            with connection:
                if over.is_set():
                    return
                requests.append(connection.recv(65536))
                connection.sendall(OK)
                close.wait(20)
                close.clear()
            closed.set()

    def end() -> None:
        close.set()
        assert closed.wait(20)
        closed.clear()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        yield listener.getsockname()[1], end, requests
        over.set()
        close.set()
        socket.create_connection(listener.getsockname()).close()
        thread.join()


@every
def test_a_connection_that_was_closed_a_moment_ago(case: str) -> None:
    """The end lies in the kernel, the event loop has not seen it. Ours asks the kernel and connects anew: nothing was sent, so nothing is
    sent twice. aiohttp's client writes into it; that nobody can know what was read is then said, and nothing sent again.
    """

    async def main() -> None:
        with stale() as (port, end, requests):
            async with client(case, f"http://127.0.0.1:{port}") as transport:
                assert await whole(transport) == (200, b"{}")
                end()  # the loop does not run meanwhile
                found = await outcome(transport)
                assert found == ("cut" if case in CASES[:1] else (200, b"{}"))
                assert len(requests) == (1 if case in CASES[:1] else 2)

    run(case, main())


@every
@pytest.mark.parametrize(
    ("reply", "kinds"),
    [
        (HEAD + b"A: " + b"b" * 60_000 + b"\r\nContent-Length: 2\r\n\r\n{}", None),
        (HEAD + b"A: " + b"b" * 70_000 + b"\r\nContent-Length: 2\r\n\r\n{}", {"protocol"}),
        (HEAD + b"A: b\r\n" * 100 + b"Content-Length: 2\r\n\r\n{}", None),
        (HEAD + b"A: b\r\n" * 1000 + b"Content-Length: 2\r\n\r\n{}", {"protocol"}),
        (b"HTTP/1.1 200 " + b"O" * 70_000 + b"\r\nContent-Length: 2\r\n\r\n{}", {"protocol"}),
        (HEAD + b"Content-Length: 99999999999999999999\r\n\r\n{}", {"protocol"}),
    ],
    ids=["long header", "too long a header", "many headers", "too many headers", "long reason", "a length that nobody has"],
)
def test_bounds_of_a_head(case: str, reply: bytes, kinds: set[str] | None) -> None:
    async def main() -> None:
        async with Upstream([reply], close_after=True) as upstream, client(case, upstream.url) as transport:
            found = await outcome(transport)
            assert found == (200, b"{}") if kinds is None else found in kinds

    run(case, main())


@every
def test_who_does_not_read_is_not_sent_more(case: str) -> None:
    """What waits between an upstream and a reader who rests is bounded by what both transports and the kernel hold."""
    piece = b"x" * 65_536

    async def main() -> None:
        sent, stuck = [0], asyncio.Event()

        async def play(peer: Peer) -> None:
            await peer.request()
            peer.writer.write(TE)
            peer.writer.transport.set_write_buffer_limits(0)
            for _ in range(1000):
                peer.writer.write(chunked(piece)[:-5])
                sent[0] += 1
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.3):
                        await peer.writer.drain()
                        continue
                stuck.set()
                await peer.writer.drain()
            await peer.send(b"0\r\n\r\n")

        async with Upstream(play=play) as upstream, client(case, upstream.url) as transport:
            reply = await transport.send(ask())
            await stuck.wait()
            assert sent[0] < 500
            body = await reply.read(1 << 27)
            reply.close()
            assert len(body) == 1000 * len(piece)

    run(case, main())


@every
def test_an_upstream_that_takes_a_body_slowly_gets_all_of_it(case: str) -> None:
    body = bytes(range(256)) * 40_000

    async def main() -> None:
        got = bytearray()

        async def play(peer: Peer) -> None:
            await peer.head()
            while len(got) < len(body):
                got.extend(await peer.reader.read(200_000))
                await asyncio.sleep(0)
            await peer.send(OK)

        async with Upstream(play=play) as upstream, client(case, upstream.url) as transport:
            assert await whole(transport, ask(body)) == (200, b"{}")
            assert got == body

    run(case, main())


@every
def test_an_upstream_that_does_not_take_the_body_is_left(case: str) -> None:
    """aiohttp's client counts the wait for the head from the end of the body, so there it is the whole exchange's deadline that ends it."""

    async def main() -> None:
        ended = asyncio.Event()

        async def play(peer: Peer) -> None:
            await peer.head()
            await ended.wait()

        async with Upstream(play=play) as upstream:
            async with client(case, upstream.url, Deadlines(first_byte_s=0.1, total_s=0.3)) as transport:
                assert await outcome(transport, ask(b"x" * 30_000_000)) == "timeout"
            ended.set()

    run(case, main())


@every
def test_a_reply_over_in_the_middle_of_the_request_spoils_the_connection(case: str) -> None:
    """The answer is whole and says keep-alive; half of the request never left, so no other may follow on that connection."""

    async def main() -> None:
        first = asyncio.Event()

        async def play(peer: Peer) -> None:
            await peer.head()
            if peer.number == 0:
                await peer.send(b"HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\n{}")
                await first.wait()
                await peer.gone()
            else:
                await peer.reader.readexactly(2)
                await peer.send(OK)

        async with Upstream(play=play) as upstream, client(case, upstream.url) as transport:
            assert await whole(transport, ask(b"x" * 30_000_000)) == (401, b"{}")
            assert await whole(transport) == (200, b"{}")
            first.set()
            assert upstream.connections == 2

    run(case, main())


@pytest.mark.parametrize("case", LEAN)
def test_connections_are_opened_ahead_as_far_as_there_is_room(case: str) -> None:
    async def main() -> None:
        come = asyncio.Semaphore(0)

        async def play(peer: Peer) -> None:
            come.release()
            await peer.request()
            await peer.send(OK)
            await peer.gone()

        async with Upstream(play=play) as upstream, client(case, upstream.url, connections=3, warm=5) as transport:
            await transport.warm()
            for _ in range(3):
                await come.acquire()
            assert upstream.connections == 3, "two protocols of one host share them"
            assert await whole(transport) == (200, b"{}")
            assert upstream.connections == 3
            await transport.close()
        async with client(case, upstream.url, warm=2) as transport:
            await transport.warm()
            assert await outcome(transport) == "connect"

    run(case, main())


def test_opening_ahead_is_nothing_for_aiohttps_client() -> None:
    async def main() -> None:
        async with Upstream([OK]) as upstream, client(CASES[0], upstream.url, warm=5) as transport:
            await transport.warm()
            assert await whole(transport) == (200, b"{}")
            assert upstream.connections == 1

    run(CASES[0], main())
