"""Anthropic Messages as a dialect: how its requests are read into the hub and written from it. Replies: `anthropic_reply`.

What each member becomes stands in docs/translation.md. Tools and documents that only Anthropic's servers understand are refused. Thinking
of earlier turns does not carry over, because its signature proves it to no other server; nor is thinking asked for in what we write,
because then Anthropic would want the signed thinking of earlier turns back.

Source: Anthropic API reference, "Create a Message"; types of the Python SDK 2.11 (2026-11).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from proxy.wire.translate.anthropic_reply import MessagesReader, read_reply, write_reply
from proxy.wire.translate.anthropic_writer import MessagesWriter
from proxy.wire.translate.given import (
    SWITCHES_ON,
    arguments_of,
    arguments_text,
    flag,
    image_of,
    number,
    objects,
    schema,
    sift,
    system_apart,
    whole,
    word,
    words,
)
from proxy.wire.translate.history import prompt_of, told, told_tools, tools_of, turns_of
from proxy.wire.translate.hub import (
    Asked,
    Dialect,
    Image,
    Part,
    Said,
    StreamReader,
    StreamWriter,
    Text,
    Thought,
    Tool,
    ToolOutput,
    ToolUse,
    Turn,
    Untranslatable,
)

DEFAULT_MAX_OUTPUT = 8192
"""The ceiling where nobody named one, which this protocol does not allow: a length that every model of the vendor's has."""
# fmt: off
_CARRIED = frozenset({
    "model", "messages", "system", "max_tokens", "stream", "tools", "tool_choice", "temperature", "top_p", "stop_sequences", "thinking",
    "output_config", "output_format",
})
# fmt: on
_REFUSED = SWITCHES_ON | {"container": "a container of the provider's", "prefill": "words put into the model's mouth"}
_MESSAGE = frozenset({"role", "content"})
_BLOCK = frozenset(
    {"type", "text", "source", "thinking", "signature", "data", "id", "name", "input", "tool_use_id", "content", "is_error", "tool_name"}
)
_TOOL = frozenset({"type", "name", "description", "input_schema", "strict"})
_CONFIG = frozenset({"effort", "format"})
_CHOICES = {"auto": "auto", "any": "any", "none": "none"}
_EFFORTS = ((2048, "low"), (8192, "medium"), (32768, "high"))
_odd = re.compile(r"[^a-zA-Z0-9_-]")


class MessagesDialect(Dialect):
    """See the module."""

    name = "anthropic.messages"
    prompts = frozenset({"system"})
    headers = (("anthropic-version", "2023-06-01"),)

    def read_request(self, body: dict[str, Any], model: str, stream: bool) -> Asked:
        """See `Dialect.read_request`."""
        asked = Asked(model, stream=stream)
        sift(asked, body, _CARRIED, _REFUSED)
        system = prompt_of(asked, body.get("system"), _prompt)
        turns = turns_of(asked, body.get("messages"), "/messages", _turn)
        asked.turns = [system, *turns] if system.parts else turns
        asked.tools = tools_of(asked, body.get("tools"), _tools)
        _choice(asked, body.get("tool_choice"))
        asked.max_output = whole(body, "max_tokens")
        asked.temperature, asked.top_p = number(body, "temperature"), number(body, "top_p")
        asked.stop = words(body.get("stop_sequences"), "/stop_sequences")
        asked.effort = _effort(asked, body.get("thinking"))
        config = body.get("output_config")
        if isinstance(config, dict):
            asked.effort = word(config.get("effort"), "/output_config") or asked.effort
            sift(asked, config, _CONFIG, {}, "output_config/")
            _format(asked, config.get("format"))
        _format(asked, body.get("output_format"))
        return asked

    def write_request(self, asked: Asked) -> dict[str, Any]:
        """See `Dialect.write_request`."""
        body: dict[str, Any] = {"model": asked.model, "max_tokens": asked.max_output or DEFAULT_MAX_OUTPUT}
        said, others = system_apart(asked)
        if said:
            body["system"] = said[0] if len(said) == 1 else [{"type": "text", "text": text} for text in said]
        body["messages"] = told(asked, others, self.name, _message)
        if asked.stream:
            body["stream"] = True
        _sampling(asked, body)
        if asked.tools:
            body["tools"] = told_tools(asked, self.name, _written_tool)
            choice = _written_choice(asked)
            if choice is not None:
                body["tool_choice"] = choice
        elif asked.choice:
            asked.drop("tool_choice without tools")
        if asked.schema is not None:
            body["output_config"] = {"format": {"type": "json_schema", "schema": asked.schema}}
        elif asked.json:
            raise Untranslatable("/response_format: JSON of any shape; a JSON Schema can be carried")
        return body

    def read_reply(self, body: dict[str, Any]) -> Said:
        """See `Dialect.read_reply`."""
        return read_reply(body)

    def write_reply(self, said: Said, asked: Asked) -> dict[str, Any]:
        """See `Dialect.write_reply`."""
        return write_reply(said, asked)

    def reader(self) -> StreamReader:
        """See `Dialect.reader`."""
        return MessagesReader()

    def writer(self, asked: Asked) -> StreamWriter:
        """See `Dialect.writer`."""
        return MessagesWriter(asked)


