"""Words are replaced wherever a parser would read them, and nothing else moves."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.editing import change_strings, replace_words

WORDS = {"a@b.io": "[EMAIL_1]", "a@b.io.uk": "[EMAIL_2]"}
texts = st.text(st.sampled_from('a@b.iouk" \\/\n\u00e9\U0001f600{}[]:,'), max_size=24) | st.sampled_from(["a@b.io", "x a@b.io.uk y"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=12,
)


def swapped(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("a@b.io.uk", "[EMAIL_2]").replace("a@b.io", "[EMAIL_1]")
    if isinstance(value, list):
        return [swapped(item) for item in value]
    return {key: swapped(item) for key, item in value.items()} if isinstance(value, dict) else value


@given(values, st.booleans())
def test_it_is_what_a_parser_would_do(value: Any, ascii_only: bool) -> None:
    raw = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    assert json.loads(replace_words(raw, WORDS)) == swapped(value)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'{"a": "mail a@b.io", "n": 1.50 }', b'{"a": "mail [EMAIL_1]", "n": 1.50 }'),
        (b'{"a":"a\\u0040b.io"}', b'{"a":"[EMAIL_1]"}'),
        (b'{"a@b.io": 1}', b'{"a@b.io": 1}'),
        (b'{"a@b.io" : "a@b.io"}', b'{"a@b.io" : "[EMAIL_1]"}'),
        ('["é a@b.io"]'.encode(), '["é [EMAIL_1]"]'.encode()),
        (b'{"arguments":"{\\"to\\":\\"a\\\\u0040b.io\\"}"}', b'{"arguments":"{\\"to\\":\\"[EMAIL_1]\\"}"}'),
        (b'data: {"t":"a@b.io"}\n\n', b'data: {"t":"[EMAIL_1]"}\n\n'),
    ],
)
def test_bytes_outside_stay(raw: bytes, expected: bytes) -> None:
    assert replace_words(raw, WORDS) == expected


@pytest.mark.parametrize("raw", [b'{"a":"b"}', b"", b'"\\x"', b'{"a":"\\n"}', b'"open'])
def test_what_has_none_is_the_same_object(raw: bytes) -> None:
    assert replace_words(raw, WORDS) is raw
    assert replace_words(raw, {}) is raw
    assert change_strings(raw, lambda text: text) is raw
