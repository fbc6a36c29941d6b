"""The ledger of replicas that share a Redis store: records go through one stream there, and are read from an index made of it.

The event loop writes each record as text, while what it is made of is in the processor's cache, and appends that to a bounded queue; one
thread sends what has gathered within a twentieth of a second, or in a third of one
where they come by the dozen, in one call for up to `BATCH` records. Whoever reads (`fleetgate ledger`, `explain`, the admin plane) keeps a
temporary SQLite ledger that is filled with what the stream has got since it last looked, so that the answers are those of `query`.
`proxy.telemetry.ship` moves records on.

The stream keeps the last `records`; older ones go, because a server whose memory is full serves no calls. That is said (a log line, and
`dropped`) unless they were shipped.

How it fails: as the SQLite ledger does. A send that fails is tried again until it works; meanwhile the queue grows to its bound, and from
there on new records are lost, loudly. A send whose answer was lost is sent again, so a record may stand in the stream twice; readers take
the first of each id. `close` sends what is queued. How far shipping is (`shipping`) stays what it was while the server cannot say.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import tempfile
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from proxy.budget.port import OWED
from proxy.engine.ports import StoreError
from proxy.engine.record import SWEPT, Record
from proxy.telemetry import charges, query, schema
from proxy.telemetry.charges import Recent
from proxy.telemetry.lag import Lag, lags
from proxy.telemetry.query import ALL, By, Filter, Group
from proxy.telemetry.stream import Entry, Link, entries_of, insert, packed

log = logging.getLogger("fleetgate.ledger")
BATCH = 100
Said = tuple[str, int, bytes]
"""Of one record: its hold, whether a sweep made it, and itself."""
MOST_INDEXED = 1_000_000
"""Records in an index above which it is made anew, from what the stream still has."""
_READ = 1000
_GATHER_S, _LONGER_S, _RETRY_S = 0.05, 0.3, 0.5
_MANY, _ENOUGH = 32, 400
"""Records that came within `_GATHER_S` when it pays to let more come, and how many are enough."""
LAG_S = 15.0
"""How often the server is asked how far shipping is."""


# Adds records and removes what the store keeps of their holds until then, then cuts the stream to its bound. Returns how many that dropped
# which no shipment had taken. KEYS: the stream, and where the store keeps that (see `stores/lua/budget.lua`). ARGV: the bound, then of each
# record its hold, whether a sweep made it, and the record. What a sweep found is recorded while it is owed, so once; a record that comes
# after a sweep took it for lost is set aside ('l'), because the sweep's record has its charges.
_ADD = """
for i = 2, #ARGV, 3 do
  local id, swept = ARGV[i], ARGV[i + 1] == '1'
  local owed = redis.call('HGET', KEYS[3], id)
  local late = owed and not swept and string.sub(owed, 1, 1) ~= 's'
  if late then
    redis.call('XADD', KEYS[1], '*', 'r', ARGV[i + 2], 'l', '1')
  elseif owed or not swept then
    redis.call('XADD', KEYS[1], '*', 'r', ARGV[i + 2])
  end
  if owed and not late then
    redis.call('HDEL', KEYS[3], id)
    redis.call('ZREM', KEYS[2], id)
  end
end
local over = redis.call('XLEN', KEYS[1]) - tonumber(ARGV[1])
if over <= 0 then return 0 end
local shipped
local function parts(id)
  local ms, n = string.match(id, '(%d+)-(%d+)')
  return tonumber(ms), tonumber(n)
end
local function before(a, b)
  local ms, n = parts(a)
  local to_ms, to_n = parts(b)
  return ms < to_ms or (ms == to_ms and n < to_n)
end
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  for n = 1, #group, 2 do
    if group[n] == 'last-delivered-id' and (not shipped or before(group[n + 1], shipped)) then shipped = group[n + 1] end
  end
