"""What the translation tests share: a request carried into another dialect, and streams told in it."""

from __future__ import annotations

import json
from typing import Any

from proxy.wire.anthropic import MessagesCodec
from proxy.wire.base import Codec, Memos
from proxy.wire.call import Edit
from proxy.wire.openai_chat import ChatCodec
from proxy.wire.sse import Splitter, data_of
from proxy.wire.translate.bridge import Bridge, Origin

CHAT, MESSAGES = "openai.chat", "anthropic.messages"
CODECS: dict[str, Codec] = {CHAT: ChatCodec(), MESSAGES: MessagesCodec()}
USER: Any = [{"role": "user", "content": "hi"}]


def bridge(source: str, target: str, body: dict[str, Any], edit: Edit | None = None) -> Bridge:
    """The bridge that carries a client's request."""
    codec = CODECS[source]
    raw = json.dumps({"model": "m", "messages": USER, **body}).encode()
    return Bridge(codec, target, codec.decode(raw, Memos()), edit or Edit(), Origin("ex1"))


def carried(source: str, target: str, body: dict[str, Any], edit: Edit | None = None) -> tuple[dict[str, Any], list[str]]:
    """What the target is asked, and what was left out."""
    found = bridge(source, target, body, edit)
    return json.loads(found.body), found.dropped


def events(stream: bytes) -> list[Any]:
    """The JSON of each event of a stream; `[DONE]` as it is."""
    found = []
    for raw in Splitter().feed(stream):
        data = data_of(raw)
        found.append("[DONE]" if data == b"[DONE]" else json.loads(data))
    return found


def sse(value: dict[str, Any]) -> bytes:
    """One event."""
    return b"data: " + json.dumps(value).encode() + b"\n\n"
