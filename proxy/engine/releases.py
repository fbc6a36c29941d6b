"""Running what exchanges deferred: at once, in their own turn, as far as each goes without waiting; what waits is awaited off their path.

Most of it never waits, and a store takes its verb before anything is waited for: so a settle is on its way before the client has the last
byte, and in the order in which exchanges end. What waits is awaited by one task for many, since stores answer many at once; each wait has
its deadline there. A release that fails is said and counted, and its hold expires and is charged in full.

A release's first steps run in its exchange's task, so nothing in them may ask which task it is in (as `asyncio.timeout` does).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any

from proxy.engine.exchange import Exchange, Release

log = logging.getLogger("fleetgate.engine")
AT_ONCE = 64
"""How many wait behind one another at most."""


class Releases:
    """See the module. `spawn` runs a task, `on_lost` is told of each failure."""

    def __init__(self, spawn: Callable[[Coroutine[Any, Any, None]], None], on_lost: Callable[[], None]) -> None:
        self._spawn, self._on_lost = spawn, on_lost
        self._waiting: list[tuple[Exchange, str, Awaitable[None]]] = []
        self._awaited = False

    def run(self, ex: Exchange, defers: list[tuple[str, Release]]) -> None:
        """Run `defers` for `ex`, last first. Raises nothing."""
        for name, release in reversed(defers):
            try:
                rest = begin(release(ex))
            except (Exception, asyncio.CancelledError):  # noqa: BLE001  logged there; nothing here waits, so what was cancelled is the store's
                self._lost(ex, name)
                continue
            if rest is not None:
                self._later(ex, name, rest)

    def _later(self, ex: Exchange, name: str, rest: Awaitable[None]) -> None:
        self._waiting.append((ex, name, rest))
        if not self._awaited or len(self._waiting) >= AT_ONCE:
            self._awaited = True
            self._spawn(self._await())

    async def _await(self) -> None:
        try:
            while self._waiting:
                waiting, self._waiting = self._waiting[::-1], []
                while waiting:  # each is let go of as soon as it is over: with it stands all that its client sent
                    ex, name, rest = waiting.pop()
                    try:
                        await rest
                    except asyncio.CancelledError:  # of what it waits for, unless it is we who are to stop
                        if (task := asyncio.current_task()) is None or task.cancelling():
                            raise
                        self._lost(ex, name)
                    except Exception:  # noqa: BLE001
                        self._lost(ex, name)
        finally:
            self._awaited = False

    def _lost(self, ex: Exchange, name: str) -> None:
        self._on_lost()
        log.exception("exchange %s: the %s hold could not be released; it expires and is charged in full", ex.id, name)


def begin(work: Coroutine[Any, Any, None]) -> Awaitable[None] | None:
    """Run `work` to where it first waits; return what runs the rest of it, None where it is over. Raises what it raises."""
    try:
        waits = work.send(None)
    except StopIteration:
        return None
    if waits is not None:
        waits._asyncio_future_blocking = False  # taken, as a task says it: else nobody else could wait for the same future
    return _Rest(work, waits)


class _Rest:
    """A coroutine that was begun, and waits for `waits`. It cannot be awaited itself any more: it is driven by hand."""

    __slots__ = ("_waits", "_work")

    def __init__(self, work: Coroutine[Any, Any, None], waits: Any) -> None:
        self._work, self._waits = work, waits

    def __await__(self) -> Generator[Any, None, None]:
        work, waits = self._work, self._waits
        try:
            while True:
                try:
                    if waits is None or not waits.done():  # a store has answered many at once: no turn of the loop for each
                        if waits is not None:
                            waits._asyncio_future_blocking = True  # as it was handed out
                        yield waits
                except BaseException as e:  # noqa: BLE001  it is handed on
                    waits = work.throw(e)
                else:
                    waits = work.send(None)
                if waits is not None:
                    waits._asyncio_future_blocking = False  # taken, as in `begin`
        except StopIteration:
            return
