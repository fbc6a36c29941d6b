"""The parts of the report, in order: each starts its targets, measures, and returns tables and plots.

A section decides what is compared with what. How a figure comes about is in `measure`, what is measured in `cases`.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from benchmarks import cases, measure, peers, plots, process, report
from benchmarks.dialects import CHAT
from benchmarks.lab import Lab, say
from benchmarks.measure import Case, Row, middle
from benchmarks.process import NotReady
from benchmarks.replies import EVENTS
from benchmarks.report import Section, Table
from benchmarks.soak import Store
from benchmarks.targets import FLEETGATE_FILE, FLEETGATE_MEMORY, PROXIES, Fleet, Start, Target, bare

Part = Callable[[Lab], Awaitable[Section]]
Value = float | None


async def speed(lab: Lab) -> Section:
    """CPU per request of everything, beside the bare proxy; and what is paid once for what nobody has seen before."""
    found, rows = await _speed(lab, "speed", (*cases.SPEED, cases.ALL_NEW), "CPU a request or event as a multiple of the bare proxy's")
    lines = []
    for target in dict.fromkeys(row.target for row in rows if row.target.startswith("fleetgate")):
        known, new = _cpu(rows, cases.SPEED[1].name, target), _cpu(rows, cases.ALL_NEW.name, target)
        if known is not None and new is not None:
            more = round((new - known) / 1000, 2)
            lines.append((target, f"{more:.2f}", report.verdict(more, cases.ALL_NEW_MS)))
    found.tables.append(Table(("60 KB, all new, beside what is known", "CPU ms more, once", "target"), lines))
    return found


async def dialects(lab: Lab) -> Section:
    """The same in the other protocols, and between protocols."""
    found, _ = await _speed(lab, "dialects", cases.DIALECTS, "CPU in other protocols and between them as a multiple of the bare proxy's")
    return found


async def _speed(lab: Lab, name: str, of: Sequence[Case], title: str) -> tuple[Section, list[Row]]:
    rows: list[Row] = []
    with lab.running(PROXIES) as targets:
        for case in of:
            say(f"  {case.name}")
            compared = [t for t in targets if not (case.stream and case.dialect is not CHAT and t.name == "nginx")]  # bytes are bytes to it
            rows += await measure.compare(compared, case, lab.effort)
    found = Section(name, [Table(report.HEAD, [report.cells(row) for row in rows])], errors=_errors(rows))
    drawn = [case for case in of if case.limit is not None]
    series = {target.name: [_ratio(rows, case.name, target.name) for case in drawn] for target in targets}
    found.plots[name] = (title, plots.bars(title, [case.name for case in drawn], series, [case.limit for case in drawn], "x"))
    return found, rows


async def features(lab: Lab) -> Section:
    """What each feature adds."""
    starts: dict[str, Start] = {"bare": bare, **{fleet.name: fleet for fleet in cases.FEATURES}}
    rows: list[Row] = []
    with lab.running(starts) as targets:
        for case in cases.FEATURE_CASES:
            say(f"  {case.name}")
            rows += await measure.compare(targets, case, replace(lab.effort, repeats=min(1 if case.stream else 2, lab.effort.repeats)))
    names = [case.name for case in cases.FEATURE_CASES]
    lines = [[target.name, *(_cost(_one(rows, name, target.name)) for name in names)] for target in targets]
    found = Section("features", [Table(["CPU µs an exchange (x bare)", *names], lines)], errors=_errors(rows))
    series = {name: [_cpu(rows, name, target.name) for target in targets] for name in ("400 B", "60 KB")}
    title = "CPU µs a request, by what is on"
    found.plots["features"] = (title, plots.bars(title, [t.name for t in targets], series, [None] * len(targets), ""))
    return found


async def history(lab: Lab) -> Section:
    """How cost grows with a conversation whose last message alone is new."""
    rows: list[Row] = []
    with lab.running({"bare": bare, "fleetgate": FLEETGATE_FILE}) as targets:
        for length in cases.LENGTHS:
            say(f"  {length} messages")
            rows += await measure.compare(targets, cases.of_length(length), lab.effort)
    base = {t.name: _cpu(rows, f"{cases.LENGTH_BASE:,}", t.name) for t in targets}
    lines = []
    for length in cases.LENGTHS:
        case = cases.of_length(length)
        line = [case.name, f"{case.body().size() / 1000:,.1f}"]
        for target in targets:
            cpu, at = _cpu(rows, case.name, target.name), base[target.name]
            line += [_cost(_one(rows, case.name, target.name)), f"{cpu / at:.2f}" if cpu and at else ""]
        last = length == cases.LENGTHS[-1] and line[-1]
        lines.append([*line, report.verdict(float(line[-1]), cases.LENGTH_LIMIT) if last else ""])
    columns = [column for t in targets for column in (f"{t.name} CPU µs (x bare)", f"{t.name}, x {cases.LENGTH_BASE} messages")]
    found = Section("history", [Table(["messages", "KB", *columns, "target"], lines)], errors=_errors(rows))
    _curve(found, "history", "CPU µs a request, by the length of a known conversation", (cases.LENGTHS, "messages"), _series(rows, targets))
    return found


async def agents(lab: Lab) -> Section:
    """What many agents cost: a request, memory, and the time to start."""
    lines, cpu, errors = [], list[Value](), 0
    for count in cases.AGENT_COUNTS:
        say(f"  {count} agents")
        began = time.perf_counter()
        with lab.running({"fleetgate": cases.many_agents(count)}) as targets:
            started = time.perf_counter() - began
            for target in targets:
                (row,) = await measure.compare(
                    [target], cases.of_many_agents(count), replace(lab.effort, repeats=min(2, lab.effort.repeats))
                )
                errors += row.errors
                cpu.append(None if row.failed else middle(row.cpu_us)[0])
                lines.append([row.case, *((report.cells(row)[2], report.cells(row)[5])), f"{started:.1f}", report.cells(row)[-1]])
            if not targets:
                cpu.append(None)
    found = Section("agents", [Table(("agents", "CPU µs", "RSS MB", "seconds to start", "errors"), lines)], errors=errors)
    _curve(found, "agents", "CPU µs a request, by the number of agents", (cases.AGENT_COUNTS, "agents"), {"fleetgate": cpu})
    return found


async def streams(lab: Lab) -> Section:
    """What an event costs with many streams at a time."""
    rows: list[Row] = []
    with lab.running({"bare": bare, "fleetgate": FLEETGATE_FILE}) as targets:
        for count in cases.STREAM_COUNTS:
            say(f"  {count} streams")
            rows += await measure.compare(targets, cases.of_streams(count), replace(lab.effort, repeats=1 if count > 100 else 2))
    lines = []
    for row in rows:
        shown, every = report.cells(row), cases.every_ms(int(row.case.replace(",", "")))
        took = f"{middle(row.wall_s)[0]:.2f} of {every * EVENTS / 1000:.2f}" if row.wall_s else ""
        lines.append([row.case, row.target, f"{every}", shown[2], shown[3], took, shown[5], shown[-1]])
    head = ("streams", "proxy", "ms apart", "CPU µs an event", "x bare", "seconds, of at least", "RSS MB", "errors")
    found = Section("streams", [Table(head, lines)], errors=_errors(rows))
    _curve(found, "streams", "CPU µs an event, by streams at a time", (cases.STREAM_COUNTS, "streams"), _series(rows, targets))
    return found


async def latency(lab: Lab) -> Section:
    """What is added at a fixed rate that waits for nobody: on cores that halt when they are idle, and on cores that do not."""
    body, stream = cases.SPEED[1], cases.FIRST_BYTE
    lines, plotted, errors = list[Sequence[str]](), dict[str, list[Value]](), 0
    todo = ((body, cases.RATE, (cases.RATE_P50_US, cases.RATE_P99_US)), (stream, cases.STREAM_RATE, (cases.FIRST_BYTE_US, float("inf"))))
    with lab.running({name: PROXIES[name] for name in ("nginx", "bare", "fleetgate")}) as targets:
        for (case, rate, limits), awake in itertools.product(todo, (False, True)):
            name = f"{case.name}, {rate:g}/s{', cores kept awake' if awake else ''}"
            say(f"  {name}")
            with process.awake((lab.here, lab.there) if awake else (), lab.folder):
                rows = await measure.latency(lab.direct, targets, case, rate, lab.effort)
            for row in rows:
                line = report.latency_cells(name, row, limits if row.target.startswith("fleetgate") else None)
                lines.append([cell if "inf" not in cell else "" for cell in line])
                errors += row.errors
                if case is body:
                    label = f"{row.target}, awake" if awake else row.target
                    plotted[label] = [middle(row.p50_us)[0], middle(row.p99_us)[0]] if row.p50_us and row.held else [None, None]
    found = Section("latency", [Table(report.LATENCY_HEAD, lines)], errors=errors)
    title = f"Added latency in µs, 60 KB at {cases.RATE:g} requests a second"
    found.plots["latency"] = (title, plots.bars(title, ["p50", "p99"], plotted, [cases.RATE_P50_US, cases.RATE_P99_US], ""))
    return found


async def memory(lab: Lab) -> Section:
    """What many requests, each a session of its own, leave in memory."""
    requests, values, lines, errors = lab.effort.memory_requests, dict[str, list[Value]](), list[Sequence[str]](), 0
    with lab.running({"bare": bare, "fleetgate": FLEETGATE_FILE}) as targets:
        for target in targets:
            say(f"  {target.name}: {requests:,} requests")
            found, run = await measure.memory(target, requests)
            values[target.name] = list(found)
            errors += run.errors
            grown = found[-1] - found[len(found) // 2]
            ours = target.name == "fleetgate"
            told = report.verdict(round(max(found), 1), cases.RSS_MB) if ours else ""
            flat = report.verdict(round(grown, 1), cases.GROWN_MB) if ours else ""
            wrong = f"{run.errors}: {run.first_error[:120]}" if run.errors else "0"
            lines.append([target.name, " ".join(f"{mb:.0f}" for mb in found), told, f"{grown:+.1f}", flat, str(run.requests), wrong])
    head = ("proxy", "RSS MB, at the start and after each tenth", "target", "second half", "flat", "requests", "errors")
    done = Section("memory", [Table(head, lines)], errors=errors)
    at = [requests * part // 10 for part in range(11)]
    _curve(done, "memory", "RSS in MB, over requests that each begin a session", (at, "requests"), values, cases.RSS_MB)
    return done


async def redis(lab: Lab) -> Section:
    """What a shared store costs beside counters in memory."""
    store, case = Store(None, lab.folder, "everysec", lab.there), replace(cases.SPEED[0], connections=32, limit=None)
    try:
        store.start()
    except (NotReady, ImportError) as e:
        return Section("redis", [], [f"not run: {e}"])
    shared = Fleet("fleetgate (Valkey)", store=store.url)
    try:
        with lab.running({"bare": bare, "memory": FLEETGATE_MEMORY, "fleetgate": FLEETGATE_FILE, "redis": shared}) as targets:
            rows = await measure.compare(targets, case, lab.effort)
    finally:
        store.stop()
    base, lines = _cpu(rows, case.name, FLEETGATE_MEMORY.name), list[Sequence[str]]()
    for row in rows:
        cpu = _cpu(rows, case.name, row.target)
        more = cpu - base if cpu is not None and base is not None and row.target.startswith("fleetgate") else None
        told = report.verdict(round(more, 1), cases.REDIS_US) if more is not None and row.target == shared.name else ""
        lines.append([row.target, *report.cells(row)[2:4], f"{more:+.1f}" if more is not None else "", told, *report.cells(row)[6:]])
    head = ("proxy, 32 at a time", "CPU µs", "x bare", "beside memory: µs", "target", "requests", "errors")
    return Section("redis", [Table(head, lines)], errors=_errors(rows))


async def workers(lab: Lab) -> Section:
    """What a second worker brings where load, upstream and proxy share two cores."""
    lines, errors = list[Sequence[str]](), 0
    for count in (1, 2):
        say(f"  {count} workers")
        fleet = Fleet("fleetgate", env={"FLEETGATE_LISTEN_WORKERS": str(count)}, pinned=False)
        with lab.running({"fleetgate": fleet}) as targets:
            for target in targets:
                case = replace(cases.SPEED[0], connections=32)
                (row,) = await measure.compare([target], case, lab.effort)
                rates = [case.requests * lab.effort.factor / wall for wall in row.wall_s]
                errors += row.errors
                lines.append([str(count), report.plus_minus(rates, 0), *(report.cells(row)[i] for i in (2, 5, 7))])
    return Section("workers", [Table(("workers", "requests/s", "CPU µs", "RSS MB, all processes", "errors"), lines)], errors=errors)


async def others(lab: Lab) -> Section:
    """Gateways of others, where they are installed."""
    rows: list[Row] = []
    with lab.running({"bare": bare, "fleetgate": FLEETGATE_FILE, **peers.PEERS}) as targets:
        for case in cases.PEERS:
            say(f"  {case.name}")
            rows += await measure.compare(targets, case, lab.effort)
    found = Section("peers", [Table(report.HEAD, [report.cells(row) for row in rows])], errors=_errors(rows))
    names = [case.name for case in cases.PEERS]
    title = "CPU of other gateways as a multiple of the bare proxy's"
    series = {t.name: [_ratio(rows, name, t.name) for name in names] for t in targets if t.name != "bare"}
    found.plots["peers"] = (title, plots.bars(title, names, series, [None] * len(names), "x"))
    return found


ALL: Mapping[str, Part] = {
    "speed": speed,
    "dialects": dialects,
    "features": features,
    "history": history,
    "agents": agents,
    "streams": streams,
    "latency": latency,
    "memory": memory,
    "redis": redis,
    "workers": workers,
}
MORE: Mapping[str, Part] = {"peers": others}
"""What is measured only when it is asked for by name."""

# --- small parts ---------------------------------------------------------------------------------------------------------------


def _errors(rows: Sequence[Row]) -> int:
    return sum(row.errors for row in rows)


def _one(rows: Sequence[Row], case: str, target: str) -> Row:
    return next((row for row in rows if (row.case, row.target) == (case, target)), Row(case, target))


def _cpu(rows: Sequence[Row], case: str, target: str) -> Value:
    row = _one(rows, case, target)
    return None if row.failed else middle(row.cpu_us)[0]


def _ratio(rows: Sequence[Row], case: str, target: str) -> Value:
    row = _one(rows, case, target)
    return None if row.failed or not row.ratio else middle(row.ratio)[0]


def _cost(row: Row) -> str:
    if row.failed:
        return f"FAILED: {row.first_error[:80]}"
    return f"{middle(row.cpu_us)[0]:,.0f}" + (f" ({middle(row.ratio)[0]:.2f})" if row.ratio else "")


def _series(rows: Sequence[Row], targets: Sequence[Target]) -> dict[str, list[Value]]:
    names = list(dict.fromkeys(row.case for row in rows))
    return {target.name: [_cpu(rows, name, target.name) for name in names] for target in targets}


def _curve(
    section: Section,
    name: str,
    title: str,
    over: tuple[Sequence[float], str],
    series: Mapping[str, Sequence[Value]],
    limit: float | None = None,
) -> None:
    section.plots[name] = (title, plots.lines(title, over[0], series, over[1], limit))
