from __future__ import annotations

from typing import Any

from edit_cases import through, untouched, whole

from proxy.wire.anthropic_edit import NOTHING, MessagesEditor
from proxy.wire.anthropic_reply import MessagesMeter, sse
from proxy.wire.sse import Splitter


def begins(index: int, **block: Any) -> bytes:
    return sse("content_block_start", {"index": index, "content_block": block})


def more(index: int, **delta: Any) -> bytes:
    return sse("content_block_delta", {"index": index, "delta": delta})


def ends(index: int) -> bytes:
    return sse("content_block_stop", {"index": index})


def use(index: int, name: str, kind: str = "tool_use", *pieces: str) -> list[bytes]:
    deltas = [more(index, type="input_json_delta", partial_json=piece) for piece in pieces]
    return [begins(index, type=kind, id=f"t{index}", name=name, input={}), *deltas, ends(index)]


STOP = sse("message_delta", {"delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 3}})
TEXT = {"type": "text", "text": ""}


def test_the_golden_stream_stays() -> None:
    untouched(MessagesEditor(), MessagesMeter(), Splitter(), "messages_stream.sse")


def test_what_came_of_a_refused_call_goes_with_it() -> None:
    result = {"type": "web_search_tool_result", "tool_use_id": "t0", "content": [{"title": "x"}]}
    other = result | {"tool_use_id": "t9"}
    events = [*use(0, "bad", "server_tool_use", "{", "}"), begins(1, **result), ends(1), begins(2, **other), ends(2), STOP]
    got = through(MessagesEditor(), MessagesMeter(), events, {"bad": "No."})
    assert [value["type"].removeprefix("content_block_") for value in got] == [
        *("start", "delta", "stop", "start", "delta", "stop", "start", "stop", "message_delta")
    ]
    assert (got[0]["content_block"], got[1]["delta"]) == (TEXT, {"type": "text_delta", "text": "No."})
    assert (got[3]["content_block"], got[4]["delta"]) == (TEXT, {"type": "text_delta", "text": NOTHING})
    assert got[6]["content_block"] == other
    assert got[8]["delta"]["stop_reason"] == "end_turn"
    reply = {"type": "message", "content": [{"type": "server_tool_use", "id": "t0", "name": "bad", "input": {}}, result, other]}
    got = whole(MessagesEditor(), MessagesMeter(), reply, {"bad": "No."})
    assert got["content"] == [{"type": "text", "text": "No."}, {"type": "text", "text": NOTHING}, other]


def test_a_call_that_was_kept_before_keeps_the_stop_reason() -> None:
    events = [*use(0, "good", "tool_use", "{}"), *use(1, "bad", "tool_use", "{}"), STOP]
    got = through(MessagesEditor(), MessagesMeter(), events, {"bad": "No."})
    assert got[-1]["delta"]["stop_reason"] == "tool_use"


def test_arguments() -> None:
    events = [*use(0, "a", "tool_use", "{", "}"), begins(1, type="tool_use", id="t", name="b", input={"x": 1}), ends(1), *use(2, "c")]
    got = through(MessagesEditor(), MessagesMeter(), events, {}, {"a": '{"y":2}', "b": '{"z":3}', "c": "{}"})
    assert [value["delta"]["partial_json"] for value in got if "delta" in value] == ['{"y":2}', ""]
    assert [value["content_block"]["input"] for value in got if "content_block" in value] == [{}, {"z": 3}, {}]


def test_a_call_of_a_kind_that_nobody_knows() -> None:
    """What has arguments is a call."""
    events = [*use(0, "bad", "novel_use", "{}"), STOP]
    meter = MessagesMeter()
    assert [meter.event(raw).kind for raw in events[:2]][1] == "tool"
    assert meter.calling
    got = through(MessagesEditor(), MessagesMeter(), events, {"bad": "No."})
    assert got[0]["content_block"] == TEXT
    assert got[-1]["delta"]["stop_reason"] == "end_turn"


def test_texts() -> None:
    editor = MessagesEditor()
    assert editor.texts(begins(3, type="text", text="a")) == [("3/text", "a")]
    assert editor.texts(more(3, type="text_delta", text="b")) == [("3/text", "b")]
    assert editor.texts(more(3, type="citations_delta", citation={"x": 1})) == [
        ("3/text", None),
        ("thought/3/part", '{"type":"citations_delta","citation":{"x":1}}'),
    ]
    assert editor.texts(ends(3)) == [("thought/3/part", None)]
    assert editor.texts(more(4, type="thinking_delta", thinking="c")) == [("thought/4/thinking", "c")]
    assert editor.texts(more(4, type="signature_delta", signature="s")) == []
    assert editor.texts(begins(5, type="redacted_thinking", data="s")) == []
    assert editor.texts(begins(5, type="tool_use", name="n")) == []
    assert editor.texts(sse("content_block_delta", {"index": 6, "delta": "odd"})) == [("thought/6/part", "{}")]
    assert editor.edit(more(3, type="text_delta", text="b"), {"3/text": "B"}) == [more(3, type="text_delta", text="B")]
    assert editor.whole(b'{"content":[{"type":"text","text":"a"},3]}', str.upper) == b'{"content":[{"type":"text","text":"A"},3]}'
