"""The client of the matrix: HTTP/1.1 on a bare socket in the same loop, so that it can read as much as it likes and hang up."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Self

from raw import Raw


class Line:
    """One connection with one request on it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.got = b""

    @classmethod
    async def ask(cls, port: int, method: str, path: str, headers: Mapping[str, str], body: bytes, sent: int | None = None) -> Self:
        """Connect and send the request: all of it, or `sent` bytes of its body."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
        head = f"{method} {path} HTTP/1.1\r\nhost: matrix\r\nconnection: close\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        if body or method == "POST":
            head += f"content-length: {len(body)}\r\n"
        writer.write(head.encode() + b"\r\n" + body[:sent])
        await writer.drain()
        return cls(reader, writer)

    async def until(self, mark: bytes) -> None:
        """Read on until `mark` has come."""
        while mark not in self.got:
            piece = await self._reader.read(4096)
            assert piece, f"the reply ended before {mark!r}: {self.got[-300:]!r}"
            self.got += piece

    async def hang_up(self) -> None:
        """Close, whatever may still come."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except ConnectionError:
            pass

    async def reply(self) -> Raw:
        """Read to the end of the connection and return the reply."""
        try:
            while piece := await self._reader.read(1 << 20):
                self.got += piece
        except ConnectionError:
            pass
        await self.hang_up()
        return parsed(self.got)


def parsed(got: bytes) -> Raw:
    """Return the reply that `got` holds; it is whole when its own framing says so."""
    head, blank, rest = got.partition(b"\r\n\r\n")
    assert blank, f"not a reply: {got[:300]!r}"
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    assert len(headers) == len(lines), f"a header came twice: {lines}"
    version, status, *_ = first.split(" ", 2)
    assert version == "HTTP/1.1"
    if headers.get("transfer-encoding") == "chunked":
        body, whole = _unchunked(rest)
    else:
        body, whole = rest, len(rest) == int(headers["content-length"])
    return Raw(int(status), headers, body, whole)


def _unchunked(rest: bytes) -> tuple[bytes, bool]:
    pieces: list[bytes] = []
    while rest:
        size, line_end, rest = rest.partition(b"\r\n")
        length = int(size, 16) if line_end else 0
        if length == 0:
            return b"".join(pieces), rest == b"\r\n"
        pieces.append(rest[:length])
        assert rest[length : length + 2] == b"\r\n"
        rest = rest[length + 2 :]
    return b"".join(pieces), False
