from __future__ import annotations

from typing import Any

import pytest
from edit_cases import GOLDEN, sse, through, untouched, whole

from proxy.wire.gemini_edit import GenerateEditor
from proxy.wire.gemini_frame import ARRAY, SSE
from proxy.wire.gemini_reply import GenerateMeter


def reply(*parts: Any, index: int | None = 0, **more: Any) -> dict[str, Any]:
    candidate = {"content": {"parts": list(parts), "role": "model"}, **({} if index is None else {"index": index}), **more}
    return {"candidates": [candidate]}


def call(name: str, **more: Any) -> dict[str, Any]:
    return {"functionCall": {"name": name, "args": {"x": 1}}, **more}


def parts(value: Any) -> Any:
    return value["candidates"][0]["content"]["parts"]


def test_the_golden_streams_stay() -> None:
    untouched(GenerateEditor(), GenerateMeter(SSE), SSE.framing(), "gemini_stream.sse")
    untouched(GenerateEditor(sse=False), GenerateMeter(ARRAY), ARRAY.framing(), "gemini_stream.json")


def test_separators_of_an_array_stay() -> None:
    events = ARRAY.framing().feed((GOLDEN / "gemini_stream.json").read_bytes())
    editor = GenerateEditor(sse=False)
    editor.refused["0/0"] = "No."
    changed = b"".join([one for raw in events for one in editor.edit(raw, {})])
    assert changed.startswith(b"[{")
    assert changed.count(b"\n,\r\n{") == 3
    assert changed.endswith(b"\n]")
    assert b'{"text":"No."},{"functionCall":{"name":"shell"' in changed


def test_calls_of_several_candidates() -> None:
    events = [sse(reply(call("bad"), call("good"))), sse(reply(call("good"), index=1)), sse(reply(call("bad")))]
    got = through(GenerateEditor(), GenerateMeter(), events, {"bad": "No."}, {"good": '{"y":2}'})
    other = {"functionCall": {"name": "good", "args": {"y": 2}}}
    assert [parts(value) for value in got] == [[{"text": "No."}, other], [other], [{"text": "No."}]]


def test_signatures_stay_with_the_first_call() -> None:
    events = [sse(reply(call("bad", thoughtSignature="s1"), call("good"), call("good")))]
    (got,) = through(GenerateEditor(), GenerateMeter(), events, {"bad": "No."})
    assert parts(got) == [{"text": "No."}, call("good", thoughtSignature="s1"), call("good")]
    events = [sse(reply(call("bad", thoughtSignature="s1"), call("good", thoughtSignature="s2")))]
    (got,) = through(GenerateEditor(), GenerateMeter(), events, {"bad": "No."})
    assert parts(got) == [{"text": "No."}, call("good", thoughtSignature="s2")]


def test_a_whole_reply() -> None:
    tool = {"toolCall": {"toolType": "GOOGLE_SEARCH", "args": {"q": "x"}}}
    got = whole(GenerateEditor(), GenerateMeter(), reply({"text": "a"}, tool, call("good")), {"GOOGLE_SEARCH": "No."})
    assert parts(got) == [{"text": "a"}, {"text": "No."}, call("good")]


@pytest.mark.parametrize(
    ("part", "name", "piece"),
    [
        ({"text": "a"}, "0/text", "a"),
        ({"text": "a", "thought": True}, "thought/0/thought", "a"),
        ({"executableCode": {"language": "PYTHON", "code": "a"}}, "0/executableCode", "a"),
        ({"codeExecutionResult": {"outcome": "OK", "output": "a"}}, "0/codeExecutionResult", "a"),
        ({"novel": {"x": "a"}}, "thought/0/part", '{"novel":{"x":"a"}}'),
    ],
)
def test_texts(part: dict[str, Any], name: str, piece: str) -> None:
    assert GenerateEditor().texts(sse(reply(part))) == [(name, piece)]


def test_what_holds_no_text() -> None:
    silent: list[dict[str, Any]] = [{}, {"inlineData": {"data": "x"}}, {"thoughtSignature": "x"}, call("good"), {"executableCode": {}}]
    for part in silent:
        assert GenerateEditor().texts(sse(reply(part))) == []
    assert GenerateEditor().texts(sse({"candidates": [{"finishReason": "STOP"}], "promptFeedback": {}})) == []
    editor = GenerateEditor()
    assert editor.texts(sse(reply({"text": "a"}, finishReason="STOP"))) == [("0/text", "a"), ("0/text", None)]


def test_arguments_in_pieces_cannot_be_judged() -> None:
    meter = GenerateMeter()
    meter.event(sse(reply({"functionCall": {"name": "f", "partialArgs": [{"jsonPath": "$.x", "stringValue": "a"}]}})))
    assert meter.odd
