"""A real local server, llama.cpp's on a tiny model, behind a real proxy: SDKs, other dialects, its limits, and its sudden death."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from anthropic import Anthropic
from google import genai
from google.genai import types
from llama_server import LlamaServer
from openai import OpenAI
from serving import Proxy, Simulator

AGENTS = """---
name: tester
description: Does simple things at home
policy:
  models: {allow: ["*"]}
  tools: {allow: ["*"]}
  routing: {local_ok: true}
---
"""
HI = [{"role": "user", "content": "Translate to German: good morning, my friends, how are you today?"}]
LOOK: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
SHAPE = {"type": "object", "properties": {"yes": {"type": "boolean"}}, "required": ["yes"], "additionalProperties": False}


@dataclass(frozen=True)
class House:
    """The three processes."""

    llama: LlamaServer
    proxy: Proxy

    def post(self, path: str, body: dict[str, Any], **headers: str) -> httpx.Response:
        """Ask with plain HTTP."""
        key = {"authorization": f"Bearer {self.proxy.key()}"}
        return httpx.post(f"{self.proxy.url}{path}", json=body, headers=key | headers, timeout=60)

    def record(self, reply: httpx.Response) -> dict[str, Any]:
        """The record of a reply."""
        return self.proxy.record(reply.headers["x-fleetgate-request-id"])


def settings(url: str) -> dict[str, Any]:
    return {
        "providers": {"local": {"base_url": f"{url}/v1", "operations": ["chat", "completions", "embeddings"]}},
        "models": {name: {"provider": "local", "upstream_model": "tiny"} for name in ("local/tiny", "tiny")},
        "routing": {"simple_to": "local/tiny", "mode": "enforce", "threshold": 1.0, "first_byte_s": 5, "answer_s": 20},
    }


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with LlamaServer() as llama, Simulator() as sim, Proxy(sim, agents=AGENTS, settings=settings(llama.url)) as proxy:
        yield House(llama, proxy)


def used(record: dict[str, Any]) -> tuple[int, int]:
    return record["input_tokens"] + record["cache_read_tokens"], record["output_tokens"]


def served_at_home(record: dict[str, Any]) -> None:
    assert (record["provider"], record["model"], record["outcome"]) == ("local", "local/tiny", "ok")
    assert (record["cost"], record["usage_exact"]) == (0, True)


def test_openai_s_sdk_and_what_the_server_says_it_used(house: House) -> None:
    asked: dict[str, Any] = {"model": "local/tiny", "messages": HI, "max_tokens": 12}
    with OpenAI(base_url=f"{house.proxy.url}/v1", api_key=house.proxy.key(), max_retries=0) as client:
        raw = client.chat.completions.with_raw_response.create(**asked)
        reply, record = raw.parse(), house.proxy.record(raw.headers["x-fleetgate-request-id"])
        assert reply.choices[0].message.content.strip()
        assert used(record) == (reply.usage.prompt_tokens, reply.usage.completion_tokens)
        served_at_home(record)
        raw = client.chat.completions.with_raw_response.create(**asked, stream=True, stream_options={"include_usage": True})
        chunks: list[Any] = list(raw.parse())
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices).strip()
    record, usage = house.proxy.record(raw.headers["x-fleetgate-request-id"]), chunks[-1].usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (reply.usage.prompt_tokens, 12)
    assert used(record) == (usage.prompt_tokens, usage.completion_tokens)
    served_at_home(record)


def test_a_stream_that_did_not_ask_for_usage_is_metered_all_the_same(house: House) -> None:
    reply = house.post("/v1/chat/completions", {"model": "local/tiny", "messages": HI, "max_tokens": 9, "stream": True})
    assert "usage" not in reply.text
    assert reply.text.endswith("data: [DONE]\n\n")
    assert used(house.record(reply))[1] == 9
    served_at_home(house.record(reply))


def test_anthropic_s_sdk_through_translation_with_tools(house: House) -> None:
    asked: dict[str, Any] = {
        "model": "local/tiny",
        "max_tokens": 12,
        "system": "You are brief.",
        "tools": [{"name": "look", "description": "Looks", "input_schema": LOOK}],
        "messages": [
            *HI,
            {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"city": "Rome"}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "sunny"}]},
        ],
    }
    with Anthropic(base_url=house.proxy.url, api_key=house.proxy.key(), max_retries=0) as client:
        raw = client.messages.with_raw_response.create(**asked)
        reply, record = raw.parse(), house.proxy.record(raw.headers["x-fleetgate-request-id"])
        with client.messages.stream(**asked) as stream:
            said = "".join(stream.text_stream)
            final = stream.get_final_message()
    assert (reply.type, reply.stop_reason) == ("message", "max_tokens")
    assert used(record) == (reply.usage.input_tokens + (reply.usage.cache_read_input_tokens or 0), reply.usage.output_tokens)
    served_at_home(record)
    assert said.strip()
    assert (final.stop_reason, final.usage.output_tokens) == ("max_tokens", 12)


def test_gemini_s_sdk_through_translation_with_tools(house: House) -> None:
    look = types.Tool(function_declarations=[types.FunctionDeclaration(name="look", description="Looks", parameters_json_schema=LOOK)])
    config = types.GenerateContentConfig(max_output_tokens=12, tools=[look])
    with genai.Client(api_key=house.proxy.key(), http_options=types.HttpOptions(base_url=house.proxy.url)) as client:
        reply = client.models.generate_content(model="tiny", contents=str(HI[0]["content"]), config=config)
        streamed = list(client.models.generate_content_stream(model="tiny", contents=str(HI[0]["content"]), config=config))
    assert (reply.text or "").strip()
    assert reply.usage_metadata is not None
    assert reply.usage_metadata.candidates_token_count == 12
    assert "".join(part.text or "" for part in streamed).strip()


CLAUDE_CODE = {
    "model": "local/tiny",
    "max_tokens": 16,
    "stream": True,
    "system": [
        {"type": "text", "text": "You are Claude Code.", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}},
    ],
    "messages": [{"role": "user", "content": [{"type": "text", "text": "What is here?", "cache_control": {"type": "ephemeral"}}]}],
    "tools": [{"name": "Bash", "description": "Runs a command", "input_schema": LOOK}],
    "metadata": {"user_id": "user_1_account__session_0b5c1a52-6f43-4d3e-9c62-0c9d4b1d7d11"},
}
CODEX = {
    "model": "local/tiny",
    "stream": True,
    "store": False,
    "instructions": "You are a coding agent.",
    "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "What is here?"}]}],
    "tools": [{"type": "function", "name": "shell", "description": "Runs a command", "strict": False, "parameters": LOOK}],
    "tool_choice": "auto",
    "parallel_tool_calls": False,
    "include": [],
    "prompt_cache_key": "0b5c1a52-6f43-4d3e-9c62-0c9d4b1d7d11",
}


def test_a_request_of_claude_code(house: House) -> None:
    headers = {"anthropic-version": "2023-06-01", "anthropic-beta": "claude-code-20250219", "x-app": "cli"}
    reply = house.post("/v1/messages?beta=true", CLAUDE_CODE, **headers)
    events = [line[7:] for line in reply.text.splitlines() if line.startswith("event: ")]
    assert (events[0], events[-1]) == ("message_start", "message_stop")
    served_at_home(house.record(reply))


def test_a_request_of_codex(house: House) -> None:
    reply = house.post("/v1/responses", CODEX | {"max_output_tokens": 16}, originator="codex_cli_rs")
    events = [line[7:] for line in reply.text.splitlines() if line.startswith("event: ")]
    assert events[0] == "response.created"
    assert events[-1] in ("response.completed", "response.incomplete")
    served_at_home(house.record(reply))


# --- on trial ----------------------------------------------------------------------------------------------------------------


def asked(**more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o-mini", "messages": HI, "max_tokens": 12, **more}


def test_a_simple_call_goes_home(house: House) -> None:
    for more in ({}, {"stream": True}):
        reply = house.post("/v1/chat/completions", asked(**more))
        assert reply.headers["x-fleetgate-route"] == "local"
        served_at_home(house.record(reply))


def test_json_that_fits_its_schema_is_passed_on(house: House) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "s", "strict": True, "schema": SHAPE}}
    reply = house.post("/v1/chat/completions", asked(response_format=form, max_tokens=300))
    record = house.record(reply)
    if record["provider"] == "local":  # random weights may fill the ceiling with blanks
        assert set(json.loads(reply.json()["choices"][0]["message"]["content"])) == {"yes"}
    else:
        assert record["fallbacks"][0][:3] == ["local", "local/tiny", "json"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_past_its_context_is_answered_by_the_asked_model(house: House, stream: bool) -> None:
    long = [{"role": "user", "content": "Translate: " + "word and more " * 3000}]
    reply = house.post("/v1/chat/completions", asked(messages=long, stream=stream))
    record = house.record(reply)
    assert reply.status_code == 200
    assert reply.headers["x-fleetgate-route"] == "fallback"
    assert [left[:3] for left in record["fallbacks"]] == [["local", "local/tiny", "context"]]
    assert record["provider"] == "openai"


def test_an_answer_cut_at_its_own_limit_is_replaced(house: House) -> None:
    reply = house.post("/v1/chat/completions", {"model": "local/tiny", "messages": HI, "max_tokens": 5})
    assert reply.json()["choices"][0]["finish_reason"] == "length"  # asked for: the client's own ceiling is no flaw
    assert house.post("/v1/chat/completions", asked(max_tokens=5)).headers["x-fleetgate-route"] == "local"


# --- a sudden end: each with a server of its own -------------------------------------------------------------------------------


def test_a_server_that_dies_in_mid_request_is_replaced_and_later_calls_do_not_wait() -> None:
    with LlamaServer() as llama, Simulator() as sim, Proxy(sim, agents=AGENTS, settings=settings(llama.url)) as proxy:
        house = House(llama, proxy)
        assert house.post("/v1/chat/completions", asked()).headers["x-fleetgate-route"] == "local"
        llama.signal(signal.SIGSTOP)  # it takes the request and never answers
        killer = threading.Timer(0.5, llama.signal, [signal.SIGKILL])
        killer.start()
        reply = house.post("/v1/chat/completions", asked(stream=True))
        killer.join()
        assert reply.headers["x-fleetgate-route"] == "fallback"
        assert reply.text.endswith("data: [DONE]\n\n")
        assert [left[2] for left in house.record(reply)["fallbacks"]] == ["cut"]
        reply = house.post("/v1/chat/completions", asked())
        assert [left[2] for left in house.record(reply)["fallbacks"]] == ["down"]


def test_a_server_that_takes_requests_and_never_answers_is_replaced() -> None:
    quick = settings("")["routing"] | {"first_byte_s": 0.3, "answer_s": 0.3}
    with LlamaServer() as llama, Simulator() as sim, Proxy(sim, agents=AGENTS, settings=settings(llama.url) | {"routing": quick}) as proxy:
        house = House(llama, proxy)
        llama.signal(signal.SIGSTOP)
        for more in ({}, {"stream": True}):
            reply = house.post("/v1/chat/completions", asked(**more))
            assert (reply.status_code, reply.headers["x-fleetgate-route"]) == (200, "fallback")
            assert [left[2] for left in house.record(reply)["fallbacks"]] == ["slow"]


def test_a_server_that_dies_in_mid_stream_leaves_a_well_formed_stream() -> None:
    with LlamaServer() as llama, Simulator() as sim, Proxy(sim, agents=AGENTS, settings=settings(llama.url)) as proxy:
        key = {"authorization": f"Bearer {proxy.key()}"}
        body = asked(stream=True, max_tokens=12_000)
        with httpx.stream("POST", f"{proxy.url}/v1/chat/completions", json=body, headers=key, timeout=60) as reply:
            chunks = reply.iter_text()
            text = next(chunks)
            llama.signal(signal.SIGKILL)
            text += "".join(chunks)
        record = proxy.record(reply.headers["x-fleetgate-request-id"])
        assert text.endswith("data: [DONE]\n\n")
        assert '"error"' in text
        assert (record["provider"], record["outcome"], record["route"]) == ("local", "upstream_error", "local")
        assert record["output_tokens"] > 0
