"""What records say that was charged to each counter, summed: for forecasts and for the audit.

Decides how the sums are made; never writes. A ledger in a file adds up inside SQLite, by the order of writing or by time, so that neither
the interpreter nor the event loop is held; call it in a thread all the same. A file that cannot be read is a `StoreError`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from proxy.engine.record import SWEPT, Record
from proxy.telemetry.query import reading
from proxy.telemetry.schema import CHARGED_SINCE

STEP = 2_000
"""Most records in one reading of `charged`: what it takes in passing grows with them."""
PASSING = ("|session=", ",session=", "|run=", ",run=")
"""What marks a counter of one session or run."""
ROLLING = "|rolling "
"""What the name of a rolling window begins with in that of a counter."""
MOST_RECENT = 20_000
"""Most records that `recent` looks at: of a busy hour it takes the end."""
MANY = 10_000
"""Counters beyond which `recent` leaves out those of sessions and runs, of which there may be as many as calls."""


class Charged(NamedTuple):
    """The sums over some records.

    `amounts` by counter; `first` and `last` when each counter was first and last charged, UTC seconds; `upto` the last of those records in
    the order of writing, 0 for none; `missing` whether records before them are gone or were never read.
    """

    upto: int
    amounts: dict[str, int]
    first: dict[str, float]
    last: dict[str, float]
    missing: bool = False


class Recent(NamedTuple):
    """What was charged to each counter in the last `seconds`; without the counters of sessions and runs, where there are many."""

    amounts: dict[str, int]
    seconds: float


class Part(NamedTuple):
    """What one record charged to one counter."""

    id: str
    time: float
    outcome: str
    unit: str
    amount: int
    cost: int


@runtime_checkable
class Charges(Protocol):
    """A ledger whose charges can be summed."""

    def charged(self, after: int, most: int = STEP) -> Charged:
        """Return the sums over the next `most` records behind number `after`."""
        ...

    def recent(self, since: float, now: float) -> Recent:
        """Return the sums over the records from `since` to `now`, or over the latest of them where they are very many."""
        ...

    def rolled(self, since: float, *, own: bool) -> dict[str, int]:
        """Return what was charged since `since` to each counter of a rolling window; with `own` only by records of exchanges that told it
        themselves, whose time says when."""
        ...

    def parts(self, counter: str) -> list[Part]:
        """Return each record's charge to `counter`, in the order of writing."""
        ...

    def charged_since(self) -> float:
        """Return since when records hold charges, UTC seconds; 0 where all do."""
        ...


_CHARGED = """
SELECT value ->> 0, sum(value ->> 2), min(time), max(time) FROM records, json_each(charges)
WHERE seq > ?1 AND seq <= ?2 AND charges <> '[]' GROUP BY 1
"""
_CACHE = "PRAGMA cache_size = -256"
"""KiB of pages that a look keeps: it reads each once."""
_UPTO = "SELECT max(seq) FROM (SELECT seq FROM records WHERE seq > ? ORDER BY seq LIMIT ?)"
_RECENT = "SELECT value ->> 0, sum(value ->> 2) FROM records, json_each(charges) WHERE time >= ?1 AND charges <> '[]'{} GROUP BY 1 LIMIT ?2"
_LASTING = "".join(f" AND NOT instr(value ->> 0, '{mark}')" for mark in PASSING)
_ROLLED = """
SELECT value ->> 0, sum(value ->> 2) FROM records, json_each(charges)
WHERE time >= ?1 AND instr(charges, '|rolling ') AND instr(value ->> 0, '|rolling ') AND (?2 = 0 OR outcome NOT IN (?3, ?4)) GROUP BY 1
"""
_START = "SELECT time FROM records WHERE time >= ? ORDER BY time DESC LIMIT 1 OFFSET ?"
_PARTS = """
SELECT records.id, time, outcome, value ->> 1, value ->> 2, cost FROM records, json_each(charges)
WHERE instr(charges, ?1) AND value ->> 0 = ?1 ORDER BY seq
"""


