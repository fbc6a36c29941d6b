"""The session stage: what correlates a call with others, and how much it goes on from."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from proxy.engine.exchange import Exchange
from proxy.engine.ports import Client
from proxy.identity.lineage import Lineage
from proxy.identity.stage import SessionStage
from proxy.identity.threads import Known, Threads
from proxy.model import Principal, Usage
from proxy.wire.call import Call, Message
from proxy.wire.openai_responses_reply import ResponsesMeter


class Clock:
    """Stands at ten."""

    def now(self) -> float:
        return 10.0

    def ns(self) -> int:
        return 0


def exchange(headers: dict[str, str]) -> Exchange:
    ex = Exchange(cast(Any, None), Clock(), cast(Client, None), "openai")
    ex.headers = headers
    return ex


def test_the_session_stage_sets_what_correlates() -> None:
    ex = exchange({"x-fleetgate-session": "s", "x-fleetgate-run": "r", "x-fleetgate-parent": "p"})
    ex.agent, ex.call = "a", Call("chat", "m", b"", messages=(Message(b"", "user", ("hi",)),))
    ex.principal = Principal("a", "0123abcd")
    assert asyncio.run(SessionStage(Threads(), Lineage()).request(ex)) is None
    found = (ex.session, ex.session_source, ex.run, ex.parent, ex.depth)
    assert found == ("a/s", "x-fleetgate-session", "0123abcd/r", "p", 1)
    assert ex.decisions == [("session", "a/s from x-fleetgate-session")]


def turn(stage: SessionStage, thread: str, *, says: str = "", parts: Sequence[str] = (), used: Usage | None = None, **hints: str) -> int:
    """Let one call go on from `thread` and be answered; return how many tokens it was taken to go on from."""
    ex = begun(stage, thread, **hints)
    over(stage, ex, says=says, parts=parts, used=used)
    return ex.history


def begun(stage: SessionStage, thread: str, agent: str = "a", **hints: str) -> Exchange:
    ex = exchange({})
    ex.agent, ex.call, ex.principal = agent, Call("chat", "m", b"", hints=hints, thread=thread), Principal(agent, "0123abcd")
    asyncio.run(stage.request(ex))
    return ex


def over(stage: SessionStage, ex: Exchange, *, says: str = "", parts: Sequence[str] = (), used: Usage | None = None) -> None:
    meter = ex.meter = ResponsesMeter()
    ex.sent = ex.served = True
    ex.usage, meter.reply_id, meter.part_ids = used, says, list(parts)
    asyncio.run(stage._remember(ex))


def test_all_that_a_call_goes_on_from_counts() -> None:
    stage, used = SessionStage(Threads(), Lineage()), Usage(input=100, output=20)
    assert turn(stage, "", says="resp_1", parts=["msg_1", "rs_1"], used=used) == 0
    assert turn(stage, "resp_1") == 120
    assert turn(stage, "msg_1 rs_1") == 40, "each part is no more than the whole answer"
    assert turn(stage, "resp_1 msg_9") == -1, "one that nobody saw may be anything"
    assert turn(stage, "resp_1 pmpt_1", says="resp_2", used=Usage(input=500, output=20)) == -1
    assert turn(stage, "resp_2 pmpt_1") == 2 * 520
    assert turn(stage, "resp_1") == 120, "a reply does not grow"
    assert turn(stage, " ".join(f"m{n}" for n in range(2000)), used=used) == -1
    assert turn(stage, "m0") == -1, "too many at once to be remembered"


def test_a_conversation_grows() -> None:
    stage = SessionStage(Threads(), Lineage())
    found = [turn(stage, "conv_1", used=Usage(input=n), conversation="conv_1") for n in (5, 9, 14)]
    assert found == [-1, 5, 9]


def test_a_conversation_is_as_long_as_all_who_are_in_it_make_it() -> None:
    stage = SessionStage(Threads(), Lineage())

    def join(agent: str = "a") -> Exchange:
        return begun(stage, "conv_1", agent, conversation="conv_1")

    over(stage, join(), used=Usage(input=5))
    over(stage, join("another"), used=Usage(input=100_000))
    first = join()
    assert first.history == 100_000, "what another agent added is read too"
    second = join()
    assert second.history == -1, "the first is adding to it"
    over(stage, second, used=Usage(input=100_001))
    over(stage, first, used=Usage(input=100_000, output=50_000))
    third = join()
    assert third.history == -1, "neither was told what both added"
    over(stage, third, used=Usage(input=150_100))
    refused = join()
    asyncio.run(stage._remember(refused))
    fourth = join()
    assert fourth.history == 150_100, "what was never sent added nothing"
    over(stage, fourth, used=Usage(input=150_200, exact=False))
    assert join().history == -1, "who hung up does not know how it ended"
    assert turn(SessionStage(Threads(elsewhere=True), Lineage()), "conv_1", conversation="conv_1") == -1


@pytest.mark.parametrize("elsewhere", [False, True])
def test_other_replicas_may_add_to_a_conversation_and_to_no_reply(elsewhere: bool) -> None:
    stage = SessionStage(Threads(elsewhere=elsewhere), Lineage())
    found = [turn(stage, "conv_1", says="resp_1", used=Usage(input=n), conversation="conv_1") for n in (5, 9)]
    assert found == [-1, -1 if elsewhere else 5]
    assert turn(stage, "resp_1") == 9


def test_an_id_fills_no_memory() -> None:
    threads, long = Threads(), "x" * 1_000_000
    threads.keep("a", long, Known("s", 7))
    assert (threads.tokens("a", (long,)), threads.tokens("a", (long + "x",))) == (7, -1)
    assert max(len(name) for _, name in threads._young) < 300
