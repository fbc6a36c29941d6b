from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model import Deny, Reason, Usage
from proxy.wire.call import Event
from proxy.wire.ndjson import Lines
from proxy.wire.ollama_reply import EPOCH, OllamaMeter, usage_of
from proxy.wire.openai_reply import MAX_CALLS, MAX_MODEL

GOLDEN = Path(__file__).parent / "golden"
COSTLY = Deny(Reason.BUDGET_EXCEEDED, "The day's budget is spent.", "budgets/main.yaml:3 day", "Wait for tomorrow.")
FORBIDDEN = Deny(Reason.TOOL_NOT_ALLOWED, "The tool rm is denied.", "AGENTS.md:3", "Leave it.")


def line(content: str = "", done: bool = False, message: dict[str, Any] | None = None, **members: Any) -> bytes:
    said = {"role": "assistant", "content": content, **(message or {})}
    return json.dumps({"model": "m", "created_at": "2026-11-20T09:00:00Z", "message": said, "done": done, **members}).encode() + b"\n"


def run(*lines: bytes) -> tuple[OllamaMeter, list[Event]]:
    meter = OllamaMeter()
    return meter, [meter.event(each) for each in lines]


def test_the_golden_reply() -> None:
    meter = OllamaMeter()
    meter.buffered((GOLDEN / "ollama_chat_reply.json").read_bytes())
    assert meter.usage == Usage(input=1200, output=90)
    assert meter.texts == ['get_invoice\npwdHm.Twelve euros.{"id":8,"note":"zwölf"}{}']
    assert [(c.id, c.name, c.arguments) for c in meter.tool_calls] == [
        ("call_9", "get_invoice", '{"id":8,"note":"zwölf"}'),
        ("", "pwd", "{}"),
    ]
    assert (meter.finish, meter.model, meter.ended, meter.failed) == ("stop", "qwen3:8b", True, False)


def test_the_golden_stream() -> None:
    raw = (GOLDEN / "ollama_chat_stream.ndjson").read_bytes()
    meter, events = run(*Lines().feed(raw))
    assert b"".join(event.raw for event in events) == raw
    assert [event.kind for event in events] == ["text", "text", "text", "other", "other", "tool", "end"]
    assert [event.text for event in events if event.text] == ["Hm.", "Twelve", " €.", '{"id":8}']
    assert [event.tool for event in events if event.tool] == ["get_invoice\npay"]
    assert [(c.id, c.name, c.arguments) for c in meter.tool_calls] == [("call_1", "get_invoice", '{"id":8}'), ("", "pay", "")]
    assert meter.usage == Usage(input=50, output=21)
    assert (meter.pieces, meter.finish, meter.model, meter.ended) == (4, "stop", "qwen3:8b", True)


def test_the_golden_stream_of_generate() -> None:
    meter = OllamaMeter(generate=True)
    events = [meter.event(each) for each in Lines().feed((GOLDEN / "ollama_generate_stream.ndjson").read_bytes())]
    assert [(event.kind, event.text) for event in events] == [("text", "Hm."), ("text", "Blue"), ("text", "."), ("end", "")]
    assert (meter.usage, meter.finish, meter.model) == (Usage(26, 4), "length", "llama3.2")


@pytest.mark.parametrize(
    ("counts", "said", "expected"),
    [
        ({"prompt_eval_count": 5, "eval_count": 2}, "x", Usage(5, 2)),
        ({"prompt_eval_count": 5}, "", Usage(5, 0)),
        ({"prompt_eval_count": 5}, "x", Usage(5, 0, exact=False)),
        ({"eval_count": 2}, "x", Usage(0, 2, exact=False)),
        ({"prompt_eval_count": 0, "eval_count": 2}, "x", Usage(0, 2)),
        ({"prompt_eval_count": -5, "eval_count": 2}, "x", Usage(0, 2, exact=False)),
        ({"prompt_eval_count": 5, "eval_count": -2}, "x", Usage(5, 0, exact=False)),
        ({"prompt_eval_count": 10**15, "eval_count": 2}, "x", Usage(10**12, 2, exact=False)),
        ({"prompt_eval_count": 10**30, "eval_count": 2}, "x", Usage(10**12, 2, exact=False)),
        ({"prompt_eval_count": "5", "eval_count": 2}, "x", Usage(0, 2, exact=False)),
        ({"prompt_eval_count": 5.0, "eval_count": True}, "x", Usage(0, 0, exact=False)),
        ({"prompt_eval_count": None}, "x", None),
        ({}, "x", None),
    ],
)
def test_usage_is_believed_only_as_far_as_it_can_be(counts: dict[str, Any], said: str, expected: Usage | None) -> None:
    for lines in ([line(said, done=True, **counts)], [line(said), line(done=True, **counts)]):
        assert run(*lines)[0].usage == expected
    assert usage_of(None, None) is None


