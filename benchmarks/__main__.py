"""`python -m benchmarks [--sections speed,features,…] [--quick] [--write] [--json]`: see docs/benchmarks.md."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from benchmarks import report, sections
from benchmarks.lab import Lab, say
from benchmarks.measure import Effort
from benchmarks.process import ROOT, cores
from benchmarks.targets import PROXIES


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks", description="Compare Fleetgate with a bare proxy on this machine.")
    known = ", ".join([*sections.ALL, *sections.MORE])
    parser.add_argument("--sections", default=",".join(sections.ALL), help=f"parts of the report, comma-separated, of {known}")
    parser.add_argument("--quick", action="store_true", help="a few minutes: one repeat, fewer requests")
    parser.add_argument("--memory-requests", type=int, default=100_000, help="requests of the memory run")
    parser.add_argument("--only", default="", help=f"of the targets that speed compares ({', '.join(PROXIES)}), comma-separated")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--write", action="store_true", help="also put tables and plots into docs/")
    options = parser.parse_args()
    options.sections = options.sections.split(",")
    unknown = [name for name in options.sections if name not in sections.ALL and name not in sections.MORE]
    if unknown:
        parser.error(f"no section {', '.join(unknown)}; there are {known}")
    return options


async def main(options: argparse.Namespace, folder: Path) -> int:
    pinned = cores()
    notes = report.machine(*pinned)
    began_all, effort = time.perf_counter(), Effort(memory_requests=options.memory_requests)
    if options.quick:
        effort = Effort(1, 0.25, 1.5, min(options.memory_requests, 10_000))
        notes.append("a quick run: one short round of each, for a look and not for a figure")
    os.sched_setaffinity(0, {pinned[1]})
    only = frozenset(options.only.split(",")) if options.only else frozenset()
    found: list[report.Section] = []
    with Lab.open(pinned, folder, effort, only) as lab:
        for name in options.sections:
            began = time.perf_counter()
            say(f"{name} …")
            section = await {**sections.ALL, **sections.MORE}[name](lab)
            found.append(section)
            say(f"{name}: {time.perf_counter() - began:.0f} s")
            if not options.json:
                print(section.text() + "\n", flush=True)
            if options.write:
                report.publish(ROOT / "docs", [section], [*notes, _busy()])
    if options.json:
        print(json.dumps(report.as_json(found, notes), indent=1))
    say(f"all: {(time.perf_counter() - began_all) / 60:.1f} min")
    return 1 if any(section.errors for section in found) else 0


def _busy() -> str:
    return f"load average {os.getloadavg()[0]:.1f} at the end of this part"


if __name__ == "__main__":
    if not sys.platform.startswith("linux"):
        sys.exit("the benchmarks read /proc and pin to cores: they need Linux")
    with contextlib.suppress(ValueError, OSError):
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    with tempfile.TemporaryDirectory(prefix="fleetgate-bench-") as name:
        sys.exit(uvloop.run(main(arguments(), Path(name))))
