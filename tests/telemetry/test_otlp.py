"""Sending spans: to a real collector on a real socket that answers, refuses, hangs, or is not there. Nothing of it reaches an exchange."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from collecting import Collector
from record_samples import SERVED
from serving import free_port

from proxy.engine.exchange import new_id
from proxy.engine.trace import begun
from proxy.telemetry import otlp
from proxy.telemetry.genai import MAX_SERIES, GenAiMetrics, Histogram
from proxy.telemetry.otlp import Exporter
from proxy.telemetry.otlp_messages import Resource
from proxy.telemetry.spans import Details, Kept

RESOURCE = Resource({"service.name": "fleetgate", "deployment.environment.name": "test"}, "1.2.3", 1_700_000_000_000_000_000)
SPANS = 5
"""How many `SERVED` makes: itself, admit, model, two findings."""


def kept(**fields: object) -> Kept:
    record = replace(SERVED, id=new_id(SERVED.time), **fields)  # type: ignore[arg-type]
    return Kept(record, begun(record.id, None, 1.0), Details("POST", "/v1/chat/completions"))


@contextmanager
def exporter(url: str, metrics: GenAiMetrics | None = None, **settings: object) -> Iterator[Exporter]:
    """A running exporter that gathers for no time."""
    found = Exporter(otlp.Collector(url, **settings), RESOURCE, metrics, gather_s=0.01)  # type: ignore[arg-type]
    try:
        yield found
    finally:
        found.stop(1.0)


def settled(found: Exporter, until: str, count: int) -> None:
    """Wait until `count` spans have come to that end."""
    deadline = time.monotonic() + 60
    while getattr(found.counts, until) < count:
        assert time.monotonic() < deadline, found.counts
        found._thread.join(0.02)


def test_spans_arrive_with_their_resource_and_headers() -> None:
    with Collector() as there, exporter(there.url + "/otel", headers=(("x-api-key", "k"),)) as found:
        one = kept()
        found.put(one)
        spans = there.trace(one.record.id)
        settled(found, "sent", SPANS)
    assert len(spans) == SPANS
    assert (spans[0].kind, spans[2].kind) == ("SERVER", "CLIENT")
    assert spans[0].trace_id == one.record.id
    assert there.resources[0] == {"service.name": "fleetgate", "deployment.environment.name": "test"}
    path, headers = there.requests[0]
    assert path == "/otel/v1/traces"
    assert headers["x-api-key"] == "k"
    assert headers["Content-Type"] == "application/x-protobuf"


def test_an_endpoint_may_name_the_traces_path_itself() -> None:
    assert otlp.Collector("http://h:1/v1/traces").path("traces") == "/v1/traces"
    assert otlp.Collector("http://h:1/x/v1/traces").path("metrics") == "/x/v1/metrics"
    assert otlp.Collector("http://h:1").path("traces") == "/v1/traces"


def test_what_is_left_is_sent_at_the_end() -> None:
    with Collector() as there:
        found = Exporter(otlp.Collector(there.url), RESOURCE, gather_s=60)
        for _ in range(3):
            found.put(kept())
        assert found.depth == 3
        found.stop(10)
        assert found.counts.sent == len(there.spans) == 3 * SPANS


def test_a_collector_that_is_busy_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp, "FIRST_WAIT_S", 0.01)
    with Collector([503, 429, 502]) as there, exporter(there.url) as found:
        found.put(kept())
        settled(found, "sent", SPANS)
    assert len(there.spans) == SPANS
    assert found.counts.failed == 0


@pytest.mark.parametrize("status", [500, 400, 401, 301])
def test_a_collector_that_refuses_is_not_asked_again(status: int) -> None:
    with Collector([status]) as there, exporter(there.url) as found:
        found.put(kept())
        settled(found, "failed", SPANS)
        assert not there.spans
        found.put(kept())
        settled(found, "sent", SPANS)
        assert len(there.requests) == 2


def test_a_collector_that_stays_away_costs_what_was_tried_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(otlp, "KEEP_TRYING_S", 0.1)
    with exporter(f"http://127.0.0.1:{free_port()}") as found:
        found.put(kept())
        settled(found, "failed", SPANS)


def test_what_a_collector_takes_in_part_is_counted_apart() -> None:
    with Collector(rejected=2) as there, exporter(there.url) as found:
        found.put(kept())
        settled(found, "rejected", 2)
        assert found.counts.sent == SPANS - 2


def test_a_collector_that_hangs_delays_the_end_by_a_bound_and_what_waits_is_bounded() -> None:
    with Collector(hang=True) as there, exporter(there.url, queue=4, timeout_s=30.0) as found:
        for _ in range(200):
            found.put(kept())
        assert found.depth <= 4
        dropped = found.counts.dropped
        assert dropped >= 200 - 4 - otlp.BATCH
        began = time.monotonic()
        found.stop(0.3)
        assert time.monotonic() - began < 20, "far below what one try may take"
        assert not there.spans


def test_a_try_has_a_deadline_over_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp, "KEEP_TRYING_S", 0.0)
    with Collector(hang=True) as there, exporter(there.url, timeout_s=0.2) as found:
        found.put(kept())
        settled(found, "failed", SPANS)


def test_an_exchange_that_cannot_be_said_costs_itself_alone() -> None:
    with Collector() as there, exporter(there.url) as found:
        odd = kept()
        odd.record.marks = None  # type: ignore[assignment]
        found.put(odd)
        found.put(kept())
        settled(found, "sent", SPANS)
        assert found.counts.failed == 1


def test_a_mistake_of_ours_costs_a_round_and_not_the_thread() -> None:
    class Odd(GenAiMetrics):
        def __iter__(self) -> Iterator[Histogram]:
            raise RuntimeError("odd")

    with Collector() as there, exporter(there.url, Odd(), metrics_s=0.001) as found:
        for _ in range(2):
            one = kept()
            found.put(one)
            there.trace(one.record.id)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    asked = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command = ["openssl", *asked, "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(path), "-out", f"{path}.crt"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


def test_tls_is_checked(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp, "KEEP_TRYING_S", 0.0)
    with Collector(cert=certificate) as there:
        with exporter(there.url) as stranger:
            stranger.put(kept())
            settled(stranger, "failed", SPANS)
        assert not there.spans
        with exporter(there.url, ca=str(certificate)) as known:
            known.put(kept())
            settled(known, "sent", SPANS)


def test_metrics_are_sent_as_the_conventions_have_them() -> None:
    metrics = GenAiMetrics()
    for _ in range(2):
        metrics.take(SERVED)
    metrics.take(replace(SERVED, operation="models"))
    metrics.take(replace(SERVED, marks={"closed": 1}))
    metrics.take(replace(SERVED, outcome="upstream_error", reason="upstream_timeout", input_tokens=0, output_tokens=0, cache_read_tokens=0))
    with Collector() as there:
        found = Exporter(otlp.Collector(there.url, metrics_s=3600), RESOURCE, metrics, gather_s=60)
        found.stop(10)
    assert set(there.metrics) == {
        "gen_ai.client.token.usage",
        "gen_ai.client.operation.duration",
        "gen_ai.client.operation.time_to_first_chunk",
    }
    tokens = there.metrics["gen_ai.client.token.usage"]
    by_type = {a.value.string_value: p for p in tokens.histogram.data_points for a in p.attributes if a.key == "gen_ai.token.type"}
    assert (by_type["input"].count, by_type["input"].sum) == (3, 2 * 7042 + 42)
    assert (by_type["output"].count, by_type["output"].sum) == (2, 1200)
    assert list(by_type["output"].explicit_bounds)[:3] == [1, 4, 16]
    assert sum(by_type["output"].bucket_counts) == 2
    assert by_type["output"].bucket_counts[5] == 2, "600 lies between 256 and 1024"
    durations = there.metrics["gen_ai.client.operation.duration"]
    errors = {a.value.string_value for p in durations.histogram.data_points for a in p.attributes if a.key == "error.type"}
    assert errors == {"upstream_timeout"}
    assert sum(p.count for p in durations.histogram.data_points) == 4
    first = there.metrics["gen_ai.client.operation.time_to_first_chunk"].histogram.data_points[0]
    assert first.sum == pytest.approx(1.2)


def test_without_counts_no_metrics_are_sent() -> None:
    with Collector() as there:
        Exporter(otlp.Collector(there.url, metrics_s=3600), RESOURCE, GenAiMetrics(), gather_s=60).stop(10)
        assert not there.requests


def test_series_are_bounded_whatever_is_sent() -> None:
    metrics = GenAiMetrics()
    for i in range(MAX_SERIES + 50):
        metrics.take(replace(SERVED, agent=f"agent-{i}"))
    assert len(metrics.duration.rows) <= MAX_SERIES + 1
    assert len(metrics.tokens.rows) <= MAX_SERIES + 2
    assert sum(sum(row[:-1]) for row in metrics.duration.rows.values()) == MAX_SERIES + 50