# --- reading -----------------------------------------------------------------------------------------------------------------------


def _prompt(asked: Asked, value: object) -> Turn:
    return Turn("system", tuple(_content(asked, value, "/system")))


def _turn(asked: Asked, message: dict[str, Any], place: str) -> Turn:
    role, content = message.get("role"), message.get("content")
    sift(asked, message, _MESSAGE, {}, "messages/")
    if role == "system":
        return Turn("system", tuple(_content(asked, content, place)))
    if role not in ("user", "assistant"):
        raise Untranslatable(f"{place}: a message of the role {role}")
    if content is None or isinstance(content, str):
        return Turn(role, (Text(content),) if content else ())
    found = [_block(asked, block, f"{place}/content/{i}") for i, block in enumerate(objects(content, f"{place}/content"))]
    return Turn(role, tuple([part for part in found if part is not None]))


def _block(asked: Asked, block: dict[str, Any], place: str) -> Part | None:
    kind = block.get("type")
    sift(asked, block, _BLOCK, {}, "messages/content/")
    if kind == "text":
        text = word(block.get("text"), place)
        return Text(text) if text else None
    if kind == "image":
        return _image(block.get("source"), place)
    if kind == "tool_use":
        return ToolUse(word(block.get("id"), place), word(block.get("name"), place), arguments_text(block.get("input")))
    if kind == "tool_result":
        inner = _content(asked, block.get("content"), place, images=True)
        return ToolOutput(word(block.get("tool_use_id"), place), "", tuple(inner), block.get("is_error") is True)
    if kind == "thinking":
        return Thought(word(block.get("thinking"), place))
    if kind == "redacted_thinking":
        return Thought("")
    if kind == "tool_reference":  # a tool that was found by a search; all tools are offered in full, so its name is all that is new
        return Text(word(block.get("tool_name"), place))
    raise Untranslatable(f"{place}: a {kind} block")


def _content(asked: Asked, content: object, place: str, images: bool = False) -> list[Text | Image]:
    """Return what can stand in a system prompt or, with `images`, in the result of a tool."""
    if content is None or isinstance(content, str):
        return [Text(content)] if content else []
    found: list[Text | Image] = []
    for i, block in enumerate(objects(content, place)):
        part = _block(asked, block, f"{place}/{i}")
        if isinstance(part, Text) or (images and isinstance(part, Image)):
            found.append(part)
        elif part is not None:
            raise Untranslatable(f"{place}/{i}: a {block.get('type')} block")
    return found


def _image(source: object, place: str) -> Image:
    if isinstance(source, dict) and source.get("type") == "base64":
        return Image(word(source.get("media_type"), place), word(source.get("data"), place))
    if isinstance(source, dict) and source.get("type") == "url":
        return image_of(word(source.get("url"), place), "", place)
    raise Untranslatable(f"{place}: an image that the provider keeps")


def _tools(asked: Asked, value: object) -> list[Tool]:
    return [_tool(asked, tool, f"/tools/{i}") for i, tool in enumerate(objects(value, "/tools"))]


def _tool(asked: Asked, tool: dict[str, Any], place: str) -> Tool:
    kind = tool.get("type") or "custom"
    if kind != "custom":
        raise Untranslatable(f"{place}: a {kind} tool, which only its own provider has")
    sift(asked, tool, _TOOL, {}, "tools/")
    name, described = word(tool.get("name"), place), word(tool.get("description"), place)
    return Tool(name, described, schema(tool.get("input_schema"), place), flag(tool, "strict", place))


