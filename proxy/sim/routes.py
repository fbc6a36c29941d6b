"""Which vendor answers a path of the simulated provider, and with what.

Each vendor's module brings its `OPERATIONS`; Gemini's paths hold the model's name, so it finds its own. A path that nobody serves gets
the 404 of the likeliest vendor.
"""

from __future__ import annotations

from collections.abc import Mapping

from proxy.sim import anthropic, gemini, ollama, openai, openai_completions, openai_other, openai_responses
from proxy.sim.reply import Given, Operation, Reply, Vendor
from proxy.sim.script import Script, read_script

_OPENAI: Mapping[tuple[str, str], Operation] = {
    ("POST", "/v1/chat/completions"): openai.chat,
    ("POST", "/v1/embeddings"): openai_other.embeddings,
    ("GET", "/v1/models"): lambda given: (read_script(given.script, "")[0], openai_other.models()),
    **openai_responses.OPERATIONS,
    **openai_completions.OPERATIONS,
}
_ANTHROPIC: Mapping[tuple[str, str], Operation] = {
    ("POST", "/v1/messages"): anthropic.messages,
    ("POST", "/v1/messages/count_tokens"): anthropic.count_tokens,
    ("GET", "/v1/models"): lambda given: (read_script(given.script, "")[0], anthropic.models()),
}
MODELS = "/v1/models/"


def vendor_of(path: str, headers: Mapping[str, str]) -> Vendor:
    """Return the vendor whose path this is; `headers` are in lower case."""
    if path.startswith("/api/"):
        return ollama.VENDOR
    if path.startswith("/v1beta/") or (path.startswith("/v1/models") and ("x-goog-api-key" in headers or ":" in path)):
        return gemini.VENDOR
    if path.startswith("/v1/messages") or (path.startswith("/v1/models") and "anthropic-version" in headers):
        return anthropic.VENDOR
    return openai_responses.VENDOR if path == "/v1/responses" else openai.VENDOR


def find(method: str, path: str, headers: Mapping[str, str]) -> tuple[Vendor, Operation | None]:
    """Return the vendor and its operation, None for one that it does not have."""
    vendor = vendor_of(path, headers)
    if vendor is gemini.VENDOR:
        return vendor, gemini.find(method, path)
    if vendor is ollama.VENDOR:
        return vendor, ollama.OPERATIONS.get((method, path))
    if method == "GET" and path.startswith(MODELS):
        return vendor, _model_of_anthropic if vendor is anthropic.VENDOR else _model_of_openai
    return vendor, (_ANTHROPIC if vendor is anthropic.VENDOR else _OPENAI).get((method, path))


def _model_of_openai(given: Given) -> tuple[Script, Reply]:
    return Script(), openai_other.model(given.path.removeprefix(MODELS))


def _model_of_anthropic(given: Given) -> tuple[Script, Reply]:
    return Script(), anthropic.model(given.path.removeprefix(MODELS))
