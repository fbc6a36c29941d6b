"""How hard requests look."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.routing.features import WINDOW, features, last_user_text
from proxy.routing.rules import MAX_TURNS_LOCAL, difficulty, simple
from proxy.wire.call import Call, Media, Message, Operation, ToolCall, ToolResult, Tools, ToolSpec

HELLO = "Hello, how are you?"
PROOF = (
    "Prove that the sum $\\sum_{k=1}^n k^3 = (n(n+1)/2)^2$ holds for every n >= 1, explain why the induction step is valid, "
    "then derive a closed form for the sum of fifth powers and compare both. Show all of your reasoning. " * 3
)
CODE = "Debug this function and explain the deadlock:\n```python\ndef f(a):\n    return a == 1\n" + "x = f(2)\n" * 60 + "```"


def chat(text: str, *before: Message, tools: int = 0, operation: Operation = "chat") -> Call:
    body = b"x" * sum(len(t) for m in before for t in m.texts) + text.encode("utf-8", "replace")
    specs = tuple(ToolSpec(f"t{n}") for n in range(tools))
    return Call(operation, "m", body, messages=(*before, Message(b"", "user", (text,))), tools=Tools(specs))


def score(text: str, *before: Message, tools: int = 0) -> float:
    found = difficulty(chat(text, *before, tools=tools))
    assert found is not None
    return found.score


USER, ASSISTANT = Message(b"", "user", ("more",)), Message(b"", "assistant", ("answer",))
RESULT = Message(b"", "tool", ("42",), tool_results=(ToolResult("1", b"d"),))
CALLING = Message(b"", "assistant", (), (ToolCall("1", "t", "{}", b"s"),))
PICTURE = Message(b"", "user", ("see",), media=(Media("image_url", 100),))


@pytest.mark.parametrize(
    ("easier", "harder"),
    [
        (HELLO, PROOF),
        (HELLO, CODE),
        ("What is the capital of France?", "Why did the capital of France move, and how do historians explain and evaluate it?"),
        ("Classify the sentiment: I love it", "Explain the sentiment: I love it"),
        ("x" * 200, "x" * 2000),
        ("Add 2 and 2", "Solve x^2 - 5x + 9 = 0 for x, then compute (x - 1)^3 + 2x = ? and 4x^2 + 3y = 12 for y"),
    ],
)
def test_ranks_what_is_plainly_harder_higher(easier: str, harder: str) -> None:
    assert score(easier) < score(harder)


def test_the_shape_of_the_call_counts() -> None:
    alone = score(HELLO)
    assert score(HELLO, tools=2) > alone
    assert score(HELLO, USER, ASSISTANT, USER, ASSISTANT) > alone
    assert score(HELLO, CALLING, RESULT) > alone


def test_plain_talk_is_below_the_default_threshold_and_hard_work_above() -> None:
    assert score(HELLO) < 0.35 < score(PROOF)
    assert score(CODE) > 0.35


def test_gives_up_to_three_reasons() -> None:
    hard, easy = difficulty(chat(PROOF, tools=1)), difficulty(chat(HELLO))
    assert hard is not None
    assert easy is not None
    assert len(hard.reasons) == 3
    assert "words of reasoning" not in easy.reasons
    assert "asks for a routine job" in (difficulty(chat("Translate this: Guten Tag")) or hard).reasons
    assert (difficulty(chat("k")) or hard).reasons == ("short and plain",)


@pytest.mark.parametrize(
    "messages", [(), (ASSISTANT,), (USER, CALLING, RESULT), (Message(b"", "user", (), tool_results=(ToolResult("1", b"d"),)),)]
)
def test_scores_only_a_turn_of_the_user(messages: tuple[Message, ...]) -> None:
    call = Call("chat", "m", b"{}", messages=messages)
    assert last_user_text(call) is None
    assert difficulty(call) is None


def test_reads_only_the_ends_of_a_long_text() -> None:
    middle = "a" * 100_000
    seen = features(chat(""), middle + " prove " + middle)
    assert seen.hard == 0
    assert seen.chars == 200_007
    assert features(chat(""), "prove " + middle).hard == 1
    assert features(chat(""), middle + " why").hard == 1
    assert features(chat(""), middle).words <= 2 * WINDOW


@given(st.text(max_size=3000), st.integers(0, 3), st.booleans())
def test_the_score_is_a_share_and_the_same_each_time(text: str, tools: int, talked: bool) -> None:
    call = chat(text or "x", *((USER, ASSISTANT) if talked else ()), tools=tools)
    first = difficulty(call)
    assert first is not None
    assert 0 <= first.score <= 1
    assert 1 <= len(first.reasons) <= 3
    assert difficulty(call) == first


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=500))
def test_tools_never_make_a_request_look_simpler(text: str) -> None:
    assert score(text, tools=1) >= score(text)


def test_takes_any_text_that_json_can_carry() -> None:
    assert 0 <= score("\ud800 lone surrogate \x00") <= 1


@pytest.mark.parametrize(
    ("call", "value", "expected"),
    [
        (chat(HELLO), 0.1, True),
        (chat(HELLO), 0.35, False),
        (chat(HELLO, tools=1), 0.1, False),
        (chat(HELLO, operation="count_tokens"), 0.1, False),
        (chat(HELLO, PICTURE), 0.1, False),
        (chat(HELLO, CALLING, RESULT), 0.1, False),
        (chat(HELLO, *[USER, ASSISTANT] * (MAX_TURNS_LOCAL - 1)), 0.1, True),
        (chat(HELLO, *[USER, ASSISTANT] * MAX_TURNS_LOCAL), 0.1, False),
    ],
)
def test_only_plain_early_questions_are_simple(call: Call, value: float, expected: bool) -> None:
    assert simple(call, value, 0.35) is expected