def charged(path: str | Path, after: int, most: int = STEP) -> Charged:
    """See `Charges.charged`."""
    with reading(path) as db:
        db.execute(_CACHE)
        (upto,) = db.execute(_UPTO, (after, most)).fetchone()
        if upto is None:
            return Charged(0, {}, {}, {})
        amounts, first, last = dict[str, int](), dict[str, float](), dict[str, float]()
        for counter, amount, began, ended in db.execute(_CHARGED, (after, upto)):
            amounts[counter], first[counter] = amount, began
            last[counter] = began if began == ended else ended  # one object in place of two
    return Charged(upto, amounts, first, last)


def recent(path: str | Path, since: float, now: float) -> Recent:
    """See `Charges.recent`."""
    with reading(path) as db:
        db.execute(_CACHE)
        many = db.execute(_START, (since, MOST_RECENT)).fetchone()
        start = since if many is None else many[0]
        amounts = dict(db.execute(_RECENT.format(""), (start, MANY + 1)))
        if len(amounts) > MANY:
            amounts = dict(db.execute(_RECENT.format(_LASTING), (start, -1)))
        return Recent(amounts, now - start)


def rolled(path: str | Path, since: float, *, own: bool) -> dict[str, int]:
    """See `Charges.rolled`."""
    with reading(path) as db:
        return dict(db.execute(_ROLLED, (since, own, *SWEPT)).fetchall())


def parts(path: str | Path, counter: str) -> list[Part]:
    """See `Charges.parts`."""
    with reading(path) as db:
        return [Part(*row) for row in db.execute(_PARTS, (counter,))]


def charged_since(path: str | Path) -> float:
    """See `Charges.charged_since`."""
    with reading(path) as db:
        row = db.execute("SELECT value FROM ledger_meta WHERE key = ?", (CHARGED_SINCE,)).fetchone()
    return 0.0 if row is None else float(row[0])


def summed(records: Iterable[Record], upto: int, *, missing: bool) -> Charged:
    """Return the sums over records in memory, the last of them number `upto`."""
    amounts, first, last = dict[str, int](), dict[str, float](), dict[str, float]()
    for record in records:
        for counter, _, amount in record.charges:
            amounts[counter] = amounts.get(counter, 0) + amount
            first[counter] = min(first.get(counter, record.time), record.time)
            last[counter] = max(last.get(counter, 0.0), record.time)
    return Charged(upto, amounts, first, last, missing)


def few(amounts: dict[str, int]) -> dict[str, int]:
    """Return `amounts` as `Recent` has them: without the counters of sessions and runs, where there are many."""
    return amounts if len(amounts) <= MANY else {c: n for c, n in amounts.items() if not any(mark in c for mark in PASSING)}


def rolled_of(records: Iterable[Record], since: float, *, own: bool) -> dict[str, int]:
    """Return what `rolled` does, from records in memory."""
    found = summed((r for r in records if r.time >= since and not (own and r.outcome in SWEPT)), 0, missing=False)
    return {counter: amount for counter, amount in found.amounts.items() if ROLLING in counter}


def parts_of(records: Iterable[Record], counter: str) -> list[Part]:
    """Return what `parts` does, from records in memory."""
    return [Part(r.id, r.time, r.outcome, unit, amount, r.cost) for r in records for name, unit, amount in r.charges if name == counter]


class ChargesFile:
    """The charges of the ledger in the file at `path`, for readers that write nothing."""

    def __init__(self, path: str | Path) -> None:
        self._path = path

    def charged(self, after: int, most: int = STEP) -> Charged:
        """See `Charges`."""
        return charged(self._path, after, most)

    def recent(self, since: float, now: float) -> Recent:
        """See `Charges`."""
        return recent(self._path, since, now)

    def rolled(self, since: float, *, own: bool) -> dict[str, int]:
        """See `Charges`."""
        return rolled(self._path, since, own=own)

    def parts(self, counter: str) -> list[Part]:
        """See `Charges`."""
        return parts(self._path, counter)

    def charged_since(self) -> float:
        """See `Charges`."""
        return charged_since(self._path)
