"""One connection to an upstream: it carries one exchange at a time, and between two it lies idle in its pool.

It decides when the upstream has been silent for too long, when to stop reading because nobody takes the bytes, and whether it can be
used again. It does not read HTTP itself (`http1`) and does not choose who uses it (`pool`).

One timer serves every deadline: it fires at the latest one shortest deadline after it fired before, looks at when there was progress
last, and goes back to sleep. So nothing is armed or cancelled for a request or a piece of a body, and no deadline is late.

Whatever goes wrong ends the connection and is told to whoever waits: `cut` when it ended too early, `timeout`, `protocol` when the
bytes are not HTTP. What had arrived before can still be read.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from proxy.engine.ports import Take, UpstreamError
from proxy.http1 import Malformed
from proxy.upstream.http1 import Head, ResponseParser

READ_HIGH = 262_144
"""Bytes from the wire that may wait unread before we stop reading."""

Kind = Literal["timeout", "cut", "protocol"]


@dataclass(frozen=True, slots=True)
class Waits:
    """Seconds: to the reply's head, between two pieces of a body, idle in the pool, and for a whole exchange."""

    head_s: float
    piece_s: float
    pooled_s: float
    whole_s: float


class Connection(asyncio.Protocol):
    """A connection that is, or soon will be, open.

    Args:
        waits: how long it may be silent.
        gone: is called once, when it can carry no further exchange (it may still be closing).
        lost: is called once, when it is closed.

    Attributes:
        unsent: nothing of the latest request has left, and nothing will where the connection is closing.
    """

    def __init__(self, waits: Waits, gone: Callable[[Connection], None], lost: Callable[[Connection], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._waits, self._gone, self._lost = waits, gone, lost
        self._transport: asyncio.Transport
        self._unheard: Callable[[float], list[tuple[int, int]]]
        self._parser: ResponseParser | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._failure: tuple[Kind, str] | None = None
        self._since = self._began = 0.0
        self._unread = 0
        self._paused = self._in_body = self._kept = False
        self._take: Take | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._tick_s = min(waits.head_s, waits.piece_s, waits.pooled_s, waits.whole_s)
        self.closed = self.closing = self.unsent = False

    # --- one exchange ----------------------------------------------------------------------------------------------------------

    async def ask(self, head: bytes, body: bytes, bodiless: bool) -> Head:
        """Send a request and return the head of its response.

        The whole request is handed over at once (the body is in memory anyway), at the end of the event loop's turn: requests that came
        together leave together, and wake their reader once. While an upstream is slow to take it the wait for the
        head goes on, so that an early refusal is heard; the deadline begins anew when the last of it has left.

        Raises:
            UpstreamError: timeout, cut or protocol. The connection is closed then, as on cancellation.
        """
        parser = self._parser = ResponseParser(bodiless)
        self._in_body, self.unsent = False, True
        self._since = self._began = self._loop.time()
        self._loop.call_soon(self._send, (head, body) if body else (head,))
        while parser.head is None:
            if self._failure is not None:
                raise UpstreamError(*self._failure)
            await self._wait()
        self._in_body = True
        return parser.head

    async def piece(self, take: Take | None = None) -> bytes:
        """Return all of the body that has arrived since the last call, or nothing at its end. Raises UpstreamError as `ask` does.

        `take` is offered what is there, and while this waits what comes; what it takes wakes nobody.
        """
        parser = self._parser
        if parser is None:
            raise UpstreamError("cut", "the exchange is over")
        if take is not None and parser.pieces:
            del parser.pieces[: take(parser.pieces)]
        while not parser.pieces:
            if parser.done:
                return b""
            if self._failure is not None:
                raise UpstreamError(*self._failure)
            self._since = self._loop.time()
            self._emptied()  # also where all of it was taken
            self._take = take
            try:
                await self._wait()
            finally:
                self._take = None
        pieces, parser.pieces = parser.pieces, []
        self._emptied()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def finish(self) -> bool:
        """End the exchange; return whether the connection can carry another. If not it is closed at once."""
        parser, self._parser = self._parser, None
        whole = parser is not None and parser.done and parser.reusable
        if not whole or self.closing or self._transport.get_write_buffer_size():
            self._fail("cut", "the answer was closed")  # whoever still reads is told
            return False
        self._emptied()
        self._since = self._loop.time()
        self._kept = True
        return not self.closing

    def abort(self) -> None:
        """Close at once; what was not sent stays unsent."""
        self._leave()
        self._transport.abort()

    def usable(self) -> bool:
        """Return whether an idle connection still is one.

        The kernel is asked too: what the upstream closed a moment ago, or said unasked, may not have come round the event loop yet. A
        request that is written into such a connection would be lost without anybody knowing whether it was read.
        """
        return not self.closing and not self._transport.is_closing() and not self._unheard(0)

    # --- what the event loop says ----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open."""
        self._transport = cast(asyncio.Transport, transport)
        poll = select.poll()
        poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        self._unheard = poll.poll
        self._since = self._loop.time()
        self._timer = self._loop.call_later(self._tick_s, self._tick)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        parser = self._parser
        if parser is None or self.closing or self.unsent:  # said unasked
            self.abort()
            return
        try:
            parser.feed(data)
        except Malformed as e:
            self._fail("protocol", f"the answer is not HTTP as it should be ({e})")
            return
        take = self._take
        if take is not None and (taken := take(parser.pieces)):
            del parser.pieces[:taken]
            self._since = self._loop.time()
            if not parser.pieces and not parser.done:
                return
        self._unread += len(data)
        if self._unread > READ_HIGH and not self._paused and not parser.done:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        """The upstream says no more. Our side closes too, without sending the rest of a request that nobody can answer."""
        self._ended(None)
        self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._ended(exc)
        self._leave()
        self._lost(self)

    def _ended(self, exc: Exception | None) -> None:
        """Tell the reader. A body without a length ends here, if it ended in peace."""
        parser = self._parser
        if parser is not None and not parser.done and (exc is not None or not parser.eof()):
            where = "an answer" if parser.head is None else "the end of the answer"
            why = getattr(exc, "strerror", None) or (type(exc).__name__ if exc is not None else "closed by the upstream")
            self._failure = self._failure or ("cut", f"the connection ended before {where} ({why})")
        self._wake()

    def pause_writing(self) -> None:
        """The request does not leave as fast as it was written. Nothing follows it, so there is nothing to hold back."""

    def resume_writing(self) -> None:
        """Nearly all of a large request has left: from here on the upstream has its time to answer."""
        self._since = self._loop.time()

    # --- inside ----------------------------------------------------------------------------------------------------------------

    def _send(self, request: Sequence[bytes]) -> None:
        """Send, unless the upstream has closed or said something meanwhile: see `usable`. What is there on a new one is TLS's."""
        if self.closing or self._transport.is_closing() or (self._kept and self._unheard(0)):
            self._fail("cut", "the connection ended before the request was sent")
        else:
            self.unsent = False
            self._transport.writelines(request)

    async def _wait(self) -> None:
        waiter = self._waiter = self._loop.create_future()
        try:
            await waiter
        except BaseException:
            self.abort()
            raise
        finally:
            self._waiter = None

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _emptied(self) -> None:
        """Read on: nothing waits unread."""
        self._unread = 0
        if self._paused:
            self._paused = False
            if not self.closing and not self._transport.is_closing():
                self._transport.resume_reading()

    def _fail(self, kind: Kind, message: str) -> None:
        self._failure = self._failure or (kind, message)
        self.abort()
        self._wake()

    def _leave(self) -> None:
        if not self.closing:
            self.closing = True
            self._gone(self)

    def _tick(self) -> None:
        """Look at the clock; see the module's docstring for why this is often enough."""
        now, waits = self._loop.time(), self._waits
        parser = self._parser
        due = self._since + (waits.pooled_s if parser is None else waits.piece_s if self._in_body else waits.head_s)
        if parser is not None:
            if self._waiter is None or self._waiter.done():
                due = now + self._tick_s
            due = min(due, self._began + waits.whole_s)
        if due > now:
            self._timer = self._loop.call_at(min(due, now + self._tick_s), self._tick)
        elif parser is None:
            self.abort()
        elif now >= self._began + waits.whole_s:
            self._fail("timeout", f"the answer was not over within {waits.whole_s:g} s")
        else:
            self._fail("timeout", f"no data for {waits.piece_s:g} s" if self._in_body else f"no answer within {waits.head_s:g} s")
