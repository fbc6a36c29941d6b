"""A target that speaks another dialect than the client, as scripts: what it is asked, what the client gets, and what the record keeps."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from engine_script import ANSWER, ASK, CLAUDE, DONE, SSE, STOP, STREAM, STRONG, USAGE, Outcome, Says, chunk, play, says, stream

from proxy.engine.exchange import Exchange
from proxy.engine.ports import UpstreamError
from proxy.engine.stage import Stage, Tap
from proxy.model import Deny, Reason, Usage
from proxy.wire.call import Event

AS_CHAT = dataclasses.replace(STRONG, wire="openai.chat")
"""What a client of the messages protocol finds behind an OpenAI provider."""
AS_MESSAGES = dataclasses.replace(CLAUDE, wire="anthropic.messages")
LOCAL = dataclasses.replace(AS_CHAT, provider="local", local=True)
HI: dict[str, Any] = {"model": "strong", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}
MESSAGE = json.dumps(HI).encode()
STREAMED = json.dumps({**HI, "stream": True}).encode()
SAID = json.dumps(
    {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-x",
        "content": [{"type": "text", "text": "hello"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 7, "output_tokens": 2, "cache_read_input_tokens": 3},
    }
).encode()
DOWN = UpstreamError("connect", "down")


def event(kind: str, **members: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members})}\n\n".encode()


CLAUDE_SAYS = (
    event("message_start", message={"id": "msg_1", "model": "claude-x", "usage": {"input_tokens": 7, "output_tokens": 1}}),
    event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
    event("content_block_delta", index=0, delta={"type": "text_delta", "text": "hel"}),
    event("content_block_delta", index=0, delta={"type": "text_delta", "text": "lo"}),
    event("content_block_stop", index=0),
    event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 2}),
    event("message_stop"),
)


def messages(body: bytes, *lines: Says | Exception, **more: Any) -> Outcome:
    return play(body, *lines, path="/v1/messages", headers={"anthropic-version": "2023-06-01", "user-agent": "test"}, **more)


def spent(done: Outcome) -> Usage:
    """The usage on the record."""
    record = done.record
    assert record.usage_exact
    return Usage(record.input_tokens, record.output_tokens, record.cache_read_tokens)


def data(got: bytes) -> list[dict[str, Any]]:
    """The JSON of all events."""
    lines = [line[6:] for line in got.decode().splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def test_a_message_is_served_by_a_chat_target() -> None:
    done = messages(MESSAGE, Says([ANSWER]), targets=[AS_CHAT])
    (asked,) = done.upstream.asked
    assert (asked.method, asked.path, asked.stream) == ("POST", "/chat/completions", False)
    assert json.loads(asked.body) == {"model": "strong", "messages": [{"role": "user", "content": "hi"}], "max_completion_tokens": 50}
    assert asked.headers == [("content-type", "application/json"), ("user-agent", "test")]
    got = json.loads(done.caller.got)
    assert (got["content"], got["stop_reason"]) == ([{"type": "text", "text": "hello"}], "end_turn")
    assert (got["usage"]["input_tokens"], got["usage"]["output_tokens"]) == (10, 3)
    assert done.caller.headers.getall("content-type") == ["application/json"]
    assert (done.record.outcome, done.record.protocol, spent(done)) == ("ok", "anthropic", Usage(10, 3))
    assert ("upstream", "openai is asked in openai.chat") in done.record.decisions


def test_a_chat_is_served_by_a_messages_target() -> None:
    done = play(ASK, Says([SAID]), targets=[AS_MESSAGES])
    (asked,) = done.upstream.asked
    assert asked.path == "/v1/messages"
    assert ("anthropic-version", "2023-06-01") in asked.headers
    assert json.loads(asked.body) == {"model": "claude", "max_tokens": 8192, "messages": [{"role": "user", "content": "hi"}]}
    got = json.loads(done.caller.got)
    assert (got["choices"][0]["message"]["content"], got["model"]) == ("hello", "claude-x")
    assert got["usage"]["prompt_tokens"] == 10
    assert spent(done) == Usage(7, 2, 3)


def test_what_the_house_decides_is_asked_for() -> None:
    class Lower(Stage):
        name = "lower"

        async def request(self, ex: Exchange) -> Deny | None:
            ex.max_output = 9
            return None

    done = messages(MESSAGE, Says([ANSWER]), targets=[dataclasses.replace(LOCAL, upstream_model="small:8b")], stages=[Lower()])
    body = json.loads(done.upstream.asked[0].body)
    assert (body["model"], body["max_tokens"], "max_completion_tokens" in body) == ("small:8b", 9, False)


def test_a_stream_is_told_in_the_clients_dialect() -> None:
    done = messages(STREAMED, stream(says("hel"), says("lo"), STOP, USAGE, DONE), targets=[AS_CHAT])
    assert json.loads(done.upstream.asked[0].body)["stream_options"] == {"include_usage": True}
    events = data(done.caller.got)
    assert [e["type"] for e in events] == [
        *("message_start", "content_block_start", "content_block_delta", "content_block_delta", "content_block_stop"),
        *("message_delta", "message_stop"),
    ]
    assert events[-2]["usage"]["input_tokens"] == 10
    assert done.caller.headers["content-type"] == SSE
    assert (done.record.outcome, spent(done), done.caller.ended) == ("ok", Usage(10, 2), True)
    assert done.record.bytes_out == len(done.caller.got)


@pytest.mark.parametrize("wants", [True, False])
def test_usage_is_told_in_a_chat_only_where_the_client_asked(wants: bool) -> None:
    body = json.dumps({**json.loads(STREAM), **({"stream_options": {"include_usage": True}} if wants else {})}).encode()
    done = play(body, stream(*CLAUDE_SAYS), targets=[AS_MESSAGES])
    chunks = data(done.caller.got)
    assert done.caller.got.endswith(DONE)
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"]) == "hello"
    assert [c["usage"]["total_tokens"] for c in chunks if "usage" in c] == ([9] if wants else [])
    assert spent(done) == Usage(7, 2)


def test_a_buffered_answer_to_a_stream_becomes_one() -> None:
    done = messages(STREAMED, Says([ANSWER]), targets=[AS_CHAT])
    assert done.caller.headers["content-type"] == SSE
    assert [e["type"] for e in data(done.caller.got)][-1] == "message_stop"
    assert spent(done) == Usage(10, 3)


def test_the_fallback_in_the_clients_own_dialect_gets_its_own_bytes() -> None:
    body = json.dumps({**HI, "model": "claude", "metadata": {"user_id": "u"}}).encode()
    done = messages(body, DOWN, Says([SAID]), targets=[LOCAL, CLAUDE])
    assert [r.target.provider for r in done.upstream.asked] == ["local", "anthropic"]
    assert done.upstream.asked[1].body is body
    assert done.caller.got == SAID
    assert spent(done) == Usage(7, 2, 3)
    assert done.record.findings == (), "what the other target would have gone without is of no interest"


def test_what_cannot_be_said_goes_to_the_next_target() -> None:
    body = json.dumps({**HI, "model": "claude", "container": "c1"}).encode()
    done = messages(body, Says([SAID]), targets=[LOCAL, CLAUDE])
    assert [r.target.provider for r in done.upstream.asked] == ["anthropic"]
    note = "local cannot be asked in openai.chat: /container: a container of the provider's"
    assert ("upstream", note) in done.record.decisions


def test_what_cannot_be_said_to_the_last_target_is_refused() -> None:
    done = messages(json.dumps({**HI, "container": "c1"}).encode(), targets=[AS_CHAT])
    assert done.upstream.asked == []
    assert done.caller.status == 403
    got = json.loads(done.caller.got)
    assert (got["type"], got["fleetgate"]["reason"], got["fleetgate"]["rule"]) == ("error", "model_not_allowed", "translation")
    assert "/container: a container of the provider's" in got["error"]["message"]
    assert (spent(done), done.record.cost) == (Usage(), 0)


def test_what_is_left_out_is_found() -> None:
    done = messages(json.dumps({**HI, "top_k": 5, "metadata": {"user_id": "u"}}).encode(), Says([ANSWER]), targets=[AS_CHAT])
    assert sorted(done.record.findings) == [("translate/dropped", "metadata"), ("translate/dropped", "top_k")]
    assert done.caller.headers["x-fleetgate-findings"] == "translate/dropped"


def test_a_providers_error_is_told_in_the_clients_dialect() -> None:
    error = json.dumps({"error": {"message": "slow down", "type": "rate_limit_error"}}).encode()
    done = messages(MESSAGE, Says([error], status=429), targets=[AS_CHAT])
    got = json.loads(done.caller.got)
    assert (done.caller.status, got["type"], got["error"]) == (429, "error", {"type": "rate_limit_error", "message": "slow down"})
    assert done.record.outcome == "upstream_error"


def test_a_providers_error_in_a_stream_is_told_in_the_clients_dialect() -> None:
    broken = b'data: {"error":{"message":"overloaded"}}\n\n'
    done = messages(STREAMED, stream(says("hel"), broken), targets=[AS_CHAT])
    assert data(done.caller.got)[-1]["error"] == {"type": "api_error", "message": "overloaded"}
    assert done.record.outcome == "upstream_error"
    chat = play(STREAM, stream(*CLAUDE_SAYS[:3], event("error", error={"type": "x", "message": "overloaded"})), targets=[AS_MESSAGES])
    assert data(chat.caller.got)[-1]["error"]["message"] == "overloaded"
    assert chat.caller.got.endswith(DONE)


def test_a_stream_ends_even_when_its_meter_and_its_reader_disagree() -> None:
    odd = chunk(choices=[{"index": 0, "delta": {"content": "a"}, "finish_reason": None}], error=False)
    done = messages(STREAMED, stream(says("hel"), odd, STOP, DONE), targets=[AS_CHAT])
    assert [e["type"] for e in data(done.caller.got)][-2:] == ["message_delta", "message_stop"]


@pytest.mark.parametrize("broken", [b'{"no":"reply"}', b'{"choices":[]}', b'{"choices":[{"message":{"content":7}}]}'])
def test_an_answer_that_is_none_is_refused_and_charged(broken: bytes) -> None:
    done = messages(MESSAGE, Says([broken]), targets=[AS_CHAT])
    assert done.caller.status == 502
    assert json.loads(done.caller.got)["fleetgate"]["reason"] == "upstream_error"
    assert done.record.outcome == "upstream_error"


def test_a_stream_that_breaks_off_ends_in_the_clients_dialect() -> None:
    lost = UpstreamError("cut", "lost", 200)
    done = messages(STREAMED, stream(says("hel"), lost), targets=[AS_CHAT])
    assert [e["type"] for e in data(done.caller.got)][-2:] == ["content_block_delta", "error"]
    chat = play(STREAM, stream(*CLAUDE_SAYS[:3], lost), targets=[AS_MESSAGES])
    assert "error" in data(chat.caller.got)[-1]
    assert chat.caller.got.endswith(DONE)
    assert {done.record.outcome, chat.record.outcome} == {"upstream_error"}


class NoMore(Stage):
    """Cuts a stream at its second text."""

    name = "no-more"

    def __init__(self, reason: Reason) -> None:
        self.reason = reason

    def tap(self, ex: Exchange) -> Tap | None:
        def look(event: Event) -> Deny | None:
            return Deny(self.reason, "no", rule="r1") if event.text == "lo" else None

        return look


def test_a_spent_budget_ends_a_stream_as_the_ceiling_would() -> None:
    stages = [NoMore(Reason.BUDGET_EXCEEDED)]
    done = messages(STREAMED, stream(says("hel"), says("lo"), STOP, DONE), targets=[AS_CHAT], stages=stages)
    events = data(done.caller.got)
    assert [e["type"] for e in events][-4:] == ["content_block_delta", "content_block_stop", "message_delta", "message_stop"]
    assert events[-2]["delta"]["stop_reason"] == "max_tokens"
    assert events[-2]["fleetgate"]["reason"] == "budget_exceeded"
    chat = play(STREAM, stream(*CLAUDE_SAYS), targets=[AS_MESSAGES], stages=stages)
    (last,) = data(chat.caller.got)[-1]["choices"]
    assert last["finish_reason"] == "length"
    assert chat.caller.got.endswith(DONE)
    assert {done.record.outcome, chat.record.outcome} == {"denied"}
    assert done.upstream.replies[0].closed


def test_any_other_cut_is_the_clients_own_error_event() -> None:
    stages = [NoMore(Reason.CONTENT_BLOCKED)]
    done = messages(STREAMED, stream(says("hel"), says("lo"), STOP, DONE), targets=[AS_CHAT], stages=stages)
    assert data(done.caller.got)[-1]["fleetgate"]["reason"] == "content_blocked"
    assert b"event: error\n" in done.caller.got


def test_the_ceiling_that_was_paid_for_holds_in_translation() -> None:
    done = messages(STREAMED, stream(*[says(f" {i}") for i in range(9)], STOP, DONE), targets=[AS_CHAT], held=3)
    assert done.record.reason == "budget_exceeded"
    assert data(done.caller.got)[-2]["delta"]["stop_reason"] == "max_tokens"


def test_a_fault_in_a_stream_ends_it_in_the_clients_dialect() -> None:
    class Faulty(Stage):
        name = "faulty"

        def tap(self, ex: Exchange) -> Tap | None:
            def look(event: Event) -> Deny | None:
                raise RuntimeError(event.text)

            return look

    done = messages(STREAMED, stream(says("hel"), STOP, DONE), targets=[AS_CHAT], stages=[Faulty()])
    assert data(done.caller.got)[-1]["type"] == "error"
    assert done.record.outcome == "error"


def test_a_guard_sees_the_providers_own_calls() -> None:
    """The target's codec meters: what the provider said is judged, whatever words the client gets."""
    seen: list[str] = []

    class Watch(Stage):
        name = "watch"

        def tap(self, ex: Exchange) -> Tap | None:
            def look(event: Event) -> Deny | None:
                if event.tool:
                    seen.append(event.tool)
                return None

            return look

    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "rm", "arguments": '{"a":1}'}}
    first = chunk(choices=[{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}])
    done = messages(
        STREAMED,
        stream(first, chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]), DONE),
        targets=[AS_CHAT],
        stages=[Watch()],
    )
    assert seen == ["rm"]
    assert data(done.caller.got)[-2]["delta"]["stop_reason"] == "tool_use"
    meter = done.exchange.meter
    assert meter is not None
    assert [(c.id, c.name, c.arguments) for c in meter.tool_calls] == [("call_1", "rm", '{"a":1}')]


