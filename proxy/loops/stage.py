"""Puts the loop signal on the exchange and refuses a repeat that reached the agent's limit.

Needs the call and the grant. Keeps nothing: the same request gets the same answer on every replica. It fails closed like every stage;
there is nothing in it that waits.
"""

from __future__ import annotations

from proxy.engine.exchange import Exchange
from proxy.engine.stage import Stage
from proxy.loops.rules import RULE, judge, repeats
from proxy.model import Deny, LoopLimits, LoopSignal, Reason

MAX_SHOWN = 3
MAX_NAME = 64


class LoopStage(Stage):
    """See the module."""

    name = "loops"
    needs = frozenset({"call", "grant"})
    gives = frozenset({"loop"})

    async def request(self, ex: Exchange) -> Deny | None:
        """Set `ex.loop`; deny at the level `block`."""
        if ex.call.operation != "chat":
            return None
        limits = ex.grant.loops
        repeat = repeats(ex.call.messages)
        signal = judge(repeat, limits)
        if signal.level == "none":
            return None
        ex.loop = LoopSignal("warn", signal.rule, signal.count) if limits.shadow else signal  # a dry run says no more than it does
        names = _names(repeat.tools)
        ex.note("loops", f"{signal.level}: {names}, {repeat.count} times in a row (warn at {limits.warn}, block at {limits.block})")
        if signal.level != "block":
            return None
        return Deny(
            Reason.LOOP_DETECTED,
            f"the agent called {names} {repeat.count} times in a row with the same arguments",
            rule=_rule(limits),
            remedy="change the approach or the arguments, or ask a person; a new user message starts the count anew",
            shadow=limits.shadow,
        )


def _names(tools: tuple[str, ...]) -> str:
    shown = ["".join(c if c.isprintable() else "?" for c in name[:MAX_NAME]) for name in tools[:MAX_SHOWN]]
    return " + ".join(shown) + (f" and {len(tools) - MAX_SHOWN} more" if len(tools) > MAX_SHOWN else "")


def _rule(limits: LoopLimits) -> str:
    where = f" ({limits.source.file}:{limits.source.line})" if limits.source is not None else " (default)"
    return f"loops.{RULE}{where}"
