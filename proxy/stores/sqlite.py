"""Budgets in one SQLite file, which several processes of one machine may share and which outlives them all.

One writer thread owns the connection; the loop never waits for the disk. Verbs gather on the loop, in order, while a batch is with the
writer, and go to it together: `proxy.stores.rows` runs them as one transaction. So a busy proxy pays one commit for many verbs.

Nobody's answer waits for a settle or a release, so they wake the writer only if no other verb comes along within `LAZY_S` to take them
with it; they keep their place in the order. Dying in between leaves holds that expire and are charged in full, which is the safe side.

Fails closed: whatever SQLite refuses (locked for too long, disk full, file gone) reaches every verb of the batch as `StoreError`, and
the batch is rolled back; a writer that does not answer at all does the same after `stuck_s`.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from proxy.budget.book import Book
from proxy.budget.port import Balance, Claim, Ended, Exceeded, Held
from proxy.engine.ports import StoreError
from proxy.stores.checkpoint import Checkpoints
from proxy.stores.rows import Rows, Verb
from proxy.stores.schema import LONG_LOG, connect

BATCH = 256
"""Most verbs in one transaction: bounds how long other processes wait for the file."""
LAZY_S = 0.01
"""How long a settle waits at most for a verb that somebody waits for."""

Future = asyncio.Future[Any]
Waiting = tuple[Verb | float | Sequence[str], Future]
"""A verb, or the time of a sweep, or the holds that have a record, and who waits for the result."""


class SqliteBudget:
    """`BudgetStore` in the SQLite file at `path`. For one loop at a time.

    Args:
        path: the file.
        busy_s: how long to wait for other processes that write.
        stuck_s: after what time without any answer verbs fail.
    """

    def __init__(self, path: Path, busy_s: float = 5.0, stuck_s: float = 20.0) -> None:
        self._db = connect(path, busy_s)
        self._db.execute(f"PRAGMA wal_autocheckpoint = {LONG_LOG}")
        self._rows, self._checkpoints = Rows(self._db), Checkpoints(path)
        self._stuck_s = stuck_s
        self._batches: queue.SimpleQueue[list[Waiting] | None] = queue.SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: list[Waiting] = []
        self._sent: list[Waiting] = []
        self._urgent = self._stuck = self._closed = False
        self._lazy: asyncio.TimerHandle | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._sent_at = 0.0
        self._thread = threading.Thread(target=self._write_loop, name="fleetgate-budget", daemon=True)
        self._thread.start()

    async def reserve(self, hold_id: str, claims: Sequence[Claim], now: float, hold_expires: float, about: str = "") -> Held | Exceeded:
        """See `BudgetStore.reserve`."""

        def run(book: Book) -> Held | Exceeded:
            return book.reserve(hold_id, claims, now, hold_expires, about)

        found: Held | Exceeded = await self._submit(Verb(run, (hold_id,), [claim[0] for claim in claims], new=True))
        return found

    async def extend(self, hold_id: str, amounts: Mapping[str, int], now: float, hold_expires: float | None = None) -> Held | Exceeded:
        """See `BudgetStore.extend`."""
        found: Held | Exceeded = await self._submit(Verb(lambda book: book.extend(hold_id, amounts, now, hold_expires), (hold_id,)))
        return found

    async def settle(self, hold_id: str, amounts: Mapping[str, int], now: float, refund: Collection[str] = ()) -> bool:
        """See `BudgetStore.settle`."""
        ended: bool = await self._submit(Verb(lambda book: book.settle(hold_id, amounts, now, refund), (hold_id,)), urgent=False)
        return ended

    async def release(self, hold_id: str, now: float) -> bool:
        """See `BudgetStore.release`."""
        ended: bool = await self._submit(Verb(lambda book: book.settle(hold_id, {}, now), (hold_id,)), urgent=False)
        return ended

    async def balances(self, counters: Sequence[str], now: float) -> dict[str, Balance]:
        """See `BudgetStore.balances`."""
        found: dict[str, Balance] = await self._submit(Verb(lambda book: {key: book.balance(key, now) for key in counters}, (), counters))
        return found

    async def sweep(self, now: float) -> list[Ended]:
        """See `BudgetStore.sweep`."""
        ended: list[Ended] = await self._submit(now)
        return ended

    async def recorded(self, hold_ids: Sequence[str]) -> None:
        """See `BudgetStore.recorded`."""
        await self._submit(list(hold_ids))

    async def close(self) -> None:
        """See `BudgetStore.close`."""
        if not self._closed:
            self._closed = True
            self._hand_over()
            self._batches.put(None)
            await asyncio.to_thread(self._thread.join, self._stuck_s)
            for timer in (self._lazy, self._watch):
                if timer is not None:
                    timer.cancel()

    # --- on the loop ------------------------------------------------------------------------------------------------------------

    def _submit(self, verb: Verb | float | Sequence[str], *, urgent: bool = True) -> Future:
        """Queue `verb` in its place and return its result to come; a verb that somebody waits for goes to the writer soon."""
        if self._closed:
            raise StoreError("the budget store is closed")
        if self._stuck:
            raise StoreError("the budget store's file does not answer")
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._move_to(loop)
        future = loop.create_future()
        self._waiting.append((verb, future))
        if urgent:
            if not self._sent and not self._urgent:
                loop.call_soon(self._hurry)  # the verbs of one turn of the loop go together
            self._urgent = True
        elif self._lazy is None:
            self._lazy = loop.call_later(LAZY_S, self._hurry_lazily)
        return future

    def _move_to(self, loop: asyncio.AbstractEventLoop) -> None:
        """Serve another loop; what the one before left unsent still goes first, and nobody waits for it."""
        self._loop, self._sent, self._lazy, self._watch = loop, [], None, None

    def _hurry(self) -> None:
        """Hand over, unless the writer is busy: then it gets the rest when it is done."""
        self._urgent = True
        if not self._sent:
            self._hand_over()

    def _hurry_lazily(self) -> None:
        self._lazy = None
        if self._waiting:
            self._hurry()

    def _hand_over(self) -> None:
        """Give the writer all that waits."""
        self._urgent = False
        if not self._waiting:
            return
        self._sent, self._waiting = self._waiting, []
        if self._loop is not None and not self._closed:
            self._sent_at = self._loop.time()
            if self._watch is None:
                self._watch = self._loop.call_later(self._stuck_s, self._look)
        self._batches.put(self._sent)

    def _look(self) -> None:
        """See whether the writer has had its batch for too long. One timer goes on and on: one for each batch would cost more."""
        self._watch = None
        if self._sent and self._loop is not None:
            left = self._sent_at + self._stuck_s - self._loop.time()
            if left <= 0:
                self._give_up()
            else:
                self._watch = self._loop.call_later(left, self._look)

    def _give_up(self) -> None:
        """Fail all who wait: the writer is stuck, and nobody may wait forever. It may still do what it was given."""
        self._stuck = True
        fault = StoreError("the budget store's file does not answer")
        _resolve([*self._sent, *self._waiting], [fault] * (len(self._sent) + len(self._waiting)))

    def _answered(self, batch: Sequence[Waiting], results: Sequence[Any]) -> None:
        if batch is self._sent:
            self._sent, self._stuck = [], False
            if self._urgent:
                self._hand_over()
        _resolve(batch, results)

    # --- in the writer's thread -------------------------------------------------------------------------------------------------

    def _write_loop(self) -> None:
        while (batch := self._batches.get()) is not None:
            results: list[Any] = []
            for part in _parts(batch):
                results += self._commit(part)
            loop = batch[-1][1].get_loop()
            try:
                loop.call_soon_threadsafe(self._answered, batch, results)
            except RuntimeError:  # the loop is gone, and who waited with it
                pass
            self._tidy(self._rows.tidy)
            self._tidy(self._checkpoints.committed)
        self._checkpoints.stop(self._stuck_s)
        self._tidy(self._rows.finish)
        self._db.close()

    def _tidy(self, work: Callable[[], None]) -> None:
        """Do what nobody waits for. What fails is tried again after the next batch, which fails by itself if it must."""
        try:
            work()
        except Exception:  # noqa: BLE001 - as below
            self._rows.forget()

    def _commit(self, part: Sequence[Waiting]) -> list[Any]:
        """Run `part` in one transaction and return each verb's result or exception."""
        try:
            first = part[0][0]
            if isinstance(first, float | int):
                return [self._rows.sweep(first)]
            if not isinstance(first, Verb):
                self._rows.recorded(first)
                return [None]
            return self._rows.commit([verb for verb, _ in part if isinstance(verb, Verb)])
        except StoreError as e:
            fault = e
        except sqlite3.Error as e:
            fault = StoreError(f"the budget store's file cannot be used: {e}")
        except Exception as e:  # noqa: BLE001 - whatever it is, the thread must live: nobody waits for an answer that never comes
            fault = StoreError(f"the budget store's file does not say what it should: {type(e).__name__}")
        self._rows.forget()
        return [fault] * len(part)


def _parts(batch: Sequence[Waiting]) -> list[Sequence[Waiting]]:
    """Return `batch` in pieces of one transaction each: what is no verb by itself, verbs up to `BATCH` together."""
    if len(batch) <= BATCH and {type(item[0]) for item in batch} == {Verb}:
        return [batch]
    parts: list[list[Waiting]] = []
    alone = True
    for item in batch:
        sweep = not isinstance(item[0], Verb)
        if sweep or alone or len(parts[-1]) >= BATCH:
            parts.append([])
        parts[-1].append(item)
        alone = sweep
    return list(parts)


def _resolve(batch: Sequence[Waiting], results: Sequence[Any]) -> None:
    here = asyncio.get_running_loop()
    for (_, future), result in zip(batch, results, strict=True):
        if future.done() or future.get_loop() is not here:
            continue
        if isinstance(result, StoreError):
            future.set_exception(StoreError(*result.args))
        else:
            future.set_result(result)
