"""Puts the loop signal on the exchange and refuses a repeat that reached the agent's limit.

Needs the call and the grant. What a request holds is judged by itself, so that it gets the same answer on every replica. Only where the
provider keeps the history (OpenAI Responses) is the run that a reply ended with remembered by the reply's id: bounded, of one process
and one snapshot; forgetting begins the count anew. It fails closed like every stage; there is nothing in it that waits.
"""

from __future__ import annotations

import functools

from proxy.engine.exchange import Exchange
from proxy.engine.stage import Stage
from proxy.loops.detection import Detection
from proxy.loops.rules import NO_REPEAT, Repeat, answered, detect, joined, repeats
from proxy.model import Deny, LoopLimits, LoopSignal, Reason

KEPT = ("previous_response_id", "conversation")
"""Session signals that name a history of the provider's."""
DIALECT = "openai.responses"
MOST, MAX_ID, MOST_CALLS = 10_000, 256, 64
"""Runs that are kept, the longest id that one is kept under, and the most calls in one step of it."""


class LoopStage(Stage):
    """See the module."""

    name = "loops"
    needs = frozenset({"call", "grant", "agent"})
    gives = frozenset({"loop"})

    def __init__(self) -> None:
        self._runs: dict[tuple[str, str], Repeat] = {}

    async def request(self, ex: Exchange) -> Deny | None:
        """Set `ex.loop`; deny at the level `block`."""
        if ex.call.operation != "chat":
            return None
        limits, found = ex.grant.loops, self._found(ex)
        if found.level == "none":
            return None
        ex.loop = LoopSignal("warn" if limits.shadow else found.level, found.rule, found.count, since=found.since)
        ex.note("loops", f"{found.level}: {found.names}, {found.evidence} (warn at {limits.warn}, block at {limits.block})")
        if found.level != "block":
            return None
        return Deny(
            Reason.LOOP_DETECTED,
            f"the agent called {found.names} {found.evidence}",
            rule=_rule(found.rule, limits),
            remedy="change the approach or the arguments, or ask a person; a new user message starts the count anew",
            shadow=limits.shadow,
        )

    def _found(self, ex: Exchange) -> Detection:
        """Return what the detector makes of the request, and of what is remembered where the provider keeps the history."""
        if ex.codec.dialect != DIALECT:
            return detect(ex.call.messages, ex.grant.loops)
        before = self._before(ex)
        ex.defer(self.name, functools.partial(self._remember, joined(before, repeats(ex.call.messages))))
        return detect(ex.call.messages, ex.grant.loops, before)

    def _before(self, ex: Exchange) -> Repeat:
        hints = ex.call.hints
        return next((run for key in KEPT if (run := self._runs.get((ex.agent, hints.get(key, ""))))), NO_REPEAT)

    async def _remember(self, before: Repeat, ex: Exchange) -> None:
        """Keep the run that the reply ends with; see `engine.exchange.Release`."""
        meter = ex.meter
        if meter is None or not ex.served or len(meter.tool_calls) > MOST_CALLS:
            return
        run = answered(before, meter.tool_calls)
        for id in (meter.reply_id, ex.call.hints.get("conversation", "")):
            if 0 < len(id) <= MAX_ID:
                if len(self._runs) >= MOST:
                    del self._runs[next(iter(self._runs))]
                self._runs[ex.agent, id] = run


def _rule(rule: str, limits: LoopLimits) -> str:
    where = f" ({limits.source.file}:{limits.source.line})" if limits.source is not None else " (default)"
    return f"loops.{rule}{where}"
