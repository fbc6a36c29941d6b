"""What the tests of the stores share: the adapters, and how one is opened, used and closed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from redis_server import needs_redis, shared_url

from proxy.budget.port import BudgetStore, Claim, Unit
from proxy.stores import open_store

LATE = 1e12
SCHEMES = ("memory", "sqlite", pytest.param("redis", marks=needs_redis))


def url_of(scheme: str, folder: Path) -> str:
    """The URL of an empty store."""
    if scheme == "redis":
        return shared_url()
    return "memory:" if scheme == "memory" else f"sqlite:{folder / 'store.db'}"


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[BudgetStore]:
    stores = open_store(url)
    try:
        yield stores.budget
    finally:
        await stores.close()


def run(url: str, body: Callable[[BudgetStore], Awaitable[None]]) -> None:
    async def main() -> None:
        async with opened(url) as store:
            await body(store)

    asyncio.run(main())


def usd(counter: str, limit: int | None, amount: int) -> Claim:
    return Claim(counter, "usd", limit, amount, LATE)


def rolling(counter: str, limit: int | None, amount: int, span: float = 60.0, unit: Unit = "usd") -> Claim:
    return Claim(counter, unit, limit, amount, LATE, span=span)
