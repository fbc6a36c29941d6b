from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from proxy.model import Usage
from proxy.wire.base import Memos
from proxy.wire.call import Call, Edit, WireError
from proxy.wire.openai_other import EmbeddingsCodec, ModelsCodec

GOLDEN = Path(__file__).parent / "golden"
codec = EmbeddingsCodec()
LISTS = {"openai": ModelsCodec("openai"), "anthropic": ModelsCodec("anthropic")}


def decode(**body: Any) -> Call:
    return codec.decode(json.dumps({"model": "e", **body}).encode(), Memos())


@pytest.mark.parametrize(
    ("given", "texts", "tokens"),
    [
        ("one", ("one",), 0),
        (["one", "zwölf"], ("one", "zwölf"), 0),
        ([1, 2, 3], (), 3),
        ([[1, 2], [3]], (), 3),
        ([[1]], (), 1),
    ],
)
def test_every_kind_of_input(given: Any, texts: tuple[str, ...], tokens: int) -> None:
    call = decode(input=given, user="u", dimensions=3)
    assert (call.operation, call.model, call.extra, call.tokens_given) == ("embeddings", "e", texts, tokens)
    assert call.hints == {"user": "u"}
    assert not call.stream
    assert codec.upstream_path(call, "m") == "/embeddings"


@pytest.mark.parametrize("given", [None, 5, {}, [], [[]], ["a", 1], [1.5], [-1], [None], [{"a": 1}], [True]])
def test_other_inputs_are_refused(given: Any) -> None:
    with pytest.raises(WireError, match="/input: must"):
        decode(input=given)


def test_millions_of_token_ids_are_counted_without_decoding_them() -> None:
    assert decode(input=[[7] * 1000] * 2000).tokens_given == 2_000_000


def test_only_the_model_can_change() -> None:
    call = decode(input="x")
    assert codec.rewrite(call, Edit(model="e", max_output=3, ask_usage=True)) is call.body
    assert json.loads(codec.rewrite(call, Edit(model="f"))) == {"model": "f", "input": "x"}
    assert call.hints == {}


def test_the_golden_embeddings_reply() -> None:
    meter = codec.meter(decode(input="x"))
    meter.buffered((GOLDEN / "embeddings_reply.json").read_bytes())
    assert (meter.usage, meter.model, meter.ended) == (Usage(input=8), "text-embedding-3-small", True)
    other = codec.meter(decode(input="x"))
    other.buffered(b'{"model": 5}')
    assert (other.usage, other.model, other.event(b"x").kind) == (None, "", "other")


@pytest.mark.parametrize(("protocol", "path"), [("openai", "/models"), ("anthropic", "/v1/models")])
def test_the_list_of_models_is_free(protocol: str, path: str) -> None:
    models = LISTS[protocol]
    call = models.decode(b"", Memos())
    assert (call.operation, call.model, models.protocol, models.upstream_path(call, "m")) == ("models", "", protocol, path)
    assert models.rewrite(call, Edit(model="x")) is call.body
    meter = models.meter(call)
    meter.buffered(b"{}")
    assert (meter.usage, meter.ended) == (Usage(), True)


@pytest.mark.parametrize("protocol", ["openai", "anthropic"])
def test_nothing_filtered_is_the_same_object(protocol: str) -> None:
    body = (GOLDEN / f"models_{protocol}.json").read_bytes()
    assert LISTS[protocol].filter(body, lambda name: True) is body


def test_what_an_agent_may_not_use_is_not_shown() -> None:
    body = (GOLDEN / "models_openai.json").read_bytes()
    out = ModelsCodec("openai").filter(body, lambda name: name.startswith("gpt-4o-"))
    assert json.loads(out) == json.loads(body) | {"data": [json.loads(body)["data"][1]]}
    body = (GOLDEN / "models_anthropic.json").read_bytes()
    seen = json.loads(ModelsCodec("anthropic").filter(body, lambda name: "haiku" in name))
    assert ([m["id"] for m in seen["data"]], seen["first_id"], seen["last_id"]) == (["claude-haiku-4-5"], *["claude-haiku-4-5"] * 2)
    none = json.loads(ModelsCodec("anthropic").filter(body, lambda name: False))
    assert none == {"data": [], "has_more": False, "first_id": None, "last_id": None}


def test_cursors_are_not_made_up() -> None:
    body = b'{"data":[{"id":"a"},{"id":"b"}],"has_more":false}'
    assert ModelsCodec("anthropic").filter(body, lambda name: name == "a") == b'{"data":[{"id":"a"}],"has_more":false}'


def test_cursors_stay_while_more_pages_follow() -> None:
    body = (GOLDEN / "models_anthropic.json").read_bytes().replace(b"false", b"true")
    seen = json.loads(ModelsCodec("anthropic").filter(body, lambda name: "opus" in name))
    assert (seen["has_more"], seen["last_id"]) == (True, "claude-haiku-4-5")


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"models":[]}', b'{"data":{}}', b'{"data":[{"id":5}]}', b'{"data":[{"id":"\xff"}]}'])
def test_a_list_that_cannot_be_read_shows_nothing(body: bytes) -> None:
    for protocol in ("openai", "anthropic"):
        assert json.loads(LISTS[protocol].filter(body, lambda name: True))["data"] == []
