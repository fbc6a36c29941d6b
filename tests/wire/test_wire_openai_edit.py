from __future__ import annotations

from typing import Any

import pytest
from edit_cases import sse, through, untouched, whole

from proxy.wire.openai_edit import ChatEditor
from proxy.wire.openai_reply import ChatMeter
from proxy.wire.sse import Splitter


def chunk(index: int, finish: str | None = None, **delta: Any) -> bytes:
    return sse({"id": "c", "choices": [{"index": index, "delta": delta, "finish_reason": finish}]})


def call(index: int | None, name: str = "", arguments: str = "", id: str = "", kind: str = "function") -> dict[str, Any]:
    function: dict[str, Any] = {"input" if kind == "custom" else "arguments": arguments}
    if name:
        function["name"] = name
    return {kind: function} | ({} if index is None else {"index": index}) | ({"id": id} if id else {})


def delta(value: Any) -> Any:
    return value["choices"][0]["delta"]


def test_the_golden_stream_stays() -> None:
    untouched(ChatEditor(), ChatMeter(), Splitter(), "chat_stream.sse")


def test_calls_of_several_choices() -> None:
    events = [
        chunk(0, tool_calls=[call(0, "bad", "{", "a"), call(1, "good", "[", "b")]),
        chunk(1, tool_calls=[call(0, "good", "{}", "c")]),
        chunk(0, tool_calls=[call(1, "", "]"), call(0, "", "}")]),
        chunk(10, tool_calls=[call(0, "bad", "{}", "d")]),
        chunk(0, "tool_calls"),
        chunk(1, "tool_calls"),
        chunk(10, "tool_calls"),
    ]
    got = through(ChatEditor(), ChatMeter(), events, {"bad": "No."})
    assert delta(got[0]) == {"tool_calls": [call(0, "good", "[", "b")], "content": "\nNo."}
    assert delta(got[1]) == {"tool_calls": [call(0, "good", "{}", "c")]}
    assert delta(got[2]) == {"tool_calls": [call(0, "", "]")]}
    assert delta(got[3]) == {"content": "\nNo."}
    assert [value["choices"][0]["finish_reason"] for value in got[4:]] == ["tool_calls", "tool_calls", "stop"]


@pytest.mark.parametrize("index", [None, 0])
def test_calls_that_share_an_index(index: int | None) -> None:
    """Some servers give no index or 0 to all; ids, or names, tell calls apart."""
    events = [
        chunk(0, tool_calls=[call(index, "bad", "{}", "a")]),
        chunk(0, tool_calls=[call(index, "good", "{", "b")]),
        chunk(0, tool_calls=[call(index, "", "}")]),
        chunk(0, "tool_calls"),
    ]
    got = through(ChatEditor(), ChatMeter(), events, {"bad": "No."}, {"good": "{1}"})
    assert delta(got[0]) == {"content": "\nNo."}
    assert [delta(value)["tool_calls"][0]["function"]["arguments"] for value in got[1:3]] == ["{1}", ""]
    assert got[3]["choices"][0]["finish_reason"] == "tool_calls"


def test_the_old_kind_of_call() -> None:
    events = [
        chunk(0, function_call={"name": "bad", "arguments": "{"}),
        chunk(0, function_call={"arguments": "}"}),
        chunk(0, "function_call"),
    ]
    got = through(ChatEditor(), ChatMeter(), events, {"bad": "No."})
    assert [delta(value) for value in got] == [{"content": "\nNo."}, {}, {}]
    assert got[2]["choices"][0]["finish_reason"] == "stop"
    got = through(ChatEditor(), ChatMeter(), events, {}, {"bad": "{2}"})
    assert [delta(value).get("function_call", {}).get("arguments") for value in got] == ["{2}", "", None]
    message = {"role": "assistant", "content": None, "function_call": {"name": "bad", "arguments": "{}"}}
    reply = {"choices": [{"message": message, "finish_reason": "function_call"}, {"text": "no message"}]}
    got = whole(ChatEditor(), ChatMeter(), reply, {"bad": "No."})
    assert got["choices"][0] == {"message": {"role": "assistant", "content": "No."}, "finish_reason": "stop"}


