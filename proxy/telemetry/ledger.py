"""The ledger: every record, appended and never changed, in the store's SQLite file or in memory.

The event loop makes each record a row, while what it is made of is in the processor's cache, and appends that to a bounded queue. One
thread with its own connection takes what has gathered within a twentieth of a second, or in a third of one where they come by the hundred,
and writes it in statements of up to 128 rows; a statement is one transaction and one call into SQLite, so that neither the lock on the file
nor the interpreter is held while the other is waited for.

How it fails: a file that cannot be opened, or was written by a newer release, stops the start (`StoreError`). A write that fails is
tried again until it works; meanwhile the queue grows to its bound, and from there on new records are lost, loudly: a log line a minute
and the metric `fleetgate_ledger_lost_total`. A record that SQLite refuses for what is in it is lost alone. `close` writes what is queued.
A process that is killed loses what was queued, at most the last half second while writes work; of those that cost something
the store still knows what (`first`, see `proxy.stores.schema.RECORDED`), so that a sweep makes up for them. A machine that loses power may
lose the last transactions too (`synchronous=NORMAL`). What was written before stays whole in both cases.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from proxy.engine.ports import StoreError
from proxy.engine.record import Record
from proxy.telemetry import charges, query, schema
from proxy.telemetry.copy import Copy
from proxy.telemetry.query import ALL, By, Filter, Group

log = logging.getLogger("fleetgate.ledger")
_GATHER_S, _LONGER_S = 0.05, 0.3
_MANY = 32
"""Records that came within `_GATHER_S` when it pays to let more come; fewer than these are left for the next round."""
_MOST = 128
_SIZES = tuple(sorted((s for n in range(9) for s in (1 << n, 3 << n) if s <= _MOST), reverse=True))
"""Rows of a statement: few enough to keep them all prepared, at five kilobytes a row."""
_RETRY_S = 0.5
_BUSY_S = 5.0
# What is wrong is in a record, not in the file: trying again would block all records behind it.
_BAD_RECORD = (
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    sqlite3.DataError,
    UnicodeEncodeError,
    OverflowError,
)
_ONE = schema.insert_sql(1)
Row = tuple[schema.Shape, list[Any]]


class Ledger(charges.ChargesFile):
    """The ledger in a SQLite file. `record` belongs to the event loop's thread; reading is safe in any."""

    name = "ledger"

    def __init__(self, path: str | Path, max_queue: int = 20_000, close_timeout_s: float = 10.0, *, first: Sequence[str] = ()) -> None:
        """Open or create the ledger at `path` and start its writer. `first` is what each connection that writes says first.

        Raises:
            StoreError: the file cannot be opened, or its ledger is newer than this release.
        """
        super().__init__(path)
        self.path = Path(path)
        self._max, self._close_timeout_s, self._first = max_queue, close_timeout_s, tuple(first)
        self._queue: deque[Row] = deque()
        self._wake, self._closing, self._idle = threading.Event(), threading.Event(), False
        self._dropped = self._refused = self._told = 0
        self._told_at = -60.0
        self._problem = ""
        try:
            self.path.touch(mode=0o600)
            connection = self._connect()
            try:
                schema.prepare(connection, str(path))
                self._appending = schema.Appending(schema.odd(connection))
            finally:
                connection.close()
        except (sqlite3.Error, OSError) as e:
            raise StoreError(f"{path}: the ledger cannot be opened: {e}") from None
        self._writer = threading.Thread(target=self._run, name="fleetgate-ledger", daemon=True)
        self._writer.start()

    def record(self, record: Record) -> None:
        """Queue one record, or count it as lost when the queue is full."""
        if len(self._queue) >= self._max or self._closing.is_set():
            self._dropped += 1
            self._tell()
            return
        self._queue.append(self._appending.row(record))
        if self._idle:
            self._idle = False
            self._wake.set()

    @property
    def depth(self) -> int:
        """Records waiting to be written."""
        return len(self._queue)

    @property
    def lost(self) -> int:
        """Records that were dropped or refused since the start."""
        return self._dropped + self._refused

    @property
    def problem(self) -> str:
        """Why writing does not work just now, or nothing."""
        return self._problem

    async def close(self) -> None:
        """Write what is queued, for at most the close timeout; what remains then is lost, and said."""
        await asyncio.to_thread(self.stop)

    def stop(self) -> None:
        """`close`, for callers without an event loop."""
        self._closing.set()
        self._wake.set()
        self._writer.join(self._close_timeout_s)
        if self._queue:
            self._dropped += len(self._queue)
            self._told_at = -60.0
            self._tell()

    def file(self) -> Path:
        """Return the ledger as a SQLite file."""
        return self.path

    def rows(self, where: Filter = ALL) -> list[Record]:
        """Return the records that pass, newest first; what is still queued is not seen yet."""
        return query.rows(self.path, where)

    def groups(self, by: By, where: Filter = ALL) -> list[Group]:
        """Return sums by `by`."""
        return query.groups(self.path, by, where)

    def one(self, record_id: str) -> Record | None:
        """Return the record with this id."""
        return query.one(self.path, record_id)

    # --- the writer's thread -----------------------------------------------------------------------------------------------

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        return connection

    def _writing(self) -> sqlite3.Connection:
        connection = self._connect()
        try:
            for statement in self._first:
                connection.execute(statement)
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _run(self) -> None:
        connection: sqlite3.Connection | None = None
        give_up = 0.0
        while True:
            self._wait()
            if self._closing.is_set():
                give_up = give_up or time.monotonic() + self._close_timeout_s
                if not self._queue or time.monotonic() > give_up:
                    break
            try:
                connection = connection or self._writing()
                self._drain(connection)
                self._problem = ""
            except sqlite3.Error as e:
                self._problem = str(e)
                self._tell()
                time.sleep(_GATHER_S) if self._closing.is_set() else self._closing.wait(_RETRY_S)
        if connection is not None:
            connection.close()

    def _wait(self) -> None:
        """Return when there is something to write (and a little more had time to arrive) or when closing."""
        self._wake.clear()
        self._idle = True
        if not self._queue and not self._closing.is_set():
            self._wake.wait()
        self._idle = False
        self._closing.wait(_GATHER_S)
        until = time.monotonic() + _LONGER_S
        while _MANY <= len(self._queue) < _MOST and not self._closing.is_set() and time.monotonic() < until:
            self._closing.wait(_GATHER_S)

    def _drain(self, connection: sqlite3.Connection) -> None:
        size = 0
        while (waiting := len(self._queue)) and (waiting >= _MANY or size < _MANY or self._closing.is_set()):
            size = next(s for s in _SIZES if s <= waiting)
            batch = [self._queue[i] for i in range(size)]  # by number: the loop appends meanwhile
            if batch[0][0] is not batch[-1][0]:  # a record came that has something in more columns
                shape = batch[0][0]
                alike = next(i for i, row in enumerate(batch) if row[0] is not shape)
                batch = batch[: next(s for s in _SIZES if s <= alike)]
            self._write(connection, batch)
            for _ in batch:
                self._queue.popleft()

    def _write(self, connection: sqlite3.Connection, batch: list[Row]) -> None:
        """Append `batch`, rows of the same columns."""
        try:
            connection.execute(batch[0][0].sql(len(batch)), list(itertools.chain.from_iterable([row for _, row in batch])))
        except _BAD_RECORD:
            self._one_by_one(connection, batch)

    def _one_by_one(self, connection: sqlite3.Connection, batch: list[Row]) -> None:
        refused: list[str] = []
        connection.execute("BEGIN IMMEDIATE")
        try:
            for shape, row in batch:
                try:
                    _insert(connection, schema.clean(shape.whole(row)))
                except _BAD_RECORD as e:
                    refused.append(str(e))
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
        if refused:
            self._refused += len(refused)
            self._problem = f"a record was refused: {refused[0]}"
            self._tell()

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._told_at >= 60.0:
            self._told_at = now
            log.error("ledger %s: %d records lost, %d waiting: %s", self.path, self.lost, self.depth, self._problem or "queue full")


