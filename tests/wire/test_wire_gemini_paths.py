"""Which paths, methods and queries are Gemini's, and what a path may not be."""

from __future__ import annotations

import json

import pytest
from gemini_asked import HI, PATH, ask, codec, decode

from proxy.model import Usage
from proxy.wire import gemini
from proxy.wire.base import Memos
from proxy.wire.call import Call, Edit, WireError


@pytest.mark.parametrize(
    ("method", "path", "query", "name", "streams"),
    [
        ("POST", PATH, "", "generate", None),
        ("POST", "/v1/models/gemini-2.5-flash:generateContent", "key=x&prettyPrint=false", "generate", None),
        ("POST", "/v1/models/g:streamGenerateContent", "", "generate", "application/json"),
        ("POST", "/v1/models/g:streamGenerateContent", "alt=json", "generate", "application/json"),
        ("POST", "/v1/models/g:streamGenerateContent", "%24alt=json%3Benum-encoding%3Dint", "generate", "application/json"),
        ("POST", "/v1beta/models/g:streamGenerateContent", "alt=sse&key=%20;", "generate", "text/event-stream"),
        ("POST", "/v1beta/models/g:countTokens", "", "count_tokens", None),
        ("POST", "/v1beta/models/g:embedContent", "", "embed", None),
        ("POST", "/v1beta/models/g:batchEmbedContents", "", "embed", None),
        ("GET", "/v1beta/models", "pageSize=5&&pageToken=Ab_1-%3D", "models", None),
        ("GET", "/v1/models", "", "models", None),
        ("GET", "/v1/models/gemini-2.5-flash", "", "show", None),
        ("GET", "/v1beta/models/gemini-2.5-flash", "key=x", "show", None),
    ],
)
def test_the_paths(method: str, path: str, query: str, name: str, streams: str | None) -> None:
    headers = {"x-goog-api-key": "k"}
    found = gemini.find(method, path, headers, query)
    assert found is not None
    assert (found.protocol, found.name) == ("gemini", name)
    assert found is gemini.find(method, path, headers, query), "made once"
    body = {"requests": [{"content": HI[0]}]} if "batch" in path else {"content": HI[0]} if "embed" in path else ask()
    call = found.decode(json.dumps(body).encode() if method == "POST" else b"", Memos())
    assert found.upstream_path(call, "g") == path.replace("gemini-2.5-flash", "g")
    assert call.stream == (streams is not None)
    assert found.content_type(call) == (streams or "application/json")
    if streams:
        assert list(found.streams) == [streams]


@pytest.mark.parametrize(
    "path",
    [
        "/v1beta/models/:generateContent",
        "/v1beta/models/a/b:generateContent",
        "/v1beta/models/models/a:generateContent",
        "/v1beta/tunedModels/a:generateContent",
        "/v1beta/models/a%2fb:generateContent",
        "/v1beta/models/a%3AgenerateContent",
        "/v1beta/models/a:generateContent:countTokens",
        "/v1beta/models/a:generateContent/",
        "/v1beta/models/a:generateContent\n",
        "/v1beta//models/a:generateContent",
        "/v1alpha/models/a:generateContent",
        "/v1beta/models/a:GenerateContent",
        "/v1beta/models/a:predict",
        "/v1beta/models/a:batchGenerateContent",
        "/v1beta/models/..:generateContent",
        "/v1beta/models/\u00e4:generateContent",
        f"/v1beta/models/{'a' * 257}:generateContent",
        "/v1beta/models",
        "/v1beta/cachedContents",
    ],
)
def test_what_looks_like_a_path_is_none(path: str) -> None:
    assert gemini.find("POST", path, {}, "") is None
    assert path == "/v1beta/models" or gemini.find("GET", path, {}, "") is None


@pytest.mark.parametrize("method", ["GET", "PUT", "post", "DELETE"])
def test_other_methods_are_none(method: str) -> None:
    assert gemini.find(method, PATH, {}, "") is None
    assert gemini.find(method, "/v1beta/models", {}, "") is None or method == "GET"
    assert gemini.find(method, "/v2/models", {}, "") is None


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/gemini-2.5-flash"])
def test_paths_that_others_have_too_need_googles_key(path: str) -> None:
    assert gemini.find("GET", path, {"authorization": "Bearer x"}, "") is None
    assert gemini.find("GET", path, {"x-goog-api-key": "x"}, "") is not None


def test_the_words_about_one_model_are_free() -> None:
    found = gemini.find("GET", "/v1beta/models/gemini-2.5-flash", {}, "")
    assert found is not None
    call = found.decode(b"", Memos())
    assert (call.operation, call.model) == ("show", "gemini-2.5-flash")
    assert found.upstream_path(call, "a/b") == "/v1beta/models/a%2Fb"
    assert found.meter(call).usage == Usage()
    assert found.rewrite(call, Edit(model="other")) == b""


@pytest.mark.parametrize(
    "query",
    [
        "fields=candidates",
        "$fields=candidates",
        "%24fields=candidates",
        "&&fields=x",
        "=",
        "access_token=x",
        "$httpHeaders=x-goog-api-key:other",
        "$req={}",
        "callback=f",
        "uploadType=media",
        "quotaUser=other",
        "alt=proto",
        "alt=media",
        "alt=",
        "alt=sse",
        "alt=json&alt=json",
        "alt=json&$alt=json",
        "alt=json;fields=x",
        "pageToken=x;fields=y",
        "prettyPrint=a b",
    ],
)
def test_a_query_that_could_change_the_call_is_refused(query: str) -> None:
    with pytest.raises(WireError, match="is not taken here"):
        decode(ask(), query=query)
    for path in ("/v1beta/models", "/v1beta/models/gemini-2.5-flash"):
        asked = gemini.find("GET", path, {}, query)
        assert asked is not None
        with pytest.raises(WireError, match="is not taken here"):
            asked.decode(b"", Memos())


def test_a_model_name_cannot_leave_its_place_in_the_path() -> None:
    call = decode(ask())
    path = codec().upstream_path(call, "gemini-/../../files?x#y z")
    assert path == "/v1beta/models/gemini-%2F..%2F..%2Ffiles%3Fx%23y%20z:generateContent"


def test_the_codec_of_translated_requests() -> None:
    target = gemini.target_codec()
    assert target is gemini.target_codec()
    assert target.dialect == "gemini.generate"
    call = Call("chat", "m", b"", stream=True)
    assert target.upstream_path(call, "a/b") == "/v1beta/models/a%2Fb:streamGenerateContent?alt=sse"
    assert list(target.streams) == ["text/event-stream"]
    call.stream = False
    assert target.upstream_path(call, "m") == "/v1beta/models/m:generateContent"


@pytest.mark.parametrize(("verb", "query"), [("generateContent", ""), ("streamGenerateContent", "alt=sse"), ("streamGenerateContent", "")])
def test_what_we_say_reads_as_a_reply(verb: str, query: str) -> None:
    path = PATH.replace("generateContent", verb)
    speaker, call = codec(path, query), decode(ask(), path, query)
    said = speaker.speak(call, "No, \u00fc.", "id-1")
    assert said is not None
    meter = speaker.meter(call)
    if call.stream:
        framing = speaker.streams[speaker.content_type(call)]()
        for raw in framing.feed(said):
            meter.event(raw)
        assert not framing.rest().strip()
    else:
        meter.buffered(said)
    assert meter.texts == ["No, \u00fc."]
    assert (meter.finish, meter.model) == ("STOP", "gemini-2.5-flash")
