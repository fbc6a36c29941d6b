"""What the loop stage puts on an exchange and refuses."""

from __future__ import annotations

import asyncio
from typing import Any

from proxy.engine.exchange import Exchange
from proxy.engine.ports import SystemClock
from proxy.loops.stage import LoopStage
from proxy.model import NO_LOOP, Deny, Grant, LoopLimits, LoopSignal, Reason, Source
from proxy.wire.call import Call, Message, Operation, ToolCall

SOURCE = Source("AGENTS.md", 12, "policy.loops")


def run(count: int, limits: LoopLimits, tools: tuple[str, ...] = ("bash",), operation: Operation = "chat") -> tuple[Exchange, Deny | None]:
    ex = _exchange()
    calls = [tuple(ToolCall("", name, "{}", name.encode()) for name in tools)] * count
    ex.call = Call(operation, "m", b"{}", messages=tuple(Message(b"", "assistant", (), c) for c in calls))
    ex.grant = Grant("a", "", "", "", "", (), (), loops=limits)
    return ex, asyncio.run(LoopStage().request(ex))


def _exchange() -> Exchange:
    missing: Any = None  # the stage reads neither runtime nor client
    return Exchange(missing, SystemClock(), missing, "openai")


def test_says_nothing_of_a_healthy_conversation() -> None:
    ex, deny = run(2, LoopLimits())
    assert (ex.loop, deny, ex.decisions) == (NO_LOOP, None, [])


def test_warns_without_refusing() -> None:
    ex, deny = run(3, LoopLimits())
    assert deny is None
    assert ex.loop.header() == "warn;rule=identical;count=3"
    assert ex.decisions == [("loops", "warn: bash, 3 times in a row (warn at 3, block at 5)")]


def test_refuses_and_names_the_tool_the_count_and_the_rule() -> None:
    ex, deny = run(5, LoopLimits(source=SOURCE))
    assert ex.loop == LoopSignal("block", "identical", 5)
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
