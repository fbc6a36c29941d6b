"""A transport that tries again, over a provider that answers as a test says, at a time of the test's choosing."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace
from upstream_script import CASES, ask

from proxy.engine.ports import UpstreamRequest
from proxy.upstream.base import Deadlines, Provider
from proxy.upstream.lean import LeanTransport
from proxy.upstream.steady import SteadyTransport
from proxy.upstream.transport import AioTransport

every = pytest.mark.parametrize("case", CASES)
DOWN = b"HTTP/1.1 503 Down\r\nContent-Length: 2\r\n\r\n{}"
FAULT = b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\n{}"
BUSY_FOR_LONG = b"HTTP/1.1 429 Busy\r\nRetry-After: 20\r\nContent-Length: 2\r\n\r\n{}"
BAD = b"HTTP/1.1 400 Bad\r\nContent-Length: 2\r\n\r\n{}"


@dataclass
class Clock:
    """Time that a test winds."""

    time: float = 1000.0

    def __call__(self) -> float:
        return self.time


@dataclass
class Notes:
    """What `fleetgate explain` would say."""

    said: list[tuple[str, str]] = field(default_factory=list)

    def __call__(self, stage: str, words: str) -> None:
        self.said.append((stage, words))


@contextlib.asynccontextmanager
async def steady(
    case: str, url: str, *, failures: int = 0, retries: int = 1, clock: Clock | None = None, connections: int = 9, **more: float
) -> AsyncIterator[SteadyTransport]:
    kind = AioTransport if case.startswith("aiohttp") else LeanTransport
    provider = Provider("p", {"openai": f"{url}/v1"}, retries=retries, deadlines=Deadlines(**more), connections=connections)
    inner = kind([provider], Deadlines())
    transport = SteadyTransport(inner, [provider], failures, 5.0, luck=lambda: 0.0, now=clock or time.monotonic)
    try:
        yield transport
    finally:
        await transport.close()


def alone(notes: Notes | None = None) -> UpstreamRequest:
    """A request with no other target behind it."""
    return replace(ask(), alone=True, note=notes or Notes())
