"""A client of the edge that is no socket, and a connection of the server to it: what is written stays here and can be asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any

from proxy.server.client import EdgeClient
from proxy.server.connection import Connection
from proxy.server.flow import Outbox

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: x\r\n"
LIMIT = 4 << 20
Handle = Callable[[EdgeClient], Awaitable[None]]


class Wire(asyncio.Transport):
    """Keeps what is written, and says who is there."""

    def __init__(self) -> None:
        super().__init__({"peername": ("203.0.113.9", 4711)})
        self.written, self.writes = bytearray(), list[bytes]()
        self.lines: list[list[Any]] = []
        self.ended = self.half = self.paused = False
        self.aborted = asyncio.Event()
        self.on_write: Callable[[], None] = lambda: None

    def write(self, data: Any) -> None:
        self.written += data
        self.writes.append(bytes(data))
        self.on_write()

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.lines.append(list(list_of_data))
        self.write(b"".join(self.lines[-1]))

    def is_closing(self) -> bool:
        return self.ended

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.half = True

    def close(self) -> None:
        self.ended = True

    def abort(self) -> None:
        self.ended = True
        self.aborted.set()

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


async def turns(count: int = 8) -> None:
    """Let everybody else work."""
    for _ in range(count):
        await asyncio.sleep(0)


async def fed(protocol: asyncio.Protocol, pieces: Sequence[bytes], between: int = 8) -> Wire:
    """Give `pieces` to a server's protocol, each with time for it to work, then hang up."""
    wire = Wire()
    protocol.connection_made(wire)
    for piece in pieces:
        if wire.ended:
            break
        protocol.data_received(piece)
        await turns(between)
    await turns()
    wire.ended = True
    protocol.connection_lost(None)
    await turns()
    return wire


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 30))


def opened(handle: Handle, body_s: float = 60) -> tuple[Connection, Wire, set[Connection]]:
    there: set[Connection] = set()
    outbox = Outbox(asyncio.get_running_loop())
    made, wire = Connection(handle, lambda fault: b"HTTP/1.1 %d \r\n\r\n" % (500 if fault else 400), body_s, there, outbox), Wire()
    made.connection_made(wire)
    return made, wire, there


def statuses(wire: Wire) -> list[int]:
    return [int(part[:3]) for part in bytes(wire.written).split(b"HTTP/1.1 ")[1:]]


async def echo(client: EdgeClient) -> None:
    await client.send(200, [], await client.read(LIMIT))


async def deaf(client: EdgeClient) -> None:
    await client.send(401, [], b"no")
