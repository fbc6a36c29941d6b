"""Which conversations count as going in circles."""

from __future__ import annotations

import dataclasses

import pytest
from conversing import LIMITS, asked, call, found, got, human, steps

from proxy.loops.detection import NOTHING
from proxy.loops.rules import detect
from proxy.model import LoopLimits
from proxy.wire.call import Media, Message


@pytest.mark.parametrize(
    ("count", "limits", "level"),
    [
        (1, LIMITS, "none"),
        (2, LIMITS, "none"),
        (3, LIMITS, "warn"),
        (4, LIMITS, "nudge"),
        (5, LIMITS, "block"),
        (9, LIMITS, "block"),
        (9, LoopLimits(act="warn"), "warn"),
        (9, LoopLimits(act="nudge"), "nudge"),
        (1, LoopLimits(warn=1, block=9), "warn"),
        (1, LoopLimits(warn=1, block=1), "block"),
        (2, LoopLimits(warn=5, block=2), "block"),
        (9, LoopLimits(warn=10, block=20), "none"),
        (10, LoopLimits(warn=10, block=20), "warn"),
    ],
)
def test_equal_steps_in_a_row_are_counted_against_the_limits(count: int, limits: LoopLimits, level: str) -> None:
    detection = detect(steps(*[("ls", "a b c")] * count), limits)
    assert detection.level == level
    assert detection == NOTHING or (detection.rule, detection.count, detection.since, detection.tools) == (
        "identical",
        count,
        count - 1,
        ("bash",),
    )


@pytest.mark.parametrize("item", ['{{"file": {}}}', '{{"command": "grep -rn name{}x src/"}}'])
def test_a_list_in_which_nothing_is_found_may_be_gone_through_for_long(item: str) -> None:
    levels = [found(steps(*[(item.format(i), "No matches found") for i in range(count)]))[0] for count in range(1, 23)]
    assert levels.index("nudge") == 5
    assert levels.index("block") == 20
    patient = LoopLimits(warn=3, block=9)
    assert found(steps(*[(item.format(i), "No matches found") for i in range(30)]), patient)[0] == "block"


@pytest.mark.parametrize("answer", ["ok", ""])
def test_to_check_after_each_of_many_edits_is_work(answer: str) -> None:
    pairs = []
    for i in range(12):
        pairs += [
            (f'{{"file": "mod{i}.py", "old": "some code {i} here", "new": "other code {i}"}}', answer),
            ("make check", "all checks passed"),
        ]
        assert found(steps(*pairs))[0] in ("none", "warn")
    failing = [one for pair in pairs[::2] for one in (pair, ("make check", "error: the build failed"))]
    assert found(steps(*failing))[0] in ("nudge", "block"), "the same error after each edit is a loop"


@pytest.mark.parametrize("blank", ["", " \n\t", "\u200b\u2060", "\u00a0\ufeff", "\x00\x1b"])
def test_a_turn_that_says_nothing_is_no_turn_of_the_human(blank: str) -> None:
    messages = steps(*[("ls", "a b c")] * 5)
    for place in (len(messages), len(messages) - 1, len(messages) - 2, 5):
        assert found([*messages[:place], human(blank), *messages[place:]]) == ("block", "identical", 5)
    assert found([*messages, human("?")]) == ("none", "", 0)
    picture = Message(b"", "user", (blank,), media=(Media("image", 9),))
    assert found([*messages, picture]) == ("none", "", 0)
    nothing = [human("go"), *[message for n in range(9) for message in (asked(said=f"{n}"), human(blank))]]
    assert found(nothing) == ("none", "", 0)


def test_evidence_holds_numbers_and_no_text_of_the_conversation() -> None:
    assert detect(steps(*[("secret", "hidden")] * 3), LIMITS).evidence == "3 times in a row with the same arguments"
    cycle = detect(steps(*[("secret one", "hidden"), ("quite another", "thing")] * 4), LIMITS).evidence
    assert cycle == "6 steps in a row did again what was done before (6 exactly), with the same outcome"


