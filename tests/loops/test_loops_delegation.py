"""What a run shows that no conversation does: circles of agents, two that hand the same back and forth, storms, and long sessions."""

from __future__ import annotations

import pytest
from delegating import Bench, grant

from proxy.loops.delegation import Arrival, Runs, judged, refused
from proxy.loops.handed import alike, handed, sketch
from proxy.model import LoopLimits
from proxy.wire.call import Call, Message, ToolCall, ToolResult

LONG = (
    "Please fix the failing test in the parser module. The tester says that the third case still fails with an index error on line forty."
)


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
