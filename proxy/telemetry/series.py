"""Counters and histograms as plain integers in dicts, with labels and exemplars that stay bounded whatever names come in.

Decides what a label value looks like: what does not print (controls, direction marks) is escaped, and a long name is cut and ends in a
piece of its hash, so that two that begin alike stay two. A label holds so many distinct values, a metric so many series; what comes later
is counted under `other`, so that sums stay right. An exemplar is the latest trace of its series or bucket: one is kept, so they are
bounded as the series are.

An update costs a dict lookup at most, none where the place was asked for once (`cell`, `row`). Cannot fail but by a bug.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.samples import Exemplar, Sample

from proxy.telemetry.tables import printable

OTHER = "other"
MAX_LABEL_CHARS = 120
SECOND = 1_000_000_000
_HASH_CHARS = 8

Cell = list[int]
"""One number that is counted up."""
Trace = tuple[str, float]
"""A trace id and the UTC seconds at which its exchange began."""


def shown(value: str) -> str:
    """Return `value` as a label shows it."""
    return printable(_cut(value))


def _cut(value: str) -> str:
    if len(value) <= MAX_LABEL_CHARS:
        return value
    digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_CHARS]
    return f"{value[: MAX_LABEL_CHARS - _HASH_CHARS - 1]}~{digest}"


class Label:
    """The distinct values of one label: as they are shown up to `limit`, then `other`."""

    __slots__ = ("known", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.known: dict[str, str] = {"": ""}

    def of(self, value: str) -> str:
        """Return what `value` is counted under."""
        found = self.known.get(value)
        if found is not None:
            return found
        value = _cut(value)  # the key too, so that memory is bounded
        if value not in self.known and len(self.known) > self.limit:
            return OTHER
        return self.known.setdefault(value, printable(value))


class Counter:
    """A counter with labels; amounts are whole numbers, divided by `unit` when shown."""

    __slots__ = ("cells", "family", "limit", "traces", "unit")

    def __init__(self, name: str, words: str, labels: tuple[str, ...], limit: int, unit: int = 1) -> None:
        self.family = (name, words, labels)
        self.limit, self.unit = limit, unit
        self.cells: dict[tuple[str, ...], Cell] = {} if labels else {(): [0]}
        self.traces: dict[tuple[str, ...], Trace] = {}

    def cell(self, key: tuple[str, ...]) -> Cell:
        """Return where `key` is counted, for as long as this counter lives."""
        return self.cells.get(key) or self.cells.setdefault(self._key(key), [0])

    def _key(self, key: tuple[str, ...]) -> tuple[str, ...]:
        return (OTHER,) * len(key) if key not in self.cells and len(self.cells) >= self.limit else key

    def add(self, key: tuple[str, ...], amount: int = 1) -> None:
        """Count `amount` more under `key`."""
        self.cell(key)[0] += amount

    def show(self, key: tuple[str, ...], trace: Trace) -> None:
        """Keep `trace` as the example of what was counted last under `key`."""
        self.traces[self._key(key)] = trace

    def metric(self) -> Metric:
        """Return what the scrape shows."""
        name, words, labels = self.family
        family, traces = CounterMetricFamily(name, words, labels=labels), self.traces.copy()
        for key, (value,) in list(self.cells.items()):
            amount = value if self.unit == 1 else value / self.unit
            trace = _exemplar(traces.get(key), 1.0)
            family.samples.append(Sample(f"{name}_total", dict(zip(labels, key, strict=True)), amount, None, trace))
        return family


class Histogram:
    """A histogram with at most one label; whole numbers in, divided by `unit` when shown."""

    __slots__ = ("bounds", "family", "rows", "shown", "traces", "unit")

    def __init__(self, name: str, words: str, labels: tuple[str, ...], bounds: tuple[float, ...], unit: int = SECOND) -> None:
        self.family = (name, words, labels)
        self.shown = (*(str(b) for b in bounds), "+Inf")
        self.bounds, self.unit = tuple(b * unit for b in bounds), unit
        self.rows: dict[str, list[int]] = {} if labels else {"": self._new()}
        self.traces: dict[tuple[str, int], tuple[Trace, int]] = {}

    def _new(self) -> list[int]:
        return [0] * (len(self.bounds) + 2)

    def row(self, label: str) -> list[int]:
        """Return where values under `label` are counted: how many fall into each bucket, then their sum."""
        row = self.rows.get(label)
        if row is None:
            row = self.rows[label] = self._new()
        return row

    def observe(self, label: str, value: int) -> None:
        """Count one `value` under `label`, which is empty where there is none."""
        row = self.row(label)
        row[bisect_left(self.bounds, value)] += 1
        row[-1] += value

    def show(self, label: str, value: int, trace: Trace) -> None:
        """Keep `trace` as the example of the bucket that `value` under `label` was counted in."""
        self.traces[label, bisect_left(self.bounds, value)] = trace, value

    def metric(self) -> Metric:
        """Return what the scrape shows."""
        name, words, labels = self.family
        family, traces = HistogramMetricFamily(name, words, labels=labels), self.traces.copy()
        for label, row in list(self.rows.items()):
            counts, buckets = row.copy(), list[tuple[str, float, Exemplar]]()
            total = counts.pop()
            running = 0
            for place, (bound, count) in enumerate(zip(self.shown, counts, strict=True)):
                running += count
                trace, value = traces.get((label, place), (None, 0))
                buckets.append((bound, float(running), _exemplar(trace, value / self.unit)))  # type: ignore[arg-type]  # None is none
            family.add_metric((label,) if labels else (), buckets, total / self.unit)
        return family


def _exemplar(trace: Trace | None, value: float) -> Exemplar | None:
    return None if trace is None else Exemplar({"trace_id": trace[0]}, value, trace[1])
