from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model import Deny, Reason, Usage
from proxy.wire.base import Memos
from proxy.wire.call import Event
from proxy.wire.openai_reply import MAX_CALLS, MAX_MODEL
from proxy.wire.openai_responses import ResponsesCodec
from proxy.wire.openai_responses_output import usage_of
from proxy.wire.openai_responses_reply import MAX_PARTS, ResponsesMeter
from proxy.wire.sse import Splitter, data_of

GOLDEN = Path(__file__).parent / "golden"
STREAM = (GOLDEN / "responses_stream.sse").read_bytes()
EVENTS = Splitter().feed(STREAM)
COSTLY = Deny(Reason.BUDGET_EXCEEDED, "The day's budget is spent.", "budgets/main.yaml:3 day", "Wait for tomorrow.")
BLOCKED = Deny(Reason.TOOL_CALL_BLOCKED, "Tool rm may not be called.", "AGENTS.md:9 policy.tools", "Ask somebody.")


def event(name: str, **members: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), json.dumps({"type": name, **members}).encode())


def run(*events: bytes, keeps: bool = True) -> tuple[ResponsesMeter, list[Event]]:
    meter = ResponsesMeter(keeps)
    return meter, [meter.event(raw) for raw in events]


def written(raw: bytes) -> list[dict[str, Any]]:
    found = [json.loads(data_of(one)) for one in Splitter().feed(raw)]
    assert [one.partition(b"\n")[0].decode() for one in Splitter().feed(raw)] == [f"event: {data['type']}" for data in found]
    return found


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


def message(text: str) -> dict[str, Any]:
    return {"id": "m", "type": "message", "content": [{"type": "output_text", "text": text}]}


WORDS = event("response.output_text.delta", output_index=0, content_index=0, delta="good")


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


def call_item(arguments: str, id: str = "c1") -> dict[str, Any]:
    return {"type": "function_call", "id": f"fc_{id}", "call_id": id, "name": "f", "arguments": arguments}


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


def test_cut_by_a_budget_ends_as_a_reply_that_was_too_long() -> None:
    until = next(i for i, raw in enumerate(EVENTS) if b'" \xe2\x82\xac."' in raw) + 1
    meter, _ = run(*EVENTS[:until])
    events = written(meter.cut(COSTLY))
    assert [one["type"] for one in events] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.incomplete",
    ]
    assert [one["sequence_number"] for one in events] == list(range(until, until + 4))
    last = events[-1]["response"]
    assert (last["id"], last["status"], last["incomplete_details"]) == ("resp_2", "incomplete", {"reason": "max_output_tokens"})
    assert [(item["type"], item.get("status")) for item in last["output"]] == [("reasoning", None), ("message", "incomplete")]
    assert events[0]["text"] == last["output"][1]["content"][0]["text"] == "Twelve €."
    assert events[-1]["fleetgate"]["reason"] == "budget_exceeded"
    whole, _ = run(*EVENTS[:until], *Splitter().feed(meter.cut(COSTLY)))
    assert (whole.ended, whole.finish, whole.texts) == (True, "max_output_tokens", meter.texts)


def test_cut_finishes_only_what_is_open_and_no_call() -> None:
    closed = next(i for i, raw in enumerate(EVENTS) if b"event: response.content_part.done" in raw) + 1
    meter, _ = run(*EVENTS[:closed])
    assert [one["type"] for one in written(meter.cut(COSTLY))] == ["response.output_item.done", "response.incomplete"]
    half = next(i for i, raw in enumerate(EVENTS) if b"function_call_arguments.delta" in raw) + 1
    meter, _ = run(*EVENTS[:half])
    (last,) = written(meter.cut(COSTLY))
    assert [item["type"] for item in last["response"]["output"]] == ["reasoning", "message"]


@pytest.mark.parametrize(
    ("deny", "code"),
    [(None, "server_error"), (Deny(Reason.UPSTREAM_TIMEOUT, "Slow."), "server_error"), (BLOCKED, "invalid_prompt")],
)
def test_cut_for_another_reason_fails_the_response(deny: Deny | None, code: str) -> None:
    meter, _ = run(*EVENTS[:-1])
    (failed,) = written(meter.cut(deny))
    assert (failed["type"], failed["sequence_number"]) == ("response.failed", len(EVENTS) - 1)
    assert (failed["response"]["id"], failed["response"]["status"], failed["response"]["error"]["code"]) == ("resp_2", "failed", code)
    assert failed["response"]["output"] == []
    if deny is BLOCKED:
        assert failed["response"]["error"]["message"] == "Tool rm may not be called. Rule: AGENTS.md:9 policy.tools. Ask somebody."
        assert failed["fleetgate"]["reason"] == "tool_call_blocked"


