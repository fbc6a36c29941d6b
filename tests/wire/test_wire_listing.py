"""A list of models that we make ourselves reads like the provider's: our own filter reads it, and the SDKs' types do."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic.types import ModelInfo
from ollama import ListResponse
from openai.types import Model as OpenAIModel

from proxy.wire.base import ListCodec
from proxy.wire.registry import find

LISTS: list[tuple[str, dict[str, str]]] = [
    ("/v1/models", {}),
    ("/v1/models", {"anthropic-version": "2026-10-21"}),
    ("/v1beta/models", {}),
    ("/v1/models", {"x-goog-api-key": "k"}),
    ("/api/tags", {}),
]


def made(path: str, headers: dict[str, str], names: list[str]) -> tuple[ListCodec, bytes]:
    codec = find("GET", path, headers)
    assert isinstance(codec, ListCodec)
    return codec, codec.listing(names)


def named(body: bytes) -> list[str]:
    value: dict[str, Any] = json.loads(body)
    items = value.get("data") or value.get("models") or []
    return [str(item.get("id") or item["name"]).removeprefix("models/") for item in items]


@pytest.mark.parametrize(("path", "headers"), LISTS)
def test_it_names_the_models_and_can_be_filtered(path: str, headers: dict[str, str]) -> None:
    codec, body = made(path, headers, ["a-1", "b-2"])
    assert named(body) == ["a-1", "b-2"]
    assert codec.filter(body, lambda name: True) is body
    assert named(codec.filter(body, lambda name: name == "b-2")) == ["b-2"]
    assert named(made(path, headers, [])[1]) == []


def test_the_sdks_read_it() -> None:
    bodies = [json.loads(made(path, headers, ["a-1"])[1]) for path, headers in LISTS]
    assert OpenAIModel.model_validate(bodies[0]["data"][0]).id == "a-1"
    assert ModelInfo.construct(**bodies[1]["data"][0]).id == "a-1"
    assert ListResponse.model_validate(bodies[4]).models[0].model == "a-1"


def test_no_ollama_server_has_no_version() -> None:
    assert json.loads(made("/api/version", {}, ["a"])[1]) == {"version": "0.0.0"}
