"""Gemini's rows, in both versions of its paths and both framings of its streams. Replies are checked against the SDK's types as well."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from dialect_openai import LIST
from google.genai import types
from pydantic import BaseModel
from rows import Ask, Row, Seen, no_stream, objects, sse, strict

from proxy.model import Usage

STOPS = {"STOP": "stop", "MAX_TOKENS": "length"}
CITY = {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}}


def generate(ask: Ask) -> dict[str, Any]:
    """A generateContent request."""
    contents: list[dict[str, Any]] = [{"role": "user", "parts": [{"text": ask.text}]}]
    for _ in range(ask.steps):
        contents += [{"role": "model", "parts": [{"functionCall": {"name": "look", "args": {"at": "x"}}}]}]
        contents += [{"role": "user", "parts": [{"functionResponse": {"name": "look", "response": {"result": "nothing"}}}]}]
    if ask.unknown_result:
        contents += [{"role": "user", "parts": [{"functionResponse": {"name": "nobody", "response": {"result": "nothing"}}}]}]
    config: dict[str, Any] = {} if ask.ceiling is None else {"maxOutputTokens": ask.ceiling}
    if ask.choices > 1:
        config["candidateCount"] = ask.choices
    body: dict[str, Any] = {"contents": contents, "systemInstruction": {"parts": [{"text": "Be brief."}]}, "generationConfig": config}
    if ask.tools:
        body["tools"] = [{"functionDeclarations": [{"name": name, "parameters": CITY} for name in ask.tools]}]
    return body


def usage_of(value: Any) -> Usage:
    """Read a usage object by the books: cached tokens are part of the prompt's, thoughts stand beside the candidates'."""
    cached = value.get("cachedContentTokenCount", 0)
    output = value.get("candidatesTokenCount", 0) + value.get("thoughtsTokenCount", 0)
    return Usage(input=value["promptTokenCount"] - cached, output=output, cache_read=cached)


def _checked(kind: type[BaseModel], value: dict[str, Any]) -> None:
    """Check `value` against a type of the SDK, which itself takes only the members that it knows out of a reply."""
    known = {field.alias or name for name, field in kind.model_fields.items()}
    kind.model_validate({name: item for name, item in value.items() if name in known})


def _take(replies: Iterable[Any]) -> Seen:
    """Read one reply, or those of a stream: each candidate ends once, and says nothing after."""
    texts: dict[int, str] = {}
    stops: dict[int, str] = {}
    seen, ids = Seen(), set()
    for value in replies:
        assert not seen.error, "the stream goes on after its error"
        if "error" in value:
            seen.error = error(value)
            continue
        if "candidates" not in value:
            continue  # an element that the protocol does not have
        _checked(types.GenerateContentResponse, value)
        ids.add(value["responseId"])
        for candidate in value["candidates"]:
            i = candidate["index"]
            assert i not in stops, "a candidate goes on after its end"
            content = candidate.get("content", {"role": "model", "parts": []})
            assert content["role"] == "model"
            for part in content["parts"]:
                texts[i] = texts.get(i, "") + ("" if part.get("thought") else part.get("text", ""))
                if "functionCall" in part:
                    seen.tools.append((part["functionCall"]["name"], objects(part["functionCall"]["args"])))
            if "finishReason" in candidate:
                stops[i] = STOPS[candidate["finishReason"]]
        if "usageMetadata" in value:
            seen.usage = usage_of(value["usageMetadata"])
    assert len(ids) <= 1
    assert seen.error or (stops and set(texts) <= set(stops)), "every candidate ends"
    seen.texts = [texts.get(i, "") for i in sorted({*texts, *stops})]
    seen.stops = ["tool" if seen.tools and stops.get(i) == "stop" else stops.get(i, "") for i in sorted({*texts, *stops})]
    return seen


def whole(body: bytes) -> Seen:
    """Read a reply."""
    return _take([objects(strict(body))])


def events(body: bytes) -> Seen:
    """Read a stream of events."""
    return _take(data for name, data in sse(body) if not name)


def array(body: bytes) -> Seen:
    """Read a stream that is one array."""
    value = strict(body)
    assert isinstance(value, list)
    return _take(value)


def error(body: Any) -> str:
    """Check an error in Google's shape and return its message."""
    found = objects(objects(strict(body) if isinstance(body, bytes) else body)["error"])
    assert isinstance(found["code"], int)
    assert isinstance(found["status"], str)
    assert isinstance(found["message"], str)
    assert found["message"]
    return str(found["message"])


