"""What the SDKs were told and what the ledger says is the same bill, to the token and the nano-dollar."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest
from sdk_cases import Fleet, say
from serving import Proxy, Simulator, events, post

PRICES = {"gpt-4o": {"input": 2.5, "output": 10.0, "cache_read": 1.25}, "claude-*": {"input": 3.0, "output": 15.0, "cache_read": 0.3}}
CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"


@pytest.fixture(scope="module")
def served() -> Iterator[Fleet]:
    models = {
        "gpt-4o": {"provider": "openai", "price": PRICES["gpt-4o"]},
        "gpt-*": {"provider": "openai"},
        "claude-*": {"provider": "anthropic", "price": PRICES["claude-*"]},
    }
    with Simulator(require_key=True) as sim, Proxy(sim, settings={"models": models}) as proxy:
        yield Fleet(sim, proxy)


def call(served: Fleet, path: str, text: str, **more: Any) -> tuple[bytes, dict[str, Any]]:
    """Make one call; return the body and its record."""
    target, proxy = served.target(), served.proxy
    assert proxy is not None
    model = "gpt-4o" if path == CHAT else "claude-sonnet-5"
    body = {"model": model, "max_tokens": 4000, "messages": [{"role": "user", "content": text}], **more}
    reply = post(f"{target.url}{path}", body, {"authorization": f"Bearer {target.key}", "anthropic-version": "2023-06-01"})
    return reply.body, proxy.record(reply.headers["x-fleetgate-request-id"])


WISHES = [
    pytest.param({"tokens": 70}, id="plain"),
    pytest.param({"tokens": 70, "cached": 900}, id="cached"),
    pytest.param({"tokens": 30, "reasoning": 40}, id="reasoning"),
    pytest.param({"tool_calls": [{"name": "t", "arguments": {"a": "b c d"}}]}, id="tool"),
    pytest.param({"tokens": 70, "gzip": True}, id="gzip"),
    pytest.param({"tokens": 70, "extra_field": True, "extra_event": True}, id="unknown"),
]


@pytest.mark.parametrize("wishes", WISHES)
@pytest.mark.parametrize("stream", [False, True])
def test_chat_is_charged_as_the_provider_says(served: Fleet, wishes: dict[str, Any], stream: bool) -> None:
    more: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    body, record = call(served, CHAT, say(**wishes), **more)
    usage = list(events(body))[-1]["usage"] if stream else json.loads(body)["usage"]
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    plain, output = usage["prompt_tokens"] - cached, usage["completion_tokens"]
    assert cached == wishes.get("cached", 0)
    assert (record["input_tokens"], record["cache_read_tokens"], record["output_tokens"]) == (plain, cached, output)
    assert record["reasoning_tokens"] == wishes.get("reasoning", 0)
    assert record["usage_exact"]
    assert record["cost"] == plain * 2500 + cached * 1250 + output * 10_000
    assert (record["outcome"], record["status"], record["stream"]) == ("ok", 200, stream)


@pytest.mark.parametrize("wishes", WISHES)
@pytest.mark.parametrize("stream", [False, True])
def test_messages_are_charged_as_the_provider_says(served: Fleet, wishes: dict[str, Any], stream: bool) -> None:
    body, record = call(served, MESSAGES, say("Hello", **wishes), stream=stream)
    if stream:
        found = [e for e in events(body) if e["type"] in ("message_start", "message_delta")]
        usage = found[0]["message"]["usage"] | found[1]["usage"]
    else:
        usage = json.loads(body)["usage"]
    plain, cached, output = usage["input_tokens"], usage["cache_read_input_tokens"], usage["output_tokens"]
    assert (record["input_tokens"], record["cache_read_tokens"], record["output_tokens"]) == (plain, cached, output)
    assert record["usage_exact"]
    assert record["cost"] == plain * 3000 + cached * 300 + output * 15_000
    assert record["outcome"] == "ok"


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_a_stream_without_the_clients_asking_is_metered_too(served: Fleet, path: str) -> None:
    _, record = call(served, path, say("Hello", tokens=33), stream=True)
    assert (record["output_tokens"], record["usage_exact"]) == (33, True)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_without_usage_at_least_what_passed_is_charged(served: Fleet, path: str, stream: bool) -> None:
    _, record = call(served, path, say("Hello", tokens=50, usage=False), stream=stream)
    assert not record["usage_exact"]
    assert record["output_tokens"] >= 50
    assert record["input_tokens"] >= 8


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_a_broken_stream_is_charged_for_what_came(served: Fleet, path: str) -> None:
    _, record = call(served, path, say("Hello", tokens=50, cut_after=30), stream=True)
    assert (record["outcome"], record["reason"]) == ("upstream_error", "upstream_error")
    assert record["output_tokens"] >= 27
    assert not record["usage_exact"]


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_an_error_of_the_provider_costs_nothing(served: Fleet, path: str) -> None:
    _, record = call(served, path, say("Hello", status=500))
    assert (record["cost"], record["output_tokens"], record["upstream_status"], record["status"]) == (0, 0, 500, 500)


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_absurd_usage_is_not_believed(served: Fleet, path: str) -> None:
    negative = {"completion_tokens": -500, "output_tokens": -500, "prompt_tokens": -9, "input_tokens": -9}
    _, record = call(served, path, say("Hello", tokens=50, usage=negative))
    assert record["output_tokens"] >= 50
    assert record["input_tokens"] >= 0
    assert record["cost"] >= 50 * 10_000


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_a_client_that_leaves_is_charged_for_what_was_generated(served: Fleet, path: str) -> None:
    target, proxy = served.target(), served.proxy
    assert proxy is not None
    served.sim.reset()
    model = "gpt-4o" if path == CHAT else "claude-sonnet-5"
    text = say("Hello", tokens=4000, chunk_ms=5)
    body = {"model": model, "max_tokens": 4000, "stream": True, "messages": [{"role": "user", "content": text}]}
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
    headers = {"authorization": f"Bearer {target.key}", "anthropic-version": "2023-06-01", "content-type": "application/json"}
    connection.request("POST", path, json.dumps(body), headers)
    reply = connection.getresponse()
    read = b""
    while read.count(b"data:") < 30:
        read += reply.read1()
    reply.close()
    connection.close()
    (sent,) = served.sim.calls()
    assert sent["aborted"]
    record = proxy.record(str(reply.headers["x-fleetgate-request-id"]))
    assert record["outcome"] == "client_gone"
    assert sent["output_tokens"] >= 25
    assert sent["output_tokens"] - 5 <= record["output_tokens"] < 4000
