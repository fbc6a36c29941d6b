from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families
from record_samples import REFUSED, SERVED, STRANGER

from proxy.telemetry.lag import Lag
from proxy.telemetry.ledger import MemoryLedger
from proxy.telemetry.metrics import BudgetGauge, Metrics
from proxy.telemetry.policy_metrics import PolicyGauge

DOC = Path(__file__).parents[2] / "docs" / "metrics.md"
WHO = {"agent": "invoice-triage", "model": "gpt-5-mini", "provider": "openai"}
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(metrics: Metrics) -> Samples:
    families = text_string_to_metric_families(metrics.render()[0].decode())
    return {(s.name, frozenset(s.labels.items())): s.value for f in families for s in f.samples}


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return scrape(metrics).get((name, frozenset(labels.items())))


def label_values(metrics: Metrics) -> set[str]:
    return {v for _, labels in scrape(metrics) for k, v in labels if k not in ("le", "version")}


LEFT = (("local", "small", "slow", 7, 4, 0, 2_500_000_000),)


def test_a_served_exchange_is_counted_in_every_metric() -> None:
    metrics = Metrics("1.2.3")
    metrics.record(SERVED)
    metrics.record(SERVED)
    assert value(metrics, "fleetgate_requests_total", **WHO, outcome="ok", reason="") == 2
    for kind, tokens in (("input", 5000), ("output", 600), ("cache_read", 2000), ("cache_write", 42), ("reasoning", 100)):
        assert value(metrics, "fleetgate_tokens_total", **WHO, kind=kind) == 2 * tokens
    assert value(metrics, "fleetgate_cost_usd_total", **WHO) == pytest.approx(2 * 0.012345678)
    assert value(metrics, "fleetgate_findings_total", rule="secrets/aws-key") == 2
    assert value(metrics, "fleetgate_findings_total", rule="shadow/model_not_allowed") == 2
    assert value(metrics, "fleetgate_loops_total", agent="invoice-triage", level="warn", action="", rule="identical") == 2
    assert value(metrics, "fleetgate_routed_total", route="downgrade") == 2
    assert value(metrics, "fleetgate_overhead_seconds_count") == 2
    assert value(metrics, "fleetgate_overhead_seconds_sum") == pytest.approx(2 * 0.003)
    assert value(metrics, "fleetgate_upstream_seconds_sum", provider="openai") == pytest.approx(2.0)
    assert value(metrics, "fleetgate_ttft_seconds_sum", provider="openai") == pytest.approx(0.8)
    assert value(metrics, "fleetgate_request_bytes_sum") == 120_000
    assert value(metrics, "fleetgate_reply_bytes_sum") == 8_642


def test_what_was_emitted_is_counted_between_its_bounds_where_somebody_estimates_it() -> None:
    metrics = Metrics("1")
    metrics.record(SERVED)
    assert not [name for name, _ in scrape(metrics) if "carbon" in name or "energy" in name]
    metrics.record(replace(SERVED, carbon_ug=2_500_000, carbon_ug_low=500_000, energy_uwh=7_000_000, energy_uwh_low=6_000_000))
    for name, amount in (("carbon_grams", 2.5), ("carbon_low_grams", 0.5), ("energy_watt_hours", 7), ("energy_low_watt_hours", 6)):
        assert value(metrics, f"fleetgate_{name}_total", **WHO) == amount


