"""Streams through the gate, in every protocol and framing: what is clean is byte-identical, what must not pass never leaves."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Sequence
from typing import Any, cast

import pytest
from gate_cases import CALLING, PROTOCOLS, WORDS, Look, Part, Spoken, Text, Use
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.engine.gate import Gate
from proxy.engine.inspector import Verdict
from proxy.model import Deny, Reason, Usage
from proxy.wire.base import Memos, Meter
from proxy.wire.call import Event, ToolCall
from proxy.wire.registry import find

SECRET = "s\u00e9cret-\U0001f600-42"
PATTERN = "s\u00e9cret-\U0001f600-[0-9]{2}"
USED = Usage(input=10, output=7)
ALL = pytest.mark.parametrize("name", PROTOCOLS)
WITH_CALLS = pytest.mark.parametrize("name", CALLING)


def cut(text: str, places: Sequence[int]) -> list[str]:
    """`text` in pieces, cut at `places`."""
    edges = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[a:b] for a, b in itertools.pairwise(edges)]


def chopped(events: Sequence[bytes], places: Sequence[int]) -> list[bytes]:
    """The bytes of `events` in chunks, cut anywhere."""
    whole = b"".join(events)
    edges = sorted({0, len(whole), *(place % len(whole) for place in places)})
    return [whole[a:b] for a, b in itertools.pairwise(edges)]


def parts(spoken: Spoken, *given: Part) -> list[Part]:
    return [part for part in given if spoken.calls or isinstance(part, Text)]


_places = st.lists(st.integers(0, 4000), max_size=12)
_texts = st.text(st.sampled_from('ab c\u00e9\U0001f600"\\\n{}[]<-42'), max_size=30)


@ALL
@settings(max_examples=25, deadline=None)
@given(text=_texts, thought=_texts, places=_places, chunks=_places, reach=st.sampled_from([0, 1, 12, 700, None]))
def test_a_clean_stream_is_byte_identical(name: str, text: str, thought: str, places: list[int], chunks: list[int], reach: int) -> None:
    spoken = PROTOCOLS[name]
    said = parts(spoken, Text(cut(thought, places), thought=True), Text(cut(text, places)), Use("a", ("{}",)), Use("b", ('{"x":1}',)))
    events = spoken.write(said)
    look = Look(PATTERN, reach=reach)
    out = spoken.play(chopped(events, chunks), look)
    assert out.caller.got == b"".join(events)
    assert (out.record.outcome, out.exchange.usage) == ("ok", USED)
    assert [call.name for call in look.judged] == (["a", "b"] if spoken.calls else [])
    assert not out.record.findings


@ALL
@settings(max_examples=40, deadline=None)
@given(before=_texts, after=_texts, places=_places, chunks=_places, reach=st.sampled_from([len(SECRET), 40, None]))
def test_what_is_hidden_never_leaves(name: str, before: str, after: str, places: list[int], chunks: list[int], reach: int) -> None:
    spoken = PROTOCOLS[name]
    said = parts(spoken, Text(cut(f"{before}{SECRET}{after}{SECRET}", places)), Use("a"))
    look = Look(PATTERN, reach=reach)
    out = spoken.play(chopped(spoken.write(said), chunks), look)
    got = spoken.read(out.caller.got)
    assert got.text == f"{before}[X]{after}[X]"
    assert (got.calls, got.finish) == ([("a", {})] if spoken.calls else [], spoken.stopped[0 if spoken.calls else 1])
    assert "cret-" not in json.dumps(out.caller.got.decode(), ensure_ascii=False)
    assert (out.record.outcome, out.exchange.usage) == ("ok", USED)
    assert set(look.took_spans) == {SECRET}


@ALL
@settings(max_examples=40, deadline=None)
@given(before=_texts, places=_places, chunks=_places, reach=st.sampled_from([len(SECRET), 40, None]), thought=st.booleans())
def test_what_is_blocked_never_leaves(
    name: str, before: str, places: list[int], chunks: list[int], reach: int | None, thought: bool
) -> None:
    spoken = PROTOCOLS[name]
    thought = thought and name != "completions"
    said = parts(spoken, Text(cut(f"{before}{SECRET} more", places), thought), Text(["later"]), Use("a"))
    out = spoken.play(chopped(spoken.write(said), chunks), Look(PATTERN, blocks=True, reach=reach))
    got = spoken.read(out.caller.got)
    assert got.failed
    assert (before.startswith(got.thought), got.text) == (True, "") if thought else before.startswith(got.text)
    assert not got.calls
    assert (out.record.outcome, out.record.reason) == ("denied", "content_blocked")
    assert out.caller.ended


@ALL
def test_thinking_is_never_rewritten_where_it_is_signed(name: str) -> None:
    spoken = PROTOCOLS[name]
    said = [Text(["I saw ", SECRET], thought=True), Text(["It is ", SECRET, "."])]
    if name == "completions":
        said = said[1:]
    look = Look(PATTERN, reach=20)
    got = spoken.read(spoken.play(spoken.write(said), look).caller.got)
    assert got.text == "It is [X]."
    if name != "completions":
        signed = name == "messages" or name.startswith("gemini")
        assert got.thought == (f"I saw {SECRET}" if signed else "I saw [X]")
    assert set(look.took_spans) == {SECRET}


@ALL
def test_a_text_waits_for_no_more_than_its_reach(name: str) -> None:
    """What left before the stream went on: all but the last `reach - 1` characters."""
    spoken = PROTOCOLS[name]
    letters = [chr(97 + i % 26) for i in range(200)]
    events = spoken.write([Text(["thinking" * 9], thought=True), Text(letters)] if name != "completions" else [Text(letters)])
    last = max(i for i, event in enumerate(events) if json.dumps(letters[-1]).encode() in event)
    out = spoken.play(events[: last + 1], Look(PATTERN, reach=16))
    assert out.record.outcome == "upstream_error", "the stream broke off here"
    assert spoken.read(out.caller.got).text == "".join(letters[:-15])


# --- calls -----------------------------------------------------------------------------------------------------------------------------


@WITH_CALLS
@settings(max_examples=30, deadline=None)
@given(
    names=st.lists(st.sampled_from(["good", "bad"]), min_size=1, max_size=4),
    chunks=_places,
    text=st.booleans(),
    reach=st.sampled_from([0, 9]),
)
def test_a_refused_call_leaves_words_in_its_place(name: str, names: list[str], chunks: list[int], text: bool, reach: int) -> None:
    spoken = PROTOCOLS[name]
    uses = [Use(tool, ('{"n"', f":{i}", "}")) for i, tool in enumerate(names)]
    events = spoken.write([*([Text(["Let me ", "see."])] if text else []), *uses])
    look = Look(PATTERN, refused=frozenset({"bad"}), reach=reach)
    out = spoken.play(chopped(events, chunks), look)
    got = spoken.read(out.caller.got)
    assert got.calls == [("good", {"n": i}) for i, tool in enumerate(names) if tool == "good"]
    assert got.text.count(WORDS) == names.count("bad")
    assert got.text.startswith("Let me see." if text else "")
    assert got.finish == spoken.stopped[0 if "good" in names else 1]
    assert b'"bad"' not in out.caller.got
    assert [call.name for call in look.judged] == names
    assert (out.record.outcome, out.exchange.usage) == ("ok", USED), "the provider is paid for what it made"
    if "bad" not in names:
        assert out.caller.got == b"".join(events)


@WITH_CALLS
@pytest.mark.parametrize("tool", ["good", "bad"])
def test_a_call_in_a_thousand_pieces(name: str, tool: str) -> None:
    spoken = PROTOCOLS[name]
    arguments = json.dumps({"path": "x" * 985})
    events = spoken.write([Use(tool, list(arguments)), Use("good")])
    look = Look(refused=frozenset({"bad"}))
    out = spoken.play(events, look)
    assert look.judged[0].arguments.replace(" ", "") == arguments.replace(" ", "")
    assert (out.caller.got == b"".join(events)) == (tool == "good")
    assert spoken.read(out.caller.got).calls[-1] == ("good", {})
    assert len(spoken.read(out.caller.got).calls) == (2 if tool == "good" else 1)


@WITH_CALLS
@settings(max_examples=30, deadline=None)
@given(places=_places, text=st.lists(st.integers(0, 60), max_size=5), chunks=_places)
def test_placeholders_become_originals(name: str, places: list[int], text: list[int], chunks: list[int]) -> None:
    spoken = PROTOCOLS[name]
    arguments = json.dumps({"to": "[EMAIL_1]", "and": json.dumps({"cc": "[EMAIL_1]"})})
    pieces = ("".join(cut(arguments, places)),) if spoken.whole else cut(arguments, places)
    said: list[Part] = [Text(cut("Write to [EMAIL_1] now", text)), Use("other"), Use("mail", pieces), Text(["Sent to [EMAIL_1]."])]
    look = Look(r"\[EMAIL_1\]", "a@b.io", reach=9, arguments=("[EMAIL_1]", "a@b.io"))
    got = spoken.read(spoken.play(chopped(spoken.write(said), chunks), look).caller.got)
    assert got.text == "Write to a@b.io nowSent to a@b.io."
    assert got.calls == [("other", {}), ("mail", {"to": "a@b.io", "and": '{"cc": "a@b.io"}'})]


@pytest.mark.parametrize("name", [name for name in CALLING if not PROTOCOLS[name].whole])
def test_a_stream_that_ends_inside_of_a_call_does_not_pass_it(name: str) -> None:
    spoken = PROTOCOLS[name]
    events = spoken.write([Text(["hi"]), Use("a", ('{"x":', "77}"))])
    at = next(i for i, event in enumerate(events) if b"77}" in event)
    for ending in ([], [event for event in events[at + 1 :] if b"message_delta" in event or b"response.completed" in event]):
        ending = [event.replace(b'"function_call"', b'"message"') for event in ending]
        out = spoken.play([*events[: at + 1], *ending], Look())
        got = spoken.read(out.caller.got)
        assert got.failed
        assert not got.calls
        assert b"call_1" not in out.caller.got
        assert b"toolu" not in out.caller.got


@WITH_CALLS
def test_a_budget_that_ends_while_a_call_is_held(name: str) -> None:
    """The ending is that of what the client has seen: nothing is closed that it never saw open."""
    spoken = PROTOCOLS[name]
    events = spoken.write([Text(["one", "two"]), Use("a", ["{", *[" "] * 40, "}"]), Text(["more"])])
    out = spoken.play(events, Look(PATTERN, reach=2), held=10)
    got = spoken.read(out.caller.got)
    if not spoken.whole:
        assert out.record.reason == "budget_exceeded"
        assert not got.calls
        assert got.finish in ("length", "max_tokens", "incomplete", "MAX_TOKENS")
        assert not got.failed
    assert out.caller.ended


@WITH_CALLS
def test_a_judge_that_raises_is_a_cut(name: str) -> None:
    class Broken(Look):
        async def judge(self, call: ToolCall) -> Verdict:
            raise ZeroDivisionError

    spoken = PROTOCOLS[name]
    out = spoken.play(spoken.write([Text(["hi"]), Use("a")]), Broken())
    got = spoken.read(out.caller.got)
    assert (got.text, got.calls, got.failed) == ("hi", [], True)
    assert out.record.reason == str(Reason.INTERNAL)


@ALL
@pytest.mark.parametrize("odd", [b'{"odd', b'{"choices":1,"type":7,"candidates":"x","message":[]}'])
def test_what_cannot_be_read_does_not_pass(name: str, odd: bytes) -> None:
    spoken = PROTOCOLS[name]
    events = spoken.write([Text(["hi", "you"])])
    if name == "gemini-array":
        odd = b'\n,\r\n{"candidates":"x"}'
    elif spoken.kind == "text/event-stream":
        odd = b"data: " + odd + b"\n\n"
    else:
        odd += b"\n"
    for reach in (0, 5):
        out = spoken.play([*events[:2], odd, *events[2:]], Look(PATTERN, reach=reach))
        assert out.record.outcome == "upstream_error"
        assert odd.strip() not in out.caller.got
        assert out.caller.ended


@ALL
@pytest.mark.parametrize("reason", [Reason.BUDGET_EXCEEDED, Reason.CONTENT_BLOCKED])
@pytest.mark.parametrize("reach", [0, 3])
def test_the_ending_is_that_of_what_left(name: str, reason: Reason, reach: int) -> None:
    """What the gate's own meter does not read, since it says nothing new, does not change how it ends a stream."""
    spoken = PROTOCOLS[name]
    codec = find("POST", spoken.path, {}, spoken.query)
    assert codec is not None
    call = codec.decode(json.dumps(spoken.ask).encode(), Memos())
    events = spoken.write([Text(["hm"], thought=True), Text(list("abcdefgh")), Use("a"), Text(["i"])])
    deny = Deny(reason, "No.", rule="r")
    for count in range(1, len(events) + 1):  # asked after each event, and after all of so many alone
        meter, left = codec.meter(call), list[bytes]()
        editor = codec.editor(call)
        assert editor is not None
        gate = Gate(Look("zz", reach=reach), editor, meter, codec.meter(call))
        for raw in events[:count]:
            if gate.take(meter.event(raw)):
                asyncio.run(gate.judge())
            left += gate.leave()[0]
            if count == len(events):
                assert gate.shown.cut(deny) == read_by(codec.meter(call), left).cut(deny)
        plain = read_by(codec.meter(call), left)
        assert gate.shown.cut(deny) == plain.cut(deny)
        assert gate.shown.tool_calls == plain.tool_calls