class Hides(Stage):
    name = "hides"

    async def request(self, ex: Exchange) -> None:
        ex.redactions = {"4111111111111111": "[CARD_1]", "sk-1": "[KEY_1]"}


@pytest.mark.parametrize("arguments", ['{"card": 4111111111111111}', '{"sk-1": true}'])
def test_what_cannot_be_hidden_over_there_is_not_sent(arguments: str) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "pay", "arguments": arguments}}
    said = [
        {"role": "user", "content": "pay"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "ok"},
    ]
    done = play(json.dumps({"model": "strong", "messages": said}).encode(), targets=[AS_MESSAGES], stages=[Hides()])
    assert done.upstream.asked == []
    assert done.caller.status == 403
    assert b"4111" not in done.caller.got


def test_what_was_not_sent_since_it_cannot_be_hidden_leaves_no_findings() -> None:
    function = {"name": "pay", "arguments": '{"card": 4111111111111111}'}
    said = [
        {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": function}]},
        {"role": "tool", "tool_call_id": "c", "content": "ok"},
    ]
    body = json.dumps({"model": "strong", "seed": 5, "messages": said}).encode()
    done = play(body, Says([ANSWER]), targets=[AS_MESSAGES, STRONG], stages=[Hides()])
    assert [r.target.provider for r in done.upstream.asked] == [STRONG.provider]
    assert done.record.findings == ()


@pytest.mark.parametrize("padding", [0, 70_000])
def test_what_must_be_hidden_is_hidden_over_there(padding: int) -> None:
    said = [{"role": "user", "content": "pay 4111111111111111 " + "x" * padding}]
    done = play(json.dumps({"model": "strong", "messages": said}).encode(), targets=[AS_MESSAGES], stages=[Hides()])
    sent = done.upstream.asked[0].body
    assert (b"pay [CARD_1] " in sent, b"4111" in sent) == (True, False)
