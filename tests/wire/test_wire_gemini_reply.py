from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model import Deny, Reason, Usage
from proxy.wire.base import Framing
from proxy.wire.call import Event
from proxy.wire.gemini_frame import ARRAY, SSE, Frame
from proxy.wire.gemini_reply import GenerateMeter, usage_of

GOLDEN = Path(__file__).parent / "golden"
REPLY = (GOLDEN / "gemini_reply.json").read_bytes()
STREAMS = {"sse": (SSE, (GOLDEN / "gemini_stream.sse").read_bytes()), "array": (ARRAY, (GOLDEN / "gemini_stream.json").read_bytes())}
COSTLY = Deny(Reason.BUDGET_EXCEEDED, "Spent.", rule="budgets/test.yaml:3", remedy="Wait.")
# fmt: off
_WORDS = [
    "candidates", "content", "parts", "text", "functionCall", "name", "args", "index", "finishReason", "usageMetadata", "data",
    "promptTokenCount", "totalTokenCount", "promptFeedback", "blockReason", "error", "inlineData", "modelVersion",
]
# fmt: on
FORBIDDEN = Deny(Reason.TOOL_CALL_BLOCKED, "No.", rule="policies/tools.yaml:3")


def chunk(text: str | None = "a", finish: Any = None, index: int = 0, **more: Any) -> dict[str, Any]:
    said = [] if text is None else [{"text": text}]
    return {"candidates": [{"content": {"parts": said}, "index": index, **({"finishReason": finish} if finish else {})}], **more}


def usage(output: int = 5, prompt: int = 10, **more: int) -> dict[str, int]:
    return {"promptTokenCount": prompt, "candidatesTokenCount": output, "totalTokenCount": prompt + output, **more}


def written(frame: Frame, chunks: list[Any], closed: bool = True) -> bytes:
    pieces = [json.dumps(c).encode() for c in chunks]
    if frame is SSE:
        return b"".join(b"data: %b\r\n\r\n" % p for p in pieces)
    return b"[" + b"\n,\r\n".join(pieces) + (b"\n]\n" if closed else b"")


def run(frame: Frame, stream: bytes) -> tuple[GenerateMeter, list[Event]]:
    meter, framing = GenerateMeter(frame), frame.framing()
    return meter, [meter.event(raw) for raw in framing.feed(stream)]


def both(chunks: list[Any]) -> list[tuple[GenerateMeter, list[Event]]]:
    return [run(frame, written(frame, chunks)) for frame in (SSE, ARRAY)]


def test_the_golden_reply() -> None:
    meter = GenerateMeter()
    meter.buffered(REPLY)
    assert meter.usage == Usage(input=50, output=100, cache_read=100, reasoning=40)
    assert (meter.model, meter.finish, meter.ended, meter.failed) == ("gemini-2.5-flash", "MAX_TOKENS", True, False)
    assert [(c.id, c.name, c.arguments) for c in meter.tool_calls] == [
        ("fc-1", "get_invoice", '{"id":7,"full":true}'),
        ("", "shell", '{"command":"ls -l"}'),
    ]
    said = "\n".join(meter.texts)
    for text in ("Let me see.", "Two things.", "get_invoice", '{"id":7,"full":true}', "print(1)", "1\n", '{"hologram": {"frames": 2}}'):
        assert text in said
    assert "iVBORw0KGgo" not in said


@pytest.mark.parametrize("kind", STREAMS)
def test_the_golden_streams(kind: str) -> None:
    frame, stream = STREAMS[kind]
    meter, events = run(frame, stream)
    assert b"".join(e.raw for e in events) + (b"\n" if kind == "array" else b"") == stream
    assert [(e.kind, e.text, e.tool) for e in events][:4] == [
        ("text", "Let me see.", ""),
        ("text", "Seven ", ""),
        ("tool", '{"id":7}{}', "get_invoice\nshell"),
        ("end", "", ""),
    ]
    assert [e.kind for e in events][4:] == (["end"] if kind == "array" else [])
    assert meter.usage == Usage(input=20, output=23, reasoning=11)
    assert [(c.name, c.arguments) for c in meter.tool_calls] == [("get_invoice", '{"id":7}'), ("shell", "{}")]
    assert (meter.finish, meter.ended, meter.reply_id) == ("STOP", kind == "array", "")
    assert meter.pieces == 3


