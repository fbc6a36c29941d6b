"""Replies and streams of OpenAI's Responses as a dialect of the hub."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hub_cases import BLOCKED, SPENT, read, replies, streamed, there_and_back
from hypothesis import given
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from proxy.model import Deny, Reason, Usage
from proxy.wire.sse import Splitter, data_of
from proxy.wire.translate import draft
from proxy.wire.translate.hub import (
    Asked,
    Began,
    Ended,
    Failed,
    Said,
    Step,
    Text,
    ToolBegan,
    ToolMore,
    ToolUse,
    Untranslatable,
    Words,
)
from proxy.wire.translate.openai_responses import ResponsesDialect

RESPONSES = ResponsesDialect()
LOST = Deny(Reason.UPSTREAM_ERROR, "Gone.")
events: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def told(raw: bytes) -> list[dict[str, Any]]:
    """The events of a stream, each of which the SDK's own types take, numbered without a gap."""
    found = [json.loads(data_of(event)) for event in Splitter().feed(raw)]
    for event in found:
        events.validate_python(event)
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    return found


@given(replies("resp_1"))
def test_a_reply_written_reads_as_itself(said: Said) -> None:
    asked = Asked("asked", stream=True)
    whole = RESPONSES.write_reply(said, asked)
    assert RESPONSES.read_reply(whole) == said
    assert there_and_back(RESPONSES, said, Splitter()) == said
    Response.model_validate(whole)


def test_the_order_of_a_stream() -> None:
    steps: list[Step] = [
        Began("chatcmpl-x", "gpt"),
        Words("Hm", thought=True),
        Words(".", thought=True),
        Words(""),
        Words("Let "),
        Words("me."),
        ToolBegan(0, "", "a"),
        ToolBegan(1, "two", "b"),
        ToolMore(0, '{"x":'),
        ToolMore(7, "lost"),
        ToolMore(0, "1}"),
        Words("Late."),
        Ended("tool"),
        Ended(None, Usage(1, 5, cache_read=3, cache_write=2, reasoning=2)),
    ]
    found = told(streamed(RESPONSES, Asked("asked", id="9", max_output=50, parallel=False), steps))
    assert [(event["type"].removeprefix("response."), event.get("output_index")) for event in found] == [
        ("created", None),
        ("in_progress", None),
        ("output_item.added", 0),
        ("reasoning_summary_part.added", 0),
        ("reasoning_summary_text.delta", 0),
        ("reasoning_summary_text.delta", 0),
        ("reasoning_summary_text.done", 0),
        ("reasoning_summary_part.done", 0),
        ("output_item.done", 0),
        ("output_item.added", 1),
        ("content_part.added", 1),
        ("output_text.delta", 1),
        ("output_text.delta", 1),
        ("output_text.done", 1),
        ("content_part.done", 1),
        ("output_item.done", 1),
        ("output_item.added", 2),
        ("output_item.added", 3),
        ("function_call_arguments.delta", 2),
        ("function_call_arguments.delta", 2),
        ("output_item.added", 4),
        ("content_part.added", 4),
        ("output_text.delta", 4),
        ("function_call_arguments.done", 2),
        ("output_item.done", 2),
        ("function_call_arguments.done", 3),
        ("output_item.done", 3),
        ("output_text.done", 4),
        ("content_part.done", 4),
        ("output_item.done", 4),
        ("completed", None),
    ]
    ended = found[-1]["response"]
    assert [item.get("content") or item.get("summary") or (item["call_id"], item["arguments"]) for item in ended["output"]] == [
        [{"type": "summary_text", "text": "Hm."}],
        [{"type": "output_text", "text": "Let me.", "annotations": [], "logprobs": []}],
        ("call_9_2", '{"x":1}'),
        ("two", "{}"),
        [{"type": "output_text", "text": "Late.", "annotations": [], "logprobs": []}],
    ]
    assert {event["item"]["id"] for event in found if "item" in event} == {item["id"] for item in ended["output"]}
    assert (ended["id"], ended["model"], ended["status"], ended["incomplete_details"]) == ("resp_x", "gpt", "completed", None)
    assert (ended["max_output_tokens"], ended["parallel_tool_calls"], ended["store"]) == (50, False, False)
    assert ended["usage"] == {
        "input_tokens": 6,
        "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 2},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 11,
    }


