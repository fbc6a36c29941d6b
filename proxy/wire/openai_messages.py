"""How one message and one list of tools of the OpenAI chat dialect read. Parsed once and remembered; see `wire.memo`.

A message of an unknown role or shape is the provider's to judge; here all of its text counts.

Source: OpenAI API reference, "Create chat completion", and the types of its Python SDK 3.52 (2026-11); `reasoning_content` and
`reasoning` as DeepSeek, vLLM and OpenRouter write them.
"""

from __future__ import annotations

from typing import Any

from proxy.wire import jsonio, media
from proxy.wire.call import Media, Message, Tools, ToolSpec, WireError
from proxy.wire.reading import Reading, plain, plain_result

PROTOCOL = "openai"
ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
# fmt: off
_KEYS = frozenset({
    "role", "content", "name", "refusal", "tool_calls", "function_call", "tool_call_id", "reasoning_content", "reasoning", "audio",
    "annotations", "id", "index",
})
# fmt: on
_PART_KEYS = frozenset({"type", "text", "refusal", "cache_control", "prompt_cache_breakpoint"})
_CALL_KEYS = frozenset({"id", "type", "index", "function", "custom"})
OWN = ("function", "custom")
_TOOL_KEYS = frozenset({"type", "name", "function", "custom", "model"})
_MEDIA = {"image_url": "image_url", "input_image": "image_url", "input_audio": "input_audio", "file": "file", "video_url": "video_url"}


def parse_message(raw: bytes) -> Message:
    """Return the message that `raw` is.

    Raises:
        WireError: not a JSON object, or ambiguous.
    """
    return plain(raw) or plain_result(raw) or _read(raw)


def _read(raw: bytes) -> Message:
    value = jsonio.strict(raw, PROTOCOL, "/messages")
    if not isinstance(value, dict):
        raise WireError(PROTOCOL, "/messages", "each message must be an object")
    jsonio.look_alikes(value, _KEYS, PROTOCOL)
    reading = Reading()
    role = value.get("role")
    if not isinstance(role, str) or role not in ROLES:
        reading.text(role)
    reading.text(value.get("name"))
    for key in ("reasoning_content", "reasoning"):
        reading.text(value.get(key))
    texts, parts = len(reading.texts), len(reading.media)
    _content(reading, value.get("content"))
    if role in ("tool", "function"):
        reading.result(value.get("tool_call_id") or value.get("name"), reading.digest(texts, parts))
    else:
        reading.text(value.get("tool_call_id"))
    reading.text(value.get("refusal"))
    _calls(reading, value)
    if value.get("audio"):
        reading.media.append(Media("audio", len(jsonio.dumps(value["audio"]))))
    reading.rest(value, _KEYS)
    return reading.message(raw, jsonio.clean(role) if isinstance(role, str) else "")


def _content(reading: Reading, content: object) -> None:
    if isinstance(content, list):
        for part in content:
            _part(reading, part)
    else:
        reading.text(content)


def _part(reading: Reading, part: Any) -> None:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in ("text", "refusal"):
        reading.text(part.get("text"))
        reading.text(part.get("refusal"))
        reading.rest(part, _PART_KEYS)
    elif isinstance(kind, str) and kind in _MEDIA:
        reading.media.append(_media(kind, part))
        reading.rest(part, _PART_KEYS | {_MEDIA[kind]})
    else:
        reading.text(part)


def _media(kind: str, part: dict[str, Any]) -> Media:
    size = len(jsonio.dumps(part))
    image = part.get("image_url")
    if isinstance(image, str):
        image = {"url": image}
    if not isinstance(image, dict):
        return Media(kind, size)
    url, detail = image.get("url"), image.get("detail")
    width, height = media.of_url(url) if isinstance(url, str) else media.UNKNOWN
    return Media(kind, size, detail if isinstance(detail, str) else "", width, height)


