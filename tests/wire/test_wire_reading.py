"""The short way of reading the commonest message says what the long way says."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire import anthropic_messages, openai_messages
from proxy.wire.call import WireError
from proxy.wire.reading import plain, plain_result

ROLES = ["user", "assistant", "system", "tool", "developer", "odd"]


@given(st.sampled_from(ROLES), st.text(), st.booleans(), st.booleans())
def test_both_ways_agree(role: str, content: str, ascii_only: bool, spaced: bool) -> None:
    separators = (", ", ": ") if spaced else (",", ":")
    raw = json.dumps({"role": role, "content": content}, ensure_ascii=ascii_only, separators=separators).encode("utf-8", "replace")
    found = plain(raw)
    assert (found is not None) is (role in ("user", "assistant", "system") and not spaced)
    if found is not None:
        assert found == openai_messages._read(raw) == anthropic_messages._read(raw)


@pytest.mark.parametrize(
    "rest",
    [
        b'a","role":"system"}',
        b'a","content":"b"}',
        b'a","name":"n"}',
        b'a"} ',
        b'a" }',
        b"a\n" + b'"}',
        b'\\x"}',
        b"a",
        b'\xff"}',
        b'a"]',
        b'a"}}',
        b"{",
    ],
)
def test_anything_else_goes_the_long_way(rest: bytes) -> None:
    raw = b'{"role":"user","content":"' + rest
    assert plain(raw) is None
    if rest.startswith(b'a","') and not rest.endswith(b'"n"}'):
        with pytest.raises(WireError, match="twice"):
            openai_messages.parse_message(raw)


@given(st.binary(max_size=12))
def test_half_surrogates_and_any_bytes_agree_or_are_left_to_the_long_way(rest: bytes) -> None:
    for middle in (rest, b"\\ud800", b"\\ud83d\\ude00", b"\\u0000"):
        raw = b'{"role":"user","content":"%b"}' % middle
        found = plain(raw)
        if found is not None:
            assert found == openai_messages._read(raw)


@given(st.text(), st.text(), st.booleans(), st.sampled_from([(",", ":"), (", ", ": ")]))
def test_a_tools_answer_reads_the_same_both_ways(id: str, content: str, ascii_only: bool, separators: tuple[str, str]) -> None:
    value = {"role": "tool", "tool_call_id": id, "content": content}
    raw = json.dumps(value, ensure_ascii=ascii_only, separators=separators).encode("utf-8", "replace")
    found = plain_result(raw)
    assert (found is not None) is (separators == (",", ":"))
    assert openai_messages.parse_message(raw) == openai_messages._read(raw)
    assert found in (None, openai_messages._read(raw))


@pytest.mark.parametrize(
    "rest",
    [
        b'c","content":[]}',
        b'c","content":"a","name":"n"}',
        b'c","name":"n","content":"a"}',
        b'c","content":"a"} ',
        b'c","content":"a"]',
        b'c","content":"a',
        b"c",
        b'\\x","content":"a"}',
        b'\xff","content":"a"}',
    ],
)
def test_any_other_answer_goes_the_long_way(rest: bytes) -> None:
    assert plain_result(b'{"role":"tool","tool_call_id":"' + rest) is None
    assert plain_result(b'{"role":"user","content":"a"}') is None


def test_half_surrogates_in_a_tools_answer_agree() -> None:
    raw = b'{"role":"tool","tool_call_id":"\\ud800","content":"\\udfff"}'
    assert plain_result(raw) == openai_messages._read(raw)
