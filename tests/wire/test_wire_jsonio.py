from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire import jsonio
from proxy.wire.call import WireError

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('abcü"', max_size=3), inner, max_size=3),
    max_leaves=8,
)
_keys = st.text("abcdefü_", min_size=1, max_size=5)


@given(st.dictionaries(_keys, _json, max_size=6), st.sampled_from([None, 1]), st.booleans())
def test_members_are_the_values_of_a_full_parse(value: dict[str, Any], indent: int | None, ascii_only: bool) -> None:
    body = json.dumps(value, indent=indent, ensure_ascii=False).encode()
    spans = jsonio.members(body, "t")
    assert {key: json.loads(body[a:b]) for key, (a, b) in spans.items()} == value


@given(st.dictionaries(_keys, _json, max_size=5), st.dictionaries(_keys, _json, max_size=3))
def test_splicing_changes_just_those_values(value: dict[str, Any], changes: dict[str, Any]) -> None:
    body = json.dumps(value, ensure_ascii=False).encode()
    out = jsonio.splice(body, jsonio.members(body, "t"), {k: jsonio.dumps(v) for k, v in changes.items()})
    assert json.loads(out) == value | changes
    jsonio.members(out, "t")


@given(st.dictionaries(_keys, _json, min_size=1, max_size=5), st.data())
def test_a_key_that_stands_twice_is_refused(value: dict[str, Any], data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(value)))
    again = data.draw(_json)
    body = json.dumps(value, ensure_ascii=False)[:-1] + f",{json.dumps(key, ensure_ascii=False)}:{json.dumps(again)}" + "}"
    with pytest.raises(WireError):
        jsonio.members(body.encode(), "t")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"[]", "must be a JSON object"),
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b'{"a":1,}', "not JSON"),
        (b'{"a":1} x', "not JSON"),
        (b'{"a":NaN}', "not JSON"),
        (b'{"a":1,"a":1}', "stands here twice"),
        (b'{"a":12,"a":1}', "stands here twice"),
        (b'{"a":1,"b":{"a":2},"a":{"b":2}}', "stands here twice"),
        (b'{"mod\\u0065l":1}', "written with escapes"),
        (b'{"model":1,"mod\\u0065l":2}', "stands here twice"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deep"),
    ],
)
def test_what_is_ambiguous_or_no_object_is_refused(body: bytes, words: str) -> None:
    with pytest.raises(WireError, match=words):
        jsonio.members(body, "t")


def test_an_empty_object_has_no_members() -> None:
    assert jsonio.members(b" { } ", "t") == {}
    assert jsonio.splice(b"{ }", {}, {"a": b"1"}) == b'{"a":1 }'


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b'{"a":{"b":1,"b":2}}', "/p/b"),
        (b"[NaN]", "NaN is not JSON"),
        (b'"\xff"', "not UTF-8 at byte 1"),
        (b"[1", "not JSON"),
        (b"[" * 100_000, "too deep"),
    ],
)
def test_strict_reading(raw: bytes, words: str) -> None:
    with pytest.raises(WireError, match=words):
        jsonio.strict(raw, "t", "/p")


def test_elements_and_utf8_and_look_alikes() -> None:
    assert jsonio.elements(b'[1, {"a": 2}]', "t", "/x") == [b"1", b'{"a": 2}']
    with pytest.raises(WireError, match="must be an array"):
        jsonio.elements(b"{}", "t", "/x")
    jsonio.utf8("ü".encode(), "t")
    with pytest.raises(WireError, match="not UTF-8 at byte 2"):
        jsonio.utf8(b"ab\xff", "t")
    jsonio.look_alikes(["model", "other"], {"model"}, "t")
    for key in ("Model", "MODEL", "\u017ftream"):  # long s folds to s, as Go's JSON reader does
        with pytest.raises(WireError, match="in other letters"):
            jsonio.look_alikes([key], {"model", "stream"}, "t")


def test_signatures_are_equal_for_equal_arguments() -> None:
    same = {jsonio.signature("f", text) for text in ('{"a":1,"b":[2]}', '{ "b": [2], "a": 1 }')}
    assert len(same) == 1
    assert jsonio.signature("f", "") == jsonio.signature("f", "{}")
    different = {("f", "{}"), ("g", "{}"), ("f", '{"a":1}'), ("f", "not json"), ("f", "not  json"), ("f", "[" * 100_000), ("f", '"\ud800"')}
    assert len({jsonio.signature(*pair) for pair in different}) == len(different)


def test_texts_are_made_fit_to_encode() -> None:
    assert jsonio.clean("a\ud83d!") == "a\ufffd!"
    assert jsonio.clean("\ud83d\ude00") == "\U0001f600"
    assert jsonio.clean("ü") == "ü"
    assert jsonio.readable({"a": "ü\ud800"}) == '{"a":"ü\ufffd"}'
    assert jsonio.dumps({"a": "ü\ud800"}) == b'{"a":"\\u00fc\\ud800"}'
    assert jsonio.fingerprint(b"a") != jsonio.fingerprint(b"b")


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a":["\xc3\xa9",1,2.5,null]}', {"a": ["é", 1, 2.5, None]}),
        (b'"a\\ud800"', "a\ud800"),
        (b"123456789012345678901234567890", 123456789012345678901234567890),
        (b"1e999", None),
        (b"{", None),
        (b"[" * 99999, None),
        (b"\xff", None),
    ],
)
def test_a_body_that_was_proved_before_is_parsed_fast(body: bytes, value: Any) -> None:
    assert jsonio.parsed(body) == value


@pytest.mark.parametrize("value", [{"a": ["é\u2028", 1, 2.5, None, True]}, "a\ud800", 10**30])
def test_what_is_encoded_reads_as_it_was(value: Any) -> None:
    assert json.loads(jsonio.encoded(value)) == value


def test_half_a_surrogate_hides_nothing_of_a_reply() -> None:
    decoder = msgspec.json.Decoder(dict[str, str])
    assert jsonio.decoded(decoder, b'{"a":"b"}') == {"a": "b"}
    assert jsonio.decoded(decoder, b'{"a":"b\\ud83d","c":"d"}') == {"a": "b\ufffd", "c": "d"}
    for broken in (b'{"a":5}', b'{"a":', b'{"a":"\\ud83d","c":5}', b"\xff", b"[" * 99999):
        with pytest.raises((msgspec.DecodeError, UnicodeDecodeError, RecursionError)):
            jsonio.decoded(decoder, broken)


def test_a_line_is_one_for_every_client() -> None:
    assert jsonio.line({"a": "b"}) == b'{"a":"b"}'
    text = "a\u2028b\x85c\u2029d\x0be\ud83d"
    found = jsonio.line({"a": text})
    assert len(found.decode().splitlines()) == 1
    assert json.loads(found) == {"a": text}
