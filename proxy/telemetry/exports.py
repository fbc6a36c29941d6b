"""Records and sums as JSON, CSV and Parquet, for other programs.

Decides columns and cells. A cell of CSV whose text begins like a formula is written with an apostrophe before it, so that a spreadsheet
shows it and computes nothing, and what does not print is escaped; numbers are numbers. Money is dollars as decimal text, exactly, in JSON
and CSV, and nano-dollars as integers in Parquet. Parquet needs the extra `parquet`: without it there is a StoreError that says so.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

from proxy.engine.ports import StoreError
from proxy.engine.record import Record
from proxy.money import dollars
from proxy.telemetry.grouping import Sum
from proxy.telemetry.schema import COLUMNS, JSON_COLUMNS, KINDS, clean, to_row
from proxy.telemetry.tables import printable

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What spreadsheets take for the beginning of a formula. Source: OWASP, CSV Injection."""
SUMS = Sum._fields[1:]
_MONEY = ("cost", "saved", "wasted")


def sum_json(fields: Sequence[str], found: Sum) -> dict[str, Any]:
    """Return a sum as JSON shows it: its fields by name, the amounts, and the money in dollars too."""
    shown: dict[str, Any] = dict(zip(fields, found.keys, strict=True))
    if len(fields) == 1:
        shown["key"] = found.keys[0]
    shown |= {name: getattr(found, name) for name in SUMS}
    return shown | {f"{name}_usd": dollars(getattr(found, name)) for name in _MONEY}


def cell(value: Any) -> str:
    """Return a cell of CSV that no spreadsheet computes."""
    if isinstance(value, bool):
        return str(int(value))
    if not isinstance(value, str):
        return "" if value is None else str(value)
    text = printable(value)
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) or value.startswith(_FORMULA) else text


def sums_csv(out: TextIO, fields: Sequence[str], sums: Iterable[Sum]) -> None:
    """Write sums as CSV with a head, money in dollars."""
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([*fields, *(f"{name}_usd" if name in _MONEY else name for name in SUMS)])
    for found in sums:
        amounts = [dollars(getattr(found, name)) if name in _MONEY else getattr(found, name) for name in SUMS]
        writer.writerow([*(cell(key) for key in found.keys), *amounts])


def records_csv(out: TextIO, records: Iterable[Record]) -> None:
    """Write records as CSV: every column by its name, structured ones as JSON, and the cost in dollars too."""
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([*COLUMNS, "cost_usd"])
    for record in records:
        writer.writerow([*(cell(value) for value in to_row(record)), dollars(record.cost)])


def records_parquet(path: Path, records: Iterable[Record]) -> int:
    """Write records to a Parquet file, typed as the ledger's columns; return how many. Raises StoreError."""
    rows = (clean(to_row(record)) for record in records)
    count: int = _parquet().write(path, _kinds(), rows)
    return count


def sums_parquet(path: Path, fields: Sequence[str], sums: Iterable[Sum]) -> int:
    """Write sums to a Parquet file, money in nano-dollars; return how many. Raises StoreError."""
    kinds = {**dict.fromkeys(fields, "str"), **dict.fromkeys((f"{n}_nanos" if n in _MONEY else n for n in SUMS), "int")}
    count: int = _parquet().write(path, kinds, _flat(sums))
    return count


def _flat(sums: Iterable[Sum]) -> Iterator[list[Any]]:
    for found in sums:
        yield [*(key.encode("utf-8", "replace").decode() for key in found.keys), *found[1:]]


def _kinds() -> dict[str, str]:
    return {name: "str" if name in JSON_COLUMNS else KINDS[name] for name in COLUMNS}


def _parquet() -> Any:
    try:
        return import_module("proxy.telemetry.export_parquet")
    except ImportError as e:
        raise StoreError(
            f"--parquet needs a library that is not installed ({e.name or e}): pip install 'fleetgate[parquet]', or in a checkout "
            "pip install --require-hashes -r requirements-extras.lock"
        ) from None
