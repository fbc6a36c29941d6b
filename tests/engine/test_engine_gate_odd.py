"""The gate fails closed: what cannot be read, changed or told apart stops the reply, in bounded memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from engine_script import DONE, SSE, STOP, Caller, Outcome, Says, chunk, play, says
from gate_cases import PROTOCOLS, WORDS, Inspecting, Look, Text, Use

from proxy.engine import gate as gates
from proxy.engine.exchange import Exchange
from proxy.engine.ports import StoreError
from proxy.engine.stage import Stage, Tap
from proxy.model import Deny, Reason
from proxy.wire import openai_chat
from proxy.wire.base import Editor
from proxy.wire.call import Event
from proxy.wire.openai_reply import MAX_CALLS, MAX_CHOICES

CHAT = PROTOCOLS["chat"]
BLOCKED = "tool_call_blocked"


def call(index: int | None = 0, name: str = "", arguments: str = "", choice: int = 0, finish: str | None = None, **more: Any) -> bytes:
    piece = {"function": {"name": name, "arguments": arguments}} | ({} if index is None else {"index": index})
    return chunk(choices=[{"index": choice, "delta": {"tool_calls": [piece], **more}, "finish_reason": finish}])


def finish(choice: int = 0) -> bytes:
    return chunk(choices=[{"index": choice, "delta": {}, "finish_reason": "tool_calls"}])


def event(kind: str, **members: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members})}\n\n".encode()


def chat(look: Look, *events: bytes) -> Outcome:
    return CHAT.play(events, look)


def test_words_and_calls_in_one_event_are_both_judged() -> None:
    """Neither the words hide the call, nor are the words of the call's end lost."""
    look = Look("secret", reach=6, refused=frozenset({"bad"}))
    out = chat(look, call(0, "bad", "{}", content="a sec"), call(0, "", "", content="ret b"), finish(), DONE)
    assert CHAT.read(out.caller.got).text == f"a [X]\n{WORDS} b"
    out = chat(look, call(0, "bad", "{}", content="secret", finish="tool_calls"), DONE)
    assert CHAT.read(out.caller.got).text == f"[X]\n{WORDS}"
    other = {"index": 1, "delta": {"tool_calls": [{"index": 0, "function": {"name": "bad", "arguments": "{}"}}]}}
    mixed = chunk(choices=[{"index": 0, "delta": {"content": "hi"}}, other])
    out = chat(Look(refused=frozenset({"bad"})), mixed, finish(0), finish(1), DONE)
    assert b'"bad"' not in out.caller.got
    assert out.caller.got.count(WORDS.encode()) == 1


def test_words_beside_arguments_are_looked_at_each_time_that_they_come() -> None:
    """Also where all events are one over and over, but for the arguments: those are held where they arrive."""
    messages = PROTOCOLS["messages"]
    begun = messages.write([Use("a", ())])[:2]
    odd = [event("content_block_delta", index=0, delta={"type": "text_delta", "text": "secret", "partial_json": f"{i}"}) for i in range(5)]
    look = Look("secret", reach=6)
    out = messages.play([*begun, *odd, event("content_block_stop", index=0), *messages.write([])[1:]], look)
    assert b"secret" not in out.caller.got
    assert out.caller.got.count(b"[X]") == len(look.took_spans) == len(odd)


def test_a_choice_that_ends_does_not_let_the_call_of_another_pass() -> None:
    look = Look(refused=frozenset({"bad"}))
    events = [call(0, "good", "{}"), call(0, "bad", '{"x":', 1), finish(0), call(0, "", "1}", 1), finish(1), DONE]
    out = chat(look, *events)
    assert [c.place for c in look.judged] == ["0/0", "1/0"]
    assert (b'"bad"' in out.caller.got, b'"good"' in out.caller.got) == (False, True)
    nameless = [call(0, "good", "{}"), call(0, "", '{"x":', 1), finish(0), call(0, "", "1}", 1)]
    out = chat(Look(), *nameless)
    assert (out.record.outcome, b"function" in out.caller.got) == ("upstream_error", False)


def test_usage_that_only_we_asked_for_is_dropped() -> None:
    events = PROTOCOLS["chat"].write([Text(["hi"]), Use("good")])
    asked = {key: value for key, value in CHAT.ask.items() if key != "stream_options"}
    out = play(json.dumps(asked).encode(), Says(events, kind=SSE), stages=[Inspecting(Look("zz", reach=2))])
    assert out.caller.got == b"".join(event for event in events if b'"usage"' not in event)
    assert out.record.output_tokens == 7