def test_usage_stands_only_on_the_last_line() -> None:
    meter, _ = run(line("a", prompt_eval_count=5, eval_count=1))
    assert (meter.usage, meter.ended, meter.finish) == (None, False, "")
    meter.event(line(done=True, prompt_eval_count=5, eval_count=1, done_reason=7))
    assert (meter.usage, meter.ended, meter.finish) == (Usage(5, 1), True, "stop")


def test_text_and_calls_in_one_line_and_after_the_end_count() -> None:
    call = {"tool_calls": [{"function": {"name": "f\ng", "arguments": '{"a": 1}'}}, {"id": 5}, {"function": {"arguments": [1]}}]}
    meter, (event, late) = run(line("text", done=True, message=call), line("more"))
    assert (event.kind, event.text, event.tool) == ("tool", 'text{"a": 1}[1]', "f g")
    assert [(c.id, c.name, c.arguments) for c in meter.tool_calls] == [("", "f\ng", '{"a": 1}'), ("", "", ""), ("", "", "[1]")]
    assert late.text == "more"
    top, _ = run(b'{"tool_calls":[{"function":{"name":"h","arguments":null}}],"response":"r"}\n')
    assert ([c.name for c in top.tool_calls], top.texts) == (["h"], ["hr"])


@pytest.mark.parametrize("arguments", [b"[" * 3000 + b"]" * 3000, b'"\\ud800"', b"1e999"])
def test_arguments_of_any_kind_are_kept(arguments: bytes) -> None:
    raw = b'{"message":{"tool_calls":[{"function":{"name":"f","arguments":%b}}]},"done":true}\n' % arguments
    meter, (event,) = run(raw)
    assert event.text
    event.text.encode()
    assert all(text.encode() for text in meter.texts)


@pytest.mark.parametrize(
    "odd",
    [
        b'{"message":{"content":7},"done":true,"prompt_eval_count":4,"eval_count":2}\n',
        b'{"message":{"content":["secret"]},"done":true,"done_reason":"stop","prompt_eval_count":4,"eval_count":2}\n',
        b'{"response":{"x":"secret"},"done":true,"prompt_eval_count":4,"eval_count":2}\n',
    ],
)
def test_what_is_not_of_the_shape_counts_as_it_stands(odd: bytes) -> None:
    meter, (event,) = run(odd)
    assert (event.kind, event.text, event.raw) == ("text", odd.decode().strip(), odd)
    assert (meter.usage, meter.ended, meter.pieces) == (Usage(4, 2), True, 1)


@pytest.mark.parametrize("odd", [b"not json\n", b"\xff\xfe\n", b"[1]\n", b'"text"\n', b'{"done":false,"message":5}\n'])
def test_what_is_no_line_of_the_protocol_ends_nothing(odd: bytes) -> None:
    meter, (event,) = run(odd)
    assert (event.kind, event.raw, meter.ended, meter.usage) == ("text", odd, False, None)
    whole = OllamaMeter()
    whole.buffered(odd)
    assert (whole.ended, whole.usage, len(whole.texts)) == (True, None, 1)


def test_blank_and_unknown_lines_say_nothing() -> None:
    meter, events = run(b"\n", b"\r\n", b"{}\n", b'{"status":"x"}\n', line())
    assert [event.kind for event in events] == ["other"] * 5
    assert (meter.texts, meter.pieces) == ([], 0)


