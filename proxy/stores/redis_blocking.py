"""A link to a Redis store for callers without an event loop, or on another thread than the loop's.

How it fails: as `redis_link` does; nobody waits longer than connecting and answering may take, twice.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from typing import Any

from proxy.stores.faults import Unreachable
from proxy.stores.redis_link import RedisLink, Script, Word
from proxy.stores.redis_place import Place


class BlockingLink:
    """The same verbs as `RedisLink` without `await`: a thread of its own runs the link. Safe in any thread."""

    def __init__(self, place: Place) -> None:
        self.place, self.key = place, place.key
        self._link = RedisLink(place)
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def call(self, *words: Word, again: bool = False) -> Any:
        """See `RedisLink.call`."""
        return self._wait(self._link.call(*words, again=again))

    def run(self, script: Script, keys: Sequence[str], args: Sequence[Word], *, again: bool = False) -> Any:
        """See `RedisLink.run`."""
        return self._wait(self._link.run(script, keys, args, again=again))

    def close(self) -> None:
        """Let go of the connection and the thread."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None:
            asyncio.run_coroutine_threadsafe(self._link.close(), loop).result(self._longest())
            loop.call_soon_threadsafe(loop.stop)

    def _longest(self) -> float:
        return 2 * (self.place.connect_s + self.place.command_s) + 1.0

    def _wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=_forever, args=(self._loop,), name="fleetgate-redis", daemon=True).start()
            loop = self._loop
        future = asyncio.run_coroutine_threadsafe(work, loop)
        try:
            return future.result(self._longest())
        except TimeoutError:
            future.cancel()
            raise Unreachable("the Redis store did not answer") from None


def _forever(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.run_until_complete(asyncio.sleep(0))  # connections that were told to close
        loop.close()
