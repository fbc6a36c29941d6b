"""What a run shows that no conversation does: circles of agents, two that hand the same back and forth, storms, and long sessions."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxy.engine.exchange import Exchange, Runtime
from proxy.engine.ports import SystemClock
from proxy.globs import allower
from proxy.loops.delegation import BIRTHS, FAN_OUT, RUNS, SESSIONS, Arrival, Runs, judged, refused
from proxy.loops.handed import alike, handed, sketch
from proxy.loops.span import SILENT_S, Spans
from proxy.loops.stage import LoopStage
from proxy.model import Clause, Deny, Grant, Limit, LoopLimits, Reason, Source
from proxy.wire.call import Call, Message, ToolCall, ToolResult
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
        self, agent: str, session: str, parent: str = "", text: str = "", depth: int = 0, run: str = "k/r", **more: Any
    ) -> tuple[Exchange, Deny | None]:
        missing: Any = None
        ex = Exchange(Runtime("", missing, missing, ()), SystemClock(), missing, "openai")
        ex.agent, ex.codec, ex.session, ex.run = agent, ChatCodec(), f"{agent}/{session}", run or f"{agent}/{session}"
        ex.parent, ex.depth, ex.wall = parent, depth, self.now
        ex.call = Call("chat", "m", b"{}", messages=more.get("messages") or (Message(b"", "user", (text or f"{agent} {session}",)),))
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


def said(role: str, text: str) -> Message:
    return Message(text.encode(), role, (text,))


class Talk:
    """A conversation of one agent that goes on."""

    def __init__(self, bench: Bench, agent: str, session: str = "1") -> None:
        self.bench, self.agent, self.session = bench, agent, session
        self.messages = [said("system", f"You are {agent}."), said("user", "Begin."), said("assistant", "I am ready.")]

    def hears(self, text: str) -> str:
        """Hand `text` over, and have it answered in words of its own."""
        header = self.again(said("user", text))
        self.messages += [said("user", text), said("assistant", f"My answer number {len(self.messages)}.")]
        return header

    def again(self, *new: Message) -> str:
        """Ask with `new` behind what was said."""
        return self.bench.loop(self.agent, self.session, messages=(*self.messages, *new))

    def uses(self, arguments: str, result: str) -> str:
        """Call a tool, and hand its result over."""
        call = ToolCall(f"c{len(self.messages)}", "write", arguments, arguments.encode())
        self.messages.append(Message(arguments.encode(), "assistant", (arguments,), (call,)))
        self.messages.append(Message(call.id.encode(), "tool", (result,), (), (ToolResult(call.id, result.encode()),)))
        return self.again()


def rounds(header: str) -> str:
    return header.replace("rule=ping_pong;count=", "")


def test_two_agents_that_hand_each_other_the_same() -> None:
    bench = Bench()
    engineer, tester = Talk(bench, "engineer"), Talk(bench, "tester")
    seen = [rounds(talk.hears(LONG)) for _ in range(5) for talk in (engineer, tester)]
    assert seen == ["none"] * 4 + ["warn;3", "warn;3", "nudge;4", "nudge;4", "block;5", "block;5"]


def test_two_agents_that_hand_each_other_nearly_the_same_get_twice_as_long() -> None:
    bench = Bench()
    engineer, tester = Talk(bench, "engineer"), Talk(bench, "tester")
    seen = []
    for i in range(10):
        seen.append(rounds(engineer.hears(f"{LONG} Round {i}.")))
        tester.hears(f"Here is the patch for the parser, attempt {i}. {LONG}")
    assert seen == ["none"] * 2 + ["warn;3", "warn;4"] + [f"nudge;{n}" for n in range(5, 10)] + ["block;10"]


def test_a_pair_whose_reports_change_bit_by_bit_makes_progress() -> None:
    bench = Bench()
    engineer, tester = Talk(bench, "engineer"), Talk(bench, "tester")
    names = [f"test_{word} in module {word}" for word in "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu".split()]
    for i in range(12):
        assert "block" not in engineer.hears(f"Still failing: {'; '.join(names[i:])}.")
        assert "block" not in tester.hears("I fixed one more of them. Please run all of the tests again and send me the list.")


def test_an_orchestrator_that_asks_one_thing_of_a_worker_again_and_again() -> None:
    bench = Bench()
    lead = Talk(bench, "lead")
    levels = []
    for i in range(5):
        levels.append(rounds(lead.uses("{}", "it failed")))
        levels.append(rounds(bench.loop("worker", f"{i}", text=LONG)))
    assert levels[-2:] == ["block;rule=identical;count=5", "block;5"]


@pytest.mark.parametrize("one_session", [False, True])
@pytest.mark.parametrize(
    "template", [LONG + " Invoice {}.", "Invoice {}. " + LONG * 40, LONG * 40 + " Invoice {}.", LONG * 40 + "{}" + LONG * 40]
)
def test_a_prompt_that_is_mapped_over_many_items_is_no_ping_pong(template: str, one_session: bool) -> None:
    bench = Bench()
    lead, told, alone = Talk(bench, "lead"), Talk(bench, "told"), Talk(bench, "alone")
    for i in range(20):
        assert alone.uses(f'{{"item": {i}}}', f"item {i} is worth {i * i}") == "none"
        assert bench.loop("extract", "1" if one_session else f"{i}", "alone/1", text=template.format(i)) == "none"
    for i in range(20):
        session = "1" if one_session else f"{i}"
        assert lead.uses(f'{{"item": {i}}}', "done") == "none"
        assert bench.loop("extract", session, "lead/1", text=template.format(i)) == "none"
        assert bench.loop("check", session, "lead/1", text=f"Check. {template.format(i)}") == "none"
    for i in range(20):
        assert told.hears(f"The worker said: item {i} is worth {i * i}, and it took her {i + 3} lines to say so.") == "none"
        assert bench.loop("extract", f"x{i}", text=template.format(i)) == "none"


def test_equal_prompts_that_nobody_waits_for_are_worth_a_word_at_most() -> None:
    bench = Bench()
    seen = [bench.loop(agent, f"x{i}", text=LONG) for i in range(12) for agent in ("extract", "check")]
    assert {header.partition(";")[0] for header in seen} == {"none", "warn"}
    for i in range(12):
        for agent in ("one", "two"):
            talk = Talk(bench, agent, f"{i}")
            assert talk.hears("Now sum it up in one line, please.") == "none", "the second prompt of each item"


def test_two_agents_at_work_at_the_same_time_are_no_ping_pong() -> None:
    bench = Bench()
    one, two = Talk(bench, "one"), Talk(bench, "two")
    for i in range(20):
        assert "ping_pong" not in one.uses(f'{{"file": {i}}}', "ok")
        assert "ping_pong" not in two.uses(f'{{"page": {i}}}', "ok")
    for i in range(20):
        assert one.uses('{"status": "?"}', f"still running, {i} % of all of the work is done by now") == "none"
        assert two.uses('{"status": "?"}', f"still running, {i} % of all of the other work is done by now") == "none"
    for i in range(20):
        for talk in (one, two):
            talk.messages.append(said("assistant", f"Action: look[{i}]"))
            assert talk.again(said("user", "Observation: OK")) == "none"
            talk.messages.append(said("user", "Observation: OK"))


def test_two_clients_that_try_again_are_no_ping_pong() -> None:
    bench = Bench()
    one, two = Talk(bench, "one"), Talk(bench, "two")
    for _ in range(10):
        assert one.again(said("user", LONG)) == two.again(said("user", LONG)) == "none"


def test_what_is_new_in_a_call() -> None:
    words = "Please do it."
    asked = Call("chat", "m", b"{}", messages=(said("system", "x"), said("user", words)))
    kept = Call("chat", "m", b"{}", messages=asked.messages, thread="resp_1", hints={"previous_response_id": "resp_1"})
    assert handed(Call("chat", "m", b"{}", messages=asked.messages, thread="cachedContents/1")).fresh
    prefilled = Call("chat", "m", b"{}", messages=(*asked.messages, said("assistant", "{")))
    went_on = Call("chat", "m", b"{}", messages=(*prefilled.messages, said("user", words)))
    assert [handed(call).fresh for call in (asked, kept, prefilled, went_on)] == [True, False, True, False]
    assert len({handed(call).digest for call in (asked, kept, prefilled, went_on)}) == 1
    assert len({handed(call).turn for call in (asked, kept, prefilled, went_on)}) == 4
    assert handed(Call("chat", "m", b"{}")).digest == handed(Call("chat", "m", b"{}", messages=(said("user", ""),))).digest == b""


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


def test_calls_without_words_hand_nothing_over_and_what_was_forgotten_is_not_taken_back() -> None:
    bench = Bench()
    for i in range(9):
        for agent in ("one", "two"):
            assert bench.loop(agent, f"{i}", messages=(said("user", ""),)) == "none"
    runs = Runs()
    runs.refuse(Arrival("unknown", "a/1", "a", "b/1", 0.0))
    assert runs.arrive(Arrival("unknown", "a/1", "a", "b/1", 0.0)).born == 1
