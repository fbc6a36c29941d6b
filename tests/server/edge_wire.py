"""A client of the edge that is no socket: what is written stays here, and what the transport was told can be asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any


class Wire(asyncio.Transport):
    """Keeps what is written, and says who is there."""

    def __init__(self) -> None:
        super().__init__({"peername": ("203.0.113.9", 4711)})
        self.written = bytearray()
        self.ended = self.half = self.paused = False
        self.aborted = asyncio.Event()

    def write(self, data: Any) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.ended

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.half = True

    def close(self) -> None:
        self.ended = True

    def abort(self) -> None:
        self.ended = True
        self.aborted.set()

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


async def turns(count: int = 8) -> None:
    """Let everybody else work."""
    for _ in range(count):
        await asyncio.sleep(0)


async def fed(protocol: asyncio.Protocol, pieces: Sequence[bytes], between: int = 8) -> Wire:
    """Give `pieces` to a server's protocol, each with time for it to work, then hang up."""
    wire = Wire()
    protocol.connection_made(wire)
    for piece in pieces:
        if wire.ended:
            break
        protocol.data_received(piece)
        await turns(between)
    await turns()
    wire.ended = True
    protocol.connection_lost(None)
    await turns()
    return wire
