"""Parquet files as the target of a shipment: one file a step in `DIR/tenant=T/day=D/FIRST_LAST.parquet`, by the ids of the stream.

A file is written beside its place, brought to the disk and renamed, so that readers see whole files only, and a step that is done again
writes the same file. A step that took over what a dead shipper left may be cut differently than that one's was, so entries that a file
holds already are left out. A shipper that was held up for so long that others may have taken over what it holds writes nothing.

`day` is the UTC day on which records were recorded. It fails with StoreError: the folder cannot be written (read-only, a full disk); what
was begun is removed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from proxy.engine.ports import StoreError
from proxy.telemetry import schema
from proxy.telemetry.ship import IDLE_MS
from proxy.telemetry.stream import Entry, Row, row_of

STREAM_ID = "stream_id"
_ABANDONED_S = 3600.0
_TYPES: dict[str, Any] = {"str": pa.string(), "int": pa.int64(), "int | None": pa.int64(), "bool": pa.bool_()}
_TYPES |= {"float": pa.float64(), "float | None": pa.float64()}
_TYPES["time"] = pa.timestamp("us", tz="UTC")


def _field(name: str, kind: str) -> Any:
    return pa.field(name, _TYPES["time"] if name == "time" else _TYPES.get(kind, pa.string()), nullable=kind.endswith("None"))


SCHEMA = pa.schema([pa.field(STREAM_ID, pa.string(), nullable=False), *(_field(name, kind) for name, kind in schema.KINDS.items())])
_TIME = schema.COLUMNS.index("time")
_LATEST_S = 253_402_300_799.0
"""The end of the year 9999."""


class ParquetTarget:
    """Files below `folder` for the records of `tenant`."""

    most, pause_s = 5000, 60.0

    def __init__(self, folder: Path, tenant: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Make the folder, and see whether it can be written; raises StoreError."""
        self.name = f"parquet:{folder.absolute()}"
        self._folder, self._clock = folder / f"tenant={tenant}", clock
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._probe()
        except OSError as e:
            raise StoreError(f"{self.name}: the folder cannot be written: {e.strerror or e}") from None

    def write(self, entries: list[Entry]) -> int:
        """See `Target.write`."""
        begun = self._clock()
        try:
            days: dict[str, list[tuple[str, Row]]] = {}
            known = self._known(entries)
            for entry in entries:
                row, at = row_of(entry), entry[0].decode()
                if row is not None and at not in known:
                    days.setdefault(_day(at), []).append((at, row))
            return sum(self._file(day, rows, begun) for day, rows in days.items())
        except (OSError, pa.ArrowException) as e:
            raise StoreError(f"{self.name}: the records cannot be written: {getattr(e, 'strerror', None) or e}") from None

    def close(self) -> None:
        """Nothing is open between steps."""

    def _probe(self) -> None:
        """Write, and remove, and remove what dead shippers had begun."""
        probe = self._folder / f".probe.{os.getpid()}.tmp"
        probe.write_bytes(b"-")
        probe.unlink()
        now = time.time()
        for begun in self._folder.glob("**/.*.tmp"):
            if now - begun.stat().st_mtime > _ABANDONED_S:
                begun.unlink(missing_ok=True)

    def _file(self, day: str, rows: Sequence[tuple[str, Row]], begun: float) -> int:
        found: dict[str, tuple[str, Row]] = {}
        for at, row in rows:
            found.setdefault(row[0], (at, row))  # a record that was sent twice
        data = _packed(list(found.values()))
        folder = self._folder / f"day={day}"
        folder.mkdir(exist_ok=True)
        place = folder / f"{rows[0][0]}_{rows[-1][0]}.parquet"
        beside = folder / f".{place.name}.{os.getpid()}.tmp"
        try:
            with beside.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if self._clock() - begun > IDLE_MS / 2000:
                raise StoreError(f"{self.name}: writing took so long that others may have taken over; nothing was written")
            beside.rename(place)
        finally:
            beside.unlink(missing_ok=True)
        _sync(folder)
        return len(found)

    def _known(self, entries: Sequence[Entry]) -> frozenset[str]:
        """Return which of `entries` stand in files already."""
        ids = {entry[0].decode() for entry in entries}
        found: set[str] = set()
        for day in {_day(at) for at in ids}:
            wanted = [_parts(at) for at in ids if _day(at) == day]
            low, high = min(wanted), max(wanted)
            for path in (self._folder / f"day={day}").glob("*_*.parquet"):
                first, _, last = path.stem.partition("_")
                if _parts(first) <= high and low <= _parts(last):
                    found.update(ids.intersection(pq.read_table(path, columns=[STREAM_ID], partitioning=None)[STREAM_ID].to_pylist()))
        return frozenset(found)


def _packed(rows: Sequence[tuple[str, Row]]) -> Any:
    columns: list[list[Any]] = [[at for at, _ in rows], *([row[i] for _, row in rows] for i in range(len(schema.COLUMNS)))]
    columns[1 + _TIME] = [_moment(value) for value in columns[1 + _TIME]]
    arrays = [pa.array(values, type=field.type) for values, field in zip(columns, SCHEMA, strict=True)]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_arrays(arrays, schema=SCHEMA), sink, compression="zstd")
    return sink.getvalue()


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(min(max(seconds, 0.0), _LATEST_S), UTC)


def _day(at: str) -> str:
    return _moment(_parts(at)[0] / 1000).date().isoformat()


def _parts(at: str) -> tuple[int, int]:
    ms, _, n = at.partition("-")
    return int(ms), int(n)


def _sync(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