def test_texts_alone_are_looked_at_in_a_whole_reply() -> None:
    body = b'{"choices":[{"index":0,"message":{"content":"a secret","tool_calls":[{"function":{"name":"bad","arguments":"{}"}}]}}]}'
    look = Look("secret", reach=6, refused=frozenset({"bad"}), calls=False)
    out = play(json.dumps(CHAT.ask | {"stream": False, "stream_options": None}).encode(), Says([body]), stages=[Inspecting(look)])
    assert out.caller.got == body.replace(b"secret", b"[X]")


def test_order_is_kept_while_a_call_is_held() -> None:
    events = [says("a"), call(0, "good", "{", 1), says("b"), says("c"), call(0, "", "}", 1), says("d"), finish(1), STOP, DONE]
    out = chat(Look("zz", reach=2), *events)
    assert out.caller.got == b"".join(events)


def _started(index: int = 0, **block: Any) -> bytes:
    return event("content_block_start", index=index, content_block={"type": "tool_use", "id": "t", "name": "n", "input": {}, **block})


_DELTA = event("content_block_delta", index=4, delta={"type": "input_json_delta", "partial_json": "{}"})
_CALL = b'{"functionCall": {}}'
_ITEM = {"type": "function_call", "id": "f", "call_id": "c", "name": "n", "arguments": "{}"}


@pytest.mark.parametrize(
    ("name", "events"),
    [
        ("chat", [call(i, "n", "{}") for i in range(MAX_CALLS + 1)]),
        ("chat", [chunk(choices=[{"index": i, "delta": {"content": "x"}}]) for i in range(MAX_CHOICES + 1)]),
        ("chat", [b'data:  {"choices": 3}\n\n']),
        ("completions", [b'data:  {"choices": 3}\n\n']),
        ("messages", [_started(), _started()]),
        ("messages", [_DELTA]),
        ("messages", [b'data: {"type": "message_start", "message": 3}\n\n']),
        ("messages", [e for i in range(MAX_CALLS + 1) for e in (_started(i), event("content_block_stop", index=i))]),
        ("responses", [event("response.output_item.added", output_index=0, item=3)]),
        ("responses", [event("response.output_item.done", output_index=0, item=3)]),
        ("responses", [event("response.output_item.added", output_index=i, item=_ITEM) for i in range(MAX_CALLS + 1)]),
        ("responses", [event("response.completed", response={"output": [_ITEM | {"call_id": str(i)} for i in range(MAX_CALLS + 1)]})]),
        ("gemini-events", [b'data: {"candidates": [{"content": {"parts": [{"functionCall": "f"}]}}]}\n\n']),
        ("gemini-events", [b'data: {"candidates": [{"content": {"parts": [%b]}}]}\n\n' % b",".join([_CALL] * (MAX_CALLS + 1))]),
        ("ollama", [json.dumps({"message": {"tool_calls": [{}] * (MAX_CALLS + 1)}}).encode() + b"\n"]),
    ],
)  # fmt: skip
def test_what_the_meter_cannot_tell(name: str, events: list[bytes]) -> None:
    spoken = PROTOCOLS[name]
    out = spoken.play(events, Look())
    assert (out.record.outcome, out.record.reason) == ("upstream_error", "upstream_error")
    assert "could not be read as its protocol" in out.caller.got.decode()
    assert b'"n"' not in out.caller.got.replace(b'"name": "n", "input"', b"") or name == "messages"


def test_a_call_that_never_ends() -> None:
    ends = event("response.completed", response={"id": "r", "status": "completed", "output": []})
    added = event("response.output_item.added", output_index=0, item=_ITEM)
    args = event("response.function_call_arguments.done", output_index=0, arguments="{}")
    other = event("response.output_item.done", output_index=1, item=_ITEM | {"call_id": "d", "name": "good"})
    for events in ([added, args, ends], [added, args, other, ends]):
        out = PROTOCOLS["responses"].play(events, Look())
        assert (out.record.reason, b"function_call" in out.caller.got) == (BLOCKED, False)
    novel = event("response.novel.delta", output_index=0, delta="{}")
    out = PROTOCOLS["responses"].play([novel, ends], Look())
    assert (out.record.reason, b"novel" in out.caller.got) == (BLOCKED, False)


class _Idle(Editor):
    """Changes nothing, whatever was decided."""

    def texts(self, raw: bytes) -> list[tuple[str, str | None]]:
        return []

    def edit(self, raw: bytes, texts: Mapping[str, str]) -> list[bytes]:
        return [raw]

    def whole(self, body: bytes, change: Callable[[str], str]) -> bytes:
        return body


