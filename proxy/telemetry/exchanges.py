"""What is counted of exchanges: the counters and histograms that records fill.

Decides which values may become labels. Label values come from people we know (agents of a checked key, models that a rule resolved):
what an unauthenticated request says never becomes one, each label holds at most `max_labels` distinct values and each metric at most
ten times as many series; beyond that they are counted under `other` (see `series`), so sums stay right while memory stays bounded.

Exchanges of one kind (the same agent, model, outcome and so on) count in the same places, which are looked up once and kept, within bounds.
Not thread-safe. Cannot fail but by a bug.
"""

from __future__ import annotations

from bisect import bisect_left

from proxy.engine.record import Record
from proxy.model import Reason
from proxy.model.footprints import MICRO
from proxy.money import NANOS
from proxy.telemetry.series import MAX_LABEL_CHARS, Cell, Counter, Histogram, Label
from proxy.telemetry.timing import times

_UNKNOWN_CALLER = frozenset((Reason.UNAUTHENTICATED.value, Reason.UNKNOWN_AGENT.value))
_NO_MODEL = _UNKNOWN_CALLER | {Reason.MODEL_NOT_ALLOWED.value}
MAX_KINDS = 4096
"""Kinds of exchanges whose places are kept."""

_OVERHEAD_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_UPSTREAM_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)
_TTFT_S = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0, 60.0)
_BYTES = tuple(float(4**n) for n in range(4, 14))


class _Kind:
    """Where exchanges of one kind count. What not all of them have is None until the first has."""

    __slots__ = ("agent", "cost", "input", "key", "output", "provider", "requests", "routed", "team", "ttft", "upstream")

    def __init__(self, key: tuple[str, ...], requests: Cell, routed: Cell | None) -> None:
        self.key, self.agent, self.provider = key, key[0], key[2]
        self.requests, self.routed = requests, routed
        self.input: Cell | None = None
        self.output: Cell | None = None
        self.cost: Cell | None = None
        self.team: Cell | None = None
        self.upstream: list[int] | None = None
        self.ttft: list[int] | None = None


