"""What history would have cost at other prices.

Decides what a record's tokens cost at a price that the caller finds for it, and sums by model. What was charged stays as it was: the new
cost may be written into a column of its own (`repriced`), never over the old one. A record whose model nobody can price now keeps its
cost and is counted apart. A file that cannot be read or written is a `StoreError`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from proxy.engine.ports import StoreError
from proxy.engine.record import Record
from proxy.model import Price, Usage
from proxy.money import cost
from proxy.telemetry.query import ALL, Filter, reading, where_of
from proxy.telemetry.schema import COLUMNS, to_record

STEP = 5_000
_BUSY_S = 5.0

Priced = Callable[[Record], Price | None]


@dataclass(frozen=True, slots=True)
class Line:
    """The records of one model: how many, how many of them cost something else now, how many nobody can price, and the sums in nanos."""

    model: str
    calls: int = 0
    changed: int = 0
    unpriced: int = 0
    charged: int = 0
    now: int = 0

    @property
    def difference(self) -> int:
        """How much more it would be now."""
        return self.now - self.charged


def paid(path: str | Path, where: Filter = ALL) -> Iterator[Record]:
    """Yield the records in the file that pass and used tokens, in the order of writing; `limit` does not count."""
    used = "(input_tokens + output_tokens + cache_read_tokens + cache_write_tokens + cache_write_1h_tokens > 0)"
    with reading(path) as db:
        condition, values = where_of(where, db)
        condition += " AND" if condition else " WHERE"
        sql = f"SELECT {', '.join(COLUMNS)} FROM records{condition} {used} ORDER BY seq"  # noqa: S608 - fixed parts only
        rows = db.execute(sql, values)
        while found := rows.fetchmany(STEP):
            yield from map(to_record, found)


def repriced(record: Record, price: Price | None) -> int | None:
    """Return what `record` costs at `price`, in nanos; None without one."""
    return None if price is None else cost(usage_of(record), price)


def usage_of(record: Record) -> Usage:
    """Return the tokens of `record`."""
    return Usage(
        input=record.input_tokens,
        output=record.output_tokens,
        cache_read=record.cache_read_tokens,
        cache_write=record.cache_write_tokens,
        cache_write_1h=record.cache_write_1h_tokens,
        reasoning=record.reasoning_tokens,
        exact=record.usage_exact,
        media=record.media,
    )


def lines(records: Iterable[Record], price: Priced, keep: Callable[[str, int], None] = lambda id, amount: None) -> list[Line]:
    """Return the sums by model, the greatest difference first. `keep` is told the id and new cost of each record that has one."""
    found: dict[str, Line] = {}
    for record in records:
        line = found.get(record.model) or Line(record.model)
        amount = repriced(record, price(record))
        if amount is not None:
            keep(record.id, amount)
        now = record.cost if amount is None else amount
        found[record.model] = replace(
            line,
            calls=line.calls + 1,
            changed=line.changed + (now != record.cost),
            unpriced=line.unpriced + (amount is None),
            charged=line.charged + record.cost,
            now=line.now + now,
        )
    return sorted(found.values(), key=lambda line: (-abs(line.difference), line.model))


def write(path: str | Path, costs: Iterable[tuple[str, int]]) -> int:
    """Write the new cost of each record (by id) into its column `repriced`; return how many records have one now."""
    try:
        with closing(sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)) as db:
            done, batch = 0, list[tuple[int, str]]()
            for id, amount in costs:
                batch.append((amount, id))
                if len(batch) >= STEP:
                    done += _write(db, batch)
                    batch = []
            return done + _write(db, batch)
    except sqlite3.Error as e:
        raise StoreError(f"{path}: the new costs cannot be written: {e}") from None


def _write(db: sqlite3.Connection, batch: list[tuple[int, str]]) -> int:
    db.execute("BEGIN IMMEDIATE")
    try:
        done = db.executemany("UPDATE records SET repriced = ? WHERE id = ?", batch).rowcount if batch else 0
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")
    return done
