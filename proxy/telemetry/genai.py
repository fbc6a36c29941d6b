"""The GenAI metrics of OpenTelemetry: token usage, duration and time to first chunk of what providers were asked, as histograms.

Decides what counts and by which attributes, as the conventions have them, with the agent beside. Counts are plain integers in dicts,
written by the event loop alone and copied by the exporter's thread; what they may take is bounded (`MAX_SERIES`), and beyond that they
are counted under `other`. Knows no wire format.

Source: OpenTelemetry semantic conventions v1.42, "GenAI metrics" (status: Development).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field

from proxy.engine.record import Record
from proxy.telemetry.semconv import text, vendor_of
from proxy.telemetry.timing import ttft_ns, upstream_ns

SECOND = 1_000_000_000
MAX_SERIES = 2000
TOKENS = tuple(float(4**n) for n in range(14))
SECONDS = tuple(0.01 * 2**n for n in range(14))
Key = tuple[str, ...]
OTHER = "other"


@dataclass(slots=True)
class Histogram:
    """One histogram. `keys` names the attributes of `rows`' keys; a row is the count of each bucket, then the sum in `unit`ths."""

    name: str
    unit: str
    words: str
    keys: tuple[str, ...]
    bounds: tuple[float, ...]
    scale: int = 1
    rows: dict[Key, list[int]] = field(default_factory=dict)
    _edges: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        self._edges = tuple(bound * self.scale for bound in self.bounds)

    def observe(self, key: Key, value: int) -> None:
        """Count one value."""
        row = self.rows.get(key)
        if row is None:
            if len(self.rows) >= MAX_SERIES:
                key = (OTHER,) * len(key)
            row = self.rows.setdefault(key, [0] * (len(self.bounds) + 2))
        row[bisect_left(self._edges, value)] += 1
        row[-1] += value


_WHO = ("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "gen_ai.response.model", "gen_ai.agent.id")


class GenAiMetrics:
    """The three histograms. `take` belongs to the event loop's thread."""

    def __init__(self) -> None:
        self.tokens = Histogram("gen_ai.client.token.usage", "{token}", "Tokens used, by type.", (*_WHO, "gen_ai.token.type"), TOKENS)
        self.duration = Histogram(
            "gen_ai.client.operation.duration", "s", "From request sent to last byte of reply.", (*_WHO, "error.type"), SECONDS, SECOND
        )
        self.first = Histogram(
            "gen_ai.client.operation.time_to_first_chunk", "s", "From request sent to first byte of a stream.", _WHO, SECONDS, SECOND
        )
        self._who: dict[Key, Key] = {}

    def __iter__(self) -> Iterator[Histogram]:
        return iter((self.tokens, self.duration, self.first))

    def take(self, record: Record) -> None:
        """Count one exchange; one that never reached a provider is none of theirs."""
        ns = upstream_ns(record)
        if ns is None or not record.provider:
            return
        who = self._named(record)
        failed = "" if record.outcome in ("ok", "denied") else record.reason or record.outcome
        self.duration.observe((*who, failed), ns)
        if record.operation not in ("chat", "embeddings"):
            return
        prompt = record.input_tokens + record.cache_read_tokens + record.cache_write_tokens + record.cache_write_1h_tokens
        if prompt:
            self.tokens.observe((*who, "input"), prompt)
        if record.output_tokens:
            self.tokens.observe((*who, "output"), record.output_tokens)
        first = ttft_ns(record)
        if first is not None:
            self.first.observe(who, first)

    def _named(self, record: Record) -> Key:
        key = (record.protocol, record.operation, record.provider, record.model, record.agent)
        found = self._who.get(key)
        if found is None:
            if len(self._who) >= MAX_SERIES:
                return (OTHER,) * len(_WHO)
            operation = "generate_content" if (record.protocol, record.operation) == ("gemini", "chat") else record.operation
            model = text(record.model)
            found = self._who[key] = (operation, vendor_of(record.provider), model, model, text(record.agent))
        return found
