"""When what is old is deleted: by the setting, in steps, and never because a clock jumped."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.app import retention
from proxy.app.retention import DAY_S, Retention
from proxy.engine.ports import StoreError
from proxy.engine.record import Record
from proxy.routing.pairs import Half, Pair
from proxy.stores.pairs import MemoryPairs
from proxy.telemetry import query, rollup
from proxy.telemetry.content import Content, MemoryContents
from proxy.telemetry.ledger import Ledger
from proxy.telemetry.retention import STEP

NOW = 1_800_000_000.0


class World:
    """A house with a ledger of 40 days, a record a day, and pairs; `now` is its clock."""

    def __init__(self, folder: Path, days: int, path: bool = True) -> None:
        self.file, self.now, self.pairs = folder / "l.db", NOW, MemoryPairs()
        self.contents: MemoryContents = MemoryContents()
        self.contents.keep([Content(f"c{until}", NOW - 10, "a", "a/s", "full", until) for until in (NOW - 1, NOW + 1, NOW + 700)])
        ledger = Ledger(self.file)
        for n in reversed(range(40)):
            ledger.record(Record(f"r{n}", NOW - n * DAY_S))
        ledger.stop()
        half = Half("a", "p", "m", 0, 0, "", 1, "text")
        for until in (NOW - 1, NOW + 1, None):
            self.pairs.keep(Pair(NOW - 10, "agent", half, half, until))
        settings = SimpleNamespace(telemetry=SimpleNamespace(retention_days=days), store=SimpleNamespace(path=self.file if path else None))
        clock = SimpleNamespace(now=lambda: self.now)
        self.house: Any = SimpleNamespace(clock=clock, sampler=SimpleNamespace(pairs=self.pairs), started=settings, contents=self.contents)
        house: Any = self.house
        self.retention = Retention(house)

    def look(self, monotonic: float) -> int:
        return asyncio.run(self.retention.look(monotonic))

    def left(self) -> int:
        return len(query.rows(self.file))


def test_records_and_pairs_go_when_their_time_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.app.retention.STEP", 4)
    monkeypatch.setattr("proxy.telemetry.retention.STEP", 4)
    monkeypatch.setattr("proxy.app.retention.REST_S", 0.0)
    world = World(tmp_path, 30)
    assert world.look(0.0) == 9
    assert world.left() == 31
    assert [pair.until for pair in world.pairs.all()] == [None, NOW + 1]
    world.now += 600
    assert world.look(600.0) == 1
    assert [pair.until for pair in world.pairs.all()] == [None]
    assert [world.contents.one(f"c{until}") is not None for until in (NOW - 1, NOW + 1, NOW + 700)] == [False, False, True]


def test_contents_that_cannot_be_deleted_keep_no_record(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Away(MemoryContents):
        def forget(self, now: float) -> int:
            raise StoreError("the contents are away")

    world = World(tmp_path, 30)
    world.house.contents = Away()
    assert (world.look(0.0), world.left()) == (9, 31)
    assert "the contents are away" in caplog.text


def test_what_nobody_had_added_up_is_added_up_before_it_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy server the sums follow the ledger when somebody looks, which may be long after its records are due."""
    monkeypatch.setattr("proxy.app.retention.REST_S", 0.0)
    monkeypatch.setattr("proxy.telemetry.rollup.STEP", 3)  # a step takes so many, and a round has one step

    def summed(file: Path) -> int:
        rollup.follow(file, NOW, 60.0)
        with rollup.reading(file) as db:
            return int(db.execute("SELECT sum(calls) FROM main.totals").fetchone()[0])

    world = World(tmp_path, 30)
    with monkeypatch.context() as short:
        short.setattr("proxy.app.retention.MOST", 2 * STEP)
        assert (world.look(0.0), world.left()) == (0, 40), "another round is needed"
    assert (world.look(0.0), world.left()) == (9, 31)
    assert summed(world.file) == 40
    world.now += 5 * DAY_S
    assert world.look(5 * DAY_S) == 5
    assert summed(world.file) == 40


def test_sums_that_cannot_be_written_keep_no_record(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    world = World(tmp_path, 30)
    rollup.beside(world.file).mkdir()
    assert (world.look(0.0), world.left()) == (9, 31)
    assert "sums may lack them" in caplog.text


@pytest.mark.parametrize(("days", "path"), [(0, True), (30, False)])
def test_nothing_goes_unless_it_is_asked_for(tmp_path: Path, days: int, path: bool) -> None:
    world = World(tmp_path, days, path)
    assert (world.look(0.0), world.left()) == (0, 40)


@pytest.mark.parametrize("jump", [400 * DAY_S, -400 * DAY_S])
def test_a_clock_that_jumps_deletes_nothing(tmp_path: Path, jump: float, caplog: pytest.LogCaptureFixture) -> None:
    world = World(tmp_path, 30)
    world.look(0.0)
    before = world.left()
    world.now += jump
    assert (world.look(600.0), world.left()) == (0, before)
    assert "has jumped" in caplog.text
    assert len(world.pairs.all()) == 2


def test_a_round_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("STEP", 2), ("MOST", 4), ("REST_S", 0.0)):
        monkeypatch.setattr(f"proxy.app.retention.{name}", value)
    monkeypatch.setattr("proxy.telemetry.retention.STEP", 2)
    world = World(tmp_path, 30)
    assert world.look(0.0) == 4
    assert world.look(1.0) == 4


def test_it_runs_on_when_a_store_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    world, looks = World(tmp_path, 30), list[float]()

    async def look(monotonic: float) -> int:
        looks.append(monotonic)
        if len(looks) > 2:
            raise asyncio.CancelledError
        raise StoreError("the file is locked")

    monkeypatch.setattr(world.retention, "look", look)
    monkeypatch.setattr(retention, "EVERY_S", 0.0)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(world.retention.run())
    assert caplog.text.count("the file is locked") == 2
