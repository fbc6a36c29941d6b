"""One connection, driven without sockets: requests in which pieces they come, in which order, and what a connection refuses."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest
from edge_wire import GET, LIMIT, POST, Wire, echo, opened, run, statuses, turns

from proxy.server import connection
from proxy.server.client import EdgeClient
from proxy.server.connection import HELD_HIGH, Connection


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


def test_a_client_that_says_no_more_gets_what_was_said_in_the_same_turn() -> None:
    there: list[tuple[Connection, Wire]] = []

    async def handle(client: EdgeClient) -> None:
        await client.send(200, [], b"")
        made, wire = there[0]
        made.eof_received()
        wire.close()  # as the event loop does then

    async def work() -> None:
        made, wire, _ = opened(handle)
        there.append((made, wire))
        made.data_received(GET)
        await turns()
        assert statuses(wire) == [200]

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
