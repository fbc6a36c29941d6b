"""Placeholders and spellings: one text has one placeholder, what comes back is the plain text, what cannot be reached is said."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.engine.redaction import MAX_LABEL, PLACEHOLDER, REACH, Redactions, unquoted
from proxy.guards.spelling import nested, unhidden
from proxy.wire.editing import replace_words


def never(placeholder: str) -> bool:
    return False


def test_numbers_by_appearance_and_label() -> None:
    made = Redactions(never)
    assert [made.hide(text, label) for text, label in [("a", "EMAIL"), ("b", "EMAIL"), ("a", "EMAIL"), ("c", "CARD")]] == [
        "[EMAIL_1]",
        "[EMAIL_2]",
        "[EMAIL_1]",
        "[CARD_1]",
    ]
    assert made.back == {"[EMAIL_1]": "a", "[EMAIL_2]": "b", "[CARD_1]": "c"}


def test_what_stands_there_already_is_left_to_its_writer() -> None:
    made = Redactions({"[EMAIL_1]", "[EMAIL_2]"}.__contains__)
    assert made.hide("a", "EMAIL") == "[EMAIL_3]"


def test_a_mark_and_a_long_label() -> None:
    made = Redactions(never, "ab12-").hide("a", "X" * 100)
    assert made == f"[{'X' * MAX_LABEL}_ab12-1]"
    assert PLACEHOLDER.fullmatch(made)
    assert len(made) <= REACH
    assert Redactions(never).hide("a", "") == "[REDACTED_1]"


@pytest.mark.parametrize("first", [True, False])
def test_both_spellings_have_one_placeholder_and_the_plain_one_comes_back(first: bool) -> None:
    made = Redactions(never)
    for quoted in (first, not first):
        assert made.hide("a\\nb" if quoted else "a\nb", "KEY", quoted=quoted) == "[KEY_1]"
    assert made.forth == {"a\\nb": "[KEY_1]", "a\nb": "[KEY_1]"}
    assert {hidden: text for text, hidden in made.forth.items()} == {"[KEY_1]": "a\nb"}


def test_a_backslash_of_plain_text_is_itself() -> None:
    made = Redactions(never)
    made.hide("C:\\new", "PATH")
    assert made.forth == {"C:\\new": "[PATH_1]"}
    assert unquoted('a"b') == 'a"b'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": "x\\u0040y"}', "x@y"),
        ('["\\u00e9", {"b": "c"}]', "é"),
        ("plain \\u0040", ""),
        ('{"a": "b"}', ""),
        ('{"a": "\\u00"', ""),
        ("[" * 9000 + "\\u", ""),
    ],
)
def test_nested(text: str, said: str) -> None:
    assert said in nested(text)
    assert bool(nested(text)) is bool(said)


WORDS = {"ann@corp.io": "[EMAIL_1]"}


@pytest.mark.parametrize(
    ("body", "out_of_reach"),
    [
        ({"a": "ann@corp.io"}, False),
        ({"a": ["x ann@corp.io y"]}, False),
        ({"a": json.dumps({"b": "ann@corp.io"})}, False),
        ({"a": json.dumps({"b": json.dumps({"c": "ann@corp.io"})})}, False),
        ({"a": '{"b": "ann\\u0040corp.io"}'}, False),
        ({"a": json.dumps({"b": '{"c": "ann\\u0040corp.io"}'})}, True),
        ({"ann@corp.io": 1}, True),
        ({"a": "ann@corp.io", "ann@corp.io": 1}, True),
        ({"a": "nothing"}, True),
    ],
)
def test_unhidden(body: object, out_of_reach: bool) -> None:
    assert unhidden(json.dumps(body).encode(), WORDS) is out_of_reach


def test_what_is_no_json_is_out_of_reach() -> None:
    assert unhidden(b"{", WORDS)


@given(
    st.recursive(st.text(max_size=8), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    st.text(min_size=4, max_size=12),
)
def test_what_is_said_to_be_hidden_is(value: object, secret: str) -> None:
    body = json.dumps({"v": value, "s": f"x {secret} y"}).encode()
    words = {secret: "[X_1]"}
    if not unhidden(body, words):
        assert secret not in json.loads(replace_words(body, words))["s"]
