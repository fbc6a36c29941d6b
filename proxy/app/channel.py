"""The line between the process that supervises and one of its workers: a pair of sockets with JSON messages of a known length.

It is also how each learns that the other is gone: whatever ends a process, SIGKILL included, closes its end. Both ends are ours, so what
arrives is believed; a message above `MAX_BYTES` is a bug and ends the line.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import msgspec

MAX_BYTES = 64 << 20
_HEAD = 4


class Channel:
    """One end, for one loop. Make it with `open_channel`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    def send(self, message: Any) -> None:
        """Send what JSON can hold. What the other end does not read any more is lost."""
        body = msgspec.json.encode(message)
        if not self._writer.is_closing():
            self._writer.write(len(body).to_bytes(_HEAD) + body)

    async def receive(self) -> Any:
        """Return the next message, None when the other end is gone."""
        try:
            size = int.from_bytes(await self._reader.readexactly(_HEAD))
            return msgspec.json.decode(await self._reader.readexactly(size)) if size <= MAX_BYTES else None
        except (asyncio.IncompleteReadError, OSError):
            return None

    async def flush(self) -> None:
        """Wait until what was sent is on its way."""
        try:
            await self._writer.drain()
        except OSError:
            pass

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


async def open_channel(end: socket.socket) -> Channel:
    """Return the channel over one end of a pair of connected sockets."""
    return Channel(*await asyncio.open_unix_connection(sock=end))
