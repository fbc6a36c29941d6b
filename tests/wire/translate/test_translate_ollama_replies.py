"""Replies and streams of Ollama's chat as a dialect of the hub."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hub_cases import BLOCKED, SPENT, gathered, replies, streamed, there_and_back
from hypothesis import given

from proxy.model import Usage
from proxy.wire.ndjson import Lines
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
from proxy.wire.translate.ollama import OllamaDialect

OLLAMA = OllamaDialect()


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
