"""The load generator: a lean HTTP/1.1 client on raw protocols, closed loop for throughput and CPU, fixed rate for latency.

Every reply is checked: status 200, usage, and for streams the number of events and the ending. What is not right is counted and quoted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from benchmarks.dialects import CHAT, Dialect
from benchmarks.replies import EVENTS

Make = Callable[[int], bytes]


@dataclass(slots=True)
class Run:
    """What one run saw. `times_s` are seconds from sending to the end of the reply, or to its first body byte for streams; `late_s` is by
    how much requests at a fixed rate were sent too late."""

    requests: int = 0
    errors: int = 0
    first_error: str = ""
    wall_s: float = 0.0
    times_s: list[float] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Expected:
    """What replies have to be: whole or a stream, and in which dialect."""

    stream: bool = False
    dialect: Dialect = CHAT


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request under way."""

    def __init__(self, run: Run, expected: Expected, done: Callable[[Connection], None]) -> None:
        self.run, self.expected, self.done = run, expected, done
        self.transport: asyncio.Transport | None = None
        self.buffer = bytearray()
        self.end = 0  # bytes of the whole reply; -1 chunked; 0 the head is not here yet
        self.sent_s = self.first_s = 0.0
        self.busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.busy:
            self._finish("the connection closed inside a reply")

    def send(self, request: bytes) -> None:
        self.busy = True
        self.end, self.first_s = 0, 0.0
        self.buffer.clear()
        self.sent_s = time.perf_counter()
        assert self.transport is not None
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        buffer = self.buffer
        buffer += data
        if self.end == 0:
            at = buffer.find(b"\r\n\r\n")
            if at < 0:
                return
            self.end = _length(bytes(buffer[:at]).lower(), at + 4)
        if not self.first_s and (self.end > 0 or not buffer.endswith(b"\r\n\r\n")):
            self.first_s = time.perf_counter()
        if (self.end > 0 and len(buffer) >= self.end) or (self.end < 0 and buffer.endswith(b"\r\n0\r\n\r\n")):
            self._finish("")

    def _finish(self, error: str) -> None:
        now = time.perf_counter()
        self.busy = False
        error = error or self._wrong()
        self.run.requests += 1
        if error:
            self.run.errors += 1
            self.run.first_error = self.run.first_error or error
        self.run.times_s.append((self.first_s if self.expected.stream else now) - self.sent_s)
        self.done(self)

    def _wrong(self) -> str:
        reply = bytes(self.buffer)
        if reply[9:12] != b"200":
            return reply[:15].decode("ascii", "replace") + " " + reply.partition(b"\r\n\r\n")[2][:300].decode("utf-8", "replace")
        dialect = self.expected.dialect
        if self.expected.stream and (reply.count(dialect.counted) < EVENTS or dialect.ended not in reply):
            return "the stream is not complete"
        if not self.expected.stream and dialect.whole not in reply:
            return "the reply is not complete"
        return ""


def _length(head: bytes, body_at: int) -> int:
    at = head.find(b"\r\ncontent-length:")
    if at >= 0:
        return body_at + int(head[at + 17 :].split(b"\r\n", 1)[0])
    return -1


async def closed(port: int, make: Make, requests: int, connections: int = 16, expected: Expected = Expected()) -> Run:
    """Send `requests` over `connections`, each with its next request as soon as it has its reply."""
    loop = asyncio.get_running_loop()
    run, finished, numbers = Run(), loop.create_future(), iter(range(requests))

    def next_one(connection: Connection) -> None:
        number = next(numbers, None)
        if run.requests == requests and not finished.done():
            finished.set_result(None)
        if number is not None:
            if connection.transport is None or connection.transport.is_closing():
                run.errors += 1
                run.first_error = run.first_error or "the connection was closed between requests"
                if not finished.done():
                    finished.set_result(None)
                return
            connection.send(make(number))

    found = [await _connect(port, run, expected, next_one) for _ in range(connections)]
    start = time.perf_counter()
    for connection in found:
        next_one(connection)
    await asyncio.wait_for(finished, 300)
    run.wall_s = time.perf_counter() - start
    _close(found)
    return run


async def paced(port: int, make: Make, requests: int, rate: float, expected: Expected = Expected()) -> Run:
    """Send `requests` at a fixed `rate` a second, whatever the replies do: a free connection is always there."""
    loop = asyncio.get_running_loop()
    run, finished = Run(), loop.create_future()
    idle: list[Connection] = []

    def done(connection: Connection) -> None:
        idle.append(connection)
        if run.requests == requests and not finished.done():
            finished.set_result(None)

    found = [await _connect(port, run, expected, done) for _ in range(max(8, int(rate / 4)))]
    idle.extend(found)
    start = time.perf_counter()
    for number in range(requests):
        await asyncio.sleep(start + number / rate - time.perf_counter())
        if not idle:
            found.append(await _connect(port, run, expected, done))
            idle.append(found[-1])
        run.late_s.append(time.perf_counter() - start - number / rate)
        idle.pop().send(make(number))
    await asyncio.wait_for(finished, 120)
    run.wall_s = time.perf_counter() - start
    _close(found)
    return run


async def _connect(port: int, run: Run, expected: Expected, done: Callable[[Connection], None]) -> Connection:
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(lambda: Connection(run, expected, done), "127.0.0.1", port)
    return connection


def _close(connections: list[Connection]) -> None:
    for connection in connections:
        if connection.transport is not None:
            connection.transport.close()
