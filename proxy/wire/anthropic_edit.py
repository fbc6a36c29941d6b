"""Changes replies of Anthropic Messages: texts, tool calls that must not pass, and the stop reasons that follow.

A place is the index of a content block. A call that is taken out becomes a text block at the same index that holds its words, since
clients count on every index being there; so does what came of it, where the provider ran it itself. Thinking is read but never rewritten:
its signature would not fit any more, and the provider would refuse the conversation.

Source: Anthropic API documentation, "Streaming Messages", "Extended thinking" (2026-11).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from proxy.wire import jsonio
from proxy.wire.anthropic_reply import CALL_KINDS
from proxy.wire.base import THOUGHT
from proxy.wire.editing import JsonEditor, Words, as_it_stands, strings

_SILENT = frozenset({"input_json_delta", "signature_delta", "redacted_thinking", *CALL_KINDS})
"""Kinds of blocks and deltas that hold no text: arguments, signatures, and what only the provider can read."""
NOTHING = "(What came of a call that was withheld.)"


class MessagesEditor(JsonEditor):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self._ids: set[str] = set()
        self._told: set[str] = set()

    def spoken(self, value: dict[str, Any]) -> Iterator[Words]:
        """See `JsonEditor.spoken`; a group is a block."""
        if value.get("type") in ("content_block_start", "content_block_delta"):
            yield from _texts(_place(value), _inner(value))
        for place, block in enumerate(value.get("content") or ()):
            if isinstance(block, dict):
                yield from _texts(str(place), block)

    def over(self, value: dict[str, Any]) -> list[str]:
        """See `JsonEditor.over`."""
        return [_place(value)] if value.get("type") == "content_block_stop" else []

    def change(self, value: dict[str, Any]) -> list[dict[str, Any]] | None:
        """See `JsonEditor.change`."""
        kind, place = value.get("type"), _place(value)
        if kind == "content_block_start":
            return self._begun(value, place, _inner(value))
        if kind == "content_block_delta":
            return self._more(value, place)
        return [value] if kind == "message_delta" and self._stopped(_inner(value)) else None

    def recalled(self, reply: dict[str, Any]) -> bool:
        """See `JsonEditor.recalled`."""
        changed = False
        content = reply.get("content") or []
        for index, block in enumerate(content):
            words = self._words(str(index), block)
            if words is not None:
                content[index], changed = {"type": "text", "text": words}, True
            elif str(index) in self.arguments:
                block["input"], changed = _object(self.arguments[str(index)]), True
        return self._stopped(reply) or changed

    def _words(self, place: str, block: dict[str, Any]) -> str | None:
        """Return what stands in the place of a block that must not pass."""
        if place in self.refused:
            self._ids.add(str(block.get("id")))
            return self.refused[place]
        return NOTHING if self._ids and block.get("tool_use_id") in self._ids else None

    def _begun(self, value: dict[str, Any], place: str, block: dict[str, Any]) -> list[dict[str, Any]] | None:
        words = self._words(place, block)
        if words is not None:
            start = {"type": "content_block_start", "index": value["index"], "content_block": {"type": "text", "text": ""}}
            delta = {"type": "content_block_delta", "index": value["index"], "delta": {"type": "text_delta", "text": words}}
            return [start, delta]
        if place in self.arguments and block.get("input"):  # it came whole with its start
            self._told.add(place)
            block["input"] = _object(self.arguments[place])
            return [value]
        return None

    def _more(self, value: dict[str, Any], place: str) -> list[dict[str, Any]] | None:
        if "partial_json" not in _inner(value):
            return None
        if place in self.refused:
            return []
        if place not in self.arguments:
            return None
        value["delta"]["partial_json"] = "" if place in self._told else self.arguments[place]
        self._told.add(place)
        return [value]

    def _stopped(self, holder: dict[str, Any]) -> bool:
        """Give a message that has no call left another stop reason: its turn has ended."""
        if holder.get("stop_reason") != "tool_use" or not self.refused or self.kept:
            return False
        holder["stop_reason"] = "end_turn"
        return True


def _place(event: dict[str, Any]) -> str:
    return str(event.get("index") or 0)


def _inner(event: dict[str, Any]) -> dict[str, Any]:
    """Return the delta or the block that an event carries."""
    inner = event.get("delta") or event.get("content_block")
    return inner if isinstance(inner, dict) else {}


def _texts(place: str, inner: dict[str, Any]) -> Iterator[Words]:
    if "thinking" in inner:
        yield from strings(f"{THOUGHT}{place}/thinking", inner, "thinking")
    elif "text" in inner:
        yield from strings(f"{place}/text", inner, "text")
    elif inner.get("type") not in _SILENT:
        yield as_it_stands(f"{place}/part", inner)


def _object(arguments: str) -> Any:
    return jsonio.loads(arguments.encode("utf-8", "surrogatepass"))
