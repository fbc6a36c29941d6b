"""Streams told in another dialect, event by event."""

from __future__ import annotations

from typing import Any

import pytest
from messages_told import TEXT, more
from translating import CHAT, MESSAGES, bridge, events, sse

from proxy.model import Deny, Reason, Usage
from proxy.wire.call import Call
from proxy.wire.openai_chat import ChatCodec
from proxy.wire.translate.anthropic import MessagesDialect
from proxy.wire.translate.bridge import Back
from proxy.wire.translate.hub import Asked, Began, Ended, Failed, ToolBegan, ToolMore, Words
from proxy.wire.translate.openai_chat import ChatDialect

DONE = b"data: [DONE]\n\n"
COSTLY = Deny(Reason.BUDGET_EXCEEDED, "spent", rule="r1")
BLOCKED = Deny(Reason.CONTENT_BLOCKED, "no", rule="r1")


def chunk(delta: Any = None, finish: str | None = None, **more: Any) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return sse({"id": "chatcmpl-7", "object": "chat.completion.chunk", "created": 1, "model": "gpt", "choices": choices, **more})


def call(index: int | None, arguments: str = "", **more: Any) -> dict[str, Any]:
    """One piece of a call; `id` and `name` in `more`."""
    function = {"arguments": arguments, **({"name": more.pop("name")} if "name" in more else {})}
    return {"tool_calls": [{**({} if index is None else {"index": index}), **more, "function": function}]}


def to_messages(*raw: bytes, end: bool = True) -> list[Any]:
    back = bridge(MESSAGES, CHAT, {"stream": True}).back()
    out = [back.event(event) for event in raw]
    return events(b"".join(out) + (back.end() if end else b""))


def blocks(found: list[Any]) -> list[tuple[str, str, str]]:
    """Type, id and content of each block, in order; their indexes and order are checked."""
    out: list[tuple[str, str, str]] = []
    at = -1
    for event in found:
        if event["type"] == "content_block_start":
            assert event["index"] == at + 1
            at = event["index"]
            out.append((event["content_block"]["type"], event["content_block"].get("id", ""), ""))
        elif event["type"] == "content_block_delta":
            assert event["index"] == at
            delta = event["delta"]
            kind, id, text = out[-1]
            out[-1] = (kind, id, text + delta.get("text", "") + delta.get("thinking", "") + delta.get("partial_json", ""))
        elif event["type"] == "content_block_stop":
            assert event["index"] == at
    return out


# --- chat as messages ----------------------------------------------------------------------------------------------------------------


def test_text() -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
    found = to_messages(
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "h"}),
        chunk({"content": "i"}),
        chunk({}, "stop"),
        chunk(usage=usage),
        DONE,
    )
    message: dict[str, Any] = {
        "id": "msg_7",
        "type": "message",
        "role": "assistant",
        "model": "gpt",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }
    nothing = {"input_tokens": 0, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 0}
    assert found == [
        {"type": "message_start", "message": {**message, "usage": nothing}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "h"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "i"}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {**nothing, "input_tokens": 10, "output_tokens": 2},
        },
        {"type": "message_stop"},
    ]


