"""The measurements: CPU per request in a closed loop, added latency at a fixed rate, memory over many requests.

Targets take turns inside each repeat, so that what the machine does meanwhile touches all of them; ratios are formed inside a repeat and
only then put together. The value is the median, the spread is half the distance between the smallest and the largest.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks import bodies, load
from benchmarks.dialects import CHAT, GENERATE, MESSAGES, OLLAMA, RESPONSES, Dialect
from benchmarks.replies import EVENTS
from benchmarks.targets import Target

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of request: how many for the CPU figure, how many a second for latency, and the most that Fleetgate may cost.

    Without a rate there is no latency figure: between protocols only the reading and the metering differ.
    """

    name: str
    body: Callable[[], bodies.Body]
    requests: int
    rate: float
    limit: float
    stream: bool = False
    dialect: Dialect = CHAT

    @property
    def expected(self) -> load.Expected:
        """What replies must be."""
        return load.Expected(self.stream, self.dialect)

    @property
    def units(self) -> int:
        """What the CPU figure is divided by, for each request: stream events, or the request itself."""
        return EVENTS + 3 if self.stream else 1


def _whole(dialect: Dialect) -> Case:
    return Case(f"60 KB {dialect.name}", lambda: bodies.agent(dialect=dialect), 4_000, 0, 1.5, dialect=dialect)


def _stream(dialect: Dialect) -> Case:
    return Case(
        f"{dialect.name} stream event", lambda: bodies.small(stream=True, dialect=dialect), 480, 0, 1.5, stream=True, dialect=dialect
    )


def _translated(spoken: Dialect, served: Dialect) -> Case:
    """Return the case of a request in one dialect for a model that is served in another only."""
    name = f"60 KB {spoken.name} to {served.name}"
    return Case(name, lambda: bodies.agent(dialect=spoken, model=served.model), 2_000, 0, 3.0, dialect=spoken)


CASES = (
    Case("400 B", bodies.small, 12_000, 400, 1.6),
    Case("60 KB", bodies.agent, 8_000, 200, 1.5),
    Case("1 MB", bodies.large, 1_200, 20, 1.3),
    Case("stream event", lambda: bodies.small(stream=True), 480, 20, 1.5, stream=True),
    *(_whole(dialect) for dialect in (RESPONSES, MESSAGES, GENERATE, OLLAMA)),
    *(_stream(dialect) for dialect in (RESPONSES, MESSAGES, GENERATE, OLLAMA)),
    _translated(MESSAGES, CHAT),
    _translated(GENERATE, CHAT),
    _translated(OLLAMA, CHAT),
    _translated(CHAT, MESSAGES),
)


@dataclass(slots=True)
class Row:
    """What one target showed in one case. Lists hold one value a repeat."""

    case: str
    target: str
    limit: float | None = None
    cpu_us: list[float] = field(default_factory=list)
    ratio: list[float] = field(default_factory=list)
    added_p50_us: list[float] = field(default_factory=list)
    added_p99_us: list[float] = field(default_factory=list)
    rss_mb: list[float] = field(default_factory=list)
    requests: int = 0
    errors: int = 0
    first_error: str = ""

    def take(self, run: load.Run) -> None:
        self.requests += run.requests
        self.errors += run.errors
        self.first_error = self.first_error or run.first_error


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure: repeats, and a factor on the number of requests."""

    repeats: int = 3
    factor: float = 1.0
    latency_s: float = 5.0


async def compare(direct: Target, proxies: Sequence[Target], case: Case, effort: Effort) -> list[Row]:
    """Return a row for each proxy in `case`."""
    body = case.body()
    rows = {target.name: Row(case.name, target.name) for target in proxies}
    for name, row in rows.items():
        if name.startswith("fleetgate"):
            row.limit = case.limit

    def make(_: int) -> bytes:
        return body.request(next(_numbers))

    requests = max(32, int(case.requests * effort.factor))
    for target in (direct, *proxies):
        await load.closed(target.port, make, max(32, requests // 10), expected=case.expected)
    for _ in range(effort.repeats):
        cpu_us: dict[str, float] = {}
        for target in proxies:
            assert target.process is not None
            before = target.process.cpu_s()
            run = await load.closed(target.port, make, requests, expected=case.expected)
            cpu_us[target.name] = (target.process.cpu_s() - before) * 1e6 / (requests * case.units)
            rows[target.name].take(run)
            rows[target.name].rss_mb.append(target.process.rss_mb())
        for name, value in cpu_us.items():
            rows[name].cpu_us.append(value)
            if cpu_us.get("bare"):
                rows[name].ratio.append(value / cpu_us["bare"])
        for target in proxies if case.rate else ():
            await _latency(direct, target, case, rows[target.name], effort, make)
    return list(rows.values())


async def _latency(direct: Target, target: Target, case: Case, row: Row, effort: Effort, make: load.Make) -> None:
    requests = max(20, int(case.rate * effort.latency_s / 2))
    base = await load.paced(direct.port, make, requests, case.rate, case.expected)
    through = await load.paced(target.port, make, requests, case.rate, case.expected)
    row.take(through)
    row.added_p50_us.append((quantile(through.times_s, 0.5) - quantile(base.times_s, 0.5)) * 1e6)
    row.added_p99_us.append((quantile(through.times_s, 0.99) - quantile(base.times_s, 0.99)) * 1e6)


async def memory(target: Target, requests: int = 100_000, steps: int = 10) -> tuple[list[float], load.Run]:
    """Return the RSS in MB before and after each step of `requests` small ones that each begin a new session."""
    assert target.process is not None
    body = bodies.fresh()
    found, total = [target.process.rss_mb()], load.Run()
    for _ in range(steps):
        run = await load.closed(target.port, lambda _: body.request(next(_numbers)), requests // steps)
        total.requests += run.requests
        total.errors += run.errors
        total.first_error = total.first_error or run.first_error
        found.append(target.process.rss_mb())
    return found, total


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which `share` of `values` lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def middle(values: Sequence[float]) -> tuple[float, float]:
    """Return the median of `values` and half of their range."""
    return statistics.median(values), (max(values) - min(values)) / 2
