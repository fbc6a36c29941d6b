"""The flow on one connection, both ways: who waits for it, and when it stops because nobody takes the bytes.

It knows no HTTP. A deadline that passes is `_over`'s business, which the connection brings.

What is written `soon` leaves at the end of the event loop's turn. One turn reads what came on many connections, and each write that finds
its reader asleep wakes it, which costs as much as all else that happens to an event of a stream: so first all is read, then all leaves, in
one go for all connections of a server (`Outbox`).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from typing import cast

from proxy.engine.ports import ClientGone
from proxy.server.deadline import Deadline

FEW = 16_384
"""Bytes that a connection takes in any case: fewer than those after which it is called full."""
MORE_S = 0.0005
"""How long, at most, what was written for several clients waits for what else is coming for others."""


class Outbox:
    """The connections of one event loop that have something to write at the end of its turn.

    Where several have, more may be on its way: events of many streams reach a proxy one after the other, each as soon as it looks. So while
    each turn finds more to write they wait, for `MORE_S`: their readers are then woken together. Who is alone does not wait.

    Attributes:
        waiting: those; who adds the first one has `flush` called soon.
    """

    __slots__ = ("_loop", "_seen", "_until", "waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self._seen, self._until = loop, 1, 0.0
        self.waiting: list[Flow] = []

    def flush(self) -> None:
        """Have all of them write, now or soon."""
        waiting, seen = self.waiting, self._seen
        if len(waiting) > seen:
            now = time.perf_counter()
            if seen == 1:
                self._until = now + MORE_S
            if now < self._until:
                self._seen = len(waiting)
                self._loop.call_soon(self.flush)
                return
        self._seen = 1
        try:
            while waiting:
                waiting.pop().flush()
        finally:
            if waiting:  # one failed: the others do not wait for ever
                self._loop.call_soon(self.flush)


class Flow(asyncio.Protocol):
    """See the module.

    Args:
        slow_s: the longest that the client may take to take in what was written.
        outbox: what writes at the end of a turn, shared by many.

    Attributes:
        full: the client does not take what was written.
        lost: done once the connection is closed.
        peer: its address.
    """

    __slots__ = (
        *("_deadline", "_drain", "_later", "_loop", "_outbox", "_paused", "_slow_s", "_transport", "_waiter"),
        *("closed", "full", "lost", "peer"),
    )

    def __init__(self, slow_s: float, outbox: Outbox) -> None:
        self._loop = asyncio.get_running_loop()
        self._slow_s, self._outbox = slow_s, outbox
        self._transport: asyncio.Transport
        self._deadline = Deadline(self._loop, self._over)
        self._waiter: asyncio.Future[None] | None = None
        self._drain: asyncio.Future[None] | None = None
        self._later: list[bytes] = []
        self._paused = self.full = self.closed = False
        self.peer = ""
        self.lost: asyncio.Future[None] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there."""
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if isinstance(peer, tuple) else ""
        sock = transport.get_extra_info("socket")
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def eof_received(self) -> None:
        """The client says no more, so the connection closes; what was to leave `soon` leaves first."""
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed; nobody need wait for its client."""
        self.closed = True
        self.lost.set_result(None)
        self._deadline.stop()
        self.resume_writing()

    def pause_writing(self) -> None:
        """The client does not take what was written."""
        self.full = True

    def resume_writing(self) -> None:
        """The client took it, or never will."""
        self.full = False
        drain, self._drain = self._drain, None
        if drain is not None and not drain.done():
            drain.set_result(None)

    def write(self, data: bytes) -> None:
        """Hand bytes over, what was to leave `soon` before them; where they do not leave, the connection is `full` then. Raises
        ClientGone."""
        transport = self._transport
        if self.closed or transport.is_closing():
            raise ClientGone
        later = self._later
        if later:
            self._later = []
            transport.writelines([*later, data])
        else:
            transport.write(data)

    def soon(self, data: bytes) -> bool:
        """Hand bytes over at the end of this turn, or before what is written until then; False, and they are not, where a client is slow or
        gone. Many leave at once, so that it is known whether the client takes them."""
        if self.full or self.closed or self._transport.is_closing():
            return False
        if len(data) > FEW:
            self.write(data)
            return True
        later = self._later
        if not later:
            waiting = self._outbox.waiting
            if not waiting:
                self._loop.call_soon(self._outbox.flush)
            waiting.append(self)
        later.append(data)
        return True

    def flush(self) -> None:
        """Write what was to leave `soon`."""
        later, transport = self._later, self._transport
        if later and not transport.is_closing():
            self._later = []
            transport.write(later[0] if len(later) == 1 else b"".join(later))

    async def drained(self) -> None:
        """Wait until the client has taken what was written. Raises ClientGone, also where that takes too long."""
        self._deadline.within(self._slow_s)
        try:
            while self.full and not self.closed:
                if self._drain is None or self._drain.done():  # a wait that was broken off leaves one that is
                    self._drain = self._loop.create_future()
                await self._drain
        finally:
            self._deadline.lift()
        if self.closed:
            raise ClientGone

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def _over(self) -> None:
        """The client has had its time."""
        self.abort()

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
