"""Streams whose hold grows as they go: where the pump asks for more, and what it does while nobody takes what has come.

A stage that held only a part of what a reply may cost leaves a `Pace` on the exchange. Before each event the pump asks whether what has
passed comes near to what is held, has the hold extended, and cuts where that is refused. While a client does not take its bytes, or a
tool call is being judged, the provider goes on out of sight: after `STALL_S` of that the hold must cover all that the provider was allowed
to say, or the stream is cut.

What had arrived behind a cut was made and will be billed: it is read by a meter of its own and counted, and goes no further.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from typing import Any, Protocol

from proxy.engine.exchange import Exchange
from proxy.engine.ports import UpstreamError
from proxy.model import Deny
from proxy.wire.base import Framing, Meter
from proxy.wire.call import WireError

STALL_S = 0.25
"""How long the provider may go on unread while the hold covers only a part."""
BEHIND_S = 0.005
"""How long what stands behind a cut is read: what came is there at once, and what still comes would be billed too."""

GONE_S = 0.25
"""How long, at most, a reply is read that goes no further, while more of it is there at once."""
MUCH = 1 << 16
"""What a connection gives at once when more may lie behind it, in bytes."""
ROUNDS = 3
"""How often the loop looks for more once the time is over."""


class Pace(Protocol):
    """Keeps the hold of one stream ahead of what has passed."""

    def came(self, events: int) -> None:
        """Take in how many events came at once: while they are read as many more may come, of a provider that is faster than we are."""
        ...

    def due(self, meter: Meter) -> bool:
        """Return whether the hold has to grow before another event passes."""
        ...

    async def more(self, ex: Exchange) -> Deny | None:
        """Extend the hold by a step; return why the stream stops where that was refused and what is held is used up."""
        ...

    async def rest(self, ex: Exchange) -> Deny | None:
        """Have the hold cover all that the provider may still say, or return why the stream stops."""
        ...


async def write_paced(ex: Exchange, pace: Pace, data: bytes) -> Deny | None:
    """Send `data`, and wait longer than `STALL_S` for the client only under a hold that covers everything.

    What is cancelled is the wait alone: the data is with the connection before it begins.
    """
    try:
        async with asyncio.timeout(STALL_S):
            await ex.client.write(data)
    except TimeoutError:
        return await pace.rest(ex)
    return None


async def judge_paced(ex: Exchange, pace: Pace, judging: Coroutine[Any, Any, None]) -> Deny | None:
    """Await `judging`, for longer than `STALL_S` only under a hold that covers everything; return why the stream stops."""
    task = asyncio.ensure_future(judging)
    try:
        done, _ = await asyncio.wait({task}, timeout=STALL_S)
        if not done and (deny := await pace.rest(ex)) is not None:
            return deny
        await task
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
    return None


async def count_behind(ex: Exchange, meter: Meter, events: Iterable[bytes], chunks: AsyncIterator[bytes], framing: Framing) -> None:
    """Add to `meter` the pieces and texts of `events` and of what else of the reply has arrived."""
    behind = ex.codec.meter(ex.call) if ex.bridge is None else ex.bridge.meter()
    await _read(behind, events, chunks, framing)
    meter.pieces += behind.pieces
    meter.texts += behind.texts


async def read_out(ex: Exchange, meter: Meter, events: Iterable[bytes], chunks: AsyncIterator[bytes], framing: Framing) -> None:
    """Have `meter` read `events` and what else of a reply has arrived whose client is gone: it was made, so it is charged.

    A client that takes nothing leaves as much lying here as the buffers on the way hold, and the provider goes on for as long. The wait
    is `BEHIND_S` over all, so a provider that still makes its reply is stopped at once. A stop by people is a cut like any other.
    """
    if ex.stopped is not None:
        await count_behind(ex, meter, events, chunks, framing)
        return
    await _read(meter, events, chunks, framing)


async def _read(meter: Meter, events: Iterable[bytes], chunks: AsyncIterator[bytes], framing: Framing) -> None:
    loop = asyncio.get_running_loop()
    ends, waits = loop.time() + GONE_S, BEHIND_S
    for raw in events:
        meter.event(raw)
    try:
        while waits > 0 and not meter.ended and (began := loop.time()) < ends:
            chunk = await _next(chunks, min(waits, ends - began))
            if chunk is None:
                return
            if len(chunk) < MUCH:  # else more of it lies there
                waits -= loop.time() - began
            for raw in framing.feed(chunk):
                meter.event(raw)
    except (UpstreamError, WireError):
        pass


async def _next(chunks: AsyncIterator[bytes], seconds: float) -> bytes | None:
    """Return what comes next within `seconds`, None at the end or when nothing does.

    A loop that is busy is late: when the time is over it has perhaps not even looked for what lies there, so it goes round some more.
    """
    task = asyncio.ensure_future(anext(chunks, None))
    try:
        await asyncio.wait({task}, timeout=seconds)
        for _ in range(ROUNDS):
            if task.done():
                break
            await asyncio.sleep(0)
        return task.result() if task.done() else None
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
