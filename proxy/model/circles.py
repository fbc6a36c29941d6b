"""What is said of loops: an agent's limits and ladder, and what the detector thinks of a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from proxy.model.costs import NO_MONEY, Nanos
from proxy.model.sources import Source


@dataclass(frozen=True, slots=True)
class Persona:
    """Who an agent that goes in circles is asked to be: a system prompt in the place of its own, a temperature or None to leave it."""

    system: str
    temperature: float | None = None


LADDER = ("warn", "nudge", "persona", "downgrade", "strip_tools", "block", "escalate")
"""What can be done about a loop, the gentlest first."""
IMPLIED: Mapping[str, tuple[str, ...]] = {"warn": LADDER[:1], "nudge": LADDER[:2], "block": ("warn", "nudge", "block")}
"""The steps that one word for all of them (`on_detect: block`) means."""


@dataclass(frozen=True, slots=True)
class LoopLimits:
    """What counts as a loop of an agent, and what is done about it.

    Attributes:
        warn, block: identical consecutive tool calls from which the detector warns and blocks.
        act: the strongest that may be done: `warn`, `nudge` (any step that lets the call go on) or `block`.
        source: where the file says so. shadow: it is only noted what would be done.
        steps: the steps of the ladder, in its order; empty for those that `act` implies.
        persona, downgrade: what those two steps switch to: None for the one of the house, and a model or empty.
        max_period: the longest cycle that is looked for.
    """

    warn: int = 3
    block: int = 5
    act: str = "block"
    source: Source | None = None
    shadow: bool = False
    steps: tuple[str, ...] = ()
    persona: Persona | None = None
    downgrade: str = ""
    max_period: int = 5

    @property
    def ladder(self) -> tuple[str, ...]:
        """The steps, also where only the strongest was named."""
        return self.steps or IMPLIED[self.act]


HOUSE_LOOPS = LoopLimits()
"""What holds where no file says anything."""


@dataclass(frozen=True, slots=True)
class LoopSignal:
    """What the loop detector thinks of the request.

    Attributes:
        level: how sure it is and what that leads to: `warn` only says so, from `nudge` on something is done about it.
        rule: the rule that fired. count: how often it saw the repeat.
        action: what was done, where that is more than a nudge: persona, downgrade, strip_tools, escalate.
        since: how many steps ago the loop began. wasted: what was paid since, as far as it is known; fresh: what of it no earlier signal
            of the session had told.
    """

    level: Literal["none", "warn", "nudge", "block"] = "none"
    rule: str = ""
    count: int = 0
    action: str = ""
    since: int = 0
    wasted: Nanos = NO_MONEY
    fresh: Nanos = NO_MONEY

    def header(self) -> str:
        """The value of `x-fleetgate-loop`."""
        if self.level == "none":
            return "none"
        return f"{self.level};rule={self.rule};count={self.count}{f';action={self.action}' if self.action else ''}"


NO_LOOP = LoopSignal()
