"""Gemini byte for byte: what passes untouched, how a stream that is cut ends in either framing, and what never reaches the provider."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest
from sdk_cases import say
from serving import PROVIDER_KEY, Proxy, Raw, Simulator, digest, post

AGENTS = """---
agents:
  - name: tester
    description: May do everything
    policy:
      models: {allow: ["*"]}
      tools: {allow: ["*"]}
  - name: clerk
    description: May do little
    policy:
      models: {allow: [gemini-2.5-flash]}
      tools: {allow: ["read_*"]}
      budgets: {request: {max_output_tokens: 40}}
---
Agents of these tests.
"""
WHOLE, ARRAY, SSE = ":generateContent", ":streamGenerateContent", ":streamGenerateContent?alt=sse"
CALLS = {
    "tool_calls": [{"name": "get_weather", "arguments": {"city": "Zürich", "note": 'a "quoted" \\ line\n]}'}}, {"name": "get_weather"}]
}
TOOLS = [{"functionDeclarations": [{"name": "get_weather", "parameters": {"type": "OBJECT"}}]}]


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with Simulator(require_key=True) as found:
        yield found


@pytest.fixture(scope="module")
def proxy(sim: Simulator) -> Iterator[Proxy]:
    with Proxy(sim, agents=AGENTS, keys=("tester", "clerk")) as found:
        yield found


@pytest.fixture(autouse=True)
def fresh(sim: Simulator) -> None:
    sim.reset()


def ask(url: str, verb: str, body: Any, key: str, model: str = "gemini-2.5-flash") -> Raw:
    return post(f"{url}/v1beta/models/{model}{verb}", body, {"x-goog-api-key": key, "accept-encoding": "identity"})


def content(text: str, **more: Any) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": [{"text": text}]}], **more}


def replies(verb: str, reply: Raw) -> list[dict[str, Any]]:
    """The replies of a stream, strictly read: an array must be whole JSON."""
    if verb == ARRAY:
        found: list[dict[str, Any]] = json.loads(reply.body)
        return found
    blocks = reply.body.replace(b"\r\n", b"\n").split(b"\n\n")
    assert blocks.pop() == b""
    return [json.loads(block.removeprefix(b"data: ")) for block in blocks]


BODIES: dict[str, dict[str, Any]] = {
    "sum": content("What is 2 + 2?"),
    "long": content(say(tokens=2000)),
    "tools": content(say(**CALLS), tools=TOOLS),
    "thoughts": content(say(tokens=9, reasoning=8, cached=3)),
    "candidates": content(say(tokens=9), generationConfig={"candidateCount": 3}),
    "unknown": content(say(extra_field=True, extra_event=True, text="späße 🦜 ]}\\ done")),
    "gzip": content(say(tokens=60, gzip=True)),
    "error": content(say(status=400, message="not this way")),
    "error inside": content(say(tokens=20, error_after=4)),
}


@pytest.mark.parametrize("verb", [WHOLE, ARRAY, SSE])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_what_passes_is_untouched(sim: Simulator, proxy: Proxy, verb: str, body: dict[str, Any]) -> None:
    raw = json.dumps(body, indent=1).encode()
    direct, through = ask(sim.url, verb, raw, "any"), ask(proxy.url, verb, raw, proxy.key("tester"))
    sent = gzip.decompress(direct.body) if "content-encoding" in direct.headers else direct.body
    assert (through.status, through.body) == (direct.status, sent)
    assert through.headers["content-type"] == direct.headers["content-type"]
    first, second = sim.calls()
    assert first["body_sha256"] == second["body_sha256"]
    assert second["query"] == verb.partition("?")[2]
    assert second["keys"] == {"x-goog-api-key": digest(PROVIDER_KEY)}


@pytest.mark.parametrize("verb", [ARRAY, SSE])
def test_a_provider_that_goes_past_the_ceiling_is_cut(sim: Simulator, proxy: Proxy, verb: str) -> None:
    body = content(say(tokens=4000, ignore_max=True, chunk_ms=1), generation_config={"max_output_tokens": 30})
    reply = ask(proxy.url, verb, body, proxy.key("tester"))
    *before, ending = replies(verb, reply)
    assert all("finishReason" not in r["candidates"][0] for r in before)
    assert ending["candidates"][0]["finishReason"] == "MAX_TOKENS"
    assert ending["fleetgate"]["reason"] == "budget_exceeded"
    (call,) = sim.calls()
    assert call["aborted"]
    assert call["output_tokens"] < 4000


@pytest.mark.parametrize("verb", [ARRAY, SSE])
@pytest.mark.parametrize("script", [{"cut_after": 0}, {"cut_after": 1}, {"cut_after": 5}, {"half_chunk": 1}, {"half_chunk": 3}], ids=str)
def test_a_stream_that_breaks_off_ends_well_formed(proxy: Proxy, verb: str, script: dict[str, int]) -> None:
    reply = ask(proxy.url, verb, content(say(tokens=50, **script)), proxy.key("tester"))
    *before, ending = replies(verb, reply)
    assert len(before) == next(iter(script.values()))
    assert (ending["error"]["status"], ending["fleetgate"]["reason"]) == ("UNAVAILABLE", "upstream_error")
    assert reply.whole


@pytest.mark.parametrize("verb", [WHOLE, ARRAY, SSE])
@pytest.mark.parametrize("config", [{}, {"generationConfig": {"topK": 3}}, {"generation_config": {"max_output_tokens": 900}}], ids=str)
def test_a_ceiling_is_set_where_the_agent_has_one(sim: Simulator, proxy: Proxy, verb: str, config: dict[str, Any]) -> None:
    body = content(say(tokens=100), **config)
    assert ask(proxy.url, verb, body, proxy.key("clerk")).status == 200
    (call,) = sim.calls()
    assert call["output_tokens"] == 40
    sent = call["body"].get("generationConfig") or call["body"]["generation_config"]
    assert 40 in (sent.get("maxOutputTokens"), sent.get("max_output_tokens"))
    assert len(sent) == len(next(iter(config.values()), {"maxOutputTokens": 40})) + ("topK" in sent)


REFUSED: list[tuple[str, str, dict[str, Any], str]] = [
    ("another model in the body", WHOLE, content("hi", model="models/gemini-2.5-pro"), "malformed_request"),
    ("two spellings", WHOLE, content("hi", systemInstruction={}, system_instruction={"parts": [{"text": "x"}]}), "malformed_request"),
    ("two ceilings", SSE, content("hi", generationConfig={"maxOutputTokens": 1, "max_output_tokens": 9}), "malformed_request"),
    ("tools in the config", ARRAY, content("hi", toolConfig={"functionDeclarations": [{"name": "rm"}]}), "malformed_request"),
    ("another model by routing", WHOLE, content("hi", generationConfig={"modelSelectionConfig": {}}), "malformed_request"),
    ("usage left out", f"{WHOLE}?fields=candidates", content("hi"), "malformed_request"),
    ("headers in the query", f"{SSE}&$httpHeaders=x-goog-api-key:mine", content("hi"), "malformed_request"),
    (
        "another model counted",
        ":countTokens",
        {"generateContentRequest": content("hi", model="models/gemini-2.5-pro")},
        "malformed_request",
    ),
    ("another model embedded", ":batchEmbedContents", {"requests": [{"content": {}, "model": "models/x"}]}, "malformed_request"),
    ("a tool that is not allowed", WHOLE, content("hi", tools=[{"function_declarations": [{"name": "rm"}]}]), "tool_not_allowed"),
    ("a tool of the provider's own", SSE, content("hi", tools=[{"google_search": {}}]), "tool_not_allowed"),
    ("one that nobody knows yet", SSE, content("hi", tools={"brandNew": {}}), "tool_not_allowed"),
    ("a batch", ":batchGenerateContent", content("hi"), "unmetered_route"),
    ("a long-running one", ":predictLongRunning", content("hi"), "unmetered_route"),
]


@pytest.mark.parametrize(("verb", "body", "reason"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_never_reaches_the_provider(sim: Simulator, proxy: Proxy, verb: str, body: dict[str, Any], reason: str) -> None:
    reply = ask(proxy.url, verb, body, proxy.key("clerk"))
    said = json.loads(reply.body)
    assert (said["error"]["code"], said["fleetgate"]["reason"]) == (reply.status, reason)
    assert sim.calls() == []


def test_a_model_that_the_agent_may_not_use(sim: Simulator, proxy: Proxy) -> None:
    for model in ("gemini-2.5-pro", "gemini-2.5-flash-lite", "auto"):
        for verb in (WHOLE, ARRAY, SSE, ":countTokens", ":embedContent"):
            body = {"content": {"parts": [{"text": "hi"}]}} if "embed" in verb else content("hi")
            assert json.loads(ask(proxy.url, verb, body, proxy.key("clerk"), model).body)["fleetgate"]["reason"] == "model_not_allowed"
    assert sim.calls() == []


def test_the_clients_key_stays_here(sim: Simulator, proxy: Proxy) -> None:
    path = f"/v1/models/gemini-2.5-flash:streamGenerateContent?key={proxy.key('tester')}&alt=sse"
    assert post(f"{proxy.url}{path}", content("hi")).status == 200
    (call,) = sim.calls()
    assert (call["path"], call["query"]) == ("/v1/models/gemini-2.5-flash:streamGenerateContent", "alt=sse")
    assert call["keys"] == {"x-goog-api-key": digest(PROVIDER_KEY)}


def test_headers_that_would_change_the_reply_stay_here(sim: Simulator, proxy: Proxy) -> None:
    mask = {"X-Goog-FieldMask": "candidates.content.parts.functionCall.args", "X-HTTP-Method-Override": "GET", "x-goog-api-client": "kept"}
    url = f"{proxy.url}/v1beta/models/gemini-2.5-flash{WHOLE}"
    assert post(url, content("hi"), {"x-goog-api-key": proxy.key("tester"), **mask}).status == 200
    (call,) = sim.calls()
    assert [name for name in mask if name.lower() in call["headers"]] == ["x-goog-api-client"]


@pytest.mark.parametrize("kind", ["application/x-protobuf", "application/json; charset=utf-16", "text/plain"])
def test_what_was_read_as_json_goes_up_as_json(sim: Simulator, proxy: Proxy, kind: str) -> None:
    headers = {"x-goog-api-key": proxy.key("tester"), "content-type": kind}
    assert post(f"{proxy.url}/v1beta/models/gemini-2.5-flash{WHOLE}", content("hi"), headers).status == 200
    (call,) = sim.calls()
    assert call["headers"]["content-type"] == "application/json"


@pytest.mark.parametrize("ids", [True, False])
def test_a_loop_is_seen_with_ids_and_without(sim: Simulator, proxy: Proxy, ids: bool) -> None:
    turns: list[dict[str, Any]] = [{"role": "user", "parts": [{"text": "Do it"}]}]
    for i in range(5):
        id = {"id": f"call-number-{i}"} if ids else {}
        turns.append({"role": "model", "parts": [{"functionCall": {"name": "read_it", "args": {"n": 1}, **id}}]})
        turns.append({"role": "user", "parts": [{"functionResponse": {"name": "read_it", "response": {"output": "the same"}, **id}}]})
    for verb in (WHOLE, ARRAY, SSE):
        said = json.loads(ask(proxy.url, verb, {"contents": turns}, proxy.key("tester")).body)
        assert said["fleetgate"]["reason"] == "loop_detected"
    assert sim.calls() == []
    assert ask(proxy.url, WHOLE, {"contents": turns[:-4]}, proxy.key("tester")).status == 200
