"""A link to a Redis store for callers without an event loop, or on another thread than the loop's.

The thread that calls drives the link's own loop, one call at a time: handing each call to a thread that runs one costs more than the call.
Between calls nothing runs, so what the server did meanwhile (it ended the connection) is heard at the beginning of the next.

How it fails: as `redis_link` does; nobody waits longer than connecting and answering may take, twice, and as long again for their turn.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from proxy.engine.ports import StoreError
from proxy.stores.faults import Unreachable
from proxy.stores.redis_link import RedisLink, Script, Word
from proxy.stores.redis_place import Place

ROUNDS, TLS_ROUNDS = 1, 8
"""Turns of the loop in which the end of a connection is heard: TLS says it, then TCP, and each layer tells the next one in a turn of its
own."""
Work = Callable[[], Coroutine[Any, Any, Any]]


class BlockingLink:
    """The same verbs as `RedisLink` without `await`. Safe in any thread."""

    def __init__(self, place: Place) -> None:
        self.place, self.key = place, place.key
        self._link = RedisLink(place)
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def call(self, *words: Word, again: bool = False) -> Any:
        """See `RedisLink.call`."""
        return self._here(lambda: self._link.call(*words, again=again))

    def run(self, script: Script, keys: Sequence[str], args: Sequence[Word], *, again: bool = False) -> Any:
        """See `RedisLink.run`."""
        return self._here(lambda: self._link.run(script, keys, args, again=again))

    def close(self) -> None:
        """Let go of the connection."""
        with self._lock:
            loop, self._loop, self._closed = self._loop, None, True
        if loop is not None:
            _in_a_free_thread(lambda: self._end(loop))

    def _end(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            loop.run_until_complete(self._link.close())
            loop.run_until_complete(asyncio.sleep(0))  # the connection was told to close
        finally:
            loop.close()

    def _here(self, work: Work) -> Any:
        return _in_a_free_thread(lambda: self._drive(work))

    def _drive(self, work: Work) -> Any:
        if not self._lock.acquire(timeout=2 * (self.place.connect_s + self.place.command_s) + 1.0):
            raise Unreachable("the Redis store did not answer")
        try:
            if self._closed:
                raise StoreError("the Redis store is closed")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
            return self._loop.run_until_complete(_heard(work, TLS_ROUNDS if self.place.tls else ROUNDS))
        finally:
            self._lock.release()


async def _heard(work: Work, rounds: int) -> Any:
    """Do `work` once the link has heard what came while nothing ran."""
    for _ in range(rounds):
        await asyncio.sleep(0)
    return await work()


def _in_a_free_thread(work: Callable[[], Any]) -> Any:
    """Do `work`, which runs a loop, in a thread that runs none: in this one, if it may."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:  # none runs
        pass
    else:
        with ThreadPoolExecutor(1) as elsewhere:
            return elsewhere.submit(work).result()
    return work()
