"""Holds that grow while somebody is slow, judges for long, or leaves: all that passed is covered, and charged."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import pytest
from engine_script import DONE, STOP, STREAM, Caller, Says, chunk, play, says, stream
from pace_cases import PRICE, TARGET, Counted, Full, Pay, ask, ceiling, chunks, tokens_got

from proxy.budget.settle import settle_usage
from proxy.engine import pace
from proxy.engine.exchange import Exchange
from proxy.engine.inspector import Inspector, Span, Verdict
from proxy.engine.stage import Stage
from proxy.model import Target
from proxy.wire.call import ToolCall


@pytest.fixture(autouse=True)
def _gradual(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts have all of a reply ready at once, which no provider has: nothing of it arrives behind a cut unless a test says so."""
    monkeypatch.setattr(pace, "BEHIND_S", 0.0)


def test_a_model_that_thinks_out_of_sight_is_held_in_full() -> None:
    store = Counted()
    pay = Pay(1000, store)
    hidden = Target("openai", "gpt-5", "gpt-5", "openai", PRICE)
    out = play(STREAM, stream(*chunks(100), STOP + DONE), stages=[pay], targets=[hidden], settle=settle_usage)
    assert (pay.paced, store.extended, ceiling(out)) == (False, [], 1000)


class Slow(Caller):
    """Takes nothing for a while at its third piece, or another."""

    def __init__(self, body: bytes, at: int = 3) -> None:
        super().__init__(body)
        self.at = at

    async def write(self, data: bytes) -> None:
        await super().write(data)
        if self.writes == self.at:
            await asyncio.sleep(0.1)


def test_for_a_slow_client_the_whole_reply_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "STALL_S", 0.01)
    store = Counted()
    out = ask(Pay(1_000_000, store), stream(*chunks(900), STOP + DONE), caller=Slow(STREAM))
    assert store.extended == [4096]
    assert (tokens_got(out), out.record.outcome) == (900, "ok")


def test_a_slow_client_is_cut_where_the_whole_reply_cannot_be_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "STALL_S", 0.01)
    out = ask(Full(1000), stream(*chunks(900), STOP + DONE), caller=Slow(STREAM))
    assert (out.record.reason, tokens_got(out)) == ("budget_exceeded", 30)
    assert out.upstream.replies[0].closed == 2, "the provider is stopped before the client is waited for"


class Slowly:
    """Judges each call for a while, and lets it pass."""

    reach: int | None = 0
    calls = True

    async def judge(self, call: ToolCall) -> Verdict:
        await asyncio.sleep(0.05)
        return Verdict()

    def spans(self, text: str) -> Sequence[Span]:
        return ()

    def took(self, span: Span, text: str) -> None:
        raise AssertionError


class Judging(Stage):
    name = "judging"

    def inspect(self, ex: Exchange) -> Inspector | None:
        return Slowly()


def test_a_call_that_is_judged_for_long_is_covered_or_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "STALL_S", 0.01)

    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    tool = chunk(choices=[{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}])
    end = chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "tool_calls"}])
    store = Counted()
    out = play(STREAM, stream(tool, end, DONE), stages=[Pay(1_000_000, store), Judging()], targets=[TARGET], settle=settle_usage)
    assert store.extended == [4096]
    assert out.record.outcome == "ok"
    assert b'"tool_calls"' in out.caller.got
    out = play(STREAM, stream(tool, end, DONE), stages=[Full(1000), Judging()], targets=[TARGET], settle=settle_usage)
    assert out.record.reason == "budget_exceeded"
    assert b'"tool_calls"' not in out.caller.got


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def test_what_stands_before_a_call_is_not_waited_for_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "STALL_S", 0.01)
    said = (
        event("message_start", message={"id": "m", "model": "claude", "usage": {"input_tokens": 1, "output_tokens": 1}})
        + event("content_block_start", index=0, content_block={"type": "text", "text": ""})
        + event("content_block_delta", index=0, delta={"type": "text_delta", "text": "hello"})
        + event("content_block_stop", index=0)
        + event("content_block_start", index=1, content_block={"type": "tool_use", "id": "t", "name": "f", "input": {}})
        + event("content_block_delta", index=1, delta={"type": "input_json_delta", "partial_json": "{}"})
        + event("content_block_stop", index=1)
    )
    body = json.dumps({"model": "c", "stream": True, "max_tokens": 900, "messages": [{"role": "user", "content": "hi"}]}).encode()
    target = dataclasses.replace(TARGET, provider="anthropic", model="c", upstream_model="c", protocol="anthropic", tokenizer="claude")
    stages = [Full(800, left=540), Judging()]
    out = play(body, stream(said), stages=stages, targets=[target], path="/v1/messages", settle=settle_usage, caller=Slow(body, at=1))
    assert out.record.reason == "budget_exceeded"
    assert b"hello" in out.caller.got
    assert b"tool_use" not in out.caller.got


def test_a_slow_client_of_a_reply_that_has_ended_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "STALL_S", 0.01)
    out = ask(Full(1000), stream(says("a"), says("b"), STOP + DONE), caller=Slow(STREAM))
    assert (out.record.outcome, out.caller.got.count(DONE)) == ("ok", 1)


def test_a_client_that_leaves_is_charged_for_what_passed() -> None:
    pay = Pay(1_000_000)
    out = ask(pay, stream(*chunks(400), STOP + DONE), caller=Caller(STREAM, leaves_after=20))
    assert out.record.outcome == "client_gone"
    assert 200 + 64 <= pay.balance()[0] <= 210 + 64


def test_a_reply_that_does_not_stream_is_held_in_full_before_it_is_read() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 900, "total_tokens": 901}
    message = {"role": "assistant", "content": " word" * 900}
    whole = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}).encode()
    store = Counted()
    out = ask(Pay(1_000_000, store), Says([whole]))
    assert (store.extended, out.record.outcome, out.record.output_tokens) == ([4096], "ok", 900)
    pay = Full(1000)
    out = ask(pay, Says([whole]))
    assert (out.record.reason, out.caller.status) == ("budget_exceeded", 402)
    assert sum(pay.balance()) <= 1000
    assert out.upstream.replies[0].closed


class Stuck(Caller):
    """Takes nothing from its third piece on."""

    async def write(self, data: bytes) -> None:
        await super().write(data)
        if self.writes == 3:
            await asyncio.Event().wait()


@pytest.mark.parametrize("stuck", [False, True])
def test_a_client_that_leaves_is_charged_for_what_lay_unread_too(stuck: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "BEHIND_S", 5.0)
    pay, body = Pay(1_000_000), STREAM[:-1] + b',"max_tokens":200}'
    caller, cancel_after = (Stuck(body), 300) if stuck else (Caller(body, leaves_after=3), None)
    out = ask(pay, stream(*chunks(150), hang=True), body=body, caller=caller, cancel_after=cancel_after)
    assert (pay.paced, out.record.outcome) == (False, "client_gone")
    assert out.caller.got.count(b'" word"') == 30
    assert pay.balance() == (200, 0), "150 and what may have been in flight, but no more than was held"


def test_a_client_that_leaves_pays_what_the_provider_says_where_all_of_it_lay_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "BEHIND_S", 5.0)
    pay = Pay(1_000_000)
    usage = chunk(choices=[], usage={"prompt_tokens": 4, "completion_tokens": 400, "total_tokens": 404})
    out = ask(pay, stream(*chunks(400), STOP, usage + DONE), caller=Caller(STREAM, leaves_after=3))
    assert (out.record.outcome, out.record.usage_exact, pay.balance()) == ("client_gone", True, (400, 0))
