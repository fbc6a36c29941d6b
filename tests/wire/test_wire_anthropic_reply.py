from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from proxy.model import Deny, Reason, Usage
from proxy.wire.anthropic_reply import MessagesMeter
from proxy.wire.call import Event
from proxy.wire.sse import Splitter, data_of

GOLDEN = Path(__file__).parent / "golden"
STREAM = Splitter().feed((GOLDEN / "messages_stream.sse").read_bytes())
COSTLY = Deny(Reason.REQUEST_TOO_COSTLY, "Too much.", "budgets/main.yaml:3 day")


def sse(**members: Any) -> bytes:
    return b"event: x\ndata: " + json.dumps(members).encode() + b"\n\n"


def run(*events: bytes) -> tuple[MessagesMeter, list[Event]]:
    meter = MessagesMeter()
    return meter, [meter.event(event) for event in events]


def reply(usage: Any) -> Usage | None:
    meter = MessagesMeter()
    meter.buffered(json.dumps({"type": "message", "content": [], "usage": usage}).encode())
    return meter.usage


def test_the_golden_reply() -> None:
    meter = MessagesMeter()
    meter.buffered((GOLDEN / "messages_reply.json").read_bytes())
    assert meter.usage == Usage(input=30, output=44, cache_read=700, cache_write=500, cache_write_1h=1000, reasoning=5)
    assert meter.texts == ["Easy.", "Twelve euros."]
    assert [(c.id, c.name, c.arguments) for c in meter.tool_calls] == [("toolu_3", "read_file", '{"path": "b.txt"}')]
    assert (meter.finish, meter.model, meter.ended, meter.failed) == ("tool_use", "claude-sonnet-4-5-20250929", True, False)


def test_the_golden_stream() -> None:
    meter, events = run(*STREAM)
    assert b"".join(event.raw for event in events) == (GOLDEN / "messages_stream.sse").read_bytes()
    assert [event.kind for event in events] == [
        *("other", "other", "other", "text", "other", "other"),
        *("other", "text", "other", "other"),
        *("tool", "tool", "tool", "tool", "other"),
        *("usage", "end"),
    ]
    assert [event.text for event in events if event.text] == ["Hm.", "Twelve €", '{"path": ', '"a"}']
    assert [event.tool for event in events if event.tool] == ["read_file"]
    assert [(c.id, c.name, c.arguments) for c in meter.tool_calls] == [("toolu_4", "read_file", '{"path": "a"}')]
    assert meter.usage == Usage(input=25, output=89, cache_read=12, cache_write=100, cache_write_1h=200, reasoning=7)
    assert meter.texts == ["Hm.", "Twelve €", "read_file", '{"path": ', '"a"}']
    assert (meter.pieces, meter.finish, meter.model, meter.ended) == (5, "tool_use", "claude-sonnet-4-5-20250929", True)


def test_usage_of_a_broken_stream_is_not_exact() -> None:
    meter, _ = run(*STREAM[:4])
    assert meter.usage == Usage(input=25, output=1, cache_read=10, cache_write=100, cache_write_1h=200, exact=False)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"input_tokens": 3, "output_tokens": 4}, Usage(3, 4)),
        ({"input_tokens": 3, "output_tokens": 4, "cache_creation_input_tokens": 9}, Usage(3, 4, cache_write=9)),
        ({"input_tokens": 3, "output_tokens": 4, "cache_creation": {"ephemeral_5m_input_tokens": 9}}, Usage(3, 4, cache_write=9)),
        (
            {"input_tokens": 3, "output_tokens": 4, "cache_creation_input_tokens": 5, "cache_creation": {"ephemeral_1h_input_tokens": 9}},
            Usage(3, 4, cache_write_1h=9),
        ),
        ({"input_tokens": 3}, Usage(3, 0, exact=False)),
        ({"output_tokens": 3}, Usage(0, 3, exact=False)),
        ({"input_tokens": -3, "output_tokens": 4}, Usage(0, 4, exact=False)),
        ({"input_tokens": 10**13, "output_tokens": 4}, Usage(10**12, 4, exact=False)),
        ({"input_tokens": 3, "output_tokens": 4, "output_tokens_details": {"thinking_tokens": 5}}, Usage(3, 4, reasoning=4, exact=False)),
        ({"input_tokens": "3"}, None),
        ({}, None),
        (None, None),
    ],
)
def test_usage_is_believed_only_as_far_as_it_can_be(usage: Any, expected: Usage | None) -> None:
    assert reply(usage) == expected


