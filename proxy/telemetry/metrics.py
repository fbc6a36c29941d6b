"""Prometheus metrics: what exchanges add up to (see `exchanges`), and how the proxy itself is.

Finished exchanges wait until some have gathered or somebody looks, so that whatever is written counts them all.

prometheus-client writes the text, as OpenMetrics with exemplars for scrapers that ask for it. Money is added up in nanos and becomes
dollars only when scraped. Cannot fail but by a bug.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.openmetrics import exposition as openmetrics

from proxy.engine.record import Record
from proxy.model import Reason
from proxy.telemetry.exchanges import Exchanges
from proxy.telemetry.lag import Lag
from proxy.telemetry.lag import families as shipping_families
from proxy.telemetry.policy_metrics import PolicyGauge, families
from proxy.telemetry.series import Counter, shown
from proxy.telemetry.span_metrics import content_counts, span_counts

log = logging.getLogger("fleetgate.metrics")
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text"
OPENMETRICS_TYPE = f"{OPENMETRICS}; version=1.0.0; charset=utf-8"
_STORE_DOWN = Reason.STORE_UNAVAILABLE.value
TOGETHER = 64
"""Exchanges that are counted at once: the loop does the rest of its work meanwhile with its own code at hand."""


class Queue(Protocol):
    """What the metrics show of the ledger."""

    @property
    def depth(self) -> int:
        """Records waiting to be written."""
        ...

    @property
    def lost(self) -> int:
        """Records that could not be written."""
        ...


def written(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    """Return what `registry` collects and its content type: OpenMetrics where `accept` names it, else Prometheus text."""
    if any(kind.partition(";")[0].strip().lower() == OPENMETRICS for kind in accept.split(",")):
        return openmetrics.generate_latest(registry), OPENMETRICS_TYPE  # type: ignore[no-untyped-call]
    return generate_latest(registry), CONTENT_TYPE


class BudgetGauge(NamedTuple):
    """What the metrics show of one budget counter. `remaining` is in dollars for `usd`, else a count."""

    budget: str
    scope: str
    unit: str
    used: float
    remaining: float
    exhausted_in: float | None


class Metrics:
    """The metrics sink; also the collector of its own registry. `record`, `inflight` and the rest belong to the event loop's thread."""

    name = "metrics"

    def __init__(self, version: str, max_labels: int = 1000) -> None:
        self._version, self._config, self._stale, self._inflight = version, "", False, 0
        self._queue: Queue | None = None
        self._lags: Callable[[], Iterable[Lag]] = tuple
        self.spans: Callable[[], Mapping[str, int]] = dict
        """How many spans were sent and lost; called in the thread of the scrape."""
        self.contents: Callable[[], Mapping[str, int]] | None = None
        """What became of what was said in exchanges, likewise; None where nothing is kept."""
        self._exchanges = Exchanges(max_labels)
        self._store_errors = Counter("fleetgate_store_errors", "Times that shared state could not be read or written.", (), 1)
        self._restarts = Counter("fleetgate_worker_restarts", "Workers that ended by themselves and were started again.", (), 1)
        self._serving = 1
        self._webhooks = Counter("fleetgate_webhook", "Notices to webhooks by what became of them.", ("outcome",), 10)
        for outcome in ("delivered", "failed", "dropped", "repeated"):  # there from the start, so that an increase is seen
            self._webhooks.add((outcome,), 0)
        self._circuits: Callable[[], Mapping[str, bool]] = dict
        self._budgets: tuple[BudgetGauge, ...] = ()
        self._drift: dict[str, float] = {}
        self._kills: Callable[[], int] = int
        self._keys: Callable[[], tuple[float | None, int]] = lambda: (None, 0)
        self._approvals = 0
        self._policies: Callable[[], PolicyGauge | None] = lambda: None
        self._waiting: deque[Record] = deque()
        self._counting = threading.Lock()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)  # nothing where there is no /proc

    def record(self, record: Record) -> None:
        """Count one finished exchange: with others that wait, or when somebody looks, whatever comes first."""
        self._waiting.append(record)
        if len(self._waiting) >= TOGETHER and self._counting.acquire(blocking=False):
            try:
                self._count()
            finally:
                self._counting.release()

    def _count(self) -> None:
        """Count what waits. Whoever calls this holds `_counting`."""
        while self._waiting:
            record = self._waiting.popleft()
            try:
                self._exchanges.count(record)
                if record.reason == _STORE_DOWN:
                    self._store_errors.add(())
            except Exception:
                log.exception("exchange %s: it could not be counted", record.id)

    async def close(self) -> None:
        """Nothing is queued."""

    def inflight(self, delta: int) -> None:
        """Count an exchange in (+1) or out (-1)."""
        self._inflight += delta

    def config(self, version: str, stale: bool) -> None:
        """Show the configuration snapshot in force, and whether a newer edit was refused."""
        self._config, self._stale = version, stale

    def watch(self, queue: Queue) -> None:
        """Show this ledger's queue and losses."""
        self._queue = queue

    def watch_shipping(self, lags: Callable[[], Iterable[Lag]]) -> None:
        """Show how far shipping is; `lags` is called in the thread of the scrape."""
        self._lags = lags

    def watch_circuits(self, circuits: Callable[[], Mapping[str, bool]]) -> None:
        """Show which providers are left alone; `circuits` is called in the thread of the scrape."""
        self._circuits = circuits

    def watch_keys(self, keys: Callable[[], tuple[float | None, int]]) -> None:
        """Show how old the key document is and how often it could not be had; `keys` is called in the thread of the scrape."""
        self._keys = keys

    def budgets(self, shown: Sequence[BudgetGauge]) -> None:
        """Show these budget counters, in place of those before."""
        self._budgets = tuple(shown)

    def drift(self, by_unit: Mapping[str, float]) -> None:
        """Show by how much counters and ledger differ; nothing while nobody can say."""
        self._drift = dict(by_unit)

    def watch_kills(self, kills: Callable[[], int]) -> None:
        """Show how many kills hold; `kills` is called in the thread of the scrape."""
        self._kills = kills

    def watch_policies(self, policies: Callable[[], PolicyGauge | None]) -> None:
        """Show the engine that decides on Rego; `policies` is called in the thread of the scrape."""
        self._policies = policies

    def approvals(self, pending: int) -> None:
        """Show how many questions nobody has decided."""
        self._approvals = pending

    def store_error(self) -> None:
        """Count a failure of shared state that no exchange's reason shows (a release at close, say)."""
        self._store_errors.add(())

    def serves(self, processes: int) -> None:
        """Show how many processes of which these are the metrics serve requests."""
        self._serving = processes

    def restarted(self) -> None:
        """Count a worker that was started again."""
        self._restarts.add(())

    def webhook(self, outcome: str) -> None:
        """Count a notice: `delivered`, `failed`, `dropped` or `repeated`."""
        self._webhooks.add((outcome,))

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """Return the text and its type: OpenMetrics where `accept` names it, else Prometheus text.

        Safe in any thread; takes milliseconds with thousands of series.
        """
        return written(self._registry, accept)

    def everything(self) -> Iterable[Metric]:
        """Return all that `render` writes, what the system says of the process too. Safe in any thread."""
        return self._registry.collect()

    def describe(self) -> Iterator[Metric]:
        """Part of the collector's interface: nothing, so that registering does not collect."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        """Yield every metric (the collector's interface)."""
        with self._counting:
            self._count()
        for counter in (*self._exchanges.counters, self._webhooks, self._store_errors, self._restarts):
            yield counter.metric()
        for histogram in self._exchanges.histograms:
            yield histogram.metric()
        depth, lost = (self._queue.depth, self._queue.lost) if self._queue else (0, 0)
        yield GaugeMetricFamily("fleetgate_inflight", "Exchanges under way.", value=self._inflight)
        yield GaugeMetricFamily("fleetgate_workers", "Processes that serve.", value=self._serving)
        circuits = GaugeMetricFamily("fleetgate_upstream_circuit_open", "1 while a provider is left alone.", labels=("provider",))
        for provider, is_open in self._circuits().items():
            circuits.add_metric((provider,), int(is_open))
        yield circuits
        yield GaugeMetricFamily("fleetgate_kills_active", "Kills that hold.", value=self._kills())
        age, errors = self._keys()
        aged = GaugeMetricFamily("fleetgate_jwks_age_seconds", "Age of the key document that tokens are checked with.")
        if age is not None:
            aged.add_metric((), age)
        yield aged
        yield CounterMetricFamily("fleetgate_jwks_errors", "Key documents that could not be had or used.", value=errors)
        yield GaugeMetricFamily("fleetgate_approvals_pending", "Questions to people that nobody has decided.", value=self._approvals)
        yield GaugeMetricFamily("fleetgate_ledger_queue", "Records waiting to be written.", value=depth)
        yield CounterMetricFamily("fleetgate_ledger_lost", "Records that the ledger could not write.", value=lost)
        yield from shipping_families(self._lags(), time.time())
        yield span_counts(self.spans())
        yield content_counts({} if self.contents is None else self.contents())
        yield GaugeMetricFamily("fleetgate_config_stale", "1 while an edited file is refused.", value=int(self._stale))
        yield from self._money()
        yield from families(self._policies())
        for name, words, version in (
            ("fleetgate_config_info", "The configuration snapshot in force.", self._config),
            ("fleetgate_build_info", "The running release.", self._version),
        ):
            info = GaugeMetricFamily(name, words, labels=("version",))
            info.add_metric((version,), 1)
            yield info

    def _money(self) -> Iterator[Metric]:
        """Yield what is left of budgets."""
        labels = ("budget", "scope", "unit")
        used = GaugeMetricFamily("fleetgate_budget_used_ratio", "Share of the budget that is spent or held.", labels=labels)
        left = GaugeMetricFamily("fleetgate_budget_remaining", "What is left of the budget.", labels=labels)
        ends = GaugeMetricFamily(
            "fleetgate_budget_exhausted_in_seconds", "When the budget is gone at this pace, if before it starts anew.", labels=labels
        )
        for names, budget in {tuple(shown(name) for name in b[:3]): b for b in self._budgets}.items():
            used.add_metric(names, budget.used)
            left.add_metric(names, budget.remaining)
            if budget.exhausted_in is not None:
                ends.add_metric(names, budget.exhausted_in)
        drift = GaugeMetricFamily("fleetgate_budget_drift", "By how much budgets and ledger differ, 0 when all is well.", labels=("unit",))
        for unit, amount in self._drift.items():
            drift.add_metric((unit,), amount)
        yield from (used, left, ends, drift)
