"""Ollama's chat as a dialect: how its requests are read into the hub and written from it. Replies: `ollama_reply`.

What each member becomes stands in docs/translation.md. Images stand as bare base64 beside the text; older clients send neither ids of calls
nor of what they gave back, so these find each other by name and order. A model cannot be made to call a tool here: that is refused.

Source: Ollama API reference, "Generate a chat completion", and `api/types.go` of the server; types of the Python SDK 0.6.3 (2026-11).
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from proxy.wire.translate.calls import CallIds, Names
from proxy.wire.translate.given import (
    SWITCHES_ON,
    arguments_of,
    arguments_text,
    number,
    objects,
    schema,
    sift,
    texts,
    whole,
    word,
    words,
)
from proxy.wire.translate.history import told, told_tools, tools_of, turns_of
from proxy.wire.translate.hub import (
    SEEN,
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
from proxy.wire.translate.ollama_reply import OllamaReader, OllamaWriter, read_reply, write_reply

# fmt: off
_CARRIED = frozenset({"model", "messages", "stream", "tools", "options", "format", "think"})
_REFUSED = SWITCHES_ON | {"logprobs": "log probabilities", "top_logprobs": "log probabilities"}
_MESSAGE = frozenset({"role", "content", "images", "thinking", "tool_calls", "tool_name", "tool_call_id"})
_OPTIONS = frozenset({"num_predict", "temperature", "top_p", "stop", "seed"})
_FUNCTION = frozenset({"name", "description", "parameters"})
# fmt: on
_EFFORTS = {"low": "low", "medium": "medium", "high": "high", "minimal": "low", "xhigh": "high", "max": "high"}
_LEVELLED = "gpt-oss"
"""Models that take a level. Of others, those that can think do so unasked, and those that cannot refuse to be asked."""
ERROR = "Error: "
"""What begins the output of a tool that failed: this dialect has no other mark for it."""
_MAGIC = ((b"\x89PNG", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"), (b"RIFF", "image/webp"))


class OllamaDialect(Dialect):
    """See the module."""

    name = "ollama.chat"

    def read_request(self, body: dict[str, Any], model: str, stream: bool) -> Asked:
        """See `Dialect.read_request`."""
        asked = Asked(model, stream=stream)
        sift(asked, body, _CARRIED, _REFUSED)
        asked.turns = turns_of(asked, body.get("messages"), "/messages", _turn, CallIds())
        asked.tools = tools_of(asked, body.get("tools"), _tools)
        _options(asked, body.get("options"))
        _format(asked, body.get("format"))
        think = body.get("think")
        if think is not None:
            asked.effort = {True: "medium", False: "none"}[think] if isinstance(think, bool) else word(think, "/think")
        return asked

    def write_request(self, asked: Asked) -> dict[str, Any]:
        """See `Dialect.write_request`. Usage always comes."""
        messages = told(asked, asked.turns, self.name, _messages, Names())
        body: dict[str, Any] = {"model": asked.model, "messages": messages, "stream": asked.stream}
        if not asked.tools and asked.choice:
            asked.drop("tool_choice without tools")
        elif asked.choice not in ("", "auto", "none"):
            raise Untranslatable("/tool_choice: Ollama cannot make a model call a tool")
        if asked.tools and asked.choice != "none":
            body["tools"] = told_tools(asked, self.name, _written_tool)
        if asked.parallel is False:
            asked.drop("parallel tool calls off")
        options: dict[str, Any] = {
            "num_predict": asked.max_output,
            "temperature": asked.temperature,
            "top_p": asked.top_p,
            "stop": asked.stop or None,
            "seed": asked.seed,
        }
        options = {key: value for key, value in options.items() if value is not None}
        if options:
            body["options"] = options
        if asked.schema is not None or asked.json:
            body["format"] = asked.schema if asked.schema is not None else "json"
        if asked.effort == "none":
            body["think"] = False
        elif asked.effort and asked.model.startswith(_LEVELLED) and asked.effort in _EFFORTS:
            body["think"] = _EFFORTS[asked.effort]
        elif asked.effort:
            asked.drop("reasoning effort")
        return body

    def read_reply(self, body: dict[str, Any]) -> Said:
        """See `Dialect.read_reply`."""
        return read_reply(body)

    def write_reply(self, said: Said, asked: Asked) -> dict[str, Any]:
        """See `Dialect.write_reply`."""
        return write_reply(said, asked)

    def reader(self) -> StreamReader:
        """See `Dialect.reader`."""
        return OllamaReader()

    def writer(self, asked: Asked) -> StreamWriter:
        """See `Dialect.writer`."""
        return OllamaWriter(asked)


# --- reading -----------------------------------------------------------------------------------------------------------------------


def _turn(asked: Asked, message: dict[str, Any], place: str) -> Turn:
    sift(asked, message, _MESSAGE, {}, "messages/")
    role, content = word(message.get("role"), place), word(message.get("content"), place)
    said: list[Text | Image] = [Text(content)] if content else []
    pictures = message.get("images") or []
    if not isinstance(pictures, list):
        raise Untranslatable(f"{place}/images: not a list")
    said += [_image(picture, place) for picture in pictures]
    if role == "tool":
        id, name = word(message.get("tool_call_id"), place), word(message.get("tool_name"), place)
        return Turn("user", (ToolOutput(id, name, tuple(said)),))
    if role == "assistant":
        parts: list[Part] = [Thought(thought)] if (thought := word(message.get("thinking"), place)) else []
        calls = [_call(call, f"{place}/tool_calls/{i}") for i, call in enumerate(objects(message.get("tool_calls"), place))]
        return Turn("assistant", (*parts, *_no_images(said, place), *calls))
    if role == "user":
        return Turn("user", tuple(said))
    if role == "system":
        return Turn("system", tuple(_no_images(said, place)))
    raise Untranslatable(f"{place}: a message of the role {role}")


def _no_images(said: list[Text | Image], place: str) -> list[Text | Image]:
    if any(isinstance(part, Image) for part in said):
        raise Untranslatable(f"{place}: an image that is not the user's")
    return said


def _image(value: object, place: str) -> Image:
    data = word(value, place)
    try:
        head = base64.b64decode(data[:16], validate=True)
    except (binascii.Error, ValueError):
        head = b""
    mime = next((mime for magic, mime in _MAGIC if head.startswith(magic)), "")
    if not mime:
        raise Untranslatable(f"{place}: an image that is neither PNG, JPEG, GIF nor WebP in base64")
    return Image(mime, data)


def _call(call: dict[str, Any], place: str) -> ToolUse:
    function = call.get("function")
    if not isinstance(function, dict):
        raise Untranslatable(f"{place}: a call of no function")
    name, arguments = word(function.get("name"), place), function.get("arguments")
    if not isinstance(arguments, dict | str | None):
        raise Untranslatable(f"{place}: arguments that are no object")
    text = arguments if isinstance(arguments, str) else arguments_text(arguments)
    return ToolUse(word(call.get("id"), place), name, text or "{}")


def _tools(asked: Asked, value: object) -> list[Tool]:
    return [_tool(asked, tool, f"/tools/{i}") for i, tool in enumerate(objects(value, "/tools"))]


def _tool(asked: Asked, tool: dict[str, Any], place: str) -> Tool:
    function, kind = tool.get("function"), tool.get("type", "function")
    if kind != "function" or not isinstance(function, dict):
        raise Untranslatable(f"{place}: a {kind} tool")
    sift(asked, function, _FUNCTION, {}, "tools/")
    return Tool(word(function.get("name"), place), word(function.get("description"), place), schema(function.get("parameters"), place))


def _options(asked: Asked, options: object) -> None:
    if options is None:
        return
    if not isinstance(options, dict):
        raise Untranslatable("/options: not an object")
    sift(asked, options, _OPTIONS, {}, "options/")
    ceiling = whole(options, "num_predict")
    asked.max_output = ceiling if ceiling is not None and ceiling > 0 else None
    asked.temperature, asked.top_p, asked.seed = number(options, "temperature"), number(options, "top_p"), whole(options, "seed")
    asked.stop = words(options.get("stop"), "/options/stop")


def _format(asked: Asked, value: object) -> None:
    if value in (None, ""):
        return
    if value == "json":
        asked.json = True
    elif isinstance(value, dict):
        asked.schema = schema(value, "/format")
    else:
        raise Untranslatable("/format: neither json nor a JSON Schema")


# --- writing -----------------------------------------------------------------------------------------------------------------------


def _messages(asked: Asked, turn: Turn) -> list[dict[str, Any]]:
    if turn.role == "assistant":
        return _said(asked, turn)
    outputs = [part for part in turn.parts if isinstance(part, ToolOutput)]
    found = [_written_output(output) for output in outputs]
    found += _given(turn.role, [image for output in outputs for image in output.parts if isinstance(image, Image)])
    return found + _given(turn.role, [part for part in turn.parts if isinstance(part, SEEN)])


def _said(asked: Asked, turn: Turn) -> list[dict[str, Any]]:
    calls = [
        {"id": part.id, "function": {"name": part.name, "arguments": arguments_of(part)}}
        for part in turn.parts
        if isinstance(part, ToolUse)
    ]
    text = "".join(texts(turn.parts))
    if any(isinstance(part, Thought) for part in turn.parts):
        asked.drop_thoughts()
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if calls:
        message["tool_calls"] = calls
    return [message]


def _given(role: str, parts: list[Text | Image] | list[Image]) -> list[dict[str, Any]]:
    if not parts:
        return []
    message: dict[str, Any] = {"role": role, "content": "\n".join(texts(parts))}
    images = [_data(part) for part in parts if isinstance(part, Image)]
    return [message | {"images": images} if images else message]


def _data(image: Image) -> str:
    if image.url:
        raise Untranslatable("an image at an address, which Ollama does not fetch")
    return image.data


def _written_output(output: ToolOutput) -> dict[str, Any]:
    text = "\n".join(texts(output.parts))
    found = {"role": "tool", "content": ERROR + text if output.error else text}
    return found | {key: value for key, value in (("tool_name", output.name), ("tool_call_id", output.id)) if value}


def _written_tool(asked: Asked, tool: Tool) -> dict[str, Any]:
    if tool.strict:
        asked.drop("strict tools")
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    return {"type": "function", "function": function | {"parameters": tool.schema}}