def test_calls_after_a_finish_are_others() -> None:
    events = [
        chunk(0, "tool_calls", tool_calls=[call(0, "good", "{}")]),
        chunk(0, "tool_calls", tool_calls=[call(0, "bad", "{}")]),
    ]
    got = through(ChatEditor(), ChatMeter(), events, {"bad": "No."})
    assert [list(delta(value)) for value in got] == [["tool_calls"], ["content"]]


def test_custom_tools_and_words_beside_calls() -> None:
    events = [chunk(0, "tool_calls", content="Hm", tool_calls=[call(0, "good", "x", kind="custom"), call(1, "bad"), call(2, "bad")])]
    (got,) = through(ChatEditor(), ChatMeter(), events, {"bad": "No."}, {"good": "y"})
    assert delta(got) == {"content": "Hm\nNo.\nNo.", "tool_calls": [call(0, "good", "y", kind="custom")]}
    events = [chunk(0, "tool_calls", content=[{"type": "text", "text": "Hm"}], tool_calls=[call(0, "bad")])]
    (got,) = through(ChatEditor(), ChatMeter(), events, {"bad": "No."})
    assert delta(got) == {"content": [{"type": "text", "text": "Hm"}, {"type": "text", "text": "No."}]}


def test_texts_in_other_places() -> None:
    editor = ChatEditor()
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}, {"type": "thinking", "thinking": [1]}, None]
    raw = chunk(2, content=parts, audio={"transcript": "c", "data": "zz"}, refusal="d")
    found = editor.texts(raw)
    thought = '{"type":"thinking","thinking":[1]}'
    said = [("2/content", "a"), ("2/content", "b"), ("thought/2/content/part", thought), ("2/audio", "c"), ("2/refusal", "d")]
    assert found == said
    (new,) = editor.edit(raw, {"2/content": "AB", "2/audio": "C"})
    changed = [{"type": "text", "text": "AB"}, {"type": "text", "text": ""}, parts[2], None]
    assert new == chunk(2, content=changed, audio={"transcript": "C", "data": "zz"}, refusal="d").replace(b": ", b":").replace(
        b", ", b","
    ).replace(b"data:", b"data: ", 1)
    assert editor.texts(b"data: [DONE]\n\n") == []
    assert editor.edit(b": hi\n\n", {}) == [b": hi\n\n"]
    assert editor.whole(b"[]", str.upper) == b"[]"


def test_who_speaks_lets_the_others_end() -> None:
    editor = ChatEditor()
    assert editor.texts(chunk(0, reasoning_content="a", reasoning="a")) == [("0/reasoning_content", "a"), ("0/reasoning", "a")]
    assert editor.texts(chunk(1, content="b")) == [("1/content", "b")]
    found = editor.texts(chunk(0, content="c"))
    assert sorted(found[:2]) == [("0/reasoning", None), ("0/reasoning_content", None)]
    assert found[2:] == [("0/content", "c")]
    assert editor.texts(chunk(0, "stop")) == [("0/content", None)]
    assert editor.texts(chunk(0, "stop")) == []


def test_single_tokens_do_not_spell_what_was_hidden() -> None:
    def said(text: str, probs: Any) -> bytes:
        choice = {"index": 0, "delta": {"content": text, "parts": [{"logprobs": probs}]}, "logprobs": {"content": probs} if probs else None}
        return sse({"choices": [choice]})

    editor, probs = ChatEditor(), [{"token": "secret"}]
    assert editor.edit(said("a", probs), {}) == [said("a", probs)]
    (new,) = editor.edit(said("secret", probs), {"0/content": "[X]"})
    assert b"secret" not in new
    assert editor.edit(said("b", None), {}) == [said("b", None)]
    (later,) = editor.edit(said("b", probs), {})
    assert b"secret" not in later
    body = b'{"choices":[{"message":{"content":"secret"},"logprobs":{"content":[{"token":"secret"}]}}]}'
    assert ChatEditor().whole(body, lambda text: "[X]") == b'{"choices":[{"message":{"content":"[X]"},"logprobs":null}]}'