def test_what_leaves_is_read_once_more_only_where_a_call_has_begun() -> None:
    spoken = PROTOCOLS["chat"]
    codec = find("POST", spoken.path, {}, spoken.query)
    assert codec is not None
    call = codec.decode(json.dumps(spoken.ask).encode(), Memos())
    editor = codec.editor(call)
    assert editor is not None
    words, calls = spoken.write([Text(["a", "b"])]), spoken.write([Text(["a"]), Use("a")])
    for events, most in ((words, 0), (calls, len(calls) - 1), ([words[0], *[b": ping\n\n"] * 40, *words[1:]], 33)):
        meter, shown = codec.meter(call), Counting(codec.meter(call))
        gate = Gate(Look("zz"), editor, meter, cast(Meter, shown))
        for raw in events:
            if gate.take(meter.event(raw)):
                asyncio.run(gate.judge())
            assert gate.leave()[0] or meter.calling
        assert shown.read == most
        assert gate.shown.ended


class Counting:
    """A meter that counts what it reads."""

    def __init__(self, meter: Meter) -> None:
        self._meter, self.read = meter, 0

    def event(self, raw: bytes) -> Event:
        self.read += 1
        return self._meter.event(raw)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._meter, name)


def read_by(meter: Meter, events: Sequence[bytes]) -> Meter:
    for raw in events:
        meter.event(raw)
    return meter
