"""`python -m benchmarks.scaling [--requests N] [--store redis://HOST:PORT/DB] [--write]`: what more replicas and workers bring.

One Redis or Valkey (fsynced every second), a stub for the provider, and requests of 400 bytes in a closed loop: to 1, 2 and 4 replicas,
then to 1 server with 1 and 2 workers. For each it prints requests a second and, per request: CPU of the proxies, CPU of the store, scripts,
packets that the store read (round trips, at most), commands it ran (those within scripts too) and bytes both ways.

What servers ask without any request is measured before and taken off, and shown as commands a second and process. What they read later
(each server follows the ledger, once a minute) is counted in the `AFTER_S` after the last request.

CPU is counted by the kernel, so it stands on a busy machine, nearly. Requests a second do not: with two cores, one replica, the load, the
provider and the store fill them, and more replicas only share what is there. `law` says from the CPU how far it would go with cores enough.
Needs Linux.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import redis
import uvloop

from benchmarks import load, report
from benchmarks.bodies import KEY, small
from benchmarks.process import ROOT, TICK_S, Process, free_port, start, wait_ready
from benchmarks.soak import Store
from benchmarks.targets import AGENTS, BUDGETS, FLEETGATE

CONNECTIONS = 32
IDLE_S, SETTLE_S, AFTER_S = 4.0, 1.0, 65.0
GOAL = 100_000
BUSY = 0.7
"""How far a core or a shard is filled where latency matters."""


@dataclass(frozen=True, slots=True)
class Setting:
    """So many replicas with so many workers each."""

    replicas: int
    workers: int = 1

    @property
    def words(self) -> str:
        """As the table says it."""
        return f"{self.replicas} of {self.workers}"

    @property
    def processes(self) -> int:
        """Processes that ask the store by themselves: a supervisor does too."""
        return self.replicas * (self.workers + (self.workers > 1))


SETTINGS = (Setting(1), Setting(2), Setting(4), Setting(1, 2))


@dataclass(frozen=True, slots=True)
class Counts:
    """What the store has done so far."""

    cpu_s: float
    commands: float
    scripts: float
    packets: float
    bytes_in: float
    bytes_out: float

    def since(self, before: Counts, idle: Counts, times: float) -> Counts:
        """Return what it did since `before`, without `times` what it does in `idle`."""
        mine = zip(self.fields(), before.fields(), idle.fields(), strict=True)
        return Counts(*[max(0.0, now - then - times * rest) for now, then, rest in mine])

    def fields(self) -> tuple[float, ...]:
        """All figures in order."""
        return (self.cpu_s, self.commands, self.scripts, self.packets, self.bytes_in, self.bytes_out)


NOTHING = Counts(0, 0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Row:
    """What one setting came to; all but `rate` and `idle` per request: CPU in µs, `sent`, `received` and `followed` in bytes to and from
    the store. `followed` is what servers read of the records later; `idle` are commands a second and process at rest.
    """

    setting: str
    rate: float
    proxy_us: float
    store_us: float
    scripts: float
    packets: float
    commands: float
    sent: float
    received: float
    followed: float
    idle: float
    errors: int


def counts(info: Mapping[str, Mapping[str, object]]) -> Counts:
    """Return the figures of `INFO` with `commandstats`, section by section."""

    def number(section: str, name: str) -> float:
        return float(str(info[section].get(name, 0)))

    stats = [value for value in info["commandstats"].values() if isinstance(value, dict)]
    scripts = [v for k, v in info["commandstats"].items() if k in ("cmdstat_evalsha", "cmdstat_eval") and isinstance(v, dict)]
    return Counts(
        number("cpu", "used_cpu_user") + number("cpu", "used_cpu_sys"),
        sum(float(s["calls"]) for s in stats),
        sum(float(s["calls"]) for s in scripts),
        number("stats", "total_reads_processed"),
        number("stats", "total_net_input_bytes"),
        number("stats", "total_net_output_bytes"),
    )


def read(client: redis.Redis) -> Counts:
    return counts({section: client.info(section) for section in ("cpu", "stats", "commandstats")})


class Fleet:
    """The servers of one setting, on one folder of files."""

    def __init__(self, setting: Setting, upstream: int, store: str, folder: Path) -> None:
        home = folder / f"fleet-{setting.replicas}-{setting.workers}"
        (home / "budgets").mkdir(parents=True)
        (home / "fleetgate.yaml").write_text(FLEETGATE.format(port=0, admin=0, upstream=upstream, store=store))
        (home / "AGENTS.md").write_text(AGENTS)
        (home / "budgets" / "bench.yaml").write_text(BUDGETS)
        digest = hashlib.sha256(KEY.encode()).hexdigest()
        (home / "keys.yaml").write_text(json.dumps({"keys": [{"agent": "bench", "sha256": digest}]}))
        self.ports = [free_port() for _ in range(setting.replicas)]
        self.processes = [self._start(home, setting.workers, port) for port in self.ports]

    def _start(self, home: Path, workers: int, port: int) -> Process:
        ours = {"PORT": port, "ADMIN_PORT": free_port(), "WORKERS": workers}
        env = {**os.environ, "BENCH_PROVIDER_KEY": "stub", **{f"FLEETGATE_LISTEN_{name}": str(value) for name, value in ours.items()}}
        command = [sys.executable, "-m", "proxy", "serve", "--log-level", "warning", "--config", str(home / "fleetgate.yaml")]
        log = home / f"serve-{port}.log"
        with log.open("wb") as out:
            return Process(subprocess.Popen(command, stdout=out, stderr=out, cwd=ROOT, env=env), log)

    def ready(self) -> None:
        for process, port in zip(self.processes, self.ports, strict=True):
            wait_ready(process, port, 120)

    def cpu_s(self) -> float:
        return sum(process.cpu_s() for process in self.processes)

    def stop(self) -> None:
        for process in self.processes:
            process.popen.terminate()
        for process in self.processes:
            process.stop()

    async def load(self, requests: int) -> tuple[float, int, str]:
        """Return seconds, errors and the first error of `requests` spread over all servers."""
        share, body, began = len(self.ports), small(), time.perf_counter()

        def every(first: int) -> load.Make:
            return lambda number: body.request(number * share + first)

        made = [load.closed(p, every(n), requests // share, CONNECTIONS // share) for n, p in enumerate(self.ports)]
        runs = await asyncio.gather(*made)
        first = next((run.first_error for run in runs if run.first_error), "")
        return time.perf_counter() - began, sum(run.errors for run in runs), first


def measure(setting: Setting, fleet: Fleet, client: redis.Redis, requests: int) -> Row:
    """Return what `requests` cost."""
    time.sleep(IDLE_S)  # what a start does
    before, cpu = read(client), fleet.cpu_s()
    time.sleep(IDLE_S)
    resting = Counts(*[field / IDLE_S for field in read(client).since(before, NOTHING, 0).fields()])
    idle_cpu = (fleet.cpu_s() - cpu) / IDLE_S
    uvloop.run(fleet.load(max(200, requests // 10)))
    before, cpu, began = read(client), fleet.cpu_s(), time.perf_counter()
    took, errors, why = uvloop.run(fleet.load(requests))
    if why:
        print(f"{setting.words}: {errors} errors, the first: {why}", file=sys.stderr)
    time.sleep(SETTLE_S)
    past, middle, spent = time.perf_counter() - began, read(client), fleet.cpu_s() - cpu
    done = middle.since(before, resting, past)
    time.sleep(AFTER_S)
    later = read(client).since(middle, resting, AFTER_S)
    each = [field / requests for field in done.fields()]
    return Row(
        setting.words,
        requests / took,
        max(spent - idle_cpu * past, TICK_S) * 1e6 / requests,
        each[0] * 1e6,
        each[2],
        each[3],
        each[1],
        each[4],
        each[5],
        later.bytes_out / requests,
        resting.commands / setting.processes,
        errors,
    )


@dataclass(frozen=True, slots=True)
class Law:
    """What `goal` requests a second would take, computed from what one costs."""

    cores: float
    tenant_rate: float
    shards: float
    commands: float
    store_gbit: float
    idle_share: float


def law(row: Row, goal: int = GOAL) -> Law:
    """Return the law for one row: cores and shards filled to `BUSY`."""
    processes = goal * row.proxy_us / 1e6 / BUSY
    return Law(
        processes,
        BUSY * 1e6 / row.store_us,
        goal * row.store_us / 1e6 / BUSY,
        goal * row.commands,
        goal * (row.sent + row.received + row.followed) * 8 / 1e9,
        processes * row.idle / (goal * row.commands),
    )


def table(rows: Sequence[Row], notes: Sequence[str]) -> str:
    """Return the measured part of docs/scaling.md."""
    head = (
        "replicas of workers",
        "requests/s",
        "proxy CPU µs",
        "store CPU µs",
        "scripts",
        "packets",
        "commands",
        "bytes in",
        "bytes out",
        "later",
        "idle/s",
    )
    lines = [*(f"- {note}" for note in notes), "", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for r in rows:
        cells = (f"{r.rate:.0f}", f"{r.proxy_us:.0f}", f"{r.store_us:.0f}", f"{r.scripts:.2f}", f"{r.packets:.2f}", f"{r.commands:.1f}")
        failed = f" ({r.errors} FAILED)" if r.errors else ""
        lines.append(
            f"| {r.setting}{failed} | {' | '.join((*cells, f'{r.sent:.0f}', f'{r.received:.0f}', f'{r.followed:.0f}', f'{r.idle:.1f}'))} |"
        )
    dearest = max(rows, key=lambda r: r.store_us + r.proxy_us)
    found = law(dearest)
    lines += [
        "",
        f"{GOAL:,} requests a second would take, by the dearest row ({dearest.setting}), with cores and shards filled to {BUSY:.0%}:",
        "",
        f"- **{found.cores:.0f} cores** of proxies",
        f"- **{found.shards:.0f} tenants on as many shards**: one ends at {found.tenant_rate:,.0f} requests a second (one thread)",
        f"- {found.commands / 1e6:.1f} million commands a second on all shards, {found.store_gbit:.1f} Gbit/s between proxies and stores",
        f"- what servers ask at rest is {found.idle_share:.2%} of those commands",
    ]
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.scaling", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=5000, help="for each setting")
    parser.add_argument("--store", help="a server that is there already, and that nobody else uses")
    parser.add_argument("--write", action="store_true", help="also put the table into docs/scaling.md")
    return parser.parse_args()


def main() -> int:
    options, rows = arguments(), list[Row]()
    with tempfile.TemporaryDirectory(prefix="fleetgate-scaling-") as name:
        folder = Path(name)
        store = Store(options.store, folder, "everysec")
        store.start()
        stub = start([sys.executable, "-m", "benchmarks.stub", str(port := free_port())], 0, folder / "stub.log")
        try:
            wait_ready(stub, port)
            with redis.Redis.from_url(store.url) as client:
                for setting in SETTINGS:
                    tenant = f"scale{setting.replicas}x{setting.workers}"  # of its own: nobody reads the records of the setting before
                    fleet = Fleet(setting, port, f"{store.url}?tenant={tenant}", folder)
                    try:
                        fleet.ready()
                        rows.append(measure(setting, fleet, client, options.requests))
                    finally:
                        fleet.stop()
                    print(rows[-1], file=sys.stderr, flush=True)
        finally:
            stub.stop()
            store.stop()
    busy = f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, which proxies, store, provider and load share"
    text = table(rows, [report.machine(0, 1)[0], busy])
    print(text)
    if options.write:
        report.write(ROOT / "docs" / "scaling.md", text)
    return int(any(row.errors for row in rows))


if __name__ == "__main__":
    sys.exit(main())