class Exchanges:
    """See the module. `counters` and `histograms` are shown in this order."""

    def __init__(self, max_labels: int) -> None:
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
        charged = (self._requests, self._tokens, self._cost, self._team_cost, self._saved, self._findings, self._loops, self._wasted)
        self.counters: tuple[Counter, ...] = (*charged, *self._emitted, self._routed, self._fallbacks)
        self._overhead = Histogram("fleetgate_overhead_seconds", "Time that the proxy itself added.", (), _OVERHEAD_S)
        self._upstream = Histogram("fleetgate_upstream_seconds", "From request sent to last byte of reply.", ("provider",), _UPSTREAM_S)
        self._ttft = Histogram("fleetgate_ttft_seconds", "From request sent to first byte of a stream.", ("provider",), _TTFT_S)
        self._bytes_in = Histogram("fleetgate_request_bytes", "Size of request bodies.", (), _BYTES, 1)
        self._bytes_out = Histogram("fleetgate_reply_bytes", "Size of reply bodies.", (), _BYTES, 1)
        self.histograms = (self._overhead, self._upstream, self._ttft, self._bytes_in, self._bytes_out)
        self._overhead_row, self._in_row, self._out_row = (h.row("") for h in (self._overhead, self._bytes_in, self._bytes_out))
        self._kinds: dict[tuple[str, ...], _Kind] = {}

    def count(self, r: Record) -> None:
        """Count one finished exchange."""
        kind = self._kinds.get((r.agent, r.model, r.provider, r.outcome, r.reason, r.route, r.team)) or self._kind(r)
        kind.requests[0] += 1
        if kind.routed is not None:
            kind.routed[0] += 1
        if r.input_tokens or r.output_tokens or r.cache_read_tokens or r.cost:
            self._charge(r, kind)
        if r.carbon_ug or r.energy_uwh:
            for counter, amount in zip(self._emitted, (r.carbon_ug, r.carbon_ug_low, r.energy_uwh, r.energy_uwh_low), strict=True):
                counter.add(kind.key[:3], amount)
        if r.findings or r.loop or r.fallbacks or r.saved or r.would_save:
            self._more(r, kind)
        _, upstream, overhead, ttft = times(r)
        row = self._overhead_row
        row[bisect_left(self._overhead.bounds, overhead)] += 1
        row[-1] += overhead
        if upstream is not None:
            row = kind.upstream = kind.upstream or self._upstream.row(kind.provider)
            row[bisect_left(self._upstream.bounds, upstream)] += 1
            row[-1] += upstream
            if ttft is not None:
                row = kind.ttft = kind.ttft or self._ttft.row(kind.provider)
                row[bisect_left(self._ttft.bounds, ttft)] += 1
                row[-1] += ttft
        row, size = self._in_row, r.bytes_in
        row[bisect_left(self._bytes_in.bounds, size)] += 1
        row[-1] += size
        row, size = self._out_row, r.bytes_out
        row[bisect_left(self._bytes_out.bounds, size)] += 1
        row[-1] += size
        if r.trace_id:
            self._exemplify(r, kind)

    def _kind(self, r: Record) -> _Kind:
        """Return where exchanges like `r` count."""
        agent = "" if r.reason in _UNKNOWN_CALLER else self._agent.of(r.agent)
        hidden = r.reason in _NO_MODEL or (not agent and r.outcome == "denied")
        model = "" if hidden else self._model.of(r.model)
        provider = "" if hidden else self._provider.of(r.provider)
        key = (agent, model, provider, r.outcome, r.reason)
        kind = _Kind(key, self._requests.cell(key), self._routed.cell((r.route,)) if r.route else None)
        said = (r.agent, r.model, r.provider, r.outcome, r.reason, r.route, r.team)
        if not hidden and max(map(len, said)) <= MAX_LABEL_CHARS:  # what anybody may say as he likes is not kept
            if len(self._kinds) >= MAX_KINDS:
                self._kinds.clear()
            self._kinds[said] = kind
        return kind

    def _charge(self, r: Record, kind: _Kind) -> None:
        """Count tokens and dollars."""
        tokens, who = self._tokens, kind.key[:3]
        if r.input_tokens:
            cell = kind.input = kind.input or tokens.cell((*who, "input"))
            cell[0] += r.input_tokens
        if r.output_tokens:
            cell = kind.output = kind.output or tokens.cell((*who, "output"))
            cell[0] += r.output_tokens
        if r.cache_read_tokens:
            tokens.add((*who, "cache_read"), r.cache_read_tokens)
        if written := r.cache_write_tokens + r.cache_write_1h_tokens:
            tokens.add((*who, "cache_write"), written)
        if r.reasoning_tokens:
            tokens.add((*who, "reasoning"), r.reasoning_tokens)
        if r.cost:
            cell = kind.cost = kind.cost or self._cost.cell(who)
            cell[0] += r.cost
            cell = kind.team = kind.team or self._team_cost.cell((self._team.of(r.team),))
            cell[0] += r.cost

    def _more(self, r: Record, kind: _Kind) -> None:
        """Count what few exchanges have."""
        for rule, _ in r.findings:
            self._findings.add((self._rule.of(rule),))
        if r.loop and not r.loop.startswith("none"):
            level, *more = r.loop.split(";")
            said = dict(word.split("=", 1) for word in more if "=" in word)
            rule = self._rule.of(said.get("rule", ""))
            self._loops.add((kind.agent, level, said.get("action", ""), rule))
            if r.wasted_new:
                self._wasted.add((kind.agent, rule), r.wasted_new)
        for left in r.fallbacks:
            name = self._provider.of(left[0])
            self._fallbacks.add((name, left[2]))
            self._upstream.observe(name, left[6])
        charged = r.input_tokens or r.output_tokens or r.cache_read_tokens or r.cost
        if r.saved and charged:
            self._saved.add((kind.agent, "saved" if r.saved > 0 else "lost"), abs(r.saved))
        if r.would_save and charged:
            self._saved.add((kind.agent, "would_save" if r.would_save > 0 else "would_lose"), abs(r.would_save))

    def _exemplify(self, r: Record, kind: _Kind) -> None:
        """Keep the trace of an exchange that is kept as the example of where it counted."""
        trace = (r.trace_id, r.time)
        _, upstream, overhead, ttft = times(r)
        self._requests.show(kind.key, trace)
        self._overhead.show("", overhead, trace)
        if upstream is not None:
            self._upstream.show(kind.provider, upstream, trace)
            if ttft is not None:
                self._ttft.show(kind.provider, ttft, trace)
