"""What a run shows that no conversation does: circles of agents, two that hand the same back and forth, storms, and long sessions."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxy.engine.exchange import Exchange, Runtime
from proxy.engine.ports import SystemClock
from proxy.globs import allower
from proxy.loops.delegation import FAN_OUT, RUNS, SESSIONS, Arrival, Runs, alike, judged, refused, sketch
from proxy.loops.span import SILENT_S, Spans
from proxy.loops.stage import LoopStage
from proxy.model import Clause, Deny, Grant, Limit, LoopLimits, Reason, Source
from proxy.wire.call import Call, Message
from proxy.wire.openai_chat import ChatCodec

AT = Source("AGENTS.md", 9, "policy.delegation")
LONG = (
    "Please fix the failing test in the parser module. The tester says that the third case still fails with an index error on line forty."
)


def grant(agent: str, allow: tuple[str, ...] | None = None, shadow: bool = False, **more: Any) -> Grant:
    clauses = () if allow is None else (Clause(allow, (), AT, shadow, allower(allow, ())),)
    return Grant(agent, "", "", "", "", (), (), delegates=clauses, **more)


class Bench:
    """One process that sees calls of several agents in one run."""

    def __init__(self, *grants: Grant) -> None:
        self.grants = {one.agent: one for one in grants}
        self.stage = LoopStage(grant_of=self.grants.get)
        self.now = 0.0

    def call(
        self, agent: str, session: str, parent: str = "", text: str = "", depth: int = 0, run: str = "k/r"
    ) -> tuple[Exchange, Deny | None]:
        missing: Any = None
        ex = Exchange(Runtime("", missing, missing, ()), SystemClock(), missing, "openai")
        ex.agent, ex.codec, ex.session, ex.run = agent, ChatCodec(), f"{agent}/{session}", run or f"{agent}/{session}"
        ex.parent, ex.depth, ex.wall = parent, depth, self.now
        ex.call = Call("chat", "m", b"{}", messages=(Message(b"", "user", (text or f"{agent} {session}",)),))
        ex.grant = self.grants.get(agent) or grant(agent)
        return ex, asyncio.run(self.stage.request(ex))

    def loop(self, agent: str, session: str, parent: str = "", **more: Any) -> str:
        ex, deny = self.call(agent, session, parent, **more)
        assert (deny is not None) == (ex.loop.level == "block")
        if deny is not None:
            assert deny.reason is Reason.LOOP_DETECTED
        return ex.loop.header()


def reason(deny: Deny | None) -> str:
    return "" if deny is None else f"{deny.reason}{' dry' if deny.shadow else ''}: {deny.rule}"


def test_agents_that_call_one_another_in_a_circle() -> None:
    bench = Bench()
    assert bench.loop("a", "1") == "none"
    assert bench.loop("b", "1", "a/1") == "none"
    assert bench.loop("a", "2", "b/1") == "warn;rule=delegation_cycle;count=2"
    assert bench.loop("b", "2", "a/2") == "warn;rule=delegation_cycle;count=2"
    assert bench.loop("a", "3", "b/2") == "block;rule=delegation_cycle;count=3"
    assert bench.loop("a", "9") == "none", "another that nobody began"


def test_an_agent_may_be_its_own_sub_agent_and_chains_without_an_end_are_no_trap() -> None:
    bench = Bench()
    for i in range(6):
        assert bench.loop("a", f"{i + 1}", f"a/{i}") == "none"
    assert bench.loop("b", "1", "b/2") == bench.loop("b", "2", "b/1") == "none"
    assert bench.loop("b", "3", "unseen/7") == "none"
    assert Runs().arrive(Arrival("r", "a/1", "a", "nobody", 0.0)).chain == ("a",), "a parent without an agent"


def test_two_agents_that_hand_each_other_nearly_the_same() -> None:
    bench, seen = Bench(), []
    for i in range(5):
        seen.append(bench.loop("engineer", "1", text=f"{LONG} Round {i}."))
        seen.append(bench.loop("tester", "1", text=f"Here is the patch for the parser, attempt {i}. {LONG}"))
        bench.call("tester", "1", text="a tool's result")
    levels = [header.partition("count=")[0] + header.partition("count=")[2] for header in seen]
    warn, nudge, block = ("warn;rule=ping_pong;3", "nudge;rule=ping_pong;4", "block;rule=ping_pong;5")
    assert levels == ["none"] * 4 + [warn, warn, nudge, nudge, block, block]


def test_a_batch_is_no_ping_pong() -> None:
    bench = Bench()
    for i in range(12):
        assert bench.loop("extract", f"{i}", text=f"{LONG} Invoice {i}.") == "none"
        assert bench.loop("check", f"{i}", text=f"Check this. {LONG} Invoice {i}.") == "none"
    same = [bench.loop(agent, f"x{i}", text=LONG) for i in range(3) for agent in ("extract", "check")]
    assert same[-1] == "warn;rule=ping_pong;count=3", "exactly the same is, whatever the session"


def test_work_that_goes_on_and_a_third_agent_are_no_ping_pong() -> None:
    bench, words = Bench(), "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu".split()
    for i, word in enumerate(words):
        assert bench.loop("engineer", "1", text=f"do {word} {i} now") == "none"
        assert bench.loop("tester", "1", text=f"done {word}, {i} open") == "none"
    for _ in range(8):
        for agent in ("x", "y", "z"):
            assert bench.loop(agent, "1", text=LONG) == "none"


def test_a_call_without_a_run_is_not_looked_at() -> None:
    bench = Bench()
    for _ in range(9):
        assert bench.loop("a", "1", run="") == bench.loop("b", "1", run="") == "none"


@pytest.mark.parametrize(
    ("grants", "calls", "expected"),
    [
        ((grant("a", ("b*",)),), [("b1", "a/1")], ""),
        ((grant("a", ("b*",)),), [("c", "a/1")], "policy_denied: delegation.allow (AGENTS.md:9)"),
        ((grant("a", ("b*",), shadow=True),), [("c", "a/1")], "policy_denied dry: delegation.allow (AGENTS.md:9)"),
        ((grant("a", ("b*",)),), [("a", "a/1")], ""),
        ((grant("a", ("b", "c")), grant("b", ())), [("b", "a/1"), ("c", "b/1")], "policy_denied: delegation.allow (AGENTS.md:9)"),
        ((grant("a", max_depth=(Limit(0, AT),)),), [("b", "a/1")], "policy_denied: delegation.max_depth (AGENTS.md:9)"),
        ((grant("a", max_depth=(Limit(0, AT, True),)),), [("b", "a/1")], "policy_denied dry: delegation.max_depth (AGENTS.md:9)"),
        ((grant("a", max_depth=(Limit(1, AT),)),), [("b", "a/1")], ""),
        ((grant("a", max_depth=(Limit(1, AT),)),), [("b", "a/1"), ("c", "b/1")], "policy_denied: delegation.max_depth (AGENTS.md:9)"),
        ((grant("b", max_depth=(Limit(0, AT),)),), [("b", "a/1")], ""),
        ((grant("b", max_depth=(Limit(0, AT),)),), [("b", "b/0")], "policy_denied: delegation.max_depth (AGENTS.md:9)"),
    ],
)
def test_whom_an_agent_may_call_and_how_deep(grants: tuple[Grant, ...], calls: list[tuple[str, str]], expected: str) -> None:
    bench = Bench(*grants)
    bench.call("a", "1")
    denies = [bench.call(agent, "1" if agent != "a" else "2", parent)[1] for agent, parent in calls]
    assert [reason(deny) for deny in denies] == [*[""] * (len(calls) - 1), expected]


def test_sub_agents_within_one_session_count_by_their_depth() -> None:
    bench = Bench(grant("a", max_depth=(Limit(1, AT),)))
    assert bench.call("a", "1", parent="1", depth=1)[1] is None
    assert reason(bench.call("a", "1", parent="1", depth=2)[1]) == "policy_denied: delegation.max_depth (AGENTS.md:9)"


def test_a_storm_of_sub_agents_is_stopped_and_those_at_work_go_on() -> None:
    bench = Bench(grant("b", fan_out=(Limit(3, AT),)))
    denies = [bench.call("b", f"{i}", "a/1")[1] for i in range(4)]
    assert [reason(deny) for deny in denies] == ["", "", "", "loop_detected: delegation.fan_out (AGENTS.md:9)"]
    assert bench.call("b", "1", "a/1")[1] is None
    assert bench.call("b", "x")[1] is None, "nobody began it"
    bench.now = 61.0
    assert bench.call("b", "5", "a/1")[1] is None
    many = Bench()
    denies = [many.call("b", f"{i}", "a/1")[1] for i in range(FAN_OUT + 1)]
    assert [reason(deny) for deny in denies if deny is not None] == ["loop_detected: delegation.fan_out (default)"]


def test_a_session_that_lasts_too_long() -> None:
    bench = Bench(grant("a", max_duration=(Limit(60, AT), Limit(30, AT, True))))
    seen = []
    for now in (0.0, 30.0, 31.0, 60.0, 61.0):
        bench.now = now
        seen.append(reason(bench.call("a", "1", run="")[1]))
    rule = "budgets.session.duration_s (AGENTS.md:9)"
    assert seen == ["", "", f"step_limit dry: {rule}", f"step_limit dry: {rule}", f"step_limit: {rule}"]
    assert bench.call("a", "2", run="")[1] is None


def test_the_memory_of_sessions_is_bounded_and_forgets_the_silent() -> None:
    spans, limits = Spans(most=2), (Limit(10, AT),)
    assert spans.over("a", limits, 0) is spans.over("b", limits, 0) is None
    assert spans.over("a", limits, 5) is spans.over("c", limits, 5) is None
    assert spans.over("b", limits, 50) is None, "forgotten"
    assert spans.over("c", limits, 50) is not None
    assert spans.over("c", limits, 51 + SILENT_S) is None


def test_the_memory_of_runs_is_bounded() -> None:
    runs = Runs(most=1)
    for i in range(SESSIONS + 9):
        seen = runs.arrive(Arrival("r", f"a/{i}", "a", f"a/{i - 1}", 0.0))
    assert len(seen.chain) == SESSIONS + 1
    assert seen.born == SESSIONS + 9
    runs.arrive(Arrival("other", "a/1", "a", "", 0.0))
    assert runs.arrive(Arrival("r", "a/2", "a", "a/1", 0.0)).chain == ("a", "a")
    assert RUNS == 5_000


def test_sketches_tell_near_identical_texts_from_others() -> None:
    assert alike(sketch([LONG]), sketch([LONG + " Now."]))
    assert not alike(sketch([LONG]), sketch(["Write a poem about the sea and the wind, and about ships that never came home to port."]))
    assert not alike(sketch([""]), sketch(["a"]))
    assert alike((), ()), "and two that said nothing are no exchange"
    assert sketch(["", "\ud800 x"]) != ()


def test_an_agent_that_is_only_warned_is_only_warned() -> None:
    seen = Runs().arrive(Arrival("r", "a/1", "a", "", 0.0))
    assert judged(seen, LoopLimits()).level == "none"
    assert refused(seen, lambda agent: None, grant("a")) is None
    bench = Bench(grant("a", loops=LoopLimits(act="warn")))
    bench.call("a", "1")
    bench.call("b", "1", "a/1")
    bench.call("a", "2", "b/1")
    bench.call("b", "2", "a/2")
    assert bench.loop("a", "3", "b/2") == "warn;rule=delegation_cycle;count=3"