def test_events_that_say_less_than_usual() -> None:
    meter, events = run(
        sse(type="message_start", message={}),
        sse(type="content_block_start", index=0, content_block={"type": "text", "text": "early"}),
        sse(type="content_block_start", index=1, content_block={"type": "tool_use", "input": {"a": 1}}),
        sse(type="content_block_start", index=2, content_block={"type": "server_tool_use", "name": "a\nb"}),
        sse(type="content_block_stop", index=9),
        sse(type="content_block_delta", index=9, delta={"type": "input_json_delta", "partial_json": "{}"}),
        sse(type="content_block_delta", index=0, delta={"type": "citations_delta", "citation": {}}),
        sse(type="content_block_delta"),
        sse(type="content_block_start"),
        sse(type="message_start"),
        sse(type="message_delta", delta={"stop_reason": None}),
        sse(type="message_stop"),
    )
    assert [event.kind for event in events] == ["other", "text", "tool", "tool", "other", "tool", *["other"] * 4, "usage", "end"]
    assert [event.tool for event in events if event.tool] == ["a b"]
    assert [(c.name, c.arguments) for c in meter.tool_calls] == [("", '{"a": 1}'), ("a\nb", "{}")]
    assert (meter.usage, meter.finish, meter.model) == (None, "", "")


def test_what_is_not_understood_counts_as_it_stands() -> None:
    novel = sse(type="content_block_delta", index=0, delta={"type": "song_delta", "song": "la"})
    odd = sse(type="content_block_delta", index="zero", delta={"type": "text_delta", "text": "x"})
    meter, events = run(novel, odd, b": ping\n\n", b"data: [DONE]\n\n", b"data: \xff\n\n")
    assert [(event.kind, event.text) for event in events[:2]] == [("text", data_of(novel).decode()), ("text", data_of(odd).decode())]
    assert [event.kind for event in events[2:]] == ["other"] * 3
    assert meter.pieces == 2
    whole = MessagesMeter()
    whole.buffered(b"<html>\xff")
    assert (whole.usage, whole.texts, whole.ended) == (None, ["<html>\ufffd"], True)


def test_the_providers_error() -> None:
    meter, (event,) = run(sse(type="error", error={"type": "overloaded_error", "message": "Overloaded"}))
    assert (event.kind, meter.failed) == ("error", True)
    whole = MessagesMeter()
    whole.buffered(b'{"type":"error","error":{"type":"api_error","message":"x"}}')
    assert whole.failed


def test_a_budget_cut_closes_the_block_and_the_message() -> None:
    meter, _ = run(*STREAM[:9])
    events = Splitter().feed(meter.cut(COSTLY))
    assert [event.split(b"\n")[0] for event in events] == [b"event: content_block_stop", b"event: message_delta", b"event: message_stop"]
    assert [json.loads(data_of(event)) for event in events] == [
        {"type": "content_block_stop", "index": 1},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "max_tokens", "stop_sequence": None},
            "usage": {"output_tokens": 1},
            "fleetgate": {"reason": "request_too_costly", "rule": "budgets/main.yaml:3 day", "remedy": ""},
        },
        {"type": "message_stop"},
    ]


@pytest.mark.parametrize(
    ("seen", "deny", "kind"),
    [
        (0, COSTLY, "billing_error"),
        (3, None, "api_error"),
        (3, Deny(Reason.AGENT_KILLED, "Stopped."), "permission_error"),
    ],
)
def test_any_other_cut_is_an_error_event(seen: int, deny: Deny | None, kind: str) -> None:
    (event,) = Splitter().feed(run(*STREAM[:seen])[0].cut(deny))
    assert event.startswith(b"event: error\n")
    said = json.loads(data_of(event))
    assert (said["type"], said["error"]["type"]) == ("error", kind)


def test_half_a_surrogate_hides_no_call() -> None:
    """A model can have one written: its arguments are an object here, and a server may write their half letter as an escape."""
    block = {"type": "tool_use", "id": "t", "name": "rm", "input": {"path": "\ud83d"}}
    meter = MessagesMeter()
    meter.buffered(json.dumps({"type": "message", "content": [block], "usage": {"input_tokens": 5, "output_tokens": 2}}).encode())
    assert [call.name for call in meter.tool_calls] == ["rm"]
    assert meter.usage == Usage(5, 2)
    assert run(sse(type="content_block_start", index=0, content_block={**block, "name": "rm\ud83d"}))[1][0].tool == "rm\ufffd"
