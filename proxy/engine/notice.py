"""Something that people outside should hear of: a budget nearly gone, a loop, a call that waits for them, a kill.

Whoever sees it says it once, to `Runtime.tell`, and goes on; who carries it out (a webhook) must not block and may lose it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

NoticeKind = Literal["budget", "loop", "approval", "kill", "config"]


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to be told.

    Attributes:
        kind: what it is about.
        key: what makes it one of a kind: of two with one key and one kind the second is not told for a while.
        text: it in a sentence. Never a secret, never prompt text.
        facts: it in numbers and names, for machines.
        time: UTC seconds.
    """

    kind: NoticeKind
    key: str
    text: str
    facts: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)
    time: float = 0.0


Tell = Callable[[Notice], None]


def nobody(notice: Notice) -> None:
    """Tell nobody."""
