"""docs/operations.md: each row of the failure table names a test that exists, and what it says is there is there."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from proxy.model import Reason
from proxy.telemetry.metrics import Metrics

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
TABLE = TEXT.split("## When a part is away", 1)[1].split("\n## ", 1)[0]
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in TABLE.splitlines() if line.startswith("| ")][1:]
AWAY = (
    *(
        "replica is killed",
        "Redis restarts",
        "Sentinel failover",
        "Redis hangs",
        "cut off from Redis",
        "wrong password",
        "read-only replica",
    ),
    *("OPA hangs", "OPA dies", "OPA is slow", "OPA serves other policies", "disk is full", "provider is down", "local server is down"),
    *("configuration is broken", "webhook", "JWKS", "differ by 10 s", "Two releases"),
)


@cache
def suites() -> dict[str, Path]:
    return {path.name: path for path in (ROOT / "tests").rglob("test_*.py")}


def missing(cell: str) -> list[str]:
    """What of the tests that a cell names is not there."""
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", cell)
    return [f"{file}::{name}" for file, name in named if file not in suites() or f"def {name}(" not in suites()[file].read_text()] or (
        [] if named else ["no test"]
    )


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_each_row_names_a_test_that_is_there(row: list[str]) -> None:
    assert len(row) == 7, "seven columns"
    assert missing(row[-1]) == []


def test_the_check_can_fail() -> None:
    assert missing("`test_docs_operations.py::test_nowhere`") == ["test_docs_operations.py::test_nowhere"]
    assert missing("`test_nowhere.py::test_the_check_can_fail`") != []
    assert missing("by hand") == ["no test"]


def test_every_part_has_its_row() -> None:
    told = "\n".join(row[0] for row in ROWS)
    assert [part for part in AWAY if part not in told] == []


def test_reasons_metrics_and_commands_are_real() -> None:
    families = {f.name + ("_total" if f.type == "counter" else "") for f in Metrics("0.0.0").collect()}
    assert set(re.findall(r"`(fleetgate_\w+)`", TEXT)) <= families
    assert {reason for _, reason in re.findall(r"(\b[45]\d\d) `(\w+)`", TEXT)} <= {str(reason) for reason in Reason}
    paths = re.findall(r"`(tests/[\w/]+\.py)`", TEXT)
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []
