"""Dashboards and alert rules, made of observability/source.yaml for those who run Prometheus and Grafana themselves and for the chart.

scripts/observability.py            writes the files anew
scripts/observability.py --check    exits with 1 where one would change

Expressions get the selectors of the place where they are used: `job` and `instance` variables of a dashboard, `namespace` and `service` in
the chart, none in plain alert rules. In the chart's alerts the selectors and the thresholds stay placeholders (`@PLACE@`, `@NAME@`), which
the template fills in from its release and its values.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "observability" / "source.yaml"
MADE = "# Made by scripts/observability.py of observability/source.yaml: edit that.\n"
METRIC = re.compile(r"\b((?:fleetgate|process)_\w+)(?:\{([^}]*)\})?")
PLACEHOLDER = re.compile(r"@(\w+)@")
SHAPES = {
    "stat": ("stat", 4, 4),
    "bars": ("bargauge", 12, 8),
    "lines": ("timeseries", 12, 8),
    "table": ("table", 12, 8),
    "heat": ("heatmap", 12, 8),
}
WIDTH = 24
PLAIN, CHART = ("job", "instance"), ("namespace", "service")
SCRAPE = {
    "global": {"scrape_interval": "15s", "evaluation_interval": "15s"},
    "rule_files": ["alerts.yaml"],
    "scrape_configs": [{"job_name": "fleetgate", "static_configs": [{"targets": ["127.0.0.1:9090"]}]}],
}


def placed(expression: str, selector: str) -> str:
    """Return `expression` with `selector` added to each of its metrics."""

    def one(match: re.Match[str]) -> str:
        inside = ",".join(part for part in (selector, match[2] or "") if part)
        return f"{match[1]}{{{inside}}}" if inside else match[1]

    return METRIC.sub(one, expression)


def filled(text: str, values: Mapping[str, Any]) -> str:
    """Return `text` with the placeholders that `values` names filled in."""
    return PLACEHOLDER.sub(lambda m: str(values.get(m[1], m[0])), text)


def alert_rules(source: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rules as Prometheus reads them."""
    values = {**source["thresholds"], "INSTANCE": "instance"}
    rules = [
        {
            "alert": alert["name"],
            "expr": filled(alert["expr"], values),
            "for": alert["for"],
            "labels": {"severity": alert["severity"]},
            "annotations": {"summary": filled(alert["summary"], values)},
        }
        for alert in source["alerts"]
    ]
    return {"groups": [{"name": "fleetgate", "rules": rules}]}


def chart_alerts(source: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the alerts as the chart's template reads them."""
    values = {"INSTANCE": "pod"}
    return [
        {
            "name": alert["name"],
            "severity": alert["severity"],
            "for": alert["for"],
            "expr": filled(placed(alert["expr"], "@PLACE@"), values),
            "summary": filled(alert["summary"], values),
        }
        for alert in source["alerts"]
    ]


def dashboard(board: Mapping[str, Any], place: tuple[str, str]) -> dict[str, Any]:
    """Return one dashboard as Grafana reads it, with variables for the labels of `place`."""
    panels, x, y, row = list[dict[str, Any]](), 0, 0, 0
    for number, panel in enumerate(board["panels"], 1):
        kind, width, height = SHAPES[panel.get("show", "lines")]
        if x + width > WIDTH:
            x, y, row = 0, y + row, 0
        panels.append(_panel(panel, number, place) | {"type": kind, "gridPos": {"x": x, "y": y, "w": width, "h": height}})
        x, row = x + width, height
    first, second = place
    whole = f"label_values(fleetgate_build_info, {first})"
    part = f'label_values(fleetgate_build_info{{{first}=~"${first}"}}, {second})'
    variables = [{"name": "datasource", "type": "datasource", "query": "prometheus", "current": {}}]
    variables += [_variable(first, whole), _variable(second, part)]
    return {
        "uid": board["uid"],
        "title": board["title"],
        "tags": ["fleetgate"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": variables},
        "panels": panels,
        "links": [{"title": "Fleetgate", "type": "dashboards", "tags": ["fleetgate"], "asDropdown": True}],
        "annotations": {"list": []},
    }


SOURCE_OF_DATA = {"type": "prometheus", "uid": "${datasource}"}


def _panel(panel: Mapping[str, Any], number: int, place: tuple[str, str]) -> dict[str, Any]:
    instance = "pod" if place == CHART else "instance"
    selector = ",".join(f'{label}=~"${label}"' for label in place)
    heat, flat = panel.get("show") == "heat", panel.get("show") in ("bars", "table", "stat")
    targets = []
    for letter, (legend, expression) in zip("ABCDEF", panel["ask"].items(), strict=False):
        target: dict[str, Any] = {"refId": letter, "datasource": SOURCE_OF_DATA, "legendFormat": filled(legend, {"INSTANCE": instance})}
        target["expr"] = placed(filled(expression, {"INSTANCE": instance}), selector)
        target |= {"format": "heatmap", "exemplar": True} if heat else {"instant": True} if flat else {}
        targets.append(target)
    return {
        "id": number,
        "title": panel["title"],
        "description": panel.get("about", ""),
        "datasource": SOURCE_OF_DATA,
        "fieldConfig": {"defaults": {"unit": panel["unit"]}, "overrides": []},
        "options": {},
        "targets": targets,
    }


def _variable(name: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": "query",
        "datasource": SOURCE_OF_DATA,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {},
    }


def files(source: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Yield each file that is made of `source`, with its text."""

    def as_yaml(value: Any) -> str:
        return MADE + yaml.safe_dump(value, sort_keys=False, width=140, allow_unicode=True)

    yield ROOT / "observability" / "prometheus" / "alerts.yaml", as_yaml(alert_rules(source))
    yield ROOT / "observability" / "prometheus" / "prometheus.yaml", as_yaml(SCRAPE)
    yield ROOT / "charts" / "fleetgate" / "alerts.yaml", as_yaml(chart_alerts(source))
    for board in source["dashboards"]:
        for folder, place in ((ROOT / "observability" / "grafana", PLAIN), (ROOT / "charts" / "fleetgate" / "dashboards", CHART)):
            yield folder / f"{board['name']}.json", json.dumps(dashboard(board, place), indent=1) + "\n"


def main(arguments: list[str]) -> int:
    """Write the files, or say which are stale."""
    made = dict(files(yaml.safe_load(SOURCE.read_text(encoding="utf-8"))))
    boards = {path.parent for path in made if path.suffix == ".json"}
    extra = [path for folder in boards for path in folder.glob("*.json") if path not in made]
    stale = [path for path, text in made.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    if arguments == ["--check"]:
        for path in (*stale, *extra):
            print(f"{path.relative_to(ROOT)}: stale, run scripts/observability.py", file=sys.stderr)  # noqa: T201
        return 1 if stale or extra else 0
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(made[path], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