@given(st.lists(st.integers(1, 40), max_size=60), st.sampled_from(sorted(STREAMS)))
def test_chunks_of_any_size_read_the_same(sizes: list[int], kind: str) -> None:
    frame, stream = STREAMS[kind]
    framing: Framing = frame.framing()
    meter, position = GenerateMeter(frame), 0
    for size in [*sizes, len(stream)]:
        for raw in framing.feed(stream[position : position + size]):
            meter.event(raw)
        position += size
    assert meter.usage == Usage(input=20, output=23, reasoning=11)
    assert len(meter.tool_calls) == 2


@pytest.mark.parametrize(
    ("reported", "read"),
    [
        ({"promptTokenCount": 7}, Usage(7)),
        ({"promptTokenCount": 9, "candidatesTokenCount": 3, "totalTokenCount": 12}, Usage(9, 3)),
        ({"promptTokenCount": 9, "thoughtsTokenCount": 4, "totalTokenCount": 13}, Usage(9, 4, reasoning=4)),
        ({"promptTokenCount": 9, "cachedContentTokenCount": 5, "candidatesTokenCount": 1, "totalTokenCount": 10}, Usage(4, 1, 5)),
        ({"promptTokenCount": 9, "toolUsePromptTokenCount": 5, "candidatesTokenCount": 1, "totalTokenCount": 15}, Usage(14, 1)),
        # thoughts inside of the candidates' tokens, as the total shows
        ({"promptTokenCount": 9, "candidatesTokenCount": 8, "thoughtsTokenCount": 5, "totalTokenCount": 17}, Usage(9, 8, reasoning=5)),
        # tokens that no part accounts for
        ({"promptTokenCount": 9, "candidatesTokenCount": 3, "totalTokenCount": 20}, Usage(9, 11, exact=False)),
        ({"promptTokenCount": 9, "candidatesTokenCount": 3, "totalTokenCount": 2}, Usage(9, 3, exact=False)),
        ({"promptTokenCount": 9, "candidatesTokenCount": 3, "totalTokenCount": 0}, Usage(9, 3, exact=False)),
        ({"promptTokenCount": 3, "cachedContentTokenCount": 5}, Usage(0, 0, 3, exact=False)),
        ({"promptTokenCount": -3, "candidatesTokenCount": 2}, Usage(0, 2, exact=False)),
        ({"promptTokenCount": 10**15, "candidatesTokenCount": 2}, Usage(10**12, 2, exact=False)),
        ({"totalTokenCount": 5}, None),
        ({"promptTokenCount": "7"}, None),
        ({"promptTokenCount": 7.5}, None),
        ({"trafficType": "ON_DEMAND"}, None),
        ([], None),
        (None, None),
        ({}, None),
    ],
)
def test_usage(reported: Any, read: Usage | None) -> None:
    assert usage_of(json.dumps(reported).encode()) == read


def test_usage_is_exact_once_every_candidate_has_finished() -> None:
    chunks = [
        chunk("a", usageMetadata=usage(1)),
        chunk("b", index=1, usageMetadata=usage(2)),
        chunk("c", "STOP", usageMetadata=usage(3)),
        chunk(None, "STOP", index=1, usageMetadata=usage(4)),
    ]
    for frame in (SSE, ARRAY):
        for count, exact in ((1, False), (2, False), (3, False), (4, True)):
            meter, _ = run(frame, written(frame, chunks[:count], closed=False))
            assert meter.usage == Usage(10, count, exact=exact)
            assert bool(meter.finish) == (exact and frame is SSE), "an array ends with its bracket"
        assert run(frame, written(frame, chunks))[0].finish == "STOP"


def test_usage_that_came_before_the_end_stays_inexact() -> None:
    for meter, events in both([chunk("a", usageMetadata=usage(1)), chunk("b", "STOP")]):
        assert meter.usage == Usage(10, 1, exact=False)
        assert [e.kind for e in events][:2] == ["text", "text"]
    for meter, events in both([chunk("a", "STOP"), {"usageMetadata": usage(2)}, {"x": 1}, chunk(None, usageMetadata=usage(1))]):
        assert meter.usage == Usage(10, 1)
        assert [e.kind for e in events][1:4] == ["end"] * 3
    for _, events in both([{"usageMetadata": usage(2)}, {"modelVersion": 7}]):
        assert [e.kind for e in events][:2] == ["usage", "other"]


def test_a_blocked_prompt_has_no_candidates() -> None:
    blocked = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 9, "totalTokenCount": 9}}
    for meter, events in both([blocked]):
        assert (meter.finish, meter.usage, events[0].kind) == ("SAFETY", Usage(9), "end")
    meter = GenerateMeter()
    meter.buffered(json.dumps(blocked).encode())
    assert (meter.finish, meter.usage, meter.ended) == ("SAFETY", Usage(9), True)


