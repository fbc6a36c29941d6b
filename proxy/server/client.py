"""The engine's port to the client of one exchange: its body, and the reply to it.

Decides how a reply is framed and whether the connection can go on behind it. It waits for nothing itself: the connection does, and keeps
the deadlines.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from proxy.decoding import Decoder, Undecodable
from proxy.engine.ports import BodyTooLarge
from proxy.server.reply import head_of
from proxy.server.request import Head
from proxy.wire.call import WireError

if TYPE_CHECKING:
    from proxy.server.connection import Connection

LARGE = 65_536
"""Bytes of a reply from which on it is not copied behind its head. A small one is, for one packet or record of TLS."""


class EdgeClient:
    """Implements the `Client` port on one connection.

    Args:
        body: the whole body, None where it is not here yet.

    Attributes:
        begun: something of a reply has left.
        kept: the reply is complete, and said that the connection goes on.
    """

    __slots__ = ("_body", "_chunked", "_connection", "_kept", "_pending", "begun", "head", "kept")

    def __init__(self, connection: Connection, head: Head, body: bytes | None) -> None:
        self._connection, self.head, self._body = connection, head, body
        self._kept = self._chunked = self.kept = self.begun = False
        self._pending = b""

    @property
    def peer(self) -> str:
        """The client's address."""
        return self._connection.peer

    @property
    def task(self) -> asyncio.Task[None] | None:
        """The task that runs the exchange."""
        return self._connection.task

    async def read(self, limit: int) -> bytes:
        """Return the body, expanded. Raises as the port says, and WireError for an encoding that is not what it says."""
        head, body = self.head, self._body
        coded = "content-encoding" in head.headers
        if head.length > limit:
            raise BodyTooLarge
        if body is not None and not coded and len(body) <= limit:
            return body
        connection = self._connection
        connection.await_body(head)
        try:
            decoder = _decoder(head) if coded else None
            return await (self._gather(limit) if decoder is None else self._expand(decoder, limit))
        except Undecodable as e:
            raise WireError("http", "", f"the body cannot be read: {e}") from None
        finally:
            connection.rest()

    async def _gather(self, limit: int) -> bytes:
        parts: list[bytes] = []
        size = 0
        while piece := await self._piece(limit):
            size += len(piece)
            if size > limit:
                raise BodyTooLarge
            parts.append(piece)
        return b"".join(parts)  # mostly one, which is not copied

    async def _expand(self, decoder: Decoder, limit: int) -> bytes:
        """Return the body decoded. No step is long, and others have their turn in between: a hostile one costs nobody but its client."""
        whole = io.BytesIO()  # hands out its buffer without copying it
        sent = 0
        while piece := await self._piece(0):
            sent += len(piece)
            decoder.feed(piece)
            while step := decoder.step():
                if whole.tell() + len(step) > limit:
                    raise BodyTooLarge
                whole.write(step)
                await asyncio.sleep(0)
                self._connection.check_time()
            if sent > limit:
                raise BodyTooLarge
        decoder.end()
        return whole.getvalue()

    async def _piece(self, enough: int) -> bytes:
        body = self._body
        if body is None:
            return await self._connection.piece(enough)
        self._body = b""
        return body

    async def send(self, status: int, headers: Sequence[tuple[str, str]], body: bytes) -> None:
        """Send a whole reply in one write."""
        kept = self._keeps()
        head = head_of(status, headers, f"content-length: {len(body)}", kept)
        if self.head.method == "HEAD":
            self._write(head)
        elif len(body) < LARGE:
            self._write(head + body)
        else:
            self._write(head)
            self._connection.write(body)
        if self._connection.full:
            await self._connection.drained()
        self.kept = kept

    async def start(self, status: int, headers: Sequence[tuple[str, str]]) -> None:
        """Begin a reply of unknown length; its head goes out with the first piece."""
        self._chunked = not self.head.old
        self._kept = self._chunked and self._keeps()
        self._pending = head_of(status, headers, "transfer-encoding: chunked" if self._chunked else "", self._kept)

    async def write(self, data: bytes) -> None:
        """Send a piece, waiting while the client is slow."""
        if not data:
            return
        pending, self._pending = self._pending, b""
        self._write(b"%b%x\r\n%b\r\n" % (pending, len(data), data) if self._chunked else pending + data)
        if self._connection.full:
            await self._connection.drained()

    def push(self, data: bytes) -> bool:
        """Send a piece if the client takes it at once, which it does not before the head is out; see the port."""
        if self._pending:
            return False
        return self._connection.soon(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    async def end(self) -> None:
        """Finish a reply that was begun."""
        pending, self._pending = self._pending, b""
        if pending or self._chunked:
            self._write(pending + b"0\r\n\r\n" if self._chunked else pending)
        if self._connection.full:
            await self._connection.drained()
        self.kept = self._kept

    def _keeps(self) -> bool:
        """Return whether the connection can carry another request behind this one."""
        return self.head.keep_alive and self._connection.lasts(self.head)

    def _write(self, data: bytes) -> None:
        """Hand bytes over. Few leave at the end of the turn, with what follows: it need not be known whether the client takes them."""
        self.begun = True
        if not self._connection.soon(data):
            self._connection.write(data)


def _decoder(head: Head) -> Decoder | None:
    every = getattr(head.headers, "getall", None)
    coding = ",".join(every("content-encoding")) if every is not None else head.headers["content-encoding"]
    return None if coding.strip().lower() in ("", "identity") else Decoder(coding)
