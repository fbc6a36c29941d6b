"""What a request asks the simulated provider to do: `x-sim-script` or `[[sim: {...}]]` in the last user message.

The header wins key by key. A key that is not known, or a value of the wrong type, is a ScriptError and becomes the vendor's own 400, so
that a typing mistake in a test never passes as a scripted reply.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any

MARK = "[[sim:"
MAX_TOKENS = 1_000_000


class ScriptError(Exception):
    """The script is not JSON, names an unknown key, or gives a wrong value."""


@dataclass(frozen=True, slots=True)
class Script:
    """One request's wishes; every field has a default that means "as a well-behaved provider".

    Attributes:
        text: the answer, word for word.
        tokens: generate exactly this many tokens of filler.
        tool_calls: `[{name, arguments}]`, asked for once: when results follow the user's message, the answer is text.
        repeat_tool: `{name, arguments}`, asked for on every turn, whatever the results.
        finish_reason: what to report, in the vendor's word.
        ignore_max: generate past the request's ceiling.
        usage: False leaves usage out; a dict replaces or adds fields of the vendor's usage object.
        cached, cache_write, cache_write_1h, reasoning: token numbers for the details of usage.
        extra_field: unknown top-level JSON members of the reply (of every chunk or of the first event in a stream).
        extra_event: an unknown SSE event after the first; a dict `{event, data}` or True.
        delay_ms: wait before the head of the reply. first_byte_ms: wait between head and body. chunk_ms: wait between events.
        status, error_type, message, retry_after: an error in the vendor's shape. retry_after is the header's text or seconds.
        error_after: the vendor's in-stream error after that many events.
        html: answer 502 with an HTML page.
        cut_after: close the connection after that many stream events, or bytes of a buffered body.
        half_chunk: after that many stream events, or at once when buffered, send half of the chunk that was announced, then close.
        nothing: close without a byte. hang: never answer. stall_after: that many events, then silence.
        gzip: content-encoding gzip, whatever the request accepts.
    """

    text: str | None = None
    tokens: int | None = None
    tool_calls: list[Any] | None = None
    repeat_tool: dict[str, Any] | None = None
    finish_reason: str | None = None
    ignore_max: bool = False
    usage: dict[str, Any] | bool = True
    cached: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    reasoning: int = 0
    extra_field: dict[str, Any] | bool = False
    extra_event: dict[str, Any] | bool = False
    delay_ms: int = 0
    first_byte_ms: int = 0
    chunk_ms: int = 0
    status: int | None = None
    error_type: str | None = None
    message: str | None = None
    retry_after: str | int | None = None
    error_after: int | None = None
    html: bool = False
    cut_after: int | None = None
    half_chunk: int | bool | None = None
    nothing: bool = False
    hang: bool = False
    stall_after: int | None = None
    gzip: bool = False

    def tools(self) -> tuple[tuple[str, str], ...]:
        """The scripted tool calls as (name, arguments text)."""
        wanted = [self.repeat_tool] if self.repeat_tool else self.tool_calls or []
        return tuple((str(t["name"]), _arguments(t.get("arguments", {}))) for t in wanted)


PLAIN = Script()

_TYPES: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "tool_calls": (list,),
    "repeat_tool": (dict,),
    "finish_reason": (str,),
    "usage": (dict, bool),
    "extra_field": (dict, bool),
    "extra_event": (dict, bool),
    "error_type": (str,),
    "message": (str,),
    "retry_after": (str, int),
    "half_chunk": (int, bool),
}
_FLAGS = frozenset({"ignore_max", "html", "nothing", "hang", "gzip"})
_NAMES = frozenset(f.name for f in fields(Script))


def _arguments(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def read_script(header: str | None, text: str) -> tuple[Script, str]:
    """Return the script of a request and `text`, the last user message, without its directive.

    Raises:
        ScriptError: see the module.
    """
    wishes, rest = _directive(text)
    if header:
        wishes = {**wishes, **_loads(header, "x-sim-script")}
    return (_build(wishes) if wishes else PLAIN), rest


def _directive(text: str) -> tuple[dict[str, Any], str]:
    start = text.find(MARK)
    if start < 0:
        return {}, text
    body = text[start + len(MARK) :]
    try:
        value, end = json.JSONDecoder().raw_decode(body.lstrip())
    except ValueError as e:
        raise ScriptError(f"[[sim: ...]] is not JSON: {e}") from None
    rest = body.lstrip()[end:].lstrip()
    if not rest.startswith("]]") or not isinstance(value, dict):
        raise ScriptError("[[sim: {...}]] must hold one JSON object and end with ]]")
    return value, (text[:start] + rest[2:]).strip()


def _loads(raw: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(raw)
    except ValueError as e:
        raise ScriptError(f"{where} is not JSON: {e}") from None
    if not isinstance(value, dict):
        raise ScriptError(f"{where} must be a JSON object")
    return value


def _build(wishes: dict[str, Any]) -> Script:
    for key, value in wishes.items():
        if key not in _NAMES:
            raise ScriptError(f"unknown key {key!r}; known: {', '.join(sorted(_NAMES))}")
        expected = (bool,) if key in _FLAGS else _TYPES.get(key, (int,))
        if not isinstance(value, expected) or (isinstance(value, bool) and bool not in expected):
            raise ScriptError(f"{key} must be {' or '.join(t.__name__ for t in expected)}, not {type(value).__name__}")
        if type(value) is int and expected == (int,) and not 0 <= value <= MAX_TOKENS:
            raise ScriptError(f"{key} must be between 0 and {MAX_TOKENS}")
    script = Script(**wishes)
    if script.status is not None and not 400 <= script.status <= 599:
        raise ScriptError("status must be between 400 and 599")
    for tool in [*(script.tool_calls or []), *([script.repeat_tool] if script.repeat_tool else [])]:
        if not isinstance(tool, dict) or not isinstance(tool.get("name"), str):
            raise ScriptError("a tool call must be {name, arguments}")
    return script
