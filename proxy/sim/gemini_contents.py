"""How the simulated provider reads and writes Gemini's contents: parts, their texts and tokens, and tool calls.

Protocol buffers' JSON takes each member under two names, and one object for a list of one; so does this.
"""

from __future__ import annotations

import json
import re
from typing import Any

from proxy.sim import answer
from proxy.sim.answer import Answer

_underscore = re.compile(r"(?<=[a-z])_([a-z])")
_OPAQUE = frozenset({"args", "response", "properties", "parametersJsonSchema", "responseJsonSchema", "labels"})
"""Members whose keys are the caller's own."""


def camel(value: Any) -> Any:
    """Return a request with all members under their documented names."""
    if isinstance(value, list):
        return [camel(item) for item in value]
    if not isinstance(value, dict):
        return value
    named = {_underscore.sub(lambda m: m[1].upper(), key): item for key, item in value.items()}
    return {key: item if key in _OPAQUE else camel(item) for key, item in named.items()}


def parts(content: Any) -> list[dict[str, Any]]:
    """Return the parts of a content."""
    found = content.get("parts") if isinstance(content, dict) else None
    found = [found] if isinstance(found, dict) else found
    return [part for part in found or () if isinstance(part, dict)]


def texts(content: Any) -> list[str]:
    """Return the texts of a content."""
    return [part["text"] for part in parts(content) if isinstance(part.get("text"), str)]


def content_tokens(content: Any) -> int:
    """Return the tokens of one content."""
    total = sum(answer.count(text) for text in texts(content))
    for part in parts(content):
        total += answer.IMAGE_TOKENS * ("inlineData" in part or "fileData" in part)
        total += sum(answer.count(json.dumps(part[key])) for key in ("functionCall", "functionResponse") if key in part)
    return total


def prompt_tokens(body: dict[str, Any]) -> int:
    """Return the tokens of a whole request."""
    contents = body.get("contents") or []
    total = answer.PRIMING_TOKENS + content_tokens(body.get("systemInstruction"))
    total += sum(answer.MESSAGE_TOKENS + content_tokens(content) for content in contents)
    return total + answer.count(json.dumps(body["tools"])) if body.get("tools") else total


def call_parts(said: Answer, seed: bytes, choice: int) -> list[dict[str, Any]]:
    """Return the tool calls of an answer as parts; arguments that the ceiling cut short are an empty object."""
    found: list[dict[str, Any]] = []
    for i, tool in enumerate(said.tools):
        call = {"name": tool.name, "args": _arguments(tool.arguments), "id": answer.hex_id(seed, f"call{choice}.{i}", 8)}
        found.append({"functionCall": call})
    if found and said.reasoning:
        found[0]["thoughtSignature"] = answer.hex_id(seed, "signature", 64)
    return found


def _arguments(text: str) -> Any:
    try:
        return json.loads(text) if text else {}
    except ValueError:
        return {}
