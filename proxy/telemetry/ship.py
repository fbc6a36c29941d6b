"""Moves records from the stream of a Redis store into a SQLite ledger, then lets the stream forget them.

Decides nothing about records. At least once: an entry is acknowledged only after the file has it for good, and a record that the file has
already is passed over by its id. Several may ship at once (a consumer group shares the work), and what one took and did not finish is
taken over by another after `IDLE_MS`. The stream is cut only below the oldest entry that somebody has not acknowledged.
"""

from __future__ import annotations

import os
import socket
import sqlite3
from pathlib import Path

from proxy.engine.ports import StoreError
from proxy.telemetry import schema
from proxy.telemetry.ledger_redis import Entry, Link, entries_of, insert

GROUP = "ship"
IDLE_MS = 60_000
_COUNT = 500
# Cuts what everybody has acknowledged.
_TRIM = """
local pending = redis.call('XPENDING', KEYS[1], ARGV[1])
local oldest = pending[2]
if pending[1] == 0 then
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    local found = {}
    for n = 1, #group, 2 do found[group[n]] = group[n + 1] end
    if found.name == ARGV[1] then
      local ms, n = string.match(found['last-delivered-id'], '(%d+)-(%d+)')
      oldest = string.format('%s-%.0f', ms, n + 1)
    end
  end
end
return redis.call('XTRIM', KEYS[1], 'MINID', oldest)
"""


class Shipment:
    """Records on their way from `link`'s stream to the SQLite ledger at `path`."""

    def __init__(self, link: Link, path: Path) -> None:
        """Open both ends.

        Raises:
            StoreError: the file cannot be used, or the stream.
        """
        self._link, self._stream = link, link.key("ledger")
        self._consumer = f"{socket.gethostname()}.{os.getpid()}"
        try:
            path.touch(mode=0o600)
            self._db = sqlite3.connect(path, timeout=5.0, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")  # what was acknowledged is gone from the stream
            schema.prepare(self._db, str(path))
        except (sqlite3.Error, OSError) as e:
            raise StoreError(f"{path}: the ledger cannot be opened: {e}") from None
        try:
            self._link.call("XGROUP", "CREATE", self._stream, GROUP, "0", "MKSTREAM")
        except StoreError as e:
            if "BUSYGROUP" not in str(e):
                raise

    def step(self) -> tuple[int, int]:
        """Move some entries; return how many were taken and how many of them were new to the file.

        Raises:
            StoreError: either end fails; what was not acknowledged is moved again later.
        """
        entries = self._taken_over() or self._fresh()
        if not entries:
            return 0, 0
        try:
            new = insert(self._db, entries)
        except sqlite3.Error as e:
            raise StoreError(f"the ledger cannot be written: {e}") from None
        self._link.call("XACK", self._stream, GROUP, *[entry[0] for entry in entries], again=True)
        self._link.call("EVAL", _TRIM, 1, self._stream, GROUP, again=True)
        return len(entries), new

    def close(self) -> None:
        """Let go of the file, and of our name in the group once it has nothing left to do."""
        self._db.close()
        try:
            if not self._link.call("XPENDING", self._stream, GROUP, "-", "+", 1, self._consumer):
                self._link.call("XGROUP", "DELCONSUMER", self._stream, GROUP, self._consumer)
        except StoreError:
            pass

    def _taken_over(self) -> list[Entry]:
        answer = self._link.call("XAUTOCLAIM", self._stream, GROUP, self._consumer, IDLE_MS, "0", "COUNT", _COUNT)
        return entries_of(answer[1])

    def _fresh(self) -> list[Entry]:
        answer = self._link.call("XREADGROUP", "GROUP", GROUP, self._consumer, "COUNT", _COUNT, "STREAMS", self._stream, ">")
        return entries_of(answer[0][1]) if answer else []