def _choice(asked: Asked, value: object) -> None:
    if value is None:
        return
    kind = word(value.get("type"), "/tool_choice") if isinstance(value, dict) else ""
    if not isinstance(value, dict) or (kind not in _CHOICES and kind != "tool"):
        raise Untranslatable("/tool_choice: neither auto, any, none nor one tool")
    asked.choice = _CHOICES.get(kind) or f"tool:{word(value.get('name'), '/tool_choice')}"
    alone = flag(value, "disable_parallel_tool_use", "/tool_choice")
    asked.parallel = None if alone is None else not alone


def _effort(asked: Asked, thinking: object) -> str:
    """Return the effort that a budget for thinking stands for; how else to think is the model's own affair."""
    if thinking is None:
        return ""
    budget = thinking.get("budget_tokens") if isinstance(thinking, dict) and thinking.get("type") == "enabled" else None
    if not isinstance(budget, int):
        asked.drop("thinking")
        return ""
    return next((effort for most, effort in _EFFORTS if budget <= most), "xhigh")


def _format(asked: Asked, value: object) -> None:
    if value is None:
        return
    if not isinstance(value, dict) or value.get("type") != "json_schema":
        raise Untranslatable("/output_config/format: not a JSON Schema")
    asked.schema = schema(value.get("schema"), "/output_config/format")


# --- writing -----------------------------------------------------------------------------------------------------------------------


def _message(asked: Asked, turn: Turn) -> list[dict[str, Any]]:
    outputs = [part for part in turn.parts if isinstance(part, ToolOutput)]
    others = [part for part in turn.parts if isinstance(part, (Text, Image, ToolUse))]
    if len(outputs) + len(others) < len(turn.parts):
        asked.drop_thoughts()
    blocks = [_written_output(asked, output) for output in outputs] + _blocks(asked, others)
    plain = len(others) == len(blocks) == 1 and isinstance(others[0], Text)
    return [{"role": turn.role, "content": blocks[0]["text"] if plain else blocks}]


def _written_output(asked: Asked, output: ToolOutput) -> dict[str, Any]:
    blocks = _blocks(asked, output.parts)
    found: dict[str, Any] = {"type": "tool_result", "tool_use_id": _id(output.id)}
    if blocks:
        found["content"] = blocks[0]["text"] if len(blocks) == 1 and "text" in blocks[0] else blocks
    return found | {"is_error": True} if output.error else found


def _blocks(asked: Asked, parts: Sequence[Text | Image | ToolUse]) -> list[dict[str, Any]]:
    return [_written(asked, part) for part in parts]


def _written(asked: Asked, part: Text | Image | ToolUse) -> dict[str, Any]:
    if isinstance(part, ToolUse):
        return {"type": "tool_use", "id": _id(part.id), "name": part.name, "input": arguments_of(part)}
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    if part.detail not in ("", "auto"):
        asked.drop("image detail")
    kept = {"type": "base64", "media_type": part.mime, "data": part.data}
    return {"type": "image", "source": {"type": "url", "url": part.url} if part.url else kept}


def _id(id: str) -> str:
    """Return a call's id in the characters that this protocol takes; some servers use others, and both ends change alike."""
    return _odd.sub("_", id)


def _sampling(asked: Asked, body: dict[str, Any]) -> None:
    if asked.temperature is not None:
        body["temperature"] = min(asked.temperature, 1)
        if asked.temperature > 1:
            asked.drop("temperature above 1")
    if asked.top_p is not None and asked.temperature is None:
        body["top_p"] = asked.top_p
    elif asked.top_p is not None:
        asked.drop("top_p beside temperature")
    if asked.stop:
        body["stop_sequences"] = asked.stop
        if not all(stop.strip() for stop in asked.stop):
            raise Untranslatable("/stop: a stop sequence of white space alone")
    if asked.seed is not None:
        asked.drop("seed")
    if asked.effort:
        asked.drop("reasoning effort")


def _written_tool(_: Asked, tool: Tool) -> dict[str, Any]:
    found: dict[str, Any] = {"name": tool.name}
    if tool.description:
        found["description"] = tool.description
    found["input_schema"] = tool.schema if "type" in tool.schema else {"type": "object", **tool.schema}
    return found if tool.strict is None else found | {"strict": tool.strict}


def _written_choice(asked: Asked) -> dict[str, Any] | None:
    if not asked.choice and asked.parallel is None:
        return None
    kind = asked.choice or "auto"
    found: dict[str, Any] = {"type": "tool", "name": kind.removeprefix("tool:")} if kind.startswith("tool:") else {"type": kind}
    if asked.parallel is not None and kind != "none":
        found["disable_parallel_tool_use"] = not asked.parallel
    return found
