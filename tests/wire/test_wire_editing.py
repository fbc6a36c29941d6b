"""Words are replaced wherever a parser would read them, and nothing else moves."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.call import Call
from proxy.wire.editing import change_strings, event_json, event_with, named_event, replace_words, stands
from proxy.wire.registry import ROUTES, find
from proxy.wire.translate.bridge import TARGETS

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


def test_json_inside_of_a_string_stays_json() -> None:
    inner = {"to": "[A]", "[A]": ["x [A]"], "deep": json.dumps({"k": 1})}
    words = {"[A]": 'say "hi" \\ \n'}
    raw = json.dumps({"arguments": json.dumps(inner), "text": '{"[A]'}).encode()
    found = json.loads(replace_words(raw, words))
    new = words["[A]"]
    assert json.loads(found["arguments"]) == {"to": new, new: [f"x {new}"], "deep": inner["deep"]}
    assert found["text"] == f'{{"{new}'
    assert json.loads(replace_words(replace_words(raw, words), {new: "[A]"})) == json.loads(raw)


@pytest.mark.parametrize("raw", [b'{"a":"b"}', b"", b'"\\x"', b'{"a":"\\n"}', b'"open'])
def test_what_has_none_is_the_same_object(raw: bytes) -> None:
    assert replace_words(raw, WORDS) is raw
    assert replace_words(raw, {}) is raw
    assert change_strings(raw, lambda text: text) is raw


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'data: {"a":1}\n\n', b'data: {"b":2}\n\n'),
        (b'data:{"a":1}\r\n\r\n', b'data: {"b":2}\r\n\r\n'),
        (b'\xef\xbb\xbfdata: {"a":1}\n\n', b'\xef\xbb\xbfdata: {"b":2}\n\n'),
        (b': {note}\nevent: x\ndata: {"a":\ndata: 1}\nid: 3\n\n', b': {note}\nevent: x\ndata: {"b":2}\nid: 3\n\n'),
        (b'event: x\rdata: {"a":1}\r\r', b'event: x\rdata: {"b":2}\r\r'),
    ],
)
def test_the_json_of_an_event_is_replaced_and_nothing_else(raw: bytes, expected: bytes) -> None:
    assert event_json(raw) == {"a": 1}
    assert event_with(raw, {"b": 2}) == expected


@pytest.mark.parametrize("raw", [b'{"a":1}\n', b'[{"a":1}', b'\n,\r\n{"a":1}', b' {"a":1} \r\n'])
def test_the_json_of_an_element_is_replaced(raw: bytes) -> None:
    assert event_json(raw, sse=False) == {"a": 1}
    assert event_with(raw, {"b": 2}, sse=False) == raw.replace(b'{"a":1}', b'{"b":2}')


def test_what_has_no_json() -> None:
    for raw in (b"data: [DONE]\n\n", b": hi\n\n", b"\n\n", b"data: {\n\n"):
        assert event_json(raw) is None
    assert event_json(b"\n]\n", sse=False) is None
    assert named_event({"type": "x", "a": "\u00e9"}) == b'event: x\ndata: {"type":"x","a":"\\u00e9"}\n\n'


def test_every_dialect_that_makes_text_can_be_changed() -> None:
    """A reply that nobody can change is refused to whoever has it looked at: `engine.gate.gate_for`."""
    found = set()
    for path in [*ROUTES, ("POST", "/v1beta/models/m:generateContent"), ("POST", "/v1/models/m:streamGenerateContent")]:
        codec = find(path[0], path[1], {})
        assert codec is not None
        call = Call("chat", "m", b"{}")
        if codec.editor(call) is not None:
            found.add(codec.dialect)
    assert found == {
        *("openai.chat", "openai.completions", "openai.responses", "anthropic.messages", "gemini.generate"),
        *("ollama.chat", "ollama.generate"),
    }
    assert {codec.dialect for codec in TARGETS.values() if codec.editor(call) is not None} == set(TARGETS)


@pytest.mark.parametrize("count", [2, 100])
def test_few_words_and_many_are_replaced_alike(count: int) -> None:
    words = {**{f"wörd{n}\ud800": f"[W_{n}]" for n in range(count)}, 'a"b': "[Q_1]"}
    inner = json.dumps({"x": 'a"b', "y": "wörd1\ud800"})
    body = {"one": 'say wörd0\ud800, wörd1\ud800 and a"b', "two": inner, "wörd1\ud800": "left"}
    told = json.loads(replace_words(json.dumps(body).encode(), words))
    assert told == {"one": "say [W_0], [W_1] and [Q_1]", "two": told["two"], "wörd1\ud800": "left"}
    assert json.loads(told["two"]) == {"x": "[Q_1]", "y": "[W_1]"}


def test_thousands_of_words_in_thousands_of_strings_take_no_product_of_both() -> None:
    words = {f"user{n}@corp.io": f"[EMAIL_{n}]" for n in range(4000)}
    raw = json.dumps([[word] for word in words]).encode()
    begun = time.process_time()
    assert replace_words(raw, words) == json.dumps([[new] for new in words.values()]).encode()
    assert time.process_time() - begun < 2  # one after the other they take 13 s


@pytest.mark.parametrize(
    ("raw", "found"),
    [(b'{"a": 4111}', True), (b'{"4111": 1}', True), (b'["4111"]', True), (b'["q\\"q"]', True), (b'["411", "q"]', False)],
)
def test_a_word_stands_anywhere(raw: bytes, found: bool) -> None:
    assert stands(raw, {"4111": "[A_1]", 'q"q': "[B_1]"}) is found
    assert not stands(raw, {})
