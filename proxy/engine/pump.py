"""The pump: moves a streamed reply to the client, event by event, in the cheapest mode that serves those who watch.

RAW        nobody watches single events and none is dropped: chunks go out as they came in, while the meter reads along.
WATCH      every event passes the taps before it is sent, and may be dropped (a usage chunk that only we asked for) or end the stream.
GATE       as WATCH, and events wait until they may pass (see `engine.gate`).
TRANSLATE  as either, and what leaves is said in the client's dialect.

Where the hold covers only a part of the reply it grows as the stream goes (see `engine.pace`).

Events that say more of the same words need none of that, and do not come here at all (see `engine.express`).

In all modes only whole events leave, so that a cut can always end the stream well-formed. A stream is cut when a tap says
so, when the model says more than the hold covers, or when the upstream breaks off: the client gets the protocol's own ending.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from proxy.engine.exchange import Exchange
from proxy.engine.express import Express, Left, gate_failed, watched
from proxy.engine.gate import Gate
from proxy.engine.pace import Pace, count_behind, judge_paced, read_out, write_paced
from proxy.engine.ports import ClientGone, UpstreamError, UpstreamReply
from proxy.engine.stage import Tap
from proxy.model import Deny, Reason
from proxy.wire.base import Framing, Meter
from proxy.wire.call import Event, WireError
from proxy.wire.translate.bridge import Back


class Mode(enum.Enum):
    """How closely a stream is looked at."""

    RAW = "raw"
    WATCH = "watch"
    GATE = "gate"
    TRANSLATE = "translate"


@dataclass(frozen=True, slots=True)
class Flow:
    """What one stream passes: how its bytes are cut into events, who reads and watches them, and what carries them into another dialect.

    `unsent` is what was let through and waits for the hold to grow: where that is broken off it is still said, before the ending.
    """

    framing: Framing
    meter: Meter
    taps: Sequence[Tap] = ()
    drop_usage: bool = False
    back: Back | None = None
    gate: Gate | None = None
    unsent: list[bytes] = field(default_factory=list)

    @property
    def mode(self) -> Mode:
        """The cheapest mode that serves all of it."""
        if self.back is not None:
            return Mode.TRANSLATE
        if self.gate is not None:
            return Mode.GATE
        return Mode.WATCH if self.taps or self.drop_usage else Mode.RAW


async def pump(ex: Exchange, reply: UpstreamReply, flow: Flow) -> Deny | None:
    """Move the stream of `reply` to the client and return why it was cut, or None when it ended by itself.

    Raises:
        ClientGone: the client went away.
    """
    framing, raw = flow.framing, flow.mode is Mode.RAW
    express = Express(ex, flow.meter, flow.taps, flow.gate)
    first, carried, chunks = True, 0, reply.chunks(express)
    todo: Iterator[bytes] = iter(())
    try:
        async for chunk in chunks:
            express.open = False
            if first:
                ex.mark("first_byte")
                first = False
            left, express.left = express.left, None
            if left is not None:
                chunk = chunk[left.read :]
                flow.unsent.append(left.unsent)
            events = framing.feed(chunk)
            before, carried = carried, carried + len(chunk) - sum(map(len, events))
            todo, out = iter(events), list[bytes]()
            cut = None if left is None else await _left(ex, left, flow)
            if cut is None and events:
                out, cut = await _let_through(ex, todo, len(events), flow)
            if out:
                untouched = raw and cut is None and before == carried == 0
                data = chunk if untouched else b"".join(out)
                flow.unsent.clear()
                cut = await _write(ex, data) or cut
            if cut is not None:
                await count_behind(ex, flow.meter, todo, chunks, framing)
                reply.close()
                return cut
            if not carried and flow.back is None:
                express.begin()
        express.open = False
        return await _tail(ex, flow)
    except (ClientGone, asyncio.CancelledError):
        express.open = False
        await read_out(ex, flow.meter, todo, chunks, framing)
        raise
    except UpstreamError as e:
        return _broken(e.kind == "timeout", str(e))
    except WireError as e:
        return _broken(False, e.message)


async def _let_through(ex: Exchange, events: Iterator[bytes], count: int, flow: Flow) -> tuple[list[bytes], Deny | None]:
    """Return what to send for `count` events, and why the stream stops after it."""
    if ex.pace is not None:
        ex.pace.came(count)
        return await _paced(ex, events, flow, ex.pace)
    if flow.gate is None:
        return _pass(ex, events, flow)
    out: list[bytes] = []
    return out, await _gated(ex, events, flow, flow.gate, out)


async def _left(ex: Exchange, left: Left, flow: Flow) -> Deny | None:
    """Send what came by the short way, was read there and is unsent; return why the stream stops behind it."""
    if left.fault is not None:
        raise left.fault
    cut = left.cut
    if cut is None and ex.pace is not None and ex.pace.due(flow.meter):
        cut = await ex.pace.more(ex)
    data = b"".join(flow.unsent)
    flow.unsent.clear()
    return await _write(ex, data) or cut


async def _paced(ex: Exchange, events: Iterator[bytes], flow: Flow, pace: Pace) -> tuple[list[bytes], Deny | None]:
    """As `_pass` or `_gated`, with the hold kept ahead of what has passed."""
    out, gate = flow.unsent, flow.gate
    for raw in events:
        if gate is None:
            some, cut = _pass(ex, (raw,), flow)
            out += some
        else:
            cut = await _gated(ex, (raw,), flow, gate, out)
        if cut is None and pace.due(flow.meter):
            cut = await pace.more(ex)
        if cut is not None:
            return out, cut
    return out, None


def _pass(ex: Exchange, events: Iterable[bytes], flow: Flow) -> tuple[list[bytes], Deny | None]:
    """Return what to send for the events, and the deny that stops the stream after it."""
    out: list[bytes] = []
    meter, back = flow.meter, flow.back
    for raw in events:
        event = meter.event(raw)
        if flow.drop_usage and event.kind == "usage" and back is None:
            continue
        deny = watched(ex, event, meter, flow.taps)
        if deny is not None:
            return out, deny
        if back is None:
            out.append(raw)
        elif said := back.event(raw):
            out.append(said)
    return out, None


async def _gated(ex: Exchange, events: Iterable[bytes], flow: Flow, gate: Gate, out: list[bytes]) -> Deny | None:
    """As `_pass`, with what the gate lets go of, which is added to `out`."""
    meter, back = flow.meter, flow.back
    for raw in events:
        event = meter.event(raw)
        if flow.drop_usage and event.kind == "usage" and back is None:
            continue
        deny = watched(ex, event, meter, flow.taps) or await _through(ex, event, flow, gate, out)
        if deny is not None:
            return deny
    return None


async def _through(ex: Exchange, event: Event | None, flow: Flow, gate: Gate, out: list[bytes]) -> Deny | None:
    """Take an event, or the end, into the gate, add what it lets go of to `out`, and return why the stream stops after it.

    A call may be judged for long, so what left before it is not kept waiting with it. Fails closed: a gate that raises is a cut.
    """
    try:
        if event is None:
            gate.end()
        elif gate.take(event):
            before = b"".join(out)
            out.clear()
            stopped = await _write(ex, before) or await _judged(ex, gate)
            if stopped is not None:
                return stopped
        free, deny = gate.leave()
    except ClientGone:
        raise
    except Exception as e:  # noqa: BLE001  fails closed: it is a cut
        return gate_failed(ex, e)
    out += free if flow.back is None else [flow.back.event(one) for one in free]
    return deny


async def _judged(ex: Exchange, gate: Gate) -> Deny | None:
    if ex.pace is not None:
        return await judge_paced(ex, ex.pace, gate.judge())
    await gate.judge()
    return None


async def _write(ex: Exchange, data: bytes) -> Deny | None:
    """Send `data`; return why the stream stops where the client does not take it and the hold cannot cover what comes meanwhile."""
    if not data:
        return None
    ex.sizes[1] += len(data)
    if ex.pace is not None and not (ex.meter is not None and (ex.meter.ended or ex.meter.finish)):
        return await write_paced(ex, ex.pace, data)
    await ex.client.write(data)
    return None


async def _tail(ex: Exchange, flow: Flow) -> Deny | None:
    """Handle the end of the upstream's bytes: a rest without its terminator goes through; a stream without its ending was cut."""
    meter, back, rest = flow.meter, flow.back, flow.framing.rest()
    event = meter.event(rest) if rest else None
    if not meter.ended and not meter.finish and not meter.failed:
        meter.withheld = bool(rest)
        return _broken(False, "the stream ended without the protocol's own ending")
    ex.pace = None  # nothing more is made
    deny: Deny | None = None
    gate, last = flow.gate, [rest] if rest else []
    if gate is not None:
        last = []
        if event is not None:
            deny = await _through(ex, event, flow, gate, last)
        deny = deny or await _through(ex, None, flow, gate, last)
    elif back is not None:
        last = [back.event(one) for one in last]
    if back is not None and deny is None:
        last.append(back.end())
    return await _write(ex, b"".join(last)) or deny


def _broken(timeout: bool, what: str) -> Deny:
    reason = Reason.UPSTREAM_TIMEOUT if timeout else Reason.UPSTREAM_ERROR
    return Deny(reason, f"The provider's stream broke off: {what}.", rule="upstream", remedy="Try again.")
