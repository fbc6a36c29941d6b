"""The response parser alone: any pieces give the same answer, bounds hold, doubtful framing is refused."""

from __future__ import annotations

import contextlib
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.http1 import Malformed
from proxy.upstream.http1 import MAX_HEAD, MAX_HEADERS, ResponseParser

HEAD = b"HTTP/1.1 200 OK\r\n"
TE = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def parse(*pieces: bytes, bodiless: bool = False) -> ResponseParser:
    parser = ResponseParser(bodiless)
    for piece in pieces:
        parser.feed(piece)
    return parser


def body(parser: ResponseParser) -> bytes:
    return b"".join(parser.pieces)


@pytest.mark.parametrize(
    ("data", "reusable"),
    [
        (HEAD + b"Content-Length: 2\r\n\r\nhi", True),
        (HEAD + b"Content-Length: 2\r\nConnection: keep-alive\r\n\r\nhi", True),
        (HEAD + b"Content-Length: 2\r\nConnection: close\r\n\r\nhi", False),
        (HEAD + b"Content-Length: 2\r\nConnection: a\r\nConnection: b ,CLOSE\r\n\r\nhi", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: Keep-Alive\r\n\r\nhi", True),
        (HEAD + b"Content-Length: 2\r\n\r\nhiX", False),
        (HEAD + b"Content-Length: 2\r\n\r\nhi\r\n", False),
        (HEAD + b"Content-Length: 0\r\n\r\nX", False),
        (TE + b"2\r\nhi\r\n0\r\n\r\n", True),
        (TE + b"2\r\nhi\r\n0\r\n\r\nX", False),
        (TE + b"2\r\nhi\r\n0\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", False),
        (b"HTTP/1.1 204 No\r\n\r\n", True),
        (b"HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n", True),
        (b"HTTP/1.1 204 No\r\nContent-Length: 3\r\n\r\n", False),
        (b"HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n", False),
        (b"HTTP/1.1 304 No\r\nContent-Length: 3\r\n\r\n", True),
    ],
)
def test_when_a_connection_can_be_used_again(data: bytes, reusable: bool) -> None:
    parser = parse(data)
    assert parser.done
    assert parser.reusable is reusable


def test_bytes_that_come_later_spoil_the_connection() -> None:
    parser = parse(HEAD + b"Content-Length: 2\r\n\r\nhi")
    parser.feed(b"")
    assert parser.reusable
    parser.feed(b"H")
    assert not parser.reusable
    parser.feed(b"")
    assert not parser.reusable


def test_a_head_answer_has_no_body_whatever_it_says() -> None:
    assert parse(HEAD + b"Content-Length: 9\r\n\r\n", bodiless=True).reusable
    assert parse(TE, bodiless=True).reusable
    assert not parse(TE + b"0\r\n\r\n", bodiless=True).reusable


def test_until_close() -> None:
    parser = parse(HEAD + b"\r\nab", b"", b"c")
    assert not parser.done
    assert parser.eof()
    assert (body(parser), parser.done, parser.reusable) == (b"abc", True, False)


@pytest.mark.parametrize("data", [b"", HEAD, HEAD + b"Content-Length: 2\r\n\r\nh", TE, TE + b"1\r\na\r\n", TE + b"0\r\n"])
def test_an_end_too_early(data: bytes) -> None:
    assert not parse(data).eof()


REFUSED = [
    b"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi",
    b"HTTP/1.1 200 OK\r\nA: b\nContent-Length: 2\r\n\r\nhi",
    b"HTTP/1.1 200 OK\r\nA: b\rContent-Length: 2\r\n\r\nhi",
    b"\r\nHTTP/1.1 200 OK\r\n\r\n",
    b" HTTP/1.1 200 OK\r\n\r\n",
    b"http/1.1 200 OK\r\n\r\n",
    b"HTTP/1.2 200 OK\r\n\r\n",
    b"HTTP/1.1  200 OK\r\n\r\n",
    b"HTTP/1.1 2000 OK\r\n\r\n",
    b"HTTP/1.1 099 OK\r\n\r\n",
    b"HTTP/1.1 200OK\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    HEAD + b"A: b\r\n c\r\n\r\n",
    HEAD + b" A: b\r\n\r\n",
    HEAD + b": b\r\n\r\n",
    HEAD + b"A\x00: b\r\n\r\n",
    HEAD + b"A: b\x07\r\n\r\n",
    HEAD + b"A\xe9: b\r\n\r\n",
    HEAD + b"Content-Length:\r\n\r\n",
    HEAD + b"Content-Length: 1_0\r\n\r\n",
    HEAD + b"Content-Length: 0x2\r\n\r\n",
    HEAD + b"Content-Length: \xc2\xb2\r\n\r\n",
    HEAD + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
    HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
    HEAD + b"Transfer-Encoding: \r\n\r\n",
    HEAD + b"Transfer-Encoding: xchunked\r\n\r\n",
    HEAD + b"Transfer-Encoding: \x0bchunked\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    TE + b"\r\n",
    TE + b" 2\r\nhi\r\n",
    TE + b"0x2\r\nhi\r\n",
    TE + b"2_0\r\n",
    TE + b"+2\r\nhi\r\n",
    TE + b"2\nhi\r\n",
    TE + b"2\r\nhi\n",
    TE + b"2\r\nhiX\n",
    TE + b"2\r\nhi\r\n;\r\n",
    TE + b"2;" + b"x" * 5000,
    TE + b"0\r\nA: b\n\n",
    TE + b"0\r\nA, b: c\r\n\r\n",
    TE + b"0\r\n5\r\nhello\r\n0\r\n\r\n",
    TE + b"0\r\n" + b"A: b\r\n" * 20_000,
]


@pytest.mark.parametrize("data", REFUSED, ids=range(len(REFUSED)))
@pytest.mark.parametrize("apart", [False, True], ids=["at once", "byte by byte"])
def test_refused(data: bytes, apart: bool) -> None:
    pieces = [data[i : i + 1] for i in range(len(data))] if apart else [data]
    with pytest.raises(Malformed):
        parse(*pieces)


def test_a_conflict_leaves_no_head() -> None:
    parser = ResponseParser()
    with pytest.raises(Malformed):
        parser.feed(HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
    assert parser.head is None


def test_what_came_before_bad_framing_is_kept() -> None:
    parser = ResponseParser()
    with pytest.raises(Malformed):
        parser.feed(TE + b"2\r\nhi\r\nzz\r\n")
    assert parser.head is not None
    assert body(parser) == b"hi"
    assert not parser.eof()


def test_bounds_of_the_head() -> None:
    line = b"A: " + b"b" * 95 + b"\r\n"
    assert parse(HEAD + line * MAX_HEADERS + b"\r\n").head is not None
    with pytest.raises(Malformed, match="256"):
        parse(HEAD + line * (MAX_HEADERS + 1) + b"\r\n")
    for data in (HEAD + b"A: " + b"b" * MAX_HEAD, HEAD + b"A: " + b"b" * MAX_HEAD + b"\r\n\r\n", b"HTTP/1.1 100 C\r\n\r\n" * 5000):
        with pytest.raises(Malformed, match="64 KiB"):
            parse(data)
        with pytest.raises(Malformed, match="64 KiB"):
            parse(*[data[i : i + 1] for i in range(len(data))])


def test_values() -> None:
    head = parse(HEAD + b"A:\r\nB: \t c d \t\r\nC: \xc3\xa9\r\nD: \xff\r\nContent-Length: 0\r\n\r\n").head
    assert head is not None
    assert list(head.headers.items()) == [("A", ""), ("B", "c d"), ("C", "\u00e9"), ("D", "\ufffd"), ("Content-Length", "0")]


parts = st.lists(st.binary(min_size=1, max_size=60), max_size=6)


@settings(max_examples=300, deadline=None)
@given(parts, st.sampled_from(["length", "chunks", "close"]), st.booleans(), st.lists(st.integers(0, 400), max_size=12), st.data())
def test_pieces_do_not_matter(bodies: list[bytes], framing: str, interim: bool, cuts: list[int], data: st.DataObject) -> None:
    text = b"".join(bodies)
    wire = b"HTTP/1.1 103 Hints\r\nA: b\r\n\r\n" if interim else b""
    if framing == "length":
        wire += HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(text), text)
    elif framing == "close":
        wire += HEAD + b"A: b\r\n\r\n" + text
    else:
        extension = data.draw(st.sampled_from([b"", b";x", b" \t", b' ; a="b"']))
        trailers = data.draw(st.sampled_from([b"", b"T: 1\r\n", b"T:\r\nU: 2\r\n"]))
        wire += TE + b"".join(b"%X%s\r\n%s\r\n" % (len(b), extension, b) for b in bodies) + b"0\r\n" + trailers + b"\r\n"
    at = sorted({min(c, len(wire)) for c in cuts} | {0, len(wire)})
    parser = parse(*[wire[a:b] for a, b in itertools.pairwise(at)])
    assert parser.eof()
    assert body(parser) == text
    assert parser.reusable is (framing != "close")


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 80), st.lists(st.integers(0, 150), max_size=8))
def test_any_bytes_are_read_the_same_in_any_pieces(noise: bytes, where: int, cuts: list[int]) -> None:
    base = TE + b"3;a\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nT: 1\r\n\r\n"
    wire = base[:where] + noise + base[where:]

    def read(pieces: list[bytes]) -> tuple[object, ...]:
        parser = ResponseParser()
        with contextlib.suppress(Malformed):
            for piece in pieces:
                parser.feed(piece)
            return (True, parser.eof(), parser.head and parser.head.status, body(parser), parser.reusable)
        return (False, parser.head is None)

    at = sorted({min(c, len(wire)) for c in cuts} | {0, len(wire)})
    assert read([wire]) == read([wire[a:b] for a, b in itertools.pairwise(at)])
