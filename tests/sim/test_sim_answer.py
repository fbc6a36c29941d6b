"""What the simulated model says: it follows from the request, keeps to ceilings, and its tokens add up."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.sim.answer import TOOL_CALL_TOKENS, Turn, compose, count, cut, seed_of
from proxy.sim.script import PLAIN, Script

WEATHER = (
    "get_weather",
    {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "unit": {"type": "string", "enum": ["C", "F"]}},
    },
)


def turn(question: str = "hi", **more: object) -> Turn:
    return dataclasses.replace(Turn(seed=seed_of(question), question=question), **more)  # type: ignore[arg-type]


@given(st.text(), st.booleans())
def test_cutting_loses_nothing(text: str, arguments: bool) -> None:
    assert "".join(cut(text, arguments=arguments)) == text
    assert count(text) == len(cut(text))


@pytest.mark.parametrize(
    ("question", "says"),
    [
        ("What is 17 + 4?", "17 + 4 = 21."),
        ("What is 6 x 7?", "6 x 7 = 42."),
        ("what is 3-5", "3 - 5 = -2."),
        ("What is the capital of Japan?", "The capital of Japan is Tokyo."),
        ("", "Hello! How can I help?"),
    ],
)
def test_the_default_answer_fits_the_question(question: str, says: str) -> None:
    said = compose(turn(question), PLAIN)
    assert (said.text, said.stopped, said.tokens) == (says, "stop", count(says))


def test_json_on_request() -> None:
    assert compose(turn("Answer in json please"), PLAIN).text.startswith('{"answer": ')


@given(st.integers(1, 40), st.integers(0, 60), st.integers(0, 20), st.booleans())
def test_a_ceiling_holds_unless_it_is_to_be_ignored(ceiling: int, tokens: int, reasoning: int, ignore: bool) -> None:
    said = compose(turn(ceiling=ceiling), Script(tokens=tokens, reasoning=reasoning, ignore_max=ignore))
    if ignore:
        assert (said.tokens, said.stopped) == (tokens + reasoning, "stop")
    else:
        assert said.tokens <= ceiling
        assert (said.stopped == "length") == (tokens > ceiling - said.reasoning)
    assert said.tokens == len(said.pieces) + said.reasoning


@given(st.integers(1, 60))
def test_tool_calls_keep_to_the_ceiling_too(ceiling: int) -> None:
    wish = Script(tool_calls=[{"name": "a", "arguments": {"text": "some words in here"}}, {"name": "b"}])
    full = compose(turn(), wish)
    said = compose(turn(ceiling=ceiling), wish)
    assert said.tokens <= ceiling
    assert (said.stopped == "tool") == (ceiling >= full.tokens)


def test_exactly_so_many_tokens() -> None:
    said = compose(turn(), Script(tokens=1000))
    assert (said.tokens, count(said.text)) == (1000, 1000)


def test_choices_differ_and_repeat() -> None:
    first, second = (compose(turn(), Script(tokens=20), i).text for i in (0, 1))
    assert first != second
    assert compose(turn(), Script(tokens=20), 1).text == second


def test_a_tool_is_called_when_named_or_demanded() -> None:
    said = compose(turn("Please get_weather for me", tools=(WEATHER,)), PLAIN)
    assert [(t.name, t.arguments) for t in said.tools] == [("get_weather", '{"city":"Please get_weather for me","days":1,"unit":"C"}')]
    assert said.stopped == "tool"
    assert said.tokens == TOOL_CALL_TOKENS + len(said.tools[0].pieces)
    assert compose(turn("hi", tools=(WEATHER,)), PLAIN).tools == ()
    assert compose(turn("hi", tools=(WEATHER,), force="*"), PLAIN).tools
    assert compose(turn("hi", tools=(WEATHER,), force="other"), PLAIN).tools == ()


def test_results_are_answered_in_words_except_by_a_repeated_tool() -> None:
    after = turn("go", results=("12 degrees",))
    once, forever = Script(tool_calls=[{"name": "a"}]), Script(repeat_tool={"name": "a"})
    assert compose(after, once).text == "The tool returned: 12 degrees. That is all I needed."
    assert [t.name for t in compose(after, forever).tools] == ["a"]
    assert [t.name for t in compose(turn("go"), once).tools] == ["a"]


def test_a_stop_sequence_ends_the_answer() -> None:
    said = compose(turn("What is the capital of Japan?", stop=(" is", "of")), PLAIN)
    assert (said.text, said.stopped) == ("The capital ", "sequence:of")
    assert said.tokens == count(said.text)
