"""What arrived at the simulated provider, for tests to look at: `GET /sim/calls`.

Keys are never kept, only the SHA-256 of each, so that a test can prove which key came without holding one. Memory is bounded: the oldest
calls go first, and a body over the cap is remembered by its digest alone.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_CALLS = 5_000
MAX_BODY = 1 << 20
MAX_BYTES = 64 << 20
SECRET_HEADERS = frozenset({"authorization", "x-api-key", "x-goog-api-key", "api-key", "proxy-authorization", "cookie"})


def key_digest(value: str) -> str:
    """Return the SHA-256 of a key as a header carries it, without a `Bearer` in front."""
    scheme, _, rest = value.partition(" ")
    return hashlib.sha256((rest if scheme.lower() in ("bearer", "basic") and rest else value).strip().encode()).hexdigest()


@dataclass(slots=True)
class Call:
    """One request and what became of it.

    Attributes:
        status: of the head that was sent; 0 when none was.
        aborted: the client closed its side before the reply was whole.
        cut: the script had the reply broken off.
        tokens: generated tokens that were handed to the socket.
        events: stream events handed to it.
    """

    number: int
    method: str
    path: str
    query: str
    headers: dict[str, str]
    keys: dict[str, str]
    body: bytes
    body_sha256: str
    body_bytes: int
    status: int = 0
    aborted: bool = False
    cut: bool = False
    done: bool = False
    tokens: int = 0
    events: int = 0

    def shown(self) -> dict[str, Any]:
        """The call as JSON for tests."""
        body: Any = None
        if self.body:
            try:
                body = json.loads(self.body)
            except ValueError:
                body = None
        return {
            "number": self.number,
            "method": self.method,
            "path": self.path,
            "query": self.query,
            "headers": self.headers,
            "keys": self.keys,
            "body_sha256": self.body_sha256,
            "body_bytes": self.body_bytes,
            "body": body,
            "status": self.status,
            "aborted": self.aborted,
            "cut": self.cut,
            "done": self.done,
            "output_tokens": self.tokens,
            "events": self.events,
        }


@dataclass(slots=True)
class Calls:
    """The bounded list of calls. One loop's."""

    kept: deque[Call] = field(default_factory=deque)
    total: int = 0
    running: int = 0
    aborted: int = 0
    _size: int = 0
    _idle: asyncio.Event = field(default_factory=asyncio.Event)

    def begin(self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes) -> Call:
        """Remember that a request came."""
        plain: dict[str, str] = {}
        keys: dict[str, str] = {}
        for name, value in headers.items():
            low = name.lower()
            if low in SECRET_HEADERS:
                keys[low] = key_digest(value)
                value = "***"
            plain[low] = f"{plain[low]}, {value}" if low in plain else value
        query = "&".join("key=***" if part.startswith("key=") else part for part in query.split("&"))
        self.total += 1
        kept = body if len(body) <= MAX_BODY else b""
        call = Call(self.total, method, path, query, plain, keys, kept, hashlib.sha256(body).hexdigest(), len(body))
        self.running += 1
        self._idle.clear()
        self.kept.append(call)
        self._size += len(kept)
        while len(self.kept) > MAX_CALLS or self._size > MAX_BYTES:
            self._size -= len(self.kept.popleft().body)
        return call

    def end(self, call: Call) -> None:
        """Remember that its reply is over, whole or not."""
        call.done = True
        self.aborted += call.aborted
        self.running -= 1
        if self.running <= 0:
            self._idle.set()

    async def settled(self, within_s: float) -> bool:
        """Wait until nothing is running, at most `within_s` seconds; return whether that came."""
        if self.running <= 0:
            return True
        try:
            await asyncio.wait_for(self._idle.wait(), within_s)
        except TimeoutError:
            return False
        return True

    def reset(self) -> None:
        """Forget all calls; those still running end unseen."""
        self.kept.clear()
        self.total = self.aborted = self._size = 0
