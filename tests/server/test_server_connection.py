"""One connection, driven without sockets: what arrives in which pieces, who is slow, who leaves, and what the client reads."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, cast

import pytest
from edge_wire import Wire, turns

from proxy.engine.ports import BodyTimeout, BodyTooLarge, ClientGone
from proxy.server import connection
from proxy.server.client import EdgeClient
from proxy.server.connection import HELD_HIGH, READ_HIGH, Connection
from proxy.wire.call import WireError

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: x\r\n"
LIMIT = 4 << 20
Handle = Callable[[EdgeClient], Awaitable[None]]


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 30))


def opened(handle: Handle, body_s: float = 60) -> tuple[Connection, Wire, set[Connection]]:
    there: set[Connection] = set()
    made, wire = Connection(handle, lambda fault: b"HTTP/1.1 %d \r\n\r\n" % (500 if fault else 400), body_s, there), Wire()
    made.connection_made(wire)
    return made, wire, there


def statuses(wire: Wire) -> list[int]:
    return [int(part[:3]) for part in bytes(wire.written).split(b"HTTP/1.1 ")[1:]]


async def over(made: Connection) -> None:
    assert made.task is not None
    await asyncio.wait({made.task})


async def echo(client: EdgeClient) -> None:
    await client.send(200, [], await client.read(LIMIT))


async def deaf(client: EdgeClient) -> None:
    await client.send(401, [], b"no")


def test_a_request_in_one_piece_is_answered_and_the_next_one_too() -> None:
    async def work() -> None:
        made, wire, there = opened(echo)
        assert there == {made}
        for _ in range(2):
            made.data_received(POST + b"Content-Length: 2\r\n\r\nhi")
            await turns()
        assert statuses(wire) == [200, 200]
        assert wire.written.endswith(b"content-length: 2\r\n\r\nhi")
        assert wire.written.count(b"connection: keep-alive") == 2
        assert made.peer == "203.0.113.9"
        task = made.task
        made.connection_lost(None)
        await turns()
        assert not there
        assert task is not None
        assert task.done()

    run(work())


def test_a_slow_reader_stops_a_body_and_takes_all_of_it() -> None:
    start, gone = asyncio.Event(), []

    async def handle(client: EdgeClient) -> None:
        await start.wait()
        gone.append(await client.read(LIMIT))
        await client.send(200, [], b"")

    async def work() -> None:
        made, wire, _ = opened(handle)
        size = READ_HIGH + 2000
        made.data_received(POST + b"Content-Length: %d\r\n\r\n" % size)
        made.data_received(b"x" * (READ_HIGH + 1000))
        assert wire.paused
        start.set()
        await turns()
        assert not wire.paused
        made.data_received(b"y" * 1000 + GET)
        await turns()
        assert gone == [b"x" * (READ_HIGH + 1000) + b"y" * 1000, b""]
        assert statuses(wire) == [200, 200]

    run(work())


def test_requests_that_come_too_early_wait_in_order_and_bounded() -> None:
    start, seen = asyncio.Event(), []

    async def handle(client: EdgeClient) -> None:
        await start.wait()
        seen.append(client.head.target)
        await client.send(200, [], b"")

    async def work() -> None:
        made, wire, _ = opened(handle)
        many = HELD_HIGH // len(GET) + 2
        for i in range(many):
            made.data_received(GET.replace(b"/a", b"/%d" % i))
        assert wire.paused
        start.set()
        await turns(4 * many)
        assert seen == [f"/{i}" for i in range(many)]
        assert not wire.paused

    run(work())


def test_a_client_that_waits_for_a_word_gets_it_when_its_body_is_wanted() -> None:
    async def work() -> None:
        made, wire, _ = opened(echo)
        made.data_received(POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        await turns()
        assert wire.written == b"HTTP/1.1 100 Continue\r\n\r\n"
        made.data_received(b"hi")
        await turns()
        assert statuses(wire) == [100, 200]
        assert b"connection: keep-alive" in wire.written
        made.data_received(POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\nhi")
        await turns()
        assert statuses(wire) == [100, 200, 200], "it did not wait"

    run(work())


def test_a_client_whose_body_is_not_wanted_is_not_asked_for_it() -> None:
    async def work() -> None:
        made, wire, _ = opened(deaf)
        made.data_received(POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        await turns()
        assert statuses(wire) == [401]
        assert b"connection: close" in wire.written
        assert wire.half
        assert not wire.ended, "it may be sending"
        made.data_received(GET)
        await turns()
        assert statuses(wire) == [401], "nothing behind it is a request"

    run(work())


@pytest.mark.parametrize("rest", [b"hello", b"5\r\nhello\r\n0\r\n\r\n"])
def test_a_body_that_nobody_wants_is_read_and_is_no_request(rest: bytes) -> None:
    head = b"Content-Length: 5\r\n\r\n" if rest == b"hello" else b"Transfer-Encoding: chunked\r\n\r\n"

    async def work() -> None:
        made, wire, _ = opened(deaf)
        made.data_received(POST + head)
        await turns()
        assert statuses(wire) == [401]
        made.data_received(rest[:3])
        made.data_received(rest[3:] + GET[:4])
        made.data_received(GET[4:])
        await turns()
        assert statuses(wire) == [401, 401]
        assert wire.written.count(b"keep-alive") == 2

    run(work())


def test_a_body_that_nobody_wants_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LINGER_S", 0.01)

    async def work() -> None:
        made, wire, _ = opened(deaf)
        made.data_received(POST + b"Content-Length: 5\r\n\r\nhe")
        await over(made)
        assert wire.ended
        assert statuses(wire) == [401]

    run(work())


def test_what_is_no_request_is_refused_and_nothing_behind_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LINGER_S", 0.01)

    async def work() -> None:
        made, wire, _ = opened(echo)
        made.data_received(GET + b"nonsense\r\n\r\n" + GET)
        await turns()
        made.data_received(GET)
        await turns()
        assert statuses(wire) == [200, 400]
        assert wire.half
        await wire.aborted.wait()

    run(work())


def test_a_chunk_that_lies_ends_body_and_connection() -> None:
    seen: list[str] = []

    async def handle(client: EdgeClient) -> None:
        try:
            await client.read(LIMIT)
        except WireError as e:
            seen.append(str(e))
            await client.send(400, [], b"")

    async def work() -> None:
        made, wire, _ = opened(handle)
        made.data_received(POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await turns()
        made.data_received(b"2\r\nabc\r\n" + GET)
        made.data_received(GET)
        await turns()
        assert statuses(wire) == [400]
        assert b"connection: close" in wire.written
        assert "a chunk is longer than it said" in seen[0]

    run(work())


def test_a_size_line_alone_is_not_the_end_of_a_body() -> None:
    async def work() -> None:
        made, wire, _ = opened(echo)
        body = gzip.compress(b"hello")
        made.data_received(POST + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n")
        await turns()
        made.data_received(b"%x\r\n" % len(body))
        await turns()
        made.data_received(body + b"\r\n0\r\n\r\n")
        await turns(20)
        assert wire.written.endswith(b"\r\n\r\nhello")

    run(work())


@pytest.mark.parametrize("head", [b"Content-Length: 5000000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n500000\r\n" + b"x" * 5_000_000])
def test_a_body_over_the_limit(head: bytes) -> None:
    async def handle(client: EdgeClient) -> None:
        with pytest.raises(BodyTooLarge):
            await client.read(LIMIT)
        await client.send(413, [], b"")

    async def work() -> None:
        made, wire, _ = opened(handle)
        made.data_received(POST + head)
        await turns()
        assert statuses(wire) == [413]

    run(work())


@pytest.mark.parametrize("coding", [b"", b"Content-Encoding: gzip\r\n", b"Content-Encoding: identity\r\n"])
def test_a_body_that_does_not_arrive_is_given_up(coding: bytes) -> None:
    async def handle(client: EdgeClient) -> None:
        with pytest.raises(BodyTimeout):
            await client.read(LIMIT)
        await client.send(400, [], b"late")

    async def work() -> None:
        made, wire, _ = opened(handle, body_s=0.01)
        made.data_received(POST + coding + b"Content-Length: 5\r\n\r\n\x1f\x8b")
        await over(made)
        assert wire.written.endswith(b"late")
        assert b"connection: close" in wire.written
        assert wire.half

    run(work())


def test_a_client_that_leaves_cancels_its_exchange() -> None:
    ended: list[str] = []

    async def handle(client: EdgeClient) -> None:
        try:
            await client.read(LIMIT)
        except asyncio.CancelledError:
            ended.append("cancelled")
            with pytest.raises(ClientGone):
                await client.send(200, [], b"")
            raise

    async def work() -> None:
        made, wire, _ = opened(handle)
        made.data_received(POST + b"Content-Length: 5\r\n\r\nhe")
        await turns()
        wire.ended = True
        made.connection_lost(ConnectionResetError())
        await turns()
        assert ended == ["cancelled"]
        assert not wire.written

    run(work())


def test_a_reply_waits_while_its_client_is_slow() -> None:
    sent: list[int] = []

    async def handle(client: EdgeClient) -> None:
        await client.start(200, [])
        for i in range(3):
            await client.write(b"piece")
            sent.append(i)
        await client.write(b"")
        await client.end()

    async def work() -> None:
        made, wire, _ = opened(handle)
        made.pause_writing()
        made.data_received(GET)
        await turns()
        assert not sent
        made.resume_writing()
        await turns()
        assert sent == [0, 1, 2]
        assert wire.written.endswith(b"transfer-encoding: chunked\r\n\r\n" + b"5\r\npiece\r\n" * 3 + b"0\r\n\r\n")
        made.data_received(GET)
        await turns()
        assert statuses(wire) == [200, 200]

    run(work())


@pytest.mark.parametrize("old", [False, True])
def test_a_piece_is_pushed_where_it_need_not_be_waited_for(old: bool) -> None:
    pushed: list[bool] = []
    made, wire = cast(Connection, None), Wire()

    async def handle(client: EdgeClient) -> None:
        await client.start(200, [])
        pushed.append(client.push(b"before the head"))
        await client.write(b"head")
        pushed.append(client.push(b"piece"))
        made.pause_writing()
        pushed.append(client.push(b"slow"))
        made.resume_writing()
        wire.ended = True
        pushed.append(client.push(b"gone"))
        wire.ended = False
        await client.end()

    async def work() -> None:
        nonlocal made, wire
        made, wire, _ = opened(handle)
        made.data_received(GET.replace(b"1.1", b"1.0") if old else GET)
        await turns()

    run(work())
    assert pushed == [False, True, False, False]
    assert wire.written.endswith(b"headpiece" if old else b"\r\n4\r\nhead\r\n5\r\npiece\r\n0\r\n\r\n")


@pytest.mark.parametrize("leaves", [True, False])
def test_a_client_that_never_takes_its_reply_is_let_go(leaves: bool) -> None:
    ended: list[str] = []

    async def handle(client: EdgeClient) -> None:
        try:
            await client.send(200, [], b"x")
        except (ClientGone, asyncio.CancelledError) as e:
            ended.append(type(e).__name__)
            raise

    async def work() -> None:
        made, wire, _ = opened(handle, body_s=60 if leaves else 0.01)
        made.pause_writing()
        made.data_received(GET)
        await turns()
        if not leaves:
            await wire.aborted.wait()
        wire.ended = True
        made.connection_lost(None)
        await turns()
        assert len(ended) == 1

    run(work())


def test_http_1_0_gets_no_chunks_and_the_end_of_its_connection() -> None:
    async def handle(client: EdgeClient) -> None:
        await client.start(200, [])
        await client.write(b"a")
        await client.write(b"b")
        await client.end()

    async def work() -> None:
        made, wire, _ = opened(handle)
        made.data_received(b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        await turns()
        assert wire.written.endswith(b"connection: close\r\n\r\nab")
        assert wire.ended
        made, wire, _ = opened(echo)
        made.data_received(b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        await turns()
        assert b"connection: keep-alive" in wire.written
        assert not wire.ended

    run(work())


def test_head_gets_the_length_and_no_body() -> None:
    async def work() -> None:
        made, wire, _ = opened(deaf)
        made.data_received(GET.replace(b"GET", b"HEAD"))
        await turns()
        assert wire.written.endswith(b"content-length: 2\r\n\r\n")

    run(work())


def test_a_fault_outside_any_exchange_is_said_once_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def early(client: EdgeClient) -> None:
        raise ValueError

    async def late(client: EdgeClient) -> None:
        await client.send(200, [], b"")
        raise ValueError

    async def work() -> None:
        for handle, said in ((early, [500]), (late, [200])):
            made, wire, _ = opened(handle)
            made.data_received(GET)
            await turns()
            assert statuses(wire) == said
            assert wire.ended
        assert caplog.text.count("a request failed outside any exchange") == 2

    run(work())


def test_a_connection_that_retires_answers_what_runs_and_nothing_more() -> None:
    start = asyncio.Event()

    async def handle(client: EdgeClient) -> None:
        await start.wait()
        await client.send(200, [], b"")

    async def work() -> None:
        idle, wire, _ = opened(handle)
        idle.retire()
        assert wire.ended
        made, wire, _ = opened(handle)
        made.data_received(GET + GET)
        await turns()
        made.retire()
        assert not wire.ended
        start.set()
        await turns()
        assert statuses(wire) == [200]
        assert b"connection: close" in wire.written
        assert wire.ended

    run(work())


def test_a_connection_retires_between_two_requests_that_came_at_once() -> None:
    made: Connection

    async def handle(client: EdgeClient) -> None:
        await client.send(200, [], b"")
        asyncio.get_running_loop().call_soon(made.retire)

    async def work() -> None:
        nonlocal made
        made, wire, _ = opened(handle)
        made.data_received(GET + GET)
        await turns()
        assert statuses(wire) == [200]
        assert wire.ended

    run(work())


def test_who_does_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_S", 0.02)
    monkeypatch.setattr(connection, "KEPT_S", 0.01)

    async def work() -> None:
        for sent in (b"", b"GET /", GET, GET + b"GET /"):
            made, wire, _ = opened(echo)
            if sent:
                made.data_received(sent)
            await wire.aborted.wait()
            assert statuses(wire) == ([200] if GET in sent else [])

    run(work())


def test_an_exchange_that_is_cancelled_by_others_closes_its_connection() -> None:
    async def handle(client: EdgeClient) -> None:
        await asyncio.Event().wait()

    async def work() -> None:
        made, wire, _ = opened(handle)
        made.data_received(GET)
        await turns()
        assert made.task is not None
        made.task.cancel()
        await turns()
        assert wire.aborted.is_set()

    run(work())


def test_what_comes_while_held_requests_are_about_to_be_read_takes_nobodys_turn() -> None:
    """The bytes of a request come in the very turn in which the one before it was answered, with others already waiting."""
    bodies: list[tuple[str, bytes]] = []
    there, late = list[Connection](), b""

    async def handle(client: EdgeClient) -> None:
        bodies.append((client.head.target, await client.read(LIMIT)))
        await client.send(200, [], b"")
        if client.head.target == "/first":
            asyncio.get_running_loop().call_soon(there[0].data_received, late)

    async def work(first: bytes, then: bytes) -> list[tuple[str, bytes]]:
        nonlocal late
        bodies.clear()
        late = then
        made, wire, _ = opened(handle)
        there[:] = [made]
        made.data_received(first)
        await turns(40)
        assert statuses(wire) == [200] * len(bodies)
        assert not wire.aborted.is_set()
        made.connection_lost(None)
        await turns()
        return list(bodies)

    async def all_of_it() -> None:
        one, two, three = (GET.replace(b"/a", name) for name in (b"/first", b"/2", b"/3"))
        assert await work(one + two, three) == [("/first", b""), ("/2", b""), ("/3", b"")]
        assert await work(one + two[:9], two[9:] + three) == [("/first", b""), ("/2", b""), ("/3", b"")]
        sized = POST.replace(b"/a", b"/2") + b"Content-Length: 2\r\n\r\nhi"
        assert await work(one + sized[:9], sized[9:-1]) == [("/first", b"")]  # its body is awaited, and nothing is lost
        bare = sized.replace(b"hi", b"\n\n")
        assert await work(one + two, bare[:-1]) == [("/first", b""), ("/2", b"")]  # what may stand in a body is no end of a line
        assert await work(one + sized[:9], sized[9:] + three) == [("/first", b""), ("/2", b"hi"), ("/3", b"")]

    run(all_of_it())


def test_what_is_no_request_beside_held_ones_ends_the_connection_once() -> None:
    there = list[Connection]()

    async def handle(client: EdgeClient) -> None:
        await client.send(200, [], b"")
        asyncio.get_running_loop().call_soon(there[0].data_received, b"x: \0\n\r\n\r\n")

    async def work() -> None:
        made, wire, _ = opened(handle)
        there[:] = [made]
        made.data_received(GET + GET[:20])
        await turns(20)
        assert statuses(wire) == [200, 400]
        assert wire.half
        assert not wire.aborted.is_set()

    run(work())


def test_many_small_requests_let_no_more_in_than_may_wait() -> None:
    """Each request that is answered makes room for itself alone: else one connection could have us hold any amount."""
    there, most = list[Connection](), 0

    async def handle(client: EdgeClient) -> None:
        nonlocal most
        await client.read(LIMIT)
        await client.send(200, [], b"")
        if not cast(Wire, there[0]._transport).paused:
            there[0].data_received(GET * 1000)
        most = max(most, len(there[0]._held))

    async def work() -> None:
        made, wire, _ = opened(handle)
        there[:] = [made]
        made.data_received(GET)
        await turns(400)
        assert wire.paused
        assert len(statuses(wire)) > 50
        assert most < HELD_HIGH + 1000 * len(GET)
        made.connection_lost(None)
        await turns()

    run(work())


def test_a_wait_for_a_slow_client_that_was_broken_off_can_be_begun_again() -> None:
    """As streams do whose hold has to grow before they wait for longer."""

    async def handle(client: EdgeClient) -> None:
        await client.start(200, [])
        for piece in (b"one", b"two", b"three"):
            try:
                async with asyncio.timeout(0):
                    await client.write(piece)
            except TimeoutError:
                assert piece != b"three"
            if piece == b"two":
                there[0].resume_writing()
        await client.end()

    async def work() -> None:
        made, wire, _ = opened(handle)
        there.append(made)
        made.pause_writing()
        made.data_received(GET)
        await turns(40)
        assert bytes(wire.written).endswith(b"3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n")
        assert made._deadline._due > asyncio.get_running_loop().time() + connection.HEAD_S  # that of the next request, not of a wait
        made.connection_lost(None)
        await turns()

    there: list[Connection] = []
    run(work())
