"""Ollama's smaller operations in the simulated provider: embeddings, the list of models, the words about one, the version.

Source: Ollama API reference (embeddings, tags, show, version), as typed in the `ollama` Python SDK 0.6.3.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any

from proxy.sim import answer
from proxy.sim.reply import Given, Invalid, Operation, Reply, dumps, extra
from proxy.sim.script import Script, read_script

CREATED = 1_760_000_000
"""Where every reply's `created_at` begins: fixed, so that the same request gives the same bytes."""
JSON = {"content-type": "application/json; charset=utf-8"}
MODELS = ("qwen3:8b", "llama3.2:latest", "nomic-embed-text:latest")
VERSION = "0.13.0"
_DIMENSIONS = 768
_MODIFIED = "2025-10-09T08:53:20.000000Z"


def checked_model(body: dict[str, Any], *others: str) -> str:
    """Return the model's name.

    Raises:
        Invalid: there is none.
    """
    for key in ("model", *others):
        if isinstance(body.get(key), str) and body[key]:
            return str(body[key])
    raise Invalid("model is required")


def embed(given: Given) -> tuple[Script, Reply]:
    """Return the script of an embed request and the reply to it.

    Raises:
        Invalid: Ollama would answer 400.
        ScriptError: the script is wrong.
    """
    body = given.body
    model = checked_model(body)
    inputs = [body["input"]] if isinstance(body.get("input"), str) else body.get("input") or []
    if not isinstance(inputs, list) or not all(isinstance(text, str) for text in inputs):
        raise Invalid("invalid input type")
    script, _ = read_script(given.script, inputs[-1] if inputs else "")
    size = body.get("dimensions") or _DIMENSIONS
    if not isinstance(size, int) or not 1 <= size <= _DIMENSIONS:
        raise Invalid("invalid dimensions")
    whole: dict[str, Any] = {"model": model, "embeddings": [_vector(model, text, size) for text in inputs], "load_duration": 10**6}
    if script.usage is not False:
        whole |= {"prompt_eval_count": sum(map(answer.count, inputs))} | (script.usage if isinstance(script.usage, dict) else {})
    return script, Reply(200, dict(JSON), dumps(whole | extra(script.extra_field)))


def embeddings(given: Given) -> tuple[Script, Reply]:
    """Return the reply to the older request, which embeds one `prompt` and reports no counts; raises as `embed` does."""
    model, prompt = checked_model(given.body), given.body.get("prompt") or ""
    if not isinstance(prompt, str):
        raise Invalid("invalid input type")
    script, _ = read_script(given.script, prompt)
    return script, Reply(200, dict(JSON), dumps({"embedding": _vector(model, prompt, _DIMENSIONS)}))


def _vector(model: str, text: str, size: int) -> list[float]:
    source = random.Random(answer.seed_of([model, text]))  # noqa: S311 - no secret
    values = [source.gauss(0.0, 1.0) for _ in range(size)]
    length = math.sqrt(sum(v * v for v in values))
    return [round(v / length, 8) for v in values]


def _details(name: str) -> dict[str, Any]:
    family = name.partition(":")[0].rstrip("0123456789.")
    return {
        "parent_model": "",
        "format": "gguf",
        "family": family,
        "families": [family],
        "parameter_size": "8.2B",
        "quantization_level": "Q4_K_M",
    }


def tags(given: Given) -> tuple[Script, Reply]:
    """Return the list of models."""
    found = [
        {
            "name": name,
            "model": name,
            "modified_at": _MODIFIED,
            "size": 5_225_388_164,
            "digest": answer.hex_id(b"digest", name, 64),
            "details": _details(name),
        }
        for name in MODELS
    ]
    return read_script(given.script, "")[0], Reply(200, dict(JSON), dumps({"models": found}))


def show(given: Given) -> tuple[Script, Reply]:
    """Return the words about one model.

    Raises:
        Invalid: no model is named (400), or there is none of that name (404).
    """
    name = checked_model(given.body, "name")
    full = name if ":" in name else f"{name}:latest"
    if full not in MODELS:
        raise Invalid(f"model '{name}' not found", status=404)
    capabilities = ["embedding"] if "embed" in full else ["completion", "tools", "thinking"]
    whole = {
        "license": "Simulated; nothing to license.",
        "modelfile": f"FROM {full}\n",
        "parameters": 'stop "<|im_end|>"',
        "template": "{{ .Prompt }}",
        "details": _details(full),
        "model_info": {"general.architecture": "sim", "sim.context_length": 40_960},
        "capabilities": capabilities,
        "modified_at": _MODIFIED,
    }
    return read_script(given.script, "")[0], Reply(200, dict(JSON), dumps(whole))


def version(given: Given) -> tuple[Script, Reply]:
    """Return the version of the server."""
    return read_script(given.script, "")[0], Reply(200, dict(JSON), dumps({"version": VERSION}))


OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("POST", "/api/embed"): embed,
    ("POST", "/api/embeddings"): embeddings,
    ("POST", "/api/show"): show,
    ("GET", "/api/tags"): tags,
    ("GET", "/api/version"): version,
}
