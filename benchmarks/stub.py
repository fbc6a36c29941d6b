"""The stub upstream: answers in each protocol at once, buffered or as a paced stream of events, and does as little as can be.

A request whose first bytes ask for `"stream":true`, or whose path does, gets 50 content events, one on each tick of a shared clock (so
that a proxy wakes up for each, as with a real model), then usage and the protocol's end. Bodies are counted, not kept. Anything
that is not `POST` with a content length gets 400 and shows up as an error in the run.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop

from benchmarks.replies import CHAT, EVENTS, Answer, answer_to

TICK_S = 0.002
PEEK = 400
BAD = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"


class Clock:
    """Writes one event to each running stream, every `TICK_S`, while there are any."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.streams: dict[asyncio.Transport, tuple[Answer, int]] = {}

    def add(self, transport: asyncio.Transport, answer: Answer) -> None:
        transport.write(answer.head)
        self.streams[transport] = (answer, 0)
        if len(self.streams) == 1:
            self.loop.call_later(TICK_S, self._tick)

    def drop(self, transport: asyncio.Transport | None) -> None:
        if transport is not None:
            self.streams.pop(transport, None)

    def _tick(self) -> None:
        for transport, (answer, sent) in list(self.streams.items()):
            if sent < EVENTS:
                transport.write(answer.events[sent])
                self.streams[transport] = (answer, sent + 1)
            else:
                del self.streams[transport]
                transport.write(answer.ending)
        if self.streams:
            self.loop.call_later(TICK_S, self._tick)


class Stub(asyncio.Protocol):
    """One connection: counts the body down and answers."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.transport: asyncio.Transport | None = None
        self.buffer = b""
        self.missing = -1
        self.start = b""
        self.path = b""
        self.answer = CHAT

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.clock.drop(self.transport)

    def data_received(self, data: bytes) -> None:
        if self.missing < 0:
            data = self._head(data)
            if self.missing < 0:
                return
        if len(self.start) < PEEK:
            self.start += data[:PEEK]
        self.missing -= len(data)
        if self.missing <= 0:
            self._answer()

    def _head(self, data: bytes) -> bytes:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return b""
        head, rest = self.buffer[:end].lower(), self.buffer[end + 4 :]
        self.buffer = b""
        at = head.find(b"\r\ncontent-length:")
        if at < 0 or not head.startswith(b"post "):
            self.transport.write(BAD)  # type: ignore[union-attr]
            return b""
        self.missing = int(head[at + 17 :].split(b"\r\n", 1)[0])
        self.start = b""
        path = head[5 : head.find(b" ", 5)]
        if path != self.path:
            self.path, self.answer = path, answer_to(path)
        return rest

    def _answer(self) -> None:
        assert self.transport is not None
        stream = b'"stream":true' in self.start or b'"stream": true' in self.start or b":stream" in self.path
        self.missing = -1
        if stream:
            self.clock.add(self.transport, self.answer)
        else:
            self.transport.write(self.answer.whole)


async def serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    clock = Clock(loop)
    server = await loop.create_server(lambda: Stub(clock), "127.0.0.1", port, backlog=1024)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