def test_an_exchange_that_cannot_be_counted_does_not_keep_others_from_it(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics("1")
    metrics.record(replace(SERVED, bytes_in="many"))  # type: ignore[arg-type]
    for _ in range(200):
        metrics.record(SERVED)
    assert value(metrics, "fleetgate_reply_bytes_count") == 200
    assert "could not be counted" in caplog.text


def test_a_histogram_counts_a_value_in_its_bucket_and_all_above() -> None:
    metrics = Metrics("1")
    metrics.record(SERVED)  # 3 ms of overhead
    metrics.record(replace(SERVED, marks={"closed": 5_000_000}))  # on the bound: `le` is inclusive
    metrics.record(replace(SERVED, marks={"closed": 5_000_000_000}))  # above all bounds
    counts = [value(metrics, "fleetgate_overhead_seconds_bucket", le=le) for le in ("0.0025", "0.005", "1.0", "+Inf")]
    assert counts == [0, 2, 2, 3]


def test_a_refusal_has_its_reason_and_no_money() -> None:
    metrics = Metrics("1")
    metrics.record(REFUSED)
    labels = {"agent": "invoice-triage", "model": "", "provider": "", "outcome": "denied", "reason": "budget_exceeded"}
    assert value(metrics, "fleetgate_requests_total", **labels) == 1
    assert not [name for name, _ in scrape(metrics) if name.startswith(("fleetgate_tokens", "fleetgate_cost", "fleetgate_upstream"))]


@pytest.mark.parametrize(
    "record",
    [
        STRANGER,
        replace(STRANGER, agent="evil-agent", model="evil-model", provider="evil-provider"),
        replace(STRANGER, agent="evil-agent", model="evil-model", provider="evil-provider", reason="unknown_agent"),
        replace(STRANGER, model="evil-model", provider="evil-provider", reason="malformed_request"),
    ],
)
def test_what_an_unauthenticated_caller_says_never_becomes_a_label(record: object) -> None:
    metrics = Metrics("1")
    metrics.record(record)  # type: ignore[arg-type]
    assert {v for v in label_values(metrics) if "evil" in v or "attacker" in v} == set()
    assert sum(v for (name, _), v in scrape(metrics).items() if name == "fleetgate_requests_total") == 1


def test_a_model_that_is_not_allowed_is_no_label() -> None:
    metrics = Metrics("1")
    metrics.record(replace(SERVED, model="made-up", outcome="denied", reason="model_not_allowed", cost=0, input_tokens=0, output_tokens=0))
    assert "made-up" not in label_values(metrics)
    assert "invoice-triage" in label_values(metrics)


def test_labels_beyond_the_bound_become_other_and_sums_stay_right() -> None:
    metrics = Metrics("1", max_labels=3)
    for i in range(50):
        metrics.record(replace(SERVED, agent=f"a{i}", model=f"m{i}", findings=((f"rule/{i}", ""),), loop=""))
    values = label_values(metrics)
    assert {"a0", "a2", "m2", "rule/2", "other"} <= values
    assert not {"a3", "m3", "rule/3"} & values
    assert sum(v for (name, _), v in scrape(metrics).items() if name == "fleetgate_requests_total") == 50


def test_series_of_one_metric_are_bounded_too() -> None:
    metrics = Metrics("1", max_labels=10)
    for a in range(10):
        for m in range(10):
            for reason in ("", "rate_limited"):
                metrics.record(replace(SERVED, agent=f"a{a}", model=f"m{m}", reason=reason))
    series = [v for (name, _), v in scrape(metrics).items() if name == "fleetgate_requests_total"]
    assert len(series) == 101
    assert sum(series) == 200


def test_text_that_utf8_cannot_hold_does_not_break_the_scrape() -> None:
    metrics = Metrics("1")
    metrics.record(replace(SERVED, agent='a\ud800\n"b\\' + "x" * 500))
    agents = {v for _, labels in scrape(metrics) for k, v in labels if k == "agent"}
    assert len(agents) == 1
    assert agents.pop().startswith('a\\ud800\\n"b\\xxx')


def test_gauges_show_what_they_are_told() -> None:
    metrics, ledger = Metrics("1.2.3"), MemoryLedger()
    ledger.depth, ledger.lost = 7, 3
    metrics.watch(ledger)
    metrics.inflight(1)
    metrics.inflight(1)
    metrics.inflight(-1)
    metrics.watch_circuits(lambda: {"openai": True, "local": False})
    metrics.config("abc", stale=True)
    metrics.store_error()
    metrics.record(replace(REFUSED, reason="store_unavailable"))
    expected = {"fleetgate_inflight": 1, "fleetgate_ledger_queue": 7, "fleetgate_ledger_lost_total": 3, "fleetgate_config_stale": 1}
    assert {name: value(metrics, name) for name in expected} == expected
    assert value(metrics, "fleetgate_store_errors_total") == 2
    assert value(metrics, "fleetgate_config_info", version="abc") == 1
    assert [value(metrics, "fleetgate_upstream_circuit_open", provider=name) for name in ("openai", "local")] == [1, 0]
    assert value(metrics, "fleetgate_build_info", version="1.2.3") == 1
    metrics.config("def", stale=False)
    assert value(metrics, "fleetgate_config_info", version="abc") is None


def test_budgets_are_shown_as_they_were_last_looked_up() -> None:
    metrics = Metrics("1")
    metrics.budgets([BudgetGauge("cap", "agent=a", "usd", 0.5, 1.25, 60.0), BudgetGauge("old\ud800", "", "tokens", 1.0, 0, None)])
    metrics.drift({"usd": 0.25, "tokens": 3})
    of = {"budget": "cap", "scope": "agent=a", "unit": "usd"}
    assert value(metrics, "fleetgate_budget_used_ratio", **of) == 0.5
    assert value(metrics, "fleetgate_budget_remaining", **of) == 1.25
    assert value(metrics, "fleetgate_budget_exhausted_in_seconds", **of) == 60
    other = {"budget": "old\\ud800", "scope": "", "unit": "tokens"}
    assert value(metrics, "fleetgate_budget_remaining", **other) == 0
    assert value(metrics, "fleetgate_budget_exhausted_in_seconds", **other) is None
    assert [value(metrics, "fleetgate_budget_drift", unit=unit) for unit in ("usd", "tokens")] == [0.25, 3]
    metrics.budgets([])
    metrics.drift({})
    assert value(metrics, "fleetgate_budget_remaining", **of) is None
    assert value(metrics, "fleetgate_budget_drift", unit="usd") is None


def test_every_metric_is_documented_with_its_type_and_labels_and_no_other() -> None:
    metrics = Metrics("1")
    metrics.watch_circuits(lambda: {"openai": False})
    metrics.spans = lambda: {"sent": 0}
    metrics.budgets([BudgetGauge("cap", "", "usd", 0.5, 1.0, 60.0)])
    metrics.drift({"usd": 0})
    metrics.watch_shipping(lambda: [Lag("ship")])
    metrics.watch_policies(lambda: PolicyGauge("opa", "r1", up=True))
    metrics.record(replace(SERVED, fallbacks=LEFT, saved=1, carbon_ug=1))
    metrics.contents = lambda: {"kept": 1}
    shown, words = dict[str, tuple[str, set[str]]](), dict[str, str]()
    for family in text_string_to_metric_families(metrics.render()[0].decode()):
        name = family.name + ("_total" if family.type == "counter" else "")
        words[name] = family.documentation
        shown[name] = (family.type, {label for s in family.samples for label in s.labels} - {"le"})
    rows = re.findall(r"^\| `((?:fleetgate|process)_\w+)` \| (\w+) \|([^|]*)\| (.*) \|$", DOC.read_text(), re.M)
    rows = [row for row in rows if row[0] in shown or not row[0].startswith("process_")]  # which of these there are, the system says
    assert {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels, _ in rows} == shown
    for name, _, _, meaning in rows:
        assert meaning.startswith(words[name].removesuffix(".")), f"{name}: its help says {words[name]!r}"


def test_local_models_that_were_replaced_are_counted_with_the_time_that_they_took() -> None:
    metrics = Metrics("1")
    metrics.record(replace(SERVED, fallbacks=LEFT))
    assert value(metrics, "fleetgate_fallbacks_total", provider="local", cause="slow") == 1
    assert value(metrics, "fleetgate_upstream_seconds_sum", provider="local") == pytest.approx(2.5)
    assert value(metrics, "fleetgate_upstream_seconds_sum", provider="openai") == pytest.approx(1.0)


def test_the_steps_of_a_loop_and_what_it_wasted_are_counted() -> None:
    metrics = Metrics("1.2.3")
    looped = replace(SERVED, loop="nudge;rule=identical;count=4;action=persona", wasted=5_000_000, wasted_new=2_000_000)
    metrics.record(looped)
    metrics.record(replace(looped, wasted_new=0))
    assert value(metrics, "fleetgate_loops_total", agent="invoice-triage", level="nudge", action="persona", rule="identical") == 2
    assert value(metrics, "fleetgate_loops_wasted_usd_total", agent="invoice-triage", rule="identical") == pytest.approx(0.002)


HOSTILE = (
    "<script>alert(1)</script>",
    '"} 1\nfleetgate_evil_total 1',
    "x" * 10_000,
    "\u202egnp.exe",
    "\x1b[2J\x1b]0;evil\x07",
    "=cmd|' /C calc'!A0",
    "\ud800",
)


def test_ten_thousand_agents_with_hostile_names_stay_bounded_and_readable() -> None:
    metrics = Metrics("1")
    for i in range(10_000):
        name = f"{HOSTILE[i % len(HOSTILE)]}{i}"
        metrics.record(replace(SERVED, agent=name, model=name, team=name, findings=((name, ""),), fallbacks=()))
    samples = scrape(metrics)
    assert len(samples) < 15_000
    assert sum(v for (name, _), v in samples.items() if name == "fleetgate_requests_total") == 10_000
    for label in ("agent", "model", "rule", "team"):
        values = {dict(labels).get(label, "") for _, labels in samples}
        assert 1000 <= len(values) <= 1002
        assert "other" in values
        assert max(len(v) for v in values) <= 400
        assert all(v.isprintable() for v in values)
    assert all(name.startswith(("fleetgate_", "process_")) and "evil" not in name for name, _ in samples)


def test_long_names_that_begin_alike_stay_two_series() -> None:
    metrics = Metrics("1")
    for end in "ab":
        metrics.record(replace(SERVED, agent="x" * 10_000 + end))
    agents = {v for _, labels in scrape(metrics) for k, v in labels if k == "agent"}
    assert len(agents) == 2
    assert {len(a) for a in agents} == {120}


def test_budgets_with_names_that_look_alike_do_not_break_the_scrape() -> None:
    metrics = Metrics("1")
    metrics.budgets([BudgetGauge(name, "", "usd", 0.5, 1.0, None) for name in ("a\n", "a\\n")])
    assert value(metrics, "fleetgate_budget_used_ratio", budget="a\\n", scope="", unit="usd") == 0.5


def test_what_simple_models_saved_is_counted_apart_from_what_they_lost() -> None:
    metrics = Metrics("1")
    for saved, would in ((3_000_000_000, 0), (-1_000_000_000, 0), (0, 500_000_000), (0, -250_000_000)):
        metrics.record(replace(SERVED, saved=saved, would_save=would))
    found = {kind: value(metrics, "fleetgate_saved_usd_total", agent="invoice-triage", kind=kind) for kind in ("saved", "lost")}
    assert found == {"saved": 3.0, "lost": 1.0}
    assert value(metrics, "fleetgate_saved_usd_total", agent="invoice-triage", kind="would_save") == 0.5
    assert value(metrics, "fleetgate_saved_usd_total", agent="invoice-triage", kind="would_lose") == 0.25
    assert value(metrics, "fleetgate_team_cost_usd_total", team="payments") == pytest.approx(4 * 0.012345678)


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_a_scraper_that_asks_for_openmetrics_gets_exemplars_and_no_other_does() -> None:
    metrics = Metrics("1")
    metrics.record(replace(SERVED, trace_id=TRACE))
    metrics.record(replace(SERVED, trace_id=""))
    asked = "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
    body, kind = metrics.render(asked)
    assert kind == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    families = list(openmetrics_families(body.decode()))  # type: ignore[no-untyped-call]
    found = {s.name: s.exemplar for f in families for s in f.samples if s.exemplar}
    assert set(found) == {
        "fleetgate_requests_total",
        "fleetgate_overhead_seconds_bucket",
        "fleetgate_upstream_seconds_bucket",
        "fleetgate_ttft_seconds_bucket",
    }
    assert {e.labels["trace_id"] for e in found.values()} == {TRACE}
    assert found["fleetgate_overhead_seconds_bucket"].value == pytest.approx(0.003)
    assert float(found["fleetgate_overhead_seconds_bucket"].timestamp or 0) == SERVED.time
    for accept in ("", "*/*", "text/plain"):
        body, kind = metrics.render(accept)
        assert kind.startswith("text/plain")
        assert TRACE.encode() not in body
