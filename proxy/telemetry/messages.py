"""What is kept of what was said, as OpenTelemetry's conventions for generative AI have it: JSON of messages and their parts.

Only of agents whose content is kept as text (`redacted`, `full`); a hash is no message. Pure.

Source: OpenTelemetry semantic conventions v1.42, "gen_ai.input.messages" and "gen_ai.output.messages" (opt-in; status: Development), and
their JSON schemas.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from proxy.telemetry.content import Content, Part, Turn

TEXTS = frozenset(("redacted", "full"))


def input_messages(content: Content | None) -> str:
    """Return what was new in the request, empty where there is nothing to tell."""
    return "" if content is None or content.level not in TEXTS or not content.request else _json(content.request)


def output_messages(content: Content | None) -> str:
    """Return what the client was given, empty where there is nothing to tell."""
    return "" if content is None or content.level not in TEXTS or not content.reply else _json(content.reply, content.finish)


def _json(turns: Sequence[Turn], finish: str = "") -> str:
    ended = {"finish_reason": finish} if finish else {}
    return json.dumps([{"role": turn.role, "parts": [_part(part) for part in turn.parts]} | ended for turn in turns])


def _part(part: Part) -> dict[str, Any]:
    if part.kind == "tool_call":
        return {"type": "tool_call", "id": part.id or None, "name": part.name, "arguments": _arguments(part)}
    if part.kind == "tool_result":
        return {"type": "tool_call_response", "id": part.id or None, "response": part.text}
    if part.kind == "media":
        return {"type": part.name, "size": part.size}
    return {"type": "text", "content": part.text}


def _arguments(part: Part) -> Any:
    """Return arguments as what they mean, where they are whole; else as text."""
    try:
        return json.loads(part.text)
    except (ValueError, RecursionError):
        return part.text
