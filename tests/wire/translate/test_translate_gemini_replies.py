"""Replies and streams of Gemini's generateContent as a dialect of the hub."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hub_cases import BLOCKED, SPENT, gathered, read, replies, streamed, there_and_back
from hypothesis import given

from proxy.model import Usage
from proxy.wire.jsonarray import Elements
from proxy.wire.sse import Splitter, data_of
from proxy.wire.translate import draft
from proxy.wire.translate.gemini import GeminiDialect
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

GEMINI = GeminiDialect()
ARRAY = Asked("asked", stream=True, framing="application/json")


@given(replies("r1"))
def test_a_reply_written_reads_as_itself(said: Said) -> None:
    asked = Asked("asked", stream=True)
    assert GEMINI.read_reply(GEMINI.write_reply(said, asked)) == said
    assert there_and_back(GEMINI, said, Splitter()) == said
    assert there_and_back(GEMINI, said, Elements(), ARRAY) == said


TOLD: list[Step] = [
    Began("x", "gemini-3"),
    Words("Hm.", thought=True),
    Words(""),
    Words("Let me."),
    ToolBegan(0, "", "a"),
    ToolBegan(1, "two", "b"),
    ToolMore(0, '{"x":'),
    ToolMore(1, "{}"),
    ToolMore(7, "lost"),
    ToolMore(0, "1}"),
    Words("Late."),
    Ended("tool"),
    Ended(None, Usage(1, 5, cache_read=3, reasoning=2)),
]
CHUNKS = [
    [{"text": "Hm.", "thought": True}],
    [{"text": "Let me."}],
    [
        {"functionCall": {"id": "call_9_0", "name": "a", "args": {"x": 1}}},
        {"functionCall": {"id": "two", "name": "b", "args": {}}},
        {"text": "Late."},
    ],
]


@pytest.mark.parametrize("framing", ["", "text/event-stream", "application/json"])
def test_a_stream_is_events_or_an_array(framing: str) -> None:
    raw = streamed(GEMINI, Asked("asked", id="9", framing=framing), TOLD)
    chunks = json.loads(raw) if framing == "application/json" else [json.loads(data_of(event)) for event in Splitter().feed(raw)]
    assert [chunk["candidates"][0]["content"]["parts"] for chunk in chunks] == CHUNKS
    assert [chunk["candidates"][0].get("finishReason") for chunk in chunks] == [None, None, "STOP"]
    assert [chunk.get("usageMetadata") for chunk in chunks] == [
        None,
        None,
        {"promptTokenCount": 4, "cachedContentTokenCount": 3, "candidatesTokenCount": 3, "thoughtsTokenCount": 2, "totalTokenCount": 9},
    ]
    assert {(chunk["modelVersion"], chunk["responseId"]) for chunk in chunks} == {("gemini-3", "x")}


@pytest.mark.parametrize("asked", [Asked("asked"), ARRAY])
def test_an_empty_stream_has_an_end(asked: Asked) -> None:
    raw = streamed(GEMINI, asked, [])
    (chunk,) = json.loads(raw) if asked.framing else [json.loads(data_of(raw))]
    assert (chunk["candidates"][0]["finishReason"], chunk["modelVersion"], "usageMetadata" in chunk) == ("STOP", "asked", False)


def test_a_call_that_was_cut_off_is_left_out() -> None:
    half: list[Step] = [ToolBegan(0, "1", "a"), ToolMore(0, '{"x":'), ToolBegan(1, "2", "b"), ToolMore(1, "{}"), Ended("length")]
    (chunk,) = json.loads(streamed(GEMINI, ARRAY, half))
    assert [part["functionCall"]["name"] for part in chunk["candidates"][0]["content"]["parts"]] == ["b"]
    said = Said("", "m", [ToolUse("1", "a", ""), ToolUse("2", "b", "{}")], "length", Usage())
    assert [p["functionCall"]["name"] for p in GEMINI.write_reply(said, ARRAY)["candidates"][0]["content"]["parts"]] == ["b"]


@pytest.mark.parametrize("asked", [Asked("asked"), ARRAY])
@pytest.mark.parametrize("spoken", [False, True])
def test_a_stream_is_cut_and_fails_in_its_own_words(asked: Asked, spoken: bool) -> None:
    def last(*acts: Any) -> dict[str, Any]:
        writer = GEMINI.writer(asked)
        raw = (writer.step(Words("a")) if spoken else b"") + writer.step(ToolBegan(0, "1", "x"))
        for act in acts:
            raw += act(writer)
        chunks = json.loads(raw) if asked.framing else [json.loads(data_of(event)) for event in Splitter().feed(raw)]
        assert len(chunks) == 1 + spoken
        found: dict[str, Any] = chunks[-1]
        return found

    cut = last(lambda w: w.cut(SPENT), lambda w: w.cut(SPENT), lambda w: w.end(), lambda w: w.step(Words("b")))
    assert (cut["candidates"][0]["finishReason"], cut["fleetgate"]["reason"]) == ("MAX_TOKENS", "budget_exceeded")
    assert cut["candidates"][0]["content"]["parts"] == []
    refused = last(lambda w: w.cut(BLOCKED), lambda w: w.cut(BLOCKED))
    assert (refused["error"]["code"], refused["fleetgate"]["reason"]) == (403, "content_blocked")
    failed = last(lambda w: w.step(Failed("overloaded")), lambda w: w.end(), lambda w: w.cut(BLOCKED))
    assert failed["error"] == {"code": 502, "message": "overloaded", "status": "UNAVAILABLE"}


def test_what_is_kept_back_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draft, "MAX_LETTERS", 100)
    writer = GEMINI.writer(ARRAY)
    assert writer.step(ToolBegan(0, "1", "x")) == b""
    told = json.loads(writer.step(ToolMore(0, "y" * 100)))
    assert "longer than can be carried" in told[0]["error"]["message"]
    assert writer.end() == b""


def test_a_stream_is_read_whatever_stands_in_it() -> None:
    reader = GEMINI.reader()
    assert reader.event(b": comment\n\n") == []
    assert reader.event(b"data: [1]\n\n") == []
    assert reader.event(b'data: {"candidates":7}\n\n') == []
    assert reader.event(b"data: " + json.dumps({"candidates": [{}], "usageMetadata": {"promptTokenCount": 4}}).encode() + b"\n\n") == [
        Began("", "", Usage(4)),
        Ended(None, Usage(4)),
    ]
    assert reader.event(b'data: {"candidates":[{"content":{}}]}\n\n') == []
    assert reader.event(b'data: {"promptFeedback":{}}\n\n') == []
    assert reader.event(b'data: {"promptFeedback":{"blockReason":"SAFETY"}}\n\n') == [Ended("filter", None)]
    assert reader.event(b'data: {"error":{"code":503,"message":"busy"}}\n\n') == [Failed("busy")]
    assert reader.event(b'data: {"error":"busy"}\n\n') == [Failed("busy")]
    assert reader.event(b'data: {"error":{"message":7}}\n\n') == [Failed("")]
    many = {"candidates": [{"content": {"parts": [{"functionCall": {"name": "x"}}] * 1025}}]}
    assert len(reader.event(b"data: " + json.dumps(many).encode() + b"\n\n")) == 2048


def test_several_things_in_one_event_are_told_in_order() -> None:
    said = {
        "candidates": [
            {
                "content": {
                    "parts": [{"text": "a", "thought": True}, {"text": "b"}, {"functionCall": {"name": "x", "args": {"é": 1}}}, {}]
                },
                "finishReason": "STOP",
            },
            {"content": {"parts": [{"text": "another candidate"}]}},
        ],
        "responseId": "r",
        "modelVersion": "g",
        "usageMetadata": {"promptTokenCount": 4, "candidatesTokenCount": 2, "totalTokenCount": 6},
    }
    for raw, framing in ((b"data: %b\r\n\r\n", Splitter()), (b"[%b\n]", Elements())):
        assert read(GEMINI, raw % json.dumps(said).encode(), framing) == [
            Began("r", "g", Usage(4, 2)),
            Words("a", thought=True),
            Words("b"),
            ToolBegan(0, "", "x"),
            ToolMore(0, '{"é":1}'),
            Ended("tool", Usage(4, 2)),
        ]


@pytest.mark.parametrize(
    ("reason", "stop"),
    [("STOP", "stop"), ("MAX_TOKENS", "length"), ("SAFETY", "filter"), ("MALFORMED_FUNCTION_CALL", "filter"), (None, "stop")],
)
def test_reasons_to_stop(reason: str | None, stop: str) -> None:
    assert GEMINI.read_reply({"candidates": [{"finishReason": reason}]}).stop == stop


def test_a_reply_is_read_whatever_is_missing() -> None:
    blocked = {"promptFeedback": {"blockReason": "OTHER"}, "usageMetadata": {"promptTokenCount": 4}}
    assert GEMINI.read_reply(blocked) == Said("", "", [], "filter", Usage(4))
    bodies: list[dict[str, Any]] = [{}, {"candidates": []}, {"candidates": {}}, {"usageMetadata": {}}]
    for body in bodies:
        with pytest.raises(Untranslatable):
            GEMINI.read_reply(body)


def test_usage_that_nobody_reported_is_not_made_up() -> None:
    said = Said("", "", [Text("a")], "filter", Usage(exact=False))
    written = GEMINI.write_reply(said, Asked("m", id="7"))
    assert ("usageMetadata" in written, written["responseId"], written["modelVersion"]) == (False, "7", "m")
    assert written["candidates"][0]["finishReason"] == "SAFETY"
    assert gathered([Ended("length")]).stop == "length"
