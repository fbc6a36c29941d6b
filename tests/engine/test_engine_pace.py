"""Holds that grow as their stream goes: the real budget stage over a memory store, under the real engine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

import pytest
from engine_script import DONE, STOP, STREAM, Caller, Outcome, says, stream
from pace_cases import CAP, Counted, Full, Pay, ask, ceiling, chunks, tokens_got

from proxy.budget.port import Exceeded, Held
from proxy.engine import pace
from proxy.stores.memory import MemoryBudget


@pytest.fixture(autouse=True)
def _gradual(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts have all of a reply ready at once, which no provider has: nothing of it arrives behind a cut unless a test says so."""
    monkeypatch.setattr(pace, "BEHIND_S", 0.0)


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
