"""The official SDKs while a person thinks: what keeps their streams alive means nothing to them, and the held call arrives whole."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

from anthropic import Anthropic
from google import genai
from google.genai import types
from ollama import Client
from openai import OpenAI
from sdk_cases import say
from serving import Proxy, Simulator, post

AGENTS = """---
name: tester
policy:
  models: {allow: ["*"]}
  tools: {allow: ["*"], require_approval: [bash]}
---
"""
TOKEN = "canary-admin-token"
AUTH = {"authorization": f"Bearer {TOKEN}"}
SCHEMA: Any = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}
WAIT_S = 5.6
"""Longer than the time between two signs of life."""


def asked(name: str) -> str:
    return say("go", text="Let me look.", tool_calls=[{"name": "bash", "arguments": {"command": name}}])


def chat(proxy: Proxy) -> list[Any]:
    tools: Any = [{"type": "function", "function": {"name": "bash", "parameters": SCHEMA}}]
    ask: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": asked("chat")}], "tools": tools}
    with OpenAI(base_url=f"{proxy.url}/v1", api_key=proxy.key(), timeout=30) as client, client.chat.completions.stream(**ask) as events:
        done = events.get_final_completion()
    return [json.loads(call.function.arguments) for call in done.choices[0].message.tool_calls or ()]


def responses(proxy: Proxy) -> list[Any]:
    tools: Any = [{"type": "function", "name": "bash", "parameters": SCHEMA, "strict": False}]
    ask: Any = {"model": "gpt-4o", "input": asked("responses"), "tools": tools}
    with OpenAI(base_url=f"{proxy.url}/v1", api_key=proxy.key(), timeout=30) as client, client.responses.stream(**ask) as events:
        done = events.get_final_response()
    return [json.loads(item.arguments) for item in done.output if item.type == "function_call"]


def messages(proxy: Proxy) -> list[Any]:
    ask: Any = {"model": "claude-haiku-4-5", "max_tokens": 500, "messages": [{"role": "user", "content": asked("messages")}]}
    ask["tools"] = [{"name": "bash", "input_schema": SCHEMA}]
    with Anthropic(base_url=proxy.url, api_key=proxy.key(), timeout=30) as client, client.messages.stream(**ask) as events:
        done = events.get_final_message()
    return [block.input for block in done.content if block.type == "tool_use"]


def gemini(proxy: Proxy) -> list[Any]:
    tool = types.Tool(function_declarations=[types.FunctionDeclaration(name="bash", parameters_json_schema=SCHEMA)])
    config: Any = types.GenerateContentConfig(tools=[tool])
    ask: Any = {"model": "gemini-2.5-flash", "contents": asked("gemini"), "config": config}
    with genai.Client(api_key=proxy.key(), http_options=types.HttpOptions(base_url=proxy.url, timeout=30_000)) as client:
        done = list(client.models.generate_content_stream(**ask))
    parts = [part for chunk in done for candidate in chunk.candidates or () if candidate.content for part in candidate.content.parts or ()]
    return [part.function_call.args for part in parts if part.function_call]


def ollama(proxy: Proxy) -> list[Any]:
    tools: Any = [{"type": "function", "function": {"name": "bash", "description": "Run", "parameters": SCHEMA}}]
    ask: Any = {"model": "qwen3:8b", "messages": [{"role": "user", "content": asked("ollama")}], "tools": tools}
    with Client(host=proxy.url, headers={"authorization": f"Bearer {proxy.key()}"}, timeout=30) as client:
        done = list(client.chat(**ask, stream=True))
    return [call.function.arguments for chunk in done for call in chunk.message.tool_calls or ()]


SDKS: dict[str, Callable[[Proxy], list[Any]]] = {
    "chat": chat,
    "responses": responses,
    "messages": messages,
    "gemini": gemini,
    "ollama": ollama,
}


def test_every_sdk_waits_and_gets_the_call_whole() -> None:
    got: dict[str, Any] = {}

    def run(name: str) -> None:
        try:
            got[name] = SDKS[name](proxy)
        except Exception as e:  # noqa: BLE001  shown below
            got[name] = e

    def waiting() -> list[dict[str, Any]]:
        found = json.loads(post(f"{proxy.admin_url}/api/v1/approvals", b"", AUTH, "GET").body)["approvals"]
        return [a for a in found if a["state"] == "waits"]

    with Simulator() as sim, Proxy(sim, agents=AGENTS, env={"FLEETGATE_ADMIN_TOKEN": TOKEN}) as proxy:
        threads = [threading.Thread(target=run, args=(name,)) for name in SDKS]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 30
        while len(waiting()) < len(SDKS) or time.time() < max(a["asked"] for a in waiting()) + WAIT_S:
            assert time.monotonic() < deadline
        assert not got, "all wait"
        for asking in waiting():
            assert post(f"{proxy.admin_url}/api/v1/approvals/{asking['id']}", {"allow": True}, AUTH).status == 200
        for thread in threads:
            thread.join(30)
    assert got == {name: [{"command": name}] for name in SDKS}
