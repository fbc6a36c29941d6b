"""How one input item of the OpenAI Responses dialect reads, and what counts as a tool call in it. Remembered; see `wire.memo`.

A conversation is a list of items here: messages, and beside them each tool call, each result and each piece of reasoning. So that the
rest of the house need not know, an item reads as a message: a call is the assistant's, a result is a tool's, reasoning is nobody's turn.
An item of an unknown kind is the provider's to judge; all of its text counts, and if it looks like a call it is one.

Source: OpenAI API reference, "Create a model response"; types of the Python SDK 3.52 (2026-11).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from proxy.wire import jsonio, media
from proxy.wire.call import OPAQUE, Media, Message, WireError
from proxy.wire.openai_messages import PROTOCOL
from proxy.wire.openai_responses_tools import read_specs
from proxy.wire.reading import Reading, plain

ITEM, TEXT, INSTRUCTIONS, PROMPT = b"responses item:", b"responses input:", b"responses instructions:", b"responses prompt:"
REFERENCE = "item_reference"
"""The role of an item that only names another one, which the provider keeps."""
# fmt: off
_KEYS = frozenset({
    "type", "role", "content", "id", "call_id", "name", "namespace", "status", "phase", "arguments", "input", "output", "outputs", "action",
    "actions", "operation", "summary", "encrypted_content", "tools", "code", "result", "results", "queries", "error", "server_label",
})
# fmt: on
_MESSAGE_KEYS = frozenset({"type", "role", "content", "id", "status", "phase"})
_REASONING_KEYS = frozenset({"type", "id", "status", "summary", "content", "encrypted_content"})
_RESULT_KEYS = frozenset({"type", "id", "call_id", "status", "output", "result", "tools", "execution"})
_OFFER_KEYS = frozenset({"type", "id", "role", "tools"})
_TEXT_KEYS = frozenset({"type", "text", "refusal", "prompt_cache_breakpoint"})
_TEXT_PARTS = frozenset({"input_text", "output_text", "text", "refusal", "summary_text", "reasoning_text"})
_MEDIA: Mapping[str, frozenset[str]] = {
    "input_image": frozenset({"image_url", "file_id", "detail"}),
    "computer_screenshot": frozenset({"image_url", "file_id", "detail"}),
    "input_file": frozenset({"file_data", "file_id", "file_url", "detail"}),
    "input_audio": frozenset({"input_audio"}),
}
GIVEN: Mapping[str, str] = {
    "function_call": "arguments",
    "custom_tool_call": "input",
    "mcp_call": "arguments",
    "mcp_approval_request": "arguments",
}
"""Kinds of calls that carry a tool's name, to where its arguments stand."""
_YIELDS = ("output", "outputs", "result", "results", "error")
"""What came of a call that the provider ran itself."""
_ABOUT = frozenset({"type", "id", "call_id", "status", "container_id", "fingerprint", "execution", *_YIELDS})
_LABELS = ("type", "id", "call_id", "status", "phase", "container_id", "fingerprint", "execution")
"""Members that say something about an item and nothing to the model, as long as they are short texts."""
MAX_LABEL = 256
_opaque = re.compile(r"[A-Za-z0-9+/=_-]+")


def parse_item(key: bytes) -> Message:
    """Return the message that `key` is, the word `ITEM` and then an item's raw bytes.

    Raises:
        WireError: not a JSON object, or ambiguous.
    """
    raw = key[len(ITEM) :]
    return plain(raw) or _read(raw)


def parse_text(key: bytes) -> Message:
    """Return what the user says where the whole input is one text: `key` is the word `TEXT` and then the value's raw bytes."""
    return _said(key, key[len(TEXT) :], "user", "/input")


def parse_instructions(key: bytes) -> Message:
    """Return the instructions that `key` is, the word `INSTRUCTIONS` and then the value's raw bytes. Raises WireError."""
    return _said(key, key[len(INSTRUCTIONS) :], "system", "/instructions")


def parse_prompt(key: bytes) -> Message:
    """Return the values for a stored prompt's variables, of the reference to it that `key` is: the word `PROMPT` and then its raw bytes.

    Raises:
        WireError: not a JSON object, or ambiguous.
    """
    value = jsonio.strict(key[len(PROMPT) :], PROTOCOL, "/prompt")
    reading = Reading()
    variables = value.get("variables") if isinstance(value, dict) else None
    if isinstance(variables, dict):
        for name, variable in variables.items():
            reading.text(name)
            _part(reading, variable)
        reading.rest(value, ("variables", "id", "version"))
    else:
        reading.text(value)
    return reading.message(key, "system")


def _said(key: bytes, raw: bytes, role: str, pointer: str) -> Message:
    reading = Reading()
    _content(reading, jsonio.strict(raw, PROTOCOL, pointer))
    return reading.message(key, role)


def _read(raw: bytes) -> Message:
    value = jsonio.strict(raw, PROTOCOL, "/input")
    if not isinstance(value, dict):
        raise WireError(PROTOCOL, "/input", "each item must be an object")
    jsonio.look_alikes(value, _KEYS, PROTOCOL)
    reading, kind = Reading(), value.get("type")
    for key in _LABELS:
        label = value.get(key)
        if not isinstance(label, str) or len(label) > MAX_LABEL:
            reading.text(label)
    if isinstance(kind, str) and kind != "message":
        role = _item(reading, kind, value)
    elif "role" in value or "content" in value:
        role = _message(reading, value)
    else:
        role = _reference(reading, value)
    message = reading.message(raw, role)
    message.item = True
    if kind == "configuration_update" and "model" in value:
        raise WireError(PROTOCOL, "/input", "a configuration_update names another model than `model`, which no rule would see")
    if value.get("tools") is not None and kind != "mcp_list_tools":
        message.offers = read_specs(value["tools"], "/input")
    if role == REFERENCE:
        message.refers = jsonio.clean(value["id"]) if isinstance(value.get("id"), str) else ""
    return message


