"""One client's connection: what arrives, what leaves, and one exchange after the other in one task.

It decides when a client is too slow (with a head, a body, between two requests, in taking a reply), when to stop reading because nobody
takes the bytes, and when the connection ends. A client that goes away cancels the exchange that runs. What a request says is read by
`request`; what becomes of it is the handler's.

Requests that come before the one before them was answered wait in bytes, bounded; they are read when it is their turn.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import cast

from proxy.engine.ports import BodyTimeout
from proxy.http1 import Chunks, Malformed
from proxy.server.client import EdgeClient
from proxy.server.flow import Flow, Outbox
from proxy.server.request import Head, Sized, begin, body_of, check_begun, parse_head
from proxy.wire.call import WireError

log = logging.getLogger("fleetgate.server")
HEAD_S = 30.0
"""How long a head may take: the first one from the connection's start, others from their first byte."""
KEPT_S = 75.0
"""How long a connection is kept between two requests."""
LINGER_S = 10.0
"""How long the rest of what nobody wants is read, so that the reply to it reaches its client."""
READ_HIGH = 524_288
"""Bytes of a body that may wait unread before we stop reading."""
HELD_HIGH = 65_536
"""The same for bytes of further requests."""
MANY = 1024
"""Pieces of a body that may wait apart: small ones take more memory than what they say."""

Handle = Callable[[EdgeClient], Awaitable[None]]
Refuse = Callable[[bool], bytes]
"""Returns the reply to what is no request or, asked with true, to one that failed outside any exchange."""


