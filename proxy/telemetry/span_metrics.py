"""What the metrics show of what goes out beside replies: spans, and what is kept of contents. Decides names and words; the numbers are the
caller's."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client.core import CounterMetricFamily


def span_counts(counts: Mapping[str, int]) -> CounterMetricFamily:
    """Return the metric of `counts`, by outcome; one without a value where there are none."""
    spans = CounterMetricFamily("fleetgate_spans", "Spans by what became of them.", labels=("outcome",))
    for outcome, count in counts.items():
        spans.add_metric((outcome,), count)
    return spans


def content_counts(counts: Mapping[str, int]) -> CounterMetricFamily:
    """Return the metric of `counts`, by outcome; one without a value where nothing is kept."""
    contents = CounterMetricFamily("fleetgate_contents", "Exchanges by what became of what was said in them.", labels=("outcome",))
    for outcome, count in counts.items():
        contents.add_metric((outcome,), count)
    return contents