def _item(reading: Reading, kind: str, value: dict[str, Any]) -> str:
    """Read an item that is no message; return its role."""
    if kind == REFERENCE:
        return _reference(reading, value)
    if kind == "reasoning" or kind.startswith("compaction"):
        _reasoning(reading, value)
        return "reasoning"
    if kind.endswith("_output") or kind == "mcp_approval_response":
        _result(reading, value)
        return "tool"
    call = called(value)
    if call is not None:
        _call(reading, value, *call)
        return "assistant"
    role = value.get("role")
    if kind == "additional_tools":
        reading.text(value.get("tools"))
        reading.rest(value, _OFFER_KEYS)
    else:
        reading.text(value)
    return jsonio.clean(role if isinstance(role, str) else kind)


def _message(reading: Reading, value: dict[str, Any]) -> str:
    role = value["role"] if isinstance(value.get("role"), str) else ""
    if role not in ("user", "assistant", "system", "developer"):
        reading.text(value.get("role"))
    _content(reading, value.get("content"))
    reading.rest(value, _MESSAGE_KEYS)
    return jsonio.clean(role)


def _reference(reading: Reading, value: dict[str, Any]) -> str:
    reading.rest(value, ("type", "id"))
    return REFERENCE


def _reasoning(reading: Reading, value: dict[str, Any]) -> None:
    for key in ("summary", "content"):
        _content(reading, value.get(key))
    hidden = value.get("encrypted_content")
    if isinstance(hidden, str) and _opaque.fullmatch(hidden):
        reading.media.append(Media(OPAQUE, len(hidden)))
    else:
        reading.text(hidden)
    reading.rest(value, _REASONING_KEYS)


def _call(reading: Reading, value: dict[str, Any], id: str, name: str, arguments: str) -> None:
    reading.call(id, name, arguments)
    given = GIVEN.get(value["type"])
    if given is not None:
        reading.rest(value, _ABOUT | {"name", given})
    texts, parts = len(reading.texts), len(reading.media)
    for key in _YIELDS:
        found = value.get(key)
        if key == "result" and value.get("type") == "image_generation_call":
            reading.media.append(Media("input_image", len(jsonio.dumps(found))))
        else:
            _content(reading, found)
    if len(reading.texts) > texts or len(reading.media) > parts:
        reading.result(id, reading.digest(texts, parts), bool(value.get("error")))


def _result(reading: Reading, value: dict[str, Any]) -> None:
    texts, parts = len(reading.texts), len(reading.media)
    for key in ("output", "result", "tools"):
        _content(reading, value.get(key))
    reading.rest(value, _RESULT_KEYS)
    reading.result(value.get("call_id") or value.get("id"), reading.digest(texts, parts), value.get("status") == "failed")


def _content(reading: Reading, content: object) -> None:
    if isinstance(content, list):
        for part in content:
            _part(reading, part)
    else:
        _part(reading, content)


def _part(reading: Reading, part: Any) -> None:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(kind, str) or kind not in _TEXT_PARTS | _MEDIA.keys():
        reading.text(part)
    elif kind in _MEDIA:
        reading.media.append(_media(kind, part))
        reading.rest(part, _TEXT_KEYS - {"text", "refusal"} | _MEDIA[kind])
    else:
        reading.text(part.get("text"))
        reading.text(part.get("refusal"))
        reading.rest(part, _TEXT_KEYS)


def _media(kind: str, part: dict[str, Any]) -> Media:
    size, url, detail = len(jsonio.dumps(part)), part.get("image_url"), part.get("detail")
    width, height = media.of_url(url) if isinstance(url, str) else media.UNKNOWN
    name = "input_image" if kind == "computer_screenshot" else kind
    return Media(name, size, jsonio.clean(detail) if isinstance(detail, str) else "", width, height)


def called(item: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """Return (id, tool, arguments as JSON text) of an item that calls a tool, in a request or in a reply; None for any other.

    A tool of the provider's own has the name of its type. Its arguments are all that the item says of what is to be done, and where that
    is one object (`action`, `operation`) that object.
    """
    kind = item.get("type")
    if not isinstance(kind, str) or not (kind.endswith("_call") or kind in ("program", "mcp_approval_request")):
        return None
    id = item.get("call_id") or item.get("id")
    if kind in GIVEN:
        name, given = item.get("name"), item.get(GIVEN[kind])
    else:
        name = kind.removesuffix("_call")
        wanted = {key: value for key, value in item.items() if key not in _ABOUT and value not in (None, "", [], {})}
        inner = next(iter(wanted.values())) if len(wanted) == 1 else None
        given = inner if isinstance(inner, dict) else wanted
    arguments = given if isinstance(given, str) else "" if given is None else jsonio.readable(given)
    return jsonio.clean(id) if isinstance(id, str) else "", jsonio.clean(name) if isinstance(name, str) else "", jsonio.clean(arguments)
