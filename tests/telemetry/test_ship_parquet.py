"""Parquet files as the target, read back with pyarrow: whole files only, each record once, and folders that cannot be written."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from record_samples import SERVED, served
from redis_server import needs_redis, shared_url
from shipping import add, all_of, ids, taken_by_the_dead, waiting

from proxy.engine.ports import StoreError
from proxy.stores.redis_blocking import BlockingLink
from proxy.stores.redis_place import place_of
from proxy.telemetry import schema
from proxy.telemetry.ship import Shipment
from proxy.telemetry.ship_parquet import SCHEMA, ParquetTarget
from proxy.telemetry.stream import Entry, packed

pytestmark = needs_redis
DAY_MS = 86_400_000


@pytest.fixture
def link() -> Iterator[BlockingLink]:
    link = BlockingLink(place_of(shared_url()))
    yield link
    link.close()


def rows(folder: Path) -> list[dict[str, Any]]:
    """What any reader of the folder gets."""
    found: list[dict[str, Any]] = ds.dataset(folder, format="parquet", partitioning="hive").to_table().to_pylist()
    return sorted(found, key=lambda row: [int(part) for part in row["stream_id"].split("-")])


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def entries(*at: str) -> list[Entry]:
    return [(when.encode(), packed(served(i, id=f"id-{when}")), False) for i, when in enumerate(at)]


def test_records_are_read_back_as_they_were(link: BlockingLink, tmp_path: Path) -> None:
    record = served(5, id="r5", time=1_795_244_760.5, message="a\0b", difficulty=None)
    added = add(link, SERVED, record)
    shipment = Shipment(link, ParquetTarget(tmp_path / "out", "blue"))
    assert all_of(shipment) == (2, 2)
    shipment.close()
    assert waiting(link) == 0
    day = datetime.fromtimestamp(int(added[0].partition("-")[0]) / 1000, UTC).date().isoformat()
    assert files(tmp_path / "out") == [f"tenant=blue/day={day}/{added[0]}_{added[1]}.parquet"]
    for row, known, at in zip(rows(tmp_path / "out"), (SERVED, record), added, strict=True):
        assert (str(row.pop("tenant")), str(row.pop("day")), row.pop("stream_id")) == ("blue", day, at)
        assert row.pop("time") == datetime.fromtimestamp(known.time, UTC)
        assert row == {n: v for n, v in zip(schema.COLUMNS, schema.to_row(known), strict=True) if n != "time"}
    assert json.loads(rows(tmp_path / "out")[0]["findings"])[0][0] == "secrets/aws-key"
    assert pq.read_schema(next((tmp_path / "out").rglob("*.parquet"))).equals(SCHEMA)


def test_a_step_done_again_writes_nothing_twice_however_it_is_cut(
    link: BlockingLink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    added = add(link, *ids(20))
    shipment = Shipment(link, ParquetTarget(tmp_path, "blue"))
    killed = ParquetTarget(tmp_path, "blue")
    assert killed.write(taken_by_the_dead(link, 3, "a")) == 3, "written, and never acknowledged"
    taken_by_the_dead(link, 4, "b")
    assert killed.write(taken_by_the_dead(link, 5, "c")) == 5
    before = files(tmp_path)
    assert all_of(shipment) == (8, 8)
    monkeypatch.setattr("proxy.telemetry.ship.IDLE_MS", 0)
    assert all_of(shipment) == (12, 4)
    shipment.close()
    assert [row["stream_id"] for row in rows(tmp_path)] == added
    assert waiting(link) == 0
    again = ParquetTarget(tmp_path, "blue")
    batch = entries(*added)
    assert again.write(batch) == 0
    assert set(before) < set(files(tmp_path))
    assert len(files(tmp_path)) == 4


def test_a_file_is_named_by_its_entries_and_written_over(tmp_path: Path) -> None:
    batch = entries("1795244760000-0", "1795244760000-1", "1795244761000-0")
    for _ in range(2):
        target = ParquetTarget(tmp_path, "blue")
        target.write(batch)
    assert files(tmp_path) == ["tenant=blue/day=2026-11-21/1795244760000-0_1795244761000-0.parquet"]


def test_a_day_has_its_own_folder_and_a_record_that_was_sent_twice_is_one(tmp_path: Path) -> None:
    first = 1_795_305_599_999
    batch = entries(f"{first}-0", f"{first + 1}-0", f"{first + DAY_MS}-0")
    batch.append((f"{first + DAY_MS}-1".encode(), batch[2][1], False))
    target = ParquetTarget(tmp_path, "blue")
    assert target.write(batch) == 3
    target.close()
    assert [name.split("/")[1] for name in files(tmp_path)] == ["day=2026-11-21", "day=2026-11-22"]
    assert len(rows(tmp_path)) == 3


def test_a_shipper_that_was_held_up_writes_nothing(tmp_path: Path) -> None:
    times = iter((0.0, 31.0))
    target = ParquetTarget(tmp_path, "blue", clock=lambda: next(times))
    with pytest.raises(StoreError, match="others may have taken over; nothing was written"):
        target.write(entries("1795244760000-0"))
    assert files(tmp_path) == []


@contextmanager
def small_files(most: int) -> Iterator[None]:
    """Files of this process end at `most` bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_the_records_in_the_stream_and_no_half_file(link: BlockingLink, tmp_path: Path) -> None:
    add(link, *ids(50))
    shipment = Shipment(link, ParquetTarget(tmp_path, "blue"))
    with small_files(1000), pytest.raises(StoreError, match="the records cannot be written: File too large"):
        shipment.step()
    assert files(tmp_path) == []
    assert waiting(link) == 50
    assert shipment.step() == (50, 50)
    assert len(rows(tmp_path)) == 50
    shipment.close()


def test_a_folder_that_cannot_be_written_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"parquet:.*/file: the folder cannot be written: Not a directory"):
        ParquetTarget(tmp_path / "file", "blue")
    with small_files(0), pytest.raises(StoreError, match="File too large"):
        ParquetTarget(tmp_path / "full", "blue")


def test_what_a_dead_shipper_had_begun_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "tenant=blue" / "day=2026-11-21"
    folder.mkdir(parents=True)
    for name, age_s in ((".a.parquet.1.tmp", 7200), (".b.parquet.2.tmp", 0)):
        (folder / name).write_bytes(b"PAR1")
        stamp = (folder / name).stat().st_mtime - age_s
        __import__("os").utime(folder / name, (stamp, stamp))
    ParquetTarget(tmp_path, "blue")
    assert [p.name for p in folder.iterdir()] == [".b.parquet.2.tmp"]
    target = ParquetTarget(tmp_path, "blue")
    target.write(entries("1795244760000-0"))
    assert len(rows(tmp_path)) == 1, "readers do not see what is under way"
