"""The section `telemetry`: what leaves the process beside replies. `proxy.app.traces` reads it."""

# ruff: noqa: RUF009  (`setting` makes a dataclass field, which is what the rule cannot see)

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from proxy.settings.fields import deadline, setting
from proxy.settings.kinds import (
    Choice,
    Flag,
    Kind,
    Listed,
    Number,
    PathOf,
    Secret,
    Special,
    Surroundings,
    Text,
    Whole,
    base_url,
)


@dataclass(frozen=True, slots=True)
class BaseUrl(Kind):
    """A URL that paths are put behind."""

    words: str = "http://HOST[:PORT]/PATH or https://..."

    def read(self, value: object, at: Surroundings) -> str:
        """See `Kind.read`."""
        return base_url(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """What leaves the process beside replies. Traces and their metrics need the extra `otel` (docs/tracing.md)."""

    otlp_endpoint: str | None = setting(BaseUrl(), "Where traces go: a collector's base URL for OTLP over HTTP. Default: nowhere.", None)
    otlp_headers: tuple[tuple[str, Secret], ...] = setting(
        Special("a mapping of name to text, `env:NAME` or `file:PATH`"), "Headers that the collector wants, such as its key.", ()
    )
    otlp_ca: Path | None = setting(PathOf("file"), "Certificates to trust for it in place of the system's, PEM.", None)
    otlp_timeout_s: float = deadline("How long one try to send may take in all.", 10.0)
    otlp_queue: int = setting(Whole(1, 100_000), "Exchanges that may wait to be sent; what comes on top is dropped, and counted.", 2048)
    otlp_metrics_s: float = setting(Number(0, 3600), "How often the GenAI metrics are sent there too, in seconds. 0: never.", 0.0)
    service_name: str = setting(Text("a name"), "What this service is called there.", "fleetgate")
    resource: tuple[tuple[str, str], ...] = setting(
        Special("a mapping of attribute name to text"), "More attributes of this service, such as `deployment.environment.name`.", ()
    )
    sample: float = setting(Number(0, 1), "The share of traces that are kept, of those that begin here.", 1.0)
    sample_errors: bool = setting(Flag(), "Refusals and failures are kept always.", False)
    adopt: bool = setting(
        Flag(), "A client's `traceparent` is gone on with, sampled as it says. `false`: a trace of our own, linked to it.", True
    )
    propagate: Literal["all", "local", "none"] = setting(
        Choice(("all", "local", "none")),
        "Which providers are sent `traceparent` and `tracestate`: all, your own machines (`local: true`), none. Baggage goes to your own "
        "machines at most.",
        "all",
    )
    baggage: tuple[str, ...] = setting(
        Listed(Text("a key", 100), "a list of keys"), "Members of a client's `baggage` that become attributes.", ()
    )
    retention_days: int = setting(
        Whole(0, 36_500), "Days that records stay in a SQLite ledger; 0: for ever. A Redis stream has its bound in `store.records`.", 0
    )
    capture: bool = setting(
        Flag(),
        "Keep what agents and models say, as far as each agent's `data.log_content` has it kept (by default: not at all). It is beside the "
        "ledger, for the session page, `explain --content` and traces (docs/privacy.md).",
        False,
    )
    capture_kb: int = setting(Whole(1, 4096), "Kilobytes of texts that are kept of one exchange; what is cut off is said.", 64)
    capture_days: int = setting(Whole(1, 36_500), "Days that they are kept; an agent's `data.retention_days` can only shorten that.", 7)
    capture_mb: int = setting(Whole(1, 1_000_000), "Megabytes that all of them may take; the oldest go first.", 256)