def test_no_conversation_is_no_loop() -> None:
    assert detect([], LIMITS) == NOTHING
    assert detect([human("hello"), Message(b"", "assistant", ("hello",))], LIMITS) == NOTHING


@pytest.mark.parametrize(
    "answer",
    ['{{"state": "running", "errors": 0, "progress": {0}}}', "Error: not ready, {0} of 59 done", "12:{0:02}:00 pending", "{0}%"],
)
def test_a_poll_whose_answers_change_runs_unharmed(answer: str) -> None:
    same = steps(*[("status 17", answer.format(n)) for n in range(59)])
    waits = steps(*[step for n in range(59) for step in (("sleep 5", ""), ("status 17", answer.format(n)))])
    counted = steps(*[(f'{{"job": 17, "attempt": {n}}}', answer.format(n)) for n in range(59)])
    for polls in (same, waits, counted):
        assert all(detect(polls[:n], LIMITS) == NOTHING for n in range(len(polls)))


def test_a_poll_is_worth_a_word_in_the_end_and_never_more() -> None:
    polls = steps(*[("status 17", f"{n} % done") for n in range(90)])
    assert found(polls) == ("warn", "polling", 60)
    assert found(polls[: 1 + 2 * 59]) == ("none", "", 0)
    assert found([*polls, asked(call("other"))]) == ("none", "", 0)


def test_what_a_frame_adds_to_an_answer_is_no_news() -> None:
    frame = "Chunk ID: {:06x}a\nWall time: 0.{:04} seconds\nProcess exited with code 0\nOutput:\nnothing to do"
    assert found(steps(*[("make", frame.format(n * 7919, n)) for n in range(5)])) == ("block", "identical", 5)


@pytest.mark.parametrize("period", [2, 3, 4, 5])
def test_cycles_are_seen(period: int) -> None:
    commands = ["ls", "cat readme", "grep -rn main", "pwd", "make all"][:period]
    detection = detect(steps(*[(c, f"the answer to {c}") for c in commands] * 4), LIMITS)
    assert (detection.level, detection.rule, detection.count) == ("block", "cycle", 3 * period + 1)


def test_longer_cycles_than_are_looked_for_repeat_nothing() -> None:
    commands = [(chr(97 + n) * 9, chr(110 + n) * 9) for n in range(5)]
    assert found(steps(*commands * 4), LoopLimits(max_period=1)) == ("none", "", 0)
    assert found(steps(*commands * 4))[0] == "block"


def test_the_same_error_again_is_a_loop_whatever_is_changed_a_little() -> None:
    queries = [
        f"SELECT name FROM students WHERE town = '{town}' ORDER BY age"
        for town in ("Rome", "Roma", "Romes", "Romae", "Rom", "Romi", "Romo")
    ]
    messages = steps(*[(query, "Error executing query: Table 'students' doesn't exist") for query in queries])
    assert found(messages)[:2] in (("nudge", "same_error"), ("warn", "same_error"))
    assert found(messages[:7]) == ("none", "", 0)


def test_a_list_that_is_worked_through_is_no_loop() -> None:
    deletes = [(f'{{"task": "t{n * 7177}"}}', '{"success": true}') for n in range(20)]
    assert found(steps(*deletes)) == ("none", "", 0)
    pages = [(f'{{"page": {n}}}', f"page {n} says " + chr(97 + n) * 40) for n in range(20)]
    assert found(steps(*pages)) == ("none", "", 0)
    silent = [
        (f"mkdir -p /srv/{name}", "") for name in ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa")
    ]
    assert found(steps(*silent))[0] in ("none", "warn")


