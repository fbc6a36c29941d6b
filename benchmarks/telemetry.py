"""What telemetry costs an exchange: `python -m benchmarks.telemetry`.

Finished exchanges are handed to the sinks as the engine does it, and the CPU time of the whole process is divided by their number, threads
of the ledger and of the exporter included. The collector is a process of its own, and not counted. What a record costs to make is the
engine's, and not counted either. Rows:

    sinks            the ledger in a SQLite file, the metrics, the access log (to a file)
    + traces, 1 %    beside them a trace for each exchange, one in a hundred kept, made into spans and sent
    + traces, all    the same with every trace kept
    + GenAI metrics  as the row before the last, and the histograms of OTLP
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from benchmarks.records import TYPICAL
from proxy.engine.exchange import Exchange, new_id
from proxy.engine.ports import Sink
from proxy.engine.record import Record
from proxy.telemetry import logs
from proxy.telemetry.genai import GenAiMetrics
from proxy.telemetry.ledger import Ledger
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.otlp import Collector, Exporter
from proxy.telemetry.otlp_messages import Resource
from proxy.telemetry.tracer import Sampling, Tracer

EXCHANGES = 20_000
REPEATS = 5
TARGETS = {"sinks": 25.0, "+ traces, 1 %": 35.0}
"""Microseconds of CPU an exchange."""


class _Takes(BaseHTTPRequestHandler):
    """Takes what comes."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def _collect(told: Connection) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Takes) as server:
        told.send(server.server_port)
        server.serve_forever()


@contextlib.contextmanager
def collector() -> Iterator[str]:
    """Yield the URL of a collector in a process of its own."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_collect, args=(there,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}"
    finally:
        process.terminate()
        process.join()


def exchanges(count: int) -> list[tuple[Exchange, Record]]:
    """Return as much of `count` exchanges as a tracer looks at, with their records."""
    made = []
    meter = SimpleNamespace(reply_id="chatcmpl-1", finish="stop", model="gpt-5-mini-2026", tool_calls=[])
    call, grant = SimpleNamespace(max_output=800, choices=1), SimpleNamespace(data={"secrets": "redact"})
    for i in range(count):
        record = replace(TYPICAL, id=new_id(TYPICAL.time + i / 1000), time=TYPICAL.time + i / 1000)
        known = {
            "client": None,
            "method": "POST",
            "path": "/v1/chat/completions",
            "codec": None,
            "call": call,
            "grant": grant,
            "meter": meter,
        }
        ex = SimpleNamespace(id=record.id, headers={"content-type": "application/json"}, trace=None, max_output=None, shown=None, **known)
        made.append((cast(Exchange, ex), record))
    return made


async def played(sinks: tuple[Sink, ...], tracer: Tracer | None, count: int, exporter: Exporter | None = None) -> float:
    """Return the microseconds of CPU that each of `count` exchanges takes, until all is written and sent."""
    work = exchanges(count)
    gc.collect()
    began = time.process_time_ns()
    for number, (ex, record) in enumerate(work):
        if tracer is not None:
            ex.trace = tracer.begin(ex)
        for sink in sinks:
            sink.record(record)
        if tracer is not None:
            tracer.end(ex, record)
        if number % 100 == 99:
            await asyncio.sleep(0.005)  # as exchanges come: the threads keep up, and write what has gathered
    for sink in sinks:
        await sink.close()
    if tracer is not None and exporter is not None:
        while exporter.depth:  # noqa: ASYNC110  its thread has nothing to tell this loop by
            await asyncio.sleep(0.01)
        await asyncio.to_thread(tracer.stop)
    return (time.process_time_ns() - began) / count / 1000


def row(name: str, url: str, count: int) -> float:
    """Return what the row of that name costs."""
    with tempfile.TemporaryDirectory() as folder, Path(folder, "log").open("w") as log:
        logs.setup("INFO", stream=log)
        sinks: tuple[Sink, ...] = (Ledger(Path(folder, "ledger.db")), Metrics("0"), logs.AccessLog())
        if name == "sinks":
            return asyncio.run(played(sinks, None, count))
        ratio = 1.0 if name.endswith("all") else 0.01
        metrics = GenAiMetrics() if name.endswith("metrics") else None
        to = Collector(url, metrics_s=60.0 if metrics else 0.0, queue=count)
        exporter = Exporter(to, Resource({"service.name": "fleetgate"}, "0", time.time_ns()), metrics)
        found = asyncio.run(played(sinks, Tracer(Sampling(ratio), exporter, metrics), count, exporter))
        if exporter.counts.failed or exporter.counts.dropped:
            raise SystemExit(f"{name}: {exporter.counts}")
        return found


def main(count: int = EXCHANGES, repeats: int = REPEATS) -> int:
    """Print the table; return how many targets were missed."""
    rows: dict[str, list[float]] = {name: [] for name in ("sinks", "+ traces, 1 %", "+ traces, all", "+ GenAI metrics")}
    with collector() as url:
        for _ in range(repeats):
            for name, found in rows.items():
                found.append(row(name, url, count))
    logging.getLogger().handlers.clear()
    print("| telemetry | CPU µs an exchange | target |\n|---|---|---|")
    missed = 0
    for name, found in rows.items():
        middle, target = statistics.median(found), TARGETS.get(name)
        verdict = "" if target is None else f"≤ {target:g} {'met' if middle <= target else 'MISSED'}"
        missed += target is not None and middle > target
        print(f"| {name} | {middle:.1f} ±{(max(found) - min(found)) / 2:.1f} | {verdict} |")
    return missed


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])) > 0)
