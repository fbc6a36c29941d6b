"""Reading the ledger: rows, groups and one record, from a file or from memory, with the same answers.

Decides what a filter means and how sums are made; never writes (the connection is read-only) and builds no SQL from input: names of
columns come from the tables below, values are bound. A file that is missing, or is no ledger, is a `StoreError`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

from proxy.engine.ports import StoreError
from proxy.engine.record import Record
from proxy.telemetry import stretches
from proxy.telemetry.schema import COLUMNS, to_record

By = Literal["agent", "model", "session", "run", "provider", "day", "reason"]
BYS: tuple[By, ...] = get_args(By)
MAX_ROWS = 10_000
_BUSY_S = 5.0


@dataclass(frozen=True, slots=True)
class Filter:
    """Which records are meant; None lets all pass. `model` matches the name asked for or the one that served.

    `since` is inclusive, `until` exclusive, both UTC seconds. `limit` bounds rows or groups.
    """

    agent: str | None = None
    session: str | None = None
    model: str | None = None
    reason: str | None = None
    outcome: str | None = None
    since: float | None = None
    until: float | None = None
    limit: int = 100

    def matches(self, record: Record) -> bool:
        """Say whether `record` passes."""
        return (
            self.agent in (None, record.agent)
            and self.session in (None, record.session)
            and self.model in (None, record.model, record.model_asked)
            and self.reason in (None, record.reason)
            and self.outcome in (None, record.outcome)
            and (self.since is None or record.time >= self.since)
            and (self.until is None or record.time < self.until)
        )


ALL = Filter()


@dataclass(frozen=True, slots=True)
class Group:
    """Sums over the records of one `key`: `input_tokens` are all prompt tokens, `cached_tokens` those read from a cache; cost in nanos,
    carbon in micrograms of CO2 equivalents and energy in micro-watt-hours, at least and at most as estimated.
    """

    key: str
    calls: int
    refused: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cost: int
    carbon_ug_low: int = 0
    carbon_ug: int = 0
    energy_uwh_low: int = 0
    energy_uwh: int = 0


class Journal(Protocol):
    """A ledger that can be read. The methods may take a while: call them in a thread."""

    def rows(self, where: Filter = ALL) -> list[Record]:
        """Return the records that pass, newest first."""
        ...

    def groups(self, by: By, where: Filter = ALL) -> list[Group]:
        """Return sums by `by`, dearest first (days: newest first)."""
        ...

    def one(self, record_id: str) -> Record | None:
        """Return the record with this id."""
        ...


_WHERE = (
    ("agent", "agent = ?", 1),
    ("session", "session = ?", 1),
    ("model", "(model = ? OR model_asked = ?)", 2),
    ("reason", "reason = ?", 1),
    ("outcome", "outcome = ?", 1),
    ("since", "time >= ?", 1),
    ("until", "time < ?", 1),
)
_KEY_SQL: dict[By, str] = {  # with a plus, so that the index of an agent or a session is not read whole to spare the sorting of a day
    "agent": "+agent",
    "model": "CASE model WHEN '' THEN model_asked ELSE model END",
    "session": "+session",
    "run": "run",
    "provider": "provider",
    "day": "strftime('%Y-%m-%d', CAST(time AS INTEGER), 'unixepoch')",
    "reason": "reason",
}
_SUMS = (
    "count(*), sum(outcome = 'denied'), sum(input_tokens + cache_read_tokens + cache_write_tokens + cache_write_1h_tokens),"
    " sum(output_tokens), sum(cache_read_tokens), sum(cost),"
    " sum(carbon_ug_low), sum(carbon_ug), sum(energy_uwh_low), sum(energy_uwh)"
)


def rows(path: str | Path, where: Filter = ALL) -> list[Record]:
    """Return the records in the file that pass, newest first."""
    with reading(path) as connection:
        condition, values = where_of(where, connection)
        sql = f"SELECT {', '.join(COLUMNS)} FROM records{condition} ORDER BY time DESC, seq DESC LIMIT ?"  # noqa: S608 - fixed parts only
        return [to_record(r) for r in connection.execute(sql, (*values, _limit(where)))]


def groups(path: str | Path, by: By, where: Filter = ALL) -> list[Group]:
    """Return sums of the file's records by `by`, dearest first (days: newest first)."""
    order = "1 DESC" if by == "day" else "7 DESC, 2 DESC, 1"
    with reading(path) as connection:
        condition, values = where_of(where, connection)
        sql = f"SELECT {_KEY_SQL[by]}, {_SUMS} FROM records{condition} GROUP BY 1 ORDER BY {order} LIMIT ?"  # noqa: S608 - fixed parts only
        return [Group(*r) for r in connection.execute(sql, (*values, _limit(where)))]