def test_enums_as_numbers() -> None:
    meter, _ = run(SSE, written(SSE, [chunk("a", 1, usageMetadata=usage(1))]))
    assert (meter.finish, meter.usage) == ("1", Usage(10, 1))


@pytest.mark.parametrize(
    ("part", "text", "tool", "kind"),
    [
        ({"functionCall": {"name": "a\nb", "args": {"k": "ü"}}}, '{"k":"ü"}', "a b", "tool"),
        ({"functionCall": {"id": "1"}}, "{}", "", "tool"),
        ({"functionCall": {"name": "f", "partialArgs": [{"jsonPath": "$.a", "stringValue": "rm"}]}}, None, "f", "tool"),
        ({"toolCall": {"toolType": "GOOGLE_SEARCH", "args": {"q": "x"}}}, '{"q":"x"}', "GOOGLE_SEARCH", "tool"),
        ({"functionCall": "odd"}, '{"functionCall": "odd"}', "", "text"),
        ({"new": 1}, '{"new": 1}', "", "text"),
        ([1], "[1]", "", "text"),
        ({"executableCode": {"code": "x"}}, "x", "", "text"),
        ({"executableCode": {}}, "", "", "end"),
        ({"inlineData": {"mimeType": "image/png", "data": "AAAA"}}, "", "", "text"),
        ({"inlineData": {"mimeType": "audio/L16", "data": "A" * 8192}}, "", "", "text"),
        ({"thoughtSignature": "abc"}, "", "", "end"),
        ({}, "", "", "end"),
    ],
)
def test_parts(part: Any, text: str | None, tool: str, kind: str) -> None:
    reply = {"candidates": [{"content": {"parts": [part]}, "finishReason": "STOP"}]}
    for meter, (event, *_) in both([reply]):
        assert (event.kind, event.tool) == (kind, tool)
        assert event.text == text or (text is None and '"rm"' in event.text)
        assert len(meter.tool_calls) == (kind == "tool")


def test_pieces_are_a_floor_of_the_tokens() -> None:
    meter, _ = run(SSE, written(SSE, [chunk("word " * 400)]))
    assert meter.pieces == 1 + 125
    meter, _ = run(SSE, written(SSE, [{"candidates": [{"content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": "A"}}]}}]}]))
    assert meter.pieces == 1 + 258
    meter, _ = run(SSE, written(SSE, [{"candidates": [{"content": {"parts": [{"inlineData": {"data": "A" * 8192}}]}}]}]))
    assert meter.pieces == 1 + 2


def test_the_error_inside_a_stream() -> None:
    for meter, events in both([chunk(), {"error": {"code": 503, "message": "Overloaded", "status": "UNAVAILABLE"}}]):
        assert meter.failed
        assert events[1].kind == "error"


def test_what_does_not_read_counts_as_text() -> None:
    odd = {"candidates": "odd", "usageMetadata": usage(3), "modelVersion": "m"}
    for meter, events in both([odd, {"candidates": 7, "usageMetadata": 7}]):
        assert [e.kind for e in events][:2] == ["text", "text"]
        assert (meter.usage, meter.model, meter.pieces) == (Usage(10, 3, exact=False), "m", 2)
    meter, events = run(SSE, b": ping\n\ndata: odd\n\n")
    assert [(e.kind, e.text) for e in events] == [("other", ""), ("text", "odd")]
    whole = GenerateMeter()
    whole.buffered(json.dumps(odd).encode())
    assert (whole.usage, whole.ended) == (Usage(10, 3), True)
    for body in (b"<html>", b'{"a":' * 100_000):
        whole = GenerateMeter()
        whole.buffered(body)
        assert (whole.usage, whole.texts) == (None, [body.decode()])
    failed = GenerateMeter()
    failed.buffered(b'{"error":{"code":500}}')
    assert failed.failed


def test_half_a_surrogate_hides_no_call() -> None:
    call = {"functionCall": {"name": "rm", "args": {"path": "\ud83d"}}}
    reply = {"candidates": [{"content": {"parts": [{"text": "a\ud83d"}, call]}, "finishReason": "STOP"}], "usageMetadata": usage(2)}
    whole = GenerateMeter()
    whole.buffered(json.dumps(reply).encode())
    for meter in (whole, *(meter for meter, _ in both([reply]))):
        assert [(c.name, c.arguments) for c in meter.tool_calls] == [("rm", '{"path":"\ufffd"}')]
        assert (meter.usage, meter.finish, meter.texts[0]) == (Usage(10, 2), "STOP", "a\ufffd")


