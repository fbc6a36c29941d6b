"""Both transports get the same bytes in the same pieces over a real socket. What they make of them must be the same: status, headers and
body, or a refusal of the same kind.

Where they differ it is by design, mostly in one direction: ours refuses what a strict reader must, and aiohttp's client (built to be
lenient with responses) reads on. Each such case is named in `STRICTER`. In the other direction there are three. Bytes after the end of a
response: ours drops the connection (see test_upstream_lean.py), aiohttp's client the response too. An interim answer that says
`Connection: close`: ours reads on. And a tab behind `chunked`, which is white space around a value (RFC 9110 §5.5), hides the coding from
aiohttp's client: it takes the framing for the body.

Two kinds of refusal may stand for each other, as both end the exchange and nothing is sent again: `cut` and `protocol` where bytes are
broken and then end, which is a question of what is looked at first. A `timeout` is aiohttp's for broken framing behind the packet of the
head, which its client never tells (`AIOHTTP_HANGS` in test_upstream_reading.py); ours never waits for what cannot come.
"""

from __future__ import annotations

import gzip
import os
import re
import zlib
from collections.abc import Callable
from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st
from upstream_script import Peer, Upstream, ask, chunked, client, runner

from proxy.engine.ports import UpstreamError, UpstreamReply
from proxy.upstream.base import Deadlines
from proxy.upstream.http1 import ResponseParser

OK = b"HTTP/1.1 200 OK\r\n"
BASES = [
    OK + b"Content-Type: application/json\r\nContent-Length: 11\r\nX-A: b c\r\n\r\nhello world",
    OK + b"Transfer-Encoding: chunked\r\nX-A: b\r\n\r\n" + chunked(b"hello", b" ", b"world, and more of it"),
    OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(b"hello", trailers=b"X-Sum: 1\r\n"),
    OK + b"Server: x\r\n\r\nuntil the end",
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 429 Too Many\r\nRetry-After: 1\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n",
    OK + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(gzip.compress(b"hello", mtime=0)),
    OK + b"Content-Encoding: deflate\r\nContent-Length: 13\r\n\r\n" + zlib.compress(b"hello"),
]
WORDS = [
    b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b",", b";", b"\0", b"0", b"9", b"f", b"-", b"+", b"\xff", b"A: b\r\n", b"\r\n\r\n",
    b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n", b"Connection: close\r\n",
    b"Content-Encoding: gzip\r\n", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0", b"0\r\n\r\n", b"1\r\nx\r\n",
    b"Upgrade: x\r\nConnection: upgrade\r\n",
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    data = draw(st.sampled_from(BASES))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        kind = draw(st.sampled_from(["insert", "delete", "replace", "line", "end"]))
        if kind == "insert":
            data = data[:at] + draw(st.sampled_from(WORDS)) + data[at:]
        elif kind == "delete":
            data = data[:at] + data[at + draw(st.integers(1, 4)) :]
        elif kind == "replace":
            data = data[:at] + draw(st.binary(min_size=1, max_size=2)) + data[at + 1 :]
        elif kind == "line":
            lines = data.split(b"\r\n")
            lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(lines)))
            data = b"\r\n".join(lines)
        else:
            data = data[:at]
    return data


def has(pattern: bytes) -> Callable[[bytes], bool]:
    found = re.compile(pattern, re.S)
    return lambda data: found.search(data) is not None


