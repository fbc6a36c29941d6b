"""Gemini's dialect of the simulated provider: framings, shapes, errors. The official SDK judges the rest in tests/sdk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from serving import Raw, Simulator, post
from simulating import get

HI = [{"role": "user", "parts": [{"text": "hi"}]}]
TOOL = {"functionDeclarations": [{"name": "look", "parameters": {"type": "OBJECT", "properties": {"n": {"type": "INTEGER"}}}}]}
CALLS = [{"name": "f", "arguments": {"a_b": 1}}, {"name": "g", "arguments": "{broken"}]
WHOLE, STREAM = ":generateContent", ":streamGenerateContent"


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with Simulator() as running:
        yield running


def ask(sim: Simulator, verb: str, body: Any, version: str = "v1beta", **script: Any) -> Raw:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    url = f"{sim.url}/{version}/models/gemini-2.5-flash{verb}"
    return post(url, data, {"x-sim-script": json.dumps(script)} if script else {})


def said(sim: Simulator, body: dict[str, Any], **script: Any) -> dict[str, Any]:
    reply = ask(sim, WHOLE, body, **script)
    assert reply.status == 200, reply.body
    found: dict[str, Any] = json.loads(reply.body)
    return found


def texts(reply: dict[str, Any]) -> list[Any]:
    return [part.get("text") for part in reply["candidates"][0]["content"]["parts"]]


def test_the_fields_of_a_reply(sim: Simulator) -> None:
    reply = said(sim, {"contents": HI}, text="one two", reasoning=2, cached=5, tool_calls=CALLS)
    assert list(reply) == ["candidates", "usageMetadata", "modelVersion", "responseId"]
    thought, words, first, second = reply["candidates"][0]["content"]["parts"]
    assert (thought["thought"], words) == (True, {"text": "one two"})
    assert (first["functionCall"]["name"], first["functionCall"]["args"]) == ("f", {"a_b": 1})
    assert ("thoughtSignature" in first, "thoughtSignature" in second) == (True, False)
    assert second["functionCall"]["args"] == {}
    usage = reply["usageMetadata"]
    parts = (usage["promptTokenCount"], usage["candidatesTokenCount"], usage["thoughtsTokenCount"])
    assert (usage["totalTokenCount"], usage["cachedContentTokenCount"]) == (sum(parts), 5)
    assert usage["thoughtsTokenCount"] == 2


def test_both_framings_carry_the_same_replies(sim: Simulator) -> None:
    script: dict[str, Any] = {"text": "one ]} two", "reasoning": 2, "tool_calls": CALLS, "extra_field": {"x": 1}}
    events, array = ask(sim, f"{STREAM}?alt=sse", {"contents": HI}, **script), ask(sim, STREAM, {"contents": HI}, **script)
    assert events.headers["content-type"] == "text/event-stream"
    assert array.headers["content-type"] == "application/json; charset=UTF-8"
    assert array.body.startswith(b'[{\n  "candidates"')
    assert array.body.endswith(b"}\n]\n")
    assert array.body.count(b"\n}\n,\r\n{\n") == len(json.loads(array.body)) - 1
    blocks = events.body.split(b"\r\n\r\n")
    assert blocks.pop() == b""
    found = [json.loads(block.removeprefix(b"data: ")) for block in blocks]
    assert found == json.loads(array.body)
    assert [c["candidates"][0].get("finishReason") for c in found] == [None] * (len(found) - 1) + ["STOP"]
    totals = [c["usageMetadata"]["candidatesTokenCount"] for c in found[:-1]]
    assert totals == sorted(totals)
    assert "thoughtsTokenCount" in found[-1]["usageMetadata"]
    whole = said(sim, {"contents": HI}, **script)
    assert found[-1]["usageMetadata"] == whole["usageMetadata"]
    assert {c["x"] for c in found} == {whole["x"]} == {1}


def test_the_same_request_gives_the_same_bytes(sim: Simulator) -> None:
    first, second = (ask(sim, STREAM, {"contents": HI}, tokens=9) for _ in range(2))
    assert first.body == second.body
    assert ask(sim, STREAM, {"contents": HI}, "v1", tokens=9).body == first.body


def test_faults_in_either_framing(sim: Simulator) -> None:
    events = ask(sim, f"{STREAM}?alt=sse", {"contents": HI}, tokens=9, error_after=2, message="Full")
    array = ask(sim, STREAM, {"contents": HI}, tokens=9, error_after=2, message="Full")
    error = {"error": {"code": 503, "message": "Full", "status": "UNAVAILABLE"}}
    assert json.loads(events.body.split(b"data: ")[-1]) == error
    assert (len(json.loads(array.body)), json.loads(array.body)[-1]) == (3, error)
    assert json.loads(ask(sim, STREAM, {"contents": HI}, tokens=2, extra_event=True).body)[1] == {"xSimUnknown": True}
    assert b"event: sim.unknown" in ask(sim, f"{STREAM}?alt=sse", {"contents": HI}, tokens=2, extra_event=True).body
    failed = ask(sim, WHOLE, {"contents": HI}, status=429, error_type="SLOW")
    assert (failed.status, json.loads(failed.body)["error"]["status"]) == (429, "SLOW")
    assert json.loads(ask(sim, WHOLE, {"contents": HI}, status=502).body)["error"]["status"] == "INTERNAL"


def test_usage_as_the_script_wants_it(sim: Simulator) -> None:
    assert "usageMetadata" not in said(sim, {"contents": HI}, usage=False)
    assert said(sim, {"contents": HI}, usage={"promptTokenCount": -1})["usageMetadata"]["promptTokenCount"] == -1
    chunks = json.loads(ask(sim, STREAM, {"contents": HI}, usage=False).body)
    assert not any("usageMetadata" in chunk for chunk in chunks)


def test_what_is_said(sim: Simulator) -> None:
    look = [{"role": "user", "parts": {"text": "Please look"}}]
    calls = said(sim, {"contents": look, "tools": [TOOL]})["candidates"][0]["content"]["parts"]
    assert (calls[0]["functionCall"]["name"], calls[0]["functionCall"]["args"]) == ("look", {"n": 1})
    config: dict[str, Any] = {"tool_config": {"function_calling_config": {"mode": "NONE"}}}
    assert "functionCall" not in said(sim, {"contents": look, "tools": TOOL, **config})["candidates"][0]["content"]["parts"][0]
    config = {"tool_config": {"function_calling_config": {"mode": "ANY", "allowed_function_names": ["look"]}}}
    assert "functionCall" in said(sim, {"contents": HI[0], "tools": [TOOL], **config})["candidates"][0]["content"]["parts"][0]
    for response, words in (({"output": "4 °C"}, "4 °C"), ({"a": 1, "b": 2}, '{"a": 1, "b": 2}'), (None, "null")):
        answer = {"role": "user", "parts": [{"function_response": {"name": "look", "response": response}}]}
        assert texts(said(sim, {"contents": [*look, answer]})) == [f"The tool returned: {words}. That is all I needed."]
    assert texts(said(sim, {"contents": [{"role": "model", "parts": [{"text": "hi"}]}]})) == ["Hello! How can I help?"]
    stopped = said(sim, {"contents": [{"parts": [{"text": "What is 2 + 2?"}]}], "generationConfig": {"stopSequences": ["="]}})
    assert (texts(stopped), stopped["candidates"][0]["finishReason"]) == (["2 + 2 "], "STOP")


def test_images_and_tools_cost_tokens(sim: Simulator) -> None:
    def prompt(**more: Any) -> int:
        return int(said(sim, {"contents": HI, **more})["usageMetadata"]["promptTokenCount"])

    picture = [{"parts": [{"text": "hi"}, {"inline_data": {"mime_type": "image/png", "data": "AAAA"}}]}]
    assert prompt(contents=picture) == prompt() + 85
    assert prompt(tools=[TOOL]) > prompt(system_instruction={"parts": {"text": "Be brief."}}) > prompt()


@pytest.mark.parametrize(
    ("verb", "body", "words"),
    [
        (WHOLE, {}, "contents is not specified"),
        (WHOLE, {"contents": [{"role": "assistant", "parts": [{"text": "a"}]}]}, "valid role"),
        (WHOLE, {"contents": [{"role": "user", "parts": []}]}, "parts must not be empty"),
        (WHOLE, {"contents": HI, "generationConfig": {"maxOutputTokens": 0}}, "generation_config.maxOutputTokens"),
        (WHOLE, {"contents": HI, "generationConfig": {"candidateCount": "2"}}, "generation_config.candidateCount"),
        (WHOLE, {"contents": ["hi"]}, "wrong type"),
        (STREAM, b"[]", "JSON object"),
        (":countTokens", {}, "contents is not specified"),
        (":embedContent", {}, "contents is required"),
        (":batchEmbedContents", {}, "requests is not specified"),
        (":batchEmbedContents", {"requests": [{"content": HI[0]}]}, "must be the same"),
    ],
)
def test_what_the_provider_does_not_take(sim: Simulator, verb: str, body: Any, words: str) -> None:
    reply = ask(sim, verb, body)
    error = json.loads(reply.body)["error"]
    assert (reply.status, error["code"], error["status"]) == (400, 400, "INVALID_ARGUMENT")
    assert words in error["message"]


def test_the_smaller_operations(sim: Simulator) -> None:
    counted = json.loads(ask(sim, ":countTokens", {"generateContentRequest": {"contents": HI}}).body)
    assert counted["totalTokens"] == said(sim, {"contents": HI})["usageMetadata"]["promptTokenCount"]
    one = json.loads(ask(sim, ":embedContent", {"content": HI[0], "embedContentConfig": {"outputDimensionality": 4}}).body)
    model = "models/gemini-2.5-flash"
    several = {"requests": [{"model": model, "content": HI[0], "output_dimensionality": 4}]}
    batch = json.loads(ask(sim, ":batchEmbedContents", several, usage={"promptTokenCount": 7}).body)
    assert batch == {"embeddings": [one["embedding"]], "usageMetadata": {"promptTokenCount": 7}}
    assert len(one["embedding"]["values"]) == 4
    assert len(json.loads(ask(sim, ":embedContent", {"content": HI[0]}).body)["embedding"]["values"]) == 3072


def test_models_come_in_pages(sim: Simulator) -> None:
    names: list[str] = []
    token = ""
    while True:
        page = json.loads(get(f"{sim.url}/v1beta/models?pageSize=2{token}")[1])
        names += [model["name"] for model in page["models"]]
        if "nextPageToken" not in page:
            break
        token = f"&pageToken={page['nextPageToken']}"
    assert len(names) == len(set(names)) == 5
    assert json.loads(get(f"{sim.url}/v1beta/{names[0]}")[1])["name"] == names[0]
    headers = {"x-goog-api-key": "any"}
    assert json.loads(post(f"{sim.url}/v1/models", b"", headers, "GET").body)["models"][0]["name"] == names[0]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1beta/models/gemini-0"),
        ("GET", "/v1beta/files"),
        ("POST", "/v1beta/models/gemini-2.5-flash:predict"),
        ("POST", "/v1beta/models"),
        ("PUT", "/v1beta/models/gemini-2.5-flash:generateContent"),
    ],
)
def test_what_is_not_served(sim: Simulator, method: str, path: str) -> None:
    reply = post(f"{sim.url}{path}", b"{}" if method != "GET" else b"", None, method)
    assert (reply.status, json.loads(reply.body)["error"]["status"]) == (404, "NOT_FOUND")


def test_a_key_where_one_is_wanted() -> None:
    with Simulator(require_key=True) as locked:
        assert json.loads(ask(locked, WHOLE, {"contents": HI}).body)["error"]["status"] == "UNAUTHENTICATED"
