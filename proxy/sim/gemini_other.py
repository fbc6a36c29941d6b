"""Gemini's smaller operations in the simulated provider: counting tokens, embeddings, the models.

Source: Gemini API reference (counting tokens, embeddings, models), as typed in the `google-genai` Python SDK 3.4.
"""

from __future__ import annotations

import math
import random
from typing import Any

from proxy.sim import answer
from proxy.sim.gemini_contents import camel, parts, prompt_tokens, texts
from proxy.sim.reply import Given, Invalid, Operation, Reply, dumps, extra
from proxy.sim.script import Script, read_script

MODELS = {
    "gemini-3-pro-preview": ("Gemini 3 Pro Preview", ("generateContent", "countTokens")),
    "gemini-2.5-pro": ("Gemini 2.5 Pro", ("generateContent", "countTokens", "createCachedContent")),
    "gemini-2.5-flash": ("Gemini 2.5 Flash", ("generateContent", "countTokens", "createCachedContent")),
    "gemini-2.5-flash-lite": ("Gemini 2.5 Flash-Lite", ("generateContent", "countTokens")),
    "gemini-embedding-001": ("Gemini Embedding 001", ("embedContent", "countTokens")),
}
_HEADERS = {"content-type": "application/json; charset=UTF-8"}
_DIMENSIONS = 3072


def find(path: str) -> Operation | None:
    """Return the operation of a path that is asked with GET, None when there is none."""
    name = path.partition("/models")[2].removeprefix("/")
    if path not in ("/v1/models", "/v1beta/models", f"/v1/models/{name}", f"/v1beta/models/{name}"):
        return None
    if name:
        return lambda given: (read_script(given.script, "")[0], _reply(_model(name)))
    return lambda given: (read_script(given.script, "")[0], _page(given.query))


def _page(query: dict[str, str]) -> Reply:
    """Return the list of models, as many as a page holds."""
    names = list(MODELS)
    size, start = int(query.get("pageSize", "50")), int(query.get("pageToken", "0"))
    more = {"nextPageToken": str(start + size)} if start + size < len(names) else {}
    return _reply({"models": [_model(name) for name in names[start : start + size]]} | more)


def _model(name: str) -> dict[str, Any]:
    if name not in MODELS:
        raise Invalid(f"models/{name} is not found for API version v1beta", status=404)
    shown, methods = MODELS[name]
    limits = {"inputTokenLimit": 1_048_576, "outputTokenLimit": 65_536}
    return {"name": f"models/{name}", "version": "001", "displayName": shown, **limits, "supportedGenerationMethods": list(methods)}


def _reply(value: dict[str, Any]) -> Reply:
    return Reply(200, dict(_HEADERS), dumps(value))


def count_tokens(model: str, given: Given) -> tuple[Script, Reply]:
    """Return the script of a request to count tokens and the reply to it."""
    body = camel(given.body)
    body = body.get("generateContentRequest", body)
    contents = body.get("contents")
    if not isinstance(contents, list) or not contents:
        raise Invalid("* CountTokensRequest.contents: contents is not specified")
    script, _ = read_script(given.script, " ".join(texts(contents[-1])))
    total = prompt_tokens(body)
    details = [{"modality": "TEXT", "tokenCount": total}]
    return script, _reply({"totalTokens": total, "promptTokensDetails": details} | extra(script.extra_field))


def embed(model: str, given: Given) -> tuple[Script, Reply]:
    """Return the script of a request for one embedding and the reply to it; usage comes only where the script says so."""
    script, vector = _embedded(model, camel(given.body), given.script)
    return script, _reply({"embedding": {"values": vector}} | _scripted(script))


def batch_embed(model: str, given: Given) -> tuple[Script, Reply]:
    """Return the script of a request for several embeddings and the reply to it; as `embed`."""
    requests = camel(given.body).get("requests")
    if not isinstance(requests, list) or not requests:
        raise Invalid("* BatchEmbedContentsRequest.requests: requests is not specified")
    for request in requests:
        if request.get("model") != f"models/{model}":
            raise Invalid("* BatchEmbedContentsRequest.requests[0].model: model must be the same in all requests")
    found = [_embedded(model, request, given.script) for request in requests]
    script = found[-1][0]
    return script, _reply({"embeddings": [{"values": vector} for _, vector in found]} | _scripted(script))


def _scripted(script: Script) -> dict[str, Any]:
    usage = {"usageMetadata": script.usage} if isinstance(script.usage, dict) else {}
    return usage | extra(script.extra_field)


def _embedded(model: str, request: dict[str, Any], header: str | None) -> tuple[Script, list[float]]:
    content = request.get("content")
    if not parts(content):
        raise Invalid("* EmbedContentRequest.content: contents is required")
    script, _ = read_script(header, " ".join(texts(content)))
    config = request.get("embedContentConfig") or request
    size = config.get("outputDimensionality") or _DIMENSIONS
    source = random.Random(answer.seed_of([model, content]))  # noqa: S311 - no secret
    values = [source.gauss(0.0, 1.0) for _ in range(size)]
    length = math.sqrt(sum(v * v for v in values))
    return script, [round(v / length, 8) for v in values]
