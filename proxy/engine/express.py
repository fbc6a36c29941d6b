"""The short way: an event that says more of the same words goes on to the client where it arrives, and wakes nobody.

Most events of a stream are the one before with other words. Such an event (`Meter.again`) needs no framing, no gate and no task: the
connection that it came in on hands it here, taps, hold and the gate's window look at it as at any other, and it is written. Everything else
takes the pump's way, and so does the stream while a client is slow, a call is judged, a hold must grow or a part of an event has come.

It decides nothing that the pump does not: what an event may not do, it may not do here. What was read here and not sent is left to the
pump in `left`, with why, so that nothing is read or watched twice.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from proxy.engine.ask import failed, store_down
from proxy.engine.exchange import Exchange
from proxy.engine.gate import Gate
from proxy.engine.pace import Pace
from proxy.engine.ports import StoreError
from proxy.engine.stage import Tap
from proxy.model import Deny, Reason
from proxy.wire.base import Meter
from proxy.wire.call import Event

log = logging.getLogger("fleetgate.engine")


@dataclass(slots=True)
class Left:
    """What was read here and has not left.

    Attributes:
        read: bytes of the next chunk that were read.
        unsent: what of that may pass, where something is to be waited for first.
        cut: why the stream stops behind it, or None.
        fault: what failed there.
    """

    read: int
    unsent: bytes = b""
    cut: Deny | None = None
    fault: Exception | None = None


class Express:
    """See the module. One stream's (`ports.Take`).

    Attributes:
        open: the next event may come here: the pump waits for one, and nothing stands before it.
        left: what the pump has to do first, or None.
    """

    __slots__ = ("_ex", "_flows", "_gate", "_meter", "_taps", "left", "open")

    def __init__(self, ex: Exchange, meter: Meter, taps: Sequence[Tap], gate: Gate | None) -> None:
        self._ex, self._meter, self._taps, self._gate = ex, meter, taps, gate
        self.open = self._flows = False
        self.left: Left | None = None

    def begin(self) -> None:
        """Take events from here on, if the gate lets them by or can take them in; what passes here changes nothing of that."""
        gate = self._gate
        self._flows = gate is not None and not gate.open
        self.open = gate is None or not self._flows or gate.flows

    def __call__(self, pieces: Sequence[bytes]) -> int:
        """Send those at the front that are whole events and may pass at once; return how many. All others are the pump's."""
        if not self.open:
            return 0
        ex, meter, gate, left, count = self._ex, self._meter, self._gate, None, 0
        out: list[bytes] = []
        for piece in pieces:
            text = meter.again(piece)
            if text is None:
                break
            try:
                cut = watched(ex, Event(piece, meter.says, text), meter, self._taps)
            except Exception as e:  # noqa: BLE001  the pump raises it
                left = Left(len(piece), fault=e)
                break
            if cut is None and gate is not None and self._flows:
                cut = self._flowed(gate, piece, text, out)
            elif cut is None:
                out.append(piece)
                if gate is not None and gate.follows:
                    gate.passed(piece, text)
            if cut is not None or (ex.pace is not None and self._due(ex.pace)):
                left = Left(len(piece), cut=cut)
                break
            count += 1
        data = out[0] if len(out) == 1 else b"".join(out)
        if left is not None or (data and not ex.client.push(data)):
            self._leave(left or Left(0), pieces[:count], data)
            return 0
        ex.sizes[1] += len(data)
        return count

    def _leave(self, left: Left, pieces: Sequence[bytes], data: bytes) -> None:
        """Leave all to the pump: what was read last, and `data`, which `pieces` before that made."""
        left.read, left.unsent = left.read + sum(map(len, pieces)), data
        self.left, self.open = left, False

    def _flowed(self, gate: Gate, piece: bytes, text: str, out: list[bytes]) -> Deny | None:
        """Take an event into the gate, add what it lets go of to `out`, and return why the stream stops after it."""
        try:
            free, deny = gate.flow(piece, text)
        except Exception as e:  # noqa: BLE001  fails closed: it is a cut
            return gate_failed(self._ex, e)
        out += free
        return deny

    def _due(self, pace: Pace) -> bool:
        pace.came(1)
        return pace.due(self._meter)


def gate_failed(ex: Exchange, fault: Exception) -> Deny:
    """Return why a stream stops whose gate failed."""
    if isinstance(fault, StoreError):
        log.error("exchange %s: gate: %s", ex.id, fault)
        return store_down("gate")
    log.error("exchange %s: the gate failed", ex.id, exc_info=fault)
    return failed("gate")


def watched(ex: Exchange, event: Event, meter: Meter, taps: Sequence[Tap]) -> Deny | None:
    """Return why the stream stops before `event`."""
    ceiling = ex.held_output
    for tap in taps:
        deny = tap(event)
        if deny is None:
            continue
        if not deny.shadow:
            meter.withheld = True
            return deny
        ex.find(f"shadow/{deny.reason}", deny.rule)
    if ceiling and meter.pieces > ceiling and _over(ex, meter):
        meter.withheld = True
        return Deny(
            Reason.BUDGET_EXCEEDED,
            f"The provider went on past the output ceiling of {ceiling} tokens that this call has paid for.",
            rule="output ceiling",
            remedy="Ask for a larger max_tokens if the budget allows it.",
        )
    return None


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
