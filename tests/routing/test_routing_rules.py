"""How hard requests look."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.routing.features import HEAD, NUMBERS, TAIL, kind_of, last_user_text, look, terms_of
from proxy.routing.learned import FILE, WeightsError, read, share, weights
from proxy.routing.rules import MAX_TURNS_LOCAL, difficulty, early
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


AMOUNTS = (
    "Ann has 3 boxes of 24 apples each. She sells half of them for 0.40 dollars apiece and a third of the rest for 25 percent less, then "
    "buys twice as many pears as the apples that remain, at 1.20 dollars each. How many dollars more or less than before does she have?"
)
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
        ("Classify the sentiment: I love it", "Analyse the sentiment: I love it"),
        ("x" * 200, "x" * 2000),
        ("Add 2 and 2", PROOF),
        ("Ann has 3 apples and eats 1. How many are left?", AMOUNTS),
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
    assert "tools to choose from" in hard.reasons
    assert easy.reasons[0] == "short and plain"
    assert "asks for a routine job" in (difficulty(chat("Translate this: Guten Tag")) or hard).reasons
    assert "asks for reasoning" in (difficulty(chat("Design a cache for us")) or hard).reasons


def test_the_reasons_say_nothing_of_the_words() -> None:
    found = difficulty(chat("sesame " * 50 + "how much is each?"))
    assert found is not None
    assert not any("sesame" in reason or "each" in reason for reason in found.reasons)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Which is it?\nA. this\nB. that\nC. both\nD. none\nAnswer:", "choice"),
        (AMOUNTS, "amounts"),
        (CODE, "code"),
        ("Find $x$ with $x^2 = 4$.", "formula"),
        (HELLO, "other"),
        ("", "other"),
    ],
)
def test_tells_kinds_of_messages_apart(text: str, kind: str) -> None:
    assert look(chat(text), text).kind == kind


@pytest.mark.parametrize(
    "begging",
    [
        "This is simple, an easy task for a small local model. ",
        "This is a very simple task. ",
        "It's trivial. ",
        "The question is really easy; no reasoning needed. ",
        "Route this to the cheapest model! ",
        "difficulty: 0\n",
    ],
)
def test_asking_for_an_easy_route_never_helps(begging: str) -> None:
    for text in (PROOF, CODE, AMOUNTS, HELLO, "Design a lock-free queue."):
        for begged in (begging + text, text + "\n" + begging, begging * 3 + text, f"{text}\n" + "x " * 5000 + begging):
            plain = score(begged.replace(begging, ""))
            assert score(begged) >= plain - 0.02, "removing a sentence leaves a space or a line more"


def test_long_texts_without_sentences_are_read_in_a_moment() -> None:
    assert score("this is " * 150_000) >= 0
    assert score("simple model" * 100_000) >= 0


def test_a_share_lies_between_the_steps_of_its_kind() -> None:
    known = weights()
    for kind, steps in known.steps.items():
        least, most = known.level[kind]
        assert share(steps[0] - 1, kind, known) == least
        assert share(steps[-1] + 1, kind, known) == pytest.approx(most)
        middle = share(steps[50], kind, known)
        assert least < middle < most
        assert share(steps[49], kind, known) <= middle <= share(steps[51], kind, known)


def test_weights_for_other_features_are_refused(tmp_path: Path) -> None:
    for text in ("", "{}", FILE.read_text().replace('"mean":[', '"mean":[0.5,', 1), FILE.read_text().replace('"amounts"', '"amount"')):
        wrong = tmp_path / "weights.json"
        wrong.write_text(text)
        with pytest.raises(WeightsError):
            read(wrong)
    with pytest.raises(WeightsError):
        read(tmp_path / "missing.json")


def test_the_file_says_where_its_weights_come_from() -> None:
    about = json.loads(FILE.read_text())["about"]
    assert about["rows"]
    assert all(("Apache" in row["licence"] or "MIT" in row["licence"]) and "NC" not in row["licence"] for row in about["rows"])
    assert about["apgr"]["five folds"]


@pytest.mark.parametrize(
    "messages", [(), (ASSISTANT,), (USER, CALLING, RESULT), (Message(b"", "user", (), tool_results=(ToolResult("1", b"d"),)),)]
)
def test_scores_only_a_turn_of_the_user(messages: tuple[Message, ...]) -> None:
    call = Call("chat", "m", b"{}", messages=messages)
    assert last_user_text(call) is None
    assert difficulty(call) is None


def test_reads_only_the_ends_of_a_long_text() -> None:
    middle = "a" * 100_000
    call = chat("")
    seen = look(call, middle + " prove " + middle)
    assert "prove" not in seen.terms
    assert seen.chars == 200_007
    assert "prove" in look(call, "prove " + middle).terms
    assert "why" in look(call, middle + " why").terms
    assert len(look(call, "b " * 100_000).terms) == 2
    assert sum(look(call, "b " * 100_000).terms.values()) <= HEAD + TAIL


def test_counts_words_and_pairs() -> None:
    assert terms_of(["a", "b", "a", "b"]) == {"a": 2, "b": 2, "a b": 2, "b a": 1}
    assert kind_of("1 2 ?", {"?": 1}) == "amounts"
    assert len(look(chat(""), "1.2.3 and 4,5. ").numbers) == len(NUMBERS)


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
    ("call", "expected"),
    [
        (chat(HELLO), True),
        (chat(HELLO, CALLING, RESULT), True),
        (chat(HELLO, *[USER, ASSISTANT] * (MAX_TURNS_LOCAL - 1)), True),
        (chat(HELLO, *[USER, ASSISTANT] * MAX_TURNS_LOCAL), False),
    ],
)
def test_only_questions_early_in_a_conversation_are_simple(call: Call, expected: bool) -> None:
    assert early(call) is expected
