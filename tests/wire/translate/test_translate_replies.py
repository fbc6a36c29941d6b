"""Whole replies told in another dialect: what is said, why it stopped, and what it cost, each in the words of the client's protocol."""

from __future__ import annotations

import json
from typing import Any

import pytest
from translating import CHAT, MESSAGES, bridge, events

from proxy.model import Usage
from proxy.wire.translate.anthropic import MessagesDialect
from proxy.wire.translate.hub import Asked, Said, Text, Thought, ToolUse, Untranslatable, shown
from proxy.wire.translate.openai_chat import ChatDialect

CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}


def chat(message: dict[str, Any], finish: str | None = "stop", **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return {"id": "chatcmpl-7", "object": "chat.completion", "created": 5, "model": "gpt", "choices": [choice], **more}


def message(*content: Any, stop: Any = "end_turn", **more: Any) -> dict[str, Any]:
    return {"id": "msg_7", "type": "message", "role": "assistant", "model": "claude", "content": [*content], "stop_reason": stop, **more}


def told(source: str, target: str, reply: Any, **asked: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bridge(source, target, asked).reply(json.dumps(reply).encode()))
    return found


@pytest.mark.parametrize(
    ("said", "content"),
    [
        ({"content": "hi"}, [{"type": "text", "text": "hi"}]),
        ({"content": [{"type": "text", "text": "h"}, {"type": "x"}, {"type": "text", "text": "i"}]}, [{"type": "text", "text": "hi"}]),
        ({"content": None, "refusal": "no"}, [{"type": "text", "text": "no"}]),
        ({"content": ""}, []),
        (
            {"content": "hi", "reasoning_content": "hm"},
            [{"type": "thinking", "thinking": "hm", "signature": ""}, {"type": "text", "text": "hi"}],
        ),
        ({"content": "hi", "reasoning": "hm"}, [{"type": "thinking", "thinking": "hm", "signature": ""}, {"type": "text", "text": "hi"}]),
        ({"tool_calls": [CALL]}, [{"type": "tool_use", "id": "call_1", "name": "f", "input": {"a": 1}}]),
        ({"tool_calls": [{"function": {"name": "f"}}]}, [{"type": "tool_use", "id": "toolu_ex1_0", "name": "f", "input": {}}]),
        ({"tool_calls": [{"id": "c"}]}, [{"type": "tool_use", "id": "c", "name": "", "input": {}}]),
        (
            {"tool_calls": [{"id": "c", "function": {"name": "f", "arguments": '{"a'}}]},
            [{"type": "tool_use", "id": "c", "name": "f", "input": {"INVALID_JSON": '{"a'}}],
        ),
    ],
)
def test_a_chat_reply_as_a_message(said: dict[str, Any], content: Any) -> None:
    found = told(MESSAGES, CHAT, chat(said))
    assert (found["id"], found["type"], found["role"], found["model"]) == ("msg_7", "message", "assistant", "gpt")
    assert (found["content"], found["stop_sequence"]) == (content, None)
    assert found["stop_reason"] == ("tool_use" if content and content[-1]["type"] == "tool_use" else "end_turn")


def test_a_call_that_was_cut_off_is_none_in_a_message() -> None:
    """A client would run it; in a stream its pieces have passed, as they would from the provider itself."""
    broken = {**CALL, "id": "call_2", "function": {"name": "f", "arguments": '{"a"'}}
    found = told(MESSAGES, CHAT, chat({"tool_calls": [CALL, broken]}, "length"))
    assert ([block["id"] for block in found["content"]], found["stop_reason"]) == (["call_1"], "max_tokens")


@pytest.mark.parametrize("half", ['"\\ud83d"', '"\\ude00"'])
def test_a_letter_that_was_cut_in_half_is_marked(half: str) -> None:
    raw = b'data: {"choices":[{"index":0,"delta":{"content":%b}}]}\n\n' % half.encode()
    assert "\ufffd" in events(bridge(MESSAGES, CHAT, {"stream": True}).back().event(raw))[-1]["delta"]["text"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([{"type": "text", "text": "h"}, {"type": "text", "text": "i"}], {"content": "hi"}),
        ([], {"content": ""}),
        (
            [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "redacted_thinking", "data": "x"}],
            {"content": "", "reasoning_content": "hm"},
        ),
        (
            [{"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": "é"}}],
            {"content": None, "tool_calls": [{"id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": '{"a":"é"}'}}]},
        ),
        (
            [{"type": "tool_use"}, {"type": "new_block", "x": 1}, {"type": 5}],
            {"content": None, "tool_calls": [{"id": "call_ex1_0", "type": "function", "function": {"name": "", "arguments": "{}"}}]},
        ),
    ],
)
def test_a_message_as_a_chat_reply(content: Any, said: dict[str, Any]) -> None:
    found = told(CHAT, MESSAGES, message(*content))
    (choice,) = found["choices"]
    assert (found["id"], found["object"], found["created"], found["model"]) == ("chatcmpl-7", "chat.completion", 0, "claude")
    assert choice["message"] == {"role": "assistant", "refusal": None, **said}
    assert choice["finish_reason"] == ("tool_calls" if "tool_calls" in said else "stop")
    assert "usage" not in found


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("tool_calls", "tool_use"),
        ("function_call", "tool_use"),
        ("content_filter", "refusal"),
        ("new_reason", "end_turn"),
        (None, "end_turn"),
    ],
)
def test_why_a_chat_stopped(finish: str | None, reason: str) -> None:
    assert told(MESSAGES, CHAT, chat({"content": "x"}, finish))["stop_reason"] == reason


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        (None, "stop"),
        (5, "stop"),
    ],
)
def test_why_a_message_stopped(reason: Any, finish: str) -> None:
    assert told(CHAT, MESSAGES, message({"type": "text", "text": "x"}, stop=reason))["choices"][0]["finish_reason"] == finish


