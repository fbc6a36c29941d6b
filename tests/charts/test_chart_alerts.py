"""Alerts and dashboards ask for nothing but metrics and labels that docs/metrics.md names."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from helm_chart import CHART, needs_helm, of_kind, one
from simulating import ROOT

TEXT = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
ROWS = {
    name: (kind, set(re.findall(r"`(\w+)`", labels)))
    for name, kind, labels in re.findall(r"^\| `(fleetgate_\w+)` \| (\w+) \| ([^|]*)\|", TEXT, re.MULTILINE)
}
FROM_KUBERNETES = {"namespace", "service", "pod", "le"}
DASHBOARDS = sorted((CHART / "dashboards").glob("*.json"))
CASES = {
    "FleetgateBudgetNearlyUsed": "fleetgate_budget_used_ratio",
    "FleetgateBudgetSoonGone": "fleetgate_budget_exhausted_in_seconds",
    "FleetgateBudgetDrift": "fleetgate_budget_drift",
    "FleetgateLoopStorm": "fleetgate_loops_total",
    "FleetgatePolicyUnavailable": "fleetgate_requests_total",
    "FleetgatePolicyStale": "fleetgate_opa_bundle_stale",
    "FleetgatePoliciesDiffer": "fleetgate_policy_info",
    "FleetgateConfigStale": "fleetgate_config_stale",
    "FleetgateStoreErrors": "fleetgate_store_errors_total",
    "FleetgateLedgerLost": "fleetgate_ledger_lost_total",
    "FleetgateLedgerBehind": "fleetgate_ledger_queue",
    "FleetgateLedgerUnshipped": "fleetgate_ledger_unshipped_seconds",
    "FleetgateTokenKeysOld": "fleetgate_jwks_age_seconds",
    "FleetgateKillActive": "fleetgate_kills_active",
    "FleetgateCircuitOpen": "fleetgate_upstream_circuit_open",
}


@cache
def _promtool() -> tuple[str, str]:
    command = [sys.executable, str(ROOT / "scripts" / "tools.py"), "where", "promtool"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.strip(), done.stderr.strip()


needs_promtool = pytest.mark.skipif(not _promtool()[0], reason=_promtool()[1] or "no promtool")


def faults(expression: str) -> list[str]:
    """Return what an expression asks for that no metric has."""
    wrong = []
    for name, selector in re.findall(r"\b(fleetgate_\w+)(?:\{([^}]*)\})?", expression):
        metric = re.sub(r"_bucket$", "", name)
        if metric not in ROWS or (metric != name) != (ROWS[metric][0] == "histogram"):
            wrong.append(name)
            continue
        labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector))
        wrong += [f"{name}{{{label}}}" for label in labels - ROWS[metric][1] - FROM_KUBERNETES]
    every = set().union(*(labels for _, labels in ROWS.values())) | FROM_KUBERNETES
    for group in re.findall(r"\bby \(([^)]*)\)", expression):
        wrong += [f"by ({label})" for label in re.split(r",\s*", group) if label not in every]
    if any(expression.count(a) != expression.count(b) for a, b in ("()", "[]", "{}")):
        wrong.append("brackets")
    return wrong


@pytest.mark.parametrize(
    ("expression", "wrong"),
    [
        ("sum(fleetgate_requets_total)", ["fleetgate_requets_total"]),
        ('fleetgate_requests_total{agnt="a"}', ["fleetgate_requests_total{agnt}"]),
        ("sum by (provder) (fleetgate_inflight)", ["by (provder)"]),
        ("fleetgate_ttft_seconds", ["fleetgate_ttft_seconds"]),
        ("sum(fleetgate_inflight", ["brackets"]),
        ('sum by (le) (rate(fleetgate_ttft_seconds_bucket{provider="a"}[5m]))', []),
    ],
)
def test_the_check_can_fail(expression: str, wrong: list[str]) -> None:
    assert len(ROWS) > 20
    assert faults(expression) == wrong


def _alerts() -> list[dict[str, Any]]:
    (rule,) = of_kind("production", "PrometheusRule")
    return [alert for group in rule["spec"]["groups"] for alert in group["rules"]]


@needs_helm
def test_alerts_ask_for_documented_metrics() -> None:
    assert len(_alerts()) >= len(CASES)
    assert {a["alert"]: faults(a["expr"]) for a in _alerts() if faults(a["expr"])} == {}


@needs_helm
@pytest.mark.parametrize("name", CASES)
def test_each_case_has_its_alert(name: str) -> None:
    (alert,) = [a for a in _alerts() if a["alert"] == name]
    assert CASES[name] in alert["expr"]
    assert alert["labels"]["severity"] in ("critical", "warning", "info")
    assert alert["annotations"]["runbook_url"] == f"https://example.com/runbook#{name}"
    assert alert["annotations"]["summary"]


@needs_helm
@needs_promtool
def test_promtool_takes_the_rules_as_they_are_installed(tmp_path: Path) -> None:
    (rule,) = of_kind("production", "PrometheusRule")
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump(rule["spec"]))
    done = subprocess.run([_promtool()[0], "check", "rules", str(path)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(_alerts())} rules found" in done.stdout + done.stderr
    path.write_text(path.read_text().replace(" >= ", " >== ", 1))
    assert subprocess.run([_promtool()[0], "check", "rules", str(path)], capture_output=True, timeout=60, check=False).returncode


@needs_helm
def test_each_alert_looks_at_its_own_release() -> None:
    for alert in _alerts():
        for selector in re.findall(r"fleetgate_\w+(\{[^}]*\})?", alert["expr"]):
            assert 'namespace="fleets",service="demo-fleetgate-admin"' in selector
    assert one("production", "Service", "-admin")["spec"]["ports"][0]["targetPort"] == "admin"


@needs_helm
def test_summaries_use_labels_that_their_expression_keeps() -> None:
    for alert in _alerts():
        kept = set(re.findall(r"\w+", " ".join(re.findall(r"\bby \(([^)]*)\)", alert["expr"]))))
        assert set(re.findall(r"\$labels\.(\w+)", alert["annotations"]["summary"])) <= kept, alert["alert"]


@needs_helm
def test_the_monitor_finds_the_admin_service_and_shows_its_token() -> None:
    (monitor,) = of_kind("production", "ServiceMonitor")
    service = one("production", "Service", "-admin")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert not monitor["spec"]["selector"]["matchLabels"].items() <= one("production", "Service")["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] == service["spec"]["ports"][0]["name"]
    assert endpoint["authorization"]["credentials"] == {"name": "admin-token", "key": "admin"}


@needs_helm
def test_dashboards_come_as_they_are() -> None:
    data = one("production", "ConfigMap", "-dashboards")
    assert data["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert {k: json.loads(v) for k, v in data["data"].items()} == {p.name: json.loads(p.read_text()) for p in DASHBOARDS}


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda p: p.stem)
def test_dashboards_ask_for_documented_metrics(path: Any) -> None:
    board = json.loads(path.read_text())
    asked = {target["expr"] for panel in board["panels"] for target in panel["targets"]}
    asked |= {v["query"]["query"] for v in board["templating"]["list"] if v["type"] == "query"}
    assert len(asked) > 5
    assert {e: faults(e) for e in asked if faults(e)} == {}
    assert len({p["id"] for p in board["panels"]}) == len(board["panels"])
    for panel in board["panels"]:
        for target in panel["targets"]:
            kept = set(re.findall(r"\w+", " ".join(re.findall(r"\bby \(([^)]*)\)", target["expr"]))))
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= kept
            assert "$namespace" in target["expr"]
