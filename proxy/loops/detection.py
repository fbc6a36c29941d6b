"""What the detector says of a request: how sure it is, why, and since when. A plain value; what is done about it is the stage's.

The level is a claim and not an act: `warn` is probably a loop, from `nudge` on it is one with few exceptions, `block` is one that went on
for long. It never goes above what the agent's file lets be done (`on_detect`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from proxy.model import LoopLimits

Level = Literal["none", "warn", "nudge", "block"]
LEVELS: tuple[Level, ...] = ("none", "warn", "nudge", "block")
MAX_SHOWN, MAX_NAME = 3, 64
"""Tools that a sentence names, and how much of each name."""


@dataclass(frozen=True, slots=True)
class Detection:
    """What was seen at the end of a conversation.

    Attributes:
        level: see the module.
        rule: the rule that speaks; empty at level `none`.
        count: how many steps repeat, by that rule.
        since: how many steps ago the loop began: the steps that would not have been needed.
        tools: the tools that the repeated steps call, each once, as the client wrote them.
        evidence: what repeats, for people; it holds numbers and no text of the conversation.
    """

    level: Level = "none"
    rule: str = ""
    count: int = 0
    since: int = 0
    tools: tuple[str, ...] = ()
    evidence: str = ""

    @property
    def names(self) -> str:
        """The tools in words: bounded, printable."""
        shown = ["".join(c if c.isprintable() else "?" for c in name[:MAX_NAME]) for name in self.tools[:MAX_SHOWN]]
        return " + ".join(shown) + (f" and {len(self.tools) - MAX_SHOWN} more" if len(self.tools) > MAX_SHOWN else "")


NOTHING = Detection()


def capped(level: Level, limits: LoopLimits) -> Level:
    """Return `level`, or what the agent's file lets be done at most."""
    most: Level = "block" if limits.act == "block" else "nudge" if limits.act == "nudge" else "warn"
    return min(level, most, key=LEVELS.index)
