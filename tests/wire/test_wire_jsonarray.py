from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.call import WireError
from proxy.wire.jsonarray import Elements

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(['"]}', "\\", '\\"', "[{", "é\u2028"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
objects = st.lists(st.dictionaries(st.text(max_size=5), values, max_size=4), max_size=6)
styles = st.sampled_from([(None, ",", "[", "]"), (2, "\n,\r\n", "[", "\n]\n"), (None, " , ", " \r\n[ ", " ] \t")])


def fed(text: bytes, sizes: list[int], max_event: int = 1 << 20) -> tuple[list[bytes], bytes]:
    framing, events, position = Elements(max_event), list[bytes](), 0
    for size in [*sizes, len(text)]:
        events += framing.feed(text[position : position + size])
        position += size
    return events, framing.rest()


@given(objects, styles, st.booleans(), st.lists(st.integers(0, 9), max_size=80))
def test_any_chunking_gives_the_same_elements(items: list[Any], style: tuple[Any, ...], plain: bool, sizes: list[int]) -> None:
    indent, comma, opening, closing = style
    pieces = [json.dumps(item, indent=indent, ensure_ascii=plain) for item in items]
    text = (opening + comma.join(pieces) + closing).encode("utf-8", "surrogatepass")
    events, rest = fed(text, sizes)
    assert b"".join(events) + rest == text
    *elements, end = events
    assert [e.lstrip(b"[, \t\r\n") for e in elements] == [p.encode("utf-8", "surrogatepass") for p in pieces]
    assert end.strip(b"[ \t\r\n") == b"]"
    assert not rest.strip()


@given(st.binary(max_size=60), st.lists(st.integers(0, 5), max_size=40))
def test_no_byte_is_lost_whatever_comes(noise: bytes, sizes: list[int]) -> None:
    text = b'[{"a":"' + noise
    try:
        events, rest = fed(text, sizes)
    except WireError:
        return
    assert b"".join(events) + rest == text


def test_an_element_leaves_with_its_last_byte() -> None:
    framing = Elements()
    assert framing.feed(b'[{"a":') == []
    assert framing.feed(b"1}") == [b'[{"a":1}']
    assert framing.feed(b"\n,\r\n{}") == [b"\n,\r\n{}"]
    assert framing.feed(b"\n") == []
    assert framing.feed(b"]") == [b"\n]"]
    assert framing.feed(b"\n") == []
    assert (framing.rest(), framing.rest()) == (b"\n", b"")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'{"error":{}}', "not a JSON array"),
        (b"data: {}", "not a JSON array"),
        (b"[{}][", "behind its end"),
        (b'[]\n"', "behind its end"),
        (b'[{"a":"' + b"x" * 100, "over 90 bytes"),
        (b"[{}]" + b" " * 100, "over 90 bytes"),
    ],
)
def test_faults_of_the_upstream(text: bytes, words: str) -> None:
    for sizes in ([], [1] * len(text), [5] * (len(text) // 5)):
        with pytest.raises(WireError, match=words):
            fed(text, sizes, 90)


def test_every_byte_is_looked_at_once() -> None:
    """A long string in tiny chunks: re-scanning what is held would take minutes."""
    framing, text = Elements(), b'[{"a":"' + b'x\\"\\\\]}' * 100_000 + b'"}]'
    events = [event for i in range(0, len(text), 7) for event in framing.feed(text[i : i + 7])]
    assert b"".join(events) == text
    assert len(events) == 2
