"""Which conversations count as going in circles."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.loops.rules import NO_REPEAT, Repeat, judge, repeats
from proxy.model import LoopLimits
from proxy.wire.call import Message, ToolCall, ToolResult


def call(letter: str, call_id: str = "") -> ToolCall:
    return ToolCall(call_id, letter.lower(), "{}", letter.encode())


def conversation(script: str) -> list[Message]:
    """Return a conversation from letters: `u` a user's turn, `s` a system note, `t` the assistant talks, capital letters a step of
    parallel calls (joined by `+`), each answered by a result; `>` before a step puts its result in the user's role."""
    messages: list[Message] = []
    for n, word in enumerate(script.split()):
        plain = {"u": "user", "s": "system", "t": "assistant"}.get(word)
        if plain:
            messages.append(Message(b"", plain, ("words",)))
            continue
        letters = word.lstrip(">").split("+")
        calls = tuple(call(letter, f"id{n}-{i}") for i, letter in enumerate(letters))
        messages.append(Message(b"", "assistant", ("thought " + word,), calls))
        results = tuple(ToolResult(c.id, b"result") for c in calls)
        messages.append(Message(b"", "user" if word.startswith(">") else "tool", ("text",), tool_results=results))
    return messages


@pytest.mark.parametrize(
    ("script", "count", "tools"),
    [
        ("", 0, ()),
        ("u", 0, ()),
        ("u t u", 0, ()),
        ("u A", 1, ("a",)),
        ("u A A A", 3, ("a",)),
        ("u B A A A", 3, ("a",)),
        ("u A A A B", 1, ("b",)),
        ("u A B A B", 1, ("b",)),
        ("u A A u A A", 2, ("a",)),
        ("u A A u", 0, ()),
        ("u A t A t A", 3, ("a",)),
        ("u A s A", 2, ("a",)),
        ("u >A >A >A >A", 4, ("a",)),
        ("u A+B A+B A+B", 3, ("a", "b")),
        ("u A+B B+A", 2, ("b", "a")),
        ("u A+A A", 1, ("a",)),
        ("u A+B A", 1, ("a",)),
        ("u A+A A+A", 2, ("a",)),
    ],
)
def test_counts_the_run_of_equal_steps_at_the_end(script: str, count: int, tools: tuple[str, ...]) -> None:
    assert repeats(conversation(script)) == Repeat(count, tools)


def test_a_message_sent_twice_counts_once() -> None:
    once = conversation("u A A")
    assert repeats([*once, *once[-2:]]).count == 2
    assert repeats([*once, *once[1:]]).count == 2


def test_calls_without_an_id_each_count() -> None:
    assert repeats([Message(b"", "assistant", (), (call("A"),)) for _ in range(4)]) == Repeat(4, ("a",))


def test_a_partly_repeated_message_counts_what_is_new_in_it() -> None:
    messages = [
        Message(b"", "assistant", (), (call("A", "1"),)),
        Message(b"", "assistant", (), (call("A", "2"), call("B", "1"))),
    ]
    assert repeats(messages).count == 1


class Untouched(list[Message]):
    """A conversation that fails when it is read further back than `reach` messages."""

    def __init__(self, messages: list[Message], reach: int) -> None:
        super().__init__(messages)
        self.reach = reach

    def __reversed__(self):  # type: ignore[no-untyped-def]
        for n, message in enumerate(super().__reversed__()):
            assert n < self.reach, "read more than the tail"
            yield message


def test_reads_only_the_tail_of_a_long_conversation() -> None:
    long = conversation("u " + "A " * 500 + "B C C")
    assert repeats(Untouched(long, reach=6)).count == 2


@pytest.mark.parametrize(
    ("count", "limits", "level"),
    [
        (2, LoopLimits(3, 5), "none"),
        (3, LoopLimits(3, 5), "warn"),
        (4, LoopLimits(3, 5), "warn"),
        (5, LoopLimits(3, 5), "block"),
        (9, LoopLimits(3, 5), "block"),
        (9, LoopLimits(3, 5, act="warn"), "warn"),
        (9, LoopLimits(3, 5, act="nudge"), "nudge"),
        (4, LoopLimits(3, 5, act="nudge"), "warn"),
        (2, LoopLimits(5, 2), "block"),
        (2, LoopLimits(5, 2, act="warn"), "warn"),
        (0, LoopLimits(3, 5), "none"),
    ],
)
def test_judges_by_the_limits(count: int, limits: LoopLimits, level: str) -> None:
    found = judge(Repeat(count, ("a",)), limits)
    assert (found.level, found.rule, found.count) == ((level, "identical", count) if level != "none" else ("none", "", 0))
    assert found.since == max(0, found.count - 1)


steps = st.lists(st.sampled_from(["u", "t", "s", "A", "B", "A+B", ">A"]), max_size=30)


@given(steps)
def test_a_new_human_turn_always_ends_it_and_one_more_step_adds_at_most_one(words: list[str]) -> None:
    before = repeats(conversation(" ".join(words)))
    assert repeats(conversation(" ".join([*words, "u"]))) == NO_REPEAT
    after = repeats(conversation(" ".join([*words, "A"])))
    assert after.count == (before.count + 1 if before.tools == ("a",) else 1)


@given(steps, st.integers(1, 40))
def test_what_came_before_the_run_is_no_part_of_it(words: list[str], length: int) -> None:
    script = " ".join([*words, "C", *["B"] * length])
    assert repeats(conversation(script)) == Repeat(length, ("b",))


def test_servers_that_number_every_call_alike_hide_no_loop() -> None:
    steps = [Message(b"", "assistant", (), (call("A", "call_0"),)) for _ in range(6)]
    assert repeats(steps).count == 5
    assert repeats(steps[:2]).count == 1


def items(script: str) -> list[Message]:
    """Return a conversation in items: `u` a user's turn, `r` reasoning, `t` words, others a step, whose calls and results are items."""
    messages: list[Message] = []
    for n, word in enumerate(script.split()):
        role = {"u": "user", "r": "reasoning", "t": "assistant"}.get(word)
        if role:
            messages.append(Message(b"", role, ("words",), item=True))
            continue
        calls = [call(letter, f"id{n}-{i}") for i, letter in enumerate(word.split("+"))]
        messages += [Message(b"", "assistant", (), (one,), item=True) for one in calls]
        messages += [Message(b"", "tool", (), tool_results=(ToolResult(one.id, b"result"),), item=True) for one in calls]
    return messages


@pytest.mark.parametrize(
    ("script", "count", "tools"),
    [
        ("u A A A", 3, ("a",)),
        ("u A+B A+B A+B", 3, ("a", "b")),
        ("u r A+B r B+A r A+B", 3, ("a", "b")),
        ("u A+A A+A", 2, ("a",)),
        ("u A+B A", 1, ("a",)),
        ("u A t A", 2, ("a",)),
        ("A+B", 1, ("a", "b")),
        ("A u A", 1, ("a",)),
        ("A u", 0, ()),
    ],
)
def test_calls_that_are_items_of_one_step_count_together(script: str, count: int, tools: tuple[str, ...]) -> None:
    assert repeats(items(script)) == Repeat(count, tools)


def test_reasoning_between_the_calls_of_a_step_does_not_part_them() -> None:
    step = [m for m in items("A+B") if m.tool_calls]
    thought = Message(b"", "reasoning", (), item=True)
    results = items("A+B")[2:]
    assert repeats([step[0], thought, step[1], *results]) == Repeat(1, ("a", "b"))