def _calls(reading: Reading, value: dict[str, Any]) -> None:
    calls = value.get("tool_calls")
    if isinstance(calls, list):
        for call in calls:
            _call(reading, call)
    else:
        reading.text(calls)
    old = value.get("function_call")
    if isinstance(old, dict):
        reading.call(None, old.get("name"), old.get("arguments"))
        reading.rest(old, ("name", "arguments"))
    else:
        reading.text(old)


def _call(reading: Reading, call: Any) -> None:
    function = call.get("function") if isinstance(call, dict) else None
    custom = call.get("custom") if isinstance(call, dict) else None
    if isinstance(function, dict):
        reading.call(call.get("id"), function.get("name"), function.get("arguments"))
        reading.rest(function, ("name", "arguments"))
        reading.text(custom)
    elif isinstance(custom, dict):
        reading.call(call.get("id"), custom.get("name"), custom.get("input"))
        reading.rest(custom, ("name", "input"))
    else:
        reading.text(call)
        return
    reading.rest(call, _CALL_KEYS)


def parse_tools(raw: bytes) -> Tools:
    """Return the tools that the value of `tools` offers.

    Raises:
        WireError: not an array of objects with names.
    """
    return Tools(tuple(spec for tool in tool_objects(raw, PROTOCOL, "/tools") for spec in _specs(tool)), raw.decode())


def parse_functions(raw: bytes) -> Tools:
    """Return the tools that the value of the old `functions` offers; raises as `parse_tools` does."""
    found = tool_objects(raw, PROTOCOL, "/functions")
    return Tools(tuple(ToolSpec(tool_name(tool.get("name"), PROTOCOL, "/functions")) for tool in found), raw.decode())


def _specs(tool: dict[str, Any]) -> list[ToolSpec]:
    """Return a spec for each name that some server could read: many take `function.name` whatever the type says."""
    kind = tool_name(tool.get("type", "function"), PROTOCOL, "/tools")
    names = given_names(tool, PROTOCOL, kind)
    if kind not in OWN:
        return [ToolSpec(kind, kind, asked_model(tool, kind)), *(ToolSpec(name) for name in names if name != kind)]
    inner = tool.get(kind)
    tool_name(inner.get("name") if isinstance(inner, dict) else None, PROTOCOL, "/tools")
    return [ToolSpec(name, kind) for name in names]


def given_names(tool: dict[str, Any], protocol: str, kind: str = "function") -> list[str]:
    """Return all names that a tool has, at its top and in its parts, each once."""
    parts = (part for key in (kind, *OWN) if isinstance(part := tool.get(key), dict))
    found = [part.get("name") for part in parts] + [tool.get("name")]
    return list(dict.fromkeys(tool_name(name, protocol, "/tools") for name in found if name is not None))


def asked_model(tool: dict[str, Any], kind: str = "") -> str:
    """Return the model that a provider's own tool asks, or nothing."""
    inner = tool.get(kind)
    model = tool.get("model") or (inner.get("model") if isinstance(inner, dict) else None)
    return jsonio.clean(model) if isinstance(model, str) else ""


def tool_objects(raw: bytes, protocol: str, pointer: str) -> list[dict[str, Any]]:
    """Return the objects of a list of tools, read strictly. Raises WireError when it is anything else."""
    value = jsonio.strict(raw, protocol, pointer)
    if not isinstance(value, list) or not all(isinstance(tool, dict) for tool in value):
        raise WireError(protocol, pointer, "must be an array of objects")
    for tool in value:
        jsonio.look_alikes(tool, _TOOL_KEYS, protocol)
        for inner in (tool.get("function"), tool.get("custom")):
            if isinstance(inner, dict):
                jsonio.look_alikes(inner, _TOOL_KEYS, protocol)
    return value


def tool_name(value: object, protocol: str, pointer: str) -> str:
    """Return a tool's name, on which rules rely. Raises WireError when it is none."""
    if not isinstance(value, str) or not value:
        raise WireError(protocol, pointer, "each tool must have a name")
    return jsonio.clean(value)
