"""OpenAI's smaller operations in the simulated provider: embeddings and the list of models.

Source: OpenAI API reference (embeddings, models), as typed in the `openai` Python SDK 3.52.
"""

from __future__ import annotations

import base64
import math
import random
import struct
from typing import Any

from proxy.sim import answer
from proxy.sim.openai import CREATED, headers
from proxy.sim.reply import Given, Invalid, Reply, dumps, extra
from proxy.sim.script import Script, read_script

MODELS = ("gpt-5.5", "gpt-4o", "gpt-4o-mini", "qwen3:8b", "text-embedding-3-large", "text-embedding-3-small")
_DIMENSIONS = {"text-embedding-3-large": 3072}


def embeddings(given: Given) -> tuple[Script, Reply]:
    """Return the script of an embeddings request and the reply to it.

    Raises:
        Invalid: OpenAI would answer 400.
        ScriptError: the script is wrong.
    """
    body = given.body
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise Invalid("you must provide a model parameter")
    inputs = _inputs(body.get("input"))
    script, _ = read_script(given.script, inputs[-1] if isinstance(inputs[-1], str) else "")
    encoding = body.get("encoding_format") or "float"
    if encoding not in ("float", "base64"):
        raise Invalid(f"Invalid value: '{encoding}'. Supported values are: 'float' and 'base64'.", "encoding_format", "invalid_value")
    size = body.get("dimensions") or _DIMENSIONS.get(body["model"], 1536)
    if not isinstance(size, int) or not 1 <= size <= 3072:
        raise Invalid("Invalid 'dimensions': expected a value between 1 and 3072.", "dimensions", "integer_above_max_value")
    data = []
    for i, item in enumerate(inputs):
        vector = _vector(answer.seed_of([body["model"], item]), size)
        shown: Any = base64.b64encode(vector).decode() if encoding == "base64" else list(struct.unpack(f"<{size}f", vector))
        data.append({"object": "embedding", "index": i, "embedding": shown})
    tokens = sum(answer.count(item) if isinstance(item, str) else len(item) for item in inputs)
    whole: dict[str, Any] = {"object": "list", "data": data, "model": body["model"]}
    if script.usage is not False:
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        whole["usage"] = usage | script.usage if isinstance(script.usage, dict) else usage
    seed = answer.seed_of(body)
    return script, Reply(200, {**headers(seed), "content-type": "application/json"}, dumps(whole | extra(script.extra_field)))


def _inputs(value: object) -> list[str] | list[list[int]]:
    """Return the inputs as a list of texts or of token lists."""
    if value is None:
        raise Invalid("Missing required parameter: 'input'.", "input", "missing_required_parameter")
    items = [value] if isinstance(value, str) else value
    if isinstance(items, list) and items:
        if all(isinstance(i, str) and i for i in items):
            return items
        if all(isinstance(i, int) for i in items):
            return [items]
        if all(isinstance(i, list) and i and all(isinstance(t, int) for t in i) for i in items):
            return items
    raise Invalid("'$.input' is invalid. Please check the API reference: https://platform.openai.com/docs/api-reference.")


def _vector(seed: bytes, size: int) -> bytes:
    """Return a unit vector as little-endian 32-bit floats."""
    source = random.Random(seed)  # noqa: S311 - no secret
    values = [source.gauss(0.0, 1.0) for _ in range(size)]
    length = math.sqrt(sum(v * v for v in values))
    return struct.pack(f"<{size}f", *(v / length for v in values))


def models() -> Reply:
    """Return the list of models."""
    data = [_model(name) for name in MODELS]
    return Reply(200, {**headers(b"models"), "content-type": "application/json"}, dumps({"object": "list", "data": data}))


def model(name: str) -> Reply:
    """Return one model.

    Raises:
        Invalid: there is none of that name (404).
    """
    if name not in MODELS:
        raise Invalid(f"The model '{name}' does not exist", "model", "model_not_found", status=404)
    return Reply(200, {**headers(b"model"), "content-type": "application/json"}, dumps(_model(name)))


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "system"}
