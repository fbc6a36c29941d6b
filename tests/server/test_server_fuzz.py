"""The same hostile bytes to our edge and to aiohttp's server: what ours takes for a request, aiohttp takes for the same one.

Ours may refuse more; it may never see another method, target or body, nor another request behind it. Both are driven without sockets, by
the transport of `edge_wire`. aiohttp's gets its bytes one by one, since it forgets a good request that comes in one piece with a bad one.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

import pytest
from aiohttp import web
from edge_wire import fed

from proxy.engine.ports import ClientGone
from proxy.server.client import EdgeClient
from proxy.server.connection import Connection
from proxy.server.flow import Outbox
from proxy.wire.call import WireError

LIMIT = 1 << 20
Taken = tuple[str, str, bytes]
"""Method, target, body."""


async def ours(pieces: Sequence[bytes]) -> tuple[list[Taken], bytes]:
    """What our edge takes for requests."""
    taken: list[Taken] = []

    async def handle(client: EdgeClient) -> None:
        try:
            body = await client.read(LIMIT)
            taken.append((client.head.method, client.head.target, body))
            await client.send(200, [], b"")
        except WireError:
            await client.send(400, [], b"")
        except ClientGone:
            pass

    wire = await fed(Connection(handle, lambda fault: b"HTTP/1.1 400 \r\n\r\n", 60, set(), Outbox(asyncio.get_running_loop())), pieces)
    return taken, bytes(wire.written)


async def theirs(data: bytes) -> list[Taken]:
    """What aiohttp's server takes for requests."""
    taken: list[Taken] = []

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        try:
            body = await request.read()
        except web.RequestPayloadError:
            return web.Response(status=400)
        taken.append((request.method, request._message.path, body))
        return web.Response()

    server = web.Server(
        handle, handler_cancellation=True, access_log=None, auto_decompress=False, max_line_size=16_384, max_field_size=65_536
    )
    await fed(server(), [bytes([byte]) for byte in data], between=1)
    return taken


POST = b"POST /v1/chat/completions HTTP/1.1\r\n"
WHOLE = [
    b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n",
    POST + b"Host: x\r\nContent-Length: 5\r\n\r\nhello",
    POST + b"Host: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    POST + b"Host: x\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nhel\r\n2\r\nlo\r\n0\r\nTrailer: 1\r\n\r\n",
    POST + b"Host: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
    POST.replace(b"1.1", b"1.0") + b"Connection: keep-alive\r\nContent-Length: 2\r\n\r\n{}",
]
ODD = [
    *(
        b"Content-Length: 0\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length: 5, 5\r\n",
        b"Content-Length: 0x5\r\n",
    ),
    *(
        b"Content-Length : 5\r\n",
        b"Content-Length: 5 \r\n",
        b"content-length:5\r\n",
        b"Content-Length:\r\n",
        b"Content-Length: \xd9\xa5\r\n",
    ),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n", b"Transfer-Encoding: identity\r\n"),
    *(
        b"Transfer-Encoding:\x0bchunked\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding:\r\n chunked\r\n",
        b"Transfer_Encoding: chunked\r\n",
    ),
    *(
        b"Host: y\r\n",
        b"Host:\r\n",
        b" folded\r\n",
        b"\tfolded\r\n",
        b"no colon\r\n",
        b": no name\r\n",
        b"a b: c\r\n",
        b"x:y\n",
        b"x: \0\r\n",
    ),
    *(b"x: y\rz: w\r\n", b"\r\n", b"\n", b"Expect: 100-continue\r\n", b"Upgrade: websocket\r\nConnection: upgrade\r\n", b"X: \xff\xfe\r\n"),
    *(b"Connection: close\r\n", b"Connection: keep-alive, x\r\n", b"Content-Type: a\r\nContent-Type: b\r\n", b"Cookie: a\r\nCookie: b\r\n"),
]
TAILS = [
    b"",
    b"\r\n",
    b"GET /second HTTP/1.1\r\nHost: x\r\n\r\n",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"hello",
    b"0\r\n\r\n",
    b"\0" * 9,
    b"ffffffffffffffff1\r\n",
]


def hostile(rng: random.Random) -> bytes:
    """A request, or two, with something wrong about it, or nothing."""
    request = rng.choice(WHOLE)
    for _ in range(rng.choice((0, 1, 1, 2))):
        lines = request.split(b"\r\n")
        at = rng.randrange(1, max(2, lines.index(b"")))
        request = b"\r\n".join(lines[:at]) + b"\r\n" + rng.choice(ODD) + b"\r\n".join(lines[at:])
    request += rng.choice(TAILS)
    if rng.random() < 0.5:
        request += rng.choice(WHOLE)
    for _ in range(rng.choice((0, 0, 1, 2))):
        at = rng.randrange(len(request))
        wrong = rng.choice(
            (b"", b"\r", b"\n", b" ", b"\t", b"\0", b":", b";", b"0", b"f", b"\x80", b"#", b"\x7f", bytes([rng.randrange(256)]))
        )
        request = request[:at] + wrong + request[at + rng.choice((0, 1)) :]
    return request


def pieces(rng: random.Random, data: bytes) -> list[bytes]:
    """`data` in one piece, some, or very many."""
    cuts = sorted(rng.sample(range(1, len(data)), min(len(data) - 1, rng.choice((0, 1, 2, 9)))))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await work()

    asyncio.run(main())


@pytest.mark.parametrize("seed", range(3))
def test_what_we_take_is_what_aiohttp_took(seed: int) -> None:
    rng = random.Random(seed)

    async def work() -> None:
        both = 0
        for _ in range(300):
            data = hostile(rng)
            cut = pieces(rng, data)
            (mine, said), their = await ours(cut), await theirs(data)
            assert mine == their[: len(mine)], (data, cut, mine, their)
            assert said.count(b"HTTP/1.1 ") <= len(mine) + 1 + said.count(b"HTTP/1.1 100"), cut
            both += len(mine)
        assert both > 60, "much of it must get past both, or nothing is compared"

    run(work)


@pytest.mark.parametrize("data", WHOLE)
def test_where_the_bytes_are_cut_changes_nothing(data: bytes) -> None:
    async def work() -> None:
        twice = data if b"close" in data else data + data
        whole, _ = await ours([twice])
        assert len(whole) == len(twice) // len(data)
        for at in range(1, len(twice)):
            assert (await ours([twice[:at], twice[at:]]))[0] == whole, at
        assert (await ours([bytes([byte]) for byte in twice]))[0] == whole

    run(work)
