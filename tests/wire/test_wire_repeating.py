"""Meters that read events without a parser read what the parser would have read, whatever a provider writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.model import Deny, Reason
from proxy.wire.anthropic_reply import MessagesMeter
from proxy.wire.base import Meter
from proxy.wire.gemini_frame import ARRAY
from proxy.wire.gemini_reply import GenerateMeter
from proxy.wire.ollama_reply import OllamaMeter
from proxy.wire.openai_reply import ChatMeter
from proxy.wire.openai_responses_reply import ResponsesMeter
from proxy.wire.repeating import MISSES, RepeatingMeter
from proxy.wire.stencil import PROBE

LENGTH, BLOCKED = Deny(Reason.BUDGET_EXCEEDED, "", "", ""), Deny(Reason.CONTENT_BLOCKED, "", "", "")


def data(value: Any, spaced: bool = True) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False, separators=None if spaced else (",", ":")).encode() + b"\n\n"


def chat(text: str, number: int, /, **more: Any) -> Any:
    return {"id": "c", "created": 1, "model": "m", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}], **more}


def counted(text: str, number: int, /, **more: Any) -> Any:
    tokens = {"prompt_tokens": 9, "completion_tokens": number, "total_tokens": 9 + number}
    return {**chat(text, number), "created": 1_700_000_000 + max(0, number - 4), "usage": tokens, "p": "x" * (number % 5), **more}


def message(text: str, number: int, /, **more: Any) -> Any:
    return {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}, **more}


def response(text: str, number: int, /, **more: Any) -> Any:
    place = {"item_id": "i", "output_index": 0, "content_index": 0, "sequence_number": number}
    return {"type": "response.output_text.delta", **place, "delta": text, "obfuscation": "x" * (number % 7), **more}


def chat_call(text: str, number: int, /, **more: Any) -> Any:
    call = {"index": 0, "function": {"arguments": text}}
    return {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}], **more}


def message_call(text: str, number: int, /, **more: Any) -> Any:
    return {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": text}, **more}


def response_call(text: str, number: int, /, **more: Any) -> Any:
    return {"type": "response.function_call_arguments.delta", "output_index": 1, "sequence_number": number, "delta": text, **more}


def gemini(text: str, number: int, /, **more: Any) -> Any:
    usage = {"promptTokenCount": 9, "candidatesTokenCount": number, "totalTokenCount": 9 + number}
    return {"candidates": [{"content": {"parts": [{"text": text}]}, "index": 0}], "usageMetadata": usage, "modelVersion": "m", **more}


def ollama(text: str, number: int, /, **more: Any) -> Any:
    return {"model": "m", "created_at": f"2026-01-01T00:00:{number % 60:02}Z", "message": {"content": text}, "done": False, **more}


def line(value: Any, spaced: bool = True) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


def element(value: Any, spaced: bool = True) -> bytes:
    return b",\r\n" + json.dumps(value, ensure_ascii=False, indent=1 if spaced else None).encode()


Say = Callable[..., Any]
KINDS: dict[str, tuple[Callable[[], RepeatingMeter], Say, Callable[..., bytes]]] = {
    "chat": (ChatMeter, chat, data),
    "chat that counts": (ChatMeter, counted, data),
    "messages": (MessagesMeter, message, data),
    "responses": (ResponsesMeter, response, data),
    "gemini": (GenerateMeter, gemini, data),
    "gemini array": (lambda: GenerateMeter(ARRAY), gemini, element),
    "ollama": (OllamaMeter, ollama, line),
    "chat calls": (ChatMeter, chat_call, data),
    "messages calls": (MessagesMeter, message_call, data),
    "responses calls": (ResponsesMeter, response_call, data),
}
ODD: dict[str, list[Any]] = {
    "chat": [
        {"choices": [{"index": 1, "delta": {"content": "b"}}]},
        {"choices": [{"index": 0, "delta": {"content": "one", "reasoning": "one"}}]},
        {"choices": [{"index": 0, "delta": {"reasoning": "one"}}]},
        {"choices": [{"index": 0, "delta": {"reasoning": "one", "reasoning_content": "one"}}]},
        {"choices": [{"index": 0, "delta": {"refusal": "no"}}]},
        {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "{}"}}]}}]},
        {"choices": [{"index": 0, "delta": {"content": "last"}, "finish_reason": "stop"}]},
        {"choices": [{"index": 0, "delta": {"content": "all"}}], "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
        {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
        {"model": "other", "choices": []},
        {"error": {"message": "no"}},
        "[DONE]",
    ],
    "messages": [
        {"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 3, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": "t", "name": "f", "input": {}}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "{}"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "one", "thinking": "one"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "new_delta", "news": "one"}},
        {"type": "content_block_stop", "index": 1},
        {"type": "ping"},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ],
    "responses": [
        {"type": "response.created", "response": {"id": "r", "model": "m"}, "sequence_number": 0},
        {"type": "response.output_item.added", "output_index": 0, "item": {"type": "message", "id": "i"}},
        {"type": "response.output_item.added", "output_index": 1, "item": {"type": "function_call", "name": "f", "call_id": "c"}},
        {"type": "response.function_call_arguments.delta", "output_index": 1, "delta": "{}"},
        {"type": "response.output_text.delta", "output_index": 0, "content_index": 1, "delta": "one"},
        {"type": "response.output_text.done", "output_index": 0, "content_index": 0, "text": "one one"},
        {"type": "response.output_item.done", "output_index": 0, "item": {"type": "message", "content": [{"text": "one"}]}},
        {"type": "response.completed", "response": {"usage": {"input_tokens": 1, "output_tokens": 2}, "output": []}},
        "[DONE]",
    ],
    "gemini": [
        {"candidates": [{"content": {"parts": [{"text": "a"}, {"text": "b"}]}}]},
        {"candidates": [{"content": {"parts": [{"text": "one", "functionCall": {"name": "f", "args": {}}}]}}]},
        {"candidates": [{"content": {"parts": [{"functionCall": "f"}]}}]},
        {"candidates": [{"content": {"parts": [{"text": "one"}]}, "index": 1}]},
        {"candidates": [{"content": {"parts": [{"text": "last"}]}, "index": 0, "finishReason": "STOP"}]},
        {"usageMetadata": {"promptTokenCount": 4}},
        {"promptFeedback": {"blockReason": "SAFETY"}},
        {"error": {"code": 500}},
    ],
    "ollama": [
        {"model": "m", "message": {"content": "one", "thinking": "one"}, "done": False},
        {"model": "m", "message": {"thinking": "one"}, "done": False},
        {"model": "m", "response": "one", "done": False},
        {"model": "m", "message": {"content": "", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}, "done": False},
        {"model": "m", "message": {"content": "one", "tool_calls": [{"function": {"name": "", "arguments": None}}]}, "done": False},
        {"model": "n", "message": {"content": "last"}, "done": True, "prompt_eval_count": 1, "eval_count": 2},
        {"error": "no"},
    ],
}
ODD["gemini array"] = ODD["gemini"]
START: dict[str, list[Any]] = {
    "responses": [ODD["responses"][1]],
    "chat calls": [{"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f"}}]}}]}],
    "messages calls": [ODD["messages"][2]],
    "responses calls": [ODD["responses"][2]],
}
END = {
    "chat calls": {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
    "messages calls": {"type": "content_block_stop", "index": 1},
    "responses calls": {
        "type": "response.output_item.done",
        "output_index": 1,
        "item": {"type": "function_call", "name": "f", "call_id": "c", "arguments": "onetwo threeé"},
    },
}
ODD["chat calls"] = [
    *(START["chat calls"] + ODD["chat"]),
    *(
        chat_call("x", 0) | {"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}
        for call in (
            {"index": 0, "function": {"arguments": "x", "name": "g"}},
            {"index": 0, "id": "b", "function": {"arguments": "x"}},
            {"index": 1, "function": {"arguments": "x"}},
            {"function": {"arguments": "x"}},
            {"index": 0, "custom": {"input": "x"}},
        )
    ),
    {"choices": [{"index": 0, "delta": {"content": "one", "tool_calls": [{"index": 0, "function": {"arguments": "x"}}]}}]},
    {"choices": [{"index": 1, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": "x"}}]}}]},
]
ODD["messages calls"], ODD["responses calls"] = ODD["messages"], ODD["responses"]
ODD["chat that counts"] = ODD["chat"]
WORDS = st.one_of(
    st.sampled_from(["one", " two", "", 'a "b"', "\\", "\n", "é", "\u2028", PROBE]), st.text(st.characters(codec="utf-8"), max_size=5)
)


def known(meter: Meter) -> tuple[Any, ...]:
    names = "usage texts pieces tool_calls finish model ended failed odd turns calling reply_id part_ids"
    return tuple(repr(getattr(meter, name)) for name in names.split())


@st.composite
def streams(draw: st.DrawFn, kind: str) -> list[bytes]:
    _, say, write = KINDS[kind]
    events: list[bytes] = []
    spaced = draw(st.booleans())
    events += [write(value, spaced) for value in START.get(kind, []) if draw(st.integers(0, 3))]
    for number in range(draw(st.integers(1, 12))):
        what = draw(st.sampled_from(["word"] * 6 + ["odd", "more", "again", "bytes"]))
        if what == "odd":
            value = draw(st.sampled_from(ODD[kind]))
            events.append(b"data: %b\n\n" % value.encode() if isinstance(value, str) else write(value, spaced))
        elif what == "again" and events:
            events.append(draw(st.sampled_from(events)))
        elif what == "bytes" and events:
            changed = bytearray(draw(st.sampled_from(events)))
            changed[draw(st.integers(0, len(changed) - 1))] = draw(st.integers(32, 255))
            events.append(bytes(changed))
        else:
            more = {draw(st.sampled_from(["x", "content", "text", "delta", "usage", "done", "index"])): "one"} if what == "more" else {}
            events.append(write(say(draw(WORDS), number, **more), spaced))
    return events + ([write(END[kind], spaced)] if kind in END else [])


@pytest.mark.parametrize("kind", KINDS)
def test_a_meter_reads_the_same_with_and_without(kind: str) -> None:
    make = KINDS[kind][0]

    @settings(max_examples=150, deadline=None)
    @given(streams(kind), st.sampled_from([LENGTH, BLOCKED, None]), st.booleans())
    def same(events: list[bytes], deny: Deny | None, withheld: bool) -> None:
        plain, quick, short = make(), make(), make()
        for raw in events:
            with mock.patch.object(plain, "_worth", return_value=False):
                want = plain.event(raw)
            assert quick.event(raw) == want
            text = short.again(raw)
            if text is None:
                assert short.event(raw) == want
            else:
                assert (want.kind, want.text, want.tool) == (short.says, text, "")
            assert known(short) == known(quick) == known(plain)
        plain.withheld = quick.withheld = short.withheld = withheld
        assert plain._like is None
        assert quick.cut(deny) == short.cut(deny) == plain.cut(deny)

    same()


@pytest.mark.parametrize("kind", KINDS)
def test_words_after_words_need_no_parser(kind: str) -> None:
    make, say, write = KINDS[kind]
    meter = make()
    for value in START.get(kind, []):
        meter.event(write(value))
    assert meter.again(write(say("one", 1))) is None
    meter.event(write(say("one", 1)))
    assert [meter.again(write(say(text, number))) for number, text in enumerate(["two", " three", "é"], 2)] == ["two", " three", "é"]
    assert meter.texts[-4:] == ["one", "two", " three", "é"]
    assert meter.says == ("tool" if "calls" in kind else "text")
    if kind in END:
        meter.event(write(END[kind]))
        assert [call.arguments for call in meter.tool_calls] == ["onetwo threeé"]


def test_the_newest_counts_of_a_stream_are_read_when_they_are_asked_for() -> None:
    meter = GenerateMeter()
    for number in range(1, 8):
        meter.event(data(gemini("a", number)))
    assert meter.usage is not None
    assert (meter.usage.input, meter.usage.output, meter.usage.exact) == (9, 7, False)


def test_a_time_that_moves_is_looked_past_once_it_has_moved() -> None:
    meter = ChatMeter()
    meter.event(data(chat("one", 1)))
    assert meter.again(data(chat("two", 2, created=2))) is None
    meter.event(data(chat("two", 2, created=2)))
    assert meter.again(data(chat("three", 3, created=3))) == "three"
    assert meter.again(data(chat("four", 4, created="4"))) is None


def test_tokens_that_are_counted_in_each_event_are_read_when_they_are_asked_for() -> None:
    meter = ChatMeter()
    for number in range(1, 5):
        meter.event(data(counted("a", number)))
    assert meter.again(data(counted("a", 4))) == "a"
    assert meter.usage is not None
    assert (meter.usage.input, meter.usage.output, meter.usage.exact) == (9, 4, False)


@pytest.mark.parametrize(
    "hostile",
    [
        b': "content":"one"\ndata: {"choices":[{"delta":{"content" :"one"}}]}\n\n',
        b'data: {"choices":[{"delta":{"content" :"one"}}],"x":{"content":"one"}}\n\n',
        b'data: {"choices":[{"delta":{"x\\"content":"one","content" :"one"}}]}\n\n',
        b'data: {"content":"one","choices":[{"delta":{"\\u0063ontent":"one"}}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"one"}}],"choices":[{"delta":{"content" :"one"}}]}\n\n',
    ],
)
def test_words_that_only_seem_to_be_what_was_read(hostile: bytes) -> None:
    meter = ChatMeter()
    assert meter.event(hostile).text == "one"
    assert meter.again(hostile) is None
    assert meter.event(hostile.replace(b'"content":"one"', b'"content":"two"', 1)).text == "one"


def test_a_stream_whose_events_never_repeat_is_given_up() -> None:
    meter = ChatMeter()
    for number in range(20):
        meter.event(data(chat("word", number, id=f"c{number}")))
        assert (meter._cut is None) == (number >= MISSES), number
    assert meter.pieces == 20


def test_words_that_only_seem_to_be_a_part_of_a_candidate() -> None:
    meter = GenerateMeter()
    hostile = b'data: {"candidates":[{"content":{"parts":[{"text" :"one"}]}}],"x":{"text":"one"}}\n\n'
    assert meter.event(hostile).text == "one"
    assert meter.again(hostile) is None


@pytest.mark.parametrize("known_before", [False, True])
def test_what_another_meter_has_read_is_followed(known_before: bool) -> None:
    first, second = ResponsesMeter(), ResponsesMeter()
    for meter in (first, second) if known_before else (first,):
        meter.event(data(ODD["responses"][1]))
        meter.event(data(response("one", 1)))
    text = first.again(data(response("two", 2)))
    assert text == "two"
    second.follow(data(response("two", 2)), text)
    assert second.texts == (["one", "two"] if known_before else ["two"])