end
local dropped, first = 0, redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', over)
redis.call('XTRIM', KEYS[1], 'MAXLEN', ARGV[1])
for _, entry in ipairs(first) do
  if before(shipped or '0-0', entry[1]) then dropped = dropped + 1 end
end
return dropped
"""


class RedisLedger:
    """The ledger on the server behind `link`. `record` belongs to the event loop's thread; reading is safe in any."""

    name = "ledger"

    def __init__(self, link: Link, records: int, max_queue: int = 20_000, close_timeout_s: float = 10.0) -> None:
        self._link, self._records = link, records
        self._keys = [link.key(name) for name in ("ledger", *OWED)]
        self._max, self._close_timeout_s = max_queue, close_timeout_s
        self._queue: deque[Said] = deque()
        self._wake, self._closing, self._idle = threading.Event(), threading.Event(), False
        self.lost = self.dropped = 0
        self.problem = ""
        self.shipping: Sequence[Lag] = ()
        self._told_at, self._asked_at, self._give_up = -60.0, 0.0, 0.0
        self._index = Index(link)
        self._sender = threading.Thread(target=self._run, name="fleetgate-ledger", daemon=True)
        self._sender.start()

    @property
    def depth(self) -> int:
        """Records waiting to be sent."""
        return len(self._queue)

    def record(self, record: Record) -> None:
        """Queue one record, or count it as lost when the queue is full or it cannot be written."""
        if len(self._queue) >= self._max or self._closing.is_set():
            self.lost += 1
            self._tell(self.problem or "queue full")
            return
        hold = record.id.rstrip(schema.SECOND)
        try:
            said = packed(record)
        except (TypeError, ValueError, OverflowError) as e:
            self.lost += 1
            self._tell(f"a record cannot be written: {e}")
            return
        self._queue.append((hold if hold.isascii() else schema.clean([hold])[0], int(record.outcome in SWEPT), said))
        if self._idle:
            self._idle = False
            self._wake.set()

    async def close(self) -> None:
        """Send what is queued, for at most the close timeout; what remains then is lost, and said."""
        await asyncio.to_thread(self.stop)

    def stop(self) -> None:
        """`close`, for callers without an event loop."""
        self._give_up = time.monotonic() + self._close_timeout_s
        self._closing.set()
        self._wake.set()
        self._sender.join(self._close_timeout_s)
        if self._queue:
            self.lost += len(self._queue)
            self._told_at = -60.0
            self._tell(self.problem)
        self._index.close()

    def file(self) -> Path:
        """Return the ledger as a SQLite file: the index, brought up to date. Raises StoreError."""
        return self._index.now()

    def rows(self, where: Filter = ALL) -> list[Record]:
        """Return the records that pass, newest first; what is still queued is not seen yet."""
        return query.rows(self._index.now(), where)

    def groups(self, by: By, where: Filter = ALL) -> list[Group]:
        """Return sums by `by`."""
        return query.groups(self._index.now(), by, where)

    def one(self, record_id: str) -> Record | None:
        """Return the record with this id."""
        return query.one(self._index.now(), record_id)

    def recent(self, since: float, until: float) -> Recent:
        """See `Charges.recent`."""
        return charges.recent(self._index.now(), since, until)

    def charged(self, after: int, most: int = charges.STEP) -> charges.Charged:
        """See `Charges.charged`."""
        found = charges.charged(self._index.now(), after, most)
        return found._replace(missing=self._index.missing)

    def rolled(self, since: float, *, own: bool) -> dict[str, int]:
        """See `Charges.rolled`."""
        return charges.rolled(self._index.now(), since, own=own)

    def parts(self, counter: str) -> list[charges.Part]:
        """See `Charges.parts`."""
        return charges.parts(self._index.now(), counter)

    def charged_since(self) -> float:
        """See `Charges.charged_since`: the stream never held records without charges."""
        return 0.0

    # --- the sender's thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            self._wait()
            try:
                while self._queue:
                    self._send()
                self._look()
                self.problem = ""
            except StoreError as e:
                self.problem = str(e)
                self._tell(self.problem)
                time.sleep(_GATHER_S) if self._closing.is_set() else self._closing.wait(_RETRY_S)
            if self._closing.is_set() and (not self._queue or time.monotonic() > self._give_up):
                return

    def _wait(self) -> None:
        """Return when there is something to send (and a little more had time to arrive), to ask how far shipping is, or when closing."""
        self._wake.clear()
        self._idle = True
        if not self._queue and not self.problem and not self._closing.is_set():
            self._wake.wait(LAG_S)
        self._idle = False
        self._closing.wait(_GATHER_S)
        until = time.monotonic() + _LONGER_S
        while _MANY <= len(self._queue) < _ENOUGH and not self._closing.is_set() and time.monotonic() < until:
            self._closing.wait(_GATHER_S)

    def _send(self) -> None:
        batch = [self._queue[i] for i in range(min(BATCH, len(self._queue)))]
        words = [word for said in batch for word in said]
        dropped = self._link.call("EVAL", _ADD, 3, *self._keys, self._records, *words)
        for _ in batch:
            self._queue.popleft()
        if dropped:
            self.dropped += dropped
            self._tell(f"the stream is at its bound: {self.dropped} old records were dropped unshipped (run fleetgate ledger ship)")

    def _look(self) -> None:
        """Ask how far shipping is, now and then; raises StoreError."""
        now = time.monotonic()
        if now - self._asked_at >= LAG_S and not self._closing.is_set():
            self._asked_at = now
            self.shipping = lags(self._link)

    def _tell(self, why: str) -> None:
        now = time.monotonic()
        if now - self._told_at >= 60.0:
            self._told_at = now
            log.error("ledger: %d records lost, %d waiting: %s", self.lost, self.depth, why)


