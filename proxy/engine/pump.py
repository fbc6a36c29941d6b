"""The pump: moves a streamed reply to the client, event by event, in the cheapest mode that serves those who watch.

RAW        nobody watches single events and none is dropped: chunks go out as they came in, while the meter reads along.
WATCH      every event passes the taps before it is sent, and may be dropped (a usage chunk that only we asked for) or end the stream.
TRANSLATE  as WATCH, and what leaves is said in the client's dialect.

(GATE, which holds events back until a guard has released them, will stand beside these: a gate is a tap that answers "not yet".) In all
modes only whole events leave, so that a cut can always end the stream well-formed. A stream is cut when a tap says
so, when the model says more than the hold covers, or when the upstream breaks off: the client gets the protocol's own ending.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from proxy.engine.exchange import Exchange
from proxy.engine.ports import UpstreamError, UpstreamReply
from proxy.engine.stage import Tap
from proxy.model import Deny, Reason
from proxy.wire.base import Framing, Meter
from proxy.wire.call import WireError
from proxy.wire.translate.bridge import Back


class Mode(enum.Enum):
    """How closely a stream is looked at."""

    RAW = "raw"
    WATCH = "watch"
    TRANSLATE = "translate"


@dataclass(frozen=True, slots=True)
class Flow:
    """What one stream passes: how its bytes are cut into events, who reads and watches them, and what carries them into another dialect."""

    framing: Framing
    meter: Meter
    taps: Sequence[Tap] = ()
    drop_usage: bool = False
    back: Back | None = None

    @property
    def mode(self) -> Mode:
        """The cheapest mode that serves all of it."""
        if self.back is not None:
            return Mode.TRANSLATE
        return Mode.WATCH if self.taps or self.drop_usage else Mode.RAW


async def pump(ex: Exchange, reply: UpstreamReply, flow: Flow) -> Deny | None:
    """Move the stream of `reply` to the client and return why it was cut, or None when it ended by itself.

    Raises:
        ClientGone: the client went away.
    """
    framing, raw = flow.framing, flow.mode is Mode.RAW
    write, first, carried = ex.client.write, True, 0
    try:
        async for chunk in reply.chunks():
            if first:
                ex.mark("first_byte")
                first = False
            events = framing.feed(chunk)
            before, carried = carried, carried + len(chunk) - sum(map(len, events))
            if not events:
                continue
            out, cut = _pass(ex, events, flow)
            if out:
                untouched = raw and cut is None and before == carried == 0
                data = chunk if untouched else b"".join(out)
                ex.sizes[1] += len(data)
                await write(data)
            if cut is not None:
                return cut
        return await _tail(ex, flow)
    except UpstreamError as e:
        return _broken(e.kind == "timeout", str(e))
    except WireError as e:
        return _broken(False, e.message)


def _pass(ex: Exchange, events: list[bytes], flow: Flow) -> tuple[list[bytes], Deny | None]:
    """Return the events to send, and the deny that stops the stream after them."""
    out: list[bytes] = []
    meter, back, ceiling = flow.meter, flow.back, ex.held_output
    for raw in events:
        event = meter.event(raw)
        if flow.drop_usage and event.kind == "usage" and back is None:
            continue
        for tap in flow.taps:
            deny = tap(event)
            if deny is None:
                continue
            if not deny.shadow:
                meter.withheld = True
                return out, deny
            ex.find(f"shadow/{deny.reason}", deny.rule)
        if ceiling and meter.pieces > ceiling and _over(ex, meter):
            meter.withheld = True
            return out, Deny(
                Reason.BUDGET_EXCEEDED,
                f"The provider went on past the output ceiling of {ceiling} tokens that this call has paid for.",
                rule="output ceiling",
                remedy="Ask for a larger max_tokens if the budget allows it.",
            )
        if back is None:
            out.append(raw)
        elif said := back.event(raw):
            out.append(said)
    return out, None


def _over(ex: Exchange, meter: Meter) -> bool:
    """Return whether the model said more tokens than the hold covers.

    A piece is mostly one token, but some servers send single characters: so once pieces outnumber the hold the text itself is counted,
    and again when it could have come to the end of the hold.
    """
    if meter.pieces < ex.look_at:
        return False
    left = ex.held_output - ex.rt.count(ex)
    ex.look_at = meter.pieces + max(left, 1)
    return left < 0


async def _tail(ex: Exchange, flow: Flow) -> Deny | None:
    """Handle the end of the upstream's bytes: a rest without its terminator goes through; a stream without its ending was cut."""
    meter, back, rest = flow.meter, flow.back, flow.framing.rest()
    if rest:
        meter.event(rest)
    if not meter.ended and not meter.finish and not meter.failed:
        meter.withheld = bool(rest)
        return _broken(False, "the stream ended without the protocol's own ending")
    if back is not None:
        rest = (back.event(rest) if rest else b"") + back.end()
    if rest:
        ex.sizes[1] += len(rest)
        await ex.client.write(rest)
    return None


def _broken(timeout: bool, what: str) -> Deny:
    reason = Reason.UPSTREAM_TIMEOUT if timeout else Reason.UPSTREAM_ERROR
    return Deny(reason, f"The provider's stream broke off: {what}.", rule="upstream", remedy="Try again.")
