"""OpenAI's rows: chat completions, embeddings, the list of models. Replies are checked against the SDK's own types as well."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from openai.types import Completion, CreateEmbeddingResponse, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from rows import WEATHER, Ask, Row, Seen, arguments, no_stream, objects, sse, strict

from proxy.model import Usage

STOPS = {"stop": "stop", "length": "length", "tool_calls": "tool"}


def chat(ask: Ask) -> dict[str, Any]:
    """A chat completions request."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": ask.text}]
    for i in range(ask.steps):
        call = {"id": f"call_{i}", "type": "function", "function": {"name": "look", "arguments": '{"at":"x"}'}}
        messages += [{"role": "assistant", "content": None, "tool_calls": [call]}]
        messages += [{"role": "tool", "tool_call_id": f"call_{i}", "content": "nothing"}]
    if ask.unknown_result:
        messages += [{"role": "tool", "tool_call_id": "call_of_nobody", "content": "nothing"}]
    body: dict[str, Any] = {"model": ask.model, "messages": messages}
    if ask.ceiling is not None:
        body["max_completion_tokens"] = ask.ceiling
    if ask.tools:
        body["tools"] = [{"type": "function", "function": {"name": name, "parameters": WEATHER}} for name in ask.tools]
    if ask.choices > 1:
        body["n"] = ask.choices
    if ask.stream:
        body["stream"] = True
        if ask.usage:
            body["stream_options"] = {"include_usage": True}
    return body


