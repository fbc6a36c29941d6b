"""Replies of Anthropic Messages as a dialect: read into the hub, whole and in streams, and written from it whole. Streams are written in
`anthropic_writer`.

Thinking is written without a signature, so that Anthropic would not take it back; clients that send it back here lose nothing, since we
leave it out.

Source: Anthropic API documentation, "Streaming Messages"; types of the Python SDK 2.11 (2026-11).
"""

from __future__ import annotations

from typing import Any

import msgspec

from proxy.model import Usage
from proxy.wire import jsonio
from proxy.wire.anthropic_reply import Tally
from proxy.wire.openai_reply import BROKEN, MAX_CALLS, MAX_MODEL
from proxy.wire.sse import data_of
from proxy.wire.translate.draft import whole_parts
from proxy.wire.translate.given import arguments_of, arguments_text, call_name, reply_name
from proxy.wire.translate.hub import (
    Asked,
    Began,
    Ended,
    Failed,
    Said,
    Step,
    Stop,
    StreamReader,
    Text,
    Thought,
    ToolBegan,
    ToolMore,
    ToolUse,
    Untranslatable,
    Words,
)

_NOTHING = msgspec.Raw(b"")
_STOPS: dict[str, Stop] = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool",
    "refusal": "filter",
}
_WRITTEN: dict[Stop, str] = {"stop": "end_turn", "length": "max_tokens", "tool": "tool_use", "filter": "refusal"}
PREFIX, CALL = "msg_", "toolu_"


class _Block(msgspec.Struct):
    type: str = ""
    id: str | None = None
    name: str | None = None
    text: str | None = None
    thinking: str | None = None
    input: Any = None


class _Message(msgspec.Struct):
    id: Any = None
    model: Any = None
    usage: msgspec.Raw = _NOTHING


class _Delta(msgspec.Struct):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None


class _Error(msgspec.Struct):
    message: Any = None


class _Event(msgspec.Struct):
    type: str = ""
    index: int | None = None
    message: _Message | None = None
    delta: _Delta | None = None
    content_block: _Block | None = None
    usage: msgspec.Raw = _NOTHING
    error: _Error | None = None


_decoder = msgspec.json.Decoder(_Event)


def stop_of(reason: object) -> Stop:
    """Return why the model stopped; a word that we do not know is a stop."""
    return _STOPS.get(reason, "stop") if isinstance(reason, str) else "stop"


# --- reading -----------------------------------------------------------------------------------------------------------------------


def read_reply(body: dict[str, Any]) -> Said:
    """See `Dialect.read_reply`. Blocks that tell of the provider's own tools cannot come, since none were offered, and say nothing."""
    content = body.get("content")
    if body.get("type") != "message" or not isinstance(content, list):
        raise Untranslatable("the reply is no message")
    parts: list[Text | Thought | ToolUse] = []
    for value in content[:MAX_CALLS]:
        try:
            block = msgspec.convert(value, _Block)
        except msgspec.ValidationError:
            continue
        if block.type == "text" and block.text:
            parts.append(Text(block.text))
        elif block.type == "thinking" and block.thinking:
            parts.append(Thought(block.thinking))
        elif block.type == "tool_use":
            parts.append(ToolUse(block.id or "", block.name or "", arguments_text(block.input)))
    tally = Tally()
    usage = tally.usage(final=True) if tally.add(msgspec.Raw(jsonio.encoded(body.get("usage")))) else Usage(exact=False)
    return Said(_word(body.get("id")), _word(body.get("model")), parts, stop_of(body.get("stop_reason")), usage)


def _word(value: object) -> str:
    return value[:MAX_MODEL] if isinstance(value, str) else ""


