"""One timer for all deadlines of a connection, of which one counts at a time.

It is armed anew only for a deadline before the one that it is armed for; else it looks, when it fires, how far the deadline has moved
meanwhile. So a request arms and cancels nothing, and no deadline is late.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable


class Deadline:
    """See the module. `over` is called when the deadline that counts has passed; then none does, until another is set."""

    __slots__ = ("_due", "_fires", "_loop", "_over", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, over: Callable[[], None]) -> None:
        self._loop, self._over = loop, over
        self._due = self._fires = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def within(self, seconds: float) -> None:
        """Have the deadline be that far ahead."""
        due = self._due = self._loop.time() + seconds
        if due < self._fires:
            if self._timer is not None:
                self._timer.cancel()
            self._fires, self._timer = due, self._loop.call_at(due, self._tick)

    def sooner(self, seconds: float) -> None:
        """Have the deadline be that far ahead at most."""
        if self._due > self._loop.time() + seconds:
            self.within(seconds)

    def lift(self) -> None:
        """Have no deadline count."""
        self._due = math.inf

    def stop(self) -> None:
        """Have nothing fire any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._due = self._fires = math.inf

    def _tick(self) -> None:
        due = self._fires = self._due
        if due > self._loop.time():
            self._timer = None if due == math.inf else self._loop.call_at(due, self._tick)
            return
        self._due = self._fires = math.inf
        self._timer = None
        self._over()
