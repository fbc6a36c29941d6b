"""Loops through the whole engine: what goes upstream, what the client gets, and what the ledger says."""

from __future__ import annotations

import json
from typing import Any

from engine_script import ANSWER, DONE, STOP, STREAM, Says, play, says, stream

from proxy.engine.exchange import Exchange
from proxy.engine.ports import Answer, Beat, Question
from proxy.engine.stage import Stage
from proxy.loops.stage import LoopStage
from proxy.model import LADDER, Grant, LoopLimits, Persona

SAID = "I need to look at the file again. "
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {}}}]


def looping(steps: int, **more: Any) -> bytes:
    messages: list[dict[str, Any]] = [{"role": "user", "content": "go"}]
    for i in range(steps):
        call = {"id": f"c{i}", "type": "function", "function": {"name": "look", "arguments": "{}"}}
        messages += [{"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": f"c{i}", "content": "nothing"}]
    return json.dumps({"model": "strong", "messages": messages, "tools": TOOLS, **more}).encode()


class Granted(Stage):
    """Gives an agent its limits."""

    name = "granted"
    gives = frozenset({"grant"})

    def __init__(self, limits: LoopLimits = LoopLimits()) -> None:  # noqa: B008 - a frozen value
        self._grant = Grant("a", "", "", "", "", (), (), loops=limits)

    async def request(self, ex: Exchange) -> None:
        ex.grant = self._grant


def test_a_stream_that_has_become_a_chant_ends_with_the_protocols_own_error() -> None:
    out = play(STREAM, stream(*[says(SAID)] * 1000, STOP, DONE), stages=(Granted(), LoopStage()), held=100_000)
    heard = out.caller.got
    assert 350 <= heard.count(SAID.strip().encode()) <= 400
    *_, error, done = [part for part in heard.split(b"\n\n") if part]
    assert json.loads(error[6:])["fleetgate"]["reason"] == "loop_detected"
    assert done == b"data: [DONE]"
    assert (out.record.outcome, out.record.reason, out.record.loop) == ("denied", "loop_detected", out.exchange.loop.header())
    assert out.record.cost > 0, "what passed is paid for"


def test_a_clean_stream_keeps_its_bytes() -> None:
    pieces = (says("all "), says("is well"), STOP, DONE)
    assert play(STREAM, stream(*pieces), stages=(Granted(), LoopStage())).caller.got == b"".join(pieces)


def test_the_note_goes_upstream_and_nothing_of_it_to_the_client() -> None:
    gently = LoopLimits(warn=2, block=2, act="nudge", steps=LADDER[:5], persona=Persona("You debug.", 0.1))
    out = play(looping(4), Says((ANSWER,)), stages=(Granted(gently), LoopStage()))
    (asked,) = out.upstream.asked
    sent = json.loads(asked.body)
    assert sent["messages"][0] == {"role": "system", "content": "You debug."}
    assert "gateway" in sent["messages"][-1]["content"]
    assert (sent["tool_choice"], sent["temperature"]) == ("none", 0.1)
    assert out.caller.got == ANSWER
    assert out.record.loop == "nudge;rule=identical;count=4;action=strip_tools"


def test_a_ladder_without_nudge_keeps_the_words_of_the_request() -> None:
    limits, body = LoopLimits(warn=2, block=2, act="nudge", steps=("warn", "strip_tools")), looping(4)
    out = play(body, Says((ANSWER,)), stages=(Granted(limits), LoopStage()))
    (asked,) = out.upstream.asked
    assert json.loads(asked.body) == json.loads(body) | {"tool_choice": "none"}
    moved = LoopLimits(warn=2, block=2, act="nudge", steps=("warn", "downgrade"), downgrade="weak")
    out = play(body, Says((ANSWER,)), stages=(Granted(moved), LoopStage(lambda model, dialect: True)))
    assert out.upstream.asked[0].body == body, "another model is the route's to write"
    assert (out.exchange.route_to, out.record.loop) == ("weak", "nudge;rule=identical;count=4;action=downgrade")


def test_a_loop_that_is_blocked_never_goes_upstream() -> None:
    out = play(looping(6), Says((ANSWER,)), stages=(Granted(), LoopStage()))
    assert out.upstream.asked == []
    assert (out.record.status, out.record.reason) == (403, "loop_detected")


class Person:
    """Answers every question alike."""

    def __init__(self, allowed: bool) -> None:
        self.allowed = allowed

    async def ask(self, question: Question, beat: Beat | None = None) -> Answer:
        assert (question.kind, question.what, question.rule) == ("loop", "identical", "loops.identical (default)")
        return Answer(self.allowed, "anna", "seen", "ap_1")


def test_a_person_lets_an_agent_go_on_or_stops_it() -> None:
    stages = (Granted(LoopLimits(steps=("warn", "escalate"))), LoopStage())
    out = play(looping(6), Says((ANSWER,)), stages=stages, approver=Person(True))
    assert (out.record.status, out.caller.got, len(out.upstream.asked)) == (200, ANSWER, 1)
    assert out.record.loop == "block;rule=identical;count=6;action=escalate"
    assert ("approval/allowed", "ap_1 anna") in out.record.findings
    out = play(looping(6), Says((ANSWER,)), stages=stages, approver=Person(False))
    assert (out.record.status, out.record.reason, out.upstream.asked) == (403, "approval_denied", [])
