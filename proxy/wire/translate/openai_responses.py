"""OpenAI's Responses as a dialect: how its requests are written from the hub. Reading: `openai_responses_asked`. Replies:
`openai_responses_reply`.

Nothing is left with the provider (`store: false`), since the client of another protocol could not refer to it.

Source: OpenAI API reference, "Create a model response"; types of the Python SDK 3.52 (2026-11).
"""

from __future__ import annotations

from typing import Any

from proxy.wire.translate.given import image_url, takes_strict, texts
from proxy.wire.translate.history import told, told_tools
from proxy.wire.translate.hub import (
    SEEN,
    Asked,
    Dialect,
    Image,
    Said,
    StreamReader,
    StreamWriter,
    Text,
    Tool,
    ToolOutput,
    ToolUse,
    Turn,
    Untranslatable,
)
from proxy.wire.translate.openai_responses_asked import read_request
from proxy.wire.translate.openai_responses_reply import ResponsesReader, read_reply, write_reply
from proxy.wire.translate.openai_responses_writer import ResponsesWriter

ERROR = "Error: "
"""What begins the output of a tool that failed: this dialect has no other mark for it."""


class ResponsesDialect(Dialect):
    """See the module."""

    name = "openai.responses"
    history = "input"
    prompts = frozenset({"instructions"})

    def read_request(self, body: dict[str, Any], model: str, stream: bool) -> Asked:
        """See `Dialect.read_request`."""
        return read_request(body, model, stream)

    def write_request(self, asked: Asked) -> dict[str, Any]:
        """See `Dialect.write_request`. Usage always comes."""
        body: dict[str, Any] = {"model": asked.model, "input": told(asked, asked.turns, self.name, _items), "store": False}
        if asked.stream:
            body["stream"] = True
        plain = {"max_output_tokens": asked.max_output, "temperature": asked.temperature, "top_p": asked.top_p}
        body |= {key: value for key, value in plain.items() if value is not None}
        if asked.tools:
            body["tools"] = told_tools(asked, self.name, _tool)
            if asked.choice:
                body["tool_choice"] = _choice(asked.choice)
            if asked.parallel is not None:
                body["parallel_tool_calls"] = asked.parallel
        elif asked.choice:
            asked.drop("tool_choice without tools")
        if asked.schema is not None:
            named = {"name": asked.schema_name or "answer", "schema": asked.schema, "strict": takes_strict(asked.schema)}
            body["text"] = {"format": {"type": "json_schema", **named}}
        elif asked.json:
            body["text"] = {"format": {"type": "json_object"}}
        if asked.stop:
            raise Untranslatable("/stop: stop sequences, which Responses does not have")
        for name, given in (("seed", asked.seed is not None), ("reasoning effort", asked.effort)):
            if given:
                asked.drop(name)
        return body

    def read_reply(self, body: dict[str, Any]) -> Said:
        """See `Dialect.read_reply`."""
        return read_reply(body)

    def write_reply(self, said: Said, asked: Asked) -> dict[str, Any]:
        """See `Dialect.write_reply`."""
        return write_reply(said, asked)

    def reader(self) -> StreamReader:
        """See `Dialect.reader`."""
        return ResponsesReader()

    def writer(self, asked: Asked) -> StreamWriter:
        """See `Dialect.writer`."""
        return ResponsesWriter(asked)


def _items(asked: Asked, turn: Turn) -> list[dict[str, Any]]:
    return _said(asked, turn) if turn.role == "assistant" else _given(turn)


def _said(asked: Asked, turn: Turn) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for part in turn.parts:
        if isinstance(part, ToolUse):
            found.append({"type": "function_call", "call_id": part.id, "name": part.name, "arguments": part.arguments})
        elif isinstance(part, Text):
            found.append(_message("assistant", [{"type": "output_text", "text": part.text}]))
        else:
            asked.drop_thoughts()
    return found


def _given(turn: Turn) -> list[dict[str, Any]]:
    """Return a turn of the user's or the system's; the outputs of tools stand first."""
    found: list[dict[str, Any]] = [
        {"type": "function_call_output", "call_id": part.id, "output": _output(part)} for part in turn.parts if isinstance(part, ToolOutput)
    ]
    said = _parts([part for part in turn.parts if isinstance(part, SEEN)])
    return [*found, _message(turn.role, said)] if said else found


def _message(role: str, content: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": content}


def _parts(parts: list[Text | Image]) -> list[dict[str, Any]]:
    return [_image(part) if isinstance(part, Image) else {"type": "input_text", "text": part.text} for part in parts]


def _image(image: Image) -> dict[str, Any]:
    return {"type": "input_image", "image_url": image_url(image), "detail": image.detail or "auto"}


def _output(output: ToolOutput) -> str | list[dict[str, Any]]:
    """Return what a tool gave back: a text, or a list of parts where there are images."""
    if any(isinstance(part, Image) for part in output.parts):
        return [*([{"type": "input_text", "text": ERROR.rstrip()}] if output.error else []), *_parts(list(output.parts))]
    text = "\n".join(texts(output.parts))
    return ERROR + text if output.error else text


def _tool(_: Asked, tool: Tool) -> dict[str, Any]:
    """Return a tool. Strictness is said in any case: left open it is off in other dialects and on in this one."""
    found: dict[str, Any] = {"type": "function", "name": tool.name}
    if tool.description:
        found["description"] = tool.description
    return found | {"parameters": tool.schema, "strict": tool.strict is True}


def _choice(choice: str) -> str | dict[str, str]:
    if choice.startswith("tool:"):
        return {"type": "function", "name": choice.removeprefix("tool:")}
    return "required" if choice == "any" else choice
