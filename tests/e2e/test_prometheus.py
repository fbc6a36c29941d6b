"""A real Prometheus scrapes a running proxy: every expression of every dashboard and alert is answered, and exemplars arrive."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

from prometheus_server import Prometheus, needs_prometheus, prometheus
from serving import ROOT, Proxy, Simulator, post
from simulating import START_S

BOARDS = sorted((ROOT / "observability" / "grafana").glob("*.json"))
RULES = ROOT / "observability" / "prometheus" / "alerts.yaml"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
BUDGETS = {"budgets": [{"name": "day", "scope": {"fleet": "*"}, "limit": {"usd": 5}, "window": "day"}]}
AGENTS = """---
name: tester
policy:
  owner: {team: payments}
  models: {allow: ["gpt-*"]}
---
"""

pytestmark = needs_prometheus


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with Simulator() as sim, Proxy(sim, agents=AGENTS, budgets=BUDGETS) as proxy:
        headers = {"authorization": f"Bearer {proxy.key()}", "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}

        def chat(model: str) -> int:
            body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "Say something."}]}
            return post(f"{proxy.url}/v1/chat/completions", body, headers).status

        assert [chat("gpt-4o-mini"), chat("claude-sonnet-4-5")] == [200, 403]
        proxy.records(2)
        folder = tmp_path_factory.mktemp("prometheus")
        with prometheus(folder, proxy.admin_url.removeprefix("http://"), RULES) as found:
            found.until('fleetgate_requests_total{outcome="denied"}')
            assert chat("gpt-4o-mini") == 200
            found.until("increase(fleetgate_requests_total[5m])")  # two scrapes
            yield found


def test_the_target_is_up_and_its_text_is_whole(server: Prometheus) -> None:
    (target,) = server.ask("targets")["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")
    (asked,) = server.until('sum(fleetgate_requests_total{agent="tester",model="gpt-4o-mini",outcome="ok"}) == 2')
    assert asked["value"][1] == "2"
    assert server.query('fleetgate_team_cost_usd_total{team="payments"} > 0')
    assert server.query('fleetgate_budget_used_ratio{budget="day"}')


@pytest.mark.parametrize("path", BOARDS, ids=lambda p: p.stem)
def test_every_expression_of_a_dashboard_is_answered(server: Prometheus, path: Path) -> None:
    board = json.loads(path.read_text(encoding="utf-8"))
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    assert asked
    answered = 0
    for expression in asked:
        filled = expression.replace("$job", ".*").replace("$instance", ".*")
        answered += bool(server.query(filled))
        server.ask("query_range", query=filled, start=str(time.time() - 60), end=str(time.time()), step="15")
    assert answered, "at least one panel shows something"
    for variable in board["templating"]["list"][1:]:
        inside = variable["query"]["query"].removeprefix("label_values(").removesuffix(")")
        metric, _, label = inside.replace("$job", ".*").rpartition(", ")
        assert server.query(f"count by ({label}) ({metric})")


def test_prometheus_loads_the_rules_and_evaluates_them(server: Prometheus) -> None:
    names = {rule["alert"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]}
    deadline = time.monotonic() + START_S
    while True:
        rules = [rule for group in server.ask("rules")["groups"] for rule in group["rules"]]
        if all(rule["health"] != "unknown" for rule in rules) or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    assert {rule["name"]: (rule["health"], rule.get("lastError")) for rule in rules} == dict.fromkeys(names, ("ok", None))
    assert {rule["name"] for rule in rules if rule["state"] == "firing"} == set()


def test_an_exemplar_leads_from_a_metric_to_its_trace(server: Prometheus) -> None:
    ask = {"start": str(time.time() - 300), "end": str(time.time() + 60)}
    for name in ("fleetgate_requests_total", "fleetgate_overhead_seconds_bucket", "fleetgate_ttft_seconds_bucket"):
        found = [e for series in server.ask("query_exemplars", query=name, **ask) for e in series["exemplars"]]
        assert {e["labels"]["trace_id"] for e in found} == {TRACE}, name
