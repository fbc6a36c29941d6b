"""The gate: holds a reply back until it may pass, and no longer.

Texts wait until no finding can begin in them any more (`reach - 1` characters, each channel for itself); a tool call waits until its
arguments are complete and was judged, then it passes, or words stand in its place. Everything leaves in the order in which it came; what
needs no change leaves with its own bytes, so a clean stream is the provider's, byte for byte.

The gate decides nothing: an `Inspector`, made by a stage, says what is found in a text and what becomes of a call. It fails closed: what
an inspector cannot judge raises, which the engine turns into a cut.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from proxy.effects import Effect
from proxy.engine.exchange import Exchange
from proxy.model import Deny, Reason
from proxy.wire.base import THOUGHT, Editor, Meter
from proxy.wire.call import Event, ToolCall

MAX_HELD = 16 << 20
"""Bytes that may wait at once; a tool call over that is cut."""
CONTEXT = 64
"""Characters before the window that an inspector sees but does not judge again: what stands before a word decides whether it is one."""


@dataclass(frozen=True, slots=True)
class Span:
    """Part of a text that must not pass as it is: `[start, end)` becomes `instead`, or `deny` stops the reply before it."""

    start: int
    end: int
    instead: str = ""
    deny: Deny | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a tool call: `words` in its place, or other `arguments`, or (neither) it passes as it is."""

    words: str | None = None
    arguments: str | None = None


PASSES = Verdict()


class Inspector(Protocol):
    """Judges what a reply says. Made by a stage for one exchange.

    Attributes:
        reach: the most characters of one span; 0 where texts are not looked at, None where only a whole text can be judged.
        calls: whether tool calls are looked at.
    """

    reach: int | None
    calls: bool

    def spans(self, text: str) -> Sequence[Span]:
        """Return what must not pass in `text`, in order, not overlapping."""
        ...

    async def judge(self, call: ToolCall) -> Verdict:
        """Return what becomes of `call`. May wait: for a policy engine, for a person."""
        ...


class CallJudge(Protocol):
    """One word on a tool call: the agent's contract, the rules of files, a policy engine. The first refusal counts."""

    async def judge(self, ex: Exchange, call: ToolCall, effects: Sequence[Effect]) -> Deny | None:
        """Return why `call`, which would have `effects`, must not pass; marked `shadow` where that is a dry run."""
        ...


@dataclass(slots=True)
class _Channel:
    """One text as it grows. Offsets are absolute: `text` begins at `base`, everything before `safe` may leave, `spans` change it."""

    text: str = ""
    base: int = 0
    judged: int = 0
    safe: int = 0
    spans: list[Span] = field(default_factory=list)

    @property
    def end(self) -> int:
        return self.base + len(self.text)


@dataclass(slots=True)
class _Held:
    """One event that waits: the ranges of text in it by channel, and whether it belongs to a tool call that is not judged yet."""

    raw: bytes
    ranges: tuple[tuple[str, int, int], ...] = ()
    tool: bool = False


