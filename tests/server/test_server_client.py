"""The client's side of one connection, driven without sockets: who is slow, who leaves, and what it reads."""

from __future__ import annotations

import asyncio
from itertools import chain
from typing import cast

import pytest
from edge_wire import GET, LIMIT, POST, Wire, deaf, echo, opened, run, statuses, turns

from proxy.engine.ports import ClientGone
from proxy.server import connection
from proxy.server.client import LARGE, EdgeClient
from proxy.server.connection import READ_HIGH, Connection
from proxy.server.flow import FEW


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


def test_what_is_pushed_leaves_in_one_write_at_the_end_of_the_turn_and_in_its_place() -> None:
    seen, wire, many = list[bytes](), Wire(), b"x" * (FEW + 1)

    async def handle(client: EdgeClient) -> None:
        await client.start(200, [])
        await client.write(b"head")
        await asyncio.sleep(0)
        for more in (b"", b"six", many):
            before = len(wire.writes)
            assert client.push(b"one")
            assert client.push(b"two")
            await client.write(more)
            seen.append(b"".join(wire.writes[before:]))
            await asyncio.sleep(0)
            seen.extend(wire.writes[before:])
        await client.write(b"end")
        await client.end()

    async def work() -> None:
        nonlocal wire
        made, wire, _ = opened(handle)
        made.data_received(GET)
        await turns()
        made.data_received(GET)  # the connection goes on
        await turns()

    run(work())
    both, six, long = b"3\r\none\r\n3\r\ntwo\r\n", b"3\r\nsix\r\n", b"%x\r\n%b\r\n" % (len(many), many)
    assert seen == [b"", both, b"", both + six, both + long, both + long] * 2
    assert wire.writes[-1] == b"3\r\nend\r\n0\r\n\r\n"


def test_what_is_pushed_to_a_client_that_leaves_goes_nowhere() -> None:
    seen, wire = list[list[bytes]](), Wire()

    async def handle(client: EdgeClient) -> None:
        await client.start(200, [])
        await client.write(b"head")
        before = len(wire.writes)
        assert client.push(b"one")
        wire.ended = True
        await asyncio.sleep(0)
        with pytest.raises(ClientGone):
            await client.write(b"two")
        seen.append(wire.writes[before:])

    async def work() -> None:
        nonlocal wire
        made, wire, _ = opened(handle)
        made.data_received(GET)
        await turns()

    run(work())
    assert seen == [[]]


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


@pytest.mark.parametrize("size", [LARGE - 1, LARGE])
def test_a_large_reply_leaves_behind_its_head_and_is_not_copied(size: int) -> None:
    body = b"x" * size

    async def handle(client: EdgeClient) -> None:
        await client.send(200, [], body)

    async def work() -> None:
        made, wire, _ = opened(handle)
        made.data_received(GET + GET)
        await turns()
        assert bytes(wire.written).count(b"\r\n\r\n" + body) == 2
        assert [sent is body for sent in chain(*wire.lines)] == ([False, True] * 2 if size == LARGE else [])
        assert len(wire.writes) == 2

    run(work())


def test_head_gets_the_length_and_no_body() -> None:
    async def work() -> None:
        made, wire, _ = opened(deaf)
        made.data_received(GET.replace(b"GET", b"HEAD"))
        await turns()
        assert wire.written.endswith(b"content-length: 2\r\n\r\n")

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


def test_a_reply_that_waits_for_the_end_of_the_turn_leaves_before_the_connection_closes() -> None:
    async def work() -> None:
        made, wire, _ = opened(reply)
        made.data_received(GET)
        asyncio.get_running_loop().call_soon(made.retire)
        await turns()
        assert wire.ended
        assert wire.written.endswith(b"reply")

    async def reply(client: EdgeClient) -> None:
        await client.send(200, [], b"reply")

    run(work())
