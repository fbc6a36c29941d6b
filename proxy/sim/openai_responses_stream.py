"""A reply of OpenAI Responses as the real stream sends it: every event with its number, items and parts opened, filled and closed.

Source: OpenAI API reference ("Streaming events" of Responses), as typed in the `openai` Python SDK 3.52.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from proxy.sim import answer
from proxy.sim.answer import Answer
from proxy.sim.reply import Piece, dumps, extra, unknown_event
from proxy.sim.script import Script

Step = tuple[str, dict[str, Any], int]
"""An event's name, its members, and the tokens that it carries."""
_FILLED = {"function_call": ("arguments", "function_call_arguments"), "custom_tool_call": ("input", "custom_tool_call_input")}


def stream_error(kind: str | None, message: str | None) -> bytes:
    """Return OpenAI's error inside a stream of Responses."""
    text = message or "The server had an error while processing your request. Sorry about that!"
    data = {"type": "error", "code": kind or "server_error", "message": text, "param": None, "sequence_number": 0}
    return b"event: error\ndata: %b\n\n" % dumps(data)


def stream(begun: dict[str, Any], whole: dict[str, Any], said: Answer, script: Script) -> Iterator[Piece]:
    """Yield the events of the reply `whole`, which began as `begun`."""
    seed, more = str(begun["id"]).encode(), extra(script.extra_field)
    for number, (name, members, tokens) in enumerate(_steps(begun, whole, said)):
        data: dict[str, Any] = {"type": name, "sequence_number": number, **members}
        if name.endswith(".delta"):
            data["obfuscation"] = answer.hex_id(seed, str(number), 4 + number % 12)
        yield Piece(b"event: %b\ndata: %b\n\n" % (name.encode(), dumps(data | more)), tokens)
        if number == 0 and script.extra_event:
            yield Piece(unknown_event(script.extra_event))


def _steps(begun: dict[str, Any], whole: dict[str, Any], said: Answer) -> Iterator[Step]:
    yield "response.created", {"response": begun}, 0
    yield "response.in_progress", {"response": begun}, 0
    tools = iter(said.tools)
    for index, item in enumerate(whole["output"]):
        kind = item["type"]
        if kind == "reasoning":
            yield from _reasoning(index, item, said.reasoning)
        elif kind == "message":
            yield from _message(index, item, said.pieces)
        else:
            yield from _call(index, item, next(tools).pieces)
    last = "response.incomplete" if whole["status"] == "incomplete" else "response.completed"
    yield last, {"response": whole}, 0


def _reasoning(index: int, item: dict[str, Any], tokens: int) -> Iterator[Step]:
    yield "response.output_item.added", {"output_index": index, "item": item | {"summary": []}}, 0
    for position, part in enumerate(item["summary"]):
        place = {"item_id": item["id"], "output_index": index, "summary_index": position}
        yield "response.reasoning_summary_part.added", {**place, "part": part | {"text": ""}}, 0
        for piece in answer.cut(part["text"]):
            yield "response.reasoning_summary_text.delta", {**place, "delta": piece}, 0
        yield "response.reasoning_summary_text.done", {**place, "text": part["text"]}, 0
        yield "response.reasoning_summary_part.done", {**place, "part": part}, 0
    yield "response.output_item.done", {"output_index": index, "item": item}, tokens


def _message(index: int, item: dict[str, Any], pieces: Sequence[str]) -> Iterator[Step]:
    yield "response.output_item.added", {"output_index": index, "item": item | {"status": "in_progress", "content": []}}, 0
    (part,) = item["content"]
    place = {"item_id": item["id"], "output_index": index, "content_index": 0}
    yield "response.content_part.added", {**place, "part": part | {"text": ""}}, 0
    for piece in pieces:
        yield "response.output_text.delta", {**place, "delta": piece, "logprobs": []}, 1
    yield "response.output_text.done", {**place, "text": part["text"], "logprobs": []}, 0
    yield "response.content_part.done", {**place, "part": part}, 0
    yield "response.output_item.done", {"output_index": index, "item": item}, 0


def _call(index: int, item: dict[str, Any], pieces: Sequence[str]) -> Iterator[Step]:
    started: dict[str, Any] = item | {"status": "in_progress"}
    if item["type"] not in _FILLED:
        yield "response.output_item.added", {"output_index": index, "item": started}, answer.TOOL_CALL_TOKENS
        yield "response.output_item.done", {"output_index": index, "item": item}, len(pieces)
        return
    key, name = _FILLED[item["type"]]
    yield "response.output_item.added", {"output_index": index, "item": started | {key: ""}}, answer.TOOL_CALL_TOKENS
    place = {"item_id": item["id"], "output_index": index}
    for piece in pieces:
        yield f"response.{name}.delta", {**place, "delta": piece}, 1
    yield f"response.{name}.done", {**place, key: item[key]}, 0
    yield "response.output_item.done", {"output_index": index, "item": item}, 0
