from __future__ import annotations

import pytest

from proxy.wire.registry import PATTERNS, ROUTES, find


@pytest.mark.parametrize(
    ("method", "path", "protocol", "name"),
    [
        ("POST", "/v1/chat/completions", "openai", "chat"),
        ("POST", "/v1/embeddings", "openai", "embeddings"),
        ("POST", "/v1/messages", "anthropic", "messages"),
        ("POST", "/v1/messages/count_tokens", "anthropic", "count_tokens"),
        ("GET", "/v1/models", "openai", "models"),
        ("POST", "/api/chat", "ollama", "chat"),
        ("POST", "/api/generate", "ollama", "generate"),
        ("POST", "/api/show", "ollama", "show"),
        ("POST", "/api/embed", "ollama", "embed"),
        ("POST", "/api/embeddings", "ollama", "embed"),
        ("GET", "/api/tags", "ollama", "models"),
        ("GET", "/api/version", "ollama", "version"),
    ],
)
def test_the_metered_routes(method: str, path: str, protocol: str, name: str) -> None:
    codec = find(method, path, {})
    assert codec is not None
    assert (codec.protocol, codec.name) == (protocol, name)
    assert find(method, path, {}) is codec


def test_the_headers_show_the_dialect_of_the_models() -> None:
    codec = find("GET", "/v1/models", {"anthropic-version": "2026-10-21"})
    assert codec is not None
    assert codec.protocol == "anthropic"
    for headers in ({"x-goog-api-key": "k"}, {"x-goog-api-key": "k", "anthropic-version": "2026-10-21"}):
        codec = find("GET", "/v1/models", headers)
        assert codec is not None
        assert codec.dialect == "gemini.models"
    chat = find("POST", "/v1/chat/completions", {"anthropic-version": "2026-10-21"})
    assert chat is ROUTES["POST", "/v1/chat/completions"]


@pytest.mark.parametrize("path", [path for _, path in ROUTES])
@pytest.mark.parametrize("change", ["{}/", "/{}", "{}//", "{}?x=1", "{}%2f", "{}/x", "{} ", "{}\0"])
def test_nothing_that_looks_like_a_route_is_one(path: str, change: str) -> None:
    for method in ("GET", "POST"):
        assert find(method, change.format(path), {}) is None
        assert find(method, f"/%{ord(path[1]):x}{path[2:]}", {}) is None
        assert find(method, path.upper(), {}) is None


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_other_methods_are_refused(method: str, path: str) -> None:
    for other in {"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "post", "get"} - {method}:
        assert find(other, path, {"anthropic-version": "x"}) is None


@pytest.mark.parametrize(("method", "path"), PATTERNS)
def test_the_routes_with_a_model_in_their_path(method: str, path: str) -> None:
    found = find(method, path.replace("{model}", "m-1.5"), {}, "key=x")
    assert found is not None
    assert found.protocol == "gemini"
    assert find(method, path, {}) is None or "{" not in path
    assert find(method, path.replace("v1", "v2").replace("{model}", "m"), {}) is None
