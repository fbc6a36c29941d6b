"""Which tools a list of the OpenAI Responses dialect offers: functions, namespaces of them, and the provider's own.

Rules go by name, so a tool counts under every name that the provider, another server or a reader of the rules could know it by. A tool of
the provider's own has the name of its type, without a date and with or without `_preview`; a server of MCP tools counts as `mcp`, by its
label, by its connector, and by the tools that the request takes from it.

Source: OpenAI API reference, "Create a model response"; types of the Python SDK 3.52 (2026-11).
"""

from __future__ import annotations

import re
from typing import Any

from proxy.wire import jsonio
from proxy.wire.call import Tools, ToolSpec, WireError
from proxy.wire.openai_messages import OWN, PROTOCOL, asked_model, given_names, tool_name

TOOLS = b"responses tools:"
# fmt: off
_KEYS = frozenset({
    "type", "name", "function", "custom", "model", "tools", "server_label", "connector_id", "allowed_tools", "tool_names", "svg",
})
# fmt: on
_dated = re.compile(r"_[0-9]{4}_[0-9]{2}_[0-9]{2}\Z")
_INNER = ("function", "custom", "svg", "allowed_tools")


def parse_tools(key: bytes) -> Tools:
    """Return the tools that `key` is: the word `TOOLS` and then the raw bytes of `tools`.

    Raises:
        WireError: not an array of objects with names (a provider's own tool may have a type instead).
    """
    raw = key[len(TOOLS) :]
    return Tools(read_specs(jsonio.strict(raw, PROTOCOL, "/tools"), "/tools"), raw.decode())


def read_specs(value: object, pointer: str) -> tuple[ToolSpec, ...]:
    """Return what a list of tools offers, each name once. Raises WireError as `parse_tools` does."""
    if not isinstance(value, list) or not all(isinstance(tool, dict) for tool in value):
        raise WireError(PROTOCOL, pointer, "must be an array of objects")
    return tuple(dict.fromkeys(spec for tool in value for spec in _specs(tool, pointer)))


def _specs(tool: dict[str, Any], pointer: str) -> list[ToolSpec]:
    for part in (tool, *(tool.get(key) for key in _INNER)):
        if isinstance(part, dict):
            jsonio.look_alikes(part, _KEYS, PROTOCOL)
    kind = tool_name(tool.get("type", "function"), PROTOCOL, pointer)
    names = given_names(tool, PROTOCOL, kind)
    if kind in OWN:
        found = [ToolSpec(name, kind) for name in names] or [ToolSpec(tool_name(None, PROTOCOL, pointer))]
    elif kind == "namespace":
        found = [ToolSpec(name) for name in names]
    else:
        found = _hosted(tool, kind) + [ToolSpec(name) for name in names if name != kind]
    if "tools" in tool:
        found += read_specs(tool["tools"], pointer)
    return found


def _hosted(tool: dict[str, Any], kind: str) -> list[ToolSpec]:
    """Return the specs of a tool of the provider's own: the first has its kind, those for its other names have none to speak of."""
    base = _dated.sub("", kind)
    found = [ToolSpec(base, kind, asked_model(tool, kind))]
    if base.endswith("_preview"):
        found.append(ToolSpec(base.removesuffix("_preview")))
    author = tool.get("svg")
    if isinstance(author, dict) and (model := asked_model(author)):
        found.append(ToolSpec(base, kind, model))
    found += [ToolSpec(name) for key in ("server_label", "connector_id") if (name := _text(tool.get(key)))]
    chosen = tool.get("allowed_tools")
    chosen = chosen.get("tool_names") if isinstance(chosen, dict) else chosen
    if isinstance(chosen, list):
        found += [ToolSpec(name) for item in chosen if (name := _text(item))]
    return found


def _text(value: object) -> str:
    return jsonio.clean(value) if isinstance(value, str) else ""
