"""Bodies of requests on one connection, driven without sockets: unwanted, lying, too large, or never there."""

from __future__ import annotations

import asyncio
import gzip

import pytest
from edge_wire import GET, LIMIT, POST, deaf, echo, opened, run, statuses, turns

from proxy.engine.ports import BodyTimeout, BodyTooLarge
from proxy.server import connection
from proxy.server.client import EdgeClient
from proxy.server.connection import MANY, Connection
from proxy.wire.call import WireError


async def over(made: Connection) -> None:
    assert made.task is not None
    await asyncio.wait({made.task})


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


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_somebody_waits_for_is_read_on_up_to_the_limit(chunked: bool) -> None:
    piece = b"x" * 262_144
    head = b"Transfer-Encoding: chunked\r\n\r\n" if chunked else b"Content-Length: %d\r\n\r\n" % (16 * len(piece))

    async def work() -> None:
        made, wire, _ = opened(echo)
        made.data_received(POST + head)
        await turns()
        for _ in range(16):
            made.data_received(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            assert not wire.paused
        await turns()
        if chunked:
            made.data_received(b"0\r\n\r\n")
            await turns()
        assert wire.written.endswith(b"\r\n\r\n" + 16 * piece)

    run(work())


@pytest.mark.parametrize("chunked", [False, True])
def test_small_pieces_of_a_body_do_not_wait_apart(chunked: bool) -> None:
    body = bytes(range(256)) * 20
    head = b"Transfer-Encoding: chunked\r\n\r\n" if chunked else b"Content-Length: %d\r\n\r\n" % len(body)

    async def work() -> None:
        made, wire, _ = opened(echo)
        made.data_received(POST + head)
        await turns()
        for i in range(0, len(body), 2):
            made.data_received(b"2\r\n%b\r\n" % body[i : i + 2] if chunked else body[i : i + 2])
            await turns(2)
            assert len(made._pieces) < MANY
        if chunked:
            made.data_received(b"0\r\n\r\n")
        await turns()
        assert wire.written.endswith(b"\r\n\r\n" + body)

    run(work())
