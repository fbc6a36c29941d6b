"""Requests of OpenAI's Responses read into the hub. What each member becomes stands in docs/translation.md.

Tools that OpenAI runs itself, and custom tools with text in free form, have no words elsewhere; leaving one out would leave the model
without what its instructions speak of, so they are refused by name. So is whatever only the provider's own memory can resolve.

Source: OpenAI API reference, "Create a model response"; types of the Python SDK 3.52 (2026-11).
"""

from __future__ import annotations

from typing import Any

from proxy.wire.translate.given import SWITCHES_ON, flag, image_of, number, objects, schema, sift, whole, word
from proxy.wire.translate.history import prompt_of, tools_of, turns_of
from proxy.wire.translate.hub import Asked, Image, Part, Text, Tool, ToolOutput, ToolUse, Turn, Untranslatable

# fmt: off
_CARRIED = frozenset({
    "model", "input", "instructions", "stream", "tools", "tool_choice", "parallel_tool_calls", "max_output_tokens", "temperature", "top_p",
    "text", "reasoning", "background",
})
_KEPT = "what the provider keeps"
_REFUSED = SWITCHES_ON | {
    "previous_response_id": _KEPT, "conversation": _KEPT, "prompt": _KEPT, "top_logprobs": "log probabilities",
    "background": "an answer to be fetched later",
}
# fmt: on
_MESSAGE = frozenset({"type", "role", "content", "id", "status", "phase"})
_PART = frozenset({"type", "text", "refusal", "image_url", "detail", "annotations", "logprobs"})
_CALL = frozenset({"type", "call_id", "name", "arguments", "id", "status"})
_OUTPUT = frozenset({"type", "call_id", "output", "id", "status"})
_TEXTS = {"input_text": "text", "output_text": "text", "text": "text", "refusal": "refusal", "summary_text": "text"}
_ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
_TOOL = frozenset({"type", "name", "description", "parameters", "strict"})
_FORMAT = frozenset({"type", "name", "schema", "strict"})
_CHOICES = {"auto": "auto", "none": "none", "required": "any"}


def read_request(body: dict[str, Any], model: str, stream: bool) -> Asked:
    """See `Dialect.read_request`."""
    asked = Asked(model, stream=stream)
    sift(asked, body, _CARRIED, _REFUSED)
    if flag(body, "background"):
        raise Untranslatable(f"/background: {_REFUSED['background']}")
    system = prompt_of(asked, body.get("instructions"), _prompt)
    asked.turns += [system] if system.parts else []
    asked.turns += _turns(asked, body.get("input"))
    asked.tools = tools_of(asked, body.get("tools"), _tools)
    _choice(asked, body.get("tool_choice"))
    asked.parallel = flag(body, "parallel_tool_calls")
    asked.max_output = whole(body, "max_output_tokens")
    asked.temperature, asked.top_p = number(body, "temperature"), number(body, "top_p")
    reasoning = _object(body, "reasoning")
    sift(asked, reasoning, {"effort"}, {}, "reasoning/")
    asked.effort = word(reasoning.get("effort"), "/reasoning")
    text = _object(body, "text")
    sift(asked, text, {"format"}, {}, "text/")
    _format(asked, _object(text, "format"))
    return asked


def _object(value: dict[str, Any], key: str) -> dict[str, Any]:
    found = value.get(key)
    if not isinstance(found, dict | None):
        raise Untranslatable(f"/{key}: not an object")
    return found or {}


def _prompt(_: Asked, value: object) -> Turn:
    return Turn("system", (Text(word(value, "/instructions")),) if value else ())


def _turns(asked: Asked, value: object) -> list[Turn]:
    """Return the input as turns, each item as one."""
    if isinstance(value, str):
        return [Turn("user", (Text(value),))] if value else []
    return turns_of(asked, value, "/input", _item)


