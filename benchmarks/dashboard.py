"""`python -m benchmarks.dashboard`: what people who watch cost the calls of a fleet of 10,000 agents.

    --agents 10000 --records 300000 --viewers 5 --rate 200 --seconds 10 --repeats 3

Serves a fleet with a ledger of the last half day, and sends calls of ever another agent at a fixed rate, through the proxy and to its
upstream in turn: what the proxy adds is the difference. Once nobody looks; then browsers do, each with the stream of events and another
page, which asks as often as the real one does. Viewers and load share one core, the proxy has one for itself. Where there is a Chromium, a
page of the fleet is opened at last, and says when it was first painted and when its rows stood. Linux.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import importlib
import itertools
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import uvloop

from benchmarks import bodies, ledger, load
from benchmarks.measure import middle, quantile
from benchmarks.process import ROOT, Process, cores, free_port, start, wait_ready
from benchmarks.targets import BUDGETS, FLEETGATE

A_FILE = 400
"""Agents in one file."""
FACTS = """  - {{name: agent-{0}, description: Plays agent {0}, policy: {{owner: {{team: team-{1}}}, models: {{allow: ["gpt-*"]}}}}}}"""
PAGES: dict[str, Sequence[tuple[str, float]]] = {
    "fleet": (("fleet?sort=-usd&limit=100", 10),),
    "agent": (
        ("agents/agent-7", 10),
        ("series?agent=agent-7&step=hour", 30),
        ("sessions?agent=agent-7&limit=8", 10),
        ("decisions?agent=agent-7&limit=8", 10),
    ),
    "decisions": (("decisions?limit=50", 1),),
    "budgets": (("budgets?limit=50", 5),),
    "sessions": (("sessions?limit=50", 10), ("routing", 15)),
}
"""What each page asks, and every how many seconds at most; those of decisions follow the events."""
PAINTED = """new Promise((told) => {
  const look = () => {
    const paint = performance.getEntriesByName("first-contentful-paint")[0];
    if (!paint || document.querySelectorAll("[data-row]").length < 20) return setTimeout(look, 10);
    told([paint.startTime, performance.now()]);
  };
  look();
})"""


@dataclass(slots=True)
class Watched:
    """What viewers saw: seconds that answers took, how many events came, what went wrong."""

    times: list[float] = field(default_factory=list)
    events: int = 0
    wrong: list[str] = field(default_factory=list)


async def view(port: int, viewers: int, seconds: float) -> Watched:
    """Play so many browsers for so long."""
    seen, end = Watched(), time.monotonic() + seconds
    pages = list(itertools.islice(itertools.cycle(PAGES.values()), viewers))
    timeout = aiohttp.ClientTimeout(total=30, sock_read=30)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", timeout=timeout) as session:
        tasks = [asyncio.ensure_future(_ask(session, seen, ask, every)) for page in pages for ask, every in page]
        tasks += [asyncio.ensure_future(_listen(session, seen)) for _ in pages]
        await asyncio.sleep(end - time.monotonic())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return seen


async def _ask(session: aiohttp.ClientSession, seen: Watched, ask: str, every: float) -> None:
    while True:
        begun = time.perf_counter()
        async with session.get(f"/api/v1/{ask}") as reply:
            await reply.read()
            if reply.status != 200:
                seen.wrong.append(f"{ask}: {reply.status}")
        seen.times.append(time.perf_counter() - begun)
        await asyncio.sleep(every)


async def _listen(session: aiohttp.ClientSession, seen: Watched) -> None:
    async with session.get("/api/v1/events") as reply:
        async for line in reply.content:
            seen.events += line.startswith(b"event:")


class Fleet:
    """The proxy over a fleet of `agents` with `records` in its ledger, and its upstream."""

    def __init__(self, folder: Path, agents: int, records: int) -> None:
        here, there = cores()
        os.sched_setaffinity(0, {there})
        self.port, self.admin, self.upstream = free_port(), free_port(), free_port()
        home = folder / "fleet"
        (home / "budgets").mkdir(parents=True)
        settings = FLEETGATE.format(port=self.port, admin=self.admin, upstream=self.upstream, store="sqlite:bench.db")
        (home / "fleetgate.yaml").write_text(settings.replace("[AGENTS.md]", '["*/AGENTS.md"]'))
        (home / "budgets" / "bench.yaml").write_text(BUDGETS)
        for first in range(0, agents, A_FILE):
            part = home / f"part-{first}"
            part.mkdir()
            names = [FACTS.format(i, i % 40) for i in range(first, min(agents, first + A_FILE))]
            (part / "AGENTS.md").write_text("\n".join(["---", "agents:", *names, "---", ""]))
        key = {"agent": "agent-*", "sha256": hashlib.sha256(bodies.KEY.encode()).hexdigest()}
        (home / "keys.yaml").write_text(json.dumps({"keys": [key]}))
        ledger.make(home / "bench.db", records, 0.4, agents)
        self.stub = start([sys.executable, "-m", "benchmarks.stub", str(self.upstream)], there, folder / "stub.log")
        wait_ready(self.stub, self.upstream)
        command = [sys.executable, "-m", "proxy", "serve", "--config", str(home / "fleetgate.yaml")]
        self.process: Process = start(command, here, home / "serve.log", {"BENCH_PROVIDER_KEY": "stub-provider-key"})
        wait_ready(self.process, self.port, 60)
        body, numbers = bodies.small(), itertools.count(1)

        def make(_: int) -> bytes:
            number = next(numbers)
            named = b"\r\nx-fleetgate-agent: agent-%d\r\n\r\n" % (number * 7919 % agents)
            return body.request(number).replace(b"\r\n\r\n", named, 1)

        self.make: load.Make = make

    def stop(self) -> None:
        """End both."""
        self.process.stop()
        self.stub.stop()


@dataclass(slots=True)
class Row:
    """What calls took in one state: µs that the proxy adds, one value a repeat, and the CPU that it used, as a share of a core."""

    p50_us: list[float] = field(default_factory=list)
    p99_us: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    errors: int = 0
    first_error: str = ""


async def measure(fleet: Fleet, row: Row, rate: float, seconds: float) -> None:
    """Add one value to `row`."""
    base = await load.paced(fleet.upstream, fleet.make, int(rate * seconds / 2), rate)
    cpu, begun = fleet.process.cpu_s(), time.monotonic()
    through = await load.paced(fleet.port, fleet.make, int(rate * seconds), rate)
    row.cpu.append((fleet.process.cpu_s() - cpu) / (time.monotonic() - begun))
    row.p50_us.append((quantile(through.times_s, 0.5) - quantile(base.times_s, 0.5)) * 1e6)
    row.p99_us.append((quantile(through.times_s, 0.99) - quantile(base.times_s, 0.99)) * 1e6)
    row.errors += through.errors
    row.first_error = row.first_error or through.first_error


async def compare(fleet: Fleet, options: argparse.Namespace) -> tuple[Row, Row, Watched]:
    """Measure with nobody there and with viewers, in turn."""
    alone, watched, seen = Row(), Row(), Watched()
    await load.paced(fleet.port, fleet.make, int(options.rate * 3), options.rate)
    for _ in range(options.repeats):
        await measure(fleet, alone, options.rate, options.seconds)
        whole = options.seconds * 1.5 + 4
        command = [sys.executable, "-m", "benchmarks.dashboard", "--view", str(fleet.admin), "--viewers", str(options.viewers)]
        viewers = await asyncio.create_subprocess_exec(*command, "--seconds", str(whole), stdout=asyncio.subprocess.PIPE, cwd=ROOT)
        await asyncio.sleep(3)  # they have come, and the first look is over
        await measure(fleet, watched, options.rate, options.seconds)
        told = json.loads((await viewers.communicate())[0])
        seen.times += told["times"]
        seen.events += told["events"]
        seen.wrong += told["wrong"]
    return alone, watched, seen


def painted(admin: int, times: int = 3) -> list[list[float]] | None:
    """Return when a page of the fleet was first painted and when its rows stood, in ms, each in a new browser profile."""
    if shutil.which("chromium") is None:
        return None
    sys.path.insert(0, str(ROOT / "tests"))
    chromium = importlib.import_module("chromium")  # the tests' own
    found = []
    with chromium.Chromium(chromium.chromium_bin()) as browser:
        for _ in range(times):
            page = browser.page()
            page.open(f"http://127.0.0.1:{admin}/#/fleet")
            found.append(page.js(PAINTED))
            page.close()
    return found


def table(alone: Row, watched: Row, seen: Watched, options: argparse.Namespace) -> str:
    """Return the figures as Markdown."""
    lines = ["| | added, median (µs) | added, 99 % (µs) | CPU of the proxy (share of a core) |", "|---|---|---|---|"]
    for name, row in (("nobody looks", alone), (f"{options.viewers} browsers", watched)):
        cells = [f"{middle(values)[0]:,.0f} ±{middle(values)[1]:,.0f}" for values in (row.p50_us, row.p99_us)]
        lines.append(f"| {name} | {' | '.join(cells)} | {middle(row.cpu)[0]:.0%} |")
    answers = f"{len(seen.times)} answers, median {quantile(seen.times, 0.5) * 1e3:.0f} ms, 99 % {quantile(seen.times, 0.99) * 1e3:.0f} ms"
    return "\n".join([*lines, "", f"Viewers had {answers}, and {seen.events} events."])


def main() -> int:
    """Measure and print; 1 where a call or an answer failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dashboard", description=__doc__)
    for name, value in (("agents", 10_000), ("records", 300_000), ("viewers", 5), ("repeats", 3), ("view", 0)):
        parser.add_argument(f"--{name}", type=int, default=value)
    for name, number in (("rate", 200.0), ("seconds", 10.0)):
        parser.add_argument(f"--{name}", type=float, default=number)
    options = parser.parse_args()
    if options.view:
        seen = uvloop.run(view(options.view, options.viewers, options.seconds))
        print(json.dumps({"times": seen.times, "events": seen.events, "wrong": seen.wrong}))
        return 0
    with tempfile.TemporaryDirectory(prefix="fleetgate-dashboard-") as folder:
        fleet = Fleet(Path(folder), options.agents, options.records)
        try:
            alone, watched, seen = uvloop.run(compare(fleet, options))
            print(table(alone, watched, seen, options))
            for first, rows in painted(fleet.admin) or ():
                print(f"First paint after {first:.0f} ms, rows after {rows:.0f} ms.")
        finally:
            fleet.stop()
    wrong = [*seen.wrong[:5], *(row.first_error for row in (alone, watched) if row.errors)]
    print("\n".join(wrong), file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
