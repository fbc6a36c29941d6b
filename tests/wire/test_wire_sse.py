from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.call import WireError
from proxy.wire.sse import Splitter, data_of

GOLDEN = Path(__file__).parent / "golden"
_pieces = st.sampled_from(
    [b"data: a", b"data:b", b": note", b"event: x", b"id", b"\n", b"\r", b"\r\n", b"\n\n", b"\r\n\r\n", b"\r\r", b"\xc3\xbc"]
)


@given(st.lists(_pieces, max_size=30), st.data())
def test_not_one_byte_is_lost_whatever_the_chunks(pieces: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    splitter, out = Splitter(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        out += splitter.feed(stream[start:end])
    assert b"".join(out) + splitter.rest() == stream
    assert splitter.rest() == b""


@given(st.lists(st.sampled_from([b"\n", b"\r\n"]), min_size=1, max_size=6), st.data())
def test_events_are_the_same_whatever_the_chunks(ends: list[bytes], data: st.DataObject) -> None:
    events = [b"event: e%d" % i + end + b"data: %d" % i + end + end for i, end in enumerate(ends)]
    stream = b"".join(events)
    cut = data.draw(st.integers(0, len(stream)))
    splitter = Splitter()
    got = splitter.feed(stream[:cut]) + splitter.feed(stream[cut:])
    assert [data_of(event) for event in got if event.strip()] == [b"%d" % i for i in range(len(ends))]


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r\n", b"\r\n\n", b"\n\r"])
def test_every_kind_of_blank_line_ends_an_event_at_once(end: bytes) -> None:
    splitter = Splitter()
    assert splitter.feed(b"data: x" + end) == [b"data: x" + end]
    assert splitter.rest() == b""


def test_a_chunk_may_end_inside_the_terminator() -> None:
    splitter = Splitter()
    assert splitter.feed(b"data: x\r\n") == []
    assert splitter.feed(b"\r") == [b"data: x\r\n\r"]
    assert splitter.feed(b"\ndata: y\r\n\r\n") == [b"\ndata: y\r\n\r\n"]
    assert data_of(b"\ndata: y\r\n\r\n") == b"y"


def test_byte_by_byte_gives_the_events_of_the_file() -> None:
    stream = (GOLDEN / "chat_stream.sse").read_bytes()
    whole = Splitter().feed(stream)
    splitter = Splitter()
    assert [event for i in range(len(stream)) for event in splitter.feed(stream[i : i + 1])] == whole
    assert len(whole) == 11


@pytest.mark.parametrize("line", [b"data: " + b"x" * 20, b"data: x\r" + b"y" * 20])
def test_an_endless_event_is_a_fault(line: bytes) -> None:
    splitter = Splitter(max_event=16)
    with pytest.raises(WireError, match="over 16 bytes"):
        splitter.feed(line)


@pytest.mark.parametrize(
    ("raw", "data"),
    [
        (b"data: x\n\n", b"x"),
        (b"data:x\n\n", b"x"),
        (b"data:  x\n\n", b" x"),
        (b"data: a\ndata: b\n\n", b"a\nb"),
        (b"data: a\r\n\r\n", b"a"),
        (b"data: a\rdata: b\n\n", b"a\nb"),
        (b": note\n\n", b""),
        (b"event: e\nid: 1\nretry: 5\nodd: 2\ndata: z\n\n", b"z"),
        (b"\xef\xbb\xbfdata: first\n\n", b"first"),
        (b"\n", b""),
        (b"data: \n\n", b""),
        (b"database: x\n\n", b""),
    ],
)
def test_the_data_of_an_event(raw: bytes, data: bytes) -> None:
    assert data_of(raw) == data