def _insert(connection: sqlite3.Connection, row: list[Any]) -> None:
    """Append one row. Of two with one id (a sweep ended the hold, or took it for lost, while its exchange lived) one stays apart."""
    try:
        connection.execute(_ONE, row)
    except sqlite3.IntegrityError:
        connection.execute(_ONE, schema.second(row))


class MemoryLedger:
    """The last `max_records` records, in memory, for stores that keep nothing."""

    name = "ledger"
    depth = 0
    lost = 0
    problem = ""

    def __init__(self, max_records: int = 2_000) -> None:
        self._records: deque[Record] = deque(maxlen=max_records)
        self._taken = 0
        self._copy, self._lock = Copy(), threading.Lock()

    def record(self, record: Record) -> None:
        """Keep one record; the oldest goes when there are too many."""
        with self._lock:
            self._records.append(record)
            self._taken += 1

    async def close(self) -> None:
        """Nothing is queued."""
        self._copy.close()

    def file(self) -> Path:
        """Return the ledger as a SQLite file: a copy, made and brought up to date when it is asked for. Raises StoreError."""
        with self._lock:
            kept, taken = list(self._records), self._taken
        return self._copy.now(kept, taken)

    def rows(self, where: Filter = ALL) -> list[Record]:
        """Return the records that pass, newest first."""
        return query.select(self._records.copy(), where)

    def groups(self, by: By, where: Filter = ALL) -> list[Group]:
        """Return sums by `by`."""
        return query.summed(self._records.copy(), by, where)

    def one(self, record_id: str) -> Record | None:
        """Return the record with this id."""
        return next((r for r in self._records.copy() if r.id == record_id), None)

    def charged(self, after: int, most: int = charges.STEP) -> charges.Charged:
        """See `telemetry.charges.Charges`."""
        kept, taken = self._records.copy(), self._taken
        gone = taken - len(kept)
        first, end = max(after - gone, 0), max(after, gone) + most - gone
        found = list(itertools.islice(kept, first, end))
        return charges.summed(found, max(after, gone) + len(found) if found else 0, missing=gone > after)

    def recent(self, since: float, now: float) -> charges.Recent:
        """See `telemetry.charges.Charges`."""
        kept = self._records.copy()
        whole = self._taken == len(kept) or not kept
        start = since if whole else max(since, kept[0].time)
        found = charges.summed((r for r in kept if r.time >= start), 0, missing=not whole)
        return charges.Recent(charges.few(found.amounts), now - start)

    def rolled(self, since: float, *, own: bool) -> dict[str, int]:
        """See `telemetry.charges.Charges`."""
        return charges.rolled_of(self._records.copy(), since, own=own)

    def parts(self, counter: str) -> list[charges.Part]:
        """See `telemetry.charges.Charges`."""
        return charges.parts_of(self._records.copy(), counter)

    def charged_since(self) -> float:
        """See `telemetry.charges.Charges`."""
        return 0.0
