"""The interface of guards: what they are given, what they say, and how far they must see.

A guard is stateless after it was built and never raises for what a text holds. It says what is there; what follows from it is decided by
the agent's `data:` settings and by rules. Its `digest` changes with its rules, so that what is remembered of a message is remembered of
that rule set alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import re2

from proxy.effects import EFFECTS, Effect
from proxy.wire.call import ToolCall

Surface = Literal["prompt", "tool_result", "reply", "tool_definition", "tool_call"]
"""Where a text stands: said to the model, returned by a tool, said by the model, what a tool is described as, arguments of a call."""
Mode = Literal["off", "warn", "redact", "block"]
"""What the agent's `data:` settings ask for; each is stricter than the one before."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A span that a text guard found.

    Attributes:
        rule: `guard/rule`, as it shows in `x-fleetgate-findings`.
        start, end: the span in the text as given (characters).
        label: the word of its placeholder when it is redacted: `EMAIL`, `AWS_KEY`.
        detail: for people; never the text itself.
        open: it goes on beyond the span, so nothing that stands in place of the span hides it all.
    """

    rule: str
    start: int
    end: int
    label: str = ""
    detail: str = ""
    open: bool = False


def apart(found: Iterable[Hit], places: Sequence[int] | None = None) -> list[Hit]:
    """Return what was found in order, of hits that overlap the one that begins first (the longest of those), each where it stands.

    Args:
        found: hits in the text as it was searched.
        places: where each of its characters stands in the text as given; None: at its own place.
    """
    kept: list[Hit] = []
    for hit in sorted(found, key=lambda hit: (hit.start, -hit.end)):
        if not kept or hit.start >= kept[-1].end:
            kept.append(hit)
    if places is None:
        return kept
    return [Hit(h.rule, places[h.start], places[h.end - 1] + 1, h.label, h.detail, h.open) for h in kept]


class Compiled(dict[str, Any]):
    """Patterns by name, each compiled when it is first asked for: most texts need none of them, and a server starts sooner."""

    def __init__(self, sources: Mapping[str, str]) -> None:
        super().__init__()
        self._sources = sources

    def __missing__(self, name: str) -> Any:
        """Compile it."""
        found = self[name] = re2.compile(self._sources[name])
        return found


class TextGuard(ABC):
    """Finds spans in texts.

    Attributes:
        name: its key in the agent's `data:` settings: secrets, pii or injection.
        surfaces: where it looks.
        reach: the most characters that one finding spans: a stream holds back one fewer. None: the text must be whole. What spans as many
            or more may go on beyond what can be seen: in a reply it counts as open.
        digest: identifies the rule set (12 hex digits).
    """

    name: ClassVar[str]
    surfaces: ClassVar[frozenset[Surface]]
    reach: int | None
    digest: str

    @abstractmethod
    def scan(self, text: str, surface: Surface) -> Sequence[Hit]:
        """Return what is found in `text`, in order, not overlapping. Linear in its length; never raises."""


class CallGuard(ABC):
    """Says what tool calls would do. Stateless; never raises for what a call holds; bounded in time by the size of its arguments."""

    name: ClassVar[str]

    @abstractmethod
    def effects(self, call: ToolCall) -> Sequence[Effect]:
        """Return what `call` would do, as far as can be told; nothing for tools that it knows nothing of."""


__all__ = ["EFFECTS", "CallGuard", "Effect", "Hit", "Mode", "Surface", "TextGuard", "apart"]
