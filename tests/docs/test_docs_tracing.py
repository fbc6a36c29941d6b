"""docs/tracing.md shows the table of attributes as the code has it, and recipes that `check` would take."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from proxy.settings.load import load_settings
from proxy.telemetry.semconv import table
from proxy.telemetry.spans import DOES

PATH = Path(__file__).parents[2] / "docs" / "tracing.md"
TEXT = PATH.read_text()
RECIPES = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
REST = """
providers: {openai: {protocols: [openai], base_url: "https://api.openai.com/v1"}}
models: {"gpt-*": {provider: openai}}
"""


def test_the_table_is_the_codes() -> None:
    assert TEXT.partition("<!-- table -->\n")[2].partition("\n<!-- /table -->")[0] == table()


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: re.findall(r"//([^/:]+)", recipe)[0])
def test_each_recipe_is_taken(recipe: str, tmp_path: Path) -> None:
    path = tmp_path / "fleetgate.yaml"
    path.write_text(recipe + REST)
    (tmp_path / "AGENTS.md").write_text("")
    for folder in ("policies", "budgets"):
        (tmp_path / folder).mkdir()
    names = dict.fromkeys(re.findall(r"env:(\w+)", recipe), "Basic c2VjcmV0")
    telemetry = load_settings(path, names).telemetry
    assert telemetry.otlp_endpoint == yaml.safe_load(recipe)["telemetry"]["otlp_endpoint"]
    assert len(telemetry.otlp_headers) == len(yaml.safe_load(recipe)["telemetry"].get("otlp_headers", {}))


def test_the_recipes_are_there() -> None:
    for name in ("Phoenix", "Jaeger", "Grafana Tempo", "New Relic", "LangSmith", "Langfuse", "Grafana Cloud"):
        assert f"[{name}](https://" in TEXT


def test_each_mode_of_a_guard_has_a_verdict() -> None:
    assert set(DOES) == {"warn", "redact", "block"}
