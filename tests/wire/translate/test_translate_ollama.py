"""Ollama's chat as a dialect of the hub."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hub_cases import ANYWHERE, CITY, PIXEL, asked_again, gathered, replies, request, requests, streamed, there_and_back
from hypothesis import given
from hypothesis import strategies as st

from proxy.model import Deny, Reason, Usage
from proxy.wire.ndjson import Lines
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
from proxy.wire.translate.ollama import OllamaDialect

OLLAMA = OllamaDialect()
SPENT = Deny(Reason.BUDGET_EXCEEDED, "The budget is spent.")
BLOCKED = Deny(Reason.CONTENT_BLOCKED, "No.", rule="guard")
USER: dict[str, Any] = {"role": "user", "content": "Hi"}


def asks(**members: Any) -> Asked:
    return request(OLLAMA, {"model": "llama3", "messages": [USER], **members}, "llama3")


def writes(**members: Any) -> dict[str, Any]:
    return OLLAMA.write_request(Asked("llama3", [Turn("user", (Text("Hi"),))], **members))


# --- requests ----------------------------------------------------------------------------------------------------------------------


@given(requests(), st.integers(0, 9) | st.none(), st.lists(st.sampled_from(["a", "§§"]), max_size=2))
def test_a_request_written_reads_as_itself(asked: Asked, seed: int | None, stop: list[str]) -> None:
    asked.seed, asked.stop = seed, stop
    assert asked_again(OLLAMA, asked) == asked
    assert asked.dropped == []


def test_every_kind_of_message_is_read() -> None:
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Look", "images": [PIXEL]},
        {
            "role": "assistant",
            "thinking": "Hm.",
            "content": "Let me see.",
            "tool_calls": [
                {"function": {"name": "weather", "arguments": {"city": "Zürich"}}},
                {"function": {"name": "time", "arguments": '{"zone": 1}'}},
                {"id": "given", "function": {"name": "weather"}},
            ],
        },
        {"role": "tool", "tool_name": "time", "content": "noon"},
        {"role": "tool", "tool_name": "weather", "content": "4 °C"},
        {"role": "tool", "tool_call_id": "given", "content": ""},
    ]
    assert asks(messages=messages).turns == [
        Turn("system", (Text("Be brief."),)),
        Turn("user", (Text("Look"), Image("image/png", PIXEL))),
        Turn(
            "assistant",
            (
                Thought("Hm."),
                Text("Let me see."),
                ToolUse("call_0", "weather", '{"city":"Zürich"}'),
                ToolUse("call_1", "time", '{"zone": 1}'),
                ToolUse("given", "weather", "{}"),
            ),
        ),
        Turn("user", (ToolOutput("call_1", "time", (Text("noon"),)),)),
        Turn("user", (ToolOutput("call_0", "weather", (Text("4 °C"),)),)),
        Turn("user", (ToolOutput("given", "weather", ()),)),
    ]


def test_an_output_of_no_call_keeps_what_it_has() -> None:
    (turn,) = asks(messages=[{"role": "tool", "content": "x", "tool_name": "lost"}]).turns
    assert turn == Turn("user", (ToolOutput("call_0", "lost", (Text("x"),)),))


def test_ids_that_are_made_differ_from_those_given() -> None:
    calls = [{"id": "call_0", "function": {"name": "a"}}, {"function": {"name": "b"}}]
    (turn,) = asks(messages=[{"role": "assistant", "tool_calls": calls}]).turns
    assert [part.id for part in turn.parts if isinstance(part, ToolUse)] == ["call_0", "call_1"]


@pytest.mark.parametrize("head", ["/9j/4AAQ", "R0lGODlh", "UklGRiQA", PIXEL])
def test_the_type_of_an_image_shows_in_how_it_begins(head: str) -> None:
    (turn,) = asks(messages=[{"role": "user", "images": [head]}]).turns
    assert isinstance(turn.parts[0], Image)
    assert turn.parts[0].mime in ("image/jpeg", "image/gif", "image/webp", "image/png")


def test_options_format_and_thinking_are_read() -> None:
    asked = asks(
        options={"num_predict": 20, "temperature": 0, "top_p": 0.5, "stop": "x", "seed": 7.0, "num_ctx": 4096},
        format=CITY,
        think="low",
        tools=[{"type": "function", "function": {"name": "now", "description": "Time"}}],
        keep_alive="5m",
        whatever={"a": 1},
    )
    assert (asked.max_output, asked.temperature, asked.top_p, asked.stop, asked.seed) == (20, 0, 0.5, ["x"], 7)
    assert (asked.schema, asked.json, asked.effort) == (CITY, False, "low")
    assert asked.tools == [Tool("now", "Time", ANYWHERE)]
    assert asked.dropped == ["keep_alive", "whatever", "options/num_ctx"]
    assert asks(options={"num_predict": -1}).max_output is None
    assert asks(format="json").json
    assert (asks(format="").json, asks(format="").schema) == (False, None)
    assert (asks(think=True).effort, asks(think=False).effort) == ("medium", "none")


@pytest.mark.parametrize(
    ("members", "what"),
    [
        ({"messages": []}, "/messages: none"),
        ({"messages": "Hi"}, "/messages: not a list"),
        ({"messages": [{"role": "owner", "content": "x"}]}, "/messages/0: a message of the role owner"),
        ({"messages": [{"role": "system", "content": "x", "images": [PIXEL]}]}, "/messages/0: an image"),
        ({"messages": [{"role": "assistant", "images": [PIXEL]}]}, "/messages/0: an image"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "/messages/0: not a text"),
        ({"messages": [{"role": "user", "images": ["%%%"]}]}, "/messages/0: an image that is neither"),
        ({"messages": [{"role": "user", "images": ["AAAA"]}]}, "/messages/0: an image that is neither"),
        ({"messages": [{"role": "user", "images": PIXEL}]}, "/messages/0/images: not a list"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": "x"}]}]}, "/messages/0/tool_calls/0: a call of no function"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "x", "arguments": [1]}}]}]},
            "arguments that are no object",
        ),
        ({"tools": [{"type": "web_search"}]}, "/tools/0: a web_search tool"),
        ({"options": [1]}, "/options: not an object"),
        ({"options": {"seed": 1.5}}, "/seed: not a whole number"),
        ({"options": {"seed": 1e300}}, "/seed: not a whole number"),
        ({"options": {"temperature": "hot"}}, "/temperature: not a number"),
        ({"format": "xml"}, "/format: neither"),
        ({"think": 3}, "/think: not a text"),
        ({"logprobs": True}, "/logprobs: log probabilities"),
    ],
)
def test_what_cannot_be_carried_is_refused(members: dict[str, Any], what: str) -> None:
    with pytest.raises(Untranslatable, match=what.replace("[", r"\[")):
        asks(**members)


def test_what_only_others_can_say_is_written_or_dropped() -> None:
    body = writes(
        tools=[Tool("now", "", ANYWHERE, strict=True), Tool("then", "Past", CITY)], choice="auto", parallel=False, effort="high", json=True
    )
    assert [tool["function"] for tool in body["tools"]] == [
        {"name": "now", "parameters": ANYWHERE},
        {"name": "then", "description": "Past", "parameters": CITY},
    ]
    assert (body["format"], body["stream"], "think" in body, "options" in body) == ("json", False, False, False)
    asked = Asked("llama3", tools=[Tool("now", "", ANYWHERE, strict=True)], parallel=False, effort="high")
    OLLAMA.write_request(asked)
    assert asked.dropped == ["strict tools", "parallel tool calls off", "reasoning effort"]
    assert "tools" not in writes(tools=[Tool("now", "", ANYWHERE)], choice="none")
    assert writes(effort="none")["think"] is False
    assert OLLAMA.write_request(Asked("gpt-oss:20b", effort="xhigh"))["think"] == "high"


@pytest.mark.parametrize("choice", ["any", "tool:now"])
def test_nobody_can_make_it_call_a_tool(choice: str) -> None:
    with pytest.raises(Untranslatable, match="tool_choice"):
        writes(tools=[Tool("now", "", ANYWHERE)], choice=choice)
    asked = Asked("m", [Turn("user", (Text("hi"),))], choice=choice)
    assert "tools" not in OllamaDialect().write_request(asked)
    assert asked.dropped == ["tool_choice without tools"]


def test_outputs_stand_before_what_the_user_says_and_their_images_after_them() -> None:
    picture = Image("image/png", PIXEL)
    outputs = (
        Text("And now?"),
        ToolOutput("1", "", (Text("a"), Text("b"), picture)),
        ToolOutput("2", "then", (Text("no"),), error=True),
        ToolOutput("", "", ()),
    )
    asked = Asked("m", [Turn("assistant", (Thought("Hm."), ToolUse("1", "now", "oops"))), Turn("user", outputs)])
    assert OLLAMA.write_request(asked)["messages"] == [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "1", "function": {"name": "now", "arguments": {"INVALID_JSON": "oops"}}}],
        },
        {"role": "tool", "content": "a\nb", "tool_name": "now", "tool_call_id": "1"},
        {"role": "tool", "content": "Error: no", "tool_name": "then", "tool_call_id": "2"},
        {"role": "tool", "content": ""},
        {"role": "user", "content": "", "images": [PIXEL]},
        {"role": "user", "content": "And now?"},
    ]
    assert asked.dropped == ["reasoning of earlier turns"]
    assert OLLAMA.write_request(Asked("m", [Turn("assistant", (Thought("Hm."),))]))["messages"] == []
    with pytest.raises(Untranslatable, match="an image at an address"):
        OLLAMA.write_request(Asked("m", [Turn("user", (Image(url="https://example.com/a.png"),))]))


# --- replies -----------------------------------------------------------------------------------------------------------------------


def answered(parts: list[Any], stop: Any = "stop", usage: Usage | None = None) -> Said:
    return Said("", "llama3", parts, stop, usage or Usage(3, 2))


@given(replies(cached=False, reasoning=False))
def test_a_reply_written_reads_as_itself(said: Said) -> None:
    asked = Asked("asked", stream=True)
    assert OLLAMA.read_reply(OLLAMA.write_reply(said, asked)) == said
    assert there_and_back(OLLAMA, said, Lines()) == said


def test_a_stream_is_lines_and_the_last_has_the_counts() -> None:
    told: list[Step] = [
        Began("x", "llama3"),
        Words("Hm.", thought=True),
        Words(""),
        Words("Let "),
        Words("me."),
        ToolBegan(0, "", "a"),
        ToolBegan(1, "two", "b"),
        ToolMore(0, '{"x":'),
        ToolMore(1, "{}"),
        ToolMore(7, "lost"),
        ToolMore(0, "1}"),
        Words("Late."),
        Ended("tool"),
        Ended(None, Usage(1, 2, cache_read=3)),
    ]
    lines = [json.loads(line) for line in streamed(OLLAMA, Asked("asked", id="9"), told).splitlines()]
    assert [line["message"] for line in lines] == [
        {"role": "assistant", "content": "", "thinking": "Hm."},
        {"role": "assistant", "content": "Let "},
        {"role": "assistant", "content": "me."},
        {
            "role": "assistant",
            "content": "Late.",
            "tool_calls": [
                {"id": "call_9_0", "function": {"index": 0, "name": "a", "arguments": {"x": 1}}},
                {"id": "two", "function": {"index": 1, "name": "b", "arguments": {}}},
            ],
        },
        {"role": "assistant", "content": ""},
    ]
    assert [line["done"] for line in lines] == [False, False, False, False, True]
    assert (lines[-1]["done_reason"], lines[-1]["prompt_eval_count"], lines[-1]["eval_count"]) == ("stop", 4, 2)
    assert {line["model"] for line in lines} == {"llama3"}


def test_a_line_is_one_whatever_counts_as_a_line_break() -> None:
    breaks = "a\u2028b\x85c\x1cd\x0be\nf"
    raw = streamed(OLLAMA, Asked("asked"), [Words(breaks), ToolBegan(0, "1", "x"), ToolMore(0, json.dumps({"a": breaks}))])
    assert len(raw.decode().splitlines()) == 3


def test_an_empty_stream_has_an_end() -> None:
    (line,) = [json.loads(line) for line in streamed(OLLAMA, Asked("asked"), []).splitlines()]
    assert (line["model"], line["done"], line["done_reason"], "eval_count" in line) == ("asked", True, "stop", False)


def test_a_call_that_was_cut_off_is_left_out() -> None:
    half: list[Step] = [ToolBegan(0, "1", "a"), ToolMore(0, '{"x":'), ToolBegan(1, "2", "b"), ToolMore(1, "{}"), Ended("length")]
    lines = [json.loads(line) for line in streamed(OLLAMA, Asked("m"), half).splitlines()]
    assert [call["function"]["name"] for call in lines[0]["message"]["tool_calls"]] == ["b"]
    assert lines[-1]["done_reason"] == "length"
    whole = OLLAMA.write_reply(answered([ToolUse("1", "a", '{"x":'), ToolUse("2", "b", "{}")], "length"), Asked("m"))
    assert [call["function"]["name"] for call in whole["message"]["tool_calls"]] == ["b"]


def test_a_stream_is_cut_and_fails_in_its_own_words() -> None:
    writer = OLLAMA.writer(Asked("m"))
    writer.step(Words("a"))
    writer.step(ToolBegan(0, "1", "x"))
    line = json.loads(writer.cut(SPENT))
    assert (line["done"], line["done_reason"], line["fleetgate"]["reason"], "tool_calls" in line["message"]) == (
        True,
        "length",
        "budget_exceeded",
        False,
    )
    assert (writer.cut(SPENT), writer.end(), writer.step(Words("b"))) == (b"", b"", b"")
    writer = OLLAMA.writer(Asked("m"))
    assert json.loads(writer.cut(BLOCKED))["fleetgate"]["reason"] == "content_blocked"
    assert writer.cut(BLOCKED) == b""
    writer = OLLAMA.writer(Asked("m"))
    assert json.loads(writer.step(Failed("overloaded"))) == {"error": "overloaded"}
    assert (writer.end(), writer.cut(BLOCKED), writer.cut(SPENT)) == (b"", b"", b"")


def test_what_is_kept_back_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draft, "MAX_LETTERS", 100)
    writer = OLLAMA.writer(Asked("m"))
    assert writer.step(ToolBegan(0, "1", "x")) == b""
    told = writer.step(ToolMore(0, "y" * 100))
    assert "longer than can be carried" in json.loads(told)["error"]
    assert writer.end() == b""
    monkeypatch.setattr(draft, "MAX_ITEMS", 1)
    writer = OLLAMA.writer(Asked("m"))
    writer.step(ToolBegan(0, "1", "x"))
    assert writer.step(Words("z"))


def test_a_stream_is_read_whatever_stands_in_it() -> None:
    reader = OLLAMA.reader()
    assert reader.event(b"junk\n") == []
    assert reader.event(b'{"message": 3}\n') == []
    assert reader.event(b'{"model":"m","message":{"role":"assistant","content":"a\\ud83d"},"done":false}\n') == [
        Began("", "m"),
        Words("a\N{REPLACEMENT CHARACTER}"),
    ]
    assert reader.event(b'{"error":"out of memory"}\n') == [Failed("out of memory")]
    assert reader.event(b'{"error":{"a":1}}\n') == [Failed("")]
    assert reader.event(b'{"done":true,"done_reason":"stop"}\n') == [Ended("stop", None)]
    many = {"message": {"tool_calls": [{"function": {"name": "x"}}] * 1024}}
    assert len(reader.event(json.dumps(many).encode())) == 2048
    assert reader.event(json.dumps(many).encode()) == []


def test_a_reply_is_read_whatever_is_missing() -> None:
    assert OLLAMA.read_reply({"message": {"role": "assistant", "tool_calls": [{}]}, "model": 7}) == Said(
        "", "", [ToolUse("", "", "{}")], "tool", Usage(exact=False)
    )
    for body in ({}, {"message": 7}, {"response": "a"}):
        with pytest.raises(Untranslatable):
            OLLAMA.read_reply(body)


def test_usage_that_nobody_reported_is_not_made_up() -> None:
    assert "eval_count" not in OLLAMA.write_reply(answered([Text("a")], usage=Usage(exact=False)), Asked("m"))
    assert gathered([]) == Said("", "", [], "stop", Usage(exact=False))