def test_a_call_that_nobody_let_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_chat.ChatCodec, "editor", lambda self, call: _Idle())
    look = Look(refused=frozenset({"bad"}))
    out = chat(look, call(0, "bad", "{}"), finish(), DONE)
    assert (out.record.reason, CHAT.read(out.caller.got).finish) == (BLOCKED, "")
    out = chat(look, call(0, "bad", "{}", finish="tool_calls"), DONE)
    assert b'"bad"' not in out.caller.got
    message = {"tool_calls": [{"id": "1", "function": {"name": "bad", "arguments": "{}"}}]}
    body = json.dumps({"choices": [{"index": 0, "message": message}]}).encode()
    out = play(json.dumps(CHAT.ask | {"stream": False}).encode(), Says([body]), stages=[Inspecting(look)])
    assert (out.caller.status, out.record.reason) == (403, BLOCKED)


@pytest.mark.parametrize("stream", [True, False])
def test_a_dialect_that_nobody_can_change(monkeypatch: pytest.MonkeyPatch, stream: bool) -> None:
    monkeypatch.setattr(openai_chat.ChatCodec, "editor", lambda self, call: None)
    body = json.dumps(CHAT.ask | {"stream": stream} | ({} if stream else {"stream_options": None})).encode()
    says_ = Says([says("hi"), STOP, DONE], kind=SSE) if stream else Says([b'{"choices":[]}'])
    out = play(body, says_, stages=[Inspecting(Look())])
    assert (out.caller.status, out.record.reason) == (500, "internal")
    assert b"choices" not in out.caller.got


def test_what_makes_no_text_is_not_looked_at() -> None:
    body = b'{"object":"list","data":[],"model":"m","usage":{"prompt_tokens":1,"total_tokens":1}}'
    out = play(b'{"model":"strong","input":"x"}', Says([body]), path="/v1/embeddings", stages=[Inspecting(Look())])
    assert out.caller.got == body


def test_no_stage_has_to_look() -> None:
    class Blind(Inspecting):
        def inspect(self, ex: object) -> None:
            return None

    events = [says("hi"), STOP, DONE]
    out = play(json.dumps(CHAT.ask).encode(), Says(events, kind=SSE), stages=[Blind(Look())])
    assert out.caller.got == b"".join(events)


def test_what_is_held_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "MAX_HELD", 10_000)
    for look, pieces in ((Look(), [call(0, "n")] + [call(0, "", "x" * 100)] * 99), (Look("zz", reach=None), [says("x" * 100)] * 99)):
        out = chat(look, *pieces, finish(), DONE)
        assert (out.record.reason, b"xxx" in out.caller.got) == ("content_blocked", False)
    monkeypatch.setattr(gates, "MAX_CHANNELS", 3)
    out = chat(Look("zz", reach=2), *[chunk(choices=[{"index": i, "delta": {"content": "x"}}]) for i in range(9)])
    assert out.record.reason == "content_blocked"


@dataclass
class _Counting(Look):
    asked: list[int] = field(default_factory=list)

    def spans(self, text: str) -> list[gates.Span]:
        self.asked.append(len(text))
        return super().spans(text)


