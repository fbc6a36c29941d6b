"""Stopping exchanges from outside: wherever one waits it ends at once, with its protocol's own ending, and pays for what passed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

import pytest
from engine_script import (
    ANSWER,
    ASK,
    DONE,
    LOCAL,
    SSE,
    STREAM,
    Admit,
    Book,
    Caller,
    Clock,
    Outcome,
    Says,
    Upstream,
    says,
    settle,
    stream,
)
from gate_cases import PROTOCOLS, Inspecting, Look, Spoken, Text, Use
from multidict import CIMultiDict

from proxy.engine.decode import DecodeStage
from proxy.engine.exchange import Exchange, Limits, Runtime
from proxy.engine.inspector import Verdict
from proxy.engine.ports import UpstreamReply, UpstreamRequest
from proxy.engine.run import Engine
from proxy.engine.stage import Stage, compile_plan
from proxy.model import Deny, Reason
from proxy.wire.base import Memos, Meter
from proxy.wire.call import ToolCall
from proxy.wire.registry import find

KILLED = Deny(Reason.AGENT_KILLED, "Agent a is stopped by ann: enough.", rule="kill agent:a")
CHAT = PROTOCOLS["chat"]


class Stuck(Stage):
    """Waits for ever."""

    name = "stuck"

    async def request(self, ex: Exchange) -> Deny | None:
        await asyncio.Event().wait()
        return None


class Silent(Upstream):
    """A provider that never answers."""

    async def send(self, request: UpstreamRequest) -> UpstreamReply:
        self.asked.append(request)
        await asyncio.Event().wait()
        raise AssertionError


class Slow(Caller):
    """A client that takes nothing more after so many writes."""

    def __init__(self, body: bytes, takes: int) -> None:
        super().__init__(body)
        self.takes = takes

    async def write(self, data: bytes) -> None:
        await super().write(data)
        if self.writes == self.takes:
            await asyncio.Event().wait()


class Waits(Look):
    """An inspector that waits for ever on a call."""

    async def judge(self, call: ToolCall) -> Verdict:
        await asyncio.Event().wait()
        raise AssertionError


def stopping(
    body: bytes,
    upstream: Upstream,
    *,
    spoken: Spoken = CHAT,
    stages: Sequence[Stage] = (),
    caller: Caller | None = None,
    leaves: bool = False,
    late: bool = False,
    trial: bool = False,
) -> Outcome:
    """Run one exchange until it waits, then stop it; `leaves`: the client does so at the same moment; `late`: after it is over;
    `trial`: a local model stands before the one that was asked for."""

    async def main() -> Outcome:
        book, client, engine = Book(), caller or Caller(body), Engine(settle)
        admit = Admit([LOCAL, spoken.target], reason="local") if trial else Admit([spoken.target])
        plan = compile_plan([admit, DecodeStage(Memos()), *stages], {"headers"})
        codec = find("POST", spoken.path, {}, spoken.query)
        assert codec is not None
        ex = Exchange(Runtime("v1", plan, upstream, (book,), Limits()), Clock(), client, codec.protocol)
        ex.codec, ex.method, ex.path, ex.headers = codec, "POST", spoken.path, CIMultiDict()
        task = asyncio.ensure_future(engine.handle(ex))
        if late:
            await task
        for _ in range(50):
            await asyncio.sleep(0)
        assert task.done() is late
        assert engine.live.stop(lambda found: KILLED if found is ex else None) == (0 if late else 1)
        assert engine.live.stop(lambda found: KILLED) == 0, "once"
        if leaves:
            task.cancel()
        await asyncio.wait([task], timeout=5)
        assert task.cancelled() is leaves
        await engine.drain(1)
        assert len(book.records) == 1
        assert len(admit.released) == admit.taken
        assert all(reply.closed for reply in upstream.replies)
        assert (engine.live.inflight, await engine.idle(0)) == (0, True)
        return Outcome(client, upstream, book.records[0], admit, ex)

    return asyncio.run(main())


def refused(out: Outcome) -> None:
    assert (out.caller.status, out.record.status, out.record.reason, out.record.outcome) == (403, 403, "agent_killed", "denied")
    assert json.loads(out.caller.got)["fleetgate"]["reason"] == "agent_killed"
    assert out.caller.ended


def test_in_a_stage() -> None:
    out = stopping(ASK, Upstream([]), stages=[Stuck()])
    refused(out)
    assert not out.upstream.asked
    assert out.record.cost == 0


@pytest.mark.parametrize("body", [ASK, STREAM])
def test_while_the_provider_is_silent(body: bytes) -> None:
    out = stopping(body, Silent([]))
    refused(out)
    assert len(out.upstream.asked) == 1


def test_while_a_buffered_reply_arrives() -> None:
    out = stopping(ASK, Upstream([Says([ANSWER[:20]], hang=True)]))
    refused(out)


@pytest.mark.parametrize(("body", "upstream"), [(ASK, Silent([])), (STREAM, Upstream([Says([], kind=SSE, hang=True)]))])
def test_while_a_local_model_is_on_trial(body: bytes, upstream: Upstream) -> None:
    out = stopping(body, upstream, trial=True)
    refused(out)
    assert [request.target for request in out.upstream.asked] == [LOCAL]
    assert out.record.fallbacks == ()


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("name", PROTOCOLS)
def test_in_the_middle_of_a_stream(name: str, gated: bool) -> None:
    spoken = PROTOCOLS[name]
    events = spoken.write([Text(["one ", "two ", "three"])])
    events = events[: 1 + next(i for i, event in enumerate(events) if b"two" in event)]
    upstream = Upstream([Says(events, kind=spoken.kind, hang=True)])
    stages = [Inspecting(Look("nothing", reach=1))] if gated else []
    out = stopping(json.dumps(spoken.ask).encode(), upstream, spoken=spoken, stages=stages)
    assert (out.caller.status, out.record.reason, out.record.outcome) == (200, "agent_killed", "denied")
    assert out.caller.got.startswith(b"".join(events)), "what passed stays"
    ending = out.caller.got[len(b"".join(events)) :]
    assert b"Agent a is stopped by ann: enough." in ending
    assert out.caller.ended
    assert out.exchange.meter is not None
    assert out.exchange.meter.pieces == 2
    assert out.record.output_tokens > 0, "what passed is charged"


def test_while_the_client_is_slow() -> None:
    upstream = Upstream([stream(says("one"), says("two"), says("three"), hang=True)])
    out = stopping(STREAM, upstream, caller=Slow(STREAM, 2))
    assert out.caller.got.startswith(says("one") + says("two"))
    assert b"three" not in out.caller.got
    assert (out.record.reason, out.caller.ended) == ("agent_killed", True)


def test_while_somebody_judges_a_call() -> None:
    spoken = PROTOCOLS["messages"]
    events = spoken.write([Text(["let me see"]), Use("send")])
    out = stopping(json.dumps(spoken.ask).encode(), Upstream([Says(events, kind=spoken.kind)]), spoken=spoken, stages=[Inspecting(Waits())])
    assert b"tool_use" not in out.caller.got
    assert b"event: error" in out.caller.got
    assert out.record.reason == "agent_killed"


class Asking:
    """A pace that asks for more after the second piece, or at the end, and never hears."""

    def __init__(self, at_end: bool) -> None:
        self.at_end = at_end

    def came(self, events: int) -> None:
        """See `Pace`."""

    def due(self, meter: Meter) -> bool:
        return meter.ended if self.at_end else meter.pieces >= 2

    async def more(self, ex: Exchange) -> Deny | None:
        await asyncio.Event().wait()
        return None

    async def rest(self, ex: Exchange) -> Deny | None:
        return None


class Paced(Stage):
    name = "paced"

    def __init__(self, at_end: bool = False) -> None:
        self.at_end = at_end

    async def request(self, ex: Exchange) -> Deny | None:
        ex.pace = Asking(self.at_end)
        return None


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("name", PROTOCOLS)
def test_while_the_hold_grows_what_was_read_has_been_said(name: str, gated: bool) -> None:
    spoken = PROTOCOLS[name]
    events = spoken.write([Text(["one ", "two ", "three"])])
    passed = b"".join(events[: 1 + next(i for i, event in enumerate(events) if b"two" in event)])
    stages: list[Stage] = [Paced(), *([Inspecting(Look("nothing", reach=1))] if gated else [])]
    upstream = Upstream([Says([b"".join(events)], kind=spoken.kind, hang=True)])
    out = stopping(json.dumps(spoken.ask).encode(), upstream, spoken=spoken, stages=stages)
    assert out.caller.got.startswith(passed), "its ending goes on from what the client has seen"
    assert b"three" not in out.caller.got
    assert b"Agent a is stopped by ann: enough." in out.caller.got[len(passed) :]
    assert (out.record.reason, out.caller.ended) == ("agent_killed", True)


def test_while_the_hold_grows_at_the_very_end_all_has_been_said() -> None:
    whole = says("one") + DONE
    out = stopping(STREAM, Upstream([stream(whole, hang=True)]), stages=[Paced(at_end=True)])
    assert out.caller.got == whole
    assert out.record.outcome == "ok"


def test_a_stream_that_said_all_gets_no_second_ending() -> None:
    whole = [says("one"), DONE]
    out = stopping(STREAM, Upstream([stream(b"".join(whole), hang=True)]), caller=Slow(STREAM, 1))
    assert out.caller.got == b"".join(whole)
    assert (out.record.outcome, out.record.reason) == ("ok", "")


@pytest.mark.parametrize("body", [ASK, STREAM])
def test_a_client_that_leaves_at_the_same_moment_gets_nothing(body: bytes) -> None:
    upstream = Upstream([Says([ANSWER[:20]], hang=True)]) if body is ASK else Upstream([stream(says("one"), hang=True)])
    out = stopping(body, upstream, leaves=True)
    assert out.record.outcome == "client_gone"
    assert b"stopped" not in out.caller.got


def test_what_is_over_is_not_stopped() -> None:
    out = stopping(ASK, Upstream([Says([ANSWER])]), late=True)
    assert (out.record.outcome, out.caller.got) == ("ok", ANSWER)