def test_an_action_that_is_confirmed_may_be_meant() -> None:
    pay = ('{"amount": 10000}', '{"success": true}')
    assert [found(steps(*[pay] * n))[0] for n in range(1, 7)] == ["none", "none", "none", "warn", "block", "block"]
    told: list[Message] = [human("pay it in ten parts")]
    for n in range(11):
        told += [asked(call("pay", pay[0]), said=f"Part {n} is done, {10 - n} to go."), got(pay[1])]
    levels = [detect(told[: 1 + 2 * n], LIMITS).level for n in range(1, 12)]
    assert levels == ["none"] * 7 + ["warn"] + ["nudge"] + ["block"] * 2


def test_the_same_long_edit_again_is_no_progress_although_the_file_grows() -> None:
    edit = "edit 1:1\n" + "\n".join(f"import some.package.of.many.Thing{n}" for n in range(20))
    view = "\n".join(f"{n}: import some.package.of.many.Thing{n}" for n in range(60))
    messages = steps(*[(edit, f"[File: x.java ({20 * n} lines total)]\n{view}") for n in range(1, 12)])
    assert found(messages)[0] in ("warn", "nudge")


@pytest.mark.parametrize("role", ["tool", "user"])
def test_results_end_no_loop_whichever_role_carries_them(role: str) -> None:
    messages = [m if not m.tool_results else dataclasses.replace(m, role=role, seen={}) for m in steps(*[("ls", "x")] * 5)]
    assert found(messages) == ("block", "identical", 5)


def test_a_turn_of_the_human_starts_anew() -> None:
    messages = [*steps(*[("ls", "x")] * 5), human("try something else")]
    assert found(messages) == ("none", "", 0)
    assert found([*messages, *steps(*[("ls", "x")] * 3)[1:]])[0] == "warn"


def test_words_and_notes_between_end_no_loop() -> None:
    messages = steps(*[("ls", "x")] * 3)
    messages.insert(3, Message(b"", "system", ("be brief",)))
    messages.insert(5, Message(b"", "assistant", ("let me see",)))
    assert found(messages) == ("warn", "identical", 3)


def test_what_a_client_says_after_each_result_is_no_human() -> None:
    messages: list[Message] = [human("go")]
    for n in range(6):
        messages += [asked(call("ls", "{}", f"c{n}")), got("x", f"c{n}"), human("Continue with the tool results.")]
    assert found(messages) == ("block", "identical", 6)
    assert found(messages[:7]) == ("none", "", 0), "twice may still be a human"
    assert found([*messages, human("no, stop")]) == ("none", "", 0)


@pytest.mark.parametrize("head", ["Observation: ", "[Tool result]\n", "<tool_response>", "OUTPUT:\n"])
def test_results_in_the_words_of_a_human_are_results(head: str) -> None:
    messages: list[Message] = [human("find the file")]
    for _ in range(5):
        messages += [Message(b"", "assistant", ("Thought: look.\nAction: search[file]",)), human(head + "nothing there")]
    assert found(messages) == ("block", "identical", 5)
    assert detect(messages, LIMITS).names == ""


def test_a_game_in_words_may_be_played_for_long() -> None:
    messages, levels = [human("Flip a coin whenever I say so.")], []
    for n in range(24):
        messages += [Message(b"", "assistant", (("Heads!", "Tails!", "Tails!")[n % 3],)), human("flip")]
        levels.append(found(messages)[0])
    assert levels.index("block") == 21
    assert found([*messages, human("What was the first one?")])[0] == "none"


def test_done_said_again_and_again_is_a_loop() -> None:
    messages: list[Message] = [human("go")]
    for _n in range(9):
        messages += [Message(b"", "assistant", ("All tasks are done. TERMINATE",)), human("Please continue, or say TERMINATE.")]
    assert found(messages)[0] == "block"


def test_words_that_are_nearly_the_same_are_named_so() -> None:
    messages: list[Message] = [human("go")]
    for n in range(9):
        said = f"Action: run[python solve.py --attempt {n} --input data.csv --output out.csv]"
        messages += [Message(b"", "assistant", (said,)), human("Observation: error: cannot open data.csv")]
    assert found(messages)[1] == "said"
