"""What must change nothing about a loop that is seen: repeats, order, the memo, a history without end."""

from __future__ import annotations

import dataclasses

from conversing import LIMITS, asked, call, found, got, human, steps, told
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.loops.detection import Detection
from proxy.loops.rules import LONGEST, detect
from proxy.loops.steps import WINDOW
from proxy.model import LoopLimits
from proxy.wire.call import Message

# --- what may come twice --------------------------------------------------------------------------------------------------------------


def test_a_message_sent_twice_counts_once() -> None:
    once = steps(*[("ls", "x")] * 2)
    assert found([*once, *once[-2:]], LoopLimits(warn=2)) == ("warn", "identical", 2)
    assert found([*once, *once[1:]], LoopLimits(warn=2)) == ("warn", "identical", 2)


def test_servers_that_number_every_call_alike_hide_no_loop() -> None:
    messages = [m for _ in range(6) for m in (asked(call("ls", "{}", "call_0")), got("x", "call_0"))]
    assert found(messages) == ("block", "identical", 5)


def test_calls_without_an_id_each_count() -> None:
    assert found([asked(call("ls")) for _ in range(4)]) == ("nudge", "identical", 4)


def test_arguments_that_are_no_json_and_look_alike_names_are_what_they_are() -> None:
    assert found(steps(*[("{not json", "x")] * 5)) == ("block", "identical", 5)
    names = ["paypal", "p\u0430ypal"]
    messages = [m for n in range(8) for m in (asked(call(names[n % 2], "{}")), got(f"{n} other"))]
    assert found(messages) == ("none", "", 0)


def test_one_message_of_very_many_calls_and_a_very_long_history_cost_a_window() -> None:
    many = [asked(*[call("ls", f'{{"n": {n}}}') for n in range(500)]), got("x")] * 3
    assert found(many)[0] == "warn"
    long = steps(*[(f"step {chr(97 + n % 26)} {n}", f"answer {n}") for n in range(5000)])
    seen = {id(m) for m in long if m.seen}
    assert not seen
    assert found(long) == ("none", "", 0)
    assert sum(bool(m.seen) for m in long) <= 2 * 21 + 1


def test_a_history_without_steps_costs_a_window_too() -> None:
    words = [Message(b"", "assistant", (f"words {n}",)) for n in range(10_000)]
    assert found([*steps(*[("ls", "x")] * 5), *words]) == ("none", "", 0)
    assert sum(bool(m.seen) for m in words) == WINDOW


def test_a_run_is_looked_at_up_to_a_length() -> None:
    assert found(steps(*[("ls", "x")] * 200)) == ("block", "identical", LONGEST + 1)
    near = [(f"SELECT name FROM students WHERE town = 'Rom{chr(97 + n)}'", "Error: no such table: students") for n in range(60)]
    assert detect(steps(*near), LIMITS).count <= 25


def items(*pairs: tuple[str, str]) -> list[Message]:
    messages = [human("please")]
    for n, (command, result) in enumerate(pairs):
        names = command.split("+")
        messages += [asked(call(name, "{}", f"c{n}{name}"), item=True) for name in names]
        messages.insert(-1, Message(b"", "reasoning", (), item=True))
        messages += [got(result, f"c{n}{name}", item=True) for name in names]
    return messages


def test_calls_that_are_items_of_one_step_count_together() -> None:
    assert found(items(*[("a+b", "x"), ("b+a", "x")] * 2)) == ("nudge", "identical", 4)
    assert detect(items(*[("a+b", "x")] * 3), LIMITS).tools == ("a", "b")
    assert found([m for m in items(*[("a+b", "x")] * 3) if m.role != "user"]) == ("warn", "identical", 3)
    assert found(items(("a+b", "x"), ("a", "x"), ("a+b", "x"))) == ("none", "", 0)


# --- what must change nothing ---------------------------------------------------------------------------------------------------------

WORDS = st.lists(
    st.tuples(
        st.lists(st.sampled_from(["ls", "cat a", "cat b", "grep x"]), min_size=1, max_size=3),
        st.sampled_from(["", "ok", "error: no", "text"]),
    ),
    max_size=12,
)


def conversation(script: list[tuple[list[str], str]], turned: bool = False) -> list[Message]:
    messages = [human("please")]
    for n, (commands, result) in enumerate(script):
        calls = [call("bash", command, f"c{n}-{k}") for k, command in enumerate(commands)]
        results = [got(f"{result} of {c.arguments}", c.id) for c in calls]
        if turned:
            calls.reverse()
            results.reverse()
        messages += [asked(*calls, said="hm"), *results]
    return messages


@given(WORDS)
@settings(deadline=None)
def test_the_memo_is_a_cache_and_nothing_else(script: list[tuple[list[str], str]]) -> None:
    messages = conversation(script)
    warm = [detect(messages[:n], LIMITS) for n in range(len(messages) + 1)]
    assert [detect([dataclasses.replace(m, seen={}) for m in messages[:n]], LIMITS) for n in range(len(messages) + 1)] == warm


@given(WORDS)
@settings(deadline=None)
def test_the_order_of_parallel_calls_changes_nothing(script: list[tuple[list[str], str]]) -> None:
    assert told(conversation(script)) == told(conversation(script, turned=True))


@given(WORDS, st.integers(0, 12))
@settings(deadline=None)
def test_history_that_is_sent_again_counts_once(script: list[tuple[list[str], str]], at: int) -> None:
    messages = conversation(script)
    assert told([*messages, *messages[1 + at :]]) == told(messages)


@given(WORDS)
@settings(deadline=None)
def test_a_new_turn_of_the_human_ends_every_loop(script: list[tuple[list[str], str]]) -> None:
    assert detect([*conversation(script), human("something new")], LIMITS) == Detection()


@given(WORDS, st.randoms())
@settings(deadline=None)
def test_no_order_of_messages_is_too_strange(script: list[tuple[list[str], str]], random: object) -> None:
    messages = conversation(script)
    random.shuffle(messages)  # type: ignore[attr-defined]
    assert detect(messages, LIMITS).level in ("none", "warn", "nudge", "block")
