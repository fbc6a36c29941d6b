from __future__ import annotations

import json
from typing import Any

from edit_cases import through, untouched, whole

from proxy.wire.openai_responses_edit import ResponsesEditor
from proxy.wire.openai_responses_reply import ResponsesMeter
from proxy.wire.sse import Splitter


def event(kind: str, **members: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", **members}


def framed(*values: dict[str, Any]) -> list[bytes]:
    return [
        b"event: %b\ndata: %b\n\n" % (v["type"].encode(), json.dumps(v | {"sequence_number": i}).encode()) for i, v in enumerate(values)
    ]


def item(index: int, name: str, arguments: str = "{}", kind: str = "function_call") -> dict[str, Any]:
    key = "input" if kind == "custom_tool_call" else "arguments"
    return {"type": kind, "id": f"fc_{index}", "call_id": f"call_{index}", "name": name, key: arguments, "status": "completed"}


def began(index: int, value: dict[str, Any]) -> dict[str, Any]:
    empty = {key: "" for key in ("arguments", "input") if key in value}
    return event("output_item.added", output_index=index, item=value | empty | {"status": "in_progress"})


def done(index: int, value: dict[str, Any]) -> dict[str, Any]:
    return event("output_item.done", output_index=index, item=value)


def more(index: int, delta: str, kind: str = "function_call_arguments") -> dict[str, Any]:
    return event(f"{kind}.delta", output_index=index, item_id=f"fc_{index}", delta=delta)


def completed(*output: dict[str, Any]) -> dict[str, Any]:
    return event("completed", response={"id": "r", "status": "completed", "output": list(output)})


def said(value: dict[str, Any]) -> str:
    return str(value["content"][0]["text"])


WITHHELD = ["output_item.added", "content_part.added", "output_text.delta", "output_text.done", "content_part.done", "output_item.done"]


def test_the_golden_stream_stays() -> None:
    untouched(ResponsesEditor(), ResponsesMeter(), Splitter(), "responses_stream.sse")


def test_calls_side_by_side() -> None:
    bad, good = item(0, "bad", '{"a":1}'), item(1, "good", '{"b":2}')
    events = framed(
        began(0, bad),
        began(1, good),
        more(0, '{"a"'),
        more(1, '{"b"'),
        more(0, ":1}"),
        more(1, ":2}"),
        event("function_call_arguments.done", output_index=0, arguments='{"a":1}'),
        event("function_call_arguments.done", output_index=1, arguments='{"b":2}'),
        done(1, good),
        done(0, bad),
        completed(bad, good),
    )
    got = through(ResponsesEditor(), ResponsesMeter(), events, {"bad": "No."}, {"good": '{"b":3}'})
    assert [value["sequence_number"] for value in got] == list(range(len(got)))
    assert [value["type"].removeprefix("response.") for value in got[:6]] == WITHHELD
    assert all(value["output_index"] == 0 for value in got[:6])
    assert not any(value.get("output_index") == 0 for value in got[6:])
    assert [value["delta"] for value in got[6:] if "delta" in value] == ['{"b":3}', ""]
    assert [value["arguments"] for value in got if "arguments" in value] == ['{"b":3}']
    output = got[-1]["response"]["output"]
    assert (output[0], output[0]["type"], said(output[0])) == (got[5]["item"], "message", "No.")
    assert output[1]["arguments"] == '{"b":3}'


def test_a_custom_tool_and_one_of_the_providers_own() -> None:
    custom = item(0, "good", "ls", "custom_tool_call")
    own = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "x"}}
    events = framed(
        began(0, custom),
        more(0, "ls", "custom_tool_call_input"),
        done(0, custom),
        began(1, own),
        event("web_search_call.searching", output_index=1, item_id="ws_1"),
        done(1, own),
        completed(custom, own),
    )
    got = through(ResponsesEditor(), ResponsesMeter(), events, {"web_search": "No."}, {"good": "pwd"})
    assert [value["delta"] for value in got if "delta" in value] == ["pwd", "No."]
    assert [one["type"] for one in got[-1]["response"]["output"]] == ["custom_tool_call", "message"]
    assert got[-1]["response"]["output"][0]["input"] == "pwd"
    again = through(ResponsesEditor(), ResponsesMeter(), events, {}, {"web_search": "{}"})
    assert again[-1]["response"]["output"][1] == own, "what the provider ran has run as it is"


