from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from proxy.model import Deny, Reason, Usage
from proxy.wire.call import Event
from proxy.wire.openai_reply import ChatMeter, loose, usage_of
from proxy.wire.sse import Splitter, data_of

GOLDEN = Path(__file__).parent / "golden"
COSTLY = Deny(Reason.BUDGET_EXCEEDED, "The day's budget is spent.", "budgets/main.yaml:3 day", "Wait for tomorrow.")


def chunk(**members: Any) -> bytes:
    return b"data: " + json.dumps(members).encode() + b"\n\n"


def delta(index: int | None = 0, finish: str | None = None, **members: Any) -> bytes:
    return chunk(id="c1", created=5, model="m", choices=[{"index": index, "delta": members, "finish_reason": finish}])


def run(*events: bytes) -> tuple[ChatMeter, list[Event]]:
    meter = ChatMeter()
    return meter, [meter.event(event) for event in events]


def test_the_golden_reply() -> None:
    meter = ChatMeter()
    meter.buffered((GOLDEN / "chat_reply.json").read_bytes())
    assert meter.usage == Usage(input=76, output=90, cache_read=1024, cache_write=100, reasoning=64)
    assert meter.texts == ["Twelve euros.", 'get_invoice\nshellHm.{"id":8}pwd']
    assert [(c.id, c.name, c.arguments) for c in meter.tool_calls] == [("call_9", "get_invoice", '{"id":8}'), ("call_10", "shell", "pwd")]
    assert (meter.finish, meter.model, meter.ended, meter.failed) == ("tool_calls", "gpt-4o-2024-08-06", True, False)


def test_the_golden_stream() -> None:
    raw = (GOLDEN / "chat_stream.sse").read_bytes()
    meter, events = run(*Splitter().feed(raw))
    assert b"".join(event.raw for event in events) == raw
    assert [event.kind for event in events] == ["other", "other", "text", "text", "other", "tool", "tool", "tool", "other", "usage", "end"]
    assert [event.text for event in events if event.text] == ["Twelve", " €.", '{"id"{', "}:8}"]
    assert [event.tool for event in events if event.tool] == ["get_invoice", "pay"]
    assert [(c.id, c.name, c.arguments) for c in meter.tool_calls] == [("call_1", "get_invoice", '{"id":8}'), ("call_2", "pay", "{}")]
    assert meter.usage == Usage(input=50, output=21, reasoning=3)
    assert meter.texts == ["Twelve", " €.", "get_invoice", 'pay{"id"{', "}:8}"]
    assert (meter.pieces, meter.finish, meter.model, meter.ended) == (5, "tool_calls", "gpt-4o-2024-08-06", True)


