"""OpenAI Chat Completions as a dialect: how its requests are read into the hub and written from it. Replies: `openai_chat_reply`.

What each member becomes stands in docs/translation.md. The old form of tools (`functions`) and tools that only OpenAI runs have no words
elsewhere and are refused.

Source: OpenAI API reference, "Create chat completion"; types of the Python SDK 3.52 (2026-11).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proxy.wire.translate.given import (
    SWITCHES_ON,
    arguments_text,
    flag,
    image_of,
    image_url,
    number,
    objects,
    schema,
    sift,
    takes_strict,
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
from proxy.wire.translate.openai_chat_reply import ChatReader, ChatWriter, read_reply, write_reply

# fmt: off
_CARRIED = frozenset({
    "model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "temperature", "top_p", "stop", "seed",
    "tools", "tool_choice", "parallel_tool_calls", "response_format", "reasoning_effort", "n", "modalities",
})
# fmt: on
_REFUSED = SWITCHES_ON | {
    "functions": "the old form of tools",
    "function_call": "the old form of tools",
    "audio": "a spoken answer",
    "logprobs": "log probabilities",
    "top_logprobs": "log probabilities",
    "logit_bias": "tokens that are forced or forbidden",
    "moderation": "the provider's moderation",
}
_MESSAGE = frozenset({"role", "content", "refusal", "tool_calls", "tool_call_id", "reasoning_content", "reasoning"})
_MESSAGE_REFUSED = {"function_call": "the old form of tools", "audio": "a spoken answer"}
_PART = frozenset({"type", "text", "refusal", "image_url"})
_TOOL, _FUNCTION = frozenset({"type", "function"}), frozenset({"name", "description", "parameters", "strict"})
_FORMAT = frozenset({"name", "schema", "strict"})
_OPTIONS = frozenset({"include_usage"})
_CHOICES = {"auto": "auto", "none": "none", "required": "any"}
ERROR = "Error: "
"""What begins the output of a tool that failed: this dialect has no other mark for it."""
SEEN_BELOW = "(The images of this result follow.)"


class ChatDialect(Dialect):
    """See the module."""

    name = "openai.chat"

    def read_request(self, body: dict[str, Any], model: str, stream: bool) -> Asked:
        """See `Dialect.read_request`."""
        asked = Asked(model, stream=stream)
        sift(asked, body, _CARRIED, _REFUSED)
        if body.get("modalities") not in (None, ["text"]):
            raise Untranslatable("/modalities: an answer that is not text")
        asked.turns = turns_of(asked, body.get("messages"), "/messages", _turn)
        asked.tools = tools_of(asked, body.get("tools"), _tools)
        asked.choice, asked.parallel = _choice(body.get("tool_choice")), flag(body, "parallel_tool_calls")
        ceilings = [c for key in ("max_completion_tokens", "max_tokens") if (c := whole(body, key)) is not None]
        asked.max_output = min(ceilings) if ceilings else None
        asked.temperature, asked.top_p = number(body, "temperature"), number(body, "top_p")
        asked.seed = whole(body, "seed")
        asked.stop = words(body.get("stop"), "/stop")
        asked.effort = word(body.get("reasoning_effort"), "/reasoning_effort")
        _format(asked, body.get("response_format"))
        options = body.get("stream_options")
        if isinstance(options, dict):
            asked.include_usage = options.get("include_usage") is True
            sift(asked, options, _OPTIONS, {}, "stream_options/")
        return asked

    def write_request(self, asked: Asked) -> dict[str, Any]:
        """See `Dialect.write_request`."""
        body: dict[str, Any] = {"model": asked.model, "messages": told(asked, asked.turns, self.name, _messages)}
        if asked.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        if asked.max_output is not None:
            body[asked.ceiling_key or "max_completion_tokens"] = asked.max_output
        plain = {"temperature": asked.temperature, "top_p": asked.top_p, "seed": asked.seed, "stop": asked.stop or None}
        body |= {key: value for key, value in plain.items() if value is not None}
        if asked.tools:
            body["tools"] = told_tools(asked, self.name, _function)
            if asked.choice:
                body["tool_choice"] = _written_choice(asked.choice)
            if asked.parallel is not None:
                body["parallel_tool_calls"] = asked.parallel
        elif asked.choice:
            asked.drop("tool_choice without tools")
        if asked.schema is not None:
            named = {"name": asked.schema_name or "answer", "schema": asked.schema, "strict": takes_strict(asked.schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": named}
        elif asked.json:
            body["response_format"] = {"type": "json_object"}
        if asked.effort:
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
        return ChatReader()

    def writer(self, asked: Asked) -> StreamWriter:
        """See `Dialect.writer`."""
        return ChatWriter(asked)


# --- reading -----------------------------------------------------------------------------------------------------------------------


def _turn(asked: Asked, message: dict[str, Any], place: str) -> Turn:
    role, content = message.get("role"), message.get("content")
    sift(asked, message, _MESSAGE, _MESSAGE_REFUSED, "messages/")
    if role in ("system", "developer"):
        return Turn("system", tuple(_content(asked, content, place, images=False)))
    if role == "user":
        return Turn("user", tuple(_content(asked, content, place)))
    if role == "assistant":
        return Turn("assistant", tuple(_assistant(asked, message, place)))
    if role == "tool":
        id = word(message.get("tool_call_id"), f"{place}/tool_call_id")
        return Turn("user", (ToolOutput(id, "", tuple(_content(asked, content, place))),))
    raise Untranslatable(f"{place}: a message of the role {role}")


def _content(asked: Asked, content: object, place: str, images: bool = True) -> list[Text | Image]:
    if content is None or isinstance(content, str):
        return [Text(content)] if content else []
    found: list[Text | Image] = []
    for i, part in enumerate(objects(content, f"{place}/content")):
        kind, here = part.get("type"), f"{place}/content/{i}"
        sift(asked, part, _PART, {}, "messages/content/")
        if kind in ("text", "refusal"):
            text = word(part.get(kind), here)
            found += [Text(text)] if text else []
        elif kind == "image_url" and images:
            image = part.get("image_url")
            image = image if isinstance(image, dict) else {"url": image}
            found.append(image_of(word(image.get("url"), here), word(image.get("detail"), here), here))
        else:
            raise Untranslatable(f"{here}: a {kind} part")
    return found


def _assistant(asked: Asked, message: dict[str, Any], place: str) -> list[Part]:
    thought = message.get("reasoning_content") or message.get("reasoning")
    parts: list[Part] = [Thought(thought)] if isinstance(thought, str) and thought else []
    parts += _content(asked, message.get("content"), place, images=False)
    parts += _content(asked, message.get("refusal"), place, images=False)
    for i, call in enumerate(objects(message.get("tool_calls"), f"{place}/tool_calls")):
        function, here = call.get("function"), f"{place}/tool_calls/{i}"
        if not isinstance(function, dict):
            raise Untranslatable(f"{here}: a call of a {call.get('type')} tool")
        given = function.get("arguments")
        arguments = arguments_text(given) if isinstance(given, dict) else word(given, here)
        parts.append(ToolUse(word(call.get("id"), here), word(function.get("name"), here), arguments or "{}"))
    return parts


def _tools(asked: Asked, value: object) -> list[Tool]:
    return [_tool(asked, tool, f"/tools/{i}") for i, tool in enumerate(objects(value, "/tools"))]


def _tool(asked: Asked, tool: dict[str, Any], place: str) -> Tool:
    function, kind = tool.get("function"), tool.get("type", "function")
    if kind != "function" or not isinstance(function, dict):
        raise Untranslatable(f"{place}: a {kind} tool, which only its own provider has")
    sift(asked, tool, _TOOL, {}, "tools/")
    sift(asked, function, _FUNCTION, {}, "tools/")
    return Tool(
        word(function.get("name"), place),
        word(function.get("description"), place),
        schema(function.get("parameters"), place),
        flag(function, "strict", place),
    )


def _choice(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str) and value in _CHOICES:
        return _CHOICES[value]
    function = value.get("function") if isinstance(value, dict) and value.get("type") == "function" else None
    if not isinstance(function, dict):
        raise Untranslatable("/tool_choice: neither auto, none, required nor one function")
    return f"tool:{word(function.get('name'), '/tool_choice')}"


def _format(asked: Asked, value: object) -> None:
    kind = value.get("type") if isinstance(value, dict) else value
    if kind in (None, "text"):
        return
    inner = value.get("json_schema") if isinstance(value, dict) else None
    if kind == "json_object":
        asked.json = True
    elif kind == "json_schema" and isinstance(inner, dict):
        sift(asked, inner, _FORMAT, {}, "response_format/")
        asked.schema = schema(inner.get("schema"), "/response_format")
        asked.schema_name = word(inner.get("name"), "/response_format")
    else:
        raise Untranslatable("/response_format: neither text, json_object nor json_schema")


# --- writing -----------------------------------------------------------------------------------------------------------------------


def _messages(asked: Asked, turn: Turn) -> list[dict[str, Any]]:
    if turn.role == "assistant":
        return [_said_before(asked, turn)]
    if turn.role == "user":
        return _user(turn)
    return [{"role": "system", "content": _parts([p for p in turn.parts if isinstance(p, Text)])}]


def _user(turn: Turn) -> list[dict[str, Any]]:
    """Return the tools' outputs, which must follow their calls at once, and then what the user said, the outputs' images first."""
    found: list[dict[str, Any]] = []
    said: list[Text | Image] = []
    for part in turn.parts:
        if isinstance(part, ToolOutput):
            images = [p for p in part.parts if isinstance(p, Image)]
            text = "\n".join(texts(part.parts)) or (SEEN_BELOW if images else "")
            found.append({"role": "tool", "tool_call_id": part.id, "content": ERROR + text if part.error else text})
            said += [Text(f"The images of the tool result {part.id}:"), *images] if images else []
    said += [part for part in turn.parts if isinstance(part, SEEN)]
    return [*found, {"role": "user", "content": _parts(said)}] if said else found


def _said_before(asked: Asked, turn: Turn) -> dict[str, Any]:
    said: list[Text] = []
    calls: list[dict[str, Any]] = []
    for part in turn.parts:
        if isinstance(part, Text):
            said.append(part)
        elif isinstance(part, ToolUse):
            calls.append({"id": part.id, "type": "function", "function": {"name": part.name, "arguments": part.arguments}})
        else:  # a thought: nothing else comes here, see `bridge`
            asked.drop_thoughts()
    message: dict[str, Any] = {"role": "assistant", "content": _parts(said) if said else None}
    return message | {"tool_calls": calls} if calls else message


def _parts(parts: Sequence[Text | Image]) -> str | list[dict[str, Any]]:
    if len(parts) == 1 and isinstance(parts[0], Text):
        return parts[0].text
    return [{"type": "text", "text": p.text} if isinstance(p, Text) else {"type": "image_url", "image_url": _image(p)} for p in parts]


def _image(image: Image) -> dict[str, str]:
    found = {"url": image_url(image)}
    return found | {"detail": image.detail} if image.detail else found


def _function(_: Asked, tool: Tool) -> dict[str, Any]:
    found: dict[str, Any] = {"name": tool.name}
    if tool.description:
        found["description"] = tool.description
    found["parameters"] = tool.schema
    return {"type": "function", "function": found if tool.strict is None else found | {"strict": tool.strict}}


def _written_choice(choice: str) -> str | dict[str, Any]:
    if choice.startswith("tool:"):
        return {"type": "function", "function": {"name": choice.removeprefix("tool:")}}
    return "required" if choice == "any" else choice
