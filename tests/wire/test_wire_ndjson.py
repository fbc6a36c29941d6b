from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.call import WireError
from proxy.wire.ndjson import Lines

LINES = st.lists(st.sampled_from([b'{"a":1}\n', b"\n", b"\r\n", b'{"b":"\\n"}\r\n', b"x" * 40 + b"\n", b"{"]), max_size=8)


@given(pieces=LINES, cuts=st.lists(st.integers(0, 200), max_size=8))
def test_all_that_goes_in_comes_out_cut_at_each_lf(pieces: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(pieces)
    lines = Lines()
    found: list[bytes] = []
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    for start, end in itertools.pairwise(edges):
        before = len(found)
        found += lines.feed(stream[start:end])
        assert stream[:end].count(b"\n") == len(found), "a whole line is never held back"
        assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in found[before:])
    assert b"".join(found) + lines.rest() == stream
    assert lines.rest() == b""


def test_a_line_has_a_bound() -> None:
    lines = Lines(max_line=10)
    assert lines.feed(b"x" * 30 + b"\n" + b"y" * 10) == [b"x" * 30 + b"\n"], "what came whole needs no memory"
    with pytest.raises(WireError, match="over 10 bytes"):
        lines.feed(b"y")
    with pytest.raises(WireError, match="over 10 bytes"):
        Lines(max_line=10).feed(b"\n" + b"z" * 11)


def test_one_byte_at_a_time() -> None:
    lines = Lines()
    found = [line for byte in b'{"a":1}\n\n{"b":2}\r\nrest' for line in lines.feed(bytes([byte]))]
    assert found == [b'{"a":1}\n', b"\n", b'{"b":2}\r\n']
    assert lines.rest() == b"rest"
