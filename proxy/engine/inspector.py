"""What the gate asks about a reply, and what it is told: spans of texts, verdicts on tool calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from proxy.effects import Effect
from proxy.engine.exchange import Exchange
from proxy.model import Deny, Grant
from proxy.wire.call import ToolCall


@dataclass(frozen=True, slots=True)
class Span:
    """Part of a text that was found: `[start, end)` becomes `instead`, or `deny` stops the reply before it, or (neither) it passes.

    `rule` and `detail` are for the inspector, which hears of each span again that counts (see `Inspector.took`).
    """

    start: int
    end: int
    instead: str | None = None
    deny: Deny | None = None
    rule: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a tool call: `words` in its place, or other `arguments`, or (neither) it passes as it is."""

    words: str | None = None
    arguments: str | None = None


PASSES = Verdict()


def spliced(text: str, spans: Sequence[Span], base: int = 0) -> str:
    """Return `text`, which begins at `base`, with the spans in it replaced; words stand where a span begins, once where some overlap."""
    parts, position = list[str](), base
    for span in sorted(spans, key=lambda span: (span.start, -span.end)):
        if span.instead is None or span.end <= position:
            continue
        if span.start >= position:
            parts += [text[position - base : span.start - base], span.instead]
        position = span.end
    return "".join(parts) + text[position - base :]


class Inspector(Protocol):
    """Judges what a reply says. Made by a stage for one exchange.

    Attributes:
        reach: the most characters of one span; 0 where texts are not looked at, None where only a whole text can be judged.
        calls: whether tool calls are looked at.
    """

    reach: int | None
    calls: bool

    def spans(self, text: str) -> Sequence[Span]:
        """Return what is found in `text`, in order. Asked about the same words more than once, while a text grows."""
        ...

    def took(self, span: Span, text: str) -> None:
        """Hear of a span, and of its text, that is final and counts."""
        ...

    async def judge(self, call: ToolCall) -> Verdict:
        """Return what becomes of `call`. May wait: for a policy engine, for a person."""
        ...


class CallJudge(Protocol):
    """One word on a tool call: the agent's contract, the rules of files, a policy engine. The first refusal counts."""

    async def judge(self, ex: Exchange, call: ToolCall, effects: Sequence[Effect]) -> Deny | None:
        """Return why `call`, which would have `effects`, must not pass; marked `shadow` where that is a dry run."""
        ...


class TextJudge(Protocol):
    """One word on the texts of a reply, beside the guards': the rules of files."""

    def reach(self, grant: Grant) -> int | None:
        """Return how many characters of a reply to an agent with `grant` must be seen at once; 0 for none, None for all."""
        ...

    def spans(self, ex: Exchange, text: str) -> Sequence[Span]:
        """Return what is found in `text`; a span's `rule` is the finding that it leaves when it counts."""
        ...
