"""docs/http.md names every route and every header of ours that the code knows, and no route that it does not."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from proxy.wire.registry import PATTERNS, ROUTES

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "http.md").read_text()
HEADER = re.compile(r"x-fleetgate-[a-z]+(-[a-z]+)*")
OWN = ("GET", "/fleetgate/v1/me")


def _headers() -> list[str]:
    """Return the headers that any string of the code is: whole literals only, so that prose and prefixes do not count."""
    trees = (ast.parse(path.read_text()) for path in (ROOT / "proxy").rglob("*.py"))
    words = {node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return sorted(word for word in words if HEADER.fullmatch(word))


def test_the_search_finds_headers() -> None:
    assert {"x-fleetgate-request-id", "x-fleetgate-session", "x-fleetgate-agent"} <= set(_headers())


@pytest.mark.parametrize("header", _headers())
def test_each_header_is_documented(header: str) -> None:
    assert f"| `{header}` |" in TEXT


def test_the_table_of_paths_is_the_table_of_routes() -> None:
    documented = set(re.findall(r"^\| ([A-Z]+) \| `(/[^`]+)` \|", TEXT, re.MULTILINE))
    assert documented == {*ROUTES, *PATTERNS, OWN}