def count_whole(body: bytes) -> Seen:
    """Read a count of tokens."""
    value = objects(strict(body))
    _checked(types.CountTokensResponse, value)
    assert value["totalTokens"] > 0
    return Seen()


def _embedding(ask: Ask) -> dict[str, Any]:
    return {"model": f"models/{ask.model}", "content": {"parts": [{"text": ask.text}]}, "outputDimensionality": 8}


def embed_whole(body: bytes) -> Seen:
    """Read one embedding."""
    value = objects(strict(body))
    assert len(value["embedding"]["values"]) == 8
    return Seen(usage=usage_of(value["usageMetadata"]) if "usageMetadata" in value else None)


def batch_whole(body: bytes) -> Seen:
    """Read several embeddings."""
    value = objects(strict(body))
    assert [len(item["values"]) for item in value["embeddings"]] == [8, 8]
    return Seen(usage=usage_of(value["usageMetadata"]) if "usageMetadata" in value else None)


def models_whole(body: bytes) -> Seen:
    """Read a list of models."""
    value = objects(strict(body))
    for item in value["models"]:
        _checked(types.Model, item)
    return Seen()


def model_whole(body: bytes) -> Seen:
    """Read what is said about one model."""
    _checked(types.Model, objects(strict(body)))
    return Seen()


SHOWN = {"body": "a model is asked about with GET, without a body", "cost": "a description is free"}


def usage(tokens_in: int, tokens_out: int) -> dict[str, Any]:
    """Gemini's usage of so many tokens."""
    return {"promptTokenCount": tokens_in, "candidatesTokenCount": tokens_out, "totalTokenCount": tokens_in + tokens_out}


def embed_usage(tokens_in: int, tokens_out: int) -> dict[str, Any]:
    """The usage of embeddings, which have no output."""
    return {"promptTokenCount": tokens_in, "totalTokenCount": tokens_in}


def _rows(version: str) -> tuple[Row, ...]:
    path = f"/{version}/models/{{model}}:"
    said = Row(
        f"gemini {version}",
        "POST",
        f"{path}generateContent",
        "gemini",
        "chat",
        "gemini",
        generate,
        whole,
        events,
        error,
        usage,
        {"usage option": "usage always comes"},
        stream_path=f"{path}streamGenerateContent?alt=sse",
        key=("x-goog-api-key", ""),
    )
    plain = replace(said, stream=None, stream_path="", cannot=no_stream("an embedding"), operation="embeddings", silent=True)
    anonymous = {"anonymous": "the key's header is what makes this path Gemini's"} if version == "v1" else {}
    return (
        said,
        replace(
            said, name=f"gemini {version}, as an array", stream=array, stream_path=f"{path}streamGenerateContent",
            streamed="application/json", cannot={**said.cannot, "buffered": f"see gemini {version}"},
        ),
        replace(
            plain, name=f"gemini {version} countTokens", route=f"{path}countTokens", operation="count_tokens", silent=False,
            whole=count_whole, build=lambda ask: {"contents": generate(ask)["contents"]},
            cannot=no_stream("a count") | {"cost": "counting is free"},
        ),
        replace(plain, name=f"gemini {version} embedContent", route=f"{path}embedContent", build=_embedding, whole=embed_whole,
                usage=embed_usage),
        replace(
            plain, name=f"gemini {version} batchEmbedContents", route=f"{path}batchEmbedContents", whole=batch_whole, usage=embed_usage,
            build=lambda ask: {"requests": [_embedding(ask), _embedding(ask)]},
        ),
        replace(
            plain, name=f"gemini {version} model", method="GET", route=f"/{version}/models/{{model}}", operation="show",
            whole=model_whole, build=lambda ask: {}, cannot={**no_stream("a description"), **SHOWN, **anonymous}, silent=False,
        ),
        replace(
            plain, name=f"gemini {version} models", method="GET", route=f"/{version}/models", operation="models", whole=models_whole,
            build=lambda ask: {}, cannot=no_stream("a list") | LIST | anonymous, silent=False,
        ),
    )  # fmt: skip


ROWS = (*_rows("v1beta"), *(row for row in _rows("v1") if "array" not in row.name))
