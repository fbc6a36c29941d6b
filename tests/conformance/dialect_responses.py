"""The rows of OpenAI Responses. Replies and every event of a stream are checked against the SDK's own types as well."""

from __future__ import annotations

from typing import Any

from dialect_openai import error
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter
from rows import WEATHER, Ask, Row, Seen, arguments, objects, sse, strict

from proxy.model import Usage

_event: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
_LAST = {"response.completed": "completed", "response.incomplete": "incomplete", "response.failed": "failed"}


def responses(ask: Ask) -> dict[str, Any]:
    """A responses request."""
    items: list[dict[str, Any]] = [{"role": "user", "content": [{"type": "input_text", "text": ask.text}]}]
    for i in range(ask.steps):
        items += [{"type": "function_call", "call_id": f"call_{i}", "name": "look", "arguments": '{"at":"x"}'}]
        items += [{"type": "function_call_output", "call_id": f"call_{i}", "output": "nothing"}]
    if ask.unknown_result:
        items += [{"type": "function_call_output", "call_id": "call_of_nobody", "output": "nothing"}]
    body: dict[str, Any] = {"model": ask.model, "instructions": "Be brief.", "input": items}
    if ask.ceiling is not None:
        body["max_output_tokens"] = ask.ceiling
    if ask.tools:
        body["tools"] = [{"type": "function", "name": name, "parameters": WEATHER, "strict": False} for name in ask.tools]
    return body | ({"stream": True} if ask.stream else {})


def usage_of(value: Any) -> Usage:
    """Read a usage object by the books: cached tokens are part of the input's."""
    details = value.get("input_tokens_details") or {}
    cached, written = details.get("cached_tokens") or 0, details.get("cache_write_tokens") or 0
    return Usage(input=value["input_tokens"] - cached - written, output=value["output_tokens"], cache_read=cached, cache_write=written)


def _said(value: dict[str, Any]) -> Seen:
    """Read a response object that came to an end."""
    if value.get("usage"):
        Response.model_validate(value)
    assert value["object"] == "response"
    assert value["id"]
    seen = Seen(texts=[""])
    for item in value["output"]:
        assert item["id"]
        if item["type"] == "message":
            seen.texts[0] += "".join(part["text"] for part in item["content"])
        elif item["type"] == "function_call" and item["status"] == "completed":
            seen.tools.append((item["name"], arguments(item["arguments"])))
    if value["status"] == "incomplete":
        assert value["incomplete_details"]["reason"] == "max_output_tokens"
        seen.stops = ["length"]
    elif value["status"] == "completed":
        seen.stops = ["tool" if seen.tools else "stop"]
    else:
        assert value["status"] == "failed", value["status"]
        seen.stops, seen.error = [""], str(value["error"]["message"])
        assert value["error"]["code"]
    seen.usage = usage_of(value["usage"]) if value.get("usage") else None
    return seen


def whole(body: bytes) -> Seen:
    """Read a response."""
    return _said(objects(strict(body)))


def stream(body: bytes) -> Seen:
    """Read a response's stream: numbered events, items and parts opened and closed, one last event or an error."""
    last: dict[str, Any] | None = None
    failed, texts, ids, number, streamed = "", dict[tuple[int, int], str](), set[str](), -1, dict[tuple[int, int], str]()
    open_items: set[int] = set()
    for name, data in sse(body):
        assert last is None or name == "error", f"{name} follows the last event"
        assert not failed, f"{name} follows the error"
        if not name.startswith("response.") and name != "error":
            continue
        assert data["type"] == name
        if name == "error":
            assert data["message"]
            failed = str(data["message"])
            continue
        if data.get("response", {}).get("usage") or "response" not in data:
            _event.validate_python(data)
        assert data["sequence_number"] > number, "events are numbered upwards"
        number = data["sequence_number"]
        if "response" in data:
            ids.add(data["response"]["id"])
        place = (data.get("output_index", -1), data.get("content_index", -1))
        if name == "response.output_item.added":
            assert place[0] not in open_items
            open_items.add(place[0])
        elif name == "response.output_item.done":
            open_items.remove(place[0])
        elif name == "response.output_text.delta":
            assert place[0] in open_items
            texts[place] = texts.get(place, "") + data["delta"]
        elif name == "response.output_text.done":
            streamed[place] = data["text"]
        if name in _LAST:
            last = objects(data["response"])
            assert last["status"] == _LAST[name]
    assert len(ids) == 1
    if last is None:
        assert failed, "no last event"
        return Seen(texts=["".join(texts.values())], stops=[""], error=failed)
    seen = _said(last)
    assert streamed.items() <= texts.items(), "what was streamed is what is said to have been"
    if not seen.error:
        assert not open_items, "every item is closed"
        assert seen.texts == ["".join(texts.values())], "the last event holds what was streamed"
    seen.error = seen.error or failed
    return seen


def usage(tokens_in: int, tokens_out: int) -> dict[str, Any]:
    """The usage of so many tokens."""
    return {"input_tokens": tokens_in, "output_tokens": tokens_out, "total_tokens": tokens_in + tokens_out}


ROWS = (
    Row(
        "responses", "POST", "/v1/responses", "openai", "chat", "gpt", responses, whole, stream, error, usage,
        {"choices": "the protocol has one answer to a request", "usage option": "usage always comes"},
    ),
)  # fmt: skip
