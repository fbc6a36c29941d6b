"""The protocols that are measured: how each writes the same conversation, and by what a reply is known to be whole.

Conversations are OpenAI's form of messages and tools; `write` turns them into the dialect's body. What the stub answers is in `replies`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]
Write = Callable[[str, bool, Sequence[Object], Sequence[Object]], Object]
"""(model, stream, messages, tools) to the body; what says that a stream is wanted stands near its beginning."""
MAX_OUTPUT = 1000


@dataclass(frozen=True, slots=True)
class Dialect:
    """One protocol's main operation.

    Attributes:
        name: for the table.
        model: what it is asked for, served in the same dialect.
        path: of a request, and of one for a stream; `MODEL` stands for the model.
        write: see `Write`.
        whole: what each whole reply holds.
        counted: what each event with text holds.
        ended: what the end of each stream holds.
        headers: more lines of the head.
    """

    name: str
    model: str
    path: str
    write: Write
    whole: bytes
    counted: bytes
    ended: bytes
    stream_path: str = ""
    headers: str = ""

    def target(self, model: str, stream: bool) -> str:
        """Return the path of a request."""
        return (self.stream_path if stream and self.stream_path else self.path).replace("MODEL", model)


def _chat(model: str, stream: bool, messages: Sequence[Object], tools: Sequence[Object]) -> Object:
    options = {"stream_options": {"include_usage": True}} if stream else {}
    call = {"model": model, "stream": stream, **options, "max_completion_tokens": MAX_OUTPUT, "messages": messages}
    return call | ({"tools": tools} if tools else {})


def _responses(model: str, stream: bool, messages: Sequence[Object], tools: Sequence[Object]) -> Object:
    items: list[Object] = []
    for message in messages[1:]:
        if message["role"] == "tool":
            items.append({"type": "function_call_output", "call_id": message["tool_call_id"], "output": message["content"]})
            continue
        if message["content"]:
            items.append({"role": message["role"], "content": message["content"]})
        items += [{"type": "function_call", "call_id": call["id"], **call["function"]} for call in message.get("tool_calls", ())]
    call = {"model": model, "stream": stream, "max_output_tokens": MAX_OUTPUT, "store": False}
    call |= {"instructions": messages[0]["content"], "input": items}
    return call | ({"tools": [{"type": "function", **tool["function"]} for tool in tools]} if tools else {})


def _messages(model: str, stream: bool, messages: Sequence[Object], tools: Sequence[Object]) -> Object:
    found: list[Object] = []
    for message in messages[1:]:
        if message["role"] == "tool":
            block: Object = {"type": "tool_result", "tool_use_id": message["tool_call_id"], "content": message["content"]}
            found.append({"role": "user", "content": [block]})
            continue
        blocks = [
            {"type": "tool_use", "id": call["id"], "name": call["function"]["name"], "input": json.loads(call["function"]["arguments"])}
            for call in message.get("tool_calls", ())
        ]
        found.append({"role": message["role"], "content": blocks or message["content"]})
    functions = [tool["function"] for tool in tools]
    offered = [{"name": f["name"], "description": f["description"], "input_schema": f["parameters"]} for f in functions]
    call = {"model": model, "stream": stream, "max_tokens": MAX_OUTPUT, "system": messages[0]["content"], "messages": found}
    return call | ({"tools": offered} if tools else {})


def _generate(model: str, stream: bool, messages: Sequence[Object], tools: Sequence[Object]) -> Object:
    contents: list[Object] = []
    names: dict[str, str] = {}
    for message in messages[1:]:
        if message["role"] == "tool":
            part: Object = {"functionResponse": {"name": names[message["tool_call_id"]], "response": {"result": message["content"]}}}
            contents.append({"role": "user", "parts": [part]})
            continue
        calls = message.get("tool_calls", ())
        names |= {call["id"]: call["function"]["name"] for call in calls}
        parts: list[Object] = [
            {"functionCall": {"name": call["function"]["name"], "args": json.loads(call["function"]["arguments"])}} for call in calls
        ]
        contents.append({"role": "model" if message["role"] == "assistant" else "user", "parts": parts or [{"text": message["content"]}]})
    functions = [tool["function"] for tool in tools]
    offered = [{"name": f["name"], "description": f["description"], "parametersJsonSchema": f["parameters"]} for f in functions]
    call: Object = {"generationConfig": {"maxOutputTokens": MAX_OUTPUT}, "systemInstruction": {"parts": [{"text": messages[0]["content"]}]}}
    return call | {"contents": contents} | ({"tools": [{"functionDeclarations": offered}]} if tools else {})


def _ollama(model: str, stream: bool, messages: Sequence[Object], tools: Sequence[Object]) -> Object:
    found: list[Object] = []
    names: dict[str, str] = {}
    for message in messages:
        if message["role"] == "tool":
            found.append({"role": "tool", "tool_name": names[message["tool_call_id"]], "content": message["content"]})
            continue
        calls = message.get("tool_calls", ())
        names |= {call["id"]: call["function"]["name"] for call in calls}
        objects = [{"function": {**call["function"], "arguments": json.loads(call["function"]["arguments"])}} for call in calls]
        said = {"role": message["role"], "content": message["content"] or ""}
        found.append(said | ({"tool_calls": objects} if objects else {}))
    call: Object = {"model": model, "stream": stream, "options": {"num_predict": MAX_OUTPUT}, "messages": found}
    return call | ({"tools": tools} if tools else {})


CHAT = Dialect("chat", "gpt-4o", "/v1/chat/completions", _chat, b'"usage"', b'"content":', b"data: [DONE]")
RESPONSES = Dialect("responses", "gpt-4o", "/v1/responses", _responses, b'"usage"', b'"delta":', b"response.completed")
MESSAGES = Dialect(
    "messages",
    "claude-sonnet-4-5",
    "/v1/messages",
    _messages,
    b'"usage"',
    b"text_delta",
    b"message_stop",
    headers="anthropic-version: 2023-06-01\r\n",
)
GENERATE = Dialect(
    "generate",
    "gemini-2.5-flash",
    "/v1beta/models/MODEL:generateContent",
    _generate,
    b'"usageMetadata"',
    b'"text":',
    b'"finishReason"',
    stream_path="/v1beta/models/MODEL:streamGenerateContent?alt=sse",
)
OLLAMA = Dialect("ollama", "qwen3:8b", "/api/chat", _ollama, b'"eval_count"', b'"content":', b'"eval_count"')
ALL = (CHAT, RESPONSES, MESSAGES, GENERATE, OLLAMA)
