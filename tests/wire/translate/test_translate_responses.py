"""OpenAI's Responses as a dialect of the hub."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hub_cases import ANYWHERE, CITY, PIXEL, asked_again, read, replies, request, requests, streamed, there_and_back
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
    Image,
    Said,
    Step,
    Text,
    Thought,
    Tool,
    ToolBegan,
    ToolMore,
    ToolOutput,
    ToolUse,
    Turn,
    Untranslatable,
    Words,
)
from proxy.wire.translate.openai_responses import ResponsesDialect

RESPONSES = ResponsesDialect()
SPENT = Deny(Reason.BUDGET_EXCEEDED, "The budget is spent.")
BLOCKED = Deny(Reason.CONTENT_BLOCKED, "No.", rule="guard")
LOST = Deny(Reason.UPSTREAM_ERROR, "Gone.")
URL = f"data:image/png;base64,{PIXEL}"
events: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def asks(**members: Any) -> Asked:
    return request(RESPONSES, {"model": "gpt-5", "input": "Hi", **members}, "gpt-5")


def told(raw: bytes) -> list[dict[str, Any]]:
    """The events of a stream, each of which the SDK's own types take, numbered without a gap."""
    found = [json.loads(data_of(event)) for event in Splitter().feed(raw)]
    for event in found:
        events.validate_python(event)
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    return found


# --- requests ----------------------------------------------------------------------------------------------------------------------


@given(requests())
def test_a_request_written_reads_as_itself(asked: Asked) -> None:
    asked.choice = "any" if asked.tools else ""
    asked.parallel = False if asked.tools else None
    asked.schema_name = "" if asked.schema is None else "answer"
    asked.tools = [Tool(tool.name, tool.description, tool.schema, strict=False) for tool in asked.tools]
    assert asked_again(RESPONSES, asked) == asked
    assert asked.dropped == []


def test_every_kind_of_item_is_read() -> None:
    asked = asks(
        instructions="Be brief.",
        input=[
            {"role": "developer", "content": "Be kind."},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Look"}]},
            {"role": "user", "content": [{"type": "input_image", "image_url": URL, "detail": "low"}, {"type": "text", "text": ""}]},
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {
                "type": "message",
                "role": "assistant",
                "id": "msg_1",
                "content": [{"type": "output_text", "text": "Well", "annotations": []}],
            },
            {"type": "function_call", "call_id": "a", "name": "weather", "arguments": '{"city":"Zürich"}', "id": "fc_1"},
            {"type": "function_call", "call_id": "b", "name": "time", "arguments": ""},
            {"type": "function_call_output", "call_id": "a", "output": "4 °C"},
            {"type": "function_call_output", "call_id": "b", "output": [{"type": "input_image", "image_url": "https://x.org/a.png"}]},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
            {"role": "user", "content": ""},
            {"type": "function_call_output", "call_id": "c", "output": None, "caller": "me"},
            {"role": "user", "content": "So?"},
            {"role": "user", "content": "Well?"},
        ],
    )
    assert asked.turns == [
        Turn("system", (Text("Be brief."),)),
        Turn("system", (Text("Be kind."),)),
        Turn("user", (Text("Look"),)),
        Turn("user", (Image("image/png", PIXEL, "", "low"),)),
        Turn("assistant", (Text("Well"), ToolUse("a", "weather", '{"city":"Zürich"}'), ToolUse("b", "time", "{}"))),
        Turn("user", (ToolOutput("a", "weather", (Text("4 °C"),)), ToolOutput("b", "time", (Image(url="https://x.org/a.png"),)))),
        Turn("assistant", (Text("No."),)),
        Turn("user", (ToolOutput("c", "", ()),)),
        Turn("user", (Text("So?"),)),
        Turn("user", (Text("Well?"),)),
    ]
    assert asked.dropped == ["reasoning of earlier turns", "input/function_call_output/caller"]
    assert asks(input="").turns == []


def test_what_else_is_asked() -> None:
    asked = asks(
        tools=[
            {"type": "function", "name": "now", "description": "Time", "parameters": CITY, "strict": True},
            {"type": "function", "name": "b"},
        ],
        tool_choice={"type": "function", "name": "now"},
        parallel_tool_calls=False,
        max_output_tokens=20,
        temperature=0.5,
        top_p=1,
        text={"format": {"type": "json_schema", "name": "city", "schema": CITY, "strict": True}, "verbosity": "low"},
        reasoning={"effort": "high", "summary": "auto"},
        store=True,
        metadata={"a": "b"},
        include=["reasoning.encrypted_content"],
        prompt_cache_key="k",
        client_metadata={"x": "y"},
        background=False,
        previous_response_id=None,
    )
    assert asked.tools == [Tool("now", "Time", CITY, True), Tool("b", "", ANYWHERE)]
    assert (asked.choice, asked.parallel, asked.max_output, asked.temperature, asked.top_p) == ("tool:now", False, 20, 0.5, 1)
    assert (asked.schema, asked.schema_name, asked.json, asked.effort) == (CITY, "city", False, "high")
    assert asked.dropped == [
        *("store", "metadata", "include", "prompt_cache_key", "client_metadata"),
        *("reasoning/summary", "text/verbosity"),
    ]
    assert asks(text={"format": {"type": "json_object"}}).json
    assert asks(text={"format": {"type": "text"}}).schema is None


@pytest.mark.parametrize(
    ("given", "choice", "offered"),
    [
        ("auto", "auto", ["a", "b"]),
        ("none", "none", ["a", "b"]),
        ("required", "any", ["a", "b"]),
        ({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "b"}]}, "auto", ["b"]),
        ({"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "a"}]}, "any", ["a"]),
    ],
)
def test_which_tools_may_be_called(given: object, choice: str, offered: list[str]) -> None:
    asked = asks(tools=[{"type": "function", "name": name} for name in "ab"], tool_choice=given)
    assert (asked.choice, [tool.name for tool in asked.tools]) == (choice, offered)


