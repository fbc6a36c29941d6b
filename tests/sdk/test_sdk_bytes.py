"""Byte for byte: what a client gets through Fleetgate is what the provider sent, and what the provider gets is what the client sent.

No client library stands between: plain sockets, and the simulator gives the same bytes for the same request.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest
from sdk_cases import PIXEL, WEATHER, Fleet, fleet, say
from serving import PROVIDER_KEY, Raw, digest, post

CHAT, MESSAGES, EMBEDDINGS = "/v1/chat/completions", "/v1/messages", "/v1/embeddings"
RESPONSES, COMPLETIONS = "/v1/responses", "/v1/completions"
ASK_USAGE = {"stream": True, "stream_options": {"include_usage": True}}
FUNCTION = [{"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}]
CLAUDE_TOOL = [{"name": "get_weather", "input_schema": WEATHER}]
CALLS = {"tool_calls": [{"name": "get_weather", "arguments": {"city": "Zürich", "note": 'a "quoted" \\ line\n'}}, {"name": "get_weather"}]}
UNKNOWN = {"extra_field": True, "extra_event": True, "text": "späße 🦜 done"}


@pytest.fixture(scope="module")
def served() -> Iterator[Fleet]:
    with fleet("proxy") as found:
        yield found


def chat(text: str, /, **more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o", "max_tokens": 200, "messages": [{"role": "user", "content": text}], **more}


def message(text: str, /, **more: Any) -> dict[str, Any]:
    return {"model": "claude-sonnet-5", "max_tokens": 200, "messages": [{"role": "user", "content": text}], **more}


def respond(text: str, /, **more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o", "max_output_tokens": 200, "input": text, **more}


def complete(text: str, /, **more: Any) -> dict[str, Any]:
    return {"model": "gpt-3.5-turbo-instruct", "max_tokens": 200, "prompt": text, **more}


TOOLBOX = [
    {"type": "function", "name": "get_weather", "parameters": WEATHER, "strict": False},
    {"type": "custom", "name": "apply_patch", "description": "Changes files"},
    {"type": "local_shell"},
]
PATCH = {
    "tool_calls": [*CALLS["tool_calls"], {"name": "apply_patch", "arguments": "*** späße\n"}, {"name": "local_shell", "arguments": {}}]
}
THINK = {"reasoning": {"summary": "auto"}, "include": ["reasoning.encrypted_content"], "store": False}

PARTS = [{"type": "text", "text": "What is 2 + 2?"}, {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}]

REPLIES: list[tuple[str, str, dict[str, Any]]] = [
    ("chat", CHAT, chat("What is 2 + 2?")),
    ("chat stream", CHAT, chat("What is 2 + 2?", **ASK_USAGE)),
    ("chat long stream", CHAT, chat(say(tokens=3000), **ASK_USAGE) | {"max_tokens": 4000}),
    ("chat three choices", CHAT, chat(say(tokens=9), n=3)),
    ("chat three choices stream", CHAT, chat(say(tokens=9), n=3, **ASK_USAGE)),
    ("chat tools", CHAT, chat(say(**CALLS), tools=FUNCTION)),
    ("chat tools stream", CHAT, chat(say(**CALLS), tools=FUNCTION, **ASK_USAGE)),
    ("chat image", CHAT, chat("") | {"messages": [{"role": "user", "content": PARTS}]}),
    ("chat cut by its ceiling", CHAT, chat(say(tokens=500))),
    ("chat unknown", CHAT, chat(say(**UNKNOWN))),
    ("chat unknown stream", CHAT, chat(say(**UNKNOWN), **ASK_USAGE)),
    ("chat details", CHAT, chat(say(tokens=5, cached=4, reasoning=7))),
    ("chat gzip", CHAT, chat(say(tokens=60, gzip=True))),
    ("chat gzip stream", CHAT, chat(say(tokens=60, gzip=True), **ASK_USAGE)),
    ("chat error", CHAT, chat(say(status=422, message="not this way"))),
    ("chat error of a stream", CHAT, chat(say(status=429, message="slow down"), **ASK_USAGE)),
    ("chat error in a stream", CHAT, chat(say(tokens=20, error_after=4), **ASK_USAGE)),
    ("responses", RESPONSES, respond("What is 2 + 2?")),
    ("responses stream", RESPONSES, respond("What is 2 + 2?", stream=True)),
    ("responses long stream", RESPONSES, respond(say(tokens=3000), stream=True) | {"max_output_tokens": 4000}),
    ("responses tools", RESPONSES, respond(say(**PATCH), tools=TOOLBOX)),
    ("responses tools stream", RESPONSES, respond(say(**PATCH), tools=TOOLBOX, stream=True)),
    ("responses thinking stream", RESPONSES, respond(say(tokens=9, reasoning=8, cached=3), stream=True, **THINK)),
    ("responses cut by its ceiling stream", RESPONSES, respond(say(tokens=500), stream=True)),
    ("responses unknown", RESPONSES, respond(say(**UNKNOWN))),
    ("responses unknown stream", RESPONSES, respond(say(**UNKNOWN), stream=True)),
    ("responses gzip stream", RESPONSES, respond(say(tokens=60, gzip=True), stream=True)),
    ("responses error", RESPONSES, respond(say(status=422, message="not this way"))),
    ("responses error in a stream", RESPONSES, respond(say(tokens=20, error_after=4), stream=True)),
    ("responses of nobody", RESPONSES, respond("hi", previous_response_id="resp_0")),
    ("completions", COMPLETIONS, complete("What is 2 + 2?")),
    ("completions stream", COMPLETIONS, complete("What is 2 + 2?", **ASK_USAGE)),
    ("completions many", COMPLETIONS, complete("a", n=2, best_of=3, echo=True) | {"prompt": ["2 + 2", "späße"]}),
    ("completions echo stream", COMPLETIONS, complete("one two three", echo=True, **ASK_USAGE)),
    ("completions unknown stream", COMPLETIONS, complete(say(**UNKNOWN), **ASK_USAGE)),
    ("completions error in a stream", COMPLETIONS, complete(say(tokens=20, error_after=4), **ASK_USAGE)),
    ("embeddings", EMBEDDINGS, {"model": "text-embedding-3-small", "input": ["a b", "c"], "dimensions": 32}),
    ("embeddings base64", EMBEDDINGS, {"model": "text-embedding-3-small", "input": "a b", "encoding_format": "base64"}),
    ("messages", MESSAGES, message("What is 2 + 2?")),
    ("messages stream", MESSAGES, message("What is 2 + 2?", stream=True)),
    ("messages long stream", MESSAGES, message(say(tokens=3000), stream=True) | {"max_tokens": 4000}),
    ("messages tools", MESSAGES, message(say(**CALLS), tools=CLAUDE_TOOL)),
    ("messages tools stream", MESSAGES, message(say(**CALLS), tools=CLAUDE_TOOL, stream=True)),
    ("messages thinking stream", MESSAGES, message(say(tokens=9, reasoning=8, cached=3), stream=True)),
    ("messages unknown", MESSAGES, message(say(**UNKNOWN))),
    ("messages unknown stream", MESSAGES, message(say(**UNKNOWN), stream=True)),
    ("messages gzip stream", MESSAGES, message(say(tokens=60, gzip=True), stream=True)),
    ("messages error", MESSAGES, message(say(status=529))),
    ("messages error in a stream", MESSAGES, message(say(tokens=20, error_after=4), stream=True)),
    ("count_tokens", f"{MESSAGES}/count_tokens", {"model": "claude-sonnet-5", "messages": [{"role": "user", "content": "a b c"}]}),
]


def ask(fleet: Fleet, path: str, body: bytes | dict[str, Any], *, through: bool) -> Raw:
    target = fleet.target()
    url, key = (target.url, target.key) if through else (fleet.sim.url, "sk-any")
    return post(f"{url}{path}", body, {"authorization": f"Bearer {key}", "anthropic-version": "2023-06-01", "accept-encoding": "identity"})


def plain(reply: Raw) -> bytes:
    """The body without its content encoding, which a proxy may take off."""
    if reply.headers.get("content-encoding") != "gzip":
        return reply.body
    return gzip.decompress(reply.body)


@pytest.mark.parametrize(("path", "body"), [pytest.param(p, b, id=name) for name, p, b in REPLIES])
def test_the_reply_is_the_providers(served: Fleet, path: str, body: dict[str, Any]) -> None:
    want, got = (ask(served, path, body, through=through) for through in (False, True))
    assert got.status == want.status
    assert plain(got) == plain(want)
    assert got.whole
    assert got.headers["content-type"] == want.headers["content-type"]
    for name in ("x-request-id", "request-id", "openai-version", "anthropic-ratelimit-requests-remaining"):
        assert got.headers.get(name) == want.headers.get(name)
    assert got.headers["x-fleetgate-request-id"]


def test_a_usage_that_only_fleetgate_asked_for_stays_with_fleetgate(served: Fleet) -> None:
    body = chat("What is 2 + 2?", stream=True)
    served.sim.reset()
    want, got = (ask(served, CHAT, body, through=through) for through in (False, True))
    assert b"usage" not in want.body
    # Asked for usage, the provider writes `"usage":null` on every chunk: that may stay, the chunk that bills may not.
    assert plain(got).replace(b'"usage":null,', b"") == want.body
    direct, through = served.sim.calls()
    assert "stream_options" not in direct["body"]
    assert through["body"]["stream_options"] == {"include_usage": True}


REQUESTS = [
    pytest.param(
        CHAT, b'{ "model" : "gpt-4o",\n "messages":[ {"role":"user","content":"h\\u00e9 \xf0\x9f\xa6\x9c"}] ,"max_tokens": 50}', id="spaces"
    ),
    pytest.param(
        CHAT,
        b'{"x_new":{"deep":[1.50,1e3,null]},"max_tokens":50,"model":"gpt-4o","messages":[{"content":"a","role":"user","y":1}]}',
        id="new",
    ),
    pytest.param(
        MESSAGES,
        b'{"max_tokens":50,"messages":[{"role":"user","content":[{"type":"text","text":"a","z":{}}]}],"model":"claude-sonnet-5"}',
        id="z",
    ),
    pytest.param(
        RESPONSES,
        b'{ "input" : [ {"role":"user","content":"h\\u00e9 \xf0\x9f\xa6\x9c","z":1.50} ],\n"x_new":{"a":[1e3]}, "model":"gpt-4o" }',
        id="items",
    ),
    pytest.param(COMPLETIONS, b'{"prompt" : [1, 2,3], "model":"gpt-3.5-turbo-instruct","max_tokens":5, "x":null}', id="token ids"),
]


@pytest.mark.parametrize(("path", "body"), REQUESTS)
def test_the_provider_gets_the_clients_bytes(served: Fleet, path: str, body: bytes) -> None:
    served.sim.reset()
    assert ask(served, path, body, through=True).status == 200
    (call,) = served.sim.calls()
    assert call["body_bytes"] == len(body)
    assert call["body_sha256"] == digest(body.decode("utf-8", "surrogateescape"))


KEYS = [
    pytest.param(CHAT, chat("hi"), "authorization", "Bearer {}", id="openai bearer"),
    pytest.param(CHAT, chat("hi"), "api-key", "{}", id="openai api-key"),
    pytest.param(MESSAGES, message("hi"), "x-api-key", "{}", id="anthropic x-api-key"),
    pytest.param(MESSAGES, message("hi"), "authorization", "Bearer {}", id="anthropic bearer"),
]


@pytest.mark.parametrize(("path", "body", "header", "form"), KEYS)
def test_no_key_crosses(served: Fleet, path: str, body: dict[str, Any], header: str, form: str) -> None:
    assert served.proxy is not None
    served.sim.reset()
    key = served.proxy.key("tester")
    headers = {header: form.format(key), "anthropic-version": "2023-06-01", "x-fleetgate-session": "s1", "cookie": "a=b"}
    got = post(f"{served.proxy.url}{path}", body, headers)
    assert got.status == 200
    (call,) = served.sim.calls()
    assert set(call["keys"].values()) == {digest(PROVIDER_KEY)}
    assert not [name for name in call["headers"] if name.startswith("x-fleetgate")]
    seen = json.dumps(call) + served.proxy.log()
    assert key not in seen
    assert PROVIDER_KEY not in seen
    assert PROVIDER_KEY not in got.body.decode() + json.dumps(got.headers)


def test_a_key_in_the_url_does_not_cross_either(served: Fleet) -> None:
    assert served.proxy is not None
    served.sim.reset()
    got = post(f"{served.proxy.url}{CHAT}?key={served.proxy.key('tester')}", chat("hi"))
    assert got.status == 200
    (call,) = served.sim.calls()
    assert "key" not in call["query"]


BROKEN = [
    pytest.param(CHAT, chat(say(tokens=40, cut_after=5), **ASK_USAGE), id="chat cut"),
    pytest.param(CHAT, chat(say(tokens=40, half_chunk=5), **ASK_USAGE), id="chat half chunk"),
    pytest.param(MESSAGES, message(say(tokens=40, cut_after=5), stream=True), id="messages cut"),
    pytest.param(RESPONSES, respond(say(tokens=40, cut_after=5), stream=True), id="responses cut"),
    pytest.param(RESPONSES, respond(say(tokens=40, half_chunk=5), stream=True), id="responses half chunk"),
    pytest.param(COMPLETIONS, complete(say(tokens=40, cut_after=5), **ASK_USAGE), id="completions cut"),
    pytest.param(MESSAGES, message(say(tokens=40, half_chunk=5), stream=True), id="messages half chunk"),
]


@pytest.mark.parametrize(("path", "body"), BROKEN)
def test_a_broken_stream_keeps_what_came_and_says_that_it_broke(served: Fleet, path: str, body: dict[str, Any]) -> None:
    want, got = (ask(served, path, body, through=through) for through in (False, True))
    assert not want.whole
    came = want.body.rpartition(b"\n\n")[0] + b"\n\n"
    assert came.count(b"\n\n") == 5
    assert got.body.startswith(came)
    rest = got.body.removeprefix(came)
    assert rest.count(b'"error"') >= 1 or not got.whole
    assert rest.find(b"[DONE]") == -1 or rest.find(b'"error"') < rest.find(b"[DONE]")
    assert b"message_stop" not in got.body
    assert b"response.completed" not in got.body


WRONG = [
    pytest.param({"html": True}, id="an HTML page"),
    pytest.param({"nothing": True}, id="no answer"),
    pytest.param({"cut_after": 20}, id="half a body"),
    pytest.param({"half_chunk": True}, id="half a chunk"),
]


@pytest.mark.parametrize("wish", WRONG)
@pytest.mark.parametrize("path", [CHAT, MESSAGES, RESPONSES, COMPLETIONS])
def test_nonsense_from_upstream_becomes_the_protocols_own_error(served: Fleet, path: str, wish: dict[str, Any]) -> None:
    body = {CHAT: chat, MESSAGES: message, RESPONSES: respond, COMPLETIONS: complete}[path](say(**wish))
    got = ask(served, path, body, through=True)
    assert got.status == 502
    assert json.loads(got.body)["error"]["message"]
    assert got.headers["content-type"].startswith("application/json")
