"""Replies of Anthropic Messages: usage, texts and tool calls, from a whole body or from stream events as they pass.

Input usage comes with `message_start`, the rest with `message_delta`, whose numbers are totals so far and may repeat those of the start:
the newest number that is not null counts. Until a `message_delta` came the usage is marked inexact, so that a broken stream is charged by
the engine's own bound. Unknown events pass; an unknown kind of delta counts as text as it stands.

Source: Anthropic API documentation, "Streaming Messages"; types of the Python SDK 2.11 (2026-11).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec

from proxy.model import Deny, Usage
from proxy.wire import jsonio, refusals
from proxy.wire.base import Meter
from proxy.wire.call import Event, ToolCall
from proxy.wire.openai_reply import BROKEN, CUT_SHORT, MAX_CALLS, MAX_COUNT, MAX_MODEL
from proxy.wire.repeating import RepeatingMeter
from proxy.wire.sse import data_of
from proxy.wire.stencil import PROBE, Stencil, stencil_of

_NOTHING = msgspec.Raw(b"")
CALL_KINDS = frozenset({"tool_use", "server_tool_use", "mcp_tool_use"})
_NOT_OUTPUT = frozenset({"citations_delta", "signature_delta"})


class _CacheCreation(msgspec.Struct):
    ephemeral_1h_input_tokens: int | None = None
    ephemeral_5m_input_tokens: int | None = None


class _OutDetails(msgspec.Struct):
    thinking_tokens: int | None = None


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_creation: _CacheCreation | None = None
    output_tokens_details: _OutDetails | None = None


class _Block(msgspec.Struct):
    type: str = ""
    id: str | None = None
    name: str | None = None
    text: str | None = None
    thinking: str | None = None
    data: str | None = None
    input: msgspec.Raw = _NOTHING


class _Message(msgspec.Struct):
    type: str = ""
    model: str | None = None
    content: list[_Block] | None = None
    stop_reason: str | None = None
    usage: msgspec.Raw = _NOTHING


class _Delta(msgspec.Struct):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None


class _Event(msgspec.Struct):
    type: str = ""
    index: int | None = None
    message: _Message | None = None
    delta: _Delta | None = None
    content_block: _Block | None = None
    usage: msgspec.Raw = _NOTHING


_message_decoder = msgspec.json.Decoder(_Message)
_event_decoder = msgspec.json.Decoder(_Event)
_usage_decoder = msgspec.json.Decoder(_Usage)


@dataclass(slots=True)
class Tally:
    """The newest of every number, over all reports of one reply."""

    counts: dict[str, int] = field(default_factory=dict)
    clamped: bool = False

    def add(self, raw: msgspec.Raw) -> bool:
        """Take one report in; False when it is none or cannot be read."""
        if len(raw) < 5:
            return False
        try:
            found = _usage_decoder.decode(raw)
        except BROKEN:
            return False
        creation, out = found.cache_creation or _CacheCreation(), found.output_tokens_details or _OutDetails()
        numbers = {
            "input": found.input_tokens,
            "output": found.output_tokens,
            "read": found.cache_read_input_tokens,
            "write": found.cache_creation_input_tokens,
            "write_1h": creation.ephemeral_1h_input_tokens,
            "write_5m": creation.ephemeral_5m_input_tokens,
            "reasoning": out.thinking_tokens,
        }
        for key, value in numbers.items():
            if value is not None:
                self.counts[key] = max(0, min(value, MAX_COUNT))
                self.clamped = self.clamped or self.counts[key] != value
        return True

    def usage(self, final: bool) -> Usage:
        """Return the usage so far. Where total and lifetimes of cache writes disagree, the greater counts."""
        get = self.counts.get
        written, hour = get("write", 0), get("write_1h", 0)
        short = max(get("write_5m", 0), written - hour)
        output, reasoning = get("output", 0), get("reasoning", 0)
        known = "input" in self.counts and "output" in self.counts
        exact = final and known and not self.clamped and reasoning <= output
        return Usage(get("input", 0), output, get("read", 0), short, hour, min(reasoning, output), exact)


@dataclass(slots=True)
class _Open:
    """A content block while it streams."""

    block: _Block
    pieces: list[str] = field(default_factory=list)


class MessagesMeter(RepeatingMeter):
    """Reads one reply."""

    turns: int = 0

    def __init__(self) -> None:
        super().__init__()
        self._tally = Tally()
        self._blocks: dict[int, _Open] = {}
        self._started = False

    def buffered(self, body: bytes) -> None:
        """See `Meter.buffered`."""
        self.ended = True
        try:
            message = jsonio.decoded(_message_decoder, body)
        except BROKEN:
            self.odd = True
            self.texts.append(body.decode("utf-8", "replace"))
            return
        self.failed = message.type == "error"
        self.model, self.finish = (message.model or "")[:MAX_MODEL], message.stop_reason or ""
        if self._tally.add(message.usage):
            self.usage = self._tally.usage(final=True)
        for place, block in enumerate(message.content or ()):
            self._text((block.text or "") + (block.thinking or "") + (block.data or ""))
            if block.type in CALL_KINDS:
                self._call(_Open(block), place)

    def _read(self, raw: bytes) -> Event:
        data = data_of(raw)
        try:
            event = jsonio.decoded(_event_decoder, data)
        except BROKEN:
            if not data.lstrip().startswith(b"{"):
                return Event(raw, "other")
            self.odd = True
            return self._unread(raw, data)
        delta = event.delta
        if event.type == "content_block_delta" and delta is not None:
            return self._delta(raw, data, event, delta)
        if event.type == "content_block_start" and event.content_block is not None:
            return self._start(raw, event.index or 0, event.content_block)
        if event.type == "content_block_stop":
            self._stop(event.index or 0)
        elif event.type == "message_start" and event.message is not None:
            self._started, self.model = True, (event.message.model or "")[:MAX_MODEL]
            if self._tally.add(event.message.usage):
                self.usage = self._tally.usage(final=False)
        elif event.type == "message_delta":
            self.finish = (delta and delta.stop_reason) or self.finish
            if self._tally.add(event.usage):
                self.usage = self._tally.usage(final=True)
            return Event(raw, "usage")
        elif event.type == "message_stop":
            self.ended = True
            for index in list(self._blocks):
                self._stop(index)
            return Event(raw, "end")
        elif event.type == "error":
            self.failed = True
            return Event(raw, "error")
        return Event(raw, "other")

    def _delta(self, raw: bytes, data: bytes, event: _Event, delta: _Delta) -> Event:
        if delta.type in _NOT_OUTPUT:
            return Event(raw, "other")
        if delta.partial_json is not None:
            index = event.index or 0
            if index in self._blocks:
                into = self._blocks[index].pieces
                into.append(delta.partial_json)
                if delta.partial_json and self._worth():
                    self._repeats(partial(_stencil, raw, delta.partial_json, event, delta), "tool", into)
            else:
                self.odd = True
            self._text(delta.partial_json)
            return Event(raw, "tool", delta.partial_json)
        text = delta.text if delta.text is not None else delta.thinking
        if text is None:
            return self._unread(raw, data)
        self._text(text)
        if text and self._worth():
            self._repeats(partial(_stencil, raw, text, event, delta))
        return Event(raw, "text", text)

    def _start(self, raw: bytes, index: int, block: _Block) -> Event:
        self.turns += 1
        if index in self._blocks or len(self._blocks) >= MAX_CALLS:
            self.odd = True
        else:
            self._blocks[index] = _Open(block)
        if block.type in CALL_KINDS:
            name = (block.name or "").replace("\n", " ")
            self._text(name)
            return Event(raw, "tool", "", name)
        text = (block.text or "") + (block.thinking or "") + (block.data or "")
        self._text(text)
        return Event(raw, "text" if text else "other", text)

    def _unread(self, raw: bytes, data: bytes) -> Event:
        text = data.decode("utf-8", "replace")
        self._text(text)
        return Event(raw, "text", text)

    def _text(self, text: str) -> None:
        if text:
            self.texts.append(text)
            self.pieces += 1

    @property
    def calling(self) -> bool:
        """See `Meter.calling`."""
        return any(_is_call(found) for found in self._blocks.values())

    def _stop(self, index: int) -> None:
        found = self._blocks.pop(index, None)
        if found is not None and _is_call(found):
            self._call(found, index)

    def _call(self, found: _Open, place: int) -> None:
        arguments = "".join(found.pieces)
        if not found.pieces:
            arguments = bytes(found.block.input).decode("utf-8", "replace") or "{}"
        name = found.block.name or ""
        self.odd = self.odd or len(self.tool_calls) >= MAX_CALLS
        self.tool_calls.append(ToolCall(found.block.id or "", name, arguments, jsonio.signature(name, arguments), str(place)))

    def cut(self, deny: Deny | None) -> bytes:
        """See `Meter.cut`. Before `message_start` nothing can end as a message, so the error event comes whatever the reason."""
        if deny is None or deny.reason not in CUT_SHORT or not self._started:
            return refusals.error_event("anthropic", deny or refusals.LOST)
        output = self._tally.counts.get("output", 0)
        return (
            b"".join(sse("content_block_stop", {"index": index}) for index in self._blocks)
            + sse(
                "message_delta",
                {
                    "delta": {"stop_reason": "max_tokens", "stop_sequence": None},
                    "usage": {"output_tokens": output},
                    "fleetgate": refusals.decision(deny),
                },
            )
            + sse("message_stop", {})
        )


def _stencil(raw: bytes, text: str, event: _Event, delta: _Delta) -> Stencil | None:
    """Return the stencil of a delta that says `text`; `event` and its `delta` are used up."""
    said = "partial_json" if delta.partial_json is not None else "thinking" if delta.text is None else "text"
    found = stencil_of(raw, text, (b'"%b":' % said.encode(),))
    if found is None:
        return None
    setattr(delta, said, PROBE)
    return found if jsonio.decoded(_event_decoder, data_of(found.probe())) == event else None


def _is_call(found: _Open) -> bool:
    """Tell whether a block calls a tool: by its kind, or since it has arguments, whatever its kind."""
    return found.block.type in CALL_KINDS or bool(found.pieces)


def sse(name: str, members: dict[str, Any]) -> bytes:
    """Return one event as Anthropic frames it."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), jsonio.dumps({"type": name, **members}))


class CountMeter(Meter):
    """Reads the reply of the token counter, which is free."""

    def __init__(self) -> None:
        super().__init__()
        self.usage = Usage()

    def buffered(self, body: bytes) -> None:
        """See `Meter.buffered`."""
        self.ended = True

    def event(self, raw: bytes) -> Event:
        """Never called for what we asked: the counter does not stream."""
        return Event(raw, "other")
