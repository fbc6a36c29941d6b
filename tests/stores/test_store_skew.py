"""Replicas whose clocks differ by ten seconds on one store: limits hold, nothing is charged twice, and no hold ends early."""

from __future__ import annotations

import asyncio
import contextlib
import random
from pathlib import Path

import pytest
from redis_server import needs_redis
from store_cases import opened, url_of

from proxy.budget.port import Claim, Held
from proxy.pipeline import HOLD_MARGIN_S

SKEW_S = 10.0
LIMIT = 100


def claims(now: float) -> list[Claim]:
    """A calendar minute and a total, as a replica with this clock names them."""
    minute = int(now // 60)
    return [
        Claim(f"minute{minute}", "usd", LIMIT, 7, (minute + 1) * 60.0),
        Claim("total", "usd", 10_000, 7, 1e12),
    ]


@pytest.mark.parametrize("scheme", ["sqlite", pytest.param("redis", marks=needs_redis)])
def test_clocks_ten_seconds_apart(scheme: str, tmp_path: Path) -> None:
    async def main() -> None:
        chance = random.Random(7)
        async with contextlib.AsyncExitStack() as stack:
            url = url_of(scheme, tmp_path)
            replicas = [await stack.enter_async_context(opened(url)) for _ in range(2)]
            running: list[tuple[int, str]] = []
            charged = 0
            for step in range(240):
                now = 1_000_000_200.0 + step / 2  # two minutes, of which each replica sees the ends at another time
                who = chance.randrange(2)
                mine, clock = replicas[who], now + who * SKEW_S
                if chance.random() < 0.6:
                    if isinstance(await mine.reserve(f"h{step}", claims(clock), clock, clock + 60 + HOLD_MARGIN_S), Held):
                        running.append((who, f"h{step}"))
                elif running:
                    owner, hold = running.pop(chance.randrange(len(running)))
                    used = chance.randrange(8)
                    assert await replicas[owner].settle(hold, {"usd": used}, now + owner * SKEW_S), "nobody ended it before"
                    charged += used
                    await replicas[owner].recorded([hold])
                assert await mine.sweep(clock) == [], "a hold lives longer than its call, by more than clocks differ"
                for name in {claims(now + skew)[0].counter for skew in (0, SKEW_S)}:
                    found = (await mine.balances([name], clock)).get(name)
                    assert found is None or sum(found) <= LIMIT
            for owner, hold in running:
                assert await replicas[owner].release(hold, now)
            assert await replicas[0].balances(["total"], now) == {"total": (charged, 0)}, "each once"
            assert charged > LIMIT

    asyncio.run(main())
