"""The chart's README names every value with its default, and the schema knows exactly the values that there are."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from helm_chart import CHART

from proxy.settings.fields import keys
from proxy.settings.kinds import Section
from proxy.settings.sections import Settings
from proxy.settings.upstreams import ModelRule, Provider

script = importlib.import_module("scripts.chart_readme")  # by name: mypy knows scripts as files, not as a package
TEXT = (CHART / "values.yaml").read_text(encoding="utf-8")
SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))


def test_the_readme_is_what_the_script_writes() -> None:
    assert script.main(["--check"]) == 0, "run scripts/chart_readme.py"


def test_a_stale_readme_would_be_noticed() -> None:
    old = (CHART / "README.md").read_text(encoding="utf-8")
    assert script.readme(old, TEXT.replace("replicas: 1\n", "replicas: 2\n")) != old
    with pytest.raises(ValueError, match=r"values.yaml:3: naked has no comment"):
        list(script.rows("# -- Words.\nfine: 1\nnaked: 2\n"))


def _paths(values: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        yield f"{above}{key}", value
        if isinstance(value, dict):
            yield from _paths(value, f"{above}{key}.")


def test_the_table_holds_every_value_and_its_default() -> None:
    values = dict(_paths(yaml.safe_load(TEXT)))
    table = {name: json.loads(default) for name, default, _ in script.rows(TEXT)}
    assert len(table) > 100
    assert {name: values[name] for name in table} == table
    inner = {name for name in values if not any(name.startswith(f"{row}.") for row in table)}
    assert {name for name in inner if not any(row.startswith(f"{name}.") for row in table)} == set(table)


def test_the_schema_knows_every_value_and_nothing_else() -> None:
    def known(schema: dict[str, Any], values: Any, path: str) -> Iterator[str]:
        properties = schema.get("properties")
        if properties is None or not isinstance(values, dict) or not values:
            return
        assert schema["additionalProperties"] is False, path
        for key in properties.keys() ^ values.keys():
            yield f"{path}{key}"
        for key in properties.keys() & values.keys():
            yield from known(properties[key], values[key], f"{path}{key}.")

    odd = set(known(SCHEMA, yaml.safe_load(TEXT), ""))
    optional = {"global"} | {
        name for name in odd if name.startswith(("probes.",)) or ".resources." in name or name.startswith("resources.")
    }
    assert odd == optional


def _missing(of: type[Any], schema: dict[str, Any], above: str) -> Iterator[str]:
    """Yield settings that the schema does not have, and what it has beside them."""
    settings, known = keys(of), schema["properties"]
    yield from (f"{above}{key}" for key in settings.keys() ^ known.keys())
    for key in settings.keys() & known.keys():
        kind = settings[key].metadata["kind"]
        if isinstance(kind, Section) and "properties" in known[key]:
            yield from _missing(kind.of, known[key], f"{above}{key}.")


def test_a_configuration_may_hold_every_setting() -> None:
    """A new setting belongs into charts/fleetgate/values.schema.json, unless the chart sets it itself."""
    config = SCHEMA["properties"]["config"]
    of_chart = {"agents", "policies", "budgets", "store", "auth.keys", "policy.engine"}
    of_chart |= {f"listen.{key}" for key in ("host", "port", "admin_host", "admin_port", "workers")}
    assert set(_missing(Settings, config, "")) - of_chart == set()
    assert set(_missing(Provider, config["properties"]["providers"]["additionalProperties"], "providers.")) == set()
    assert set(_missing(ModelRule, SCHEMA["properties"]["models"]["items"], "models.")) == {"models.match"}
