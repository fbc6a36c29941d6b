"""Which step is taken against a loop, and what it changes in the request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from proxy.engine.exchange import Exchange, Runtime
from proxy.engine.notice import Notice
from proxy.engine.ports import Answer, Beat, Question, SystemClock
from proxy.globs import allower
from proxy.loops import ladder
from proxy.loops.detection import Detection, Level
from proxy.loops.ladder import HOUSE_PERSONA, Rung, rung
from proxy.loops.stage import LoopStage
from proxy.loops.wasted import STEPS, Costs
from proxy.model import LADDER, Clause, Deny, Grant, LoopLimits, Nanos, Persona, Reason, Source
from proxy.wire.base import Codec, Memos
from proxy.wire.call import Edit, Message, Steer
from proxy.wire.openai_chat import ChatCodec
from proxy.wire.openai_responses import ResponsesCodec

ALL = LoopLimits(steps=LADDER, downgrade="small", source=Source("AGENTS.md", 7, "policy.loops"))
EVERY = ladder.GENTLE


@pytest.mark.parametrize(
    ("level", "limits", "usable", "persisted", "expected"),
    [
        ("none", LoopLimits(), EVERY, 9, Rung()),
        ("warn", ALL, EVERY, 9, Rung("warn")),
        ("nudge", LoopLimits(), EVERY, 9, Rung("nudge", ("nudge",))),
        ("nudge", LoopLimits(act="warn"), EVERY, 0, Rung("warn")),
        ("nudge", LoopLimits(steps=("block",)), EVERY, 0, Rung("warn")),
        ("nudge", ALL, EVERY, 0, Rung("nudge", ("nudge",))),
        ("nudge", ALL, EVERY, 1, Rung("nudge", ("nudge", "persona"))),
        ("nudge", ALL, EVERY, 2, Rung("nudge", ("nudge", "persona", "downgrade"))),
        ("nudge", ALL, EVERY, 3, Rung("nudge", EVERY)),
        ("nudge", ALL, EVERY, 8, Rung("nudge", EVERY)),
        ("nudge", ALL, ("nudge", "strip_tools"), 1, Rung("nudge", ("nudge", "strip_tools"))),
        ("nudge", ALL, (), 1, Rung("warn")),
        ("block", LoopLimits(), EVERY, 0, Rung("block", ("block",))),
        ("block", LoopLimits(act="nudge"), EVERY, 0, Rung("nudge", ("nudge",))),
        ("block", ALL, EVERY, 0, Rung("block", ("escalate",))),
    ],
)
def test_the_level_says_how_far_and_persistence_which_step(
    level: Level, limits: LoopLimits, usable: tuple[str, ...], persisted: int, expected: Rung
) -> None:
    assert rung(Detection(level, "identical", 4, 3), limits, usable, lambda: persisted) == expected


def test_the_action_is_named_where_it_is_more_than_the_level() -> None:
    steps = [
        Rung("nudge", ("nudge",)),
        Rung("nudge", ("nudge", "persona")),
        Rung("block", ("block",)),
        Rung("block", ("escalate",)),
        Rung("warn"),
    ]
    assert [step.action for step in steps] == ["", "persona", "", "escalate", ""]


def test_one_nudge_alone_does_not_look_back() -> None:
    def never() -> int:
        raise AssertionError

    assert rung(Detection("nudge", "identical", 4, 3), LoopLimits(), EVERY, never).steps == ("nudge",)


def test_a_note_says_what_repeats_since_when_and_what_to_do() -> None:
    words = ladder.note(Detection("nudge", "identical", 4, 3, ("bash",), "4 times in a row with the same arguments"))
    assert "bash, 4 times in a row with the same arguments. It began 4 steps ago" in words
    assert "not from the user" in words
    assert ladder.note(Detection("nudge", "text", 2, 1)).count("You are repeating yourself. It began 2 steps ago") == 1


def test_what_a_steer_holds_and_the_room_for_it() -> None:
    found = Detection("nudge", "identical", 4, 3)
    plain = ladder.steer(Rung("nudge", ("nudge",)), found, ALL)
    assert plain == Steer(ladder.note(found))
    own = LoopLimits(persona=Persona("Du bist ein Prüfer.", 0.3))
    assert ladder.steer(Rung("nudge", EVERY), found, own) == Steer(ladder.note(found), "Du bist ein Prüfer.", 0.3, True)
    assert ladder.steer(Rung("nudge", EVERY), found, ALL).system == HOUSE_PERSONA.system
    assert ladder.room(Steer("ü", "é")) == 36


def test_no_note_is_written_where_no_file_says_nudge() -> None:
    found = Detection("nudge", "identical", 4, 3)
    assert ladder.steer(Rung("nudge", ("downgrade",)), found, ALL) == Steer()
    assert ladder.steer(Rung("nudge", ("strip_tools",)), found, ALL) == Steer(no_tools=True)
    assert ladder.steer(Rung("nudge", ("persona",)), found, ALL).note == ""


# --- the stage ---------------------------------------------------------------------------------------------------------------------


class Person:
    """Answers every question alike, and keeps them."""

    def __init__(self, allowed: bool) -> None:
        self.allowed, self.asked = allowed, list[Question]()

    async def ask(self, question: Question, beat: Beat | None = None) -> Answer:
        self.asked.append(question)
        return Answer(self.allowed, "anna", "", "ap_1")


TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {}}}]


def body(steps: int, tools: bool = True, human: str = "") -> bytes:
    messages: list[dict[str, Any]] = [{"role": "system", "content": "You sort."}, {"role": "user", "content": "go"}]
    for i in range(steps):
        call = {"id": f"c{i}", "type": "function", "function": {"name": "look", "arguments": "{}"}}
        messages += [{"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": f"c{i}", "content": "nothing"}]
    messages += [{"role": "user", "content": human}] if human else []
    return json.dumps({"model": "gpt-4o", "messages": messages} | ({"tools": TOOLS} if tools else {})).encode()


class Bench:
    """A stage, and what people heard of it."""

    def __init__(self, limits: LoopLimits, person: Person | None = None, allow: tuple[str, ...] = ("*",)) -> None:
        self.stage = LoopStage(lambda model, dialect: model == "small")
        self.limits, self.person, self.told, self.allow = limits, person, list[Notice](), allow

    def ask(self, raw: bytes, cost: int = 0, codec: Codec | None = None) -> tuple[Exchange, Deny | None]:
        missing: Any = None
        more: dict[str, Any] = {} if self.person is None else {"approver": self.person}
        ex = Exchange(Runtime("", missing, missing, (), tell=self.told.append, **more), SystemClock(), missing, "openai")
        ex.agent, ex.codec, ex.session = "a", codec or ChatCodec(), "a/s"
        ex.call = ex.codec.decode(raw, Memos())
        clause = Clause(self.allow, (), Source("x", 1), False, allower(self.allow, ()))
        ex.grant = Grant("a", "", "", "", "", (clause,), (), loops=self.limits)

        async def go() -> Deny | None:
            deny = await self.stage.request(ex)
            ex.cost = Nanos(cost)
            for _, release in ex.defers:
                await release(ex)
            return deny

        return ex, asyncio.run(go())


GENTLY = LoopLimits(warn=2, block=2, act="nudge", steps=LADDER[:5], downgrade="small", persona=Persona("You debug.", 0.1))
"""Every gentle step, from the second equal call on."""


def test_the_ladder_goes_one_step_further_with_each_call_that_goes_on() -> None:
    bench = Bench(GENTLY)
    seen = [bench.ask(body(steps))[0] for steps in range(1, 7)]
    assert [ex.loop.header().partition("count=")[2] for ex in seen] == [
        "", "2", "3;action=persona", "4;action=downgrade", "5;action=strip_tools", "6;action=strip_tools",
    ]  # fmt: skip
    assert [ex.loop.level for ex in seen] == ["none", *["nudge"] * 5]
    assert [ex.route_to for ex in seen] == ["", "", "", "small", "small", "small"]
    assert seen[3].route_rule == "loops.downgrade (default)"
    steers = [ex.steer for ex in seen]
    assert steers[0] is None
    assert [(bool(s.note), s.system, s.temperature, s.no_tools) for s in steers[1:] if s is not None] == [
        (True, None, None, False), (True, "You debug.", 0.1, False), (True, "You debug.", 0.1, False), (True, "You debug.", 0.1, True),
        (True, "You debug.", 0.1, True),
    ]  # fmt: skip
    assert all(ex.call.overhead > len(ex.steer.note) for ex in seen[1:] if ex.steer)


def test_any_replica_gives_the_same_answer_and_a_loop_that_is_over_has_left_no_trace() -> None:
    ex, _ = Bench(GENTLY).ask(body(4))
    assert ex.loop.action == "downgrade", "this process saw none of the calls before"
    ex, _ = Bench(GENTLY).ask(body(4, human="and now?"))
    assert (ex.loop.level, ex.steer, ex.route_to) == ("none", None, "")


def test_what_is_sent_up_is_steered_and_what_the_client_sent_stays() -> None:
    raw = body(5)
    ex, _ = Bench(GENTLY).ask(raw)
    sent = json.loads(ex.codec.rewrite(ex.call, Edit(steer=ex.steer)))
    assert ex.call.body == raw
    assert sent["messages"][0]["content"] == "You debug."
    assert sent["messages"][1:-1] == json.loads(raw)["messages"][1:]
    assert (sent["tool_choice"], sent["temperature"], sent["tools"]) == ("none", 0.1, TOOLS)


def test_a_model_that_is_not_allowed_or_not_served_and_tools_that_are_not_there_are_passed_over() -> None:
    bench = Bench(GENTLY)
    assert bench.ask(body(6, tools=False))[0].loop.action == "downgrade"
    unserved = Bench(LoopLimits(warn=2, block=2, act="nudge", steps=LADDER[:5], downgrade="nobody-has-it"))
    ex, _ = unserved.ask(body(4))
    assert (ex.loop.action, ex.route_to) == ("strip_tools", "")
    bench.allow = ("gpt-*",)
    ex, _ = bench.ask(body(4))
    assert (ex.loop.action, ex.route_to) == ("strip_tools", "")


def test_a_dry_run_changes_nothing_and_says_what_it_would_do() -> None:
    bench = Bench(LoopLimits(warn=2, block=2, act="nudge", shadow=True))
    ex, deny = bench.ask(body(3))
    assert (deny, ex.steer, ex.loop.header(), bench.told) == (None, None, "warn;rule=identical;count=3", [])
    assert [(f.rule, f.detail) for f in ex.findings] == [("shadow/loops", "would take the steps nudge: loops.identical (default)")]


def test_people_are_told_once_for_each_step() -> None:
    bench = Bench(GENTLY)
    for steps in (2, 3, 3):
        bench.ask(body(steps), cost=1_500_000)
    assert [notice.key for notice in bench.told] == ["a/s/identical/nudge", "a/s/identical/persona", "a/s/identical/persona"]
    assert bench.told[2].facts["wasted_usd"] == "0.003"
    assert "goes in circles: look" in bench.told[0].text


# --- a person ----------------------------------------------------------------------------------------------------------------------

ASKING = LoopLimits(warn=2, block=3, steps=("warn", "escalate"))


def test_a_person_is_asked_and_what_they_say_holds_for_some_steps() -> None:
    person = Person(allowed=True)
    bench = Bench(ASKING, person)
    ex, deny = bench.ask(body(3))
    assert (deny, ex.loop.header()) == (None, "block;rule=identical;count=3;action=escalate")
    bench.ask(body(4))
    bench.ask(body(12))
    first, second, third = person.asked
    assert (first.kind, first.agent, first.session, first.what) == ("loop", "a", "a/s", "identical")
    assert first.digest == second.digest != third.digest
    bench.person = Person(allowed=False)
    _, deny = bench.ask(body(3))
    assert deny is not None
    assert deny.reason is Reason.APPROVAL_DENIED


@pytest.mark.parametrize("shadow", [False, True])
def test_where_nobody_can_be_asked_the_loop_is_refused(shadow: bool) -> None:
    limits = LoopLimits(warn=2, block=3, steps=("warn", "escalate"), shadow=shadow)
    bench = Bench(limits, Person(True) if shadow else None)
    _, deny = bench.ask(body(3))
    assert deny is not None
    assert (deny.reason, deny.shadow) == (Reason.LOOP_DETECTED, shadow)
    assert not (bench.person and bench.person.asked)


# --- what it cost ------------------------------------------------------------------------------------------------------------------


def test_what_a_loop_cost_is_told_in_all_and_anew() -> None:
    bench = Bench(LoopLimits(warn=3, block=9))
    signals = [bench.ask(body(steps), cost=10)[0].loop for steps in range(6)]
    assert [(s.wasted, s.fresh) for s in signals] == [(0, 0), (0, 0), (0, 0), (20, 20), (30, 10), (40, 10)]


def test_costs_are_bounded() -> None:
    costs = Costs(sessions=2)
    assert costs.since("a", 5) == (0, 0)
    for _ in range(STEPS + 5):
        costs.spent("a", 1)
    assert costs.since("a", 1000) == (STEPS, STEPS)
    assert costs.since("a", 1000) == (STEPS, 0)
    costs.spent("b", 1)
    costs.spent("a", 1)
    costs.spent("c", 1)
    assert costs.since("b", 5) == (0, 0), "the one that was silent for longest is forgotten"
    assert costs.since("a", 1) == (1, 1)
    assert costs.since("a", 0) == (0, 0)


# --- where it stands ---------------------------------------------------------------------------------------------------------------


def test_how_many_calls_before_found_it_is_bounded_and_ends_with_the_conversation() -> None:
    messages = ChatCodec().decode(body(40), Memos()).messages
    seen: list[int] = []

    def always(before: Sequence[Message]) -> Detection:
        seen.append(len(before))
        return Detection("nudge", "identical", 4, 3)

    assert ladder.earlier(messages, always) == len(LADDER)
    assert seen == [len(messages) - 2 * n for n in range(1, len(LADDER) + 1)], "without the last step and its result, each time"
    assert ladder.earlier(messages[:4], always) == 1
    assert ladder.earlier((), always) == 0


def test_where_the_provider_keeps_the_history_the_count_says_where_it_stands() -> None:
    bench = Bench(GENTLY)
    bench.stage._found = lambda ex: Detection("nudge", "identical", 4, 3, ("look",), "4 times")  # type: ignore[method-assign]
    assert bench.ask(body(1))[0].loop.action == ""
    codec = ResponsesCodec()
    call = {"type": "function_call_output", "call_id": "c", "output": "x"}
    raw = json.dumps({"model": "m", "previous_response_id": "r", "input": [call], "tools": [{"type": "function", "name": "look"}]}).encode()
    ex, _ = bench.ask(raw, codec=codec)
    assert ex.loop.action == "downgrade", "two more than it warned at"


def test_an_id_that_a_client_gives_each_output_makes_it_no_new_one() -> None:
    """Codex's are six hexadecimal digits, and now and then all of them are decimal."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": "go"}]
    for i, name in enumerate(("c1c33a", "123456", "abcdef", "90e210", "7d7d7d")):
        call = {"id": f"c{i}", "type": "function", "function": {"name": "exec", "arguments": "{}"}}
        output = f"Chunk ID: {name}\nWall time: 0.000{i} seconds\nProcess exited with code 0\nOriginal token count: 2\nOutput:\npelican\n"
        messages += [{"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": f"c{i}", "content": output}]
    ex, deny = Bench(LoopLimits()).ask(json.dumps({"model": "m", "messages": messages}).encode())
    assert (ex.loop.rule, ex.loop.count) == ("identical", 5)
    assert deny is not None


def test_the_time_that_a_client_puts_beside_each_output_makes_it_no_new_one() -> None:
    """Codex does, where it believes that it talks to OpenAI itself."""
    items: list[dict[str, Any]] = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "go"}]}]
    for i in range(5):
        beside = {"turn_id": "01a21507-8c93-7953-bb43-a745982deb8b", "create_time": 1795649146.747671 + i / 7}
        items.append({"type": "function_call", "name": "exec", "arguments": "{}", "call_id": f"c{i}"})
        output = {"type": "function_call_output", "call_id": f"c{i}", "output": f"Chunk ID: 09654{i}\nOutput:\npelican\n"}
        items.append(output | {"internal_chat_message_metadata_passthrough": beside})
    _, deny = Bench(LoopLimits()).ask(json.dumps({"model": "m", "input": items}).encode(), codec=ResponsesCodec())
    assert deny is not None