class Gate:
    """See the module. One reply's.

    Args:
        inspector: what looks at it.
        editor: how its protocol is changed.
        meter: has read each event before it comes here.
    """

    def __init__(self, inspector: Inspector, editor: Editor, meter: Meter) -> None:
        self._inspector, self._editor, self._meter = inspector, editor, meter
        self._held: deque[_Held] = deque()
        self._channels: dict[str, _Channel] = {}
        self._size = 0
        self._started = self._judged = 0
        self._calling = self._changed = False
        self._texts = inspector.reach != 0

    async def take(self, event: Event) -> tuple[list[bytes], Deny | None]:
        """Take one event in; return what may leave now, and why the reply stops after it."""
        raw = event.raw
        if not self._held and not self._calling and event.kind != "tool" and not (self._texts and event.kind == "text"):
            if event.kind == "end" and self._texts:
                pass
            else:
                return [self._editor.later(raw) if self._changed else raw], None
        ranges = self._grow(raw) if self._texts else ()
        tool = self._inspector.calls and (event.kind == "tool" or self._calling)
        if tool:
            self._calling = True
            self._started += event.tool.count("\n") + 1 if event.tool else 0
        self._held.append(_Held(raw, ranges, tool))
        self._size += len(raw)
        if self._size > MAX_HELD:
            return [], _too_much()
        if self._calling and len(self._meter.tool_calls) > self._judged and self._started <= len(self._meter.tool_calls):
            await self._recall()
        return self._leave()

    async def end(self) -> tuple[list[bytes], Deny | None]:
        """Return what is left when the stream has ended by itself."""
        if self._calling:
            await self._recall()
        for name, channel in self._channels.items():
            self._look(name, channel, final=True)
        return self._leave()

    async def whole(self, body: bytes) -> tuple[bytes, Deny | None]:
        """Return a buffered reply as it may pass."""
        refused, arguments = await self._verdicts(self._meter.tool_calls) if self._inspector.calls else ({}, {})
        deny: Deny | None = None

        def change(text: str) -> str:
            nonlocal deny
            spans = self._inspector.spans(text)
            deny = deny or next((span.deny for span in spans if span.deny is not None), None)
            return _spliced(text, 0, spans)

        unchanged = not refused and not arguments and not self._texts
        changed = body if unchanged else self._editor.whole(body, change if self._texts else _same, refused, arguments)
        return changed, deny

    # --- texts -------------------------------------------------------------------------------------------------------------------

    def _grow(self, raw: bytes) -> tuple[tuple[str, int, int], ...]:
        found: dict[str, tuple[str, int, int]] = {}
        for name, piece in self._editor.texts(raw):
            channel = self._channels.get(name)
            if channel is None:
                channel = self._channels[name] = _Channel()
            start = found[name][1] if name in found else channel.end
            channel.text += piece
            found[name] = (name, start, channel.end)
        for name in found:
            self._look(name, self._channels[name])
        return tuple(found.values())

    def _look(self, name: str, channel: _Channel, final: bool = False) -> None:
        """Judge what was not judged yet: a span may leave once no longer one can begin before its end."""
        reach = self._inspector.reach
        limit = channel.end if final else channel.judged if reach is None else channel.end - reach + 1
        if limit <= channel.safe and not final:
            return
        for span in self._inspector.spans(channel.text):
            start, end = span.start + channel.base, span.end + channel.base
            if channel.judged <= start < limit:
                if span.deny is None and name.startswith(THOUGHT):
                    continue
                channel.spans.append(Span(start, end, span.instead, span.deny))
                channel.judged = end
                limit = max(limit, end)
        channel.judged = max(channel.judged, limit)
        channel.safe = max(channel.safe, limit)

    # --- tool calls --------------------------------------------------------------------------------------------------------------

    async def _verdicts(self, calls: Iterable[ToolCall]) -> tuple[dict[str, str], dict[str, str]]:
        refused: dict[str, str] = {}
        arguments: dict[str, str] = {}
        for call in calls:
            verdict = await self._inspector.judge(call)
            if verdict.words is not None:
                refused[call.place] = verdict.words
            elif verdict.arguments is not None:
                arguments[call.place] = verdict.arguments
        return refused, arguments

    async def _recall(self) -> None:
        """Judge the calls that are complete, and put what may pass of them back into the line."""
        calls = self._meter.tool_calls[self._judged :]
        self._judged = len(self._meter.tool_calls)
        self._calling = False
        refused, arguments = await self._verdicts(calls)
        if not refused and not arguments:
            for held in self._held:
                held.tool = False
            return
        first = next((i for i, held in enumerate(self._held) if held.tool), 0)
        waiting, tools = list(self._held)[:first], list(self._held)[first:]
        raws = self._editor.recall([held.raw for held in tools], refused, arguments)
        self._changed = True
        ranges = [r for held in tools for r in held.ranges]
        self._held = deque([*waiting, *[_Held(raw) for raw in raws[:-1]], _Held(raws[-1] if raws else b"", tuple(ranges))])

    # --- leaving -----------------------------------------------------------------------------------------------------------------

    def _leave(self) -> tuple[list[bytes], Deny | None]:
        out: list[bytes] = []
        while self._held:
            held = self._held[0]
            if held.tool or any(end > self._channels[name].safe for name, _, end in held.ranges):
                break
            deny = self._denied(held.ranges)
            if deny is not None:
                return out, deny
            self._held.popleft()
            self._size -= len(held.raw)
            raw = self._retexted(held)
            if raw:
                out.append(raw)
        return out, None

    def _denied(self, ranges: Sequence[tuple[str, int, int]]) -> Deny | None:
        for name, start, end in ranges:
            for span in self._channels[name].spans:
                if span.deny is not None and span.start < end and span.end > start:
                    return span.deny
        return None

    def _retexted(self, held: _Held) -> bytes:
        """Return the event with the spans in its texts replaced, and let go of what left."""
        raw, texts = held.raw, dict[str, str]()
        for name, start, end in held.ranges:
            channel = self._channels[name]
            inside = [s for s in channel.spans if s.start < end and s.end > start]
            if inside:
                texts[name] = _spliced(channel.text[start - channel.base : end - channel.base], start, inside)
            channel.spans = [s for s in channel.spans if s.end > end]
            drop = min(end, channel.judged) - CONTEXT - channel.base
            if drop > 0:
                channel.text, channel.base = channel.text[drop:], channel.base + drop
        if self._changed:
            raw = self._editor.later(raw)
        if texts:
            self._changed = True
            raw = self._editor.retext(raw, texts)
        return raw


def _same(text: str) -> str:
    return text


def _spliced(text: str, base: int, spans: Sequence[Span]) -> str:
    """Return `text`, which begins at `base`, with the spans in it replaced; a span's words stand where it begins."""
    parts, position = list[str](), 0
    for span in spans:
        start, end = max(0, span.start - base), min(len(text), span.end - base)
        parts.append(text[position:start])
        if span.start >= base:
            parts.append(span.instead)
        position = max(position, end)
    return "".join(parts) + text[position:]


def _too_much() -> Deny:
    return Deny(
        Reason.TOOL_CALL_BLOCKED,
        f"The model's tool call is over {MAX_HELD >> 20} MiB, too much to be looked at.",
        rule="guards",
        remedy="Have the model write less at once.",
    )


def gate_for(ex: Exchange, meter: Meter) -> Gate | None:
    """Return what holds the reply of `ex` back until it may pass, None where nobody looks at it."""
    inspector = None if ex.rt.plan.inspect is None else ex.rt.plan.inspect(ex)
    if inspector is None:
        return None
    codec, call = (ex.codec, ex.call) if ex.bridge is None else (ex.bridge.codec, ex.bridge.call)
    editor = codec.editor(call)
    return None if editor is None else Gate(inspector, editor, meter)
