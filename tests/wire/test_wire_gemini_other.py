from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.model import Usage
from proxy.wire import gemini
from proxy.wire.base import Codec, ListCodec, Memos
from proxy.wire.call import Call, Edit, Event, WireError

HI = {"role": "user", "parts": [{"text": "hi"}]}
MODEL = "gemini-embedding-001"


def codec(verb: str) -> Codec:
    found = gemini.find("POST", f"/v1/models/{MODEL}:{verb}", {}, "")
    assert found is not None
    return found


def decode(verb: str, body: dict[str, Any]) -> Call:
    return codec(verb).decode(json.dumps(body).encode(), Memos())


def rewritten(verb: str, body: dict[str, Any], model: str = "other") -> Any:
    raw = json.dumps(body, indent=1).encode()
    found = codec(verb)
    out = found.rewrite(found.decode(raw, Memos()), Edit(model=model))
    return body if out is raw else json.loads(out)


# --- counting ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrapper", ["", "generateContentRequest", "generate_content_request"])
def test_counting_reads_a_request_or_its_contents(wrapper: str) -> None:
    whole = {"contents": [HI], "system_instruction": {"parts": [{"text": "Be brief."}]}, "tools": [{"googleSearch": {}}]}
    body = {"model": MODEL, wrapper: {"model": f"models/{MODEL}", **whole}} if wrapper else whole
    call = decode("countTokens", body)
    assert (call.operation, call.model, call.stream) == ("count_tokens", MODEL, False)
    assert [m.texts for m in (*call.system, *call.messages)] == [("Be brief.",), ("hi",)]
    assert [spec.name for spec in call.tools.specs] == ["google_search"]
    assert call.body == json.dumps(body).encode()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"generateContentRequest": {"model": "models/gemini-2.5-pro", "contents": [HI]}}, "/model: is not"),
        ({"model": "a", "generateContentRequest": {"contents": [HI]}}, "/model: is not"),
        ({"contents": [HI], "generateContentRequest": {"contents": [HI]}}, "which of them is counted"),
        ({"tools": None, "generate_content_request": {"contents": [HI]}}, "which of them is counted"),
        ({"generateContentRequest": {"contents": [HI]}, "generate_content_request": {"contents": [HI]}}, "stands here twice"),
        ({"generateContentRequest": [HI]}, "JSON object"),
        ({"generateContentRequest": None}, "/contents: must be an array"),
        ({"GenerateContentRequest": {}, "contents": [HI]}, "in other letters"),
    ],
)
def test_what_counting_refuses(body: dict[str, Any], words: str) -> None:
    with pytest.raises(WireError, match=words):
        decode("countTokens", body)


def test_counting_for_another_model() -> None:
    assert rewritten("countTokens", {"contents": [HI]}) == {"contents": [HI]}
    assert rewritten("countTokens", {"model": MODEL, "contents": [HI]}) == {"model": "other", "contents": [HI]}
    for key in ("generateContentRequest", "generate_content_request"):
        plain = {key: {"contents": [HI]}}
        assert rewritten("countTokens", plain) == plain
        named = {key: {"model": f"models/{MODEL}", "contents": [HI]}}
        assert rewritten("countTokens", named) == {key: {"model": "models/other", "contents": [HI]}}


def test_counting_is_free() -> None:
    call = decode("countTokens", {"contents": [HI]})
    meter = codec("countTokens").meter(call)
    meter.buffered(b'{"totalTokens":3}')
    assert (meter.usage, meter.ended) == (Usage(), True)
    assert codec("countTokens").upstream_path(call, "m") == "/v1/models/m:countTokens"


# --- embeddings ----------------------------------------------------------------------------------------------------------------


def test_an_embedding() -> None:
    body = {"content": HI, "task_type": "RETRIEVAL_DOCUMENT", "title": "A title", "outputDimensionality": 8, "notes": "n" * 70}
    call = decode("embedContent", body)
    assert (call.operation, call.model, call.max_output) == ("embeddings", MODEL, None)
    assert [m.texts for m in call.messages] == [("hi",)]
    assert call.extra == ("A title", f'"{"n" * 70}"')
    assert decode("embedContent", {"content": HI, "embed_content_config": {"title": "t"}}).extra == ('{"title": "t"}',)
    assert codec("embedContent").upstream_path(call, "m") == "/v1/models/m:embedContent"


