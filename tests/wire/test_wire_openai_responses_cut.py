"""Responses that are cut: each ends as the protocol ends, finishes what is open, and calls no tool."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from responses_events import EVENTS, WORDS, call_item, event, run

from proxy.model import Deny, Reason, Usage
from proxy.wire.base import Memos
from proxy.wire.openai_reply import MAX_CALLS, MAX_MODEL
from proxy.wire.openai_responses import ResponsesCodec
from proxy.wire.openai_responses_reply import MAX_PARTS, ResponsesMeter
from proxy.wire.sse import Splitter, data_of

COSTLY = Deny(Reason.BUDGET_EXCEEDED, "The day's budget is spent.", "budgets/main.yaml:3 day", "Wait for tomorrow.")
BLOCKED = Deny(Reason.TOOL_CALL_BLOCKED, "Tool rm may not be called.", "AGENTS.md:9 policy.tools", "Ask somebody.")


def written(raw: bytes) -> list[dict[str, Any]]:
    found = [json.loads(data_of(one)) for one in Splitter().feed(raw)]
    assert [one.partition(b"\n")[0].decode() for one in Splitter().feed(raw)] == [f"event: {data['type']}" for data in found]
    return found


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
