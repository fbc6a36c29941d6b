"""The form in which a vendor module hands over its reply: a head, and either a body or events. No I/O."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from proxy.loops.ladder import OPENING
from proxy.sim.script import Script


@dataclass(frozen=True, slots=True)
class Piece:
    """One event of a stream as its bytes, and how many generated tokens it carries."""

    raw: bytes
    tokens: int = 0


@dataclass(slots=True)
class Reply:
    """What to send. `events` set means a stream; `tokens` is what a buffered body carries."""

    status: int
    headers: dict[str, str]
    body: bytes = b""
    events: Iterator[Piece] | None = None
    tokens: int = 0


class Invalid(Exception):
    """The request is not what the vendor takes; becomes its 400 (or 401, 404). `param` and `code` are OpenAI's."""

    def __init__(self, message: str, param: str | None = None, code: str | None = None, status: int = 400) -> None:
        self.message, self.param, self.code, self.status = message, param, code, status
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Vendor:
    """What differs between the vendors when something goes wrong: the error reply, and the error inside a stream.

    Attributes:
        error: (status, type or None, message or None, seed) to a reply in the vendor's shape.
        stream_error: (type or None, message or None) to one event.
        invalid: (what is wrong, seed) to the reply to a request that the vendor does not take.
    """

    name: str
    error: Callable[[int, str | None, str | None, bytes], Reply]
    stream_error: Callable[[str | None, str | None], bytes]
    invalid: Callable[[Invalid, bytes], Reply]


def dumps(value: Any) -> bytes:
    """Return compact JSON as UTF-8; a lone surrogate stays written as an escape."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "backslashreplace")


@dataclass(frozen=True, slots=True)
class Given:
    """A request as it arrived: its JSON object (empty for a GET), its headers in lower case, its path and its query."""

    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)
    path: str = ""
    query: dict[str, str] = field(default_factory=dict)

    @property
    def script(self) -> str | None:
        """The `x-sim-script` header."""
        return self.headers.get("x-sim-script")


def part_texts(content: object) -> list[str]:
    """Return the texts of a message's content: a string, or parts of type text (or with a `text`)."""
    if isinstance(content, str):
        return [content]
    if not isinstance(content, list):
        return []
    return [p["text"] for p in content if isinstance(p, dict) and isinstance(p.get("text"), str)]


def heedless(messages: list[dict[str, Any]], key: str = "content") -> list[dict[str, Any]]:
    """Return `messages` without what a gateway told the model: this one is obstinate, and goes on as its script says."""
    found = []
    for message in messages:
        content = message.get(key)
        if isinstance(content, str) and content.startswith(OPENING):
            continue
        if isinstance(content, list):
            kept = [p for p in content if not (isinstance(p, dict) and str(p.get("text", "")).startswith(OPENING))]
            if content and not kept:
                continue
            message = message | {key: kept}
        found.append(message)
    return found


def extra(script_value: dict[str, Any] | bool) -> dict[str, Any]:
    """Return the unknown members that a script asks for."""
    if isinstance(script_value, dict):
        return script_value
    return {"x_sim_unknown": {"kept": True, "number": 1.50, "text": "späße"}} if script_value else {}


def unknown_event(script_value: dict[str, Any] | bool) -> bytes:
    """Return the unknown event that a script asks for, or nothing."""
    if not script_value:
        return b""
    wanted = script_value if isinstance(script_value, dict) else {}
    name = str(wanted.get("event", "sim.unknown"))
    return b"event: %b\ndata: %b\n\n" % (name.encode(), dumps(wanted.get("data", {"type": name, "note": "keep me as I am"})))


Operation = Callable[[Given], tuple[Script, Reply]]
"""Answers one request. Raises Invalid where the vendor would answer 400, ScriptError where the script is wrong."""