def test_an_inspector_sees_no_more_than_it_must() -> None:
    """A long text costs as much for each word as a short one, and a long reach no look at each letter."""
    for reach in (10, 6400):
        look = _Counting("zz", reach=reach)
        events = [*[says("abcd")] * 5000, STOP, DONE]
        assert chat(look, *events).caller.got == b"".join(events)
        assert max(look.asked) < gates.CONTEXT + reach + reach // 16 + 64
        assert sum(look.asked) < 20_000 * (gates.CONTEXT + reach + 48) / max(4, reach // 33)


def _interleaved(*pieces: tuple[str, str]) -> list[bytes]:
    return [*[chunk(choices=[{"index": 0, "delta": {key: text}}]) for key, text in pieces], STOP, DONE]


def test_thoughts_do_not_hold_up_the_words_behind_them() -> None:
    events = _interleaved(("reasoning_content", "hm" * 9), *[("content", "abcdefgh")] * 9)
    out = chat(Look("zz", reach=9), *events[:-2])
    assert out.caller.got.startswith(b"".join(events[:9]))


@pytest.mark.parametrize("blocks", [True, False])
def test_what_is_torn_apart_stops_the_reply(blocks: bool) -> None:
    look = Look("secret", reach=6, blocks=blocks)
    out = chat(look, *_interleaved(("content", "a sec"), ("reasoning", "hm"), ("content", "ret b" + "c" * 9), ("content", "d")))
    assert (out.record.reason, b"ret b" in out.caller.got) == ("content_blocked", False)
    clean = _interleaved(("content", "a sec"), ("reasoning", "hm"), ("content", "ond b" + "c" * 9), ("content", "secret"))
    out = chat(look, *clean)
    assert b"ond b" in out.caller.got
    assert b"secret" not in out.caller.got.replace(b"a secret Rule", b"")


def test_spans_that_overlap() -> None:
    class Two(Look):
        def spans(self, text: str) -> list[gates.Span]:
            places = [("abc", "[1]"), ("bcd", "[2]"), ("b", "[3]")]
            found = [gates.Span(i, i + len(w), x) for w, x in places for i in range(len(text)) if text.startswith(w, i)]
            return sorted(found, key=lambda span: span.start)

    for pieces in (["xabcdy"], list("xabcdy"), ["xab", "cdy"]):
        out = chat(Two(reach=3), *[says(piece) for piece in pieces], STOP, DONE)
        assert CHAT.read(out.caller.got).text == "x[1]y"


@pytest.mark.parametrize(("error", "reason"), [(StoreError("down"), "store_unavailable"), (ZeroDivisionError(), "internal")])
def test_an_inspector_that_fails(error: Exception, reason: str) -> None:
    class Failing(Look):
        def spans(self, text: str) -> list[gates.Span]:
            raise error

    out = chat(Failing(reach=2), says("hello"), STOP, DONE)
    assert (out.record.reason, b"hello" in out.caller.got) == (reason, False)
    body = b'{"choices":[{"index":0,"message":{"content":"hello"}}]}'
    out = play(
        json.dumps(CHAT.ask | {"stream": False, "stream_options": None}).encode(), Says([body]), stages=[Inspecting(Failing(reach=2))]
    )
    assert (out.caller.status >= 500, b"hello" in out.caller.got) == (True, False)


def test_a_fault_while_a_call_is_held_ends_the_stream_that_the_client_has_seen() -> None:
    class Trips(Stage):
        name = "trips"

        def tap(self, ex: Exchange) -> Tap:
            def look(event: Event) -> Deny | None:
                return Deny(Reason.CONTENT_BLOCKED, str(1 // 0)) if b"more" in event.raw else None

            return look

    spoken = PROTOCOLS["gemini-array"]
    events = spoken.write([Text(["a secret more"])])
    body = json.dumps(spoken.ask).encode()
    stages = [Inspecting(Look("zz", reach=None)), Trips()]
    out = play(body, Says(events, kind=spoken.kind), path=spoken.path, targets=[spoken.target], stages=stages)
    (ending,) = json.loads(out.caller.got)
    assert ending["fleetgate"]["reason"] == "internal"


def test_what_left_is_sent_before_a_call_is_judged() -> None:
    seen: list[bytes] = []

    class Slow(Look):
        async def judge(self, call: Any) -> Any:
            seen.append(caller.got)
            return await super().judge(call)

    caller = Caller(json.dumps(CHAT.ask).encode())
    events = [says("hi"), call(0, "good", "{}"), finish(), DONE]
    CHAT.play([b"".join(events)], Slow(), caller=caller)
    assert seen == [says("hi")]
    assert caller.got == b"".join(events)


def test_a_client_that_leaves_while_a_call_is_judged() -> None:
    out = CHAT.play([says("hi") + call(0, "good", "{}") + finish(), DONE], Look(), caller=Caller(json.dumps(CHAT.ask).encode(), 0))
    assert out.record.outcome == "client_gone"


def test_a_rest_without_its_terminator() -> None:
    for look in (Look(), Look("secret", reach=6)):
        out = chat(look, says("a secret"), STOP, DONE[:-2])
        assert out.caller.got.endswith(b"data: [DONE]")
    out = chat(Look("secret", reach=6, blocks=True), says("a secret"), STOP, DONE[:-2])
    assert out.record.reason == "content_blocked"
    out = chat(Look(refused=frozenset({"bad"})), call(0, "bad", "{}"), finish()[:-2])
    assert b'"bad"' not in out.caller.got
    assert WORDS.encode() in out.caller.got


def test_the_record_of_a_reply_that_lost_a_call() -> None:
    events = PROTOCOLS["messages"].write([Text(["hi"]), Use("bad")])
    out = PROTOCOLS["messages"].play(events, Look(refused=frozenset({"bad"})))
    assert (out.record.outcome, out.record.input_tokens, out.record.output_tokens, out.record.usage_exact) == ("ok", 10, 7, True)