@pytest.mark.parametrize(
    ("members", "what"),
    [
        ({"previous_response_id": "resp_1"}, "/previous_response_id: what the provider keeps"),
        ({"conversation": "conv_1"}, "/conversation: what the provider keeps"),
        ({"prompt": {"id": "p"}}, "/prompt: what the provider keeps"),
        ({"background": True}, "/background: an answer to be fetched later"),
        ({"top_logprobs": 3}, "/top_logprobs: log probabilities"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "/input/0: a item_reference item"),
        ({"input": [{"type": "custom_tool_call", "name": "apply_patch"}]}, "/input/0: a custom_tool_call item"),
        ({"input": [{"role": "owner", "content": "x"}]}, "/input/0: a message of the role owner"),
        ({"input": [{"role": "system", "content": [{"type": "input_image", "image_url": URL}]}]}, "an image that is not the user's"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "x"}]}]}, "/input/0/content/0: a input_file part"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "x"}]}]}, "/input/content/file_id: an image"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "file:///a"}]}]}, "neither base64 nor"),
        ({"input": 7}, "/input: not a list of objects"),
        ({"instructions": ["x"]}, "/instructions: not a text"),
        ({"tools": [{"type": "web_search"}]}, "/tools/0: a web_search tool, which"),
        ({"tools": [{"type": "custom", "name": "apply_patch"}]}, r"/tools/0: a custom tool \(apply_patch\), which"),
        ({"tool_choice": "some"}, "/tool_choice: neither"),
        ({"tool_choice": {"type": "web_search"}}, "/tool_choice: neither"),
        ({"tool_choice": {"type": "allowed_tools", "tools": [{"type": "mcp"}]}}, "/tool_choice/tools/0: a mcp tool"),
        ({"text": "x"}, "/text: not an object"),
        ({"text": {"format": {"type": "grammar"}}}, "/text/format: an answer of the type grammar"),
    ],
)
def test_what_cannot_be_carried_is_refused(members: dict[str, Any], what: str) -> None:
    with pytest.raises(Untranslatable, match=what):
        asks(**members)


def test_outputs_stand_first_and_images_stay_with_them() -> None:
    picture = Image("image/png", PIXEL)
    asked = Asked(
        "gpt-5",
        [
            Turn("system", (Text("A"),)),
            Turn("user", (Text("Hi"), Image(url="https://x.org/a.png", detail="high"))),
            Turn("assistant", (Thought("Hm."), Text("Well"), ToolUse("1", "now", "{}"), ToolUse("2", "then", "{}"))),
            Turn("user", (Text("So?"), ToolOutput("1", "", (Text("a"), picture), error=True), ToolOutput("2", "", (Text("a"), Text("b"))))),
            Turn("assistant", (ToolUse("3", "now", "{}"),)),
            Turn("user", (ToolOutput("3", "", (picture,)), ToolOutput("4", "", (Text("no"),), error=True))),
        ],
    )
    body = RESPONSES.write_request(asked)
    shown = {"type": "input_image", "image_url": URL, "detail": "auto"}
    assert body["input"] == [
        {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "A"}]},
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "Hi"},
                {"type": "input_image", "image_url": "https://x.org/a.png", "detail": "high"},
            ],
        },
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Well"}]},
        {"type": "function_call", "call_id": "1", "name": "now", "arguments": "{}"},
        {"type": "function_call", "call_id": "2", "name": "then", "arguments": "{}"},
        {
            "type": "function_call_output",
            "call_id": "1",
            "output": [{"type": "input_text", "text": "Error:"}, {"type": "input_text", "text": "a"}, shown],
        },
        {"type": "function_call_output", "call_id": "2", "output": "a\nb"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "So?"}]},
        {"type": "function_call", "call_id": "3", "name": "now", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "3", "output": [shown]},
        {"type": "function_call_output", "call_id": "4", "output": "Error: no"},
    ]
    assert (body["store"], asked.dropped) == (False, ["reasoning of earlier turns"])


def test_what_only_others_can_say_is_written_or_dropped() -> None:
    asked = Asked("gpt-5", tools=[Tool("now", "", CITY, strict=True)], choice="tool:now", parallel=True, stream=True, seed=1, effort="low")
    asked.schema = {**CITY, "additionalProperties": False}
    body = RESPONSES.write_request(asked)
    assert body["tools"] == [{"type": "function", "name": "now", "parameters": CITY, "strict": True}]
    assert (body["tool_choice"], body["parallel_tool_calls"], body["stream"]) == ({"type": "function", "name": "now"}, True, True)
    assert body["text"] == {"format": {"type": "json_schema", "name": "answer", "schema": asked.schema, "strict": True}}
    assert asked.dropped == ["seed", "reasoning effort"]
    alone = Asked("gpt-5", choice="auto")
    assert (RESPONSES.write_request(alone).get("tool_choice"), alone.dropped) == (None, ["tool_choice without tools"])
    assert RESPONSES.write_request(Asked("gpt-5", tools=[Tool("now", "", CITY)], choice="auto"))["tool_choice"] == "auto"
    assert "tool_choice" not in RESPONSES.write_request(Asked("gpt-5", tools=[Tool("now", "", CITY)]))
    with pytest.raises(Untranslatable, match="stop sequences"):
        RESPONSES.write_request(Asked("gpt-5", stop=["x"]))


# --- replies -----------------------------------------------------------------------------------------------------------------------


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