def test_the_usage_of_a_chat_in_a_messages_parts() -> None:
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "total_tokens": 120,
        "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10},
        "completion_tokens_details": {"reasoning_tokens": 5},
    }
    assert told(MESSAGES, CHAT, chat({"content": "x"}, usage=usage))["usage"] == {
        "input_tokens": 30,
        "cache_creation_input_tokens": 10,
        "cache_read_input_tokens": 60,
        "output_tokens": 20,
        "output_tokens_details": {"thinking_tokens": 5},
    }
    nothing = {"input_tokens": 0, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 0}
    assert told(MESSAGES, CHAT, chat({"content": "x"}))["usage"] == nothing


def test_the_usage_of_a_message_in_a_chats_parts() -> None:
    creation = {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4}
    usage: dict[str, Any] = {"input_tokens": 30, "output_tokens": 20, "cache_read_input_tokens": 60, "cache_creation_input_tokens": 7}
    usage |= {"cache_creation": creation, "output_tokens_details": {"thinking_tokens": 5}}
    assert told(CHAT, MESSAGES, message(usage=usage))["usage"] == {
        "prompt_tokens": 97,
        "completion_tokens": 20,
        "total_tokens": 117,
        "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 7},
        "completion_tokens_details": {"reasoning_tokens": 5},
    }


def test_a_cache_that_lives_an_hour_is_told_apart() -> None:
    said = Said("", "", [], "stop", Usage(1, 2, 3, 4, 5))
    assert MessagesDialect().write_reply(said, Asked("m"))["usage"]["cache_creation"] == {
        "ephemeral_5m_input_tokens": 4,
        "ephemeral_1h_input_tokens": 5,
    }


@pytest.mark.parametrize(
    ("id", "written"),
    [
        ("msg_9", "chatcmpl-9"),
        ("resp_9", "chatcmpl-9"),
        ("gen-9", "chatcmpl-9"),
        ("x9", "chatcmpl-x9"),
        ("", "chatcmpl-ex1"),
        (5, "chatcmpl-ex1"),
    ],
)
def test_ids_have_the_prefix_of_their_dialect(id: Any, written: str) -> None:
    found = told(CHAT, MESSAGES, {**message(), "id": id, "model": None})
    assert (found["id"], found["model"]) == (written, "m")


