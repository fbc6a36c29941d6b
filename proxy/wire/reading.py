"""What one message says, gathered while a codec walks it: texts that the model reads, tool calls and results, media.

Nothing may escape counting and scanning, so what a codec does not understand is kept as the JSON that it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from json.decoder import scanstring  # type: ignore[attr-defined]  # typeshed does not know it
from typing import Any

from proxy.wire import jsonio
from proxy.wire.call import Media, Message, ToolCall, ToolResult

_EMPTY: tuple[Any, ...] = (None, "", [], {}, False)


class Reading:
    """Collects one message's contents in reading order."""

    __slots__ = ("calls", "media", "results", "texts")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.calls: list[ToolCall] = []
        self.results: list[ToolResult] = []
        self.media: list[Media] = []

    def text(self, value: object) -> None:
        """Keep a text; anything else that is not empty is kept as JSON."""
        if isinstance(value, str):
            if value:
                self.texts.append(jsonio.clean(value))
        elif value not in _EMPTY:
            self.texts.append(jsonio.readable(value))

    def rest(self, value: Mapping[str, Any], known: Collection[str]) -> None:
        """Keep as JSON whatever stands under keys that are not `known`."""
        other = {key: item for key, item in value.items() if key not in known and item not in _EMPTY}
        if other:
            self.text(other)

    def call(self, id: object, name: object, arguments: object) -> None:
        """Keep a tool call; its name and arguments are texts too."""
        words = jsonio.clean(name) if isinstance(name, str) else ""
        given = jsonio.clean(arguments) if isinstance(arguments, str) else "" if arguments is None else jsonio.readable(arguments)
        self.text(name)
        self.text(given)
        self.calls.append(ToolCall(_id(id), words, given, jsonio.signature(words, given)))

    def result(self, id: object, digest: bytes, error: bool = False) -> None:
        """Keep a tool result by the digest of its content."""
        self.results.append(ToolResult(_id(id), digest, error))

    def digest(self, texts: int, media: int) -> bytes:
        """Return 16 bytes that stand for what was gathered since there were `texts` texts and `media` media."""
        digest = hashlib.blake2b(digest_size=16)
        for text in self.texts[texts:]:
            digest.update(text.encode() + b"\0")
        for item in self.media[media:]:
            digest.update(f"{item}\0".encode())
        return digest.digest()

    def message(self, raw: bytes, role: str) -> Message:
        """Return the message that `raw` is."""
        return Message(jsonio.fingerprint(raw), role, tuple(self.texts), tuple(self.calls), tuple(self.results), tuple(self.media))


def _id(value: object) -> str:
    return jsonio.clean(value) if isinstance(value, str) else ""


def plain(raw: bytes) -> Message | None:
    """Return the message that `raw` is if it is of the commonest kind, a role and a text without spaces around, else None."""
    found = _PLAIN.get(raw[9:13])
    if found is None or not raw.startswith(found[0]):
        return None
    start, role = found
    try:
        text = raw.decode()
        content, end = scanstring(text, len(start), True)
    except ValueError:
        return None
    if end != len(text) - 1 or text[-1] != "}":
        return None
    return Message(jsonio.fingerprint(raw), role, (jsonio.clean(content),) if content else ())


def plain_result(raw: bytes) -> Message | None:
    """Return the message that `raw` is if it is a tool's answer in OpenAI's chat as clients write it, an id and a text, else None."""
    if not raw.startswith(_RESULT):
        return None
    try:
        text = raw.decode()
        id, at = scanstring(text, len(_RESULT), True)
        if not text.startswith(_CONTENT, at):
            return None
        content, end = scanstring(text, at + len(_CONTENT), True)
    except ValueError:
        return None
    if end != len(text) - 1 or text[-1] != "}":
        return None
    reading = Reading()
    reading.text(content)
    reading.result(id, reading.digest(0, 0))
    return reading.message(raw, "tool")


_RESULT, _CONTENT = b'{"role":"tool","tool_call_id":"', ',"content":"'
_PLAIN = {role[:4].encode(): (b'{"role":"%b","content":"' % role.encode(), role) for role in ("user", "assistant", "system")}


def thoughts(older: str, newer: str, details: object) -> str:
    """Return what a model thought, once, where a server says it under two names, or three, for the sake of older clients.

    Source: vLLM, `DeltaMessage` (`reasoning`, and `reasoning_content` with the same text); OpenRouter, "Reasoning tokens"
    (`reasoning_details`, of which MiniMax sends nothing else); 2026-11.
    """
    if older or newer:
        return older if newer == older else older + newer
    if not isinstance(details, list):
        return ""
    parts = [part.get("text") or part.get("summary") for part in details if isinstance(part, dict)]
    return "".join([part for part in parts if isinstance(part, str)])
