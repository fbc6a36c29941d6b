"""Gemini's codec as the path finds it, and the smallest bodies that it reads."""

from __future__ import annotations

import json
from typing import Any

from proxy.wire import gemini
from proxy.wire.base import Codec, Memos
from proxy.wire.call import Call

PATH = "/v1beta/models/gemini-2.5-flash:generateContent"
HI = [{"role": "user", "parts": [{"text": "hi"}]}]


def codec(path: str = PATH, query: str = "") -> Codec:
    found = gemini.find("POST", path, {}, query)
    assert found is not None
    return found


def decode(body: bytes | dict[str, Any], path: str = PATH, query: str = "", memos: Memos | None = None) -> Call:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return codec(path, query).decode(raw, memos or Memos())


def ask(**more: Any) -> dict[str, Any]:
    return {"contents": HI, **more}


def parts(*found: Any) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": list(found)}]}