def usage_of(value: Any) -> Usage:
    """Read a usage object by the books: cached tokens are part of the prompt's."""
    cached = (value.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return Usage(input=value["prompt_tokens"] - cached, output=value.get("completion_tokens", 0), cache_read=cached)


def chat_whole(body: bytes) -> Seen:
    """Read a chat completion."""
    value = objects(strict(body))
    ChatCompletion.model_validate(value)
    assert value["object"] == "chat.completion"
    assert value["id"]
    seen = Seen()
    for i, choice in enumerate(value["choices"]):
        message = choice["message"]
        assert (choice["index"], message["role"]) == (i, "assistant")
        seen.texts.append(message["content"] or "")
        seen.stops.append(STOPS[choice["finish_reason"]])
        seen.tools += [(c["function"]["name"], arguments(c["function"]["arguments"])) for c in message.get("tool_calls") or ()]
    seen.usage = usage_of(value["usage"]) if value.get("usage") else None
    return seen


def chat_stream(body: bytes) -> Seen:
    """Read a chat completion's stream: chunks of one id, each choice finished once, `[DONE]` last, or an error in its place."""
    texts: dict[int, str] = defaultdict(str)
    stops: dict[int, str] = {}
    tools: dict[tuple[int, int], list[str]] = {}
    seen, ids, done = Seen(), set(), False
    for name, data in sse(body):
        assert not done, "something follows [DONE]"
        if data == "[DONE]":
            done = True
            continue
        if name:
            continue  # an event that the protocol does not have: clients pass over it
        if "error" in data:
            assert not seen.error
            seen.error = error(data)
            continue
        assert not seen.error, "the stream goes on after its error"
        ChatCompletionChunk.model_validate(data)
        assert data["object"] == "chat.completion.chunk"
        ids.add(data["id"])
        if data.get("usage"):
            seen.usage = usage_of(data["usage"])
        for choice in data["choices"]:
            _delta(choice, texts, stops, tools)
    assert len(ids) <= 1
    if not seen.error:
        assert done, "no [DONE]"
        assert set(stops) == set(texts), "every choice ends"
    seen.texts = [texts[i] for i in sorted(texts)]
    seen.stops = [stops.get(i, "") for i in sorted(texts)]
    seen.tools = [(name, arguments(text)) for name, text in tools.values()] if not seen.error and "length" not in seen.stops else []
    return seen


def _delta(choice: Any, texts: dict[int, str], stops: dict[int, str], tools: dict[tuple[int, int], list[str]]) -> None:
    i, delta = choice["index"], choice["delta"]
    assert i not in stops or not delta, "a choice goes on after its end"
    texts[i] += delta.get("content") or ""
    for call in delta.get("tool_calls") or ():
        found = tools.setdefault((i, call["index"]), ["", ""])
        found[0] += call["function"].get("name") or ""
        found[1] += call["function"].get("arguments") or ""
    if choice["finish_reason"] is not None:
        stops[i] = STOPS[choice["finish_reason"]]


def completions(ask: Ask) -> dict[str, Any]:
    """A request for a legacy completion."""
    body: dict[str, Any] = {"model": ask.model, "prompt": ask.text}
    if ask.ceiling is not None:
        body["max_tokens"] = ask.ceiling
    if ask.choices > 1:
        body["n"] = ask.choices
    if ask.stream:
        body |= {"stream": True} | ({"stream_options": {"include_usage": True}} if ask.usage else {})
    return body


def completions_whole(body: bytes) -> Seen:
    """Read a completion."""
    value = objects(strict(body))
    Completion.model_validate(value)
    assert value["object"] == "text_completion"
    assert [choice["index"] for choice in value["choices"]] == list(range(len(value["choices"])))
    seen = Seen([choice["text"] for choice in value["choices"]], stops=[STOPS[choice["finish_reason"]] for choice in value["choices"]])
    seen.usage = usage_of(value["usage"]) if value.get("usage") else None
    return seen


def completions_stream(body: bytes) -> Seen:
    """Read a completion's stream: as a chat's, but that chunks and whole replies are one type."""
    texts: dict[int, str] = defaultdict(str)
    stops: dict[int, str] = {}
    seen, done = Seen(), False
    for name, data in sse(body):
        assert not done, "something follows [DONE]"
        if data == "[DONE]":
            done = True
        elif not name and "error" in data:
            assert not seen.error
            seen.error = error(data)
        elif not name:
            assert not seen.error, "the stream goes on after its error"
            assert data["object"] == "text_completion"
            seen.usage = usage_of(data["usage"]) if data.get("usage") else seen.usage
            for choice in data["choices"]:
                assert choice["index"] not in stops, "a choice goes on after its end"
                texts[choice["index"]] += choice["text"]
                if choice["finish_reason"] is not None:
                    stops[choice["index"]] = STOPS[choice["finish_reason"]]
    assert seen.error or (done and set(stops) == set(texts)), "every choice ends, then [DONE]"
    seen.texts, seen.stops = [texts[i] for i in sorted(texts)], [stops.get(i, "") for i in sorted(texts)]
    return seen


def error(body: Any) -> str:
    """Check an error in OpenAI's shape and return its message."""
    value = objects(strict(body) if isinstance(body, bytes) else body)
    found = objects(value["error"])
    assert {"message", "type", "param", "code"} <= set(found)
    assert isinstance(found["message"], str)
    assert found["message"]
    assert isinstance(found["type"], str)
    return str(found["message"])


def embeddings(ask: Ask) -> dict[str, Any]:
    """An embeddings request."""
    return {"model": ask.model, "input": ["something else", ask.text], "dimensions": 8}


def embeddings_whole(body: bytes) -> Seen:
    """Read embeddings."""
    value = objects(strict(body))
    if "usage" in value:
        CreateEmbeddingResponse.model_validate(value)
    assert [item["index"] for item in value["data"]] == [0, 1]
    assert all(len(item["embedding"]) == 8 for item in value["data"])
    return Seen(usage=usage_of(value["usage"]) if value.get("usage") else None)


def models_whole(body: bytes) -> Seen:
    """Read a list of models."""
    value = objects(strict(body))
    assert value["object"] == "list"
    for item in value["data"]:
        Model.model_validate(item)
    return Seen()


def usage(tokens_in: int, tokens_out: int) -> dict[str, Any]:
    """OpenAI's usage of so many tokens."""
    return {"prompt_tokens": tokens_in, "completion_tokens": tokens_out, "total_tokens": tokens_in + tokens_out}


def embeddings_usage(tokens_in: int, tokens_out: int) -> dict[str, Any]:
    """The usage of embeddings, which have no output."""
    return {"prompt_tokens": tokens_in, "total_tokens": tokens_in}


LIST = {
    "body": "a list is asked for with GET, without a body",
    "model": "a list names no model",
    "cost": "a list of models is free",
}

ROWS = (
    Row("chat", "POST", "/v1/chat/completions", "openai", "chat", "gpt", chat, chat_whole, chat_stream, error, usage),
    Row(
        "completions", "POST", "/v1/completions", "openai", "chat", "gpt", completions, completions_whole, completions_stream, error, usage,
        {"tools": "completions take no tools", "history": "completions take a prompt and no history"},
    ),
    Row(
        "embeddings", "POST", "/v1/embeddings", "openai", "embeddings", "gpt", embeddings, embeddings_whole, None, error,
        embeddings_usage, no_stream("an embedding"),
    ),
    Row(
        "models", "GET", "/v1/models", "openai", "models", "gpt", lambda ask: {}, models_whole, None, error, usage,
        no_stream("a list") | LIST,
    ),
)  # fmt: skip
