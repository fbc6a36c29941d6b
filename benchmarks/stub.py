"""The stub upstream: answers in each protocol at once, buffered or as a paced stream of events, and does as little as can be.

A request whose first bytes ask for `"stream":true`, or whose path does, gets 50 content events, one every 2 ms or as the second argument
and its header `x-every-ms` say, then usage and the protocol's end. Streams do not go in step: a shared clock ticks every 2 ms, and each
stream has its own tick, so that a proxy wakes up as with real models. With a header `x-at-once` the first event comes with the head of the
reply, so that how long it takes is not the clock's doing. Bodies are counted, not kept. Anything that is not `POST` with a
content length gets 400 and shows up as an error in the run.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop

from benchmarks.replies import CHAT, EVENTS, Answer, answer_to

TICK_MS = 2
PEEK = 400
BAD = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"


class Clock:
    """Writes one event to each running stream every `every_ms`, while there are any."""

    def __init__(self, loop: asyncio.AbstractEventLoop, every_ms: int = TICK_MS) -> None:
        self.loop = loop
        self.ring: list[dict[asyncio.Transport, tuple[Answer, int]]] = [{} for _ in range(max(1, every_ms // TICK_MS))]
        self.place: dict[asyncio.Transport, int] = {}
        self.at = self.added = 0
        self.ticking = False

    def add(self, transport: asyncio.Transport, answer: Answer, begun: int = 0) -> None:
        """Begin a stream, of which the first `begun` events come at once."""
        transport.write(answer.head + b"".join(answer.events[:begun]))
        self.added += 1
        place = self.place[transport] = self.added % len(self.ring)
        self.ring[place][transport] = (answer, begun)
        if not self.ticking:
            self.ticking = True
            self.loop.call_later(TICK_MS / 1000, self._tick)

    def drop(self, transport: asyncio.Transport | None) -> None:
        if transport in self.place:
            self.ring[self.place.pop(transport)].pop(transport)

    def _tick(self) -> None:
        self.at = (self.at + 1) % len(self.ring)
        streams = self.ring[self.at]
        for transport, (answer, sent) in list(streams.items()):
            if sent < EVENTS:
                transport.write(answer.events[sent])
                streams[transport] = (answer, sent + 1)
            else:
                self.drop(transport)
                transport.write(answer.ending)
        self.ticking = bool(self.place)
        if self.ticking:
            self.loop.call_later(TICK_MS / 1000, self._tick)


class Clocks:
    """The clocks of one stub, by how far apart their events are."""

    def __init__(self, loop: asyncio.AbstractEventLoop, every_ms: int = TICK_MS) -> None:
        self.loop, self.usual = loop, every_ms
        self.made: dict[int, Clock] = {}

    def of(self, every_ms: int) -> Clock:
        if every_ms not in self.made:
            self.made[every_ms] = Clock(self.loop, every_ms)
        return self.made[every_ms]


class Stub(asyncio.Protocol):
    """One connection: counts the body down and answers."""

    def __init__(self, clocks: Clocks) -> None:
        self.clocks = clocks
        self.clock = clocks.of(clocks.usual)
        self.transport: asyncio.Transport | None = None
        self.buffer = b""
        self.missing = -1
        self.begun = 0
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
        every = head.find(b"\r\nx-every-ms:")
        self.clock = self.clocks.of(self.clocks.usual if every < 0 else int(head[every + 13 :].split(b"\r\n", 1)[0]))
        self.begun = int(b"\r\nx-at-once:" in head)
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
            self.clock.add(self.transport, self.answer, self.begun)
        else:
            self.transport.write(self.answer.whole)


async def serve(port: int, every_ms: int) -> None:
    loop = asyncio.get_running_loop()
    clocks = Clocks(loop, every_ms)
    server = await loop.create_server(lambda: Stub(clocks), "127.0.0.1", port, backlog=4096)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else TICK_MS))
