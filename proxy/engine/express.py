"""The short way: an event that says more of the same words goes on to the client where it arrives, and wakes nobody.

Most events of a stream are the one before with other words. Such an event (`Meter.again`) needs no framing, no gate and no task: the
connection that it came in on hands it here, taps and hold look at it as at any other, and it is written. Everything else takes the pump's
way, and so does the stream while a client is slow, a gate holds something, a hold must grow or a part of an event has come.

It decides nothing that the pump does not: what an event may not do, it may not do here. An event that was read here and not sent is left
to the pump in `left`, with why, so that nothing is read or watched twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from proxy.engine.exchange import Exchange
from proxy.engine.gate import Gate
from proxy.engine.pace import Pace
from proxy.engine.stage import Tap
from proxy.model import Deny, Reason
from proxy.wire.base import Meter
from proxy.wire.call import Event


@dataclass(slots=True)
class Left:
    """An event that was read here and has not left: why it must not, what failed, or neither, where something is to be waited for first."""

    raw: bytes
    cut: Deny | None = None
    fault: Exception | None = None


class Express:
    """See the module. One stream's (`ports.Take`).

    Attributes:
        open: the next event may come here: the pump waits for one, and nothing stands before it.
        left: what the pump has to do first, or None.
    """

    __slots__ = ("_ex", "_gate", "_meter", "_taps", "left", "open")

    def __init__(self, ex: Exchange, meter: Meter, taps: Sequence[Tap], gate: Gate | None) -> None:
        self._ex, self._meter, self._taps, self._gate = ex, meter, taps, gate
        self.open = False
        self.left: Left | None = None

    def __call__(self, piece: bytes) -> bool:
        """Send `piece` and return True if it is one whole event that may pass at once; else it is the pump's."""
        if not self.open:
            return False
        text = self._meter.again(piece)
        if text is None:
            return False
        self.open = False
        try:
            self.left = self._passed(self._ex, piece, text)
        except Exception as e:  # noqa: BLE001  the pump raises it
            self.left = Left(piece, fault=e)
        self.open = self.left is None
        return self.open

    def _passed(self, ex: Exchange, piece: bytes, text: str) -> Left | None:
        """Send an event that was read, or return what stands against it."""
        cut = watched(ex, Event(piece, "text", text), self._meter, self._taps)
        if cut is not None or (ex.pace is not None and self._due(ex, ex.pace)):
            return Left(piece, cut)
        if self._gate is not None:
            self._gate.passed(piece)
        if not ex.client.push(piece):
            return Left(piece)
        ex.sizes[1] += len(piece)
        return None

    def _due(self, ex: Exchange, pace: Pace) -> bool:
        pace.came(1)
        return pace.due(self._meter)


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