def test_a_batch_of_embeddings() -> None:
    requests = [{"model": f"models/{MODEL}", "content": HI, "title": "t"}, {"model": MODEL, "content": {"parts": {"text": "two"}}}]
    call = decode("batchEmbedContents", {"requests": requests, "preface": "p" * 70})
    assert [m.texts for m in call.messages] == [("hi",), ("two",)]
    assert call.extra == ("t", f'"{"p" * 70}"')
    assert codec("batchEmbedContents").upstream_path(call, "m") == "/v1/models/m:batchEmbedContents"
    edited = rewritten("batchEmbedContents", {"requests": requests, "model": MODEL})
    assert [r["model"] for r in edited["requests"]] == ["models/other", "other"]
    assert edited["model"] == "other"
    assert [r["content"] for r in edited["requests"]] == [r["content"] for r in requests]
    unnamed = {"requests": [{"content": HI}]}
    assert rewritten("batchEmbedContents", unnamed) == unnamed


@pytest.mark.parametrize(
    ("verb", "body", "words"),
    [
        ("embedContent", {}, "/content: must be a content"),
        ("embedContent", {"content": "hi"}, "each content must be an object"),
        ("embedContent", {"content": HI, "model": "gemini-2.5-pro"}, "/model: is not"),
        ("embedContent", {"content": HI, "Content": HI}, "in other letters"),
        ("embedContent", {"content": HI, "taskType": "a", "task_type": "b"}, "stands here twice"),
        ("batchEmbedContents", {}, "/requests: must be an array"),
        ("batchEmbedContents", {"requests": []}, "/requests: must be an array of 1 to"),
        ("batchEmbedContents", {"requests": {"content": HI}}, "/requests: must be an array"),
        ("batchEmbedContents", {"requests": ["hi"]}, "JSON object"),
        ("batchEmbedContents", {"requests": [{"content": HI}], "model": "a"}, "/model: is not"),
        ("batchEmbedContents", {"requests": [{"content": HI}, {"content": HI, "model": "models/gemini-2.5-pro"}]}, "/model: is not"),
        ("batchEmbedContents", {"requests": [{"content": HI}] * 10_001}, "1 to 10000"),
    ],
)
def test_what_embeddings_refuse(verb: str, body: dict[str, Any], words: str) -> None:
    with pytest.raises(WireError, match=words):
        decode(verb, body)


@pytest.mark.parametrize(
    ("reply", "usage"),
    [
        (b'{"embedding":{"values":[0.1]}}', None),
        (b'{"embeddings":[],"usageMetadata":{"promptTokenCount":7}}', Usage(7)),
        (b"<html>", None),
    ],
)
def test_usage_of_embeddings_where_there_is_some(reply: bytes, usage: Usage | None) -> None:
    meter = codec("embedContent").meter(decode("embedContent", {"content": HI}))
    meter.buffered(reply)
    assert (meter.usage, meter.ended) == (usage, True)
    assert meter.event(b"x") == Event(b"x", "other")


# --- models --------------------------------------------------------------------------------------------------------------------


def listing() -> ListCodec:
    found = gemini.find("GET", "/v1beta/models", {}, "")
    assert isinstance(found, ListCodec)
    return found


def test_the_list_of_models_is_free_and_cut_down() -> None:
    found = listing()
    call = found.decode(b"", Memos())
    assert (call.operation, found.upstream_path(call, "x"), found.rewrite(call, Edit(model="m"))) == ("models", "/v1beta/models", b"")
    assert found.meter(call).usage == Usage()
    body = b'{\n "models": [ {"name": "models/gemini-2.5-pro", "x": 1} , {"name":"models/gemini-2.5-flash"}],\n "nextPageToken": "t"\n}\n'
    assert found.filter(body, lambda name: True) is body
    kept = found.filter(body, lambda name: name == "gemini-2.5-pro")
    assert kept == b'{\n "models": [{"name": "models/gemini-2.5-pro", "x": 1}],\n "nextPageToken": "t"\n}\n'
    assert json.loads(found.filter(body, lambda name: False)) == {"models": [], "nextPageToken": "t"}


@pytest.mark.parametrize(
    "body", [b"[]", b"{}", b'{"models":{}}', b'{"models":[{}]}', b'{"models":[{"name":7}]}', b"<html>", b'{"models":[{"name":"\xff"}]}']
)
def test_a_list_that_cannot_be_read_is_not_shown(body: bytes) -> None:
    assert listing().filter(body, lambda name: True) == b'{"models":[]}'
