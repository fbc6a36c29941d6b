"""How one message, one system block and one list of tools of the Anthropic dialect read. Parsed once and remembered; see `wire.memo`.

The memo's keys carry a word before the raw bytes, because the same bytes read otherwise in another dialect.

Source: Anthropic API reference, "Create a Message"; types of the Python SDK 2.11 (2026-11).
"""

from __future__ import annotations

import re
from typing import Any

from proxy.wire import jsonio, media
from proxy.wire.call import Media, Message, Tools, ToolSpec, WireError
from proxy.wire.openai_messages import asked_model, given_names, tool_name, tool_objects
from proxy.wire.reading import Reading, plain

PROTOCOL = "anthropic"
MESSAGE, SYSTEM, TOOLS = b"anthropic message:", b"anthropic system:", b"anthropic tools:"
ROLES = frozenset({"user", "assistant", "system"})
_KEYS = frozenset({"role", "content", "id", "type"})
_dated = re.compile(r"_[0-9]{8}\Z")
_NAMED = {"text_editor": ("str_replace_editor", "str_replace_based_edit_tool")}
"""Types without their date to the names that the provider gives their tools, where those differ."""
_CALL_KINDS = frozenset({"tool_use", "server_tool_use", "mcp_tool_use"})
_TEXT_KEYS = frozenset({"type", "text", "cache_control", "citations"})
_DOCUMENT_KEYS = frozenset({"type", "source", "title", "context", "content", "cache_control", "citations", "transformations"})
_THINKING_KEYS = frozenset({"type", "thinking", "data", "signature", "cache_control"})
_CALL_KEYS = frozenset({"type", "id", "name", "input", "cache_control", "caller", "server_name"})
_RESULT_KEYS = frozenset({"type", "tool_use_id", "content", "is_error", "cache_control", "caller", "toolset_name"})


def parse_message(key: bytes) -> Message:
    """Return the message that `key` is, the word `MESSAGE` and then its raw bytes.

    Raises:
        WireError: not a JSON object, or ambiguous.
    """
    raw = key[len(MESSAGE) :]
    return plain(raw) or _read(raw)


def _read(raw: bytes) -> Message:
    value = jsonio.strict(raw, PROTOCOL, "/messages")
    if not isinstance(value, dict):
        raise WireError(PROTOCOL, "/messages", "each message must be an object")
    jsonio.look_alikes(value, _KEYS, PROTOCOL)
    reading = Reading()
    role = value.get("role")
    if not isinstance(role, str) or role not in ROLES:
        reading.text(role)
    _content(reading, value.get("content"))
    reading.rest(value, _KEYS)
    return reading.message(raw, jsonio.clean(role) if isinstance(role, str) else "")


def parse_system(key: bytes) -> Message:
    """Return the system prompt, or one block of it, that `key` is: the word `SYSTEM` and then its raw bytes. Raises WireError."""
    raw = key[len(SYSTEM) :]
    reading = Reading()
    _block(reading, jsonio.strict(raw, PROTOCOL, "/system"))
    return reading.message(raw, "system")


def parse_tools(key: bytes) -> Tools:
    """Return the tools that `key` is: the word `TOOLS` and then the raw bytes of `tools`.

    Raises:
        WireError: not an array of objects with names (a provider's own tool may have a type instead).
    """
    raw = key[len(TOOLS) :]
    return Tools(tuple(spec for tool in tool_objects(raw, PROTOCOL, "/tools") for spec in _specs(tool)), raw.decode())


def _specs(tool: dict[str, Any]) -> list[ToolSpec]:
    """Return a spec for each name that some server could read. A tool of the provider's own has the name of its type, or counts as both.

    Otherwise `{type: bash_20250124, name: read_file}` would be a shell that passes for a reader wherever a server goes by the type.
    """
    kind = tool_name(tool.get("type") or "custom", PROTOCOL, "/tools")
    names = given_names(tool, PROTOCOL)
    if kind == "custom":
        return [ToolSpec(name) for name in names or [tool_name(None, PROTOCOL, "/tools")]]
    base = _dated.sub("", kind)
    model = asked_model(tool)
    if len(names) == 1 and (names[0] in (base, kind) or names[0] in _NAMED.get(base, ())):
        return [ToolSpec(names[0], kind, model)]
    return [ToolSpec(base, kind, model), *(ToolSpec(name) for name in names if name != base)]


def _content(reading: Reading, content: object) -> None:
    if isinstance(content, list):
        for block in content:
            _block(reading, block)
    else:
        reading.text(content)


def _block(reading: Reading, block: Any) -> None:
    kind = block.get("type") if isinstance(block, dict) else None
    if not isinstance(kind, str):
        reading.text(block)
    elif kind == "text":
        reading.text(block.get("text"))
        reading.rest(block, _TEXT_KEYS)
    elif kind in ("image", "document"):
        _source(reading, kind, block)
    elif kind in _CALL_KINDS:
        reading.call(block.get("id"), block.get("name"), block.get("input"))
        reading.rest(block, _CALL_KEYS)
    elif kind.endswith("tool_result"):
        texts, parts = len(reading.texts), len(reading.media)
        _content(reading, block.get("content"))
        reading.result(block.get("tool_use_id"), reading.digest(texts, parts), block.get("is_error") is True)
        reading.rest(block, _RESULT_KEYS)
    elif kind in ("thinking", "redacted_thinking"):
        reading.text(block.get("thinking"))
        reading.text(block.get("data"))
        reading.rest(block, _THINKING_KEYS)
    else:
        reading.text(block)


def _source(reading: Reading, kind: str, block: dict[str, Any]) -> None:
    source = block.get("source")
    reading.text(block.get("title"))
    reading.text(block.get("context"))
    if isinstance(source, dict) and source.get("type") in ("text", "content"):
        reading.text(source.get("data"))
        _content(reading, source.get("content"))
    elif isinstance(source, dict):
        data = source.get("data")
        width, height = media.of_base64(data) if kind == "image" and isinstance(data, str) else media.UNKNOWN
        reading.media.append(Media(kind, len(jsonio.dumps(block)), "", width, height))
    else:
        reading.text(source)
    _content(reading, block.get("content"))
    reading.rest(block, _DOCUMENT_KEYS)
