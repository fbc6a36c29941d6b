"""Anthropic's rows: messages, the token counter, the list of models. Replies are checked against the SDK's own types as well."""

from __future__ import annotations

from typing import Any

from anthropic.types import Message, MessageTokensCount, ModelInfo, RawMessageStreamEvent
from dialect_openai import LIST
from pydantic import TypeAdapter
from rows import WEATHER, Ask, Row, Seen, arguments, no_stream, objects, sse, strict

from proxy.model import Usage

STOPS = {"end_turn": "stop", "max_tokens": "length", "tool_use": "tool"}
HEADERS = {"anthropic-version": "2023-06-01"}
_event: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
_COUNTED = {"message_start", "message_delta"}
"""Events that the SDK wants usage in, and that come without where a provider reports none."""
_KNOWN = {
    "message_start",
    "message_delta",
    "message_stop",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
}


def messages(ask: Ask) -> dict[str, Any]:
    """A messages request."""
    turns: list[dict[str, Any]] = [{"role": "user", "content": ask.text}]
    for i in range(ask.steps):
        turns += [{"role": "assistant", "content": [{"type": "tool_use", "id": f"toolu_{i}", "name": "look", "input": {"at": "x"}}]}]
        turns += [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": f"toolu_{i}", "content": "nothing"}]}]
    if ask.unknown_result:
        turns += [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_of_nobody", "content": "nothing"}]}]
    body: dict[str, Any] = {"model": ask.model, "system": "Be brief.", "messages": turns}
    if ask.ceiling is not None:
        body["max_tokens"] = ask.ceiling
    if ask.tools:
        body["tools"] = [{"name": name, "input_schema": WEATHER} for name in ask.tools]
    return body | ({"stream": True} if ask.stream else {})


def count(ask: Ask) -> dict[str, Any]:
    """A request to count tokens."""
    return {k: v for k, v in messages(ask).items() if k not in ("stream", "max_tokens")}


def usage_of(value: Any) -> Usage:
    """Read a usage object by the books: cached tokens stand beside the input's."""
    written = value.get("cache_creation") or {}
    hour = written.get("ephemeral_1h_input_tokens") or 0
    return Usage(
        input=value["input_tokens"],
        output=value["output_tokens"],
        cache_read=value.get("cache_read_input_tokens") or 0,
        cache_write=(value.get("cache_creation_input_tokens") or 0) - hour,
        cache_write_1h=hour,
    )


def messages_whole(body: bytes) -> Seen:
    """Read a message."""
    value = objects(strict(body))
    if value.get("usage"):
        Message.model_validate(value)
    assert (value["type"], value["role"]) == ("message", "assistant")
    assert value["id"]
    seen = Seen(stops=[STOPS[value["stop_reason"]]])
    seen.texts = ["".join(b["text"] for b in value["content"] if b["type"] == "text")]
    seen.tools = [(b["name"], objects(b["input"])) for b in value["content"] if b["type"] == "tool_use"]
    seen.usage = usage_of(value["usage"]) if value.get("usage") else None
    return seen


class Sequence:
    """The order that events of a message come in, held against one stream."""

    def __init__(self) -> None:
        self.seen = Seen(texts=[""], stops=[""])
        self.open: dict[str, Any] | None = None
        self.index = -1
        self.json = ""
        self.begun = self.stopped = False
        self.usage: dict[str, Any] = {}

    def take(self, name: str, data: Any) -> None:
        """Take one event, in its turn."""
        kind = data["type"]
        assert kind == name, f"event {name} holds {kind}"
        if kind not in _KNOWN:
            return
        assert not self.seen.error, "the stream goes on after its error"
        assert not self.stopped, "something follows message_stop"
        assert self.begun != (kind == "message_start"), f"{kind} is out of turn"
        getattr(self, kind)(data)

    def message_start(self, data: Any) -> None:
        message = data["message"]
        assert message["content"] == []
        assert message["stop_reason"] is None
        self.begun = True
        self.usage = dict(message.get("usage") or {})

    def content_block_start(self, data: Any) -> None:
        assert self.open is None
        self.index += 1
        assert data["index"] == self.index
        self.open, self.json = data["content_block"], ""

    def content_block_delta(self, data: Any) -> None:
        assert self.open is not None
        assert data["index"] == self.index
        delta = data["delta"]
        self.seen.texts[0] += delta.get("text", "")
        self.json += delta.get("partial_json", "")

    def content_block_stop(self, data: Any) -> None:
        assert self.open is not None
        assert data["index"] == self.index
        if self.open["type"] == "tool_use":
            self.seen.tools.append((self.open["name"], self.json))
        self.open = None

    def message_delta(self, data: Any) -> None:
        assert self.open is None
        self.seen.stops = [STOPS[data["delta"]["stop_reason"]]]
        self.usage |= {k: v for k, v in (data.get("usage") or {}).items() if v is not None}

    def message_stop(self, data: Any) -> None:
        assert self.seen.stops[0]
        self.stopped = True


def messages_stream(body: bytes) -> Seen:
    """Read a message's stream."""
    order = Sequence()
    for name, data in sse(body):
        if name == "error":
            assert not order.seen.error
            order.seen.error = error(data)
            continue
        if name in _KNOWN and (name not in _COUNTED or data.get("message", data).get("usage")):
            _event.validate_python(data)
        order.take(name, data)
    seen = order.seen
    assert seen.error or order.stopped, "no message_stop"
    whole = seen.stops[0] == "tool"
    seen.tools = [(name, arguments(text or "{}")) for name, text in seen.tools] if whole else []
    seen.usage = usage_of(order.usage) if order.usage and not seen.error else None
    return seen


def error(body: Any) -> str:
    """Check an error in Anthropic's shape and return its message."""
    value = objects(strict(body) if isinstance(body, bytes) else body)
    assert value["type"] == "error"
    found = objects(value["error"])
    assert isinstance(found["type"], str)
    assert isinstance(found["message"], str)
    assert found["message"]
    return str(found["message"])


def count_whole(body: bytes) -> Seen:
    """Read a count of tokens."""
    value = objects(strict(body))
    MessageTokensCount.model_validate(value)
    assert value["input_tokens"] > 0
    return Seen()


def models_whole(body: bytes) -> Seen:
    """Read a list of models."""
    value = objects(strict(body))
    assert {"data", "has_more", "first_id", "last_id"} <= set(value)
    for item in value["data"]:
        ModelInfo.model_validate(item)
    return Seen()


def usage(tokens_in: int, tokens_out: int) -> dict[str, Any]:
    """Anthropic's usage of so many tokens."""
    return {"input_tokens": tokens_in, "output_tokens": tokens_out}


ONE = {"choices": "the protocol has one answer to a request", "usage option": "usage always comes"}

ROWS = (
    Row(
        "messages", "POST", "/v1/messages", "anthropic", "chat", "claude", messages, messages_whole, messages_stream, error, usage, ONE,
        headers=HEADERS, key=("x-api-key", ""),
    ),
    Row(
        "count_tokens", "POST", "/v1/messages/count_tokens", "anthropic", "count_tokens", "claude", count, count_whole, None, error, usage,
        no_stream("a count") | {"cost": "counting is free"}, headers=HEADERS, key=("x-api-key", ""),
    ),
    Row(
        "models (anthropic)", "GET", "/v1/models", "anthropic", "models", "claude", lambda ask: {}, models_whole, None, error, usage,
        no_stream("a list") | LIST, headers=HEADERS, key=("x-api-key", ""),
    ),
)  # fmt: skip
