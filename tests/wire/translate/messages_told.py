"""The events of a stream as Anthropic's Messages tell it."""

from __future__ import annotations

from typing import Any

from translating import sse

START = sse({"type": "message_start", "message": {"id": "msg_7", "model": "claude", "usage": {"input_tokens": 7, "output_tokens": 1}}})
STOP = sse({"type": "message_stop"})


def opened(index: int, **block: Any) -> bytes:
    return sse({"type": "content_block_start", "index": index, "content_block": block})


def more(index: int, **delta: Any) -> bytes:
    return sse({"type": "content_block_delta", "index": index, "delta": delta})


def closed(index: int) -> bytes:
    return sse({"type": "content_block_stop", "index": index})


def ended(reason: str | None, **usage: Any) -> bytes:
    return sse({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage})


TEXT = (START, opened(0, type="text", text=""), more(0, type="text_delta", text="hi"), closed(0), ended("end_turn", output_tokens=2), STOP)
