"""The gate: holds a reply back until it may pass, and no longer.

Texts wait until no finding can begin in them any more (`reach - 1` characters, each channel for itself); tool calls wait until all that
have begun are complete and were judged, then each passes, or words stand in its place. Everything leaves in the order in which it came;
what needs no change leaves with its own bytes, so a clean stream is the provider's, byte for byte.

The gate decides nothing: an `Inspector`, made by a stage, says what is found in a text and what becomes of a call. It fails closed: what
could not be read as the protocol's, a call that never ends and a call that nobody let through stop the reply. What leaves is read once
more, by a meter of its own (`shown`): it knows of no other calls than those that passed, and ends a cut stream as the client has seen it.

A text that stood still while another of its answer was said, and goes on after all, has left up to there: what is found across that
place stops the reply, since it could not be hidden any more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from proxy.engine.exchange import Exchange
from proxy.engine.held import Channel, Held, Range
from proxy.engine.inspector import PASSES, CallJudge, Inspector, Span, Verdict, spliced
from proxy.engine.withheld import MAX_HELD, ODD, SLIPPED, TOO_MUCH, TORN, UNFINISHED
from proxy.model import Deny, Reason
from proxy.wire.base import THOUGHT, Editor, Meter
from proxy.wire.call import Event

_HELD = 128
"""Bytes that an event which waits takes beside its own."""
MAX_CHANNELS = 4096
CONTEXT = 64
"""Characters before the window that an inspector sees but does not judge again: what stands before a word decides whether it is one."""
_DROP = 32
"""Characters that are let go of at once."""
_STRIDE = 32
"""A text is looked at again when `reach / _STRIDE` characters more could leave, so that a long reach costs no look at each letter."""
_EARLY = 32
"""Events that `shown` need not have read yet, at most."""
_NO_TEXTS: dict[str, str] = {}


class Gate:
    """See the module. One reply's.

    Args:
        inspector: what looks at it.
        editor: how its protocol is changed.
        meter: has read each event before it comes here.
        shown: a fresh one, for what leaves.

    Attributes:
        follows: what passes by must be told to it: `shown` reads every event.
    """

    def __init__(self, inspector: Inspector, editor: Editor, meter: Meter, shown: Meter) -> None:
        self._inspector, self._editor, self._meter, self._shown = inspector, editor, meter, shown
        self._early: list[bytes] = []
        self._held: deque[Held] = deque()
        self._channels: dict[str, Channel] = {}
        self._size = self._judged = self._passed = 0
        self._window = self._changed = self._said = False
        self._deny: Deny | None = None
        self._texts, self._calls = inspector.reach != 0, inspector.calls
        self._stride = max(1, (inspector.reach or 0) // _STRIDE)
        self._turns: int | None = None
        self._flow = ""
        self._soonest = (inspector.reach or 1) - 1 + self._stride
        self.follows = shown.repeats = shown.turns is None

    @property
    def shown(self) -> Meter:
        """What has read what has left."""
        if self._early:
            for raw in self._early:
                self._shown.event(raw)
            self._early.clear()
            self._shown.texts.clear()
        return self._shown

    @property
    def open(self) -> bool:
        """Whether more of the words that passed last may pass as they come: nobody looks at them, and nothing is held or was changed."""
        meter = self._meter
        if self._texts or self._held or self._changed or self._window or self._deny is not None or meter.odd:
            return False
        return meter.turns == self._turns and not (self._calls and (meter.calling or len(meter.tool_calls) > self._judged))

    def passed(self, raw: bytes, text: str) -> None:
        """Take note of an event that passed by, `open` as the gate was, where it `follows`; `text` is what its meter read in it."""
        shown = self.shown if self._early else self._shown
        shown.follow(raw, text)
        shown.texts.clear()

    def take(self, event: Event) -> bool:
        """Take one event in; tell whether calls are complete and wait for `judge`."""
        meter, raw, complete = self._meter, event.raw, False
        if meter.odd:
            self._deny = self._deny or ODD
            return False
        if self._calls and (event.kind == "tool" or meter.calling or len(meter.tool_calls) > self._judged):
            self._window = True
            complete = len(meter.tool_calls) > self._judged and not meter.calling
        ranges, window = self._grow(raw, event.text) if self._texts else (), self._window
        more = event.kind == "text" and meter.turns == self._turns is not None and not window
        self._turns = meter.turns
        return self._hold(Held(raw, ranges, window, window, more)) and complete

    @property
    def flows(self) -> bool:
        """Whether more of the words that came last may come by `flow`: nothing was changed or is odd, and no call is under way but the one
        whose arguments they are, with no text beside them."""
        meter = self._meter
        if self._deny is not None or meter.odd or (self._calls and len(meter.tool_calls) > self._judged):
            return False
        if self._window:
            return meter.says == "tool" and meter.calling and not self._said
        return bool(self._flow) and not self._changed and meter.turns == self._turns and not (self._calls and meter.calling)

    def flow(self, raw: bytes, text: str) -> tuple[list[bytes], Deny | None]:
        """Take in an event that is as the newest but for its words, where the gate `flows`, and `leave`; `text` is what its meter read."""
        if self._window:
            self._hold(Held(raw, (), True, True, False))
            return [], self._deny
        name = self._flow
        self._hold(Held(raw, (self._more(name, self._channels[name], text),), False, False, self._turns is not None))
        return self.leave()

    def _hold(self, held: Held) -> bool:
        self._held.append(held)
        self._size += len(held.raw) + _HELD
        if self._size > MAX_HELD or len(self._channels) > MAX_CHANNELS:
            self._deny = TOO_MUCH
        return self._deny is None

    async def judge(self) -> None:
        """Have the calls judged that are complete."""
        calls = self._meter.tool_calls[self._judged :]
        self._judged = len(self._meter.tool_calls)
        for call in calls:
            self._take_verdict(call.place, await self._inspector.judge(call))
        self._window = False
        for held in self._held:
            held.waits = False

    def leave(self) -> tuple[list[bytes], Deny | None]:
        """Return what may leave now, and why the reply stops after it."""
        out: list[bytes] = []
        held = self._held
        while held and self._deny is None:
            first = held[0]
            if first.waits or (first.ranges and self._stays(first.ranges)):
                break
            held.popleft()
            self._size -= len(first.raw) + _HELD
            raws = self._edited(first) if first.ranges or first.tool or self._changed else [first.raw]
            if first.more:
                out += raws
            else:
                self._deny = self._show(raws, out)
        return out, self._deny

    def end(self) -> None:
        """The stream has ended by itself: what is left may leave, unless it belongs to a call that never was complete."""
        if self._window:
            self._deny = self._deny or UNFINISHED
        for name, channel in self._channels.items():
            self._look(name, channel, final=True)

    async def whole(self, body: bytes) -> tuple[bytes, Deny | None]:
        """Return a buffered reply as it may pass."""
        if self._meter.odd:
            return body, ODD
        if self._calls:
            await self.judge()
        denies: list[Deny] = []

        def change(text: str) -> str:
            spans = self._inspector.spans(text) if self._texts and text else ()
            for span in spans:
                self._inspector.took(span, text[span.start : span.end])
            denies.extend([span.deny for span in spans if span.deny is not None])
            return spliced(text, spans)

        if not (self._texts or self._editor.refused or self._editor.arguments):
            self._shown = self._meter  # it leaves as it came
            return body, None
        changed = self._editor.whole(body, change)
        self.shown.buffered(changed)
        return changed, denies[0] if denies else self._slipped()

    # --- texts -------------------------------------------------------------------------------------------------------------------

    def _grow(self, raw: bytes, text: str) -> tuple[Range, ...]:
        """Take the texts of an event, of which its meter read `text`, into their channels; return where they stand."""
        pieces = self._editor.texts(raw)
        self._said = bool(pieces)
        self._flow = pieces[0][0] if len(pieces) == 1 and pieces[0][1] == text else ""
        if not pieces:
            return ()
        channels = self._channels
        name, piece = pieces[0]
        channel = channels.get(name)
        if len(pieces) == 1 and piece is not None and channel is not None:  # as most events are
            return (self._more(name, channel, piece),)
        return self._grown(pieces)

    def _more(self, name: str, channel: Channel, piece: str) -> Range:
        start = channel.end
        channel.more.append(piece)
        channel.end = end = start + len(piece)
        if end - channel.safe >= self._soonest:
            self._look(name, channel)
        return name, start, end

    def _grown(self, pieces: Sequence[tuple[str, str | None]]) -> tuple[Range, ...]:
        found: dict[str, Range] = {}
        channels = self._channels
        for name, piece in pieces:
            channel = channels.get(name)
            if channel is None:
                channel = channels[name] = Channel()
            if piece is None:
                self._look(name, channel, final=True)
                channel.left = channel.end
                continue
            start = found[name][1] if name in found else channel.end
            channel.more.append(piece)
            channel.end += len(piece)
            found[name] = (name, start, channel.end)
        for name in found:
            self._look(name, channels[name])
        return tuple(found.values())

    def _look(self, name: str, channel: Channel, final: bool = False) -> None:
        """Judge what was not judged yet: a span is told once no longer one can begin where it does."""
        reach, limit = self._inspector.reach, channel.end
        if not final:
            limit = channel.safe if reach is None else limit - reach + 1
            if limit - channel.safe < self._stride:
                return
        if limit <= channel.safe:
            return
        channel.text += "".join(channel.more)
        channel.more.clear()
        for found in self._inspector.spans(channel.text):
            start, end = found.start + channel.base, found.end + channel.base
            torn = start < channel.left < end and channel.safe == channel.left
            if not torn and not channel.safe <= start < limit:
                continue
            self._inspector.took(found, channel.text[found.start : found.end])
            instead = None if name.startswith(THOUGHT) else found.instead
            if found.deny is not None or instead is not None:
                deny = found.deny or (TORN if torn else None)
                channel.spans.append(Span(max(start, channel.left) if torn else start, end, instead, deny))
        channel.safe = limit

    # --- tool calls --------------------------------------------------------------------------------------------------------------

    def _take_verdict(self, place: str, verdict: Verdict) -> None:
        if verdict.words is not None:
            self._editor.refused[place] = verdict.words
            return
        self._passed += 1
        self._editor.kept.add(place)
        if verdict.arguments is not None:
            self._editor.arguments[place] = verdict.arguments

    def _slipped(self) -> Deny | None:
        """Return the refusal of a call that is about to leave and that nobody let through."""
        return SLIPPED if self._calls and len(self.shown.tool_calls) > self._passed else None

    # --- leaving -----------------------------------------------------------------------------------------------------------------

    def _stays(self, ranges: Sequence[Range]) -> bool:
        """Tell whether an event must wait for its texts to be judged, or for ever."""
        for name, start, end in ranges:
            channel = self._channels[name]
            if end > channel.safe:
                return True
            for span in channel.spans:
                if span.deny is not None and span.start < end and span.end > start:
                    self._deny = span.deny
                    return True
        return False

    def _edited(self, held: Held) -> list[bytes]:
        """Return the event as it leaves, and let go of its texts."""
        texts = _NO_TEXTS
        for name, start, end in held.ranges:
            channel = self._channels[name]
            if channel.spans:
                inside = [s for s in channel.spans if s.start < end and s.end > start]
                channel.spans = [s for s in channel.spans if s.end > end]
                if inside:
                    texts = {**texts, name: spliced(channel.text[start - channel.base : end - channel.base], inside, start)}
            kept = max(CONTEXT, self._inspector.reach or 0) if channel.safe == channel.left else CONTEXT
            drop = min(end, channel.safe) - kept - channel.base
            if drop > _DROP:
                channel.text, channel.base = channel.text[drop:], channel.base + drop
        if not (texts or held.tool or self._changed):
            return [held.raw]
        raws = self._editor.edit(held.raw, texts)
        self._changed = self._changed or raws != [held.raw]
        return raws

    def _show(self, raws: list[bytes], out: list[bytes]) -> Deny | None:
        meter = self._meter
        if not (self._changed or self._window or meter.tool_calls or meter.calling) and len(self._early) < _EARLY:
            self._early += raws
            out += raws
            return None
        shown = self.shown
        for raw in raws:
            shown.event(raw)
            deny = self._slipped()
            if deny is not None:
                return deny
            out.append(raw)
        shown.texts.clear()
        return None


def gate_for(ex: Exchange, meter: Meter) -> Gate | Deny | None:
    """Return what holds the reply of `ex` back until it may pass, None where nobody looks at it, a refusal where nobody could.

    A reply that is here as a whole, with no call in it, needs no gate where texts are not looked at.
    """
    inspector = None if ex.rt.plan.inspect is None else ex.rt.plan.inspect(ex)
    if inspector is None:
        return None
    codec, call = (ex.codec, ex.call) if ex.bridge is None else (ex.bridge.codec, ex.bridge.call)
    editor = codec.editor(call)
    if editor is not None:
        if inspector.reach == 0 and not ex.call.stream and not meter.tool_calls and not meter.odd:
            return None
        return Gate(inspector, editor, meter, codec.meter(call))
    if call.operation != "chat":
        return None
    return Deny(Reason.INTERNAL, f"Nobody can look at replies of {codec.dialect}.", rule="gate", remedy="Report this.")


__all__ = ["PASSES", "CallJudge", "Gate", "Inspector", "Span", "Verdict", "gate_for"]
