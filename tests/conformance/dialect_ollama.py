"""Ollama's rows. Replies and every line of a stream are checked against the SDK's own types as well."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from dialect_openai import LIST
from ollama import ChatResponse, EmbeddingsResponse, EmbedResponse, GenerateResponse, ListResponse, ShowResponse
from rows import WEATHER, Ask, Row, Seen, no_stream, objects, strict

from proxy.model import Usage


def _options(ask: Ask) -> dict[str, Any]:
    return {"stream": ask.stream} | ({"options": {"num_predict": ask.ceiling}} if ask.ceiling is not None else {})


def chat(ask: Ask) -> dict[str, Any]:
    """A chat request."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": ask.text}]
    for _ in range(ask.steps):
        messages += [{"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "look", "arguments": {"at": "x"}}}]}]
        messages += [{"role": "tool", "tool_name": "look", "content": "nothing"}]
    if ask.unknown_result:
        messages += [{"role": "tool", "tool_name": "nobody", "content": "nothing"}]
    body = {"model": ask.model, "messages": messages, **_options(ask)}
    if ask.tools:
        body["tools"] = [{"type": "function", "function": {"name": name, "parameters": WEATHER}} for name in ask.tools]
    return body


def generate(ask: Ask) -> dict[str, Any]:
    """A generate request."""
    return {"model": ask.model, "prompt": ask.text, "system": "Be brief.", **_options(ask)}


def usage_of(value: Any) -> Usage | None:
    """Read the counts of a reply; a count that is not there is zero where the other is."""
    if "prompt_eval_count" not in value and "eval_count" not in value:
        return None
    return Usage(input=value.get("prompt_eval_count", 0), output=value.get("eval_count", 0))


def _line(seen: Seen, value: dict[str, Any], generated: bool) -> None:
    """Take one reply, whole or a line of a stream."""
    (GenerateResponse if generated else ChatResponse).model_validate(value)
    assert value["model"]
    assert value["created_at"]
    said = value if generated else objects(value["message"])
    assert generated or said["role"] == "assistant"
    seen.texts[0] += said["response" if generated else "content"]
    seen.tools += [(call["function"]["name"], objects(call["function"]["arguments"])) for call in said.get("tool_calls") or ()]
    if value["done"]:
        seen.stops = ["tool" if seen.tools and value["done_reason"] == "stop" else value["done_reason"]]
        seen.usage = usage_of(value)


def whole(generated: bool) -> Callable[[bytes], Seen]:
    """Return what reads a buffered reply."""

    def read(body: bytes) -> Seen:
        seen, value = Seen(texts=[""]), objects(strict(body))
        assert value["done"] is True
        _line(seen, value, generated)
        return seen

    return read


def stream(generated: bool) -> Callable[[bytes], Seen]:
    """Return what reads a stream: lines of JSON, the last one done, or an error in its place."""

    def read(body: bytes) -> Seen:
        seen, done = Seen(texts=[""], stops=[""]), False
        assert body.endswith(b"\n"), "the last line is not whole"
        for line in body[:-1].split(b"\n"):
            value = objects(strict(line))
            assert not done, "a line follows the last"
            assert not seen.error, "a line follows the error"
            if "error" in value:
                seen.error = error(value)
            elif "model" in value:  # else a line that the protocol does not have
                _line(seen, value, generated)
                done = value["done"]
        assert done or seen.error, "no last line"
        return seen

    return read


def error(body: Any) -> str:
    """Check an error in Ollama's shape and return its message."""
    value = objects(strict(body) if isinstance(body, bytes) else body)
    assert isinstance(value["error"], str)
    assert value["error"]
    return str(value["error"])


def embed_whole(body: bytes) -> Seen:
    """Read embeddings."""
    value = objects(strict(body))
    EmbedResponse.model_validate(value)
    assert [len(vector) for vector in value["embeddings"]] == [8, 8]
    return Seen(usage=usage_of(value))


def embeddings_whole(body: bytes) -> Seen:
    """Read the older reply, one embedding."""
    value = objects(strict(body))
    EmbeddingsResponse.model_validate(value)
    assert value["embedding"]
    return Seen()


def show_whole(body: bytes) -> Seen:
    """Read the words about a model."""
    value = objects(strict(body))
    ShowResponse.model_validate(value)
    assert value["details"]
    return Seen()


def tags_whole(body: bytes) -> Seen:
    """Read a list of models."""
    value = objects(strict(body))
    ListResponse.model_validate(value)
    assert value["models"]
    return Seen()


def version_whole(body: bytes) -> Seen:
    """Read the server's version."""
    assert objects(strict(body))["version"]
    return Seen()


def usage(tokens_in: int, tokens_out: int) -> dict[str, Any]:
    """Ollama's counts of so many tokens."""
    return {"prompt_eval_count": tokens_in, "eval_count": tokens_out}


ONE = {
    "choices": "the protocol has one answer to a request",
    "usage option": "usage always comes",
    "cached": "the protocol does not report what was cached",
}
BARE = {"tools": "generate takes no tools", "history": "generate takes a prompt and no history"}
FREE = {"cost": "what costs nothing needs no budget of money"}

_chat = Row(
    "ollama chat", "POST", "/api/chat", "ollama", "chat", "llama", chat, whole(False), stream(False), error, usage, ONE,
    streamed="application/x-ndjson",
)  # fmt: skip
_plain = replace(_chat, stream=None, cannot=no_stream("an embedding"), operation="embeddings")

ROWS = (
    _chat,
    replace(
        _chat, name="ollama generate", route="/api/generate", build=generate, whole=whole(True), stream=stream(True), cannot=ONE | BARE,
    ),
    replace(
        _plain, name="ollama embed", route="/api/embed", whole=embed_whole, usage=lambda i, o: {"prompt_eval_count": i},
        build=lambda ask: {"model": ask.model, "input": ["something else", ask.text], "dimensions": 8},
    ),
    replace(
        _plain, name="ollama embeddings", route="/api/embeddings", whole=embeddings_whole,
        build=lambda ask: {"model": ask.model, "prompt": ask.text},
        cannot=no_stream("an embedding") | {"usage": "the older reply reports no usage", "unknown": "the older reply has no other members"},
    ),
    replace(
        _plain, name="ollama show", route="/api/show", operation="show", whole=show_whole, build=lambda ask: {"model": ask.model},
        cannot=no_stream("a description") | FREE | {"prompt": "nothing is said to the model"},
    ),
    replace(_plain, name="ollama tags", method="GET", route="/api/tags", operation="models", whole=tags_whole,
            cannot=no_stream("a list") | LIST),
    replace(_plain, name="ollama version", method="GET", route="/api/version", operation="models", whole=version_whole,
            cannot=no_stream("a version") | LIST),
)  # fmt: skip
