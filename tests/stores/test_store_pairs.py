"""Pairs are kept, the last of them, in memory and in the file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from proxy.engine.ports import StoreError
from proxy.routing.pairs import MOST_PAIRS, Half, Pair
from proxy.stores.pairs import MemoryPairs, SqlitePairs


def pair(number: int) -> Pair:
    return Pair(
        float(number), "a", Half(f"l{number}", "here", "small", 0, 5, "stop", 3, "yes"), Half(f"b{number}", "cloud", "big", 7, 9, "", 2)
    )


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_the_newest_come_first_and_the_oldest_go(kind: str, tmp_path: Path) -> None:
    pairs = MemoryPairs() if kind == "memory" else SqlitePairs(tmp_path / "f.db")
    assert list(pairs.all()) == []
    for number in range(MOST_PAIRS + 3):
        pairs.keep(pair(number))
    found = pairs.all()
    assert [int(one.time) for one in found] == list(range(MOST_PAIRS + 2, 2, -1))
    assert found[0] == pair(MOST_PAIRS + 2)
    assert found[0].as_json()["asked"]["text"] is None
    if isinstance(pairs, SqlitePairs):
        assert SqlitePairs(tmp_path / "f.db").all() == found, "another process sees them"


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_those_of_an_agent_or_of_some_exchanges_are_erased(kind: str, tmp_path: Path) -> None:
    pairs = MemoryPairs() if kind == "memory" else SqlitePairs(tmp_path / "f.db")
    assert pairs.erase("a", ()) == 0
    for number in range(4):
        pairs.keep(replace(pair(number), agent="b" if number == 3 else "a"))
    assert pairs.erase("", ()) == 0
    assert pairs.erase("", {"l1", "b2", "x"}) == 2
    assert pairs.erase("b", ()) == 1
    assert [one.local.id for one in pairs.all()] == ["l0"]


def test_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "f.db").write_text("no database at all, whatever its name" * 100)
    with pytest.raises(StoreError, match="cannot be kept"):
        SqlitePairs(tmp_path / "f.db").keep(pair(1))
    with pytest.raises(StoreError, match="cannot be deleted"):
        SqlitePairs(tmp_path / "f.db").erase("a", ())
    with pytest.raises(StoreError, match="cannot be read"):
        SqlitePairs(tmp_path / "f.db").all()


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_what_may_be_kept_no_longer_is_deleted(kind: str, tmp_path: Path) -> None:
    pairs = MemoryPairs() if kind == "memory" else SqlitePairs(tmp_path / "f.db")
    assert pairs.forget(1.0) == 0
    for number, until in enumerate((10.0, None, 20.0)):
        pairs.keep(replace(pair(number), until=until))
    assert pairs.forget(9.9) == 0
    assert pairs.forget(10.0) == 1
    assert [one.until for one in pairs.all()] == [20.0, None]
    if isinstance(pairs, SqlitePairs):
        (tmp_path / "g.db").write_text("no database at all, whatever its name" * 100)
        with pytest.raises(StoreError, match="cannot be deleted"):
            SqlitePairs(tmp_path / "g.db").forget(1.0)
