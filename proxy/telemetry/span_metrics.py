"""What the metrics show of the exporter of traces. Decides the name and words; the numbers are the caller's."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client.core import CounterMetricFamily


def span_counts(counts: Mapping[str, int]) -> CounterMetricFamily:
    """Return the metric of `counts`, by outcome; one without a value where there are none."""
    spans = CounterMetricFamily("fleetgate_spans", "Spans by what became of them.", labels=("outcome",))
    for outcome, count in counts.items():
        spans.add_metric((outcome,), count)
    return spans