class Connection(Flow):
    """See the module.

    Args:
        body_s: the longest that a body may take to arrive, and a client to take in a piece of a reply.
        open_: the connections that are open, this one among them while it is.
        outbox: see `Flow`.

    Attributes:
        task: runs the exchanges.
    """

    __slots__ = (
        *("_body", "_body_s", "_broken", "_client", "_deaf", "_enough", "_handle", "_held", "_late", "_open"),
        *("_pieces", "_promised", "_refuse", "_stopping", "_swallows", "_unread", "task"),
    )

    def __init__(self, handle: Handle, refuse: Refuse, body_s: float, open_: set[Connection], outbox: Outbox) -> None:
        super().__init__(body_s, outbox)
        self._handle, self._refuse, self._body_s, self._open = handle, refuse, body_s, open_
        self.task: asyncio.Task[None] | None = None
        self._client: EdgeClient | None = None
        self._held = bytearray()
        self._body: Sized | Chunks | None = None
        self._pieces: list[bytes] = []
        self._unread = self._enough = 0
        self._broken = ""
        self._late = self._promised = self._stopping = self._swallows = self._deaf = False

    # --- what the event loop says ----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there."""
        super().connection_made(transport)
        self._open.add(self)
        self._deadline.within(HEAD_S)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._client is None:
            if not self._deaf:
                self._next(data)
        elif self._body is not None:
            self._take(data)
        elif not self._deaf:
            self._hold(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone, and with it the exchange that runs."""
        super().connection_lost(exc)
        self._open.discard(self)
        if self.task is not None:
            self.task.cancel()

    # --- arriving --------------------------------------------------------------------------------------------------------------

    def _next(self, data: bytes) -> None:
        """Begin the next exchange if its head is whole, else wait for the rest of it."""
        end = -1 if self._held or data[0] == 13 else data.find(b"\r\n\r\n")
        try:
            if end < 0:
                data = self._gathered(data)
                if not data:
                    return
                end = data.find(b"\r\n\r\n")
            head = parse_head(data, end)
        except Malformed:
            self._turn_away()
            return
        self._exchange(head, data, end + 4)

    def _gathered(self, data: bytes) -> bytes:
        """Hold what came of a head until it is whole; return nothing before. Raises Malformed where it can become none."""
        held = self._held
        before = len(held)
        held += data
        if held[0] == 13:
            held[:] = begin(bytes(held))
            before = 0
        if held.find(b"\r\n\r\n", max(0, before - 3)) < 0:
            if held:
                check_begun(held, before)
                self._deadline.sooner(HEAD_S)
            return b""
        data = bytes(held)
        held.clear()
        return data

    def _exchange(self, head: Head, data: bytes, start: int) -> None:
        """Have the exchange of `head` run; `data` has what came of its body, from `start` on."""
        self._deadline.lift()
        self._promised = False
        stop = start + head.length
        if not head.chunked and len(data) >= stop:
            self._client = EdgeClient(self, head, data[start:stop])
            if len(data) > stop:
                self._hold(data[stop:])
        else:
            self._client = EdgeClient(self, head, None)
            self._body = body_of(head)
            if len(data) > start:
                self._take(data[start:])
        if self.task is None:
            self.task = self._loop.create_task(self._run())
        else:
            self._wake()

    def _take(self, data: bytes) -> None:
        """Take what came of the running request's body."""
        body = cast("Sized | Chunks", self._body)
        try:
            body.feed(data, self._pieces)
        except Malformed as e:
            self._broken, self._deaf, self._body = str(e), True, None
            self._wake()
            return
        if self._swallows:
            self._pieces.clear()
        else:
            self._unread += len(data)
        if body.done:
            self._body = None
            if body.rest:
                self._hold(body.rest)
            self._wake()
        elif self._waiter is not None and not self._waiter.done():
            if self._unread > self._enough or len(self._pieces) >= MANY:
                self._wake()
        elif self._unread > READ_HIGH:
            self._pause()

    def _hold(self, data: bytes) -> None:
        """Keep what belongs to further requests."""
        self._held += data
        if len(self._held) > HELD_HIGH:
            self._pause()

    # --- the body, for the client's port ----------------------------------------------------------------------------------------

    def await_body(self, head: Head) -> None:
        """Give the client its time for the body, and the word that it waits for. Raises ClientGone."""
        if self._body is not None and head.expects() and not self._unread:
            self._promised = True
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._deadline.within(self._body_s)

    async def piece(self, enough: int) -> bytes:
        """Return what has come of the body: all that is left, more than `enough` bytes or as many pieces as may wait; nothing at its end.

        Reading goes on until then, however much that is, for what it takes is wanted; it stops where nobody waits for the body.

        Raises:
            BodyTimeout: `check_time`.
            WireError: it is no body.
        """
        self._enough = enough
        while self._body is not None and (not self._pieces or (self._unread <= enough and len(self._pieces) < MANY)):
            self.check_time()
            self._resume()
            await self._wait()
        if not self._pieces and self._broken:
            raise WireError("http", "", f"the body cannot be read: {self._broken}")
        pieces, self._pieces = self._pieces, []
        self._unread = 0
        self._resume()
        return b"".join(pieces)

    def check_time(self) -> None:
        """Raise BodyTimeout where the client has had its time."""
        if self._late:
            raise BodyTimeout

    def rest(self) -> None:
        """Give the client all the time that there is: nobody waits for it."""
        self._deadline.lift()

    def lasts(self, head: Head) -> bool:
        """Return whether another request can follow this one, as far as anybody knows now."""
        if self._late or self._deaf or self._stopping:
            return False
        return self._body is None or self._promised or not head.expects()

    # --- one exchange after the other -------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            while (client := self._client) is not None:
                await self._answer(client)
                if not (client.kept and await self._swallowed()):
                    break
                if self._held:
                    await asyncio.sleep(0)  # others have their turn before what came behind it; what comes meanwhile is held too
                    if self._stopping:
                        break
                self._client = None
                self._deadline.within(KEPT_S)
                self._go_on()
                while self._idle():
                    await self._wait()
        except BaseException:
            self._transport.abort()
            raise
        self.task = None
        if self._client is not None:
            self._end()

    def _idle(self) -> bool:
        return self._client is None and not self._deaf

    async def _answer(self, client: EdgeClient) -> None:
        try:
            await self._handle(client)
        except Exception:
            log.exception("a request failed outside any exchange")
            client.kept = False
            if not client.begun and not self._transport.is_closing():
                self.write(self._refuse(True))

    async def _swallowed(self) -> bool:
        """Read what is left of a body that nobody wanted; return whether another request can follow."""
        self._pieces.clear()
        self._unread = 0
        if self._body is not None:
            self._swallows = True
            self._resume()
            self._deadline.within(LINGER_S)
            while not (self._late or self._body is None):
                await self._wait()
            self._swallows, self._body = False, None
        return not (self._late or self._deaf or self._stopping)

    def _go_on(self) -> None:
        """Read what came behind the last request."""
        if self._held:
            held = bytes(self._held)
            self._held.clear()
            self._next(held)
        self._resume()

    def _resume(self) -> None:
        """Read on, except where enough waits already that nobody can take yet."""
        if self._client is None or self._body is not None or len(self._held) <= HELD_HIGH:
            super()._resume()

    # --- the end ---------------------------------------------------------------------------------------------------------------

    def _turn_away(self) -> None:
        """Answer what is no request."""
        self._deaf = True
        self._held.clear()
        if not self._transport.is_closing():
            self.write(self._refuse(False))
        self._end()

    def _end(self) -> None:
        """Close. A client that may still be sending is heard out for a while, or what was said would not reach it."""
        self._client = None
        self.flush()
        if (self._deaf or self._body is not None) and not self._transport.is_closing():
            self._deaf, self._body = True, None
            self._resume()
            if self._transport.can_write_eof():
                self._transport.write_eof()
            else:
                self._transport.close()  # TLS says so to the client and hears it out by itself
            self._deadline.within(LINGER_S)
        else:
            self._deaf = True
            self._transport.close()
            self._deadline.within(self._body_s)

    def retire(self) -> None:
        """Take no further request: close now, or behind the reply that is on its way."""
        self._stopping = True
        if self._client is None:
            self.flush()
            self._transport.close()

    def _over(self) -> None:
        """The client has had its time."""
        if self._client is None or self.full:
            self._transport.abort()
        else:
            self._late = True
            self._wake()
