"""What a gate keeps of a reply that waits: the texts as they grow, and the events. Data alone; `gate` says when it may leave."""

from __future__ import annotations

from dataclasses import dataclass, field

from proxy.engine.inspector import Span

Range = tuple[str, int, int]
"""A channel, and where a piece of it begins and ends."""


@dataclass(slots=True)
class Channel:
    """One text as it grows. Offsets are absolute: `text` begins at `base` and goes on with `more` up to `end`.

    What begins before `safe` is judged, and `spans` change it. What stood before `left` left before more of it came.
    """

    text: str = ""
    more: list[str] = field(default_factory=list)
    base: int = 0
    end: int = 0
    safe: int = 0
    left: int = 0
    spans: list[Span] = field(default_factory=list)


@dataclass(slots=True)
class Held:
    """One event that waits: its text by channel, whether it awaits a verdict, is of tool calls, or only more of texts that have begun."""

    raw: bytes
    ranges: tuple[Range, ...]
    waits: bool
    tool: bool
    more: bool
