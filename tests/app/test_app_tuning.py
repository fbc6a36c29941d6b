"""Process settings are applied where they exist and harmless elsewhere."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator

import pytest

from proxy.app import tuning


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_the_collector_runs_seldom_and_start_up_is_set_aside(monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    tuning.at_start()
    tuning.when_ready()
    assert gc.get_threshold()[0] == tuning.YOUNG_OBJECTS
    assert gc.get_freeze_count() > 1000


def test_a_c_library_without_mallopt_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    monkeypatch.setattr(sys, "platform", "linux")
    tuning.at_start()
