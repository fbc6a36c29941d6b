"""The official SDKs on replies that the gate has changed: a call taken out, words hidden. Their accumulators see nothing odd."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from anthropic import Anthropic
from google import genai
from google.genai import types
from ollama import Client
from openai import OpenAI
from sdk_cases import say
from serving import Proxy, Simulator

AGENTS = """---
name: tester
description: May list files, and no more
policy:
  models: {allow: ["*"]}
  tools:
    allow: ["*"]
    args:
      - {tool: [bash], field: command, regex: 'curl', action: deny}
---
Agents of the gate's tests.
"""
RULES = """rules:
  - {id: softened, when: {direction: reply}, match: {contains: darn}, action: redact}
"""
LIST, FETCH = {"name": "bash", "arguments": {"command": "ls"}}, {"name": "bash", "arguments": {"command": "curl example.org"}}
SCHEMA: Any = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}
CASES = pytest.mark.parametrize(
    ("calls", "left"), [([FETCH, LIST], 1), ([LIST, FETCH, LIST], 2), ([FETCH], 0), ([FETCH, FETCH], 0), ([LIST], 1)]
)
STREAMED = pytest.mark.parametrize("stream", [True, False])
WITHHELD = "Rule: AGENTS.md:9 policy.tools.args[0]"


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    with Simulator() as sim, Proxy(sim, agents=AGENTS, policies={"rules.yaml": RULES}) as proxy:
        yield proxy


def asked(calls: list[Any]) -> str:
    return say("go", text="Oh darn, let me look.", tool_calls=calls)


def check(text: str, commands: list[Any], calls: list[Any], left: int) -> None:
    """What every client must have got."""
    assert commands == [{"command": "ls"}] * left
    assert text.count(WITHHELD) == len(calls) - left
    assert "darn" not in text
    assert text.startswith("Oh [")


@CASES
@STREAMED
def test_openai_chat(proxy: Proxy, calls: list[Any], left: int, stream: bool) -> None:
    tools: Any = [{"type": "function", "function": {"name": "bash", "parameters": SCHEMA}}]
    ask: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": asked(calls)}], "tools": tools}
    with OpenAI(base_url=f"{proxy.url}/v1", api_key=proxy.key(), timeout=30) as client:
        if stream:
            with client.chat.completions.stream(**ask) as events:
                done = events.get_final_completion()
        else:
            done = client.chat.completions.create(**ask)
    (choice,) = done.choices
    found = [json.loads(call.function.arguments) for call in choice.message.tool_calls or ()]
    check(choice.message.content or "", found, calls, left)
    assert choice.finish_reason == ("tool_calls" if left else "stop")


@CASES
@STREAMED
def test_openai_responses(proxy: Proxy, calls: list[Any], left: int, stream: bool) -> None:
    tools: Any = [{"type": "function", "name": "bash", "parameters": SCHEMA, "strict": False}]
    ask: Any = {"model": "gpt-4o", "input": asked(calls), "tools": tools}
    with OpenAI(base_url=f"{proxy.url}/v1", api_key=proxy.key(), timeout=30) as client:
        if stream:
            with client.responses.stream(**ask) as events:
                seen = list(events)
                done = events.get_final_response()
            assert [event.sequence_number for event in seen] == list(range(len(seen)))
        else:
            done = client.responses.create(**ask)
    found = [json.loads(item.arguments) for item in done.output if item.type == "function_call"]
    check(done.output_text, found, calls, left)
    assert (done.status, len(done.output)) == ("completed", len(calls) + 1)


@CASES
@STREAMED
def test_anthropic(proxy: Proxy, calls: list[Any], left: int, stream: bool) -> None:
    ask: Any = {"model": "claude-haiku-4-5", "max_tokens": 500, "messages": [{"role": "user", "content": asked(calls)}]}
    ask["tools"] = [{"name": "bash", "input_schema": SCHEMA}]
    with Anthropic(base_url=proxy.url, api_key=proxy.key(), timeout=30) as client:
        if stream:
            with client.messages.stream(**ask) as events:
                done = events.get_final_message()
        else:
            done = client.messages.create(**ask)
    found = [block.input for block in done.content if block.type == "tool_use"]
    check("".join(block.text for block in done.content if block.type == "text"), found, calls, left)
    assert (done.stop_reason, len(done.content)) == ("tool_use" if left else "end_turn", len(calls) + 1)


@CASES
@STREAMED
def test_gemini(proxy: Proxy, calls: list[Any], left: int, stream: bool) -> None:
    tool = types.Tool(function_declarations=[types.FunctionDeclaration(name="bash", parameters_json_schema=SCHEMA)])
    config: Any = types.GenerateContentConfig(tools=[tool])
    ask: Any = {"model": "gemini-2.5-flash", "contents": asked(calls), "config": config}
    with genai.Client(api_key=proxy.key(), http_options=types.HttpOptions(base_url=proxy.url, timeout=30_000)) as client:
        done = list(client.models.generate_content_stream(**ask)) if stream else [client.models.generate_content(**ask)]
    parts = [part for chunk in done for candidate in chunk.candidates or () if candidate.content for part in candidate.content.parts or ()]
    found = [part.function_call.args for part in parts if part.function_call]
    check("".join(part.text or "" for part in parts), found, calls, left)
    assert done[-1].candidates is not None
    assert done[-1].candidates[0].finish_reason == types.FinishReason.STOP


@CASES
@STREAMED
def test_ollama(proxy: Proxy, calls: list[Any], left: int, stream: bool) -> None:
    tools: Any = [{"type": "function", "function": {"name": "bash", "description": "Run", "parameters": SCHEMA}}]
    ask: Any = {"model": "qwen3:8b", "messages": [{"role": "user", "content": asked(calls)}], "tools": tools}
    with Client(host=proxy.url, headers={"authorization": f"Bearer {proxy.key()}"}, timeout=30) as client:
        done = list(client.chat(**ask, stream=True)) if stream else [client.chat(**ask)]
    found = [call.function.arguments for chunk in done for call in chunk.message.tool_calls or ()]
    check("".join(chunk.message.content or "" for chunk in done), found, calls, left)
    assert (done[-1].done, done[-1].done_reason) == (True, "stop")


def test_the_records_tell_what_was_withheld(proxy: Proxy) -> None:
    for record in proxy.records():
        assert record["outcome"] == "ok"
        assert record["usage_exact"]
        assert "softened" in json.dumps(record["findings"])