def one(path: str | Path, record_id: str) -> Record | None:
    """Return the file's record with this id."""
    with reading(path) as connection:
        row = connection.execute(f"SELECT {', '.join(COLUMNS)} FROM records WHERE id = ?", (record_id,)).fetchone()  # noqa: S608
        return None if row is None else to_record(row)


def where_of(where: Filter, connection: sqlite3.Connection, at: str = "main") -> tuple[str, list[Any]]:
    """Return the SQL condition of `where`, empty for none, and its values, for the ledger that `connection` has `at`.

    An older release may have left it, which had another index of sessions.
    """
    parts, values = [], []
    for name, sql, count in _WHERE:
        value = getattr(where, name)
        if value is not None:
            if name == "session" and stretches.there(connection, at):
                sql = stretches.of_session(f"{at}.records")
            parts.append(sql)
            values += [value] * count
    return (" WHERE " + " AND ".join(parts) if parts else ""), values


def _limit(where: Filter) -> int:
    return max(0, min(where.limit, MAX_ROWS))


@contextmanager
def reading(path: str | Path) -> Iterator[sqlite3.Connection]:
    """Give a connection that can only read the ledger at `path`. Raises StoreError."""
    file = Path(path).absolute()
    if not file.exists():
        raise StoreError(f"{path}: no such file, so no exchange was recorded there yet")
    try:
        connection = sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=_BUSY_S)
        try:
            yield connection
        finally:
            connection.close()
    except sqlite3.Error as e:
        if "no such table" in str(e):
            raise StoreError(f"{path}: no exchange was recorded there yet") from None
        raise StoreError(f"{path}: the ledger cannot be read: {e}") from None
    except UnicodeEncodeError:
        raise StoreError(f"{path}: the filter is not text that a ledger can hold") from None


_KEY: dict[By, Callable[[Record], str]] = {
    "agent": lambda r: r.agent,
    "model": lambda r: r.model or r.model_asked,
    "session": lambda r: r.session,
    "run": lambda r: r.run,
    "provider": lambda r: r.provider,
    "day": lambda r: datetime.fromtimestamp(int(r.time), UTC).strftime("%Y-%m-%d"),
    "reason": lambda r: r.reason,
}


def select(records: Iterable[Record], where: Filter) -> list[Record]:
    """Return what `rows` would, from records in the order in which they were written."""
    found = [(r.time, i, r) for i, r in enumerate(records) if where.matches(r)]
    found.sort(key=lambda item: item[:2], reverse=True)
    return [r for _, _, r in found[: _limit(where)]]


def summed(records: Iterable[Record], by: By, where: Filter) -> list[Group]:
    """Return what `groups` would, from records in memory."""
    sums: dict[str, list[int]] = {}
    for r in records:
        if where.matches(r):
            prompt = r.input_tokens + r.cache_read_tokens + r.cache_write_tokens + r.cache_write_1h_tokens
            used = (1, int(r.outcome == "denied"), prompt, r.output_tokens, r.cache_read_tokens, r.cost)
            add = (*used, r.carbon_ug_low, r.carbon_ug, r.energy_uwh_low, r.energy_uwh)
            row = sums.setdefault(_KEY[by](r), [0] * len(add))
            for i, amount in enumerate(add):
                row[i] += amount
    made = [Group(key, *row) for key, row in sums.items()]
    if by == "day":
        made.sort(key=lambda g: g.key, reverse=True)
    else:
        made.sort(key=lambda g: (-g.cost, -g.calls, g.key))
    return made[: _limit(where)]
