"""The matrix on aiohttp's client: every outcome, whole and streamed, in a few rows each, so that all rows have their turn.

The whole of it: `TEST_TRANSPORT=aiohttp python -m pytest tests/conformance`.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from matrix import cells
from outcomes import Cell
from playing import play
from test_conformance import runner
from world import World

from proxy.upstream.steady import SteadyTransport
from proxy.upstream.transport import AioTransport

__all__ = ["runner"]
EACH = 2
"""Rows for each outcome and mode."""


def some() -> list[Cell]:
    """Return the chosen cells: of each outcome and mode those whose rows had their turn least often."""
    groups: dict[tuple[str, bool], list[Cell]] = {}
    for cell in cells():
        groups.setdefault((cell.outcome.name, cell.stream), []).append(cell)
    turns: Counter[str] = Counter()
    found = []
    for group in groups.values():
        chosen = sorted(group, key=lambda cell: turns[cell.row.name])[:EACH]
        turns.update(cell.row.name for cell in chosen)
        found += chosen
    return found


@pytest.fixture(scope="module")
def world(runner: asyncio.Runner) -> Iterator[World]:
    """The proxy and its provider, with aiohttp's client between them."""
    opened = World.open("aiohttp")
    yield runner.run(opened.__aenter__())
    runner.run(opened.__aexit__(None, None, None))


@pytest.mark.parametrize("cell", some(), ids=str)
def test_a_cell_on_aiohttps_client(runner: asyncio.Runner, world: World, cell: Cell) -> None:
    runner.run(play(world, cell))


def test_what_is_tested_is_what_is_said(world: World) -> None:
    assert isinstance(world.house.runtime.transport, SteadyTransport)
    assert isinstance(world.house.runtime.transport.inner, AioTransport)
    assert {cell.row.name for cell in some()} == {cell.row.name for cell in cells()}
    assert {(cell.outcome.name, cell.stream) for cell in some()} == {(cell.outcome.name, cell.stream) for cell in cells()}