def test_a_provider_cannot_fill_memory() -> None:
    many = {"candidates": [{"index": i} for i in range(1000)]}
    calls = {"candidates": [{"content": {"parts": [{"functionCall": {"name": "f"}}] * 2000}}]}
    for frame in (SSE, ARRAY):
        meter, _ = run(frame, written(frame, [many, calls], closed=False))
        assert len(meter.tool_calls) == 1024
        assert meter.cut(COSTLY).count(b"MAX_TOKENS") == 128


# --- cuts ----------------------------------------------------------------------------------------------------------------------


def cut_stream(frame: Frame, chunks: list[Any], deny: Deny | None, withheld: bool = False, closed: bool = False) -> list[Any]:
    """All that a client gets of a stream that is cut behind `chunks` (or before the last event, if that is withheld), read again."""
    stream = written(frame, chunks, closed)
    framing, meter = frame.framing(), GenerateMeter(frame)
    events = framing.feed(stream)
    for raw in events:
        meter.event(raw)
    meter.withheld = withheld
    out = b"".join(events[:-1] if withheld else events) + meter.cut(deny)
    if frame is ARRAY:
        found: list[Any] = json.loads(out)
        return found
    return [json.loads(block[6:]) for block in out.replace(b"\r\n", b"\n").split(b"\n\n") if block]


@pytest.mark.parametrize("frame", [SSE, ARRAY], ids=["sse", "array"])
@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize("withheld", [False, True])
def test_a_cut_stream_stays_well_formed(frame: Frame, count: int, withheld: bool) -> None:
    if withheld and not count:
        return
    chunks = [chunk(f"{i}", usageMetadata=usage(i + 1), modelVersion="m", responseId="r") for i in range(count)]
    passed = count - withheld
    *before, ending = cut_stream(frame, chunks, COSTLY, withheld)
    assert before == chunks[:passed]
    assert ending["candidates"] == [{"content": {"parts": [{"text": ""}], "role": "model"}, "finishReason": "MAX_TOKENS", "index": 0}]
    assert ending["fleetgate"] == {"reason": "budget_exceeded", "rule": "budgets/test.yaml:3", "remedy": "Wait."}
    assert ending.get("usageMetadata") == (usage(count) if count else None)
    for deny, code in ((FORBIDDEN, 403), (None, 502)):
        *before, ending = cut_stream(frame, chunks, deny, withheld)
        assert before == chunks[:passed]
        assert ending["error"]["code"] == code
        assert "fleetgate" in ending


@pytest.mark.parametrize("frame", [SSE, ARRAY], ids=["sse", "array"])
def test_a_cut_behind_the_last_reply(frame: Frame) -> None:
    done = [chunk("a", "STOP", usageMetadata=usage(1))]
    assert cut_stream(frame, done, COSTLY) == done
    assert cut_stream(frame, done, COSTLY, withheld=True)[-1]["candidates"][0]["finishReason"] == "MAX_TOKENS"
    assert "error" in cut_stream(frame, done, FORBIDDEN)[-1]
    if frame is ARRAY:
        assert cut_stream(frame, done, FORBIDDEN, closed=True) == done
        held = cut_stream(frame, done, FORBIDDEN, withheld=True, closed=True)
        assert (held[:-1], held[-1]["error"]["code"]) == (done, 403)
        assert cut_stream(frame, [], COSTLY, closed=True) == []


def test_only_open_candidates_are_ended() -> None:
    ending = cut_stream(ARRAY, [chunk("a", "STOP"), chunk("b", index=1)], COSTLY)[-1]
    assert [c["index"] for c in ending["candidates"]] == [1]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_WORDS), inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(json_values | st.dictionaries(st.sampled_from(_WORDS), json_values, max_size=5), max_size=4), st.binary(max_size=20))
def test_no_reply_makes_a_meter_raise(chunks: list[Any], noise: bytes) -> None:
    for frame in (SSE, ARRAY):
        meter = GenerateMeter(frame)
        for raw in [written(frame, [c]) for c in chunks] + [noise]:
            assert meter.event(raw).raw == raw
        assert meter.usage is None or not meter.usage.exact or meter.usage.total >= 0
        meter.cut(COSTLY)
        whole = GenerateMeter(frame)
        whole.buffered(json.dumps(chunks[:1]).encode()[1:-1] + noise)
        assert whole.ended
