"""What the metrics show of the engine that decides on Rego. Decides the names and words; the numbers are the caller's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric


class PolicyGauge(NamedTuple):
    """The engine: `embedded` or `opa`, the revision that it decides by, and of a server the rest.

    Attributes:
        up: the server answers and has its bundles; None where that is not known, or there is none.
        stale: the server did not take a newer bundle.
        errors: questions that had no answer.
    """

    engine: str
    revision: str
    up: bool | None = None
    stale: bool = False
    errors: int = 0


def families(shown: PolicyGauge | None) -> Iterator[Metric]:
    """Yield the metrics of `shown`; of None those without a value."""
    opa = shown is not None and shown.engine == "opa"
    up = GaugeMetricFamily("fleetgate_opa_up", "1 while the OPA server answers and has its bundles.")
    stale = GaugeMetricFamily("fleetgate_opa_bundle_stale", "1 while the OPA server refuses a newer bundle.")
    errors = CounterMetricFamily("fleetgate_opa_errors", "Questions that the OPA server did not answer.")
    info = GaugeMetricFamily("fleetgate_policy_info", "The engine and the revision that decide on Rego.", labels=("engine", "revision"))
    if shown is not None:
        info.add_metric((shown.engine, shown.revision), 1)
        if opa and shown.up is not None:
            up.add_metric((), int(shown.up))
        if opa:
            stale.add_metric((), int(shown.stale))
            errors.add_metric((), shown.errors)
    yield from (up, stale, errors, info)
