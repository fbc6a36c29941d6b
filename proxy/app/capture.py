"""Keeping what is said: takes exchanges that have ended from the loop and has a thread of its own keep what may be kept of them.

Decides who is kept: agents whose file has content logged, and exchanges that came as far as a body; our own samples are not. The loop does
no more than append to a bounded queue (so many exchanges, so many bytes); what does not fit is dropped, counted and said. The thread reads,
hides and writes; what cannot be written (a full disk) is dropped, counted and said likewise. Nothing here can raise into an exchange, wait
for one or be waited for; closing writes what is queued, within a bound.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from proxy.app.said import Said, content_of
from proxy.engine.capture import Heard
from proxy.engine.exchange import Exchange
from proxy.engine.ports import StoreError
from proxy.engine.record import Record
from proxy.guards.logged import LOGS
from proxy.settings.telemetry import Telemetry
from proxy.telemetry.content import Content, Contents
from proxy.telemetry.metrics import Metrics

log = logging.getLogger("fleetgate.content")
MOST, MOST_BYTES = 2000, 64 << 20
"""Exchanges that may wait to be kept, and bytes of replies that run and of bodies that wait."""
BATCH = 50
GATHER_S, CLOSE_S, TELL_S = 0.1, 5.0, 60.0
DAY_S = 86_400.0
RAW = 16
"""Bytes of a reply that are held on to, for each byte of text that is kept: a stream says little text in many bytes."""
OPERATIONS = frozenset(("chat", "embeddings"))


@dataclass(slots=True)
class Counts:
    """Exchanges by what became of what was said in them."""

    kept: int = 0
    dropped: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is kept, and how long: bytes of texts of one exchange, and seconds."""

    most: int
    lasts_s: float


def level_of(ex: Exchange) -> str:
    """Return what the agent's file has logged of contents, empty where nobody has proved to be one."""
    grant = getattr(ex, "grant", None)
    return "" if grant is None else grant.data.get("log_content", "")


def wanted(ex: Exchange) -> bool:
    """Return whether anything of `ex` is kept."""
    return level_of(ex) in LOGS and not ex.sample_of


def open_capture(told: Telemetry, contents: Contents, metrics: Metrics) -> Capture | None:
    """Return what keeps what is said, its thread running and its counts among the metrics; None where nothing is to be kept."""
    if not told.capture:
        return None
    capture = Capture(contents, Bounds(told.capture_kb << 10, told.capture_days * DAY_S))
    metrics.contents = capture.counts
    return capture


class Capture:
    """Implements `engine.capture.Capturing`. `begin` and `end` belong to the event loop's thread."""

    def __init__(self, contents: Contents, bounds: Bounds) -> None:
        self._contents, self._bounds = contents, bounds
        self._queue: deque[tuple[Said, int]] = deque()
        self._bytes = 0
        self._taken = 0
        self._wake, self._closing = threading.Event(), threading.Event()
        self._give_up, self._told_at = float("inf"), -TELL_S
        self._counts = Counts()
        self._thread = threading.Thread(target=self._run, name="fleetgate-content", daemon=True)
        self._thread.start()

    def counts(self) -> Mapping[str, int]:
        """Return how many exchanges were kept and not, since the start."""
        return asdict(self._counts)

    def begin(self, ex: Exchange) -> None:
        """See `Capturing.begin`."""
        ex.client = Heard(ex, wanted, RAW * self._bounds.most, self._take)

    def _take(self, size: int) -> bool:
        """Take room for so many more bytes, of exchanges that run or wait; return whether there is any."""
        if self._bytes - self._taken + size > MOST_BYTES:
            return False
        self._bytes += size
        return True

    def end(self, ex: Exchange, record: Record) -> None:
        """See `Capturing.end`."""
        heard = ex.client
        if not isinstance(heard, Heard):
            return
        ex.client = heard.client
        heard.leave()
        call = getattr(ex, "call", None)
        if call is None or call.operation not in OPERATIONS or not wanted(ex):
            return self._leave(heard)
        if len(self._queue) >= MOST or self._closing.is_set() or not self._take(len(ex.body)):
            self._counts.dropped += 1
            self._tell("there are more than can be written")
            return self._leave(heard)
        size = len(ex.body) + heard.size
        said = Said(
            record.id,
            record.time,
            record.agent,
            record.session,
            level_of(ex),
            self._until(ex, record.time),
            ex.codec,
            call,
            heard,
            ex.redactions,
        )
        self._queue.append((said, size))
        self._wake.set()

    def _leave(self, heard: Heard) -> None:
        """Keep nothing of an exchange."""
        self._bytes -= heard.size
        if heard.then is not None:
            heard.then(None)

    def _until(self, ex: Exchange, since: float) -> float:
        days = ex.grant.data.get("retention_days")
        return since + (self._bounds.lasts_s if days is None else min(self._bounds.lasts_s, float(days) * DAY_S))

    async def close(self) -> None:
        """Write what is queued, within `CLOSE_S`; what remains is dropped, and said."""
        await asyncio.to_thread(self.stop)

    def stop(self) -> None:
        """`close`, for callers without an event loop."""
        self._give_up = time.monotonic() + CLOSE_S
        self._closing.set()
        self._wake.set()
        self._thread.join(CLOSE_S + 0.5)
        if self._queue:
            self._counts.dropped += len(self._queue)
            self._told_at = -TELL_S
            self._tell("the server stopped")

    # --- the thread --------------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait()
            self._wake.clear()
            self._closing.wait(GATHER_S)
            self._write_all()
        self._write_all()

    def _write_all(self) -> None:
        while self._queue and time.monotonic() < self._give_up:
            batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
            self._write([said for said, _ in batch])
            self._taken += sum(size for _, size in batch)

    def _write(self, batch: list[Said]) -> None:
        """Keep what may be kept of some exchanges, and hand each to who waits for it."""
        found: list[Content] = []
        ready = set[str]()
        for said in batch:
            if said.session in ready:  # a turn must see how far the one before it was kept
                self._keep(found)
                found, ready = [], set()
            content = self._read(said)
            if content is not None:
                found.append(content)
                ready.add(said.session)
            if said.heard.then is not None:
                said.heard.then(content)
        self._keep(found)

    def _read(self, said: Said) -> Content | None:
        try:
            return content_of(said, self._contents.mark(said.session) if said.session else None, self._bounds.most)
        except StoreError as e:
            self._counts.failed += 1
            self._tell(str(e))
        except Exception:  # a mistake of ours costs what one exchange said, never the thread
            self._counts.failed += 1
            log.exception("exchange %s: what was said in it cannot be read", said.id)
        return None

    def _keep(self, found: list[Content]) -> None:
        if not found:
            return
        try:
            self._contents.keep(found)
            self._counts.kept += len(found)
        except StoreError as e:
            self._counts.failed += len(found)
            self._tell(str(e))

    def _tell(self, why: str) -> None:
        now = time.monotonic()
        if now - self._told_at >= TELL_S:
            self._told_at = now
            lost = self._counts.dropped + self._counts.failed
            log.error("what was said in %d exchanges so far is not kept: %s", lost, why)
