"""The simulated provider over HTTP: shapes, errors, keys, and what it remembers. The SDKs judge the rest in tests/sdk."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from serving import Raw, Simulator, digest, events, post

from proxy.sim.provider import start

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
HI = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def running() -> Iterator[Simulator]:
    with Simulator() as sim:
        yield sim


@pytest.fixture
def sim(running: Simulator) -> Simulator:
    running.reset()
    return running


def ask(sim: Simulator, path: str, body: Any, script: dict[str, Any] | None = None, headers: dict[str, str] | None = None) -> Raw:
    more = {"x-sim-script": json.dumps(script)} if script else {}
    version = {"anthropic-version": "2023-06-01"} if path.startswith(MESSAGES) else {}
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return post(f"{sim.url}{path}", data, {**version, **more, **(headers or {})})


def chat(**more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o", "messages": HI, **more}


def message(**more: Any) -> dict[str, Any]:
    return {"model": "claude-sonnet-5", "max_tokens": 50, "messages": HI, **more}


def test_the_fields_of_a_completion(sim: Simulator) -> None:
    reply = json.loads(ask(sim, CHAT, chat()).body)
    assert list(reply) == ["id", "object", "created", "model", "choices", "usage", "service_tier", "system_fingerprint"]
    assert list(reply["choices"][0]) == ["index", "message", "logprobs", "finish_reason"]
    assert set(reply["choices"][0]["message"]) == {"role", "content", "refusal", "annotations"}
    usage = reply["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens_details"] == {"cached_tokens": 0, "audio_tokens": 0}
    assert len(usage["completion_tokens_details"]) == 4


def test_the_order_of_a_chat_stream(sim: Simulator) -> None:
    body = ask(sim, CHAT, chat(stream=True, stream_options={"include_usage": True}), {"text": "one two"}).body
    assert body.endswith(b"data: [DONE]\n\n")
    chunks = list(events(body))
    assert [c["choices"][0]["delta"] if c["choices"] else None for c in chunks] == [
        {"role": "assistant", "content": "", "refusal": None},
        {"content": "one"},
        {"content": " two"},
        {},
        None,
    ]
    assert [c["usage"] and c["usage"]["completion_tokens"] for c in chunks] == [None, None, None, None, 2]
    assert {c["object"] for c in chunks} == {"chat.completion.chunk"}
    assert all(c["obfuscation"] for c in chunks[:-1])
    without = list(events(ask(sim, CHAT, chat(stream=True, stream_options={"include_obfuscation": False})).body))
    assert not any("obfuscation" in c or "usage" in c for c in without)


def test_the_order_of_a_messages_stream(sim: Simulator) -> None:
    body = ask(sim, MESSAGES, message(stream=True), {"text": "one two", "tool_calls": [{"name": "t", "arguments": {"a": 1}}]}).body
    found = list(events(body))
    assert [(e["type"], e.get("index")) for e in found] == [
        ("message_start", None),
        ("content_block_start", 0),
        ("ping", None),
        ("content_block_delta", 0),
        ("content_block_delta", 0),
        ("content_block_stop", 0),
        ("content_block_start", 1),
        ("content_block_delta", 1),
        ("content_block_delta", 1),
        ("content_block_delta", 1),
        ("content_block_stop", 1),
        ("message_delta", None),
        ("message_stop", None),
    ]
    for block, event in zip(body.split(b"\n\n"), found, strict=False):
        assert block.startswith(b"event: " + event["type"].encode() + b"\n")
    assert found[0]["message"]["usage"]["output_tokens"] == 1
    assert found[-2]["usage"]["output_tokens"] == 2 + 4 + 2
    assert found[-2]["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}


def test_a_long_messages_stream_pings_again(sim: Simulator) -> None:
    body = ask(sim, MESSAGES, message(stream=True) | {"max_tokens": 500}, {"tokens": 120}).body
    assert body.count(b"event: ping") == 3


def test_the_same_request_gives_the_same_bytes_and_ids_differ_otherwise(sim: Simulator) -> None:
    for path, body in ((CHAT, chat()), (CHAT, chat(stream=True)), (MESSAGES, message()), (MESSAGES, message(stream=True))):
        first, second = ask(sim, path, body), ask(sim, path, body)
        assert (first.body, first.headers.get("x-request-id")) == (second.body, second.headers.get("x-request-id"))
        other = ask(sim, path, body | {"messages": [{"role": "user", "content": "ho"}]})
        assert other.body != first.body
    more = json.loads(ask(sim, CHAT, chat(max_tokens=100, user="u")).body)
    assert more["id"] == json.loads(ask(sim, CHAT, chat()).body)["id"], "how it is delivered does not change what is said"


OPENAI_ERRORS: list[tuple[Any, str, str | None, str | None]] = [
    (b"{", "could not parse", None, None),
    (b"[]", "could not parse", None, None),
    ({"messages": HI}, "you must provide a model", None, None),
    ({"model": "m"}, "Missing required parameter: 'messages'", "messages", "missing_required_parameter"),
    ({"model": "m", "messages": "x"}, "Invalid type for 'messages'", "messages", "invalid_type"),
    ({"model": "m", "messages": []}, "empty array", "messages", "empty_array"),
    ({"model": "m", "messages": [{"role": "x"}]}, "Supported values", "messages[0].role", "invalid_value"),
    ({"model": "m", "messages": ["x"]}, "Supported values", "messages[0].role", "invalid_value"),
    ({"model": "m", "messages": [{"role": "tool", "content": "x"}]}, "preceeding", "messages[0].role", None),
    (chat(max_tokens=1, max_completion_tokens=1), "at the same time", "max_tokens", "invalid_parameter_combination"),
    (chat(max_tokens=0), ">= 1", "max_tokens", "integer_below_min_value"),
    (chat(n=129), "<= 128", "n", "integer_above_max_value"),
    (chat(n="2"), "expected an integer", "n", "invalid_type"),
    (chat(stream_options={}), "only allowed when 'stream'", "stream_options", None),
    (chat(messages=[{"role": "user", "content": '[[sim: {"x": 1}]]'}]), "simulated provider: unknown key 'x'", None, None),
]


@pytest.mark.parametrize(("body", "says", "param", "code"), OPENAI_ERRORS)
def test_what_openai_would_refuse(sim: Simulator, body: Any, says: str, param: str | None, code: str | None) -> None:
    reply = ask(sim, CHAT, body)
    error = json.loads(reply.body)["error"]
    assert reply.status == 400
    assert says in error["message"]
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code)
    assert reply.headers["x-request-id"]


ANTHROPIC_ERRORS: list[tuple[Any, str]] = [
    (b"{", "could not parse"),
    ({"max_tokens": 1, "messages": HI}, "model: Field required"),
    (message(model=3), "model: Input should be a valid string"),
    ({"model": "c", "max_tokens": 1}, "messages: Field required"),
    (message(messages={}), "messages: Input should be a valid list"),
    (message(messages=[]), "at least one message"),
    (message(messages=[{"role": "x", "content": "a"}]), "messages.0.role"),
    (message(messages=[{"role": "user"}]), "messages.0.content: Field required"),
    (message(messages=[{"role": "user", "content": ""}]), "non-empty content"),
    ({"model": "c", "messages": HI}, "max_tokens: Field required"),
    (message(max_tokens=0), "greater than or equal to 1"),
    (message(max_tokens="9"), "valid integer"),
]


@pytest.mark.parametrize(("body", "says"), ANTHROPIC_ERRORS)
def test_what_anthropic_would_refuse(sim: Simulator, body: Any, says: str) -> None:
    reply = ask(sim, MESSAGES, body)
    whole = json.loads(reply.body)
    assert reply.status == 400
    assert (whole["type"], whole["error"]["type"]) == ("error", "invalid_request_error")
    assert says in whole["error"]["message"]
    assert whole["request_id"] == reply.headers["request-id"]


@pytest.mark.parametrize(
    "member", [{"tools": 5}, {"stop": 5, "stop_sequences": 5}, {"messages": [{"role": "user", "content": "a", "tool_calls": 5}]}]
)
def test_any_other_wrong_type_is_a_400(sim: Simulator, member: Any) -> None:
    for path, body in ((CHAT, chat()), (MESSAGES, message())):
        reply = ask(sim, path, body | member)
        assert reply.status == (200 if path == MESSAGES and "messages" in member else 400)
        assert b"error" in reply.body or reply.status == 200


def test_anthropic_wants_its_version_header(sim: Simulator) -> None:
    reply = post(f"{sim.url}{MESSAGES}", message())
    assert (reply.status, json.loads(reply.body)["error"]["message"]) == (400, "anthropic-version: header is required")


def test_scripted_errors_have_the_vendors_shape(sim: Simulator) -> None:
    reply = ask(sim, CHAT, chat(), {"status": 429, "retry_after": 3})
    assert (reply.status, reply.headers["retry-after"]) == (429, "3")
    assert json.loads(reply.body)["error"]["code"] == "rate_limit_exceeded"
    reply = ask(sim, CHAT, chat(), {"status": 418, "error_type": "teapot", "message": "short and stout"})
    assert json.loads(reply.body)["error"] | {"code": None} == {"message": "short and stout", "type": "teapot", "param": None, "code": None}
    for status, kind in ((529, "overloaded_error"), (401, "authentication_error"), (418, "invalid_request_error"), (555, "api_error")):
        assert json.loads(ask(sim, MESSAGES, message(), {"status": status}).body)["error"]["type"] == kind


def test_usage_can_be_left_out_or_made_up(sim: Simulator) -> None:
    absurd = {"usage": {"prompt_tokens": -5, "new_detail": 10**15}}
    assert json.loads(ask(sim, CHAT, chat(), absurd).body)["usage"].items() >= absurd["usage"].items()
    assert "usage" not in json.loads(ask(sim, CHAT, chat(), {"usage": False}).body)
    asked = chat(stream=True, stream_options={"include_usage": True})
    assert b"usage" not in ask(sim, CHAT, asked, {"usage": False}).body
    assert list(events(ask(sim, CHAT, asked, absurd).body))[-1]["usage"]["new_detail"] == 10**15
    assert b"usage" not in ask(sim, MESSAGES, message(stream=True), {"usage": False}).body
    found = list(events(ask(sim, MESSAGES, message(stream=True), {"usage": {"output_tokens": -7}}).body))
    assert (found[0]["message"]["usage"]["output_tokens"], found[-2]["usage"]["output_tokens"]) == (-7, -7)


def test_the_finish_reason_can_be_made_up(sim: Simulator) -> None:
    assert json.loads(ask(sim, CHAT, chat(), {"finish_reason": "content_filter"}).body)["choices"][0]["finish_reason"] == "content_filter"
    assert json.loads(ask(sim, MESSAGES, message(), {"finish_reason": "refusal"}).body)["stop_reason"] == "refusal"


def test_a_request_can_forbid_tools(sim: Simulator) -> None:
    tool = {"name": "t", "parameters": {}, "input_schema": {}}
    asked = [{"role": "user", "content": "use t"}]
    for choice, calls in (("auto", 1), ("none", 0), ("required", 1)):
        done = json.loads(ask(sim, CHAT, chat(messages=asked, tools=[{"type": "function", "function": tool}], tool_choice=choice)).body)
        assert len(done["choices"][0]["message"].get("tool_calls", [])) == calls
    for kind, calls in (("auto", 1), ("none", 0), ("any", 1)):
        done = json.loads(ask(sim, MESSAGES, message(messages=asked, tools=[tool], tool_choice={"type": kind})).body)
        assert len([b for b in done["content"] if b["type"] == "tool_use"]) == calls


def test_embeddings_are_unit_vectors_in_either_form(sim: Simulator) -> None:
    body = {"model": "text-embedding-3-small", "input": [[1, 2, 3], [4]], "dimensions": 8}
    plain, packed = (json.loads(ask(sim, "/v1/embeddings", body | more).body) for more in ({}, {"encoding_format": "base64"}))
    for a, b in zip(plain["data"], packed["data"], strict=True):
        assert list(struct.unpack("<8f", base64.b64decode(b["embedding"]))) == a["embedding"]
        assert sum(x * x for x in a["embedding"]) == pytest.approx(1)
    assert plain["usage"] == {"prompt_tokens": 4, "total_tokens": 4}
    assert (
        len(json.loads(ask(sim, "/v1/embeddings", {"model": "text-embedding-3-large", "input": "x"}).body)["data"][0]["embedding"]) == 3072
    )


@pytest.mark.parametrize(
    "body",
    [
        {"input": "x"},
        {"model": "m"},
        {"model": "m", "input": []},
        {"model": "m", "input": [1, "x"]},
        {"model": "m", "input": "x", "encoding_format": "int8"},
        {"model": "m", "input": "x", "dimensions": 4000},
    ],
)
def test_embeddings_that_make_no_sense(sim: Simulator, body: Any) -> None:
    assert ask(sim, "/v1/embeddings", body).status == 400


def test_models_answer_in_the_dialect_of_the_headers(sim: Simulator) -> None:
    openai, claude = (json.loads(post(f"{sim.url}/v1/models", b"", h, "GET").body) for h in ({}, {"anthropic-version": "2023-06-01"}))
    assert (openai["object"], openai["data"][0]["object"]) == ("list", "model")
    assert (claude["data"][0]["type"], claude["has_more"]) == ("model", False)
    for name, headers in (("gpt-4o", {}), ("claude-haiku-4-5", {"anthropic-version": "1"})):
        assert json.loads(post(f"{sim.url}/v1/models/{name}", b"", headers, "GET").body)["id"] == name
        assert post(f"{sim.url}/v1/models/nope", b"", headers, "GET").status == 404


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/nothing"), ("GET", CHAT), ("POST", "/v1/models"), ("GET", "/v1/messages")])
def test_any_other_path_is_the_vendors_404(sim: Simulator, method: str, path: str) -> None:
    reply = post(f"{sim.url}{path}", b"", None, method)
    assert reply.status == 404
    assert f"Invalid URL ({method} {path})" in json.loads(reply.body)["error"]["message"]


def test_a_key_is_wanted_when_told_so() -> None:
    with Simulator(require_key=True) as sim:
        assert (ask(sim, CHAT, chat()).status, ask(sim, MESSAGES, message()).status) == (401, 401)
        assert json.loads(ask(sim, MESSAGES, message()).body)["error"]["type"] == "authentication_error"
        assert ask(sim, CHAT, chat(), headers={"authorization": "Bearer "}).status == 401
        for path, body, headers in (
            (CHAT, chat(), {"authorization": "Bearer k"}),
            (MESSAGES, message(), {"x-api-key": "k"}),
            (MESSAGES, message(), {"authorization": "Bearer k"}),
        ):
            assert ask(sim, path, body, headers=headers).status == 200
        assert ask(sim, CHAT, chat(), headers={"x-api-key": "k"}).status == 401


def test_what_arrived_is_remembered_without_keys(sim: Simulator) -> None:
    body = json.dumps(chat()).encode()
    ask(sim, f"{CHAT}?key=sk-q", body, headers={"authorization": "Bearer sk-1", "X-Other": "v"})
    (call,) = sim.calls()
    assert (call["method"], call["path"], call["query"], call["status"]) == ("POST", CHAT, "key=***", 200)
    assert (call["body"], call["body_sha256"], call["body_bytes"]) == (chat(), digest(body.decode()), len(body))
    assert (call["keys"], call["headers"]["x-other"]) == ({"authorization": digest("sk-1")}, "v")
    assert (call["done"], call["aborted"], call["cut"]) == (True, False, False)
    assert call["output_tokens"] == json.loads(ask(sim, CHAT, body).body)["usage"]["completion_tokens"]
    assert sim.stats() == {"total": 2, "running": 0, "aborted": 0}
    sim.reset()
    assert (sim.calls(), sim.stats()["total"]) == ([], 0)


def test_tokens_sent_add_up_to_the_bill(sim: Simulator) -> None:
    wishes = {"text": "Some words first", "reasoning": 5, "tool_calls": [{"name": "t", "arguments": {"path": "a/b/c.txt", "n": 3}}]}
    for path, body in ((CHAT, chat()), (CHAT, chat(stream=True)), (MESSAGES, message()), (MESSAGES, message(stream=True))):
        ask(sim, path, body, wishes)
    assert len({call["output_tokens"] for call in sim.calls()}) == 1
    usage = json.loads(ask(sim, CHAT, chat(), wishes).body)["usage"]
    assert usage["completion_tokens"] == sim.calls()[0]["output_tokens"]


def test_it_can_be_embedded() -> None:
    async def main() -> None:
        runner, port = await start()
        try:
            get = asyncio.to_thread(lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/sim/stats").read())
            assert json.loads(await get) == {"total": 0, "running": 0, "aborted": 0}
        finally:
            await runner.cleanup()

    asyncio.run(main())
