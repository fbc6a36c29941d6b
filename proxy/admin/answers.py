"""How the admin plane answers: JSON, with headers that let no page of anybody else use it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

HEADERS = {
    "Server": "fleetgate",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return `value` as JSON."""
    return answer_text(as_json(value), status, headers)


def as_json(value: Any) -> str:
    """Return the text of an answer: what may be long is written in a thread."""
    return json.dumps(value, indent=1) + "\n"


def answer_text(text: str, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return an answer whose text is JSON."""
    return web.Response(text=text, status=status, content_type="application/json", headers={**HEADERS, **(headers or {})})


def error(status: int, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return an error in words."""
    return answer({"error": message}, status, headers)
