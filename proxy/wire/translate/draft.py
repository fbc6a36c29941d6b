"""A reply put together from the steps of a stream, for writers that must say a part whole, or all of it once more at the end.

Bounded: a provider that never stops fills no memory here. What is over the bound makes the draft `full`, and the stream then ends with an
error, since half of a tool call must not pass for a whole one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from proxy.model import Deny, Reason, Usage
from proxy.wire import jsonio
from proxy.wire.translate.hub import Began, Ended, Step, Stop, Text, Thought, ToolBegan, ToolMore, ToolUse, Words

MAX_LETTERS = 16 << 20
MAX_ITEMS = 4096
PIECE = 16
"""Letters that a piece counts for beside its own."""
TOO_LONG = Deny(
    Reason.UPSTREAM_ERROR,
    "The provider's reply is longer than can be carried into this protocol.",
    rule="translation",
    remedy="Ask for less at once, or for a model that is served in the protocol of the request.",
)


@dataclass(slots=True)
class Item:
    """One part that is still written: words, thoughts, or a call with an `id` and a `name`; `place` counts the parts from 0."""

    kind: Literal["text", "thought", "tool"]
    place: int
    id: str = ""
    name: str = ""
    pieces: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All of it so far."""
        return "".join(self.pieces)

    def part(self) -> Text | Thought | ToolUse:
        """Return it as a part of a whole reply."""
        if self.kind == "tool":
            return ToolUse(self.id, self.name, self.text)
        return Thought(self.text) if self.kind == "thought" else Text(self.text)


class Draft:
    """What a reply said so far.

    Attributes:
        id, model: as the stream began; empty before.
        items: its parts, in the order in which they began.
        usage: the newest.
        full: something did not fit.
    """

    def __init__(self) -> None:
        self.id = self.model = ""
        self.items: list[Item] = []
        self.usage: Usage | None = None
        self.full = False
        self._stop: Stop | None = None
        self._calls: dict[int, Item] = {}
        self._letters = 0

    @property
    def stop(self) -> Stop:
        """Why it ended, as far as was said; a reply that calls tools and says nothing else ended for them."""
        return self._stop or ("tool" if self._calls else "stop")

    @property
    def calling(self) -> bool:
        """Whether a tool call has begun: what is said after may belong to it."""
        return bool(self._calls)

    def add(self, step: Step) -> Item | None:
        """Take a step and return the item that it began or went on with, None where there is none."""
        if isinstance(step, Began):
            self.id, self.model = step.id or self.id, step.model or self.model
            self.usage = step.usage or self.usage
        elif isinstance(step, Ended):
            self._stop, self.usage = step.stop or self._stop, step.usage or self.usage
        elif isinstance(step, Words) and step.text:
            return self._words("thought" if step.thought else "text", step.text)
        elif isinstance(step, ToolBegan) and self._fits(step.id + step.name, 1):
            self._calls[step.index] = Item("tool", len(self.items), step.id, step.name)
            self.items.append(self._calls[step.index])
            return self.items[-1]
        elif isinstance(step, ToolMore):
            return self._more(step)
        return None

    def _words(self, kind: Literal["text", "thought"], text: str) -> Item | None:
        same = bool(self.items) and self.items[-1].kind == kind
        if not self._fits(text, 0 if same else 1):
            return None
        if not same:
            self.items.append(Item(kind, len(self.items)))
        self.items[-1].pieces.append(text)
        return self.items[-1]

    def _more(self, step: ToolMore) -> Item | None:
        item = self._calls.get(step.index)
        if item is None or not step.arguments or not self._fits(step.arguments, 0):
            return None
        item.pieces.append(step.arguments)
        return item

    def _fits(self, text: str, items: int) -> bool:
        self._letters += len(text) + PIECE
        if self._letters > MAX_LETTERS or len(self.items) + items > MAX_ITEMS:
            self.full = True
        return not self.full

    def parts(self) -> list[Text | Thought | ToolUse]:
        """Return all that was said; of a reply that broke off, calls that are not whole are left out."""
        return whole_parts([item.part() for item in self.items], self.stop)


def whole_parts(parts: Sequence[Text | Thought | ToolUse], stop: Stop) -> list[Text | Thought | ToolUse]:
    """Return the parts of a reply that ended with `stop`. A call that was cut off within its arguments is none: a client would run it."""
    broken = stop in ("length", "filter")
    called = (ToolUse(p.id, p.name, p.arguments or "{}") if isinstance(p, ToolUse) and not broken else p for p in parts)
    return [part for part in called if not (isinstance(part, ToolUse) and broken and not is_whole(part.arguments))]


def is_whole(arguments: str) -> bool:
    """Return whether the arguments of a call are a JSON object from end to end."""
    return isinstance(jsonio.parsed(arguments.encode("utf-8", "surrogatepass")), dict)