class Index:
    """What the stream holds, as a SQLite ledger in a temporary file, brought up to date before it is read. Safe in any thread."""

    def __init__(self, link: Link) -> None:
        self._link, self._last, self._rows = link, "-", 0
        self._lock = threading.Lock()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._db: sqlite3.Connection | None = None
        self._path = Path()
        self.missing = False

    def now(self) -> Path:
        """Return the file, with all that the stream holds in it; raises StoreError."""
        with self._lock:
            try:
                if self._rows > MOST_INDEXED:
                    self._drop()
                db = self._opened()
                while entries := self._next():
                    self._rows += insert(db, entries)
                    self._last = f"({entries[-1][0].decode()}"
            except (sqlite3.Error, OSError) as e:
                raise StoreError(f"the ledger's index cannot be written: {e}") from None
            return self._path

    def close(self) -> None:
        """Remove the file."""
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        if self._db is not None:
            self._db.close()
        if self._folder is not None:
            self._folder.cleanup()
        self._db = self._folder = None
        self._rows, self._last = 0, "-"

    def _opened(self) -> sqlite3.Connection:
        if self._db is None:
            self._folder = tempfile.TemporaryDirectory(prefix="fleetgate-ledger-")
            self._path = Path(self._folder.name) / "ledger.db"
            self._db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=OFF")
            schema.prepare(self._db, str(self._path))
            self.missing = self._begun_late()
        return self._db

    def _begun_late(self) -> bool:
        """Say whether the stream has let records go before this index began."""
        try:
            found = self._link.call("XINFO", "STREAM", self._link.key("ledger"), again=True)
        except StoreError as e:
            if "no such key" in str(e):
                return False
            raise
        facts = dict(zip(found[::2], found[1::2], strict=True))
        return bool(facts.get(b"entries-added", -1) != facts[b"length"])

    def _next(self) -> list[Entry]:
        found = self._link.call("XRANGE", self._link.key("ledger"), self._last, "+", "COUNT", _READ, again=True)
        return entries_of(found)
