"""Stopping exchanges at every step of what the engine awaits: one record, nothing held, and a whole ending."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable, Sequence

import pytest
from engine_script import (
    ANSWER,
    ASK,
    DONE,
    LOCAL,
    STOP,
    STREAM,
    STRONG,
    Admit,
    Book,
    Caller,
    Clock,
    Outcome,
    Says,
    Upstream,
    chunk,
    says,
    settle,
    stream,
)
from gate_cases import PROTOCOLS, Look, Spoken, Text, Use
from multidict import CIMultiDict

from proxy.engine.approval import approved
from proxy.engine.decode import DecodeStage
from proxy.engine.exchange import Exchange, Limits, Runtime
from proxy.engine.inspector import PASSES, Inspector, Verdict
from proxy.engine.ports import Answer, Beat, Question, UpstreamReply, UpstreamRequest
from proxy.engine.run import Engine
from proxy.engine.stage import Stage, compile_plan
from proxy.model import Approval, Deny, Reason, Target
from proxy.wire.base import Memos
from proxy.wire.call import ToolCall
from proxy.wire.registry import find

KILLED = Deny(Reason.AGENT_KILLED, "Agent a is stopped by ann: enough.", rule="kill agent:a")
CHAT = PROTOCOLS["chat"]


class Nods:
    """Plays a person who allows everything after a few beats."""

    async def ask(self, question: Question, beat: Beat | None = None) -> Answer:
        for _ in range(3):
            await asyncio.sleep(0)
            if beat is not None:
                await beat()
        return Answer(True, "ann", "fine", "q1")


class Slowly(Upstream):
    """A provider whose answers begin a turn later."""

    async def send(self, request: UpstreamRequest) -> UpstreamReply:
        await asyncio.sleep(0)
        return await super().send(request)


class Held(Stage):
    """Holds the request for a person."""

    name = "held"

    async def request(self, ex: Exchange) -> Deny | None:
        return Deny(Reason.POLICY_DENIED, "Held.", rule="rules:1", approval=Approval())


class AsksInside(Look):
    """Has a person asked about each call."""

    def __init__(self, ex: Exchange) -> None:
        super().__init__()
        self.ex = ex

    async def judge(self, call: ToolCall) -> Verdict:
        question = Question("tool_call", "a", "s", "r", self.ex.id, call.name, "d", "rules:2")
        return PASSES if await approved(self.ex, question) is None else Verdict(words="no")


class Inside(Stage):
    name = "inside"

    def inspect(self, ex: Exchange) -> Inspector | None:
        return AsksInside(ex)


def stopped_after(
    turns: int, body: bytes, lines: Sequence[Says], spoken: Spoken, targets: Sequence[Target], stages: Sequence[Stage]
) -> Outcome:
    """Stop an exchange after so many turns of the loop, wherever it is then; what must hold for each end is asserted here."""

    async def main() -> Outcome:
        book, admit, client, engine, upstream = Book(), Admit(targets, 100_000), Caller(body), Engine(settle), Slowly(lines)
        plan = compile_plan([admit, DecodeStage(Memos()), *stages], {"headers"})
        codec = find("POST", spoken.path, {}, spoken.query)
        assert codec is not None
        ex = Exchange(Runtime("v1", plan, upstream, (book,), Limits(), approver=Nods()), Clock(), client, codec.protocol)
        ex.codec, ex.method, ex.path, ex.headers = codec, "POST", spoken.path, CIMultiDict()
        task = asyncio.ensure_future(engine.handle(ex))
        for _ in range(turns):
            await asyncio.sleep(0)
        stopped = engine.live.stop(lambda found: KILLED)
        await asyncio.wait_for(asyncio.shield(task), 5)
        await engine.drain(1)
        (record,) = book.records
        assert len(admit.released) == admit.taken
        assert all(reply.closed for reply in upstream.replies)
        assert (engine.live.inflight, client.ended) == (0, True)
        assert record.reason in (("agent_killed", "") if stopped else ("",))
        assert record.status == client.status
        return Outcome(client, upstream, record, admit, ex)

    return asyncio.run(main())


def whole_json(got: bytes) -> None:
    json.loads(got)


def whole_chat(got: bytes) -> None:
    assert got.startswith(b"{") or got.endswith(b"data: [DONE]\n\n"), got
    assert got.count(b"[DONE]") <= 1


def whole_messages(got: bytes) -> None:
    if not got.startswith(b"{"):
        assert got.count(b"message_stop\n") + got.count(b"event: error\n") == 1, got
        assert got.count(b"event: content_block_start") >= got.count(b"event: content_block_stop")


@pytest.mark.parametrize("case", ["second target", "held request", "held call", "held call in another dialect", "held call, whole"])
def test_at_every_step(case: str) -> None:
    messages = PROTOCOLS["messages"]
    calling = Says(messages.write([Text(["let me ", "see"]), Use("send", ('{"to": "x"}',))]), kind=messages.kind)
    asked = json.dumps(messages.ask).encode()
    whole = json.dumps(
        json.loads(ANSWER) | {"choices": [{"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant", "tool_calls": [
            {"id": "t1", "type": "function", "function": {"name": "send", "arguments": "{}"}}]}}]}
    ).encode()  # fmt: skip
    translated = stream(says("one "), chunk(choices=[{"index": 0, "delta": {"tool_calls": [
        {"index": 0, "id": "t1", "type": "function", "function": {"name": "send", "arguments": "{}"}}]}, "finish_reason": None}]),
        chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]), DONE)  # fmt: skip
    carried = dataclasses.replace(STRONG, wire="openai.chat")
    scripts: dict[str, tuple[bytes, list[Says], Spoken, list[Target], list[Stage], Callable[[bytes], None]]] = {
        "second target": (ASK, [Says([b"{}"], status=503), Says([ANSWER])], CHAT, [STRONG, LOCAL], [], whole_json),
        "held request": (STREAM, [stream(says("one"), STOP + DONE)], CHAT, [STRONG], [Held()], whole_chat),
        "held call": (asked, [calling], messages, [messages.target], [Inside()], whole_messages),
        "held call in another dialect": (asked, [translated], messages, [carried], [Inside()], whole_messages),
        "held call, whole": (ASK, [Says([whole])], CHAT, [STRONG], [Inside()], whole_json),
    }
    body, lines, spoken, targets, stages, check = scripts[case]
    ends = set[str]()
    for turns in range(1, 60):
        out = stopped_after(turns, body, lines, spoken, targets, stages)
        check(out.caller.got)
        ends.add(out.record.reason)
        if out.record.reason == "":
            break
    assert ends == {"agent_killed", ""}, "it was stopped at each step until it was over"
    assert turns > 3
