"""The measurements: CPU per request in a closed loop, added latency at a fixed rate, memory over many requests.

Targets take turns inside each round, so that what the machine does meanwhile touches all of them; ratios are formed inside a round and
only then put together. Mostly a repeat is one round; of several it takes the middle one. The value is the median over the repeats, the
spread is half the distance between the smallest and the largest.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks import bodies, load
from benchmarks.dialects import CHAT, Dialect
from benchmarks.replies import EVENTS
from benchmarks.targets import Target

_numbers = itertools.count(1)

WARM_STREAMS = 128
LATE_S = 0.002
"""A load generator whose requests are later than this in the middle does not hold its rate."""
DIRECT_P99_S = 0.005
"""Where the upstream itself, asked directly, takes longer than this at p99, the machine is too busy to tell what a proxy adds."""


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of request, how many of them make a round, on how many connections, and the most that Fleetgate may cost (x bare).

    `rounds` make one repeat, which takes the middle one of them; a quick run has one. `warm` is what is sent before, where that is another.
    """

    name: str
    body: Callable[[], bodies.Body | bodies.NewBody]
    requests: int
    limit: float | None = None
    stream: bool = False
    dialect: Dialect = CHAT
    connections: int = 16
    per_event: bool = True
    rounds: int = 1
    warm: Callable[[], bodies.Body] | None = None

    @property
    def expected(self) -> load.Expected:
        """What replies must be."""
        return load.Expected(self.stream, self.dialect)

    @property
    def units(self) -> int:
        """What the CPU figure is divided by, for each request: stream events, or the request itself."""
        return EVENTS + 3 if self.stream and self.per_event else 1


@dataclass(slots=True)
class Row:
    """What one target showed in one case. Lists hold one value a repeat; `wall_s` is what each round of requests took on the clock."""

    case: str
    target: str
    limit: float | None = None
    cpu_us: list[float] = field(default_factory=list)
    ratio: list[float] = field(default_factory=list)
    rss_mb: list[float] = field(default_factory=list)
    wall_s: list[float] = field(default_factory=list)
    requests: int = 0
    errors: int = 0
    first_error: str = ""

    def take(self, run: load.Run) -> None:
        self.requests += run.requests
        self.errors += run.errors
        self.first_error = self.first_error or run.first_error

    @property
    def failed(self) -> bool:
        """Whether a single reply was wrong, so that its speed says nothing."""
        return bool(self.errors) or not self.cpu_us


@dataclass(slots=True)
class Latency:
    """What one target adds at a fixed rate, a value a repeat, in µs; by how much the load generator was late, in the middle; and what the
    upstream itself took at p99."""

    target: str
    p50_us: list[float] = field(default_factory=list)
    p99_us: list[float] = field(default_factory=list)
    late_us: list[float] = field(default_factory=list)
    direct_p99_us: list[float] = field(default_factory=list)
    requests: int = 0
    errors: int = 0
    first_error: str = ""

    @property
    def held(self) -> bool:
        """Whether the rate was held, so that the figures say something."""
        late, direct = (statistics.median(values or [math.inf]) for values in (self.late_us, self.direct_p99_us))
        return late < LATE_S * 1e6 and direct < DIRECT_P99_S * 1e6


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure: repeats, a factor on the number of requests, seconds at a fixed rate, requests of the memory run."""

    repeats: int = 3
    factor: float = 1.0
    latency_s: float = 2.5
    memory_requests: int = 100_000


def maker(body: bodies.Body | bodies.NewBody, target: Target) -> load.Make:
    """Return what makes the next request to `target`."""
    if not target.headers:
        return lambda _: body.request(next(_numbers))
    return lambda _: body.request(next(_numbers)).replace(b"\r\n", b"\r\n" + target.headers, 1)


async def compare(proxies: Sequence[Target], case: Case, effort: Effort) -> list[Row]:
    """Return a row for each proxy in `case`."""
    body = case.body()
    rows = {target.name: Row(case.name, target.name) for target in proxies}
    for name, row in rows.items():
        if name.startswith("fleetgate"):
            row.limit = case.limit

    requests = max(case.connections, int(case.requests * effort.factor))
    for target in proxies:
        at_once = min(case.connections, WARM_STREAMS) if case.stream else case.connections
        warm = at_once if case.stream else max(at_once, requests // 8)
        make = maker(case.warm() if case.warm is not None else body, target)
        rows[target.name].take(await load.closed(target.port, make, warm, at_once, case.expected))
    makes = {target.name: maker(body, target) for target in proxies}
    for _ in range(effort.repeats):
        rounds = [await _round(proxies, case, requests, makes, rows) for _ in range(case.rounds if effort.repeats > 1 else 1)]
        for name, row in rows.items():
            row.cpu_us.append(statistics.median([cpu_us[name] for cpu_us in rounds]))
            if all(cpu_us.get("bare") for cpu_us in rounds):
                row.ratio.append(statistics.median([cpu_us[name] / cpu_us["bare"] for cpu_us in rounds]))
    return list(rows.values())


async def _round(
    proxies: Sequence[Target], case: Case, requests: int, makes: Mapping[str, load.Make], rows: Mapping[str, Row]
) -> dict[str, float]:
    """Return what a request or an event cost each of `proxies` in turn, in CPU µs; what else is seen goes to `rows`."""
    cpu_us: dict[str, float] = {}
    for target in proxies:
        assert target.process is not None
        row, before = rows[target.name], target.process.cpu_s()
        run = await load.closed(target.port, makes[target.name], requests, case.connections, case.expected)
        cpu_us[target.name] = (target.process.cpu_s() - before) * 1e6 / (requests * case.units)
        row.take(run)
        row.rss_mb.append(target.process.rss_mb())
        row.wall_s.append(run.wall_s)
    return cpu_us


async def latency(direct: Target, proxies: Sequence[Target], case: Case, rate: float, effort: Effort) -> list[Latency]:
    """Return what each proxy adds at `rate` requests a second, each time right after a direct run at the same rate."""
    body, found = case.body(), {target.name: Latency(target.name) for target in proxies}

    def make(_: int) -> bytes:
        return body.request(next(_numbers))

    requests = max(20, int(rate * effort.latency_s))
    for target in (direct, *proxies):
        await load.paced(target.port, make, requests // 4, rate, case.expected)
    for _ in range(effort.repeats):
        for target in proxies:
            row = found[target.name]
            base = await load.paced(direct.port, make, requests, rate, case.expected)
            through = await load.paced(target.port, make, requests, rate, case.expected)
            row.requests += through.requests
            row.errors += through.errors
            row.first_error = row.first_error or through.first_error
            row.late_us.append(quantile(through.late_s, 0.5) * 1e6)
            row.direct_p99_us.append(quantile(base.times_s, 0.99) * 1e6)
            row.p50_us.append((quantile(through.times_s, 0.5) - quantile(base.times_s, 0.5)) * 1e6)
            row.p99_us.append((quantile(through.times_s, 0.99) - quantile(base.times_s, 0.99)) * 1e6)
    return list(found.values())


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
