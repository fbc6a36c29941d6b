"""Changes replies of Anthropic Messages: texts, tool calls that must not pass, and the stop reasons that follow.

A place is the index of a content block. A call that is taken out becomes a text block at the same index that holds its words, since
clients count on every index being there. Thinking is read but never rewritten: its signature would not fit any more, and the provider
would refuse the conversation; its channels begin with `THOUGHT`.

Source: Anthropic API documentation, "Streaming Messages", "Extended thinking" (2026-11).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from proxy.wire import jsonio
from proxy.wire.anthropic_reply import sse
from proxy.wire.base import THOUGHT, Editor
from proxy.wire.editing import event_json, event_with

_CALLS = frozenset({"tool_use", "server_tool_use", "mcp_tool_use"})


class MessagesEditor(Editor):
    """See the module."""

    def __init__(self) -> None:
        self._calls: set[str] = set()
        self._gone: set[str] = set()
        self._told: set[str] = set()

    def texts(self, raw: bytes) -> list[tuple[str, str]]:
        """See `Editor.texts`; a channel is a block."""
        event = event_json(raw)
        inner = _inner(event)
        found = [(f"{_index(event)}", inner.get("text")), (f"{THOUGHT}{_index(event)}", inner.get("thinking"))]
        return [(channel, piece) for channel, piece in found if isinstance(piece, str) and piece]

    def retext(self, raw: bytes, texts: Mapping[str, str]) -> bytes:
        """See `Editor.retext`."""
        event = event_json(raw)
        inner = _inner(event)
        if _index(event) in texts and "text" in inner:
            inner["text"] = texts[_index(event)]
        return event_with(raw, event)

    def recall(self, raws: Sequence[bytes], refused: Mapping[str, str], arguments: Mapping[str, str]) -> list[bytes]:
        """See `Editor.recall`."""
        self._gone |= set(refused)
        return [changed for raw in raws if (changed := self._recalled(raw, refused, arguments))]

    def _recalled(self, raw: bytes, refused: Mapping[str, str], arguments: Mapping[str, str]) -> bytes:
        event = event_json(raw)
        kind, place = (event.get("type") if isinstance(event, dict) else None), _index(event)
        if kind == "content_block_start":
            return self._begun(raw, event, place, refused, arguments)
        if kind != "content_block_delta" or "partial_json" not in _inner(event):
            return raw
        if place in refused:
            return b""
        if place in arguments:
            if place in self._told:
                return b""
            self._told.add(place)
            event["delta"]["partial_json"] = arguments[place]
            return event_with(raw, event)
        return raw

    def _begun(self, raw: bytes, event: Any, place: str, refused: Mapping[str, str], arguments: Mapping[str, str]) -> bytes:
        block = _inner(event)
        if block.get("type") not in _CALLS:
            return raw
        self._calls.add(place)
        if place in refused:
            start = {"index": event["index"], "content_block": {"type": "text", "text": ""}}
            delta = {"index": event["index"], "delta": {"type": "text_delta", "text": refused[place]}}
            return sse("content_block_start", start) + sse("content_block_delta", delta)
        if place in arguments and block.get("input"):  # it came whole with its start
            self._told.add(place)
            block["input"] = jsonio.loads(arguments[place].encode())
            return event_with(raw, event)
        return raw

    def later(self, raw: bytes) -> bytes:
        """See `Editor.later`: a message that has no call left has ended its turn."""
        event = event_json(raw)
        kind = event.get("type") if isinstance(event, dict) else None
        if kind == "content_block_start" and _inner(event).get("type") in _CALLS:
            self._calls.add(_index(event))
        if kind == "message_delta" and _inner(event).get("stop_reason") == "tool_use" and self._calls <= self._gone:
            event["delta"]["stop_reason"] = "end_turn"
            return event_with(raw, event)
        return raw

    def whole(self, body: bytes, change: Callable[[str], str], refused: Mapping[str, str], arguments: Mapping[str, str]) -> bytes:
        """See `Editor.whole`."""
        reply = jsonio.loads(body)
        content = reply.get("content")
        calls = 0
        for place, block in enumerate(content if isinstance(content, list) else ()):
            if not isinstance(block, dict):
                continue
            if block.get("type") in _CALLS:
                name = str(place)
                if name in refused:
                    content[place] = {"type": "text", "text": refused[name]}
                    continue
                calls += 1
                if name in arguments:
                    block["input"] = jsonio.loads(arguments[name].encode())
            elif isinstance(block.get("text"), str):
                block["text"] = change(block["text"])
            elif isinstance(block.get("thinking"), str):
                change(block["thinking"])
        if refused and not calls and reply.get("stop_reason") == "tool_use":
            reply["stop_reason"] = "end_turn"
        return jsonio.dumps(reply)


def _index(event: Any) -> str:
    index = event.get("index") if isinstance(event, dict) else None
    return str(index if isinstance(index, int) else 0)


def _inner(event: Any) -> dict[str, Any]:
    """Return the delta or the block that an event carries."""
    if not isinstance(event, dict):
        return {}
    inner = event.get("delta") or event.get("content_block")
    return inner if isinstance(inner, dict) else {}