def test_events_are_named() -> None:
    back = bridge(MESSAGES, CHAT, {"stream": True}).back()
    assert back.event(chunk({"content": "h"})).startswith(b"event: message_start\ndata: {")
    assert back.end().endswith(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')


def test_thought_then_text() -> None:
    found = to_messages(
        chunk({"reasoning_content": "h"}), chunk({"reasoning": "m"}), chunk({"content": "a"}), chunk({"refusal": "b"}), chunk({}, "stop")
    )
    assert blocks(found) == [("thinking", "", "hm"), ("text", "", "ab")]


def test_calls_one_after_the_other() -> None:
    found = to_messages(
        chunk({"content": "see"}),
        chunk(call(0, id="call_1", name="f")),
        chunk(call(0, '{"a":')),
        chunk(call(0, "1}")),
        chunk(call(1, id="call_2", name="g")),
        chunk(call(1, "{}")),
        chunk({}, "tool_calls"),
    )
    assert blocks(found) == [("text", "", "see"), ("tool_use", "call_1", '{"a":1}'), ("tool_use", "call_2", "{}")]
    assert found[-2]["delta"]["stop_reason"] == "tool_use"


def test_calls_that_come_at_the_same_time_stand_one_after_the_other() -> None:
    found = to_messages(
        chunk(call(0, id="call_1", name="f")),
        chunk(call(1, id="call_2", name="g")),
        chunk(call(0, '{"a":')),
        chunk(call(1, '{"b":')),
        chunk({"content": "and"}),
        chunk({"content": " so"}),
        chunk(call(1, "2}")),
        chunk({"reasoning": "hm"}),
        chunk(call(0, "1}")),
        chunk({}, "tool_calls"),
    )
    assert blocks(found) == [
        ("tool_use", "call_1", '{"a":1}'),
        ("tool_use", "call_2", '{"b":2}'),
        ("text", "", "and so"),
        ("thinking", "", "hm"),
    ]


@pytest.mark.parametrize("index", [None, 0])
def test_servers_that_do_not_number_their_calls(index: int | None) -> None:
    found = to_messages(
        chunk(call(index, '{"a":', id="call_1", name="f")),
        chunk(call(index, "1}")),
        chunk(call(index, "{}", id="call_2", name="f")),
        chunk({}, "stop"),
    )
    assert blocks(found) == [("tool_use", "call_1", '{"a":1}'), ("tool_use", "call_2", "{}")]
    assert found[-2]["delta"]["stop_reason"] == "tool_use", "some of them say stop where they call"


def test_a_call_begins_when_its_name_is_known() -> None:
    found = to_messages(chunk(call(0, '{"a"', id="call_1")), chunk(call(0, ":1}", name="f")), chunk({}, "tool_calls"))
    assert blocks(found) == [("tool_use", "call_1", '{"a":1}')]
    assert blocks(to_messages(chunk({"tool_calls": [{"index": 0, "id": "c"}]}), chunk({}, "stop"))) == [], "a call without a name is none"


def test_a_name_in_pieces_is_the_one_that_the_meter_sees() -> None:
    pieces = [chunk(call(0, "", id="call_1", name="delete")), chunk(call(0, "", name="_all")), chunk(call(0, "{}"))]
    none, last = chunk(call(1, "", id="call_2", name="now")), chunk(call(2, "", id="call_3", name="end"))
    for ending in ([chunk({}, "tool_calls")], [DONE]):
        found = to_messages(*pieces, none, last, *ending)
        begun = [e["content_block"]["name"] for e in found if e["type"] == "content_block_start"]
        assert begun == ["delete_all", "now", "end"]
    meter = ChatCodec().meter(Call("chat", "m", b""))
    for raw in (*pieces, chunk({}, "tool_calls")):
        meter.event(raw)
    assert [found.name for found in meter.tool_calls] == ["delete_all"]


def test_words_after_a_call_begin_it() -> None:
    found = to_messages(chunk(call(0, "", id="call_1", name="f")), chunk({"content": "a"}), chunk(call(0, "{}")), chunk({}, "stop"))
    assert blocks(found) == [("tool_use", "call_1", "{}"), ("text", "", "a")]


def test_a_reason_with_every_chunk_ends_nothing() -> None:
    said = [
        sse({"candidates": [{"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": "STOP"}]})
        for text in ("Grü", "ezi", "!")
    ]
    back = bridge(CHAT, "gemini.generate", {"stream": True}).back()
    found = events(b"".join([back.event(raw) for raw in said]) + back.end())
    assert [e["choices"][0]["delta"].get("content") for e in found[1:4]] == ["Grü", "ezi", "!"]
    assert [e["choices"][0]["finish_reason"] for e in found[:-1]] == [None, None, None, None, "stop"]


def test_a_call_without_an_id_gets_one() -> None:
    found = to_messages(chunk(call(None, "{}", name="f")), chunk(call(None, "{}", name="f")), chunk({}, "stop"))
    assert [id for _, id, _ in blocks(found)] == ["toolu_ex1_0", "toolu_ex1_1"]


def test_only_the_first_choice_is_told() -> None:
    second = sse({"id": "c", "choices": [{"index": 1, "delta": {"content": "x"}, "finish_reason": "stop"}]})
    assert blocks(to_messages(chunk({"content": "a"}), second, chunk({}, "stop"))) == [("text", "", "a")]


@pytest.mark.parametrize("raw", [b": ping\n\n", b"data: [1]\n\n", b"data: {x\n\n", b'data: {"choices":5}\n\n', DONE])
def test_what_is_not_understood_says_nothing(raw: bytes) -> None:
    assert to_messages(chunk({"content": "a"}), raw, end=False) == to_messages(chunk({"content": "a"}), end=False)


def test_a_chunk_may_hold_nothing_but_the_reason() -> None:
    found = to_messages(chunk({"content": "a"}), sse({"choices": [{"index": 0, "finish_reason": "length"}]}))
    assert found[-2]["delta"]["stop_reason"] == "max_tokens"


def test_a_reason_with_every_chunk_opens_no_new_block() -> None:
    found = to_messages(*[chunk({"content": letter}, "stop") for letter in "abc"])
    assert (blocks(found), found[-2]["delta"]["stop_reason"]) == ([("text", "", "abc")], "end_turn")


def test_a_message_that_is_cut_behind_its_end_has_ended() -> None:
    last = cut(MESSAGES, CHAT, COSTLY, chunk({"content": "a"}), chunk({}, "stop"))
    assert [e["type"] for e in last] == ["content_block_stop", "message_delta", "message_stop"]
    assert last[1]["delta"]["stop_reason"] == "end_turn"


def test_a_stream_that_says_nothing_is_a_message_of_nothing() -> None:
    assert [e["type"] for e in to_messages()] == ["message_start", "message_delta", "message_stop"]


@pytest.mark.parametrize(("error", "words"), [({"message": "late"}, "late"), ("late", "late"), ({"code": 5}, "The provider answered 502.")])
def test_an_error(error: Any, words: str) -> None:
    found = to_messages(chunk({"content": "a"}), sse({"error": error}), chunk({"content": "b"}), end=False)
    assert found[-1] == {"type": "error", "error": {"type": "api_error", "message": words}, "request_id": None}


def test_calls_are_bounded() -> None:
    many = [chunk(call(i, "{}", id=f"call_{i}", name="f")) for i in range(1100)]
    assert len(blocks(to_messages(*many, chunk({}, "tool_calls")))) == 1024
    words = [chunk({"content": "a"} if i % 2 else {"reasoning": "b"}) for i in range(1100)]
    kinds = [e["type"] for e in to_messages(chunk(call(0, "{}", id="call_0", name="f")), *words)]
    assert kinds == ["message_start", "content_block_start", "content_block_delta", "error"], "what waits for its place is bounded"
    long = [chunk(call(1, "x" * (9 << 20), id="call_1", name="f")), chunk(call(1, "x" * (9 << 20)))]
    assert to_messages(chunk(call(0, "{}", id="call_0", name="f")), *long)[-1]["fleetgate"]["rule"] == "translation"
    nameless = [chunk(call(i, "{}", id=f"call_{i}")) for i in range(1100)]
    assert blocks(to_messages(*nameless)) == []


# --- cuts ----------------------------------------------------------------------------------------------------------------------------


def cut(source: str, target: str, deny: Deny, *raw: bytes) -> list[Any]:
    back: Back = bridge(source, target, {"stream": True}).back()
    for event in raw:
        back.event(event)
    return events(back.cut(deny))


def test_a_spent_budget_ends_a_message_at_its_length() -> None:
    calling = (chunk(call(0, '{"a"', id="call_1", name="f")), chunk(call(1, "{}", id="call_2", name="g")))
    found = cut(MESSAGES, CHAT, COSTLY, chunk(usage={"prompt_tokens": 5, "completion_tokens": 1}), *calling)
    assert [e["type"] for e in found] == ["content_block_stop", "message_delta", "message_stop"]
    assert (found[1]["delta"]["stop_reason"], found[1]["usage"]["input_tokens"]) == ("max_tokens", 5)
    assert found[1]["fleetgate"]["reason"] == "budget_exceeded"


@pytest.mark.parametrize(("deny", "raw"), [(BLOCKED, [chunk({"content": "a"})]), (COSTLY, [])])
def test_any_other_cut_of_a_message_is_an_error(deny: Deny, raw: list[bytes]) -> None:
    (found,) = cut(MESSAGES, CHAT, deny, *raw)
    assert (found["type"], found["fleetgate"]["rule"]) == ("error", "r1")


def test_a_spent_budget_ends_a_chat_at_its_length() -> None:
    last, done = cut(CHAT, MESSAGES, COSTLY, *TEXT[:3])
    assert (last["choices"][0]["finish_reason"], last["fleetgate"]["reason"], done) == ("length", "budget_exceeded", "[DONE]")
    assert cut(CHAT, MESSAGES, COSTLY)[0]["choices"][0]["delta"]["role"] == "assistant"
    last, done = cut(CHAT, MESSAGES, COSTLY, *TEXT[:5])
    assert (last["choices"][0]["finish_reason"], "fleetgate" in last, done) == ("stop", False, "[DONE]"), "it had ended by itself"


def test_any_other_cut_of_a_chat_is_an_error() -> None:
    found, done = cut(CHAT, MESSAGES, BLOCKED, *TEXT[:3])
    assert (found["error"]["code"], done) == ("content_blocked", "[DONE]")


# --- steps that only other dialects take ---------------------------------------------------------------------------------------------


def test_steps_that_only_other_dialects_take() -> None:
    writer = MessagesDialect().writer(Asked("m", id="ex1"))
    out = (
        writer.step(ToolBegan(0, "", "f"))
        + writer.step(ToolMore(5, "lost"))
        + writer.step(Words("a"))
        + writer.step(Ended("stop", Usage(1, 2)))
    )
    found = events(out + writer.step(Began("2", "x")) + writer.end())
    assert found[0]["message"]["model"] == "m"
    assert blocks(found) == [("tool_use", "toolu_ex1_0", ""), ("text", "", "a")]
    chat = ChatDialect().writer(Asked("m", include_usage=True))
    told = events(chat.step(Words("a")) + chat.step(Ended(None, Usage(1, 2))) + chat.step(Ended("stop")) + chat.end())
    assert told[-2]["usage"]["total_tokens"] == 3
    assert chat.step(Failed("x")) != b""
    assert chat.step(Words("b")) + chat.cut(COSTLY) + chat.end() == b""
    assert writer.step(Failed("x")) != b""
    assert writer.step(Words("b")) + writer.cut(COSTLY) + writer.end() == b""


@pytest.mark.parametrize(
    ("source", "target", "raw"),
    [(MESSAGES, CHAT, chunk({"content": "a\u2028b\x85"})), (CHAT, MESSAGES, more(0, type="text_delta", text="a\u2028b\x85"))],
)
def test_an_event_has_the_lines_that_it_should_whatever_counts_as_a_line_break(source: str, target: str, raw: bytes) -> None:
    said = bridge(source, target, {"stream": True}).back().event(raw)
    assert said.decode().splitlines() == said.decode().split("\n")[:-1]
    assert b"\\u2028" in said
