"""What the loop stage puts on an exchange and refuses."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxy.engine.exchange import Exchange, Runtime
from proxy.engine.notice import Notice
from proxy.engine.ports import SystemClock
from proxy.loops.stage import LoopStage
from proxy.model import NO_LOOP, Deny, Grant, LoopLimits, LoopSignal, Reason, Source
from proxy.wire.call import Call, Message, Operation, ToolCall, ToolResult
from proxy.wire.openai_chat import ChatCodec
from proxy.wire.openai_responses import ResponsesCodec
from proxy.wire.openai_responses_reply import ResponsesMeter

SOURCE = Source("AGENTS.md", 12, "policy.loops")


def run(count: int, limits: LoopLimits, tools: tuple[str, ...] = ("bash",), operation: Operation = "chat") -> tuple[Exchange, Deny | None]:
    ex = _exchange()
    calls = [tuple(ToolCall("", name, "{}", name.encode()) for name in tools)] * count
    ex.call = Call(operation, "m", b"{}", messages=tuple(Message(b"", "assistant", (), c) for c in calls))
    ex.grant = Grant("a", "", "", "", "", (), (), loops=limits)
    return ex, asyncio.run(LoopStage().request(ex))


TOLD: list[Notice] = []


def _exchange() -> Exchange:
    missing: Any = None  # the stage needs neither plan nor transport nor client
    ex = Exchange(Runtime("", missing, missing, (), tell=TOLD.append), SystemClock(), missing, "openai")
    ex.agent, ex.codec = "a", ChatCodec()
    return ex


def test_says_nothing_of_a_healthy_conversation() -> None:
    ex, deny = run(2, LoopLimits())
    assert (ex.loop, deny, ex.decisions) == (NO_LOOP, None, [])


def test_warns_without_refusing() -> None:
    ex, deny = run(3, LoopLimits())
    assert deny is None
    assert ex.loop.header() == "warn;rule=identical;count=3"
    assert ex.decisions == [("loops", "warn: bash, 3 times in a row with the same arguments (warn at 3, block at 5)")]


def test_refuses_and_names_the_tool_the_count_and_the_rule() -> None:
    ex, deny = run(5, LoopLimits(source=SOURCE))
    assert ex.loop == LoopSignal("block", "identical", 5, since=4)
    assert deny is not None
    assert (deny.reason, deny.status, deny.shadow) == (Reason.LOOP_DETECTED, 403, False)
    assert deny.message == "the agent called bash 5 times in a row with the same arguments"
    assert deny.rule == "loops.identical (AGENTS.md:12)"
    assert deny.remedy


def test_a_dry_run_is_marked_and_reports_a_warning() -> None:
    ex, deny = run(5, LoopLimits(shadow=True))
    assert deny is not None
    assert deny.shadow
    assert deny.rule == "loops.identical (default)"
    assert ex.loop.level == "warn"


def test_an_agent_that_is_only_warned_is_never_refused() -> None:
    ex, deny = run(50, LoopLimits(act="warn"))
    assert (deny, ex.loop.level, ex.loop.count) == (None, "warn", 50)


def test_names_of_tools_are_shown_short_and_clean() -> None:
    _, deny = run(5, LoopLimits(), ("a\nb", "x" * 500, "c", "d", "e"))
    assert deny is not None
    assert deny.message.startswith("the agent called a?b + " + "x" * 64 + " + c and 2 more 5 times")


def test_only_conversations_are_looked_at() -> None:
    ex, deny = run(9, LoopLimits(), operation="embeddings")
    assert (ex.loop, deny) == (NO_LOOP, None)


# --- where the provider keeps the history ------------------------------------------------------------------------------------------

A, B = ToolCall("c1", "a", "{}", b"a"), ToolCall("c2", "b", "{}", b"b")
RESULT = Message(b"", "tool", (), tool_results=(ToolResult("c1", b""),), item=True)
HUMAN = Message(b"", "user", ("and now?",))


def sent(call: ToolCall) -> Message:
    return Message(b"", "assistant", (), (call,), item=True)


def turn(
    stage: LoopStage,
    goes_on: str,
    *messages: Message,
    calls: tuple[ToolCall, ...] = (),
    id: str = "",
    agent: str = "a",
    served: bool = True,
) -> int:
    """One request that goes on from a reply or a conversation, and the answer to it; return the count that it was judged by."""
    ex = _exchange()
    ex.agent, ex.codec = agent, ResponsesCodec()
    hints = {("conversation" if goes_on.startswith("conv") else "previous_response_id"): goes_on} if goes_on else {}
    ex.call, ex.grant = Call("chat", "m", b"{}", messages=messages, hints=hints), Grant("a", "", "", "", "", (), (), loops=ALWAYS)
    asyncio.run(stage.request(ex))
    meter = ex.meter = ResponsesMeter()
    meter.reply_id, meter.tool_calls, ex.served = id, list(calls), served
    (release,) = (release for name, release in ex.defers if name == stage.name)

    async def close() -> None:
        await release(ex)

    asyncio.run(close())
    return ex.loop.count


ALWAYS = LoopLimits(warn=1, block=100)


def test_a_run_goes_on_in_a_history_that_the_provider_keeps() -> None:
    stage = LoopStage()
    assert turn(stage, "", HUMAN, calls=(A,), id="r1") == 0
    assert turn(stage, "r1", RESULT, calls=(A,), id="r2") == 1
    assert turn(stage, "r2", RESULT, calls=(A,), id="r3") == 2
    assert turn(stage, "r2", RESULT, calls=(A,), id="r3") == 2, "the same request again is no further step"
    assert turn(stage, "r3", sent(A), RESULT, id="r4") == 3, "a call that is sent once more counts once"
    assert turn(stage, "r4", RESULT) == 3, "words of the assistant end no run"
    assert turn(stage, "r3", HUMAN, calls=(A,), id="r5") == 0, "a turn of the human does"
    assert turn(stage, "r3", RESULT, agent="b") == 0, "another agent's replies say nothing"
    assert turn(stage, "r3", RESULT, calls=(B,), id="r6") == 3
    assert turn(stage, "r6", RESULT) == 1, "another step begins anew"
    assert turn(stage, "r3", sent(B), RESULT) == 1
    assert turn(stage, "r3", sent(ToolCall("c9", "a", "{}", b"a")), RESULT) == 4


def test_a_conversation_is_a_history_too() -> None:
    stage = LoopStage()
    assert [turn(stage, "conv_1", RESULT, calls=(A,), id=f"r{n}") for n in range(4)] == [0, 1, 2, 3]


def test_ids_that_are_none_hide_no_run() -> None:
    stage = LoopStage()
    assert [turn(stage, f"r{n}", RESULT, calls=(A,), id=f"r{n + 1}") for n in range(4)] == [0, 1, 2, 3]


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.loops.stage.MOST", 2)
    stage = LoopStage()
    for n in range(5):
        turn(stage, "", HUMAN, calls=(A,), id=f"r{n}")
    turn(stage, "", HUMAN, calls=(A,), id="x" * 300)
    turn(stage, "", HUMAN, calls=(A,) * 65, id="many")
    turn(stage, "", HUMAN, calls=(A,), id="failed", served=False)
    assert [id for _, id in stage._trails] == ["r3", "r4"]
    assert turn(stage, "r0", RESULT) == 0


def test_a_conversation_that_goes_on_is_not_forgotten_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.loops.stage.MOST", 4)
    stage = LoopStage()
    turn(stage, "conv_1", HUMAN, calls=(A,), id="r0")
    turn(stage, "", HUMAN, calls=(A,), id="x")
    turn(stage, "conv_1", RESULT, calls=(A,), id="r1")
    assert [id for _, id in stage._trails] == ["r0", "x", "r1", "conv_1"]
