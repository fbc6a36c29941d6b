"""Dashboards and alerts: made from one source, of metrics that exist, and what promtool says of the rules."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, ProcessCollector

from proxy.telemetry.metrics import Metrics

ROOT = Path(__file__).parents[2]
observability = importlib.import_module("scripts.observability")  # by name: mypy knows scripts as files, not as a package
SOURCE: dict[str, Any] = yaml.safe_load(observability.SOURCE.read_text(encoding="utf-8"))
RULES = ROOT / "observability" / "prometheus" / "alerts.yaml"


@cache
def promtool() -> tuple[str, str]:
    command = [sys.executable, str(ROOT / "scripts" / "tools.py"), "where", "promtool"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.strip(), done.stderr.strip()


needs_promtool = pytest.mark.skipif(not promtool()[0], reason=promtool()[1] or "no promtool")


def check(*arguments: str) -> None:
    done = subprocess.run([promtool()[0], *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def expressions() -> list[str]:
    """Every expression of the source."""
    found = [alert["expr"] for alert in SOURCE["alerts"]]
    return found + [asked for board in SOURCE["dashboards"] for panel in board["panels"] for asked in panel["ask"].values()]


def registry() -> dict[str, set[str]]:
    """Names as they are asked for, with their labels."""
    found: dict[str, set[str]] = {}
    for family in Metrics("1").collect():
        labels = set(getattr(family, "_labelnames", ()))
        if family.type == "histogram":
            found |= {f"{family.name}_bucket": labels | {"le"}, f"{family.name}_sum": labels, f"{family.name}_count": labels}
        else:
            found[family.name + ("_total" if family.type == "counter" else "")] = labels
    for family in ProcessCollector(registry=CollectorRegistry()).collect():
        found[family.name + ("_total" if family.type == "counter" else "")] = set()
    return found


def faults(expression: str) -> list[str]:
    """What an expression asks for that the process does not export."""
    known, wrong = registry(), list[str]()
    for name, selector in re.findall(r"\b((?:fleetgate|process)_\w+)(?:\{([^}]*)\})?", expression):
        if name not in known:
            wrong.append(name)
            continue
        wrong += [f"{name}{{{label}}}" for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector) if label not in known[name]]
    labels = set().union(*known.values()) | {"INSTANCE"}
    for group in re.findall(r"\bby \(([^)]*)\)", expression):
        wrong += [f"by ({label})" for label in re.findall(r"\w+", group) if label not in labels]
    return wrong


def test_the_files_are_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert observability.main(["--check"]) == 0, capsys.readouterr().err


def test_a_stale_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(observability, "ROOT", tmp_path)
    assert observability.main(["--check"]) == 1
    assert "observability/grafana/money.json: stale" in capsys.readouterr().err
    assert observability.main([]) == 0
    assert observability.main(["--check"]) == 0
    tmp_path.joinpath("charts/fleetgate/dashboards/old.json").write_text("{}")
    assert observability.main(["--check"]) == 1
    assert "dashboards/old.json" in capsys.readouterr().err


def test_every_expression_asks_for_metrics_and_labels_that_the_process_exports() -> None:
    assert faults('sum by (agnt) (rate(fleetgate_requets_total[5m])) + fleetgate_inflight{pod="a"}') == [
        "fleetgate_requets_total",
        "fleetgate_inflight{pod}",
        "by (agnt)",
    ]
    assert len(expressions()) > 60
    assert {e: faults(e) for e in expressions() if faults(e)} == {}


def test_every_metric_is_on_a_dashboard() -> None:
    asked = " ".join(asked for board in SOURCE["dashboards"] for panel in board["panels"] for asked in panel["ask"].values())
    names = {f.name + ("_total" if f.type == "counter" else "") for f in Metrics("1").collect()}
    assert {name for name in names if not re.search(rf"\b{name}(?:_bucket)?\b", asked)} == set()


@pytest.mark.parametrize("path", sorted((ROOT / "observability" / "grafana").glob("*.json")), ids=lambda p: p.stem)
def test_dashboards_fit_their_grid_and_their_legends(path: Path) -> None:
    board = json.loads(path.read_text(encoding="utf-8"))
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
        for target in panel["targets"]:
            kept = set(re.findall(r"\w+", " ".join(re.findall(r"\bby \(([^)]*)\)", target["expr"]))))
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= kept
            assert all(f'{label}=~"${label}"' in target["expr"] for label in ("job", "instance"))
            assert "@" not in target["expr"] + target["legendFormat"]


@needs_promtool
def test_promtool_takes_the_rules_and_the_configuration() -> None:
    check("check", "rules", str(RULES))
    check("check", "config", str(RULES.with_name("prometheus.yaml")))


def unit_tests() -> dict[str, Any]:
    """promtool's tests: each alert fires with the series that it should, and with others that look alike it does not."""
    tests = []
    for alert in SOURCE["alerts"]:
        for series, fires in ((alert["fires"], True), (alert["quiet"], False)):
            labels = {"job": "fleetgate", "instance": "a"}
            given = [{"series": _with(name, labels), "values": values} for name, values in series.items()]
            count = f'count(ALERTS{{alertname="{alert["name"]}",alertstate="firing"}}) or vector(0)'
            wanted = [{"labels": "{}", "value": 1 if fires else 0}]
            ask = {"expr": count, "eval_time": alert.get("at", "30m"), "exp_samples": wanted}
            tests.append({"name": f"{alert['name']} {fires}", "interval": "1m", "input_series": given, "promql_expr_test": [ask]})
    return {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}


def _with(series: str, labels: dict[str, str]) -> str:
    name, _, inside = series.removesuffix("}").partition("{")
    words = [f'{key}="{value}"' for key, value in labels.items()]
    return f"{name}{{{','.join([inside, *words] if inside else words)}}}"


@needs_promtool
def test_every_alert_fires_when_it_should_and_not_otherwise(tmp_path: Path) -> None:
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump(unit_tests()), encoding="utf-8")
    check("test", "rules", str(file))
