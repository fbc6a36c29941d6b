"""Replies of every protocol for tests of the gate: written from one description, played through the engine, and read as a client would.

A reply is a list of parts: a text in pieces, or a call with its arguments in pieces. Readers are plain walks over JSON that share nothing
with the product.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine_script import CLAUDE, STRONG, Outcome, Says, play
from gate_readers import Got, read_chat, read_gemini, read_messages, read_ollama, read_responses

from proxy.engine.exchange import Exchange
from proxy.engine.inspector import PASSES, Inspector, Span, Verdict
from proxy.engine.stage import Stage
from proxy.model import Deny, Reason, Target
from proxy.wire.call import ToolCall

WORDS = "That call may not be made."


@dataclass(frozen=True, slots=True)
class Text:
    pieces: Sequence[str]
    thought: bool = False


@dataclass(frozen=True, slots=True)
class Use:
    name: str
    pieces: Sequence[str] = ("{}",)

    @property
    def arguments(self) -> str:
        return "".join(self.pieces)


Part = Text | Use


# --- the stage -----------------------------------------------------------------------------------------------------------------------


@dataclass
class Look:
    """An inspector that knows some words and refuses some tools."""

    pattern: str = ""
    instead: str = "[X]"
    blocks: bool = False
    refused: frozenset[str] = frozenset()
    arguments: tuple[str, str] = ("", "")
    reach: int | None = 0
    calls: bool = True
    judged: list[ToolCall] = field(default_factory=list)
    took_spans: list[str] = field(default_factory=list)
    longest: int = 0

    def spans(self, text: str) -> list[Span]:
        self.longest = max(self.longest, len(text))
        deny = Deny(Reason.CONTENT_BLOCKED, "a secret", rule="test") if self.blocks else None
        return [Span(m.start(), m.end(), self.instead, deny) for m in re.finditer(self.pattern, text)] if self.pattern else []

    def took(self, span: Span, text: str) -> None:
        self.took_spans.append(text)

    async def judge(self, call: ToolCall) -> Verdict:
        self.judged.append(call)
        if call.name in self.refused:
            return Verdict(words=WORDS)
        old, new = self.arguments
        return Verdict(arguments=call.arguments.replace(old, new)) if old and old in call.arguments else PASSES


class Inspecting(Stage):
    """Has replies looked at by `look`."""

    name = "inspecting"

    def __init__(self, look: Inspector) -> None:
        self.look = look

    def inspect(self, ex: Exchange) -> Inspector | None:
        return self.look


# --- writing ---------------------------------------------------------------------------------------------------------------------------


def _sse(value: Any, name: str = "") -> bytes:
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n\n"


def _chat(parts: Sequence[Part]) -> list[bytes]:
    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return _sse({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "strong", "choices": [choice]})

    out, number = [chunk({"role": "assistant", "content": ""})], 0
    for part in parts:
        if isinstance(part, Text):
            out += [chunk({"reasoning_content" if part.thought else "content": piece}) for piece in part.pieces]
            continue
        function = {"name": part.name, "arguments": ""}
        out.append(chunk({"tool_calls": [{"index": number, "id": f"call_{number}", "type": "function", "function": function}]}))
        out += [chunk({"tool_calls": [{"index": number, "function": {"arguments": piece}}]}) for piece in part.pieces]
        number += 1
    usage = {"prompt_tokens": 10, "completion_tokens": 7, "total_tokens": 17}
    last = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "strong", "choices": [], "usage": usage}
    return [*out, chunk({}, "tool_calls" if number else "stop"), _sse(last), b"data: [DONE]\n\n"]


def _completions(parts: Sequence[Part]) -> list[bytes]:
    pieces = [piece for part in parts if isinstance(part, Text) for piece in part.pieces]
    base = {"id": "c1", "object": "text_completion", "created": 1, "model": "strong"}
    out = [_sse(base | {"choices": [{"index": 0, "text": piece, "finish_reason": None}]}) for piece in pieces]
    last = base | {"choices": [{"index": 0, "text": "", "finish_reason": "stop"}]}
    usage = base | {"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 7, "total_tokens": 17}}
    return [*out, _sse(last), _sse(usage), b"data: [DONE]\n\n"]


def _messages(parts: Sequence[Part]) -> list[bytes]:
    def event(kind: str, **members: Any) -> bytes:
        return _sse({"type": kind, **members}, kind)

    usage = {"input_tokens": 10, "output_tokens": 1}
    begun: dict[str, Any] = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": []}
    begun |= {"stop_reason": None, "usage": usage}
    out, stop = [event("message_start", message=begun)], "end_turn"
    for index, part in enumerate(parts):
        if isinstance(part, Use):
            stop = "tool_use"
            block: dict[str, Any] = {"type": "tool_use", "id": f"toolu_{index}", "name": part.name, "input": {}}
            deltas: list[dict[str, Any]] = [{"type": "input_json_delta", "partial_json": piece} for piece in part.pieces]
        elif part.thought:
            block = {"type": "thinking", "thinking": "", "signature": ""}
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in part.pieces]
            deltas.append({"type": "signature_delta", "signature": "c2ln"})
        else:
            block = {"type": "text", "text": ""}
            deltas = [{"type": "text_delta", "text": piece} for piece in part.pieces]
        out.append(event("content_block_start", index=index, content_block=block))
        out += [event("content_block_delta", index=index, delta=delta) for delta in deltas]
        out.append(event("content_block_stop", index=index))
    ended = {"stop_reason": stop, "stop_sequence": None}
    return [*out, event("message_delta", delta=ended, usage={"output_tokens": 7}), event("message_stop")]


def _responses(parts: Sequence[Part]) -> list[bytes]:
    begun: dict[str, Any] = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": "in_progress",
        "model": "strong",
        "output": [],
    }
    steps: list[dict[str, Any]] = [{"type": "response.created", "response": begun}, {"type": "response.in_progress", "response": begun}]
    output: list[dict[str, Any]] = []
    for index, part in enumerate(parts):
        at: dict[str, Any] = {"item_id": f"item_{index}", "output_index": index}
        if isinstance(part, Use):
            item: dict[str, Any] = {"type": "function_call", "id": f"item_{index}", "call_id": f"call_{index}", "name": part.name}
            name, whole = "response.function_call_arguments", item | {"arguments": part.arguments, "status": "completed"}
            steps.append(
                {"type": "response.output_item.added", "output_index": index, "item": item | {"arguments": "", "status": "in_progress"}}
            )
            steps += [{"type": f"{name}.delta", **at, "delta": piece} for piece in part.pieces]
            steps.append({"type": f"{name}.done", **at, "arguments": part.arguments})
        else:
            text = "".join(part.pieces)
            key, kind = ("summary_index", "summary_text") if part.thought else ("content_index", "output_text")
            name = "response.reasoning_summary_text" if part.thought else "response.output_text"
            holder = "response.reasoning_summary_part" if part.thought else "response.content_part"
            said = {"type": kind, "text": text, **({} if part.thought else {"annotations": []})}
            item = {"type": "reasoning", "id": f"item_{index}"} if part.thought else {"type": "message", "id": f"item_{index}"}
            item |= {} if part.thought else {"role": "assistant", "status": "in_progress"}
            field_ = "summary" if part.thought else "content"
            whole = item | {field_: [said]} | ({} if part.thought else {"status": "completed"})
            steps.append({"type": "response.output_item.added", "output_index": index, "item": item | {field_: []}})
            steps.append({"type": f"{holder}.added", **at, key: 0, "part": said | {"text": ""}})
            steps += [{"type": f"{name}.delta", **at, key: 0, "delta": piece} for piece in part.pieces]
            steps.append({"type": f"{name}.done", **at, key: 0, "text": text})
            steps.append({"type": f"{holder}.done", **at, key: 0, "part": said})
        steps.append({"type": "response.output_item.done", "output_index": index, "item": whole})
        output.append(whole)
    usage = {"input_tokens": 10, "output_tokens": 7, "total_tokens": 17}
    steps.append({"type": "response.completed", "response": begun | {"status": "completed", "output": output, "usage": usage}})
    return [_sse(step | {"sequence_number": number}, step["type"]) for number, step in enumerate(steps)]


def _gemini(parts: Sequence[Part]) -> list[dict[str, Any]]:
    def chunk(part: dict[str, Any], **members: Any) -> dict[str, Any]:
        return {"candidates": [{"content": {"parts": [part], "role": "model"}, "index": 0, **members}], "modelVersion": "strong"}

    out = []
    for part in parts:
        if isinstance(part, Use):
            out.append(chunk({"functionCall": {"name": part.name, "args": json.loads(part.arguments)}}))
        else:
            out += [chunk({"text": piece, **({"thought": True} if part.thought else {})}) for piece in part.pieces]
    usage = {"promptTokenCount": 10, "candidatesTokenCount": 7, "totalTokenCount": 17}
    return [*out, chunk({"text": ""}, finishReason="STOP") | {"usageMetadata": usage}]


def _gemini_array(parts: Sequence[Part]) -> list[bytes]:
    chunks = [json.dumps(value, indent=1).encode() for value in _gemini(parts)]
    return [b"[" + chunks[0], *[b"\n,\r\n" + one for one in chunks[1:]], b"\n]\n"]


def _gemini_events(parts: Sequence[Part]) -> list[bytes]:
    return [b"data: " + json.dumps(value).encode() + b"\r\n\r\n" for value in _gemini(parts)]


def _ollama(parts: Sequence[Part], generate: bool = False) -> list[bytes]:
    def line(said: dict[str, Any], **members: Any) -> bytes:
        value = said if generate else {"message": {"role": "assistant", **said}}
        return json.dumps({"model": "strong", "created_at": "t", **value, "done": False, **members}).encode() + b"\n"

    out, word = [], "response" if generate else "content"
    for part in parts:
        if isinstance(part, Use):
            call = {"function": {"name": part.name, "arguments": json.loads(part.arguments)}}
            out.append(line({word: "", "tool_calls": [call]}))
        else:
            out += [line({word: "", "thinking": piece} if part.thought else {word: piece}) for piece in part.pieces]
    return [*out, line({word: ""}, done=True, done_reason="stop", prompt_eval_count=10, eval_count=7)]


# --- the protocols ---------------------------------------------------------------------------------------------------------------------

_ASK: dict[str, Any] = {"model": "strong", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
_CONTENTS = {"contents": [{"parts": [{"text": "hi"}]}]}
GOOGLE = Target("gemini", "strong", "strong", "gemini", STRONG.price)
OLLAMA = Target("ollama", "strong", "strong", "ollama", STRONG.price)
SSE = "text/event-stream"


@dataclass(frozen=True, slots=True)
class Spoken:
    """One protocol and framing."""

    path: str
    ask: dict[str, Any]
    kind: str
    write: Callable[[Sequence[Part]], list[bytes]]
    read: Callable[[bytes], Got]
    stopped: tuple[str, str] = ("stop", "stop")
    """The finish after a reply with a call, and after one without."""
    target: Target = STRONG
    calls: bool = True
    query: str = ""
    whole: bool = False
    """Calls come in one event."""

    def play(self, events: Sequence[bytes], look: Inspector, held: int = 100_000, **more: Any) -> Outcome:
        body = json.dumps(self.ask).encode()
        says = Says(list(events), kind=self.kind)
        return play(body, says, path=self.path, query=self.query, stages=[Inspecting(look)], targets=[self.target], held=held, **more)


_USAGE = {"stream_options": {"include_usage": True}}
PROTOCOLS = {
    "chat": Spoken("/v1/chat/completions", _ASK | _USAGE, SSE, _chat, read_chat, ("tool_calls", "stop")),
    "completions": Spoken(
        "/v1/completions",
        {"model": "strong", "prompt": "hi", "stream": True, **_USAGE},
        SSE,
        _completions,
        read_chat,
        calls=False,
    ),
    "responses": Spoken(
        "/v1/responses", {"model": "strong", "input": "hi", "stream": True}, SSE, _responses, read_responses, ("completed", "completed")
    ),
    "messages": Spoken("/v1/messages", _ASK | {"max_tokens": 99}, SSE, _messages, read_messages, ("tool_use", "end_turn"), CLAUDE),
    "gemini-array": Spoken(
        "/v1/models/strong:streamGenerateContent",
        _CONTENTS,
        "application/json",
        _gemini_array,
        read_gemini,
        ("STOP", "STOP"),
        GOOGLE,
        whole=True,
    ),
    "gemini-events": Spoken(
        "/v1/models/strong:streamGenerateContent",
        _CONTENTS,
        SSE,
        _gemini_events,
        read_gemini,
        ("STOP", "STOP"),
        GOOGLE,
        query="alt=sse",
        whole=True,
    ),
    "ollama": Spoken("/api/chat", _ASK, "application/x-ndjson", _ollama, read_ollama, target=OLLAMA, whole=True),
    "generate": Spoken(
        "/api/generate",
        {"model": "strong", "prompt": "hi"},
        "application/x-ndjson",
        lambda parts: _ollama(parts, True),
        read_ollama,
        target=OLLAMA,
        calls=False,
    ),
}
CALLING = [name for name, spoken in PROTOCOLS.items() if spoken.calls]
