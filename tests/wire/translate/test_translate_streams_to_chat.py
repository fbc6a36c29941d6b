"""Streams of messages, told as chunks of a chat, event by event."""

from __future__ import annotations

from typing import Any

import pytest
from messages_told import START, STOP, TEXT, closed, ended, more, opened
from translating import CHAT, MESSAGES, bridge, events, sse


def to_chat(*raw: bytes, usage: bool = False, end: bool = True) -> list[Any]:
    back = bridge(CHAT, MESSAGES, {"stream": True, "stream_options": {"include_usage": usage}}).back()
    out = [back.event(event) for event in raw]
    return events(b"".join(out) + (back.end() if end else b""))


@pytest.mark.parametrize("usage", [True, False])
def test_a_text(usage: bool) -> None:
    head = {"id": "chatcmpl-7", "object": "chat.completion.chunk", "created": 0, "model": "claude"}

    def said(delta: Any, finish: str | None = None) -> dict[str, Any]:
        return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    counted = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9, "prompt_tokens_details": {"cached_tokens": 0}}
    counted["completion_tokens_details"] = {"reasoning_tokens": 0}
    last = [{**head, "choices": [], "usage": counted}] if usage else []
    begun = said({"role": "assistant", "content": ""})
    assert to_chat(*TEXT, usage=usage) == [begun, said({"content": "hi"}), said({}, "stop"), *last, "[DONE]"]


def deltas(found: list[Any]) -> list[Any]:
    return [e["choices"][0]["delta"] for e in found[:-1] if e["choices"] and e["choices"][0]["delta"]][1:]


def test_thoughts_and_calls() -> None:
    found = to_chat(
        START,
        opened(0, type="thinking", thinking="h", signature=""),
        more(0, type="thinking_delta", thinking="m"),
        more(0, type="signature_delta", signature="s"),
        closed(0),
        opened(1, type="redacted_thinking", data="x"),
        closed(1),
        opened(2, type="text", text="a"),
        closed(2),
        opened(3, type="tool_use", id="toolu_1", name="f", input={}),
        more(3, type="input_json_delta", partial_json=""),
        more(3, type="input_json_delta", partial_json='{"a":'),
        more(3, type="input_json_delta", partial_json="1}"),
        closed(3),
        opened(4, type="tool_use", id="toolu_2", name="g", input={}),
        closed(4),
        opened(5, type="tool_use", name="g", input={"b": 2}),
        more(4, type="input_json_delta", partial_json="lost"),
        closed(5),
        ended("tool_use", output_tokens=2),
        STOP,
    )
    assert deltas(found) == [
        {"reasoning_content": "h"},
        {"reasoning_content": "m"},
        {"content": "a"},
        {"tool_calls": [{"index": 0, "id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"a":'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]},
        {"tool_calls": [{"index": 1, "id": "toolu_2", "type": "function", "function": {"name": "g", "arguments": ""}}]},
        {"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]},
        {"tool_calls": [{"index": 2, "id": "call_ex1_2", "type": "function", "function": {"name": "g", "arguments": ""}}]},
        {"tool_calls": [{"index": 2, "function": {"arguments": '{"b":2}'}}]},
    ]
    assert found[-2]["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("raw", [b": ping\n\n", b'data: {"type":"ping"}\n\n', b"data: {x\n\n", b'data: {"type":"content_block_start"}\n\n'])
def test_what_is_not_understood_says_nothing_to_a_chat(raw: bytes) -> None:
    assert to_chat(START, raw, end=False) == to_chat(START, end=False)


def test_a_stream_that_says_nothing_is_a_chat_of_nothing() -> None:
    found = to_chat(usage=True)
    assert [e["choices"][0]["finish_reason"] for e in found[:-1]] == [None, "stop"]


def test_a_stream_may_begin_twice_and_end_twice() -> None:
    again = sse({"type": "message_start", "message": {"id": "msg_8"}})
    found = to_chat(START, again, *TEXT[1:5], ended("max_tokens", output_tokens=3), ended(None), usage=True)
    assert {e["id"] for e in found[:-1]} == {"chatcmpl-7"}
    assert [e["choices"][0]["finish_reason"] for e in found if e != "[DONE]" and e["choices"]] == [None, None, "length"]
    assert found[-2]["usage"]["completion_tokens"] == 3


@pytest.mark.parametrize(
    ("error", "words"),
    [({"message": "late"}, "late"), ({"message": 5}, "The provider answered 502."), (None, "The provider answered 502.")],
)
def test_an_error_to_a_chat(error: Any, words: str) -> None:
    found = to_chat(*TEXT[:3], sse({"type": "error", "error": error}), *TEXT[3:], end=False)
    assert found[-2]["error"]["message"] == words
    assert found[-1] == "[DONE]"


def test_calls_to_a_chat_are_bounded() -> None:
    many = [opened(i, type="tool_use", id=f"t{i}", name="f", input={}) for i in range(1100)]
    assert len(deltas(to_chat(START, *many))) == 1024