def test_an_empty_stream_has_a_beginning_and_an_end() -> None:
    found = told(streamed(RESPONSES, Asked("asked", id="9"), []))
    assert [event["type"] for event in found] == ["response.created", "response.in_progress", "response.completed"]
    assert (found[-1]["response"]["id"], found[-1]["response"]["output"], found[-1]["response"]["usage"]["total_tokens"]) == (
        "resp_9",
        [],
        0,
    )


def test_a_reply_that_broke_off_says_so_and_leaves_out_half_a_call() -> None:
    steps: list[Step] = [
        ToolBegan(0, "1", "a"),
        ToolMore(0, '{"x":'),
        ToolBegan(1, "2", "b"),
        ToolMore(1, "{}"),
        Words("So"),
        Ended("length"),
    ]
    found = told(streamed(RESPONSES, Asked("m"), steps))
    assert found[-1]["type"] == "response.incomplete"
    ended = found[-1]["response"]
    assert (ended["status"], ended["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert [(item["type"], item["status"]) for item in ended["output"]] == [("function_call", "completed"), ("message", "incomplete")]
    assert [event["output_index"] for event in found if event["type"] == "response.output_item.done"] == [1, 2]
    said = Said("", "m", [Text("So"), ToolUse("2", "b", '{"x":')], "filter", Usage(exact=False))
    whole = RESPONSES.write_reply(said, Asked("m"))
    assert (whole["status"], whole["incomplete_details"]) == ("incomplete", {"reason": "content_filter"})
    assert [(item["type"], item["status"]) for item in whole["output"]] == [("message", "incomplete")]
    silent = told(streamed(RESPONSES, Asked("m"), [Ended("filter")]))
    assert silent[-1]["response"]["incomplete_details"] == {"reason": "content_filter"}


@pytest.mark.parametrize("spoken", [False, True])
def test_a_stream_is_cut_and_fails_in_its_own_words(spoken: bool) -> None:
    def last(*acts: Any) -> dict[str, Any]:
        writer = RESPONSES.writer(Asked("m"))
        raw = writer.step(Words("a")) if spoken else b""
        for act in acts:
            raw += act(writer)
        return told(raw)[-1]

    cut = last(lambda w: w.cut(SPENT), lambda w: w.cut(SPENT), lambda w: w.end(), lambda w: w.step(Words("b")))
    assert (cut["type"], cut["fleetgate"]["reason"]) == ("response.incomplete", "budget_exceeded")
    assert cut["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    refused = last(lambda w: w.cut(BLOCKED), lambda w: w.cut(BLOCKED))
    assert (refused["type"], refused["response"]["error"]["code"]) == ("response.failed", "invalid_prompt")
    assert refused["fleetgate"]["reason"] == "content_blocked"
    assert last(lambda w: w.cut(LOST))["response"]["error"]["code"] == "server_error"
    failed = last(lambda w: w.step(Failed("overloaded")), lambda w: w.end(), lambda w: w.cut(BLOCKED))
    assert failed["response"]["error"] == {"code": "server_error", "message": "overloaded"}
    assert last(lambda w: w.step(Failed("")))["response"]["error"]["message"] == "The provider failed."


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draft, "MAX_ITEMS", 1)
    writer = RESPONSES.writer(Asked("m"))
    raw = writer.step(Words("a")) + writer.step(ToolBegan(0, "1", "x")) + writer.end()
    assert "longer than can be carried" in told(raw)[-1]["response"]["error"]["message"]
    monkeypatch.setattr(draft, "MAX_LETTERS", 100)
    writer = RESPONSES.writer(Asked("m"))
    assert told(writer.step(Words("a" * 101)))[-1]["type"] == "response.failed"


def sent(*events: dict[str, Any]) -> list[Step]:
    return read(RESPONSES, b"".join([b"data: %b\n\n" % json.dumps(event).encode() for event in events]), Splitter())


def test_a_stream_is_read_whatever_stands_in_it() -> None:
    call = {"type": "function_call", "call_id": "c", "name": "x", "arguments": ""}
    summary = {"type": "response.reasoning_summary_part.added", "output_index": 0, "summary_index": 1}
    assert sent(
        {"type": "response.created", "response": {"id": "r", "model": "g", "usage": None}},
        {"type": "response.in_progress", "response": {"id": "r"}},
        {"type": "response.unheard_of"},
        summary,
        {"type": "response.reasoning_summary_text.delta", "output_index": 0, "delta": "a"},
        summary,
        {"type": "response.reasoning_text.delta", "output_index": 0, "delta": "b"},
        {"type": "response.output_item.done", "output_index": 0, "item": {"type": "reasoning", "summary": [{"text": "ab"}]}},
        {"type": "response.output_text.delta", "output_index": 1, "delta": "c"},
        {"type": "response.output_text.delta", "output_index": 1, "delta": ""},
        {"type": "response.refusal.delta", "output_index": 1, "delta": "d"},
        {"type": "response.output_item.added", "output_index": 2, "item": call},
        {"type": "response.output_item.added", "output_index": 2, "item": call},
        {"type": "response.output_item.added", "output_index": 3, "item": {"type": "message"}},
        {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": "{}"},
        {"type": "response.function_call_arguments.delta", "output_index": 9, "delta": "{}"},
        {"type": "response.output_item.done", "output_index": 2, "item": {**call, "arguments": "{}"}},
        {"type": "response.completed", "response": {"usage": {"input_tokens": 3, "output_tokens": 2}}},
    ) == [
        Began("r", "g"),
        Words("a", thought=True),
        Words("\n\n", thought=True),
        Words("b", thought=True),
        Words("c"),
        Words("d"),
        ToolBegan(0, "c", "x"),
        ToolMore(0, "{}"),
        Ended("tool", Usage(3, 2)),
    ]
    reader = RESPONSES.reader()
    assert [reader.event(raw) for raw in (b"junk", b"data: junk\n\n", b'data: {"type":7}\n\n', b"data: [DONE]\n\n")] == [[]] * 4


def test_servers_that_send_items_whole_are_understood() -> None:
    parts = [{"type": "output_text", "text": "a"}, {"type": "refusal", "refusal": "b"}, {"type": "output_text"}]
    call = {"type": "function_call", "call_id": "c", "name": "x"}
    assert sent(
        {"type": "response.output_item.done", "output_index": 0, "item": {"type": "reasoning", "content": [{"text": "h"}, {"text": "m"}]}},
        {"type": "response.output_item.done", "output_index": 1, "item": {"type": "message", "content": parts}},
        {"type": "response.output_item.done", "output_index": 2, "item": {**call, "arguments": "{}"}},
        {"type": "response.output_item.added", "output_index": 3, "item": {**call, "call_id": "d"}},
        {"type": "response.output_item.done", "output_index": 3, "item": {**call, "call_id": "d", "arguments": "[]"}},
        {"type": "response.output_item.done", "output_index": 4, "item": {"type": "web_search_call"}},
        {"type": "response.output_item.done", "output_index": 5},
        {"type": "response.incomplete", "response": {"incomplete_details": {"reason": "max_output_tokens"}, "status": "incomplete"}},
    ) == [
        Words("h\n\nm", thought=True),
        Words("a"),
        Words("b"),
        ToolBegan(0, "c", "x"),
        ToolMore(0, "{}"),
        ToolBegan(1, "d", "x"),
        ToolMore(1, "[]"),
        Began("", ""),
        Ended("length", None),
    ]


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ({"type": "error", "message": "busy", "code": None}, "busy"),
        ({"type": "error", "error": {"message": "busy"}}, "busy"),
        ({"type": "response.failed", "response": {"error": {"code": "server_error", "message": "busy"}}}, "busy"),
        ({"type": "response.failed"}, ""),
    ],
)
def test_errors_in_a_stream(event: dict[str, Any], words: str) -> None:
    assert sent(event) == [Failed(words)]


def test_a_reader_keeps_little_of_a_stream() -> None:
    reader = RESPONSES.reader()
    call = {"type": "function_call", "call_id": "c", "name": "x", "arguments": "{}"}
    told = [
        step
        for index in range(1100)
        for step in reader.event(
            b"data: %b\n\n" % json.dumps({"type": "response.output_item.done", "output_index": index, "item": call}).encode()
        )
    ]
    assert len(told) == 2048


def test_a_reply_is_read_whatever_is_missing() -> None:
    assert RESPONSES.read_reply({"output": [{"type": "function_call"}, {"type": "mcp_call"}]}) == Said(
        "", "", [ToolUse("", "", "{}")], "tool", Usage(exact=False)
    )
    assert RESPONSES.read_reply({"output": [], "status": "incomplete"}).stop == "filter"
    bodies: list[tuple[dict[str, Any], str]] = [
        ({}, "no response"),
        ({"output": 7}, "no response"),
        ({"output": [], "status": "failed", "error": {"message": "busy"}}, "busy"),
        ({"output": [], "status": "queued"}, "no response that has ended"),
    ]
    for body, words in bodies:
        with pytest.raises(Untranslatable, match=words):
            RESPONSES.read_reply(body)
