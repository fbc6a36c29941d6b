"""A run that grows: how deep and how wide it may, how long a session may last, and memories that stay bounded."""

from __future__ import annotations

import pytest
from delegating import AT, Bench, grant

from proxy.loops.delegation import BIRTHS, FAN_OUT, RUNS, SESSIONS, Arrival, Runs
from proxy.loops.span import SILENT_S, Spans
from proxy.model import Deny, Grant, Limit, LoopLimits


def reason(deny: Deny | None) -> str:
    return "" if deny is None else f"{deny.reason}{' dry' if deny.shadow else ''}: {deny.rule}"


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


def test_a_parent_that_is_named_once_is_kept() -> None:
    bench = Bench(grant("a", max_depth=(Limit(1, AT),)))
    bench.call("a", "1")
    assert bench.call("b", "1", "a/1")[1] is None
    assert bench.call("b", "1")[1] is None, "a later call of the same session leaves it out"
    assert reason(bench.call("c", "1", "b/1")[1]) == "policy_denied: delegation.max_depth (AGENTS.md:9)"


def test_a_storm_of_sub_agents_is_stopped_and_those_at_work_go_on() -> None:
    bench = Bench(grant("b", fan_out=(Limit(3, AT),)))
    denies = [bench.call("b", f"{i}", "a/1")[1] for i in range(4)]
    assert [reason(deny) for deny in denies] == ["", "", "", "loop_detected: delegation.fan_out (AGENTS.md:9)"]
    assert bench.call("b", "1", "a/1")[1] is None
    assert bench.call("b", "x")[1] is None, "nobody began it"
    assert bench.call("b", "3", "a/1")[1] is not None, "who was refused did not begin, and may not begin by asking again"
    bench.now = 61.0
    assert bench.call("b", "5", "a/1")[1] is None
    many = Bench()
    denies = [many.call("b", f"{i}", "a/1")[1] for i in range(FAN_OUT + 1)]
    assert [reason(deny) for deny in denies if deny is not None] == ["loop_detected: delegation.fan_out (default)"]


@pytest.mark.parametrize("limits", [LoopLimits(shadow=True), LoopLimits(act="warn"), LoopLimits(act="nudge")])
def test_a_storm_that_no_file_speaks_of_is_not_refused_where_no_loop_is(limits: LoopLimits) -> None:
    bench = Bench(grant("b", loops=limits), grant("c", loops=limits, fan_out=(Limit(3, AT),)))
    denies = [reason(bench.call("b", f"{i}", "a/1")[1]) for i in range(FAN_OUT + 1)]
    assert denies == [""] * FAN_OUT + ["loop_detected dry: delegation.fan_out (default)"]
    assert reason(bench.call("c", "1", "a/1")[1]) == "loop_detected: delegation.fan_out (AGENTS.md:9)"


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
    assert runs.size == 1 + 4, "a session and a visit are left"


def test_the_memory_of_all_runs_together_is_bounded() -> None:
    runs = Runs(entries=1_000)
    for i in range(100):
        for k in range(50):
            runs.arrive(Arrival(f"r{i}", f"a/{k}", f"a{k % 3}", "a/0", 0.0))
            assert runs.size <= 1_000
    large = [runs.arrive(Arrival("large", f"a/{k}", "a", "a/0", 0.0)) for k in range(12_000)]
    assert large[-1].born == BIRTHS, "one run alone may be larger"


def test_an_agent_at_work_is_not_forgotten_for_those_that_it_began() -> None:
    bench = Bench(grant("a", max_depth=(Limit(2, AT),)), grant("b", fan_out=(Limit(400, AT),)))
    bench.call("a", "1")
    bench.call("lead", "1", "a/1")
    for i in range(SESSIONS + 9):
        bench.now = i / 10
        assert bench.call("b", f"{i}", "lead/1")[1] is None
        assert bench.call("lead", "1", "a/1")[1] is None
    assert reason(bench.call("c", "1", f"b/{SESSIONS}")[1]) == "policy_denied: delegation.max_depth (AGENTS.md:9)"