class MessagesReader(StreamReader):
    """Reads one stream."""

    def __init__(self) -> None:
        self._tally = Tally()
        self._calls = 0
        self._open: tuple[int, int, Any] | None = None
        """The call that is open: its block, its number in the hub, and its input until pieces of it came."""

    def event(self, raw: bytes) -> list[Step]:
        """See `StreamReader.event`."""
        try:
            event = jsonio.decoded(_decoder, data_of(raw))
        except BROKEN:
            return []
        if event.type == "content_block_delta" and event.delta is not None:
            return self._delta(event.index or 0, event.delta)
        if event.type == "content_block_start" and event.content_block is not None:
            return self._start(event.index or 0, event.content_block)
        if event.type == "content_block_stop":
            return self._stop(event.index or 0)
        if event.type == "message_start" and event.message is not None:
            message = event.message
            usage = self._tally.usage(final=False) if self._tally.add(message.usage) else None
            return [Began(_word(message.id), _word(message.model), usage)]
        if event.type == "message_delta":
            usage = self._tally.usage(final=True) if self._tally.add(event.usage) else None
            reason = None if event.delta is None else event.delta.stop_reason
            return [Ended(None if reason is None else stop_of(reason), usage)]
        if event.type == "error":
            words = None if event.error is None else event.error.message
            return [Failed(words if isinstance(words, str) else "")]
        return []

    def _start(self, index: int, block: _Block) -> list[Step]:
        if block.type == "tool_use":
            if self._calls >= MAX_CALLS:
                return []
            self._open = (index, self._calls, block.input or {})
            self._calls += 1
            return [ToolBegan(self._open[1], block.id or "", block.name or "")]
        text, thought = block.text, block.thinking
        return [Words(text)] if text else [Words(thought, thought=True)] if thought else []

    def _delta(self, index: int, delta: _Delta) -> list[Step]:
        if delta.text:
            return [Words(delta.text)]
        if delta.thinking:
            return [Words(delta.thinking, thought=True)]
        if delta.partial_json and self._open is not None and self._open[0] == index:
            self._open = (index, self._open[1], None)
            return [ToolMore(self._open[1], delta.partial_json)]
        return []

    def _stop(self, index: int) -> list[Step]:
        """Close a block. A call of which no piece came has its input at the start, mostly none at all."""
        if self._open is None or self._open[0] != index:
            return []
        _, call, input = self._open
        self._open = None
        return [] if input is None else [ToolMore(call, arguments_text(input))]


# --- writing -----------------------------------------------------------------------------------------------------------------------


def write_reply(said: Said, asked: Asked) -> dict[str, Any]:
    """See `Dialect.write_reply`."""
    content: list[dict[str, Any]] = []
    calls = 0
    for part in whole_parts(said.parts, said.stop):
        if isinstance(part, ToolUse):
            id = call_name(CALL, part.id, asked, calls)
            content.append({"type": "tool_use", "id": id, "name": part.name, "input": arguments_of(part)})
            calls += 1
        elif isinstance(part, Thought):
            content.append({"type": "thinking", "thinking": part.text, "signature": ""})
        else:
            content.append({"type": "text", "text": part.text})
    return {
        "id": reply_name(PREFIX, said.id, asked),
        "type": "message",
        "role": "assistant",
        "model": said.model or asked.model,
        "content": content,
        "stop_reason": reason_of(said.stop, calls > 0),
        "stop_sequence": None,
        "usage": usage_written(said.usage),
    }


def reason_of(stop: Stop, called: bool) -> str:
    """Return the reason in this dialect's words; some servers say `stop` where their reply is a call, on which clients would not act."""
    return _WRITTEN["tool" if called and stop == "stop" else stop]


def usage_written(usage: Usage) -> dict[str, Any]:
    """Return `usage` as this dialect counts: what was cached stands beside the input."""
    found: dict[str, Any] = {
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_write + usage.cache_write_1h,
        "cache_read_input_tokens": usage.cache_read,
        "output_tokens": usage.output,
    }
    if usage.cache_write_1h:
        lives = {"ephemeral_5m_input_tokens": usage.cache_write, "ephemeral_1h_input_tokens": usage.cache_write_1h}
        found["cache_creation"] = lives
    return found | {"output_tokens_details": {"thinking_tokens": usage.reasoning}} if usage.reasoning else found
