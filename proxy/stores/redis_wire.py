"""One connection to a Redis or Valkey server: a packet of commands out, their answers in, in their order.

redis-py dials it, greets the server and does TLS (`redis_dial`); then the transport beneath is ours, because most of what a call cost was
redis-py's way from a command to the socket and back. Here a packet is one write, and what has arrived is parsed in C as it comes.

Decides nothing about commands. It fails by telling that it ended, once: when the server closes it, or says what no server may say.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol, cast

import hiredis


class Refusal(Exception):
    """An answer that says no. Its text is what the server said."""


class Owner(Protocol):
    """Who uses a wire."""

    def answered(self, found: list[Any]) -> None:
        """Take the answers to a packet; those that say no are `Refusal`s."""
        ...

    def ended(self, wire: Wire) -> None:
        """Hear that `wire` is of no use any more."""
        ...


class Wire(asyncio.Protocol):
    """See the module. At most one packet is under way at a time."""

    __slots__ = ("_awaited", "_found", "_kept", "_owner", "_reader", "_transport")

    def __init__(self, writer: asyncio.StreamWriter, owner: Owner) -> None:
        """Take over the connection of `writer`, on which nothing is awaited."""
        self._kept = writer  # it closes the transport when it is forgotten
        self._transport = cast(asyncio.Transport, writer.transport)
        self._owner: Owner | None = owner
        self._reader = hiredis.Reader(replyError=Refusal)
        self._found: list[Any] = []
        self._awaited = 0
        self._transport.set_protocol(self)

    def send(self, packet: bytes, answers: int) -> None:
        """Send `packet`, which has so many answers."""
        self._awaited = answers
        self._transport.write(packet)

    def close(self) -> None:
        """Let go of the connection at once; its owner hears nothing more."""
        self._owner = None
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        found, gets = self._found, self._reader.gets
        try:
            self._reader.feed(data)
            while (one := gets()) is not False:
                found.append(one)
        except hiredis.ProtocolError:
            self.connection_lost(None)
            return
        if found and len(found) >= self._awaited and self._owner is not None:
            self._found = []
            if len(found) == self._awaited:
                self._owner.answered(found)
            else:  # more than was asked for
                self.connection_lost(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        owner, self._owner = self._owner, None
        self._transport.abort()
        if owner is not None:
            owner.ended(self)
