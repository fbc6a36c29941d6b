"""Spans and histograms as OTLP's messages. Pure.

Source: opentelemetry-proto v1.9 (trace.proto, metrics.proto, common.proto).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AGGREGATION_TEMPORALITY_CUMULATIVE,
    HistogramDataPoint,
    Metric,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import Histogram as HistogramMessage
from opentelemetry.proto.resource.v1.resource_pb2 import Resource as ResourceMessage
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Status
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage

from proxy.telemetry.genai import GenAiMetrics, Histogram
from proxy.telemetry.semconv import Value
from proxy.telemetry.spans import Span

_KIND = {"exchange": SpanMessage.SPAN_KIND_SERVER, "model": SpanMessage.SPAN_KIND_CLIENT}
SCOPE = "fleetgate"


@dataclass(frozen=True, slots=True)
class Resource:
    """Who speaks: attributes of the process, the release, and since when it counts (UTC nanoseconds)."""

    attributes: Mapping[str, str]
    version: str
    since: int = 0


def traces_request(resource: Resource, spans: Sequence[SpanMessage]) -> ExportTraceServiceRequest:
    """Return the message that carries `spans`."""
    scope = ScopeSpans(scope=InstrumentationScope(name=SCOPE, version=resource.version), spans=spans)
    return ExportTraceServiceRequest(resource_spans=[ResourceSpans(resource=_resource(resource), scope_spans=[scope])])


def metrics_request(resource: Resource, metrics: GenAiMetrics, now: int) -> ExportMetricsServiceRequest | None:
    """Return the message that carries all counts since the start, None where there are none."""
    found = [_metric(histogram, resource.since, now) for histogram in metrics if histogram.rows]
    if not found:
        return None
    scope = ScopeMetrics(scope=InstrumentationScope(name=SCOPE, version=resource.version), metrics=found)
    return ExportMetricsServiceRequest(resource_metrics=[ResourceMetrics(resource=_resource(resource), scope_metrics=[scope])])


def _resource(resource: Resource) -> ResourceMessage:
    return ResourceMessage(attributes=_pairs(resource.attributes))


def _pairs(attributes: Mapping[str, Value] | Mapping[str, str]) -> list[KeyValue]:
    return [KeyValue(key=key, value=_value(value)) for key, value in attributes.items()]


def _value(value: Value) -> AnyValue:
    if isinstance(value, str):
        return AnyValue(string_value=value)
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=max(-(1 << 63), min(value, (1 << 63) - 1)))
    if isinstance(value, float):
        return AnyValue(double_value=value)
    return AnyValue(array_value=ArrayValue(values=[AnyValue(string_value=item) for item in value]))


def span_message(span: Span) -> SpanMessage:
    """Return `span` as a message. Raises UnicodeEncodeError for a text that UTF-8 cannot carry."""
    return SpanMessage(
        trace_id=bytes.fromhex(span.trace_id),
        span_id=bytes.fromhex(span.span_id),
        parent_span_id=bytes.fromhex(span.parent),
        name=span.name,
        kind=_KIND.get(span.span, SpanMessage.SPAN_KIND_INTERNAL),
        start_time_unix_nano=span.start,
        end_time_unix_nano=max(span.start, span.end),
        attributes=_pairs(span.attributes),
        events=[SpanMessage.Event(name=e.name, time_unix_nano=e.at, attributes=_pairs(e.attributes)) for e in span.events],
        links=[SpanMessage.Link(trace_id=bytes.fromhex(trace), span_id=bytes.fromhex(at)) for trace, at in span.links],
        status=Status(code=Status.STATUS_CODE_ERROR, message=span.failed) if span.failed else None,
    )


def _metric(histogram: Histogram, since: int, now: int) -> Metric:
    points = []
    for key, row in list(histogram.rows.items()):
        counts = row.copy()
        total = counts.pop()
        named = {name: value for name, value in zip(histogram.keys, key, strict=True) if value}
        points.append(
            HistogramDataPoint(
                attributes=_pairs(named),
                start_time_unix_nano=since,
                time_unix_nano=now,
                count=sum(counts),
                sum=total / histogram.scale,
                bucket_counts=counts,
                explicit_bounds=histogram.bounds,
            )
        )
    data = HistogramMessage(data_points=points, aggregation_temporality=AGGREGATION_TEMPORALITY_CUMULATIVE)
    return Metric(name=histogram.name, unit=histogram.unit, description=histogram.words, histogram=data)