@pytest.mark.parametrize("begin", [[], [event("response.created")], [event("response.created", response=7)]])
def test_cut_before_anything_came_is_well_formed(begin: list[bytes]) -> None:
    for deny, last in ((COSTLY, "response.incomplete"), (None, "response.failed")):
        meter, _ = run(*begin)
        events = written(meter.cut(deny))
        assert [one["type"] for one in events] == ["response.created", last]
        assert [one["sequence_number"] for one in events] == [0, 1]
        assert events[0]["response"]["id"] == events[1]["response"]["id"]


def test_words_of_ours() -> None:
    codec, id = ResponsesCodec(), "0199f0000000aaaaaaaa"
    call = codec.decode(b'{"model":"m","input":"hi"}', Memos())
    whole = json.loads(codec.speak(call, "No.", id) or b"")
    assert (whole["id"], whole["status"], whole["model"], whole["created_at"]) == (f"resp_{id}", "completed", "m", int(id[:12], 16) // 1000)
    call.stream = True
    raw = codec.speak(call, "No.", id) or b""
    events = written(raw)
    assert [one["sequence_number"] for one in events] == list(range(9))
    assert events[-1]["response"] == whole
    meter, _ = run(*Splitter().feed(raw))
    assert (meter.texts, meter.usage, meter.finish, meter.ended) == (["No."], Usage(), "completed", True)


def test_a_provider_cannot_fill_memory_with_numbers() -> None:
    meter = ResponsesMeter()
    for n in range(3 * MAX_CALLS):
        meter.event(event("response.output_item.done", output_index=n, item=call_item(str(n), str(n))))
    meter.event(event("response.created", response={"model": "m" * 5000}))
    assert len(meter._items) == len(meter.tool_calls) == MAX_CALLS
    assert len(meter._named) == MAX_CALLS
    assert meter.event(event("response.output_item.added", output_index=0, item=call_item("", "last"))).tool == "f"
    assert len(meter.model) == MAX_MODEL
    for n in range(3 * MAX_PARTS):
        meter.event(event("response.output_text.delta", output_index=0, content_index=n, delta=str(n)))
    assert len(meter._items[0].parts) == MAX_PARTS + 1
    assert meter.texts[-1] == str(3 * MAX_PARTS - 1)


def test_an_item_that_is_none_is_left_out_of_what_was_whole() -> None:
    meter, _ = run(event("response.output_item.done", output_index=0, item=[1]), WORDS)
    assert written(meter.cut(COSTLY))[-1]["response"]["output"] == []


def test_depth_that_can_be_read_but_not_written_is_text() -> None:
    for depth in (100, *range(600, 1010), 5000):
        deep = '{"type":"odd","x":' + "[" * depth + "]" * depth + "}"
        raw = b'data: {"type":"response.output_item.done","output_index":0,"item":%b}\n\n' % deep.encode()
        meter, (found,) = run(raw)
        assert found.raw == raw
        assert sum(map(len, meter.texts)) >= 2 * depth


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.text(max_size=4)
    | st.sampled_from(["message", "function_call", "reasoning", "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "id",
                    "call_id",
                    "name",
                    "arguments",
                    "content",
                    "summary",
                    "text",
                    "output",
                    "usage",
                    "item",
                    "response",
                    "action",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=9,
)
_names = st.sampled_from(
    [json.loads(data_of(raw))["type"] for raw in EVENTS] + ["error", "response.failed", "response.incomplete", "x.delta"]
)


@given(st.lists(st.tuples(_names, st.dictionaries(st.sampled_from(["item", "response", "delta", "text", "part"]), _json, max_size=3))))
def test_a_meter_never_raises(found: list[tuple[str, dict[str, Any]]]) -> None:
    meter = ResponsesMeter()
    for name, members in found:
        raw = event(name, **members)
        assert meter.event(raw).raw == raw
        meter.buffered(json.dumps(members).encode())
    "".join(meter.texts).encode()
    assert written(meter.cut(COSTLY))
    assert written(meter.cut(None))


@given(st.binary(max_size=60))
def test_noise_is_metered(noise: bytes) -> None:
    meter = ResponsesMeter()
    for raw in (noise, b"data: " + noise + b"\n\n", b"data: {" + noise + b"\n\n"):
        assert meter.event(raw).raw == raw
    meter.buffered(noise)
