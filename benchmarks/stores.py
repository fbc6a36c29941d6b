"""`python -m benchmarks.stores [URL ...] [--pairs N] [--sessions N]`: what the budget stores cost.

A pair is one reserve on four counters and its settle. CPU is that of the whole process, the SQLite store's writer and this loop included,
in microseconds a pair: one pair after the other, and 64 at once. `--sessions` measures memory instead: ten thousand budgets of agents,
then so many sessions that each make one call.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

from proxy.budget.port import BudgetStore, Claim, Held
from proxy.budget.rules import Facts, RuleSet
from proxy.model import BudgetRule, Source
from proxy.stores import open_store

WALL = 1_795_000_000.0
AT_ONCE = 64
AGENTS = 10_000
AMOUNTS = {"usd": 150_000_000, "tokens": 18_000, "requests": 1, "concurrency": 1}


def rule(name: str, unit: str, window: str, *scope: tuple[str, str]) -> BudgetRule:
    return BudgetRule(name, scope, unit, 10**15, window, Source("budgets/bench.yaml", 1))  # type: ignore[arg-type]


FLAT = (
    rule("fleet", "usd", "month"),
    rule("agent", "usd", "day", ("agent", "*")),
    rule("session", "tokens", "session", ("agent", "*")),
    rule("slots", "concurrency", "total", ("agent", "*")),
)
ROLLING = (*FLAT[:3], rule("rate", "requests", "rolling 1m", ("agent", "*")))


def claims_of(rules: RuleSet, agent: int, session: int, now: float) -> list[Claim]:
    return rules.claims(Facts("team", f"agent-{agent}", "k", f"s{session}", ""), now, AMOUNTS)


async def pair(store: BudgetStore, hold_id: str, claims: Sequence[Claim], now: float) -> None:
    answer = await store.reserve(hold_id, claims, now, now + 1800)
    if not isinstance(answer, Held):
        raise SystemExit(f"the store refused: {answer}")
    await store.settle(hold_id, {"usd": 1_234_567, "tokens": 1234, "requests": 1}, now)


async def cost(url: str, rules: RuleSet, pairs: int, at_once: int) -> tuple[float, float]:
    """Return CPU and wall time of a pair, in microseconds."""
    stores, run = open_store(url), time.time_ns()
    store, numbers = stores.budget, iter(range(pairs))
    works = [(f"{run}.{i}", claims_of(rules, i % 50, i % 200, WALL + i / 100), WALL + i / 100) for i in range(pairs)]

    async def worker() -> None:
        for i in numbers:
            await pair(store, *works[i])
            if i % 100 == 99:  # as the ledger says it, without the records
                await store.recorded([work[0] for work in works[max(0, i - 99 - at_once) : i + 1]])
            if i % 1000 == 999:
                await store.sweep(works[i][2])

    gc.collect()
    cpu, wall = time.process_time(), time.perf_counter()
    await asyncio.gather(*[worker() for _ in range(at_once)])
    spent = (time.process_time() - cpu) * 1e6 / pairs, (time.perf_counter() - wall) * 1e6 / pairs
    await stores.close()
    return spent


def rss_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


async def memory(url: str, sessions: int) -> None:
    """Print what ten thousand budgets, and then `sessions` live sessions, weigh."""
    before = rss_mb()
    rules = RuleSet([*FLAT[:1], *[rule(f"cap-{i}", "usd", "day", ("agent", f"agent-{i}")) for i in range(AGENTS)], FLAT[2]])
    stores = open_store(url)
    for i in range(AGENTS):
        await pair(stores.budget, f"b{i}", claims_of(rules, i, i % 500, WALL), WALL)
    budgets = rss_mb()
    for i in range(sessions):
        now = WALL + i / 1000
        await pair(stores.budget, f"s{i}", claims_of(rules, i % AGENTS, i + 500, now), now)
        if i % 5000 == 4999:
            await stores.budget.sweep(now)
    took = time.perf_counter()
    await stores.budget.sweep(WALL + sessions / 1000)
    took = time.perf_counter() - took
    print(
        f"{url}: {before:.0f} MB at start, {budgets:.0f} with {AGENTS:,} budgets, {rss_mb():.0f} with {sessions:,} sessions more;", end=" "
    )
    print(f"a sweep takes {took * 1000:.0f} ms")
    await stores.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.stores", description="Measure the budget stores.")
    parser.add_argument("urls", nargs="*", help="memory:, sqlite:PATH, redis://…; default: memory: and a file in a new folder")
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--sessions", type=int, default=0, help="measure memory with so many sessions instead")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fleetgate-stores-") as folder:
        for url in options.urls or ("memory:", f"sqlite:{Path(folder) / 'store.db'}"):
            if options.sessions:
                uvloop.run(memory(url, options.sessions))
                continue
            for name, rules in (("flat", FLAT), ("one rolling", ROLLING)):
                for at_once in (1, AT_ONCE):
                    alone = at_once == 1 and url != "memory:"  # a settle that nobody comes after waits ten milliseconds
                    cpu, wall = uvloop.run(cost(url, RuleSet(rules), options.pairs // 40 if alone else options.pairs, at_once))
                    print(f"{url} {name}, {at_once:2} at once: {cpu:6.1f} µs CPU, {wall:6.1f} µs wall a pair", flush=True)


if __name__ == "__main__":
    main()
