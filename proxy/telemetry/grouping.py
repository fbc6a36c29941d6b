"""Sums of a ledger's records by any of their fields, or by several: what bills, reports and `top` are made of.

Decides which fields there are and what is summed; never writes, and builds no SQL from input: expressions come from the table below, values
are bound. A span of time is read from one narrow index where fields and sums are in it (see `schema.SUMMED`), so a unary plus keeps SQLite
from another index that would spare it the sorting and cost it the whole table. How it fails: as `query` does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from proxy.engine.record import Record
from proxy.telemetry.query import ALL, Filter, reading, where_of
from proxy.telemetry.schema import COLUMNS, JSON_COLUMNS, KINDS, to_record

TIMES = {"minute": "%Y-%m-%d %H:%M", "hour": "%Y-%m-%d %H:00", "day": "%Y-%m-%d", "month": "%Y-%m"}
KEYS = {name: f"+{name}" for name in COLUMNS if KINDS[name] in ("str", "bool") and name not in JSON_COLUMNS}
KEYS |= {"status": "+status", "upstream_status": "+upstream_status"}
KEYS |= {"model": "CASE model WHEN '' THEN model_asked ELSE model END"}
KEYS |= {name: f"strftime('{pattern}', CAST(time AS INTEGER), 'unixepoch')" for name, pattern in TIMES.items()}
"""What each field is in SQL, with a plus as above."""
FIELDS = tuple(sorted(KEYS))
"""What records can be summed by; times are UTC."""
MOST_FIELDS = 6
SUMS = (
    "count(*), sum(outcome = 'denied'), sum(input_tokens + cache_read_tokens + cache_write_tokens + cache_write_1h_tokens),"
    " sum(cache_read_tokens), sum(output_tokens), sum(cost), sum(saved), sum(loop <> ''), sum(wasted_new),"
    " sum(carbon_ug_low), sum(carbon_ug), sum(energy_uwh_low), sum(energy_uwh)"
)


class Sum(NamedTuple):
    """Sums over the records whose fields are `keys`.

    `input_tokens` are all prompt tokens, `cached_tokens` those of them that were read from a cache. `cost`, `saved` and `wasted` (by loops)
    are nano-dollars; `loops` counts the records in which the loop detector spoke. Carbon (micrograms of CO2 equivalents) and energy
    (micro-watt-hours) are estimates, at least and at most.
    """

    keys: tuple[str, ...]
    calls: int
    refused: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    cost: int
    saved: int
    loops: int
    wasted: int
    carbon_ug_low: int = 0
    carbon_ug: int = 0
    energy_uwh_low: int = 0
    energy_uwh: int = 0


def fields_of(text: str) -> tuple[str, ...]:
    """Return the fields that `text`, joined by commas, names.

    Raises:
        ValueError: one is not there, there are too many, or one comes twice.
    """
    names = tuple(word.strip() for word in text.split(","))
    for name in names:
        if name not in KEYS:
            raise ValueError(f"{name[:40]!r} is no field to sum by; there are {', '.join(FIELDS)}")
    if len(names) > MOST_FIELDS or len(set(names)) != len(names):
        raise ValueError(f"at most {MOST_FIELDS} different fields can be summed by")
    return names


def grouped(path: str | Path, fields: Sequence[str], where: Filter = ALL, most: int | None = None) -> list[Sum]:
    """Return the sums of the file's records by `fields`: newest first where the first of them is a time, else dearest first.

    Args:
        path: the ledger's file.
        fields: names among `FIELDS`; none sums all.
        where: which records; its limit does not count.
        most: how many sums, all of them where None.

    Raises:
        StoreError: the file cannot be read.
    """
    n = len(fields)
    keys = "".join(f"{KEYS[name]}, " for name in fields)
    order = "1 DESC" if fields and fields[0] in TIMES else f"{n + 6} DESC, {n + 1} DESC" + (", 1" if n else "")
    group = f" GROUP BY {', '.join(str(i + 1) for i in range(n))}" if n else ""
    limit = "" if most is None else " LIMIT ?"
    with reading(path) as connection:
        condition, values = where_of(where, connection)
        sql = f"SELECT {keys}{SUMS} FROM records{condition}{group} ORDER BY {order}{limit}"  # noqa: S608 - fixed parts only
        found = connection.execute(sql, values if most is None else (*values, most))
        return [Sum(tuple(_text(key) for key in row[:n]), *(amount or 0 for amount in row[n:])) for row in found]


def every(path: str | Path, where: Filter = ALL) -> Iterator[Record]:
    """Yield all records in the file that pass, oldest first, whatever the filter's limit. Raises StoreError."""
    with reading(path) as connection:
        condition, values = where_of(where, connection)
        sql = f"SELECT {', '.join(COLUMNS)} FROM records{condition} ORDER BY time, seq"  # noqa: S608 - fixed parts only
        for row in connection.execute(sql, values):
            yield to_record(row)


def total(sums: Sequence[Sum]) -> Sum:
    """Return the sum of `sums`, without keys."""
    amounts = [sum(part) for part in zip(*(s[1:] for s in sums), strict=True)] or [0] * (len(Sum._fields) - 1)
    return Sum((), *amounts)


def _text(key: object) -> str:
    return key if isinstance(key, str) else "" if key is None else str(key)
