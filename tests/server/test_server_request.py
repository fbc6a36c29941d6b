"""What is a request, and what is refused because two readers could see two."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any, cast

import pytest

from proxy.http1 import Chunks, Malformed
from proxy.server import request
from proxy.server.deadline import Deadline
from proxy.server.request import MAX_FIELD, MAX_HEAD, MAX_HEADERS, MAX_LINE, begin, body_of, check_begun, parse_head

FIRST = b"POST /v1/chat/completions HTTP/1.1\r\n"


def head(lines: bytes, first: bytes = FIRST) -> request.Head:
    data = first + lines + b"\r\n\r\nbody"
    return parse_head(data, data.index(b"\r\n\r\n"))


def test_a_head_says_what_was_sent() -> None:
    found = head(b"Host: x\r\nContent-Length: 12\r\nX-Odd:  \t a b \t\r\nX-Raw: \xff")
    assert (found.method, found.target, found.length, found.chunked, found.keep_alive) == ("POST", "/v1/chat/completions", 12, False, True)
    assert found.headers == {"host": "x", "content-length": "12", "x-odd": "a b", "x-raw": "\udcff"}


@pytest.mark.parametrize(
    "lines",
    [
        *(b"X: 1", b"Host: x\r\nHost: x", b"Host: x\r\nContent-Length: 1\r\nContent-Length: 1"),
        b"Host: x\r\nContent-Type: a\r\nContent-Type: a",
        *(b"Host: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked", b"Host: x\r\nTransfer-Encoding: gzip, chunked"),
        *(b"Host: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked", b"Host: x\r\nTransfer-Encoding: identity"),
        *(b"Host: x\r\nContent-Length: -1", b"Host: x\r\nContent-Length: 1, 1", b"Host: x\r\nContent-Length: 1_0"),
        b"Host: x\r\nContent-Length:",
        *(b"Host: x\r\nContent-Length: " + b"9" * 16, "Host: x\r\nContent-Length: \N{SUPERSCRIPT TWO}".encode()),
        *(b"Host: x\r\n folded", b"Host : x", b"Host: x\r\n: y", b"Host: x\r\nno colon", b"Host: x\nX: y", b"Host: x\rX: y", b"Host: x\0"),
        *(b"Host: x\r\n" + b"\r\n".join([b"A: b"] * MAX_HEADERS), b"Host: x\r\nA: " + b"b" * MAX_FIELD, b"Host: x\r\nA: \x7f"),
    ],
)  # fmt: skip
def test_what_can_be_read_in_two_ways_is_refused(lines: bytes) -> None:
    with pytest.raises(Malformed):
        head(lines)


@pytest.mark.parametrize(
    "first",
    [
        *(b"POST  /a HTTP/1.1\r\n", b"POST /a b HTTP/1.1\r\n", b"post /a HTTP/1.1\r\n", b"POST /a HTTP/1.2\r\n", b"POST /a HTTP/2.0\r\n"),
        *(b"POST /a\r\n", b"PRI * HTTP/2.0\r\n", b"BREW /a HTTP/1.1\r\n", b"POST a HTTP/1.1\r\n", b"POST /\xc3\xa4 HTTP/1.1\r\n"),
        *(b"POST /a\x7f HTTP/1.1\r\n", b"POST /" + b"a" * MAX_LINE + b" HTTP/1.1\r\n", b" POST /a HTTP/1.1\r\n", b"\r\n"),
    ],
)  # fmt: skip
def test_what_is_no_request_line_is_refused(first: bytes) -> None:
    with pytest.raises(Malformed):
        head(b"Host: x", first)


@pytest.mark.parametrize("target", ["*", "http://x/v1/models", "x:443", "/a?b#c"])
def test_other_targets_are_passed_as_they_are(target: str) -> None:
    assert head(b"Host: x", f"OPTIONS {target} HTTP/1.1\r\n".encode()).target == target


@pytest.mark.parametrize(
    ("lines", "version", "kept"),
    [
        (b"Connection: close", b"1.1", False),
        (b"Connection: Close, x", b"1.1", False),
        (b"Connection: x\r\nConnection: close", b"1.1", False),
        (b"Connection: upgrade", b"1.1", True),
        (b"A: b", b"1.0", False),
        (b"Connection: x, Keep-Alive", b"1.0", True),
    ],
)
def test_the_clients_wish_for_its_connection(lines: bytes, version: bytes, kept: bool) -> None:
    assert head(b"Host: x\r\n" + lines, FIRST.replace(b"1.1", version)).keep_alive is kept


def test_http_1_0_needs_no_host_and_has_no_chunks() -> None:
    old = FIRST.replace(b"1.1", b"1.0")
    assert head(b"Expect: 100-continue", old).expects() is False
    with pytest.raises(Malformed):
        head(b"Transfer-Encoding: chunked", old)


def test_headers_that_are_there_twice_are_all_there() -> None:
    found = head(b"Host: x\r\nX-A: 1\r\nx-a: 2")
    assert [*found.headers.items()] == [("host", "x"), ("x-a", "1"), ("x-a", "2")]


def test_a_head_has_an_end() -> None:
    with pytest.raises(Malformed):
        head(b"Host: x\r\nA: " + b"b" * 60_000 + b"\r\nA: " + b"b" * 60_000 + b"\r\nA: " + b"b" * 60_000)
    with pytest.raises(Malformed):
        check_begun(bytearray(b"GET /" + b"a" * MAX_HEAD), 0)


@pytest.mark.parametrize("held", [b"get", b"\x16\x03\x01", b" GET", b"\rG", b"GET / HTTP/1.1\nHost", b"GET / HTTP/1.1\rX"])
def test_what_can_become_no_head_is_not_waited_for(held: bytes) -> None:
    with pytest.raises(Malformed):
        check_begun(bytearray(held), 0)


def test_what_can_become_one_is() -> None:
    for held in (b"\r", b"G", b"GET / HTTP/1.1\r", b"GET / HTTP/1.1\r\nHost: x\r\n"):
        check_begun(bytearray(held), len(held) - 1)
    assert begin(b"\r\n\r\nGET") == b"GET"
    assert begin(b"\r\n\r") == b"\r"


def test_lines_are_remembered_but_for_keys_and_long_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    known: dict[bytes, tuple[str, str]] = {}
    monkeypatch.setattr(request, "_known", known)
    lines = b"Host: x\r\nAuthorization: Bearer k\r\nx-api-key: k\r\nCookie: k\r\nX-Long: " + b"k" * 128
    for _ in range(2):
        assert head(lines).headers["authorization"] == "Bearer k"
        assert known == {b"Host: x": ("host", "x")}
    for i in range(request.REMEMBERED + 5):
        head(b"Host: x\r\nX: %d" % i)
    assert len(known) <= request.REMEMBERED


def test_a_body_ends_where_it_said() -> None:
    into: list[bytes] = []
    sized = body_of(head(b"Host: x\r\nContent-Length: 3"))
    sized.feed(b"ab", into)
    assert not sized.done
    sized.feed(b"cde", into)
    assert (sized.done, into, sized.rest) == (True, [b"ab", b"c"], b"de")
    assert isinstance(body_of(head(b"Host: x\r\nTransfer-Encoding: Chunked")), Chunks)


def test_a_coding_that_is_chunked_only_in_unicode_is_none() -> None:
    with pytest.raises(Malformed):
        head("Host: x\r\nTransfer-Encoding: chun\u212aed".encode())  # a Kelvin sign, which becomes a k in lower case


@pytest.mark.parametrize("size", [b"5 ", b"5;", b"5; a", b"5;a=\x7f", b"0x5", b"+5", b" 5", b"5;a b"])
def test_what_is_no_size_of_a_chunk_ends_a_body_of_a_request(size: bytes) -> None:
    with pytest.raises(Malformed):
        Chunks().feed(size + b"\r\nhello\r\n0\r\n\r\n", [])


@pytest.mark.parametrize("size", [b"5", b"05", b"5;a", b"5;a=b", b'5;a="b c";d'])
def test_what_is_one(size: bytes) -> None:
    into: list[bytes] = []
    chunks = Chunks()
    chunks.feed(size + b"\r\nhello\r\n0\r\nSum: 1\r\n\r\nGET", into)
    assert (chunks.done, into, chunks.rest) == (True, [b"hello"], b"GET")


class Loop:
    """A clock that is moved by hand, and its timers."""

    def __init__(self) -> None:
        self.now, self.timers = 0.0, dict[int, tuple[float, Callable[[], None]]]()
        self.armed = 0

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, call: Callable[[], None]) -> Any:
        self.armed += 1
        key = self.armed
        self.timers[key] = (when, call)
        return type("Handle", (), {"cancel": lambda _: self.timers.pop(key, None)})()

    def go(self, now: float) -> None:
        while due := [(when, key) for key, (when, _) in self.timers.items() if when <= now]:
            self.now, key = min(due)
            self.timers.pop(key)[1]()
        self.now = now


def test_a_deadline_is_never_late_and_seldom_armed() -> None:
    loop, over = Loop(), list[float]()
    deadline = Deadline(cast(asyncio.AbstractEventLoop, loop), lambda: over.append(loop.now))
    for at in range(100):
        loop.go(at * 0.1)
        deadline.within(30)
        deadline.lift()
    assert loop.armed == 1
    loop.go(100)
    assert not over
    assert not loop.timers
    deadline.within(30)
    deadline.within(10)
    deadline.sooner(20)
    loop.go(200)
    assert over == [110]
    deadline.within(30)
    deadline.sooner(5)
    deadline.stop()
    loop.go(math.inf)
    assert over == [110]