def test_calls_that_only_the_last_event_has() -> None:
    events = framed(completed(item(0, "bad"), item(1, "good")))
    (got,) = through(ResponsesEditor(), ResponsesMeter(), events, {"bad": "No."}, {"good": '{"x":1}'})
    output = got["response"]["output"]
    assert (said(output[0]), output[0]["id"], output[1]["arguments"]) == ("No.", "msg_call_0", '{"x":1}')


def test_a_call_without_an_id_goes_by_its_place() -> None:
    bare = {"type": "function_call", "name": "bad", "arguments": "{}"}
    got = through(ResponsesEditor(), ResponsesMeter(), framed(done(0, bare)), {"bad": "No."})
    assert [value["type"].removeprefix("response.") for value in got] == WITHHELD
    assert got[0]["item"]["id"] == "msg_0"


def test_events_without_numbers_get_none() -> None:
    call = item(0, "bad")
    events = [b"data: " + json.dumps(value).encode() + b"\n\n" for value in (began(0, call), done(0, call), completed(call))]
    got = through(ResponsesEditor(), ResponsesMeter(), events, {"bad": "No."})
    assert len(got) == 7
    assert not any("sequence_number" in value for value in got)


def test_an_event_without_a_number_behind_a_change() -> None:
    call = item(0, "bad")
    events = [*framed(began(0, call), done(0, call)), b'data: {"type":"novel"}\n\n', *framed(completed(call))]
    got = through(ResponsesEditor(), ResponsesMeter(), events, {"bad": "No."})
    assert got[6] == {"type": "novel"}
    assert got[7]["sequence_number"] == 6


def test_a_whole_reply() -> None:
    reply = {"id": "r", "status": "completed", "output": [item(0, "bad"), item(1, "good"), {"type": "reasoning", "summary": []}]}
    got = whole(ResponsesEditor(), ResponsesMeter(), reply, {"bad": "No."}, {"good": '{"x":1}'})
    assert (said(got["output"][0]), got["output"][1]["arguments"]) == ("No.", '{"x":1}')


def test_texts_in_every_place() -> None:
    editor = ResponsesEditor()

    def texts(value: dict[str, Any]) -> list[Any]:
        (raw,) = framed(value)
        found = editor.texts(raw)
        changed = {name: "!" for name, piece in found if piece is not None}
        (new,) = editor.edit(raw, changed) if changed else (raw,)
        assert (b"secret" in new) == any(name.startswith("thought/") for name in changed)
        return [piece for _, piece in found]

    part = {"type": "output_text", "text": "secret"}
    at = {"output_index": 1, "content_index": 0}
    assert texts(event("output_text.delta", **at, delta="secret")) == ["secret"]
    assert texts(event("output_text.done", **at, text="secret")) == ["secret", None, None]
    assert texts(event("content_part.done", **at, part=part)) == ["secret", None]
    assert texts(event("refusal.delta", **at, delta="secret")) == ["secret"]
    assert texts(event("refusal.done", **at, refusal="secret")) == ["secret", None, None]
    assert texts(event("audio.transcript.delta", **at, delta="secret")) == ["secret"]
    assert texts(event("audio.delta", **at, delta="c2VjcmV0")) == []
    message = {"type": "message", "content": [part, {"type": "refusal", "refusal": "secret"}, 3]}
    assert texts(done(1, message)) == ["secret", "secret", None, None, None]
    reasoning = {"type": "reasoning", "summary": [{"text": "secret"}], "content": [{"text": "secret"}]}
    assert texts(completed(message, reasoning)) == [*["secret"] * 4, *[None] * 4]
    assert texts(done(2, {"type": "novel", "x": "secret"})) == ['{"type":"novel","x":"secret"}', None]
    for quiet in ("compaction", "function_call_output", "mcp_list_tools"):
        assert texts(done(2, {"type": quiet, "x": "y"})) == []
    assert texts(event("failed", response={"output": None})) == []
    assert texts(event("failed", response={"output": [3]})) == []
