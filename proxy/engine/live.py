"""The exchanges that run now: how many, when none is left, and how one of them is stopped from outside.

A stop is the cancellation of the exchange's own task, with the refusal left on the exchange before: wherever it waits (for its turn, the
provider, a person, a slow client) it ends at once, and the engine answers with that refusal in place of going silent. An exchange can be
stopped until it is settled; what is said after that is its last words, which nobody breaks off. Bounded by what runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from proxy.engine.exchange import Exchange
from proxy.model import Deny

Find = Callable[[Exchange], Deny | None]
"""Why an exchange must stop, or None where it may go on."""


class Live:
    """See the module."""

    def __init__(self) -> None:
        self._tasks: dict[Exchange, asyncio.Task[Any]] = {}
        self._quiet = asyncio.Event()
        self.inflight = 0

    def enter(self, ex: Exchange, task: asyncio.Task[None] | None = None) -> None:
        """Count an exchange in. It runs in the current task, which is `task` where the caller knows it."""
        self.inflight += 1
        self._tasks[ex] = task or _current()

    def settled(self, ex: Exchange) -> None:
        """Let an exchange say its last words undisturbed."""
        self._tasks.pop(ex, None)

    def leave(self, ex: Exchange) -> None:
        """Count an exchange out."""
        self._tasks.pop(ex, None)
        self.inflight -= 1
        if not self.inflight:
            self._quiet.set()

    def stop(self, find: Find) -> int:
        """Stop every exchange that `find` has a refusal for; return how many. Does not wait: nothing can come between."""
        stopped = 0
        for ex, task in list(self._tasks.items()):
            deny = find(ex) if ex.stopped is None else None
            if deny is not None:
                ex.stopped = deny
                task.cancel()
                stopped += 1
        return stopped

    async def idle(self, seconds: float) -> bool:
        """Wait until no exchange runs, at most `seconds`; return whether that came about."""
        if self.inflight:
            self._quiet.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self._quiet.wait()
            except TimeoutError:
                return False
        return True


def _current() -> asyncio.Task[Any]:
    return cast("asyncio.Task[Any]", asyncio.current_task())


def stopped(ex: Exchange) -> Deny | None:
    """Return why the current task was cancelled where that was a stop, and take the cancellation back; None where the client left too."""
    if ex.stopped is not None and _current().uncancel() > 0:
        ex.stopped = None  # nobody is there to be told
    return ex.stopped