def _item(asked: Asked, item: dict[str, Any], place: str) -> Turn:
    kind = item.get("type") or "message"
    if kind == "message":
        return _message(asked, item, place)
    if kind == "function_call":
        sift(asked, item, _CALL, {}, "input/function_call/")
        id, name = word(item.get("call_id"), place), word(item.get("name"), place)
        return Turn("assistant", (ToolUse(id, name, word(item.get("arguments"), place) or "{}"),))
    if kind == "function_call_output":
        sift(asked, item, _OUTPUT, {}, "input/function_call_output/")
        id = word(item.get("call_id"), place)
        return Turn("user", (ToolOutput(id, "", tuple(_content(asked, item.get("output"), f"{place}/output"))),))
    if kind == "reasoning":
        asked.drop_thoughts()
        return Turn("assistant", ())
    raise Untranslatable(f"{place}: a {kind} item, which only its own provider has")


def _message(asked: Asked, item: dict[str, Any], place: str) -> Turn:
    sift(asked, item, _MESSAGE, {}, "input/")
    role = _ROLES.get(word(item.get("role"), place))
    parts: tuple[Part, ...] = tuple(_content(asked, item.get("content"), f"{place}/content"))
    if role is None:
        raise Untranslatable(f"{place}: a message of the role {item.get('role')}")
    if role != "user" and any(isinstance(part, Image) for part in parts):
        raise Untranslatable(f"{place}: an image that is not the user's")
    return Turn("user" if role == "user" else "assistant" if role == "assistant" else "system", parts)


def _content(asked: Asked, content: object, place: str) -> list[Text | Image]:
    if content is None or isinstance(content, str):
        return [Text(content)] if content else []
    found: list[Text | Image] = []
    for i, part in enumerate(objects(content, place)):
        kind, here = part.get("type"), f"{place}/{i}"
        if kind in _TEXTS:
            sift(asked, part, _PART, {}, "input/content/")
            text = word(part.get(_TEXTS[kind]), here)
            found += [Text(text)] if text else []
        elif kind == "input_image":
            sift(asked, part, _PART, {"file_id": "an image that the provider keeps"}, "input/content/")
            detail = word(part.get("detail"), here)
            found.append(image_of(word(part.get("image_url"), here), "" if detail == "auto" else detail, here))
        else:
            raise Untranslatable(f"{here}: a {kind} part")
    return found


def _tools(asked: Asked, value: object) -> list[Tool]:
    return [_tool(asked, tool, f"/tools/{i}") for i, tool in enumerate(objects(value, "/tools"))]


def _tool(asked: Asked, tool: dict[str, Any], place: str) -> Tool:
    kind = tool.get("type")
    if kind != "function":
        named = f" ({tool['name']})" if isinstance(tool.get("name"), str) else ""
        raise Untranslatable(f"{place}: a {kind} tool{named}, which only its own provider has")
    sift(asked, tool, _TOOL, {}, "tools/")
    name, described = word(tool.get("name"), place), word(tool.get("description"), place)
    return Tool(name, described, schema(tool.get("parameters"), place), flag(tool, "strict"))


def _choice(asked: Asked, value: object) -> None:
    kind = value.get("type") if isinstance(value, dict) else None
    if value is None:
        return
    if isinstance(value, str) and value in _CHOICES:
        asked.choice = _CHOICES[value]
    elif isinstance(value, dict) and kind == "function":
        asked.choice = f"tool:{word(value.get('name'), '/tool_choice')}"
    elif isinstance(value, dict) and kind == "allowed_tools":
        allowed = {_allowed(tool, f"/tool_choice/tools/{i}") for i, tool in enumerate(objects(value.get("tools"), "/tool_choice/tools"))}
        asked.tools = [tool for tool in asked.tools if tool.name in allowed]
        asked.choice = "any" if value.get("mode") == "required" else "auto"
    else:
        raise Untranslatable("/tool_choice: neither auto, none, required nor functions")


def _allowed(tool: dict[str, Any], place: str) -> str:
    if tool.get("type") != "function":
        raise Untranslatable(f"{place}: a {tool.get('type')} tool, which only its own provider has")
    return word(tool.get("name"), place)


def _format(asked: Asked, value: dict[str, Any]) -> None:
    kind = value.get("type")
    if kind in (None, "text"):
        return
    if kind == "json_object":
        asked.json = True
    elif kind == "json_schema":
        sift(asked, value, _FORMAT, {}, "text/format/")
        asked.schema, asked.schema_name = schema(value.get("schema"), "/text/format"), word(value.get("name"), "/text/format")
    else:
        raise Untranslatable(f"/text/format: an answer of the type {kind}")
