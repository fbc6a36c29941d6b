"""Hearing what a client is told, for whoever keeps it: the bytes of one reply as they left, after every gate and translation.

Decides only how much is held on to: references to what was written, up to a bound, and nothing where the agent has no content kept. Waits
for nothing and changes nothing; what a client did not take was not heard.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from proxy.engine.ports import Client

if TYPE_CHECKING:
    from proxy.engine.exchange import Exchange
    from proxy.engine.record import Record


class Capturing(Protocol):
    """Keeps what is said in exchanges. Both verbs are called in the exchange's own task and must neither block nor raise."""

    def begin(self, ex: Exchange) -> None:
        """Have what goes to the client of `ex` heard."""
        ...

    def end(self, ex: Exchange, record: Record) -> None:
        """Take what was said in it."""
        ...


class Heard:
    """Implements `Client` around the client of an exchange.

    Args:
        ex: the exchange.
        wanted: whether anything of it is kept; asked when the reply begins.
        most: bytes that are held on to.
        room: whether there is room for so many more bytes among all that are held on to; takes it where there is.

    Attributes:
        status, kind: of the reply; 0 and empty before there is one.
        said: its body, as it left.
        cut: more came than there was room for.
        then: takes what is kept of the exchange once that is known, None where nothing is; called in another thread.
    """

    __slots__ = ("_client", "_ex", "_most", "_on", "_room", "_size", "_wanted", "cut", "kind", "said", "status", "then")

    def __init__(self, ex: Exchange, wanted: Callable[[Exchange], bool], most: int, room: Callable[[int], bool]) -> None:
        self._ex, self._client, self._wanted, self._most, self._room = ex, ex.client, wanted, most, room
        self._on, self._size = False, 0
        self.status, self.kind, self.cut = 0, "", False
        self.said: list[bytes] = []
        self.then: Callable[[Any], None] | None = None

    @property
    def client(self) -> Client:
        """The client itself."""
        return self._client

    @property
    def size(self) -> int:
        """Bytes that are held on to."""
        return self._size

    def leave(self) -> None:
        """Let go of client and exchange, which is over."""
        del self._ex, self._client

    async def read(self, limit: int) -> bytes:
        """See `Client.read`."""
        return await self._client.read(limit)

    async def send(self, status: int, headers: Sequence[tuple[str, str]], body: bytes) -> None:
        """See `Client.send`."""
        await self._client.send(status, headers, body)
        self._begin(status, headers)
        self._hear(body)

    async def start(self, status: int, headers: Sequence[tuple[str, str]]) -> None:
        """See `Client.start`."""
        await self._client.start(status, headers)
        self._begin(status, headers)

    async def write(self, data: bytes) -> None:
        """See `Client.write`."""
        await self._client.write(data)
        self._hear(data)

    def push(self, data: bytes) -> bool:
        """See `Client.push`."""
        sent = self._client.push(data)
        if sent:
            self._hear(data)
        return sent

    async def end(self) -> None:
        """See `Client.end`."""
        await self._client.end()

    def _begin(self, status: int, headers: Sequence[tuple[str, str]]) -> None:
        self.status, self._on = status, self._wanted(self._ex)
        self.kind = next((value for name, value in headers if name.lower() == "content-type"), "").partition(";")[0].strip().lower()

    def _hear(self, data: bytes) -> None:
        if not self._on:
            return
        if self._size + len(data) > self._most:
            self.cut, self._on = True, False
            data = data[: self._most - self._size]
        if not self._room(len(data)):
            self.cut, self._on = True, False
            return
        self.said.append(data)
        self._size += len(data)