@pytest.mark.parametrize(
    "reply",
    [[], "x", None, {}, {"choices": []}, {"choices": 5}, {"choices": [5]}, {"choices": [{"message": {"content": 5}}]}],
)
def test_what_is_no_chat_reply(reply: Any) -> None:
    with pytest.raises(Untranslatable):
        told(MESSAGES, CHAT, reply)


@pytest.mark.parametrize("reply", [[], {"type": "error"}, {"type": "message"}, {"type": "message", "content": "x"}])
def test_what_is_no_message(reply: Any) -> None:
    with pytest.raises(Untranslatable):
        told(CHAT, MESSAGES, reply)


def test_a_choice_without_a_message_says_nothing() -> None:
    assert told(MESSAGES, CHAT, {"choices": [{}]})["content"] == []


def test_many_calls_are_bounded() -> None:
    assert len(told(MESSAGES, CHAT, chat({"tool_calls": [CALL] * 2000}))["content"]) == 1024
    block = {"type": "text", "text": "x"}
    assert len(told(CHAT, MESSAGES, message(*[block] * 2000))["choices"][0]["message"]["content"]) == 1024


def test_a_whole_reply_becomes_a_stream_where_one_was_asked() -> None:
    reply = json.dumps(
        chat({"content": "hi", "reasoning_content": "hm", "tool_calls": [CALL, {**CALL, "id": "call_2"}]}, "tool_calls")
    ).encode()
    found = events(bridge(MESSAGES, CHAT, {"stream": True}).reply(reply))
    assert [e["content_block"]["type"] for e in found if e["type"] == "content_block_start"] == ["thinking", "text", "tool_use", "tool_use"]
    assert [e["index"] for e in found if e["type"] == "content_block_stop"] == [0, 1, 2, 3]
    assert found[-2]["delta"]["stop_reason"] == "tool_use"


@pytest.mark.parametrize(
    ("thinking", "effort"),
    [(1024, "low"), (2048, "low"), (2049, "medium"), (8192, "medium"), (8193, "high"), (32768, "high"), (32769, "xhigh")],
)
def test_a_budget_for_thinking_stands_for_an_effort(thinking: int, effort: str) -> None:
    asked = MessagesDialect().read_request({"thinking": {"type": "enabled", "budget_tokens": thinking}}, "m", False)
    assert (asked.effort, asked.dropped) == (effort, [])


def test_an_effort_that_is_named_goes_before_a_budget() -> None:
    body = {"thinking": {"type": "enabled", "budget_tokens": 1024}, "output_config": {"effort": "max"}}
    assert MessagesDialect().read_request(body, "m", False).effort == "max"


def test_what_the_hub_cannot_get_from_these_two() -> None:
    """Other dialects may ask for JSON of any shape, and a call may come without arguments."""
    assert ChatDialect().write_request(Asked("m", json=True))["response_format"] == {"type": "json_object"}
    said = Said("1", "m", [ToolUse("c", "f", ""), Text("a"), Thought("t")], "length", Usage())
    (choice,) = ChatDialect().write_reply(said, Asked("m"))["choices"]
    assert (choice["finish_reason"], "tool_calls" in choice["message"]) == ("length", False)
    said.stop = "stop"
    (choice,) = ChatDialect().write_reply(said, Asked("m"))["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"][0]["function"]["arguments"] == "{}"
    assert ChatDialect().write_reply(Said("", "", [], "stop", Usage()), Asked("m"))["id"] == "chatcmpl-0"


def test_a_callers_words_are_shown_in_part() -> None:
    assert shown("a\u202eb" + "c" * 99) == "a?b" + "c" * 61
    assert len(str(Untranslatable("x" * 999))) == 256
