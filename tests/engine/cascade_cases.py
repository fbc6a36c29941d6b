"""Requests that routing moved to a local model, what that says, and what must hold when it is replaced."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from engine_script import (
    DONE,
    LOCAL,
    STOP,
    STRONG,
    USAGE,
    Outcome,
    Says,
    play,
    says,
)

from proxy.engine.exchange import Patience

ROUTE = (LOCAL, STRONG)
GOOD_STREAM = (says("hel"), says("lo"), STOP, USAGE, DONE)
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}}}]
NAMED = {"type": "function", "function": {"name": "b"}}
SCHEMA = {"type": "object", "required": ["a", "b"], "properties": {"a": {"type": "integer"}, "b": {"enum": ["x", "y"]}}}
SOON = Patience(first_byte_s=0.02, answer_s=0.02)


def asking(stream: bool = False, **more: Any) -> bytes:
    body: dict[str, Any] = {"model": "strong", "messages": [{"role": "user", "content": "hi"}], **more}
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return json.dumps(body).encode()


def answer(content: str | None = None, finish: str = "stop", calls: Sequence[tuple[str, str]] = (), **message: Any) -> bytes:
    said = {"role": "assistant", "content": content, **message}
    if calls:
        said["tool_calls"] = [
            {"id": f"c{i}", "type": "function", "function": {"name": name, "arguments": text}} for i, (name, text) in enumerate(calls)
        ]
    reply = {
        "id": "c0",
        "object": "chat.completion",
        "model": "small:8b",
        "choices": [{"index": 0, "message": said, "finish_reason": finish}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 4, "total_tokens": 11},
    }
    return json.dumps(reply).encode()


def tried(body: bytes, *lines: Says | Exception, **more: Any) -> Outcome:
    return play(body, *lines, targets=more.pop("targets", ROUTE), reason="local", **more)


def fell(outcome: Outcome, cause: str) -> None:
    """The strong model's reply reached the client whole and alone, and the record says what went before."""
    record = outcome.record
    assert [left[:3] for left in record.fallbacks] == [("local", "small", cause)]
    assert (record.route, record.provider, record.outcome, record.status) == ("fallback", "openai", "ok", 200)
    assert f"local small was replaced ({cause})" in record.route_why
    assert outcome.caller.headers["x-fleetgate-route"] == "fallback"
    assert outcome.caller.headers["x-fleetgate-model"] == "strong"
    assert [request.target for request in outcome.upstream.asked] == [LOCAL, STRONG]
    assert outcome.upstream.asked[0].spare
    assert not outcome.upstream.asked[1].spare
