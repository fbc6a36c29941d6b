"""What follows exchanges as distributed traces, made from the settings: nothing where no collector is configured.

The modules that need the extra `otel` are imported here, and only then.
"""

from __future__ import annotations

import importlib
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

from proxy import __version__
from proxy.settings import Settings
from proxy.settings.telemetry import Telemetry
from proxy.telemetry.genai import GenAiMetrics
from proxy.telemetry.tracer import Sampling, Tracer


@dataclass(frozen=True, slots=True)
class Traces:
    """The tracer, and what says how its exporter does."""

    tracer: Tracer
    counts: Callable[[], Mapping[str, int]]


def open_traces(settings: Settings) -> Traces | None:
    """Return what follows exchanges, its exporter running; None where traces go nowhere."""
    told = settings.telemetry
    if told.otlp_endpoint is None:
        return None
    otlp, messages = (importlib.import_module(f"proxy.telemetry.{name}") for name in ("otlp", "otlp_messages"))
    metrics = GenAiMetrics() if told.otlp_metrics_s else None
    headers = tuple((name, value.reveal()) for name, value in told.otlp_headers)
    ca = None if told.otlp_ca is None else str(told.otlp_ca)
    collector = otlp.Collector(told.otlp_endpoint, headers, ca, told.otlp_timeout_s, told.otlp_metrics_s, told.otlp_queue)
    exporter = otlp.Exporter(collector, messages.Resource(resource(told), __version__, time.time_ns()), metrics)
    sampling = Sampling(told.sample, told.sample_errors, told.adopt, told.propagate, told.baggage)
    return Traces(Tracer(sampling, exporter, metrics), lambda: asdict(exporter.counts))


def resource(told: Telemetry) -> dict[str, str]:
    """Return the attributes of this process."""
    own = {
        "service.name": told.service_name,
        "service.version": __version__,
        "service.instance.id": secrets.token_hex(8),
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "fleetgate",
        "telemetry.sdk.version": __version__,
    }
    return own | dict(told.resource)
