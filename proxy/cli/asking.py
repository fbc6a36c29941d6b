"""Asking the running server's admin port for what its own memory alone holds: balances, and the ledger of `store: memory:`.

The ledger is asked for page by page and kept in a temporary SQLite file, so that every question about it has the answers of the others. How
it fails: a server that is not there, or that refuses, is a ValueError that says what to do.
"""

from __future__ import annotations

import http
import http.client
import json
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from proxy.app.storage import FileJournal, reading
from proxy.engine.record import Record
from proxy.settings import Settings
from proxy.telemetry import schema

_ASK_S = 5.0
_MOST_BYTES = 64 << 20
PAGE = 1000


def asked(settings: Settings, path: str) -> Any:
    """Return the JSON that the running server's admin port answers to a GET of `path`. Raises ValueError when it does not."""
    listen = settings.listen
    where = f"{listen.admin_host}:{listen.admin_port}"
    why = f"store {settings.store.kind}: is read by the server, so its admin port is asked ({where})"
    token = os.environ.get("FLEETGATE_ADMIN_TOKEN")
    connection = http.client.HTTPConnection(listen.admin_host, listen.admin_port, timeout=_ASK_S)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
        reply = connection.getresponse()
        body = reply.read(_MOST_BYTES)
        if reply.status != http.HTTPStatus.OK:
            raise ValueError(f"{why}: it answered {reply.status}; is FLEETGATE_ADMIN_TOKEN set?")
        return json.loads(body)
    except (OSError, http.client.HTTPException) as e:
        raise ValueError(f"{why}: {e}; is `fleetgate serve` running?") from None
    finally:
        connection.close()


@contextmanager
def journal_of(settings: Settings) -> Iterator[FileJournal]:
    """Give the ledger of these settings, wherever it is. Raises ValueError and StoreError."""
    if settings.store.kind != "memory":
        with reading(settings.store) as journal:
            yield journal
        return
    with tempfile.TemporaryDirectory(prefix="fleetgate-ledger-") as folder:
        yield AskedJournal(settings, Path(folder, "ledger.db"))


class AskedJournal(FileJournal):
    """The ledger in a server's memory, read from a copy of it."""

    def __init__(self, settings: Settings, path: Path) -> None:
        super().__init__(path)
        self._settings = settings
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            schema.prepare(db, str(path))

    def now(self) -> Path:
        """Return the copy, brought up to date. Raises ValueError."""
        path = super().now()
        with closing(sqlite3.connect(path)) as db, db:
            for record in reversed(list(self._new({row[0] for row in db.execute("SELECT id FROM records")}))):
                db.execute(schema.insert_sql(1), schema.clean(schema.to_row(record)))
        return path

    def _new(self, known: set[str]) -> Iterator[Record]:
        """Yield the records that are not `known`, newest first."""
        until = ""
        while True:
            page = asked(self._settings, f"/api/v1/exchanges?limit={PAGE}{until}")["exchanges"]
            found = [msgspec.convert({k: v for k, v in one.items() if k in schema.KINDS}, Record, strict=False) for one in page]
            new = [record for record in found if record.id not in known]
            yield from new
            known |= {record.id for record in new}
            if not new or len(page) < PAGE:
                return
            oldest = datetime.fromtimestamp(min(record.time for record in found), UTC) + timedelta(microseconds=1)
            until = f"&until={quote(oldest.isoformat())}"
