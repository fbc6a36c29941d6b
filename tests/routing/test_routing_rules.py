"""How hard requests look."""

from __future__ import annotations

import json
import math
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.routing.features import HEAD, KINDS, NUMBERS, TAIL, kind_of, last_user_text, look
from proxy.routing.learned import FILE, Weights, WeightsError, Written, compiled, parts, raw, read, share, weights
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
    shipped = json.loads(FILE.read_text())

    def refused(text: str) -> None:
        wrong = tmp_path / "weights.json"
        wrong.write_text(text)
        with pytest.raises(WeightsError):
            read(wrong)

    def changed(name: str, **by_kind: object) -> None:
        refused(json.dumps(shipped | {"weights": shipped["weights"] | {name: shipped["weights"][name] | by_kind}}))

    refused("")
    refused("{}")
    refused(FILE.read_text().replace('"amounts"', '"amount"'))
    changed("numbers", choice=shipped["weights"]["numbers"]["choice"][1:])
    changed("prior", other={"its colour": [0.0, 1.0, 0.5]})
    changed("trees", choice=[[[0, 1.0, 0, 0, 0.5]]])
    changed("trees", choice=[[[0, 1.0, 1, 2, 0.5], [-1, 0, 0, 0, 0.5]]])
    changed("trees", choice=[[[len(NUMBERS), 1.0, 1, 2, 0.5], [-1, 0, 0, 0, 0.5], [-1, 0, 0, 0, 0.1]]])
    changed("trees", choice=[[]])
    changed("steps", choice=[])
    with pytest.raises(WeightsError):
        read(tmp_path / "missing.json")


def small(**parts: object) -> Weights:
    """Return weights that say nothing but `parts`, of "other"."""
    plain: dict[str, dict[str, object]] = {
        "numbers": dict.fromkeys(KINDS, ()),
        "prior": {kind: {} for kind in KINDS},
        "trees": {kind: [] for kind in KINDS},
        "steps": dict.fromkeys(KINDS, (0.0, 1.0)),
        "level": dict.fromkeys(KINDS, (0.0, 1.0)),
    }
    terms = parts.pop("terms", {})
    made = {name: rows | ({"other": parts[name]} if name in parts else {}) for name, rows in plain.items()}
    return compiled(msgspec.convert({"terms": terms, **made}, Written))


def test_a_tree_adds_what_its_leaf_says_and_credits_the_numbers_on_the_way() -> None:
    length, commas = NUMBERS.index("its length"), NUMBERS.index("commas")
    tree = [(length, 3.0, 1, 2, 0.1), (-1, 0.0, 0, 0, -0.2), (commas, 0.5, 3, 4, 0.3), (-1, 0.0, 0, 0, 0.25), (-1, 0.0, 0, 0, 0.75)]
    known = small(trees=[tree, tree])
    for text, leaf, by_length, by_commas in (("short", -0.2, -0.3, 0.0), ("x" * 40, 0.25, 0.2, -0.05), ("x, " * 40, 0.75, 0.2, 0.45)):
        seen = look(chat(text), text)
        words, numbers = parts(seen, known)
        assert words == 0
        assert raw(seen, known) == pytest.approx(2 * leaf)
        assert numbers[length] == pytest.approx(2 * by_length)
        assert numbers[commas] == pytest.approx(2 * by_commas)


def test_words_and_pairs_count_by_how_rare_they_are() -> None:
    known = small(terms={"hard": (3.0, 0.5), "very hard": (4.0, 1.0), "easy": (1.0, -0.5)})
    said = {text: parts(look(chat(text), text), known)[0] for text in ("hard", "very hard", "hard, very", "easy", "easy easy", "nothing")}
    assert said["hard"] == said["hard, very"] == pytest.approx(0.5)
    assert said["very hard"] == pytest.approx((3 * 0.5 + 4 * 1.0) / 5)
    assert said["easy"] == said["easy easy"] == pytest.approx(-0.5)
    assert said["nothing"] == 0


def test_no_number_counts_beyond_three_deviations() -> None:
    known = small(prior={"its length": (1.0, 0.1, 0.5)})
    for text, expected in (("x" * 500, 1.5), ("x", -1.5)):
        assert raw(look(chat(text), text), known) == pytest.approx(expected)


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
    assert "prove" not in seen.counts
    assert seen.chars == 200_007
    assert "prove" in look(call, "prove " + middle).counts
    assert "why" in look(call, middle + " why").counts
    assert len(look(call, "b " * 100_000).counts) == 1
    assert sum(look(call, "b " * 100_000).counts.values()) <= HEAD + TAIL


def test_counts_words_numbers_and_signs() -> None:
    assert look(chat(""), "A word, a 42 and 4.5").counts == {"a": 2, "word": 1, ",": 1, "42": 1, "and": 1, "4": 1, ".": 1, "5": 1}
    assert kind_of("1 2 ?", {"1": 1, "2": 1, "?": 1}) == "amounts"
    assert kind_of("2 ?", {"2": 1, "?": 1}) == "other"
    for text in ("", "1.2.3 and 4,5. ", "Which?\nA. 1\nB. \nC. both\nD. none", CODE, "\ud800", "\uff11\uff12 \u0be7"):
        numbers = look(chat(""), text).numbers
        assert len(numbers) == len(NUMBERS)
        assert all(math.isfinite(number) for number in numbers)


def number(name: str, text: str) -> float:
    return look(chat(text), text).numbers[NUMBERS.index(name)]


def test_measures_what_its_names_say() -> None:
    answers = "Which is right?\nA. true, true\nB. true, false\nC. false, true\nD. 7 of 9"
    assert number("answers in numbers", answers) == 1
    assert number("repeated words in the answers", answers) < number("repeated words in the answers", "Which?\nA. one\nB. two")
    assert number("the length of the question", answers) == pytest.approx(math.log1p(len("Which is right?")))
    assert number("calls in code", "def f(a): return a.strip().lower()") == pytest.approx(math.log1p(2))
    assert number("names", "Ann met Bob") == pytest.approx(2 / 3)
    assert number("long numbers", "from 7 to 12345") == 5
    assert number("repeated words", "to be or not to be") == pytest.approx(4 / 6)
    assert number("comparisons", "twice the sum") == 1
    assert number("comparisons", "the sum") == 0


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
