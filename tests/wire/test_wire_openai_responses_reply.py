from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from proxy.model import Deny, Reason, Usage
from proxy.wire.base import Memos
from proxy.wire.call import Event
from proxy.wire.openai_responses import ResponsesCodec
from proxy.wire.openai_responses_reply import ResponsesMeter, usage_of
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


def test_a_reply_that_is_not_kept_has_no_id() -> None:
    codec = ResponsesCodec()
    for store, expected in ((None, "resp_2"), (True, "resp_2"), (False, "")):
        call = codec.decode(json.dumps({"model": "m", "input": "hi", "store": store}).encode(), Memos())
        meter = codec.meter(call)
        for raw in EVENTS:
            meter.event(raw)
        assert meter.reply_id == expected


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
