"""A stream that a decision cut is refused with the same words when it is asked for again without streaming."""

from __future__ import annotations

import asyncio
import json
from typing import ClassVar

import pytest
from engine_script import CLAUDE, Clock, Outcome, Says, play, stream

from proxy.engine import again
from proxy.engine.again import AgainStage
from proxy.engine.exchange import Exchange
from proxy.engine.stage import Stage, Tap
from proxy.model import Deny, Reason
from proxy.wire.blocks import SIZE
from proxy.wire.call import Event

USED = b'"usage":{"input_tokens":3,"output_tokens":1}'
START = b'event: message_start\ndata: {"type":"message_start","message":{"model":"claude",%b}}\n\n' % USED
WORDS = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"bad"}}\n\n'
ANSWER = json.dumps({"type": "message", "model": "claude", "content": [], "usage": {"input_tokens": 3, "output_tokens": 1}}).encode()


def ask(streams: bool, text: str = "hi") -> bytes:
    return json.dumps({"model": "claude", "max_tokens": 9, "messages": [{"role": "user", "content": text}], "stream": streams}).encode()


class Session(Stage):
    name: ClassVar[str] = "session"
    gives: ClassVar[frozenset[str]] = frozenset({"session"})

    async def request(self, ex: Exchange) -> Deny | None:
        ex.session = "a/s"
        return None


class Cutter(Stage):
    """Cuts each stream at its first text."""

    name: ClassVar[str] = "cutter"

    def __init__(self, reason: Reason) -> None:
        self.reason = reason

    def tap(self, ex: Exchange) -> Tap | None:
        def look(event: Event) -> Deny | None:
            return Deny(self.reason, "Not that.", rule="guard/x") if event.text else None

        return look


def run(stage: AgainStage, body: bytes, *lines: Says, reason: Reason = Reason.CONTENT_BLOCKED, path: str = "/v1/messages") -> Outcome:
    return play(body, *lines, path=path, targets=(CLAUDE,), stages=(Session(), stage, Cutter(reason)))


def test_the_decision_stands_and_the_provider_is_not_asked_again() -> None:
    stage = AgainStage()
    cut = run(stage, ask(True), stream(START, WORDS))
    assert b"event: error" in cut.caller.got
    again_ = run(stage, ask(False))
    assert again_.caller.status == 403
    assert json.loads(again_.caller.got)["error"]["message"] == "Not that. Rule: guard/x."
    assert again_.upstream.asked == []
    assert (again_.record.outcome, again_.record.reason) == ("denied", "content_blocked")


def test_another_question_is_another_matter() -> None:
    stage = AgainStage()
    assert run(stage, ask(False), Says([ANSWER])).caller.status == 200
    run(stage, ask(True), stream(START, WORDS))
    assert run(stage, ask(False, "ho"), Says([ANSWER])).caller.status == 200


@pytest.mark.parametrize("changed", [None, 0, SIZE, SIZE + 2])
def test_a_long_conversation_is_known_by_each_of_its_messages(changed: int | None) -> None:
    def asked(streams: bool, changed: int | None = None) -> bytes:
        words = [{"role": "user", "content": "ho" if n == changed else f"hi {n}"} for n in range(SIZE + 3)]
        return json.dumps({"model": "claude", "max_tokens": 9, "messages": words, "stream": streams}).encode()

    stage = AgainStage()
    run(stage, asked(True), stream(START, WORDS))
    assert run(stage, asked(False, changed), Says([ANSWER])).caller.status == (403 if changed is None else 200)


def test_a_stream_without_a_decision_may_be_repeated() -> None:
    stage = AgainStage()
    run(stage, ask(True), stream(START, WORDS), reason=Reason.BUDGET_EXCEEDED)  # ended as `max_tokens`
    run(stage, ask(True, "lost"), stream(START))  # the provider broke off
    for text in ("hi", "lost"):
        assert run(stage, ask(False, text), Says([ANSWER])).caller.status == 200


class Once(Stage):
    """Refuses the first request, as a store does that is down for a moment."""

    name: ClassVar[str] = "once"

    def __init__(self) -> None:
        self.left = 1

    async def request(self, ex: Exchange) -> Deny | None:
        self.left -= 1
        return Deny(Reason.STORE_UNAVAILABLE, "Not now.", rule="budget") if self.left == 0 else None


def test_a_refusal_before_any_stream_is_not_a_cut() -> None:
    stage, once = AgainStage(), Once()
    stages = (Session(), stage, once)
    assert play(ask(True), path="/v1/messages", targets=(CLAUDE,), stages=stages).caller.status == 503
    assert play(ask(False), Says([ANSWER]), path="/v1/messages", targets=(CLAUDE,), stages=stages).caller.status == 200


def test_it_is_forgotten_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = AgainStage()
    monkeypatch.setattr(again, "KEPT_S", -1.0)
    run(stage, ask(True), stream(START, WORDS))
    assert run(stage, ask(False), Says([ANSWER])).caller.status == 200


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = AgainStage()
    monkeypatch.setattr(again, "MOST", 2)
    for n in range(4):
        run(stage, ask(True, str(n)), stream(START, WORDS))
    assert len(stage._cut) == 2
    assert run(stage, ask(False, "0"), Says([ANSWER])).caller.status == 200
    assert run(stage, ask(False, "3")).caller.status == 403


def test_other_dialects_do_not_repeat() -> None:
    ex = Exchange.__new__(Exchange)
    ex.clock = Clock()
    from proxy.wire.registry import ROUTES

    ex.codec = ROUTES["POST", "/v1/chat/completions"]
    assert asyncio.run(AgainStage().request(ex)) is None