def test_errors() -> None:
    meter, (event,) = run(b'{"error":"out of memory"}\n')
    assert (event.kind, meter.failed, meter.ended) == ("error", True, False)
    whole = OllamaMeter()
    whole.buffered(b'{"error":"out of memory"}')
    assert (whole.failed, whole.ended) == (True, True)
    for absent in (b'{"error":null,"done":true}', b'{"error":"","done":true}'):
        meter, (event,) = run(absent)
        assert (event.kind, meter.failed) == ("end", False)


def test_a_reply_that_only_loads() -> None:
    meter = OllamaMeter()
    meter.buffered(b'{"model":"m","created_at":"x","message":{"role":"assistant","content":""},"done":true,"done_reason":"load"}')
    assert (meter.usage, meter.texts, meter.finish) == (None, [], "load")


@pytest.mark.parametrize("generate", [True, False])
def test_a_cut_for_money_is_a_last_line_of_the_protocol(generate: bool) -> None:
    meter = OllamaMeter(generate, "asked")
    first = json.loads(meter.cut(COSTLY))
    assert (first["model"], first["created_at"]) == ("asked", EPOCH)
    meter.event(line("a"))
    ending = meter.cut(COSTLY)
    assert ending.endswith(b"\n")
    assert ending.count(b"\n") == 1
    last = json.loads(ending)
    assert (last["model"], last["created_at"], last["eval_count"]) == ("m", "2026-11-20T09:00:00Z", 1)
    assert (last["done"], last["done_reason"], last["fleetgate"]["reason"]) == (True, "length", "budget_exceeded")
    assert ("response" in last, "message" in last) == (generate, not generate)
    read, (event,) = run(ending)
    assert (event.kind, read.ended, read.finish) == ("end", True, "length")


@pytest.mark.parametrize(("deny", "reason"), [(FORBIDDEN, "tool_not_allowed"), (None, "upstream_error")])
def test_any_other_cut_is_the_protocols_error(deny: Deny | None, reason: str) -> None:
    meter, _ = run(line("a"))
    ending = meter.cut(deny)
    assert ending.endswith(b"}\n")
    error = json.loads(ending)
    assert isinstance(error["error"], str)
    assert error["fleetgate"]["reason"] == reason
    read, (event,) = run(ending)
    assert (event.kind, read.failed) == ("error", True)


def test_nothing_follows_an_end() -> None:
    meter, _ = run(line("a"), line(done=True, eval_count=1))
    assert meter.cut(COSTLY) == meter.cut(None) == b""


def test_a_provider_cannot_fill_memory_with_calls_or_names() -> None:
    meter = OllamaMeter()
    for _ in range(3):
        meter.event(line(message={"tool_calls": [{"function": {"name": "f"}}] * MAX_CALLS}, model="m" * 9000, created_at="9" * 9000))
    assert len(meter.tool_calls) == MAX_CALLS
    assert len(meter.model) == MAX_MODEL
    assert len(json.loads(meter.cut(COSTLY))["created_at"]) == 64
    assert run(b'{"model":7,"created_at":8,"done":"yes"}\n')[0].model == ""


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
KEYS = ("model", "created_at", "message", "response", "thinking", "done", "done_reason", "prompt_eval_count", "eval_count", "error")
CALL = st.dictionaries(st.sampled_from(["id", "function"]), JSON | st.dictionaries(st.sampled_from(["name", "arguments"]), JSON))
SAID = st.dictionaries(st.sampled_from(["content", "thinking", "tool_calls", "role"]), JSON | st.lists(CALL, max_size=2))
LINE = st.dictionaries(st.sampled_from(KEYS), JSON | SAID)


@given(st.lists(st.binary(max_size=40) | LINE.map(lambda value: json.dumps(value).encode()), max_size=5))
def test_a_meter_reads_whatever_comes(raws: list[bytes]) -> None:
    meter = OllamaMeter()
    for raw in raws:
        event = meter.event(raw + b"\n")
        assert event.raw == raw + b"\n"
        event.text.encode()
    whole = OllamaMeter()
    whole.buffered(b"\n".join(raws))
    assert whole.ended
    for each in (meter, whole):
        "".join(each.texts).encode()
        assert each.usage is None or min(each.usage.input, each.usage.output) >= 0
        for deny in (COSTLY, FORBIDDEN, None):
            ending = each.cut(deny)
            assert ending == b"" or json.loads(ending)
