"""Streams whose hold grows as they go: the real budget stage over a memory store, under the real engine."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from engine_script import DONE, STOP, STREAM, Caller, Outcome, Says, chunk, play, says, stream

from proxy.budget.extend import Steps
from proxy.budget.port import Claim, Exceeded, Held
from proxy.budget.settle import settle_usage
from proxy.budget.stage import BudgetStage
from proxy.engine import pace
from proxy.engine.exchange import Exchange
from proxy.engine.inspector import Inspector, Span, Verdict
from proxy.engine.ports import StoreError
from proxy.engine.stage import Stage
from proxy.model import BudgetRule, Deny, Grant, Price, Source, Target
from proxy.stores.memory import MemoryBudget
from proxy.wire.call import ToolCall

PRICE = Price(input=((0, 0),), output=((0, 1_000_000),), source="test")
"""A nano a token of output: amounts are tokens."""
TARGET = Target("openai", "gpt-4o", "gpt-4o", "openai", PRICE)
CAP = "cap|usd||total"


class Pay(Stage):
    """What identity and session give, then the budget."""

    name = "pay"
    needs = frozenset({"call", "route"})

    def __init__(self, limit: int, store: MemoryBudget | None = None, step: int = 256) -> None:
        rule = BudgetRule("cap", (), "usd", limit, "total", Source("budgets/a.yaml", 2))
        self.store = store or MemoryBudget()
        self.budget = BudgetStage([rule], self.store, step_output=step, default_max_output=4096)
        self.paced = False

    async def request(self, ex: Exchange) -> Deny | None:
        ex.grant = Grant("a", "t", "1", "", "", (), ())
        ex.session = "s"
        deny = await self.budget.request(ex)
        self.paced = isinstance(ex.pace, Steps)
        return deny

    def balance(self) -> tuple[int, int]:
        return self.store._book.balance(CAP, 0.0)


class Full(Pay):
    """Another call takes what is left of a thousand but for this one's step, or as much as is said."""

    def __init__(self, limit: int, store: MemoryBudget | None = None, left: int | None = None) -> None:
        super().__init__(limit, store)
        self.left = left

    async def request(self, ex: Exchange) -> Deny | None:
        deny = await super().request(ex)
        left = 1000 - sum(self.balance()) if self.left is None else self.left
        assert isinstance(await self.store.reserve("another", [Claim(CAP, "usd", 1000, left, 9e9)], 0, 9e9), Held)
        return deny


def chunks(count: int, each: int = 10) -> list[bytes]:
    """A stream of `count` tokens, in pieces of `each` events."""
    return [says(" word") * min(each, count - i) for i in range(0, count, each)]


def ask(pay: Pay, *lines: Says | Exception, **more: Any) -> Outcome:
    return play(more.pop("body", STREAM), *lines, stages=[pay], targets=[TARGET], settle=settle_usage, **more)


def tokens_got(out: Outcome) -> int:
    return out.caller.got.count(b'" word"')


def ceiling(out: Outcome) -> int | None:
    found = json.loads(out.upstream.asked[0].body).get("max_completion_tokens")
    return int(found) if found is not None else None


