"""HTTP with no client library between a test and the bytes."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Raw:
    """One reply as bytes: status, headers in lower case, and the body after the transfer coding was taken off."""

    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool = True


def post(url: str, body: bytes | Mapping[str, Any], headers: Mapping[str, str] | None = None, method: str = "POST") -> Raw:
    """Send one request over a fresh connection, with no client library between; a reply that breaks off has `whole` false."""
    host, _, path = url.removeprefix("http://").partition("/")
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection = http.client.HTTPConnection(host, timeout=60)
    try:
        connection.request(method, f"/{path}", data or None, {"content-type": "application/json", **(headers or {})})
        reply = connection.getresponse()
        pieces: list[bytes] = []
        whole = True
        try:
            while piece := reply.read1(65536):
                pieces.append(piece)
        except http.client.IncompleteRead as e:
            pieces.append(e.partial)
            whole = False
        found, got = {k.lower(): v for k, v in reply.getheaders()}, b"".join(pieces)
        return Raw(reply.status, found, got, whole and len(got) == int(found.get("content-length", len(got))))
    finally:
        connection.close()


def events(stream: bytes) -> Iterator[dict[str, Any]]:
    """The JSON data of each event of a stream, `[DONE]` left out."""
    for block in stream.split(b"\n\n"):
        for line in block.split(b"\n"):
            if line.startswith(b"data:") and line[5:].strip() != b"[DONE]":
                yield json.loads(line[5:])
