"""A table of PostgreSQL as the target of a shipment: `fleetgate_records`, in the first schema of the connection's search path.

One row for each record of each tenant: the primary key is both, and a row that is there stays. The table is made where there is none, gets
the columns that a later release added, and is left alone where it has another shape. Away from this machine the connection is encrypted
unless the URL says otherwise (`sslmode`).

It fails with StoreError: no connection (it is made anew at the next write), no right, another shape, a disk that is full.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import conninfo, sql

from proxy.engine.ports import StoreError
from proxy.telemetry import schema
from proxy.telemetry.stream import Entry, row_of

TABLE = "fleetgate_records"
CONNECT_S, STATEMENT_MS = 5, 30_000
_LOCK = 0x666C6565
_LATEST_S = 253_402_300_799.0
"""The end of the year 9999."""
_KINDS = {"str": ("text", "''"), "int": ("bigint", "0"), "bool": ("boolean", "false"), "float": ("double precision", "0")}
_KINDS |= {"float | None": ("double precision", "NULL"), "int | None": ("bigint", "NULL")}
_JSON = ("jsonb", "'[]'")
COLUMNS: dict[str, tuple[str, str]] = {"tenant": ("text", "''")}
COLUMNS |= {name: _KINDS.get(kind, _JSON) for name, kind in schema.KINDS.items()}
COLUMNS |= {"time": ("timestamp with time zone", "'epoch'"), "marks": ("jsonb", "'{}'"), "usage_exact": ("boolean", "true")}
"""Name to type, as PostgreSQL spells it, and default. No column but those of the default NULL may be empty."""
_INDICES = (("time",), ("agent", "time"), ("session", "time"))
_INSERT = sql.SQL("INSERT INTO {} ({}) VALUES ({}) ON CONFLICT (tenant, id) DO NOTHING").format(
    sql.Identifier(TABLE), sql.SQL(", ").join(map(sql.Identifier, COLUMNS)), sql.SQL(", ").join(sql.Placeholder() * len(COLUMNS))
)
_LOOK = """SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped"""
_KEYS = """SELECT array_agg(attname::text ORDER BY attname) FROM pg_index
JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY(indkey)
WHERE indrelid = to_regclass(%s) AND indisunique AND indpred IS NULL GROUP BY indexrelid"""
_LOCAL = ("", "localhost", "127.0.0.1", "::1")


class PostgresTarget:
    """The table behind `url`, for the records of `tenant`."""

    most, pause_s = 500, 1.0

    def __init__(self, url: str, tenant: str) -> None:
        """Connect, and look at the table; raises StoreError."""
        try:
            given: dict[str, Any] = dict(conninfo.conninfo_to_dict(url))
        except psycopg.Error:
            raise StoreError("no URL of PostgreSQL; expected postgresql://USER@HOST:PORT/DATABASE") from None
        hosts = str(given.get("host") or os.environ.get("PGHOST") or "")
        self.name = f"postgresql://{hosts}{':' if given.get('port') else ''}{given.get('port') or ''}/{given.get('dbname') or ''}"
        local = all(host in _LOCAL or host.startswith("/") for host in hosts.split(","))
        if not local and "PGSSLMODE" not in os.environ:
            given.setdefault("sslmode", "require")
        given.setdefault("connect_timeout", CONNECT_S)
        given.setdefault("tcp_user_timeout", STATEMENT_MS)
        given.setdefault("application_name", "fleetgate")
        self._given, self._tenant = given, tenant
        self._connection: psycopg.Connection[Any] | None = None
        self._reached()

    def write(self, entries: list[Entry]) -> int:
        """See `Target.write`."""
        rows = [row for row in map(row_of, entries) if row is not None]
        connection = self._reached()
        try:
            with connection.transaction(), connection.cursor() as cursor:
                cursor.executemany(_INSERT, [(self._tenant, *_values(row)) for row in rows])
                return max(cursor.rowcount, 0) if rows else 0
        except psycopg.Error as e:
            self.close()
            raise StoreError(f"{self.name}: the records cannot be written: {_why(e)}") from None

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _reached(self) -> psycopg.Connection[Any]:
        if self._connection is not None and not self._connection.closed:
            return self._connection
        try:
            self._connection = psycopg.connect(**self._given, autocommit=True)
            self._prepare(self._connection)
        except psycopg.Error as e:
            self.close()
            hint = " (sslmode=disable in the URL would send everything in clear)" if "SSL was required" in str(e) else ""
            raise StoreError(f"{self.name}: cannot be used: {_why(e)}{hint}") from None
        except StoreError:
            self.close()
            raise
        return self._connection

    def _prepare(self, connection: psycopg.Connection[Any]) -> None:
        connection.execute(sql.SQL("SET statement_timeout = {}").format(STATEMENT_MS))
        if connection.execute("SELECT current_setting('synchronous_commit')").fetchone() == ("off",):
            connection.execute("SET synchronous_commit = on")  # what was acknowledged is gone from the stream
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))  # others begin too
            have = self._columns(connection)
            if not have:
                self._make(connection)
            elif missing := [name for name in COLUMNS if name not in have]:
                if not {"tenant", "id"} <= have.keys():
                    raise StoreError(f"{self.name}: there is a table {TABLE} of another shape, without {', '.join(missing[:5])}: rename it")
                for name in missing:
                    connection.execute(sql.SQL("ALTER TABLE {} ADD COLUMN {}").format(sql.Identifier(TABLE), _column(name)))

    def _columns(self, connection: psycopg.Connection[Any]) -> dict[str, str]:
        """Return the columns of the table and their types, none where there is no table; raises StoreError on another shape."""
        rows = connection.execute(_LOOK, (TABLE,)).fetchall()
        have = {str(name): str(kind) for name, kind in rows}
        for name, kind in have.items():
            if name in COLUMNS and kind != COLUMNS[name][0]:
                raise StoreError(
                    f"{self.name}: there is a table {TABLE} of another shape: {name} is {kind}, expected {COLUMNS[name][0]}: rename it"
                )
        keys = connection.execute(_KEYS, (TABLE,)).fetchall()
        if {"tenant", "id"} <= have.keys() and (["id", "tenant"],) not in keys:
            raise StoreError(f"{self.name}: the table {TABLE} lacks its primary key (tenant, id): rename it")
        return have

    def _make(self, connection: psycopg.Connection[Any]) -> None:
        columns = sql.SQL(", ").join(map(_column, COLUMNS))
        table = sql.Identifier(TABLE)
        connection.execute(sql.SQL("CREATE TABLE {} ({}, PRIMARY KEY (tenant, id))").format(table, columns))
        for names in _INDICES:
            connection.execute(sql.SQL("CREATE INDEX ON {} ({})").format(table, sql.SQL(", ").join(map(sql.Identifier, names))))


def _column(name: str) -> sql.Composed:
    kind, default = COLUMNS[name]
    needed = "" if default == "NULL" else " NOT NULL"
    return sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(f"{kind}{needed} DEFAULT {default}"))


def _values(row: list[Any]) -> list[Any]:
    """Return `row` as PostgreSQL takes it: no NUL and no lone surrogate in a text, moments for times."""
    found: list[Any] = []
    for name, value in zip(schema.COLUMNS, row, strict=True):
        if name == "time":
            found.append(datetime.fromtimestamp(min(max(value, 0.0), _LATEST_S), UTC))
        elif name in schema.JSON_COLUMNS:
            found.append(json.dumps(_clean(_parsed(value)), ensure_ascii=False, allow_nan=False))
        else:
            found.append(_clean(value))
    return found


def _parsed(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=str)
    except ValueError:
        return text


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {_clean(key): _clean(item) for key, item in value.items()}
    return value


def _why(error: psycopg.Error) -> str:
    """Return what the server or the library said, on one line."""
    return " ".join(str(error).split()) or type(error).__name__
