from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from proxy.model import Usage
from proxy.wire.base import Codec, Memos
from proxy.wire.call import Call, Edit, WireError
from proxy.wire.ollama_other import EmbedCodec, ShowCodec, TagsCodec, VersionCodec

TAGS = (Path(__file__).parent / "golden" / "ollama_tags.json").read_bytes()
show, embed, old, tags = ShowCodec(), EmbedCodec("/api/embed"), EmbedCodec("/api/embeddings"), TagsCodec()
LONG = "a text that is long enough to be a prompt of its own, so it counts as one"


def decode(codec: Codec, **members: Any) -> Call:
    return codec.decode(json.dumps(members).encode(), Memos())


@pytest.mark.parametrize(
    ("members", "model"),
    [
        ({"model": "llama3"}, "llama3"),
        ({"name": "llama3"}, "llama3"),
        ({"name": "llama3:latest", "model": ""}, "llama3"),
        ({"name": None, "model": "llama3:latest"}, "llama3"),
        ({"name": "", "model": "llama3"}, "llama3"),
        ({"name": "llama3", "model": "llama3", "verbose": True}, "llama3"),
    ],
)
def test_show_knows_the_model_under_both_of_its_members(members: dict[str, Any], model: str) -> None:
    call = decode(show, **members)
    assert (call.operation, call.model, call.aliases) == ("show", model, (f"{model}:latest",))
    assert show.rewrite(call, Edit(model=model, max_output=5)) is call.body
    written = json.loads(show.rewrite(call, Edit(model="other")))
    assert {written[key] for key in ("model", "name") if written.get(key)} == {"other"}
    assert show.upstream_path(call, "m") == "/api/show"


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"model": ""},
        {"model": "a", "name": "b"},
        {"model": 5, "name": "b"},
        {"model": "a", "Name": "b"},
        {"NAME": "b"},
        {"name": "library/b"},
        {"name": "b "},
    ],
)
def test_show_refuses_what_could_be_two_models_or_none(members: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        decode(show, **members)


def test_show_and_lists_charge_nothing() -> None:
    for codec in (show, tags, VersionCodec()):
        meter = codec.meter(Call("show", "m", b""))
        meter.buffered(b'{"license":"x","prompt_eval_count":7}')
        assert (meter.usage, meter.ended) == (Usage(), True)


@pytest.mark.parametrize(
    ("members", "texts"),
    [
        ({"input": "a"}, ("a",)),
        ({"input": ["a", "b"]}, ("a", "b")),
        ({"input": ["a", 7]}, ('["a", 7]',)),
        ({"input": {"x": 1}}, ('{"x": 1}',)),
        ({"input": ""}, ()),
        ({"input": None}, ()),
        ({"prompt": "old"}, ("old",)),
        ({"input": "a", "prompt": "b"}, ("a", "b")),
        ({"input": "a", "options": {"num_ctx": 5, "prefix": LONG}, "aside": LONG}, ("a", f'"{LONG}"', f'"{LONG}"')),
    ],
)
def test_whatever_is_embedded_counts(members: dict[str, Any], texts: tuple[str, ...]) -> None:
    for codec, path in ((embed, "/api/embed"), (old, "/api/embeddings")):
        call = decode(codec, model="m:latest", **members)
        assert (call.operation, call.model, call.stream, call.extra) == ("embeddings", "m", False, texts)
        assert codec.rewrite(call, Edit(model="m", max_output=5)) is call.body
        assert json.loads(codec.rewrite(call, Edit(model="n")))["model"] == "n"
        assert codec.upstream_path(call, "m") == path


@pytest.mark.parametrize(
    "members", [{"input": "x"}, {"model": "m", "name": "n"}, {"model": "m", "options": 5}, {"model": "m", "Input": "x"}]
)
def test_embeddings_refuse_what_is_ambiguous(members: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        decode(embed, **members)


@pytest.mark.parametrize(
    ("body", "usage", "model"),
    [
        (b'{"model":"m","embeddings":[[0.1]],"prompt_eval_count":8}', Usage(8), "m"),
        (b'{"embedding":[0.1]}', None, ""),
        (b'{"model":"m","prompt_eval_count":-8}', Usage(0, exact=False), "m"),
        (b'{"model":"m","prompt_eval_count":"8"}', None, ""),
        (b"no json", None, ""),
    ],
)
def test_what_an_embedding_reports(body: bytes, usage: Usage | None, model: str) -> None:
    meter = embed.meter(Call("embeddings", "m", b""))
    meter.buffered(body)
    assert (meter.usage, meter.model, meter.ended) == (usage, model, True)


def test_a_list_shows_what_may_be_used_by_either_name() -> None:
    assert tags.filter(TAGS, lambda name: True) is TAGS
    for allowed in ("llama3.2", "llama3.2:latest"):
        shown = json.loads(tags.filter(TAGS, lambda name, allowed=allowed: name == allowed))  # type: ignore[misc]
        assert [item["name"] for item in shown["models"]] == ["llama3.2:latest"]
    assert [item["name"] for item in json.loads(tags.filter(TAGS, lambda name: ":" in name and "8b" not in name))["models"]] == [
        "llama3.2:latest",
        "old-server:7b",
    ]
    assert json.loads(tags.filter(TAGS, lambda name: False)) == {"models": []}


@pytest.mark.parametrize(
    "body", [b"x", b"[]", b"{}", b'{"models":{}}', b'{"models":[5]}', b'{"models":[{"model":5}]}', b'{"models":[],"models":[]}']
)
def test_a_list_that_cannot_be_filtered_is_not_shown(body: bytes) -> None:
    assert tags.filter(body, lambda name: True) == b'{"models":[]}'


def test_a_model_without_a_name_is_not_shown() -> None:
    assert tags.filter(b'{"models":[{"size":1}]}', lambda name: True) == b'{"models":[]}'


def test_lists_and_versions_have_no_body() -> None:
    version = VersionCodec()
    for codec, path in ((tags, "/api/tags"), (version, "/api/version")):
        call = codec.decode(b"", Memos())
        assert (call.operation, call.model, codec.rewrite(call, Edit(model="x"))) == ("models", "", b"")
        assert codec.upstream_path(call, "") == path
    assert version.filter(b'{"version":"0.13.0"}', lambda name: False) == b'{"version":"0.13.0"}'
