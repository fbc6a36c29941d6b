"""Process settings are applied where they exist and harmless elsewhere."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from proxy.app import tuning


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


class Library:
    """A C library that remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[int, ...]] = []

    def mallopt(self, option: int, value: int) -> int:
        self.told.append((option, value))
        return 1

    def malloc_trim(self, pad: int) -> int:
        self.told.append((pad,))
        return 1


def test_the_collector_runs_seldom_and_start_up_is_set_aside() -> None:
    tuning.at_start()
    tuning.when_ready()
    assert gc.get_threshold()[0] == tuning.YOUNG_OBJECTS
    assert gc.get_freeze_count() > 1000


def test_a_c_library_without_mallopt_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    tuning.at_start()
    tuning.when_ready()


def test_large_blocks_are_mapped_apart_until_everything_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    library, apart = Library(), -3
    monkeypatch.setattr("ctypes.CDLL", lambda _: library)
    tuning.at_start()
    assert (apart, tuning.APART_BYTES) in library.told
    library.told.clear()
    tuning.when_ready()
    assert library.told == [(apart, tuning.BODY_BYTES), (0,)]
