from __future__ import annotations

import json
from typing import Any

from edit_cases import through, untouched, whole

from proxy.wire.ndjson import Lines
from proxy.wire.ollama_edit import OllamaEditor
from proxy.wire.ollama_reply import OllamaMeter


def line(**members: Any) -> bytes:
    return json.dumps(members).encode() + b"\n"


def call(name: str) -> dict[str, Any]:
    return {"function": {"name": name, "arguments": {"x": 1}}}


def test_the_golden_streams_stay() -> None:
    editor, meter = OllamaEditor(), OllamaMeter()
    untouched(OllamaEditor(), OllamaMeter(generate=True), Lines(), "ollama_generate_stream.ndjson")
    untouched(editor, meter, Lines(), "ollama_chat_stream.ndjson")


def test_calls() -> None:
    events = [
        line(message={"content": "", "tool_calls": [call("bad"), call("good")]}, done=False),
        line(message={"content": "Hm", "tool_calls": [call("bad")]}, done=False),
        line(tool_calls=[call("bad")], response="", done=False),
        line(message={"content": ""}, done=True, done_reason="tool_calls"),
    ]
    got = through(OllamaEditor(), OllamaMeter(), events, {"bad": "No."}, {"good": '{"y":2}'})
    good = {"function": {"name": "good", "arguments": {"y": 2}}}
    assert got[0]["message"] == {"content": "\nNo.", "tool_calls": [good]}
    assert got[1]["message"] == {"content": "Hm\nNo."}
    assert got[2] == {"response": "\nNo.", "done": False}
    assert got[3]["done_reason"] == "tool_calls"
    got = through(OllamaEditor(), OllamaMeter(), events, {"bad": "No.", "good": "No."})
    assert got[0]["message"] == {"content": "\nNo.\nNo."}
    assert got[3]["done_reason"] == "stop"


def test_a_whole_reply() -> None:
    reply = {"message": {"content": "", "tool_calls": [call("bad")]}, "done": True, "done_reason": "stop"}
    got = whole(OllamaEditor(), OllamaMeter(), reply, {"bad": "No."})
    assert got["message"] == {"content": "No."}


def test_texts() -> None:
    editor = OllamaEditor()
    assert editor.texts(line(message={"content": "", "thinking": "a"}, done=False)) == [("0/thinking", "a")]
    assert editor.texts(line(message={"content": "b"}, done=False)) == [("0/thinking", None), ("0/content", "b")]
    assert editor.edit(line(message={"content": "b"}), {"0/content": "B"}) == [b'{"message":{"content":"B"}}\n']
    assert editor.texts(line(done=True)) == [("0/content", None)]
    assert editor.texts(b"\n") == []
