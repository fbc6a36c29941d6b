"""Reading the head of one HTTP/1.1 request, and the body behind it. Pure: it knows no sockets and no time.

It decides what is a request and how long its body is, strictly: wherever two readers could see two different requests (a length beside a
transfer coding, two lengths or hosts, a coding in HTTP/1.0, folded or bare lines, a space before a colon) it is `Malformed`. What a path
or a header means is others' to say.

Clients send the same lines with each call, so what a line says is remembered by its bytes, compared to the last one; forgetting it costs
time and nothing else. Lines that carry keys or that are never the same are not remembered, nor are long ones.

Source: RFC 9112 §2 to §7, §9.3; RFC 9110 §5.5, §8.6, §10.1.1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from multidict import CIMultiDict

from proxy.http1 import FIELD, Chunks, Malformed, length_of, no_bare_ends
from proxy.identity.headers import CARRIERS

MAX_HEAD = 131_072
"""Bytes of a request line with all headers."""
MAX_LINE = 16_384
"""Bytes of a request line."""
MAX_FIELD = 65_536
"""Bytes of one header."""
MAX_HEADERS = 128
METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH"})
"""Source: RFC 9110 §9, RFC 5789. No path of ours takes any other."""
SINGLE = (
    *("content-length", "content-location", "content-range", "content-type", "etag", "host", "max-forwards", "server"),
    *("transfer-encoding", "user-agent"),
)
"""Headers that may be there once: who reads the first of two and who reads the last would see two requests."""
REMEMBERED = 1024
LONGEST_KEPT = 128

_TARGET = rb"/[\x21-\x7e]*+|https?://[\x21-\x7e]++|[0-9A-Za-z.\-]++:[0-9]++|\*"
_FIRST = re.compile(rb"([A-Z]{3,7}) (" + _TARGET + rb") HTTP/1\.([01])")
_FIELD = re.compile(FIELD)
_EMPTY = re.compile(rb"(?:\r\n)*+")
_NEVER_KEPT = frozenset({*CARRIERS, "cookie", "proxy-authorization", "content-length", "traceparent"})
_known: dict[bytes, tuple[str, str]] = {}


class Head:
    """A request without its body.

    Attributes:
        target: as sent, not decoded.
        old: it is HTTP/1.0.
        headers: by names in lower case; a multidict where one is there twice. Bytes that are not UTF-8 are surrogates.
        length: bytes of the body, 0 without one; of a `chunked` body nobody knows it.
        keep_alive: the client's wish for its connection.
    """

    __slots__ = ("chunked", "headers", "keep_alive", "length", "method", "old", "target")

    def __init__(self, method: str, target: str, old: bool, headers: Mapping[str, str]) -> None:
        self.method, self.target, self.old, self.headers = method, target, old, headers
        self.chunked = False
        self.length = 0
        self.keep_alive = not old

    def expects(self) -> bool:
        """Return whether the client waits for a word before it sends the body."""
        return not self.old and self.headers.get("expect", "").lower() == "100-continue"


class Sized:
    """Reads one body of a known length; see `Chunks`."""

    __slots__ = ("_left", "done", "rest")

    def __init__(self, length: int) -> None:
        self._left, self.done, self.rest = length, not length, b""

    def feed(self, data: bytes, into: list[bytes]) -> None:
        """Take the next bytes, until `done`; what they have of the body goes to `into`."""
        left = self._left - len(data)
        if left < 0:
            data, self.rest, left = data[:left], data[left:], 0
        into.append(data)
        self._left, self.done = left, not left


def begin(data: bytes) -> bytes:
    """Return `data` without the empty lines that may stand before a request."""
    found = _EMPTY.match(data)
    return data[found.end() :] if found is not None else data


def check_begun(held: bytearray, before: int) -> None:
    """Raise Malformed where a head that is not whole can become none; the first `before` bytes were looked at already."""
    if not 65 <= held[0] <= 90 and not b"\r\n".startswith(held):
        raise Malformed("no method where one must be")
    if len(held) > MAX_HEAD:
        raise Malformed("the head is too long")
    no_bare_ends(held, before)


def parse_head(data: bytes, end: int) -> Head:
    """Return the head that ends before the empty line at `end`. Raises Malformed."""
    if end > MAX_HEAD:
        raise Malformed("the head is too long")
    first, *lines = data[:end].split(b"\r\n")
    found = _FIRST.fullmatch(first)
    if found is None or found[1] not in METHODS or len(first) > MAX_LINE or len(lines) > MAX_HEADERS:
        raise Malformed("no request line, or too much behind it")
    known = _known
    fields = [known.get(line) or _read(line) for line in lines]
    headers: Mapping[str, str] = dict(fields)
    if len(headers) != len(fields):
        headers = _several(fields)
    head = Head(found[1].decode(), found[2].decode(), found[3] == b"0", headers)
    if "host" not in headers and not head.old:
        raise Malformed("no host")
    coding, length = headers.get("transfer-encoding"), headers.get("content-length")
    if coding is not None:
        if length is not None or head.old or not coding.isascii() or coding.lower() != "chunked":
            raise Malformed("a length beside a transfer coding, or an unknown one")
        head.chunked = True
    elif length is not None:
        head.length = length_of(length)
    if "connection" in headers:
        head.keep_alive = _kept(headers, head.old)
    return head


def body_of(head: Head) -> Sized | Chunks:
    """Return what reads the body of `head`."""
    return Chunks() if head.chunked else Sized(head.length)


def _read(line: bytes) -> tuple[str, str]:
    """Return what a line says: a name in lower case, and a value without the white space around it. Raises Malformed."""
    if len(line) > MAX_FIELD or _FIELD.fullmatch(line) is None:
        raise Malformed("no header where one must be")
    name, _, value = line.decode("utf-8", "surrogateescape").partition(":")
    name = name.lower()
    field = name, value.strip(" \t")
    if len(line) <= LONGEST_KEPT and name not in _NEVER_KEPT:
        if len(_known) >= REMEMBERED:
            _known.clear()
        _known[line] = field
    return field


def _several(fields: Sequence[tuple[str, str]]) -> Mapping[str, str]:
    headers = CIMultiDict(fields)
    for name in SINGLE:
        if len(headers.getall(name, ())) > 1:
            raise Malformed(f"two {name} headers")
    return headers


def _kept(headers: Mapping[str, str], old: bool) -> bool:
    said = ",".join(headers.getall("connection", ())) if isinstance(headers, CIMultiDict) else headers["connection"]
    options = [option.strip(" \t") for option in said.lower().split(",")]
    return "keep-alive" in options if old else "close" not in options