@pytest.fixture(autouse=True)
def _gradual(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts have all of a reply ready at once, which no provider has: nothing of it arrives behind a cut unless a test says so."""
    monkeypatch.setattr(pace, "BEHIND_S", 0.0)


class Counted(MemoryBudget):
    """Counts what is asked of it; `fails` says from which extension on it does not answer."""

    def __init__(self, fails: int | None = None, hangs: bool = False) -> None:
        super().__init__()
        self.extended: list[int] = []
        self.fails, self.hangs = fails, hangs

    async def extend(self, hold_id: str, amounts: Mapping[str, int], now: float, hold_expires: float | None = None) -> Held | Exceeded:
        self.extended.append(amounts["usd"])
        if self.fails is not None and len(self.extended) > self.fails:
            if self.hangs:
                await asyncio.Event().wait()
            raise StoreError("down")
        return await super().extend(hold_id, amounts, now, hold_expires)


def test_a_short_reply_holds_a_step_and_asks_for_no_more() -> None:
    store = Counted()
    pay = Pay(1_000_000, store)
    out = ask(pay, stream(*chunks(100), STOP + DONE))
    assert (pay.paced, store.extended, tokens_got(out), out.record.outcome) == (True, [], 100, "ok")
    assert ceiling(out) == 4096, "what nobody asked for is still bounded"
    assert out.caller.headers["x-fleetgate-max-output"] == "4096"


def test_a_long_reply_doubles_its_hold_while_there_is_plenty() -> None:
    store = Counted()
    out = ask(Pay(1_000_000, store), stream(*chunks(3000), STOP + DONE))
    assert store.extended == [512, 1024, 2048, 4096]
    assert (tokens_got(out), out.record.outcome) == (3000, "ok")


def test_what_is_held_is_ahead_of_what_passed_all_the_time() -> None:
    pay = Pay(1_000_000)
    seen: list[tuple[int, int]] = []

    class Watching(Caller):
        async def write(self, data: bytes) -> None:
            await super().write(data)
            seen.append((self.got.count(b'" word"'), pay.balance()[1]))

    ask(pay, stream(*chunks(1500, 7), STOP + DONE), caller=Watching(STREAM))
    assert len(seen) > 200
    assert all(passed + 64 - 7 <= held for passed, held in seen)


def test_near_the_end_of_a_budget_the_stream_is_cut_as_length_within_it() -> None:
    pay = Full(1000, left=300)
    out = ask(pay, stream(*chunks(4000), STOP + DONE))
    assert ceiling(out) == 1000, "what the others hold may come back, so it is asked for"
    assert 700 - 64 - 70 <= tokens_got(out) <= 700 - 64 - 16
    assert b'"finish_reason":"length"' in out.caller.got.replace(b": ", b":")
    assert b"budget_exceeded" in out.caller.got
    assert out.caller.got.endswith(DONE)
    spent, held = pay.balance()
    assert tokens_got(out) <= spent <= 700
    assert held == 300
    assert (out.record.reason, out.record.rule, out.record.usage_exact) == ("budget_exceeded", "budgets/a.yaml:2 (cap)", False)


def test_what_comes_in_one_piece_is_covered_before_anything_follows_it() -> None:
    store = Counted()
    out = ask(Pay(1_000_000, store), stream(says(" word" * 900), says(" word"), STOP + DONE))
    assert (len(store.extended), out.record.outcome) == (1, "ok")
    assert store.extended[0] >= 900


def test_a_piece_that_uses_up_the_budget_is_the_last() -> None:
    pay = Full(1000, left=700)
    out = ask(pay, stream(says(" word" * 290), says(" more"), STOP + DONE))
    assert (out.record.reason, b" more" in out.caller.got) == ("budget_exceeded", False)
    assert out.caller.got.endswith(DONE)


def test_a_provider_that_is_faster_than_we_are_is_cut_so_much_earlier() -> None:
    for each in (1, 50):
        pay = Full(1000, left=300)
        out = ask(pay, stream(*chunks(4000, each), STOP + DONE))
        assert 700 - 64 - 70 - 2 * each <= tokens_got(out) <= 700 - 64 - 16 - each + 1, "as many as come at once are on their way"


def test_two_streams_share_what_the_first_would_have_taken() -> None:
    store = MemoryBudget()
    first, second = Pay(600, store), Pay(600, store)

    class Meanwhile(Caller):
        async def write(self, data: bytes) -> None:
            await super().write(data)
            if self.writes == 1:
                plan = asyncio.get_running_loop().run_in_executor(None, lambda: ask(second, stream(*chunks(4000), STOP + DONE)))
                others.append(await plan)

    others: list[Outcome] = []
    out = ask(first, stream(*chunks(4000), STOP + DONE), caller=Meanwhile(STREAM))
    assert tokens_got(others[0]) > 150
    assert tokens_got(out) > 150
    assert tokens_got(out) + tokens_got(others[0]) <= store._book.balance(CAP, 0.0)[0] <= 600


def test_a_ceiling_that_was_asked_for_is_held_in_full_where_it_fits() -> None:
    store = Counted()
    body = STREAM[:-1] + b',"max_tokens":800}'
    pay = Pay(1_000_000, store)
    ask(pay, stream(*chunks(800), STOP + DONE), body=body)
    assert (pay.paced, store.extended) == (False, [])
    pay = Pay(700)
    out = ask(pay, stream(*chunks(700), STOP + DONE), body=body)
    assert (pay.paced, tokens_got(out)) == (True, 700)
    assert json.loads(out.upstream.asked[0].body)["max_tokens"] == 700


@pytest.mark.parametrize("hangs", [False, True])
def test_a_store_that_fails_in_mid_stream_ends_it_when_what_is_held_is_used_up(hangs: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.budget.extend.EXTEND_S", 0.001)
    pay = Pay(1_000_000, Counted(1, hangs))
    out = ask(pay, stream(*chunks(4000), STOP + DONE))
    assert 512 - 64 - 60 <= tokens_got(out) <= 512 - 64 - 16
    assert b'"finish_reason":"length"' in out.caller.got.replace(b": ", b":")
    assert out.record.rule == "store"
    assert "cannot be reached" in out.record.message


def test_a_store_that_comes_back_lets_the_stream_go_on() -> None:
    class Flaky(Counted):
        async def extend(self, hold_id: str, amounts: Mapping[str, int], now: float, hold_expires: float | None = None) -> Held | Exceeded:
            self.fails = None if len(self.extended) else 0
            return await super().extend(hold_id, amounts, now, hold_expires)

    out = ask(Pay(1_000_000, Flaky()), stream(*chunks(2000), STOP + DONE))
    assert (tokens_got(out), out.record.outcome) == (2000, "ok")


def test_what_arrived_behind_a_cut_is_charged_and_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "BEHIND_S", 5.0)
    pay = Full(1000)
    out = ask(pay, stream(*chunks(200), says(" word") * 15, says(" word") * 50, says(" word") * 20, STOP + DONE))
    assert 100 <= tokens_got(out) <= 256 - 64 - 16
    assert out.record.output_tokens == 285 + 64, "all that came, and what may have been under way"


def test_a_provider_that_sends_all_at_once_is_held_in_full_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "BEHIND_S", 5.0)
    pay = Full(1000)
    out = ask(pay, stream(*chunks(900), STOP + DONE))
    assert out.record.output_tokens > 256
    assert asyncio.run(pay.store.settle("another", {}, 0))
    out = ask(pay, stream(*chunks(100), STOP + DONE))
    assert not pay.paced


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
