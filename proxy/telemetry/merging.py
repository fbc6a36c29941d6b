"""The metrics of several processes as one: what each collected travels as plain data and is added up by what it means.

Counters and histograms are sums. A gauge is what `GAUGES` says of it: a sum where each process has its part, the largest where all look at
the same thing, the worst of them where that counts. One that is not named there is the largest. Pure; cannot fail but by a bug.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.samples import Exemplar, Sample

from proxy.telemetry.series import OTHER

MOST_SERIES = 10_000
"""Most series of one metric that are kept of processes that ended."""
GAUGES: Mapping[str, Literal["sum", "max", "min"]] = {
    "fleetgate_inflight": "sum",
    "fleetgate_ledger_queue": "sum",
    "fleetgate_ledger_unshipped": "max",
    "fleetgate_ledger_unshipped_seconds": "max",
    "fleetgate_workers": "sum",
    "fleetgate_upstream_circuit_open": "max",
    "fleetgate_kills_active": "max",
    "fleetgate_jwks_age_seconds": "max",
    "fleetgate_approvals_pending": "max",
    "fleetgate_config_stale": "max",
    "fleetgate_config_info": "max",
    "fleetgate_build_info": "max",
    "fleetgate_budget_used_ratio": "max",
    "fleetgate_budget_remaining": "max",
    "fleetgate_budget_exhausted_in_seconds": "max",
    "fleetgate_budget_drift": "max",
    "fleetgate_opa_up": "min",
    "fleetgate_opa_bundle_stale": "max",
    "fleetgate_policy_info": "max",
    "process_resident_memory_bytes": "sum",
    "process_virtual_memory_bytes": "sum",
    "process_start_time_seconds": "min",
    "process_open_fds": "sum",
    "process_max_fds": "sum",
}
"""Every gauge, by what several processes make of it. Those of budgets only one process looks up."""
Labels = tuple[tuple[str, str], ...]
Key = tuple[str, Labels]
"""Which sample: its name and its labels, in order."""
Mark = tuple[Labels, float, float | None]
"""An exemplar: its labels, its value, when it was."""


class Point(NamedTuple):
    """A sample and its exemplar."""

    name: str
    labels: Labels
    value: float
    mark: Mark | None = None


class Family(NamedTuple):
    """One metric: its name, what it says, its type, its samples in the order of the text."""

    name: str
    words: str
    type: str
    points: Sequence[Point]


def pack(metrics: Iterable[Metric]) -> list[Family]:
    """Return what was collected as plain data."""
    return [Family(m.name, m.documentation, m.type, [_point(sample) for sample in m.samples]) for m in metrics]


def _point(sample: Sample) -> Point:
    mark, seen = None, sample.exemplar
    if seen is not None:
        mark = (tuple(seen.labels.items()), float(seen.value), None if seen.timestamp is None else float(seen.timestamp))
    return Point(sample.name, tuple(sample.labels.items()), float(sample.value), mark)


def unpack(value: Any) -> list[Family]:
    """Return what `pack` made, after its way through JSON, where what is no number is null and is left out."""
    told = msgspec.convert(value, list[tuple[str, str, str, list[tuple[str, Labels, float | None, Mark | None]]]])
    return [
        Family(name, words, kind, [Point(sample, labels, number, mark) for sample, labels, number, mark in points if number is not None])
        for name, words, kind, points in told
    ]


def merge(parts: Iterable[Sequence[Family]]) -> list[Family]:
    """Return the metrics of all `parts` as one, in the order in which they first come."""
    about: dict[str, Family] = {}
    found: dict[str, dict[Key, Point]] = {}
    for family in (family for part in parts for family in part):
        about.setdefault(family.name, family)
        points, add = found.setdefault(family.name, {}), _adds(family)
        for point in family.points:
            key = point[:2]
            known = points.get(key)
            points[key] = point if known is None else Point(*key, add(known.value, point.value), _later(known.mark, point.mark))
    return [about[name]._replace(points=list(points.values())) for name, points in found.items()]


def _later(one: Mark | None, other: Mark | None) -> Mark | None:
    return max((mark for mark in (one, other) if mark is not None), key=lambda mark: mark[2] or 0.0, default=None)


def _adds(family: Family) -> Callable[[float, float], float]:
    return _WAYS["sum" if _counts(family) else GAUGES.get(family.name, "max")]


_WAYS: Mapping[str, Callable[[float, float], float]] = {"sum": operator.add, "max": max, "min": min}


def _counts(family: Family) -> bool:
    return family.type in ("counter", "histogram", "summary")


class Past:
    """What processes that ended have counted, within a bound: series beyond it are added up under `other`."""

    def __init__(self, most: int = MOST_SERIES) -> None:
        self._most = most
        self.families: list[Family] = []

    def keep(self, counted: Sequence[Family]) -> None:
        """Add what a process had counted when it ended; what it gauged ended with it."""
        total = merge([self.families, [family for family in counted if _counts(family)]])
        self.families = merge([[self._bounded(family) for family in total]])

    def _bounded(self, family: Family) -> Family:
        known = list(dict.fromkeys(_series(point.labels) for point in family.points))
        if len(known) <= self._most:
            return family
        kept = set(known[: self._most])
        return family._replace(points=[p if _series(p.labels) in kept else p._replace(labels=_other(p.labels)) for p in family.points])


def _series(labels: Labels) -> Labels:
    return tuple(label for label in labels if label[0] != "le")


def _other(labels: Labels) -> Labels:
    return tuple((name, value if name == "le" else OTHER) for name, value in labels)


class Collected:
    """Merged metrics as a registry collects them."""

    def __init__(self, families: Sequence[Family]) -> None:
        self._families = families

    def describe(self) -> Iterator[Metric]:
        """Part of the collector's interface: nothing, so that registering does not collect."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        """Yield every metric (the collector's interface)."""
        for family in self._families:
            metric = Metric(family.name, family.words, family.type)
            metric.samples = [Sample(p.name, dict(p.labels), p.value, None, _exemplar(p.mark)) for p in family.points]
            yield metric


def _exemplar(mark: Mark | None) -> Exemplar | None:
    return None if mark is None else Exemplar(dict(mark[0]), mark[1], mark[2])


def registry(families: Sequence[Family]) -> CollectorRegistry:
    """Return a registry of merged metrics, for whatever writes their text."""
    found = CollectorRegistry(auto_describe=False)
    found.register(Collected(families))
    return found
