"""Metrics of several processes add up by what they mean, stay bounded, and stay Prometheus text."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

import msgspec
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from record_samples import SERVED

from proxy.telemetry import merging
from proxy.telemetry.merging import GAUGES, Family, Past, Point, merge, pack, registry, unpack
from proxy.telemetry.metrics import Metrics, written


def worked(calls: int, inflight: int = 0, agent: str = "triage", stale: bool = False) -> Metrics:
    metrics = Metrics("1.0.0")
    for _ in range(calls):
        metrics.record(dataclasses.replace(SERVED, agent=agent))
    metrics.inflight(inflight)
    metrics.config("v", stale)
    return metrics


def sent(metrics: Metrics) -> list[Family]:
    """What comes out at the other end of the channel."""
    return unpack(msgspec.json.decode(msgspec.json.encode(pack(metrics.everything()))))


def text(families: Sequence[Family]) -> str:
    return generate_latest(registry(families)).decode()


def values(families: Sequence[Family], sample: str) -> dict[str, float]:
    return {json.dumps(dict(p.labels)): p.value for family in families for p in family.points if p.name == sample}


def test_every_gauge_says_how_it_adds_up() -> None:
    assert set(GAUGES) == {family.name for family in Metrics("1").everything() if family.type == "gauge"}


def test_one_process_says_the_same_as_without_a_detour() -> None:
    metrics = worked(3, inflight=2)
    assert text(merge([sent(metrics)])).partition("# HELP process_")[0] == metrics.render()[0].decode().partition("# HELP process_")[0]


def test_counters_and_histograms_are_summed_and_gauges_by_their_meaning() -> None:
    found = merge([sent(worked(3, inflight=2)), sent(worked(2, inflight=5, stale=True)), sent(worked(1, agent="other"))])
    requests = values(found, "fleetgate_requests_total")
    assert sorted(requests.values()) == [1.0, 5.0]
    one = values(sent(worked(1)), "fleetgate_cost_usd_total").popitem()[1]
    assert abs(sum(values(found, "fleetgate_cost_usd_total").values()) - 6 * one) < 1e-9
    assert sum(values(found, "fleetgate_inflight").values()) == 7
    assert sum(values(found, "fleetgate_workers").values()) == 3
    assert sum(values(found, "fleetgate_config_stale").values()) == 1
    assert values(found, "fleetgate_config_info") == {'{"version": "v"}': 1.0}
    assert sum(values(found, "fleetgate_overhead_seconds_count").values()) == 6
    families = {f.name: f for f in text_string_to_metric_families(text(found))}
    buckets = [s.value for s in families["fleetgate_overhead_seconds"].samples if s.name.endswith("_bucket")]
    assert buckets == sorted(buckets), "cumulative, each bound once"
    assert buckets[-1] == 6


def test_what_a_process_counted_outlives_it_and_what_it_gauged_does_not() -> None:
    past = Past()
    for calls in (3, 4):
        past.keep(sent(worked(calls, inflight=1)))
    found = merge([past.families, sent(worked(1))])
    assert sum(values(found, "fleetgate_requests_total").values()) == 8
    assert sum(values(found, "fleetgate_overhead_seconds_count").values()) == 8
    assert sum(values(found, "fleetgate_inflight").values()) == 0
    assert sum(values(found, "fleetgate_workers").values()) == 1


def test_the_past_is_bounded_and_sums_stay_right() -> None:
    past = Past(most=4)
    for i in range(50):
        metrics = Metrics("1")
        metrics.record(dataclasses.replace(SERVED, agent=f"a{i}", provider=f"p{i}"))
        past.keep(sent(metrics))
    requests = values(past.families, "fleetgate_requests_total")
    assert len(requests) == 5
    assert sum(requests.values()) == 50
    assert requests[json.dumps(dict.fromkeys(("agent", "model", "provider", "outcome", "reason"), "other"))] == 46
    upstream = next(family for family in past.families if family.name == "fleetgate_upstream_seconds")
    assert len({merging._series(p.labels) for p in upstream.points}) == 5
    last = [p.value for p in upstream.points if p.name.endswith("_bucket") and ("le", "+Inf") in p.labels]
    assert sum(last) == 50 + sum(len(SERVED.fallbacks) for _ in range(50))
    text(past.families)


def test_a_number_that_json_does_not_know_is_left_out() -> None:
    told = [["g", "w", "gauge", [["g", [], None, None], ["g", [["a", "b"]], 1, None]]]]
    assert unpack(told) == [Family("g", "w", "gauge", [Point("g", (("a", "b"),), 1.0)])]


def test_the_latest_exemplar_stays_whoever_saw_it() -> None:
    def traced(trace: str, time: float) -> list[Family]:
        metrics = Metrics("1")
        metrics.record(dataclasses.replace(SERVED, trace_id=trace, time=time))
        return sent(metrics)

    late, early = "aa" * 16, "bb" * 16
    for parts in ((traced(late, 9e8), traced(early, 8e8)), (traced(early, 8e8), sent(worked(1)), traced(late, 9e8))):
        body, kind = written(registry(merge(parts)), "application/openmetrics-text")
        assert kind.startswith("application/openmetrics-text")
        assert late in body.decode()
        assert early not in body.decode()
        assert b"# EOF" in body
