"""What the Responses protocol's replies and streams say, however oddly they say it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from responses_events import EVENTS, GOLDEN, STREAM, WORDS, call_item, event, message, run

from proxy.model import Usage
from proxy.wire.base import Memos
from proxy.wire.openai_responses import ResponsesCodec
from proxy.wire.openai_responses_output import usage_of
from proxy.wire.openai_responses_reply import ResponsesMeter
from proxy.wire.sse import data_of


def test_the_golden_reply() -> None:
    meter = ResponsesMeter()
    meter.buffered((GOLDEN / "responses_reply.json").read_bytes())
    assert meter.usage == Usage(input=76, output=90, cache_read=1024, cache_write=100, reasoning=64)
    assert meter.texts == [
        "Hm.",
        "Twelve euros.No more.",
        '{"id":8}',
        "pwd",
        '{"type":"exec","command":["ls"],"env":{}}',
        "{}",
        '{"code":"1+1"}',
        '{"id":"w_1","type":"weather","wind":"strong"}',
        "get_invoice",
        "run",
        "local_shell",
        "ask",
        "code_interpreter",
    ]
    assert [(c.id, c.name, c.arguments) for c in meter.tool_calls] == [
        ("call_1", "get_invoice", '{"id":8}'),
        ("call_2", "run", "pwd"),
        ("call_3", "local_shell", '{"type":"exec","command":["ls"],"env":{}}'),
        ("mcp_1", "ask", "{}"),
        ("ci_1", "code_interpreter", '{"code":"1+1"}'),
    ]
    assert (meter.finish, meter.model, meter.reply_id) == ("completed", "gpt-5.5-2026-04-01", "resp_1")
    assert (meter.ended, meter.failed) == (True, False)


def test_the_golden_stream() -> None:
    meter, events = run(*EVENTS)
    assert b"".join(one.raw for one in events) == STREAM
    assert [one.text for one in events if one.text] == [
        "Hm",
        ".",
        "Twelve",
        " €.",
        '{"id"',
        ":8}",
        '{"type":"search","query":"rates"}',
        "1+1",
    ]
    assert [one.kind for one in events if one.text or one.tool] == ["text"] * 4 + ["tool"] * 7
    assert [one.tool for one in events if one.tool] == ["get_invoice", "web_search", "code_interpreter"]
    assert {one.kind for one in events if not one.text and not one.tool} == {"other", "end"}
    assert [(c.id, c.name, c.arguments) for c in meter.tool_calls] == [
        ("call_1", "get_invoice", '{"id":8}'),
        ("ws_1", "web_search", '{"type":"search","query":"rates"}'),
        ("ci_1", "code_interpreter", '{"code":"1+1"}'),
    ]
    assert meter.usage == Usage(input=50, output=21, reasoning=3)
    assert (meter.finish, meter.model, meter.reply_id) == ("completed", "gpt-5.5-2026-04-01", "resp_2")
    assert (meter.ended, meter.failed) == (True, False)
    assert meter.pieces == len(meter.texts) == 11
    whole = ResponsesMeter()
    whole.buffered(json.dumps(json.loads(data_of(EVENTS[-1]))["response"]).encode())
    assert (whole.usage, whole.tool_calls) == (meter.usage, meter.tool_calls)
    output = json.loads(data_of(EVENTS[-1]))["response"]["output"]
    assert whole.part_ids == [item["id"] for item in output] == list(dict.fromkeys(meter.part_ids))


def test_a_reply_that_is_not_kept_has_no_id() -> None:
    codec = ResponsesCodec()
    for store, expected in ((None, "resp_2"), (True, "resp_2"), (False, "")):
        call = codec.decode(json.dumps({"model": "m", "input": "hi", "store": store}).encode(), Memos())
        meter = codec.meter(call)
        for raw in EVENTS:
            meter.event(raw)
        assert meter.reply_id == expected
        assert bool(meter.part_ids) is bool(expected)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"input_tokens": 5, "output_tokens": 2, "total_tokens": 7}, Usage(5, 2)),
        ({"input_tokens": 5, "output_tokens": 2, "input_tokens_details": None, "output_tokens_details": {}}, Usage(5, 2)),
        ({"input_tokens": 5, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 3}}, Usage(2, 2, 3)),
        ({"input_tokens": 5}, Usage(5, 0, exact=False)),
        ({"input_tokens": 5, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 9}}, Usage(0, 2, 5, exact=False)),
        (
            {"input_tokens": 9, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 5}},
            Usage(0, 2, 5, 4, exact=False),
        ),
        ({"input_tokens": -5, "output_tokens": 2}, Usage(0, 2, exact=False)),
        ({"input_tokens": 5, "output_tokens": -2}, Usage(5, 0, exact=False)),
        ({"input_tokens": 10**15, "output_tokens": 2}, Usage(10**12, 2, exact=False)),
        (
            {"input_tokens": 5, "output_tokens": 2, "output_tokens_details": {"reasoning_tokens": 3}},
            Usage(5, 2, reasoning=2, exact=False),
        ),
        ({"input_tokens": "5"}, None),
        ({"output_tokens": 5}, None),
        ([], None),
        ({}, None),
        (None, None),
    ],
)
def test_usage_is_believed_only_as_far_as_it_can_be(usage: Any, expected: Usage | None) -> None:
    assert usage_of(json.dumps(usage).encode()) == expected
    meter, (last,) = run(event("response.completed", response={"output": [], "usage": usage}))
    assert (meter.usage, last.kind, meter.finish) == (expected, "end", "completed")


def test_what_ends_otherwise() -> None:
    usage = {"input_tokens": 5, "output_tokens": 2}
    meter, (last,) = run(event("response.incomplete", response={"incomplete_details": {"reason": "max_output_tokens"}, "usage": usage}))
    assert (last.kind, meter.ended, meter.failed, meter.finish, meter.usage) == ("end", True, False, "max_output_tokens", Usage(5, 2))
    meter, (last,) = run(event("response.failed", response={"status": "failed", "error": {"code": "x"}, "usage": usage}))
    assert (last.kind, meter.ended, meter.failed, meter.finish, meter.usage) == ("error", False, True, "failed", Usage(5, 2))
    meter, (last,) = run(event("error", code="server_error", message="no"))
    assert (last.kind, meter.ended, meter.failed, meter.usage) == ("error", False, True, None)
    meter, (last,) = run(b"data: [DONE]\n\n")
    assert (last.kind, meter.ended, meter.finish) == ("end", True, "")


def test_whole_replies_that_are_none() -> None:
    failures = (b'{"error":{"message":"no"}}', b'{"error":{"message":"no"},"output":null}', b'{"error":{"message":"no"},"output":[]}')
    for body, texts, failed in (*((body, [], True) for body in failures), (b"<html>", ["<html>"], False), (b"[]", ["[]"], False)):
        meter = ResponsesMeter()
        meter.buffered(body)
        assert (meter.texts, meter.failed, meter.ended, meter.usage) == (texts, failed, True, None)


def test_odd_events_pass_and_whatever_calls_itself_a_delta_counts() -> None:
    events = [
        b": ping\n\n",
        b"data: x\n\n",
        event("response.queued"),
        event("response.brand_new.delta", delta="new"),
        event("response.shell_call_output_content.delta", delta={"stdout": "theirs"}),
        event("response.audio.delta", delta="UklGRg=="),
        event("response.audio.transcript.delta", delta="spoken"),
        event("response.output_text.delta", delta=""),
        event("response.output_item.added", item=7),
        b'data: {"type":7}\n\n',
    ]
    meter, found = run(*events)
    assert [(one.kind, one.text) for one in found] == [
        ("other", ""),
        ("other", ""),
        ("other", ""),
        ("tool", "new"),
        ("other", ""),
        ("other", ""),
        ("text", "spoken"),
        ("text", ""),
        ("other", ""),
        ("text", '{"type":7}'),
    ]
    assert meter.texts == ["new", "spoken", '{"type":7}']


@pytest.mark.parametrize(
    "later",
    [
        event("response.output_text.done", output_index=0, content_index=0, text="evil"),
        event("response.refusal.done", output_index=0, content_index=0, refusal="evil"),
        event("response.content_part.done", output_index=0, content_index=0, part={"type": "output_text", "text": "evil"}),
        event("response.output_item.done", output_index=0, item=message("evil")),
        event("response.completed", response={"output": [message("evil")]}),
        event("response.failed", response={"output": [message("evil")]}),
    ],
)
def test_words_that_were_not_streamed_count_wherever_they_stand(later: bytes) -> None:
    meter, (_, second) = run(WORDS, later)
    assert meter.texts == ["good", "evil"]
    assert second.text == "evil"
    meter.event(event("response.completed", response={"output": [message("evil"), message("good")]}))
    assert meter.texts == ["good", "evil"]


@pytest.mark.parametrize("content", ["evil", ["evil"], [{"type": "x", "y": "evil"}], {"text": "evil"}])
def test_words_in_an_odd_shape_count(content: Any) -> None:
    meter, _ = run(event("response.output_item.done", output_index=0, item={"type": "message", "id": "m", "content": content}))
    assert "evil" in "".join(meter.texts)


def test_a_call_counts_once_unless_it_says_something_else() -> None:
    done = event("response.output_item.done", output_index=0, item=call_item('{"a":1}'))
    last = event("response.completed", response={"output": [call_item('{"a":1}'), call_item("{}", "c2")]})
    meter, _ = run(done, done, last)
    assert [(c.id, c.arguments) for c in meter.tool_calls] == [("c1", '{"a":1}'), ("c2", "{}")]
    meter, _ = run(done, event("response.completed", response={"output": [call_item('{"a":2}')]}))
    assert [(c.id, c.arguments) for c in meter.tool_calls] == [("c1", '{"a":1}'), ("c1", '{"a":2}')]


HALF = "\ud800"


def test_half_a_surrogate_hides_no_call() -> None:
    call = {"type": "function_call", "call_id": "c1", "name": "rm", "arguments": '{"path":"/' + HALF + '"}'}
    usage = {"input_tokens": 5, "output_tokens": 2}
    meter, events = run(
        event("response.function_call_arguments.delta", output_index=0, delta=call["arguments"]),
        event("response.output_item.done", output_index=0, item=call, note=HALF),
        event("response.completed", response={"model": HALF, "output": [call | {"call_id": "c2"}], "usage": usage}),
    )
    assert [(c.id, c.name) for c in meter.tool_calls] == [("c1", "rm"), ("c2", "rm")]
    assert (meter.usage, meter.ended) == (Usage(5, 2), True)
    assert [one.kind for one in events] == ["tool", "tool", "end"]
    whole = ResponsesMeter()
    whole.buffered(json.dumps({"id": HALF, "output": [call], "usage": usage}).encode())
    assert ([c.name for c in whole.tool_calls], whole.usage) == (["rm"], Usage(5, 2))


@pytest.mark.parametrize(
    "odd", [{"output_index": "0"}, {"sequence_number": 1.5}, {"content_index": {}}, {"text": 7}, {"response": 7}, {"part": []}]
)
def test_a_wrong_type_hides_no_call(odd: dict[str, Any]) -> None:
    meter, _ = run(event("response.output_item.done", **{"output_index": 0, "item": call_item("{}")} | odd))
    assert [c.name for c in meter.tool_calls] == ["f"]


@pytest.mark.parametrize(
    "odd", [{"id": 7}, {"model": {}}, {"status": []}, {"incomplete_details": "x"}, {"incomplete_details": {"reason": 7}}]
)
def test_a_wrong_type_in_a_response_hides_no_call(odd: dict[str, Any]) -> None:
    body = {"id": "r", "output": [call_item("{}")], "usage": {"input_tokens": 5, "output_tokens": 2}} | odd
    meter, _ = run(event("response.completed", response=body))
    whole = ResponsesMeter()
    whole.buffered(json.dumps(body).encode())
    for one in (meter, whole):
        assert ([c.name for c in one.tool_calls], one.usage) == (["f"], Usage(5, 2))


def test_an_output_that_is_no_list_counts_as_an_item() -> None:
    meter, _ = run(event("response.completed", response={"output": call_item("{}")}))
    assert [c.name for c in meter.tool_calls] == ["f"]
    assert run(event("response.completed", response={"output": None}))[0].texts == []


def test_a_call_that_no_event_announced_is_named_where_it_is_first_heard_of() -> None:
    done = event("response.output_item.done", output_index=0, item=call_item("{}"))
    last = event("response.completed", response={"output": [call_item("{}"), call_item("{}", "c2") | {"name": "g\nh"}]})
    _, events = run(done, done, last, last)
    assert [(one.kind, one.tool) for one in events] == [("tool", "f"), ("other", ""), ("end", "g h"), ("end", "")]
    _, (failed,) = run(event("response.failed", response={"output": [call_item("{}")]}))
    assert (failed.kind, failed.tool) == ("error", "f")


def test_a_shell_call_that_streams_its_commands() -> None:
    item = {"type": "shell_call", "id": "sh", "call_id": "c1", "action": {"commands": ["ls -l", "pwd"], "timeout_ms": None}}
    meter, events = run(
        event("response.output_item.added", output_index=0, item=item | {"action": {"commands": []}}),
        event("response.shell_call_command.delta", output_index=0, command_index=0, delta="ls -l"),
        event("response.shell_call_command.delta", output_index=0, command_index=1, delta="pwd"),
        event("response.output_item.done", output_index=0, item=item),
    )
    assert [one.text for one in events] == ["", "ls -l", "pwd", ""]
    assert [(c.name, json.loads(c.arguments)["commands"]) for c in meter.tool_calls] == [("shell", ["ls -l", "pwd"])]
    meter, _ = run(
        event("response.output_item.added", output_index=0, item=item),
        event("response.shell_call_command.delta", output_index=0, command_index=0, delta="ls -l"),
        event("response.output_item.done", output_index=0, item=item),
    )
    assert meter.texts == ["shell", "ls -l", "pwd"]
