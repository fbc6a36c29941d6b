"""`python -m benchmarks [--quick] [--json] [--rss] [--only bare,fleetgate] [--write]`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import tempfile
from pathlib import Path

import uvloop

from benchmarks import measure, report
from benchmarks.process import ROOT, NotReady, cores, free_port, start, wait_ready
from benchmarks.targets import PROXIES, Target


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks", description="Compare Fleetgate with a bare proxy on this machine.")
    parser.add_argument("--quick", action="store_true", help="a minute or two: one repeat, fewer requests")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--rss", action="store_true", help="memory over 100,000 requests instead of speed")
    parser.add_argument("--only", default=",".join(PROXIES), help="proxies to run, comma-separated; ratios need bare")
    parser.add_argument("--case", action="append", choices=[case.name for case in measure.CASES], help="run this case alone")
    parser.add_argument("--write", action="store_true", help="also put the table into docs/benchmarks.md")
    return parser.parse_args()


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


async def main(options: argparse.Namespace, folder: Path) -> int:
    here, there = cores()
    notes = report.machine(here, there)
    os.sched_setaffinity(0, {there})
    stub = start([sys.executable, "-m", "benchmarks.stub", str(port := free_port())], there, folder / "stub.log")
    running: list[Target] = []
    try:
        wait_ready(stub, port)
        for name in options.only.split(","):
            try:
                running.append(PROXIES[name](port, here, folder))
            except NotReady as e:
                say(f"{name} is left out: {e}")
        if options.rss:
            return await memory(running, options, notes)
        return await speed(Target("direct", port, None), running, options, notes)
    finally:
        for target in running:
            if target.process is not None:
                target.process.stop()
        stub.stop()


async def speed(direct: Target, running: list[Target], options: argparse.Namespace, notes: list[str]) -> int:
    effort = measure.Effort(repeats=1, factor=0.25, latency_s=2) if options.quick else measure.Effort()
    rows: list[measure.Row] = []
    for case in measure.CASES:
        if options.case and case.name not in options.case:
            continue
        say(f"{case.name} …")
        rows += await measure.compare(direct, running, case, effort)
    if options.json:
        print(json.dumps({"machine": notes, "rows": [dataclasses.asdict(row) for row in rows]}, indent=1))
    else:
        print("\n".join(notes) + "\n\n" + report.text(rows))
    if options.write:
        report.write(ROOT / "docs" / "benchmarks.md", report.markdown(rows, notes))
    return 1 if any(row.errors for row in rows) else 0


async def memory(running: list[Target], options: argparse.Namespace, notes: list[str]) -> int:
    found: dict[str, list[float]] = {}
    errors = 0
    for target in running:
        say(f"{target.name}: {10_000 if options.quick else 100_000} requests, each a session of its own …")
        found[target.name], run = await measure.memory(target, 10_000 if options.quick else 100_000)
        errors += run.errors
        if run.errors:
            say(f"{target.name}: {run.errors} errors, the first: {run.first_error}")
    if options.json:
        print(json.dumps({"machine": notes, "rss_mb": found, "errors": errors}, indent=1))
        return 1 if errors else 0
    for name, values in found.items():
        grown = values[-1] - values[len(values) // 2]
        print(f"{name:10} RSS MB: {' '.join(f'{value:.0f}' for value in values)}   second half {grown:+.1f} (target: < 150 and flat)")
    return 1 if errors else 0


if __name__ == "__main__":
    if not sys.platform.startswith("linux"):
        sys.exit("the benchmarks read /proc and pin to cores: they need Linux")
    with tempfile.TemporaryDirectory(prefix="fleetgate-bench-") as name:
        sys.exit(uvloop.run(main(arguments(), Path(name))))