BARE = has(rb"(?<!\r)\n|\r(?!\n)")
BLANK = has(rb"(?:^|\r\n\r\n)\r?\n")
EXAMPLES = int(os.environ.get("UPSTREAM_FUZZ", "500"))
INTERIM_CLOSE = has(rb"HTTP/1\.\d 1\d\d [^\n]*\r\n(?:[^\r\n]+\r\n)*[^\r\n]*(?i:close|keep-alive)")
TAB_BY_CODING = has(rb"(?i)\r\ntransfer-encoding:[^\r\n]*\t")
CODING_IN_TRAILERS = has(rb"(?i)\n0[^\r\n]*\r\n(?:[^\r\n]+\r\n)*transfer-encoding:[^\r\n]*(?:\r\n)?\Z")
DOUBTFUL = [BARE, has(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"), has(rb"\r\n[ \t]"), has(rb"\n[^:\r\n]*[ \t][^:\r\n]*:|[ \t]:")]
"""Bare line ends, control characters, folded lines, a blank in a name or before the colon."""
STRICTER: dict[str, list[Callable[[bytes], bool]]] = {
    # why ours refuses: what must be in the bytes, any of these
    "a line does not end with CR LF": [BARE],
    "no HTTP/1 head": [*DOUBTFUL, BLANK, has(rb"HTTP/1\.[01] 0")],
    "no trailers where they must be": DOUBTFUL,
    "no HTTP/1 status line": [BLANK, BARE],
    "an unknown transfer coding": [has(rb"")],
    "a transfer coding in HTTP/1.0": [has(rb"HTTP/1\.0")],
    "no chunk size where one must be": [BARE],
    "a chunk is longer than it said": [BARE, has(rb"\r\n")],  # a carriage return in the data, and a bare line feed as its end
    "a content encoding that was not asked for": [has(rb"")],
    "a content encoding that breaks off": [has(rb"\x1f\x8b")],
    "closed by the upstream": [CODING_IN_TRAILERS],  # aiohttp's client takes its line for the end of the trailers
}


Read = tuple[int, list[tuple[str, str]], bytes]
"""Status, headers and body."""
ENDS = frozenset({"cut", "protocol"})


async def read(case: str, url: str) -> tuple[Read | str, str]:
    """The outcome: what was read, or the kind of refusal and its reason."""
    async with client(case, url, Deadlines(first_byte_s=5, idle_s=0.3)) as transport:
        try:
            reply: UpstreamReply = await transport.send(ask())
            try:
                body = await reply.read(1 << 26)
            finally:
                reply.close()
            return (reply.status, sorted((name.lower(), shown(value)) for name, value in reply.headers.items()), body), ""
        except UpstreamError as e:
            return e.kind, str(e).rpartition("(")[2].rstrip(")")


def shown(value: str) -> str:
    """A header's value, with what is not UTF-8 in it as ours has it: aiohttp keeps such bytes as surrogates."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(at)]


def spoiled(data: bytes) -> bool:
    """Whether bytes come after the response that our parser finds in `data`."""
    parser = ResponseParser()
    parser.feed(data)
    reusable, whole = parser.reusable, parser.done
    clean = ResponseParser()
    for i in range(len(data)):
        clean.feed(data[i : i + 1])
        if clean.done:
            return whole and not reusable and i + 1 < len(data)
    return False


def compare(data: bytes, theirs: Read | str, ours: Read | str, why: str) -> None:
    """See that a difference is one of those that are allowed."""
    told = f"{data!r}: aiohttp {theirs}, ours {ours} {why}"
    if isinstance(ours, str) and isinstance(theirs, str):
        assert {ours, theirs} == ENDS or (theirs == "timeout" and ours in ENDS), told
    elif isinstance(ours, str):
        assert any(holds(data) for holds in STRICTER.get(why, ())), told
    elif isinstance(theirs, str):
        assert spoiled(data) or INTERIM_CLOSE(data), told
    else:
        assert TAB_BY_CODING(data), told


def test_both_read_the_same() -> None:
    with runner("uvloop") as it:

        @settings(max_examples=EXAMPLES, deadline=None)
        @given(mutated(), st.lists(st.integers(0, 500), max_size=4))
        def check(data: bytes, cuts: list[int]) -> None:
            async def play(peer: Peer) -> None:
                await peer.request()
                await peer.send(*pieces_of(data, cuts))

            async def main() -> None:
                async with Upstream(play=play) as upstream:
                    theirs, _ = await read("aiohttp", upstream.url)
                    ours, why = await read("lean", upstream.url)
                if theirs != ours:
                    compare(data, theirs, ours, why)

            it.run(main())

        for line in (b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip\r\n"):
            check = example(OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n0\r\nX-Sum:\r\n" + line, [])(check)
        check()
