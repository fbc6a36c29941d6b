"""What the stub upstream says in each protocol: one whole reply, or the beginning, the events and the end of a stream.

The same words everywhere, with usage, in the shape that the provider sends; each stream has `EVENTS` events with text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

EVENTS = 50
WORDS = "The invoice was sorted into the queue of the payments team, since its total is above the limit. " * 2
IN, OUT = 100, 40
_TIME = "2026-11-20T09:00:00.000000Z"


@dataclass(frozen=True, slots=True)
class Answer:
    """The bytes of one protocol's answers: a whole HTTP reply; and of a stream its head with what comes at once, events, the end."""

    whole: bytes
    head: bytes
    events: tuple[bytes, ...]
    ending: bytes


def _answer(whole: dict[str, Any], opening: Sequence[bytes], events: Sequence[bytes], ending: Sequence[bytes], kind: str) -> Answer:
    body = json.dumps(whole).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nTransfer-Encoding: chunked\r\n\r\n" % kind.encode()
    return Answer(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body),
        head + b"".join(_chunk(event) for event in opening),
        tuple(_chunk(event) for event in events),
        b"".join(_chunk(event) for event in ending) + b"0\r\n\r\n",
    )


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _data(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def _named(value: dict[str, Any]) -> bytes:
    return b"event: " + str(value["type"]).encode() + b"\n" + _data(value)


def _chat() -> Answer:
    def chunk(delta: dict[str, str], finish: str | None = None, usage: dict[str, int] | None = None) -> bytes:
        choices = [] if usage else [{"index": 0, "delta": delta, "finish_reason": finish}]
        return _data({**base, "object": "chat.completion.chunk", "choices": choices, "usage": usage})

    base = {"id": "chatcmpl-bench", "created": 1760000000, "model": "gpt-4o-2024-08-06"}
    details: dict[str, Any] = {"prompt_tokens_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0}}
    usage = {"prompt_tokens": IN, "completion_tokens": OUT, "total_tokens": IN + OUT, **details}
    choice = {"index": 0, "message": {"role": "assistant", "content": WORDS}, "logprobs": None, "finish_reason": "stop"}
    whole = {**base, "object": "chat.completion", "choices": [choice], "usage": usage}
    last = {"prompt_tokens": IN, "completion_tokens": EVENTS, "total_tokens": IN + EVENTS}
    events = [chunk({"content": f" word{i}"}) for i in range(EVENTS)]
    return _answer(whole, (), events, (chunk({}, "stop"), chunk({}, usage=last), b"data: [DONE]\n\n"), "text/event-stream")


def _responses() -> Answer:
    def event(kind: str, **members: Any) -> bytes:
        return _named({"type": f"response.{kind}", "sequence_number": 0, **members})

    def response(status: str, output: list[dict[str, Any]], tokens: int) -> dict[str, Any]:
        usage: dict[str, Any] = {"input_tokens": IN, "output_tokens": tokens, "total_tokens": IN + tokens}
        usage |= {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
        found = {"id": "resp_bench", "object": "response", "created_at": 1760000000, "status": status, "error": None}
        return {**found, "model": "gpt-4o-2024-08-06", "output": output, "usage": usage if status == "completed" else None}

    def item(text: str, status: str) -> dict[str, Any]:
        content = [{"type": "output_text", "text": text, "annotations": []}]
        return {"type": "message", "id": "msg_bench", "status": status, "role": "assistant", "content": content if text else []}

    place = {"item_id": "msg_bench", "output_index": 0, "content_index": 0}
    text = "".join(f" word{i}" for i in range(EVENTS))
    opening = (
        event("created", response=response("in_progress", [], 0)),
        event("output_item.added", output_index=0, item=item("", "in_progress")),
        event("content_part.added", **place, part={"type": "output_text", "text": "", "annotations": []}),
    )
    ending = (
        event("output_text.done", **place, text=text),
        event("content_part.done", **place, part={"type": "output_text", "text": text, "annotations": []}),
        event("output_item.done", output_index=0, item=item(text, "completed")),
        event("completed", response=response("completed", [item(text, "completed")], EVENTS)),
    )
    events = [event("output_text.delta", **place, delta=f" word{i}") for i in range(EVENTS)]
    return _answer(response("completed", [item(WORDS, "completed")], OUT), opening, events, ending, "text/event-stream")


def _messages() -> Answer:
    base = {"id": "msg_bench", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5-20250929", "stop_sequence": None}
    said = [{"type": "text", "text": WORDS}]
    whole = {**base, "content": said, "stop_reason": "end_turn", "usage": {"input_tokens": IN, "output_tokens": OUT}}
    begun: dict[str, Any] = {**base, "content": [], "stop_reason": None, "usage": {"input_tokens": IN, "output_tokens": 1}}
    opening = (
        _named({"type": "message_start", "message": begun}),
        _named({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
    )
    deltas = ({"type": "text_delta", "text": f" word{i}"} for i in range(EVENTS))
    events = [_named({"type": "content_block_delta", "index": 0, "delta": delta}) for delta in deltas]
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    ending = (
        _named({"type": "content_block_stop", "index": 0}),
        _named({"type": "message_delta", "delta": end, "usage": {"output_tokens": EVENTS}}),
        _named({"type": "message_stop"}),
    )
    return _answer(whole, opening, events, ending, "text/event-stream")


def _generate() -> Answer:
    def chunk(text: str, tokens: int, **more: str) -> dict[str, Any]:
        usage = {"promptTokenCount": IN, "candidatesTokenCount": tokens, "totalTokenCount": IN + tokens}
        content = {"role": "model", "parts": [{"text": text}]}
        candidate = {"content": content, "index": 0, **more}
        return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini-2.5-flash", "responseId": "bench"}

    events = [_data(chunk(f" word{i}", i)) for i in range(EVENTS)]
    return _answer(
        chunk(WORDS, OUT, finishReason="STOP"), (), events, (_data(chunk("", EVENTS, finishReason="STOP")),), "text/event-stream"
    )


def _ollama() -> Answer:
    def line(text: str, tokens: int = 0) -> dict[str, Any]:
        said = {"model": "qwen3:8b", "created_at": _TIME, "message": {"role": "assistant", "content": text}, "done": bool(tokens)}
        counts = {"done_reason": "stop", "total_duration": 10**9, "prompt_eval_count": IN, "eval_count": tokens, "eval_duration": 10**8}
        return said | (counts if tokens else {})

    def raw(value: dict[str, Any]) -> bytes:
        return json.dumps(value).encode() + b"\n"

    events = [raw(line(f" word{i}")) for i in range(EVENTS)]
    return _answer(line(WORDS, OUT), (), events, (raw(line("", EVENTS)),), "application/x-ndjson")


CHAT = _chat()
COLLECTED = Answer(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n", b"", (), b"")
"""What a collector of traces says."""
ANSWERS = {
    b"/v1/chat/completions": CHAT,
    b"/v1/responses": _responses(),
    b"/v1/messages": _messages(),
    b"/v1beta/models/": _generate(),
    b"/api/chat": _ollama(),
    b"/v1/traces": COLLECTED,
}
"""How a path begins, in lower case, to what is answered there."""


def answer_to(path: bytes) -> Answer:
    """Return what is answered on `path`."""
    return next((answer for start, answer in ANSWERS.items() if path.startswith(start)), CHAT)
