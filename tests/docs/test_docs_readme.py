"""README.md names every command of the command line, and ARCHITECTURE.md every stage that requests pass."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import pytest

import proxy.pipeline  # every stage is imported there
from proxy.cli import parser
from proxy.engine.stage import Stage

ROOT = Path(__file__).parents[2]


def _commands(grammar: argparse.ArgumentParser, prefix: str) -> Iterator[str]:
    """Yield `fleetgate serve`, `fleetgate keys create` and so on: every leaf of the grammar."""
    groups = [action for action in grammar._actions if isinstance(action, argparse._SubParsersAction)]
    for group in groups:
        for name, below in group.choices.items():
            yield from _commands(below, f"{prefix} {name}")
    if not groups:
        yield prefix


def _stages(kind: type[Stage]) -> Iterator[type[Stage]]:
    for below in kind.__subclasses__():
        if below.__module__.startswith("proxy."):
            yield below
        yield from _stages(below)


COMMANDS = sorted(_commands(parser(), "fleetgate"))
STAGES = sorted({stage.name for stage in _stages(Stage)})


def test_the_search_finds_some() -> None:
    assert "fleetgate serve" in COMMANDS
    assert "identity" in STAGES


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_is_in_the_readme(command: str) -> None:
    assert command in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_is_in_the_architecture(stage: str) -> None:
    assert f"`{stage}`" in (ROOT / "ARCHITECTURE.md").read_text()


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_has_its_reason_in_the_pipeline(stage: str) -> None:
    assert f"\n{stage} " in (proxy.pipeline.__doc__ or "")
