"""Prometheus metrics: one update an exchange, from its record.

Decides which values may become labels. Label values come from people we know (agents of a checked key, models that a rule resolved):
what an unauthenticated request says never becomes one, each label holds at most `max_labels` distinct values and each metric at most
ten times as many series; beyond that they are counted under `other` (see `series`), so sums stay right while memory stays bounded.

prometheus-client writes the text, as OpenMetrics with exemplars for scrapers that ask for it. Money is added up in nanos and becomes
dollars only when scraped. Cannot fail but by a bug.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.openmetrics import exposition as openmetrics

from proxy.engine.record import Record
from proxy.model import Reason
from proxy.model.footprints import MICRO
from proxy.money import NANOS
from proxy.telemetry.lag import Lag
from proxy.telemetry.lag import families as shipping_families
from proxy.telemetry.policy_metrics import PolicyGauge, families
from proxy.telemetry.series import Counter, Histogram, Label, shown
from proxy.telemetry.span_metrics import span_counts
from proxy.telemetry.timing import overhead_ns, ttft_ns, upstream_ns

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text"
OPENMETRICS_TYPE = f"{OPENMETRICS}; version=1.0.0; charset=utf-8"
_UNKNOWN_CALLER = frozenset((Reason.UNAUTHENTICATED.value, Reason.UNKNOWN_AGENT.value))
_NO_MODEL = _UNKNOWN_CALLER | {Reason.MODEL_NOT_ALLOWED.value}
_STORE_DOWN = Reason.STORE_UNAVAILABLE.value

_OVERHEAD_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_UPSTREAM_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)
_TTFT_S = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0, 60.0)
_BYTES = tuple(float(4**n) for n in range(4, 14))


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
        self._agent, self._model, self._provider, self._rule, self._team = (Label(max_labels) for _ in range(5))
        series, who = max_labels * 10, ("agent", "model", "provider")
        self._requests = Counter("fleetgate_requests", "Exchanges by what became of them.", (*who, "outcome", "reason"), series)
        self._tokens = Counter("fleetgate_tokens", "Tokens charged; reasoning is a part of output.", (*who, "kind"), series)
        self._cost = Counter("fleetgate_cost_usd", "Dollars charged.", who, series, NANOS)
        self._team_cost = Counter("fleetgate_team_cost_usd", "Dollars charged, by team.", ("team",), series, NANOS)
        took = ("Grams of CO2 equivalents emitted, as estimated, at", "Watt-hours used, as estimated, at")
        self._emitted = tuple(
            Counter(f"fleetgate_{name}", f"{took[i // 2]} {'least' if i % 2 else 'most'}.", who, series, MICRO)
            for i, name in enumerate(("carbon_grams", "carbon_low_grams", "energy_watt_hours", "energy_low_watt_hours"))
        )
        saving = "Dollars that simple models saved against the models asked for."
        self._saved = Counter("fleetgate_saved_usd", saving, ("agent", "kind"), series, NANOS)
        self._findings = Counter("fleetgate_findings", "Findings of guards and of rules that run dry.", ("rule",), series)
        looped = ("agent", "level", "action", "rule")
        self._loops = Counter("fleetgate_loops", "Exchanges in which the loop detector spoke.", looped, series)
        self._wasted = Counter("fleetgate_loops_wasted_usd", "Dollars that loops cost since they began.", ("agent", "rule"), series, NANOS)
        self._routed = Counter("fleetgate_routed", "Exchanges by how their model was chosen.", ("route",), 100)
        self._fallbacks = Counter("fleetgate_fallbacks", "Local models that were replaced, by why.", ("provider", "cause"), series)
        self._store_errors = Counter("fleetgate_store_errors", "Times that shared state could not be read or written.", (), 1)
        self._overhead = Histogram("fleetgate_overhead_seconds", "Time that the proxy itself added.", (), _OVERHEAD_S)
        self._upstream = Histogram("fleetgate_upstream_seconds", "From request sent to last byte of reply.", ("provider",), _UPSTREAM_S)
        self._ttft = Histogram("fleetgate_ttft_seconds", "From request sent to first byte of a stream.", ("provider",), _TTFT_S)
        self._bytes_in = Histogram("fleetgate_request_bytes", "Size of request bodies.", (), _BYTES, 1)
        self._bytes_out = Histogram("fleetgate_reply_bytes", "Size of reply bodies.", (), _BYTES, 1)
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
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)  # nothing where there is no /proc

    def record(self, record: Record) -> None:
        """Count one finished exchange."""
        reason, outcome = record.reason, record.outcome
        agent = "" if reason in _UNKNOWN_CALLER else self._agent.of(record.agent)
        hidden = reason in _NO_MODEL or (not agent and outcome == "denied")
        model = "" if hidden else self._model.of(record.model)
        provider = "" if hidden else self._provider.of(record.provider)
        trace = (record.trace_id, record.time) if record.trace_id else None
        self._requests.add((agent, model, provider, outcome, reason), 1, trace)
        if record.input_tokens or record.output_tokens or record.cache_read_tokens or record.cost:
            self._charge(record, agent, model, provider)
        if record.carbon_ug or record.energy_uwh:
            self._estimated(record, (agent, model, provider))
        if record.route:
            self._routed.add((record.route,))
        for rule, _ in record.findings:
            self._findings.add((self._rule.of(rule),))
        if record.loop and not record.loop.startswith("none"):
            level, *more = record.loop.split(";")
            said = dict(word.split("=", 1) for word in more if "=" in word)
            rule = self._rule.of(said.get("rule", ""))
            self._loops.add((agent, level, said.get("action", ""), rule))
            if record.wasted_new:
                self._wasted.add((agent, rule), record.wasted_new)
        if reason == _STORE_DOWN:
            self._store_errors.add(())
        self._overhead.observe("", overhead_ns(record), trace)
        upstream = upstream_ns(record)
        if upstream is not None:
            self._upstream.observe(provider, upstream, trace)
            ttft = ttft_ns(record)
            if ttft is not None:
                self._ttft.observe(provider, ttft, trace)
        for left in record.fallbacks:
            name = self._provider.of(left[0])
            self._fallbacks.add((name, left[2]))
            self._upstream.observe(name, left[6])
        self._bytes_in.observe("", record.bytes_in)
        self._bytes_out.observe("", record.bytes_out)

    def _charge(self, record: Record, agent: str, model: str, provider: str) -> None:
        tokens = self._tokens
        if record.input_tokens:
            tokens.add((agent, model, provider, "input"), record.input_tokens)
        if record.output_tokens:
            tokens.add((agent, model, provider, "output"), record.output_tokens)
        if record.cache_read_tokens:
            tokens.add((agent, model, provider, "cache_read"), record.cache_read_tokens)
        if written := record.cache_write_tokens + record.cache_write_1h_tokens:
            tokens.add((agent, model, provider, "cache_write"), written)
        if record.reasoning_tokens:
            tokens.add((agent, model, provider, "reasoning"), record.reasoning_tokens)
        if record.cost:
            self._cost.add((agent, model, provider), record.cost)
            self._team_cost.add((self._team.of(record.team),), record.cost)
        if record.saved:
            self._saved.add((agent, "saved" if record.saved > 0 else "lost"), abs(record.saved))
        if record.would_save:
            self._saved.add((agent, "would_save" if record.would_save > 0 else "would_lose"), abs(record.would_save))

    def _estimated(self, record: Record, who: tuple[str, str, str]) -> None:
        amounts = (record.carbon_ug, record.carbon_ug_low, record.energy_uwh, record.energy_uwh_low)
        for counter, amount in zip(self._emitted, amounts, strict=True):
            counter.add(who, amount)

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
        charged = (self._requests, self._tokens, self._cost, self._team_cost, self._saved, self._findings, self._loops, self._wasted)
        rest = (self._routed, self._fallbacks, self._webhooks, self._store_errors, self._restarts)
        for counter in (*charged, *self._emitted, *rest):
            yield counter.metric()
        for histogram in (self._overhead, self._upstream, self._ttft, self._bytes_in, self._bytes_out):
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