def test_thoughts_that_are_said_under_several_names_count_once() -> None:
    detail = {"type": "reasoning.text", "text": "hm", "index": 0}
    meter, events = run(
        delta(reasoning="hm", reasoning_content="hm"),
        delta(reasoning="hm", reasoning_details=[detail]),
        delta(reasoning_details=[detail, {"type": "reasoning.summary", "summary": "so"}, {"type": "reasoning.encrypted", "data": "x"}, 7]),
        delta(reasoning="a", reasoning_content="b"),
        delta(reasoning_details={"text": "no list"}),
    )
    assert meter.texts == ["hm", "hm", "hmso", "ba"]
    assert (meter.pieces, meter.odd, [event.text for event in events][-1]) == (4, False, "")
    meter = ChatMeter()
    meter.buffered(json.dumps({"choices": [{"message": {"reasoning": "hm", "reasoning_content": "hm", "content": "!"}}]}).encode())
    assert meter.texts == ["hm!"]


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}, Usage(5, 2)),
        ({"prompt_tokens": 5, "total_tokens": 5}, Usage(5, 0)),
        ({"prompt_tokens": 5, "prompt_tokens_details": None, "completion_tokens_details": {}}, Usage(5, 0)),
        ({"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 9}}, Usage(0, 0, 5, exact=False)),
        ({"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 5}}, Usage(0, 0, 5, 4, exact=False)),
        ({"prompt_tokens": -5, "completion_tokens": 2}, Usage(0, 2, exact=False)),
        ({"prompt_tokens": 5, "completion_tokens": -2}, Usage(5, 0, exact=False)),
        ({"prompt_tokens": 10**15, "completion_tokens": 2}, Usage(10**12, 2, exact=False)),
        (
            {"prompt_tokens": 5, "completion_tokens": 2, "completion_tokens_details": {"reasoning_tokens": 3}},
            Usage(5, 2, reasoning=2, exact=False),
        ),
        (
            {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 10, "completion_tokens_details": {"reasoning_tokens": 3}},
            Usage(5, 5, reasoning=3),
        ),
        ({"prompt_tokens": "5"}, None),
        ({"prompt_tokens": 1.5}, None),
        ({"completion_tokens": 5}, None),
        ([], None),
        ({}, None),
        (None, None),
    ],
)
def test_usage_is_believed_only_as_far_as_it_can_be(usage: Any, expected: Usage | None) -> None:
    assert usage_of(json.dumps(usage).encode()) == expected
    meter = ChatMeter()
    meter.buffered(json.dumps({"choices": [], "usage": usage}).encode())
    assert meter.usage == expected


def test_usage_grows_and_the_last_counts() -> None:
    def with_usage(n: int, finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": {"content": "x"}, "finish_reason": finish}
        return chunk(choices=[choice], usage={"prompt_tokens": 5, "completion_tokens": n})

    meter, events = run(with_usage(1), with_usage(2))
    assert meter.usage == Usage(5, 2, exact=False)
    assert [event.kind for event in events] == ["text", "text"]
    meter.event(with_usage(3, "stop"))
    assert meter.usage == Usage(5, 3)


def test_done_makes_the_newest_usage_final_and_closes_open_calls() -> None:
    first = chunk(choices=[{"index": 0, "delta": {"tool_calls": [{"function": {"name": "f"}}]}}], usage={"prompt_tokens": 5})
    meter, _ = run(first, b"data: [DONE]\n\n")
    assert meter.usage == Usage(5, 0)
    assert [call.name for call in meter.tool_calls] == ["f"]
    assert run(b"data: [DONE]\n\n")[0].usage is None


def test_a_usage_chunk_that_cannot_be_read_is_other() -> None:
    meter, (event,) = run(chunk(choices=[], usage={"prompt_tokens": "many"}))
    assert (event.kind, meter.usage) == ("other", None)


@pytest.mark.parametrize("number", [lambda i: 0, lambda i: None, lambda i: i])
def test_tool_calls_however_they_are_numbered(number: Any) -> None:
    def piece(i: int, **members: Any) -> bytes:
        return delta(tool_calls=[{"index": number(i), **members}])

    meter, events = run(
        piece(0, id="a", function={"name": "f", "arguments": '{"x"'}),
        piece(0, function={"arguments": ":1}"}),
        piece(1, id="b", function={"name": "g", "arguments": "{"}),
        piece(1, function={"arguments": "}"}),
        delta(finish="tool_calls"),
    )
    assert [(c.id, c.name, c.arguments) for c in meter.tool_calls] == [("a", "f", '{"x":1}'), ("b", "g", "{}")]
    assert [event.tool for event in events] == ["f", "", "g", "", ""]


def test_choices_are_kept_apart_and_text_beside_a_tool_is_text() -> None:
    meter, events = run(
        chunk(
            choices=[
                {"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"name": "f\ng", "arguments": "{}"}}]}},
                {"index": 1, "delta": {"function_call": {"name": "h", "arguments": "1"}}},
            ]
        ),
        chunk(choices=[{"index": 0, "delta": {"tool_calls": [{"custom": {"input": "a"}}]}}, {"index": 1, "delta": {"content": "text"}}]),
        delta(index=1, finish="function_call"),
    )
    assert [(event.kind, event.tool) for event in events] == [("tool", "f g\nh"), ("text", ""), ("other", "")]
    assert [call.name for call in meter.tool_calls] == ["h"]
    assert meter.cut(None).endswith(b"data: [DONE]\n\n")


def test_every_kind_of_output_counts() -> None:
    meter, events = run(
        delta(content=[{"type": "thinking", "thinking": "deep"}]),
        delta(refusal="no"),
        delta(reasoning="r"),
        delta(reasoning_content="rc"),
        delta(audio={"transcript": "spoken", "data": "AAAA"}),
        delta(content="", role="assistant"),
    )
    assert [event.text for event in events] == ['[{"type":"thinking","thinking":"deep"}]', "no", "r", "rc", "spoken", ""]
    assert meter.pieces == 5


def test_what_is_not_of_the_shape_counts_as_it_stands() -> None:
    odd = chunk(choices=[{"index": "zero", "delta": {"content": "secret"}}], usage={"prompt_tokens": 4})
    meter, (event,) = run(odd)
    assert (event.kind, event.text, event.raw) == ("text", data_of(odd).decode(), odd)
    assert meter.usage == Usage(4, 0, exact=True)
    assert meter.pieces == 1
    assert [e.kind for e in run(b": ping\n\n", b"data: \xff\n\n", b"data: [1]\n\n", b"\n")[1]] == ["other"] * 4
    whole = ChatMeter()
    whole.buffered(b'{"choices": {"odd": 1}, "usage": {"prompt_tokens": 4}, "model": "m"}')
    assert (whole.usage, whole.model, whole.texts) == (
        Usage(4),
        "m",
        ['{"choices": {"odd": 1}, "usage": {"prompt_tokens": 4}, "model": "m"}'],
    )
    html = ChatMeter()
    html.buffered(b"<html>\xff")
    assert (html.usage, html.texts) == (None, ["<html>\ufffd"])
    assert loose(b"<html>").model is None


def test_the_reply_is_finished_when_every_choice_is() -> None:
    meter, _ = run(delta(content="a"), delta(index=1, content="b"), delta(finish="stop"))
    assert meter.finish == ""
    meter.event(delta(index=1, finish="length"))
    assert meter.finish == "length"
    meter.event(delta(index=2, content="late"))
    assert meter.finish == ""


def test_choices_that_say_nothing() -> None:
    meter, (event,) = run(chunk(choices=[{"index": 0}]))
    assert (event.kind, meter.pieces) == ("other", 0)
    whole = ChatMeter()
    whole.buffered(b'{"choices":[{"index":0,"finish_reason":"stop"}]}')
    assert (whole.texts, whole.finish) == ([], "stop")


def test_the_providers_error() -> None:
    meter, (event,) = run(chunk(error={"message": "overloaded", "code": 503}))
    assert (event.kind, meter.failed) == ("error", True)
    whole = ChatMeter()
    whole.buffered(b'{"error":{"message":"no"}}')
    assert whole.failed
    assert run(chunk(error=None, choices=[], model=None))[1][0].kind == "other"


def test_a_budget_cut_ends_open_choices_with_length() -> None:
    meter, _ = run(delta(content="a"), delta(index=1, content="b"), delta(index=1, finish="stop"))
    last, done = Splitter().feed(meter.cut(COSTLY))
    said = json.loads(data_of(last))
    assert said == {
        "id": "c1",
        "object": "chat.completion.chunk",
        "created": 5,
        "model": "m",
        "choices": [{"index": 0, "delta": {}, "finish_reason": "length"}],
        "fleetgate": {"reason": "budget_exceeded", "rule": "budgets/main.yaml:3 day", "remedy": "Wait for tomorrow."},
    }
    assert done == b"data: [DONE]\n\n"
    meter.event(delta(finish="stop"))
    assert meter.cut(COSTLY) == b"data: [DONE]\n\n"


def test_a_cut_before_the_first_chunk() -> None:
    said = json.loads(data_of(Splitter().feed(ChatMeter().cut(COSTLY))[0]))
    assert (said["id"], said["created"], said["choices"][0]["index"]) == ("chatcmpl-cut", 0, 0)


@pytest.mark.parametrize(("deny", "code"), [(None, "upstream_error"), (Deny(Reason.AGENT_KILLED, "Stopped."), "agent_killed")])
def test_any_other_cut_is_an_error_event(deny: Deny | None, code: str) -> None:
    error, done = Splitter().feed(run(delta(content="a"))[0].cut(deny))
    assert json.loads(data_of(error))["error"]["code"] == code
    assert done == b"data: [DONE]\n\n"


def test_half_a_surrogate_hides_no_call() -> None:
    """A model can have one written: servers that parse its arguments and write them again leave the half as an escape."""
    call = {"index": 0, "id": "c\ud83d", "function": {"name": "rm", "arguments": "{}"}}
    whole, meter = ChatMeter(), ChatMeter()
    whole.buffered(json.dumps({"choices": [{"message": {"tool_calls": [call]}}], "usage": {"prompt_tokens": 5}}).encode())
    chunk = {"choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]}
    assert meter.event(b"data: " + json.dumps(chunk).encode() + b"\n\n").tool == "rm"
    assert [c.name for c in (*whole.tool_calls, *meter.tool_calls)] == ["rm", "rm"]
    assert whole.usage is not None
    assert whole.usage.input == 5
