"""docs/metrics.md names every metric that the process exports, with its type and labels, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proxy.telemetry.metrics import Metrics

TEXT = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
FAMILIES = {f.name + ("_total" if f.type == "counter" else ""): f for f in Metrics("0.0.0").collect()}
ROWS = dict(re.findall(r"^\| `(fleetgate_[a-z_]+)` \| (\w+) \|", TEXT, re.MULTILINE))


@pytest.mark.parametrize("name", FAMILIES)
def test_each_metric_has_its_row_and_type(name: str) -> None:
    assert ROWS.get(name) == FAMILIES[name].type


def test_no_row_names_a_metric_that_is_not_there() -> None:
    assert set(ROWS) == set(FAMILIES)
