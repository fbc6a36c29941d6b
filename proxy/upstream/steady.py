"""The transport that the engine sees: it leaves providers alone that are down, and sends again what cost nothing.

It stands around either of the others and decides when a provider counts as failing: no connection, no answer in time or none at all, and
5xx. A 4xx, 429 included, is an answer. A circuit that is open refuses as `connect`, so that the next target is asked at no cost. The
arithmetic is `health`'s and `retry`'s; what a request that works pays for all of it is a look at the clock and at one attribute.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from proxy.engine.ports import UpstreamError, UpstreamReply, UpstreamRequest
from proxy.upstream.base import Deadlines, Provider
from proxy.upstream.health import Breaker
from proxy.upstream.lean import LeanTransport
from proxy.upstream.retry import AGAIN, Failure, pause_s
from proxy.upstream.transport import AioTransport

DOWN = frozenset({"connect", "timeout", "cut"})
"""Kinds of UpstreamError that say that a provider is down. `protocol` is not among them: a client's odd header is one. Neither is a lack of
free connections: what we allow ourselves says nothing about the provider."""


@dataclass(frozen=True, slots=True)
class Habits:
    """What is kept for one provider."""

    name: str
    breaker: Breaker
    retries: int
    deadlines: Deadlines
    queue: int | None


class Counted:
    """A reply of a server whose calls are counted (`ports.UpstreamReply`); `over` is told once that it is no longer in flight."""

    __slots__ = ("_over", "_reply", "chunks", "headers", "read", "status")

    def __init__(self, reply: UpstreamReply, over: Callable[[], None]) -> None:
        self.status, self.headers, self.read, self.chunks = reply.status, reply.headers, reply.read, reply.chunks
        self._reply, self._over = reply, over

    def close(self) -> None:
        """See `ports.UpstreamReply`."""
        over, self._over = self._over, _nothing
        self._reply.close()
        over()


def _nothing() -> None:
    """Do nothing: it is over already."""


class SteadyTransport:
    """Implements the `Transport` port around `inner`.

    Args:
        failures, cooldown_s: see `Breaker`.
        now: seconds that never go back.
        luck: a random number from 0 to 1.
    """

    def __init__(
        self,
        inner: AioTransport | LeanTransport,
        providers: Iterable[Provider],
        failures: int,
        cooldown_s: float,
        *,
        now: Callable[[], float] = time.monotonic,
        luck: Callable[[], float] = random.random,
    ) -> None:
        self.inner, self._now, self._luck = inner, now, luck
        self._habits = {
            p.name: Habits(p.name, Breaker(failures, cooldown_s), p.retries, p.deadlines or Deadlines(), p.queue) for p in providers
        }
        self._inflight = dict.fromkeys([name for name, habits in self._habits.items() if habits.queue is not None], 0)
        self._pausing: set[asyncio.Future[bool]] = set()
        self._hurried = False

    def send(self, request: UpstreamRequest) -> Coroutine[Any, Any, UpstreamReply]:
        """Return the reply to `request` once its head is here. Raises UpstreamError."""
        habits = self._habits[request.target.provider]
        return self._send(request, habits) if habits.queue is None else self._counted(request, habits, habits.queue)

    async def _counted(self, request: UpstreamRequest, habits: Habits, queue: int) -> UpstreamReply:
        """Return the reply of a server whose calls are counted."""
        name = habits.name
        if request.spare and self._inflight[name] >= queue:
            raise UpstreamError("connect", f"{self._inflight[name]} calls are under way at {name} already", busy=True)
        self._inflight[name] += 1
        try:
            return Counted(await self._send(request, habits), partial(self._over, name))
        except BaseException:
            self._over(name)
            raise

    def _over(self, name: str) -> None:
        self._inflight[name] -= 1

    async def _send(self, request: UpstreamRequest, habits: Habits) -> UpstreamReply:
        breaker, began, tried = habits.breaker, self._now(), 0
        while True:
            trial = breaker.open and self._trial(habits)
            if request.spare:
                request.report = partial(self._answered, breaker, trial)
            tried += 1
            try:
                reply = await self.inner.send(request)
            except UpstreamError as e:
                if e.kind in DOWN and not e.busy:
                    breaker.failed(self._now(), trial)
                left = began + habits.deadlines.connect_s - self._now()
                if not await self._again(habits, request, Failure(e.kind), tried, left):
                    raise
                continue
            status = reply.status
            if status >= 500:
                breaker.failed(self._now(), trial)
            elif breaker.row and not request.spare:
                breaker.worked()
            if status not in AGAIN:
                return reply
            failure = Failure("", status, reply.headers.get("retry-after"))
            left = began + habits.deadlines.total_s - self._now()
            try:
                again = await self._again(habits, request, failure, tried, left)
            except BaseException:
                reply.close()
                raise
            if not again:
                return reply
            reply.close()

    def _answered(self, breaker: Breaker, trial: bool, answered: bool) -> None:
        """Take in what became of a request that others stand ready for: of it a head alone says little."""
        if answered:
            breaker.worked()
        else:
            breaker.failed(self._now(), trial)

    def _trial(self, habits: Habits) -> bool:
        """Return True when this request may go as the open circuit's trial, else raise."""
        rest = habits.breaker.rest(self._now())
        if not rest:
            return True
        why = f"the circuit of {habits.name} is open after {habits.breaker.row} failures in a row; the next trial is in {rest:.1f} s"
        raise UpstreamError("connect", why, retry_after_s=math.ceil(rest))

    async def _again(self, habits: Habits, request: UpstreamRequest, failure: Failure, tried: int, left_s: float) -> bool:
        """Wait until `request` may be sent again; return whether it may at all."""
        if not request.alone or self._hurried or habits.breaker.open:
            return False
        pause = pause_s(failure, tried, habits.retries, left_s, self._luck())
        if pause is None:
            return False
        what = f"answered {failure.status}" if failure.status else "could not be reached"
        request.note("upstream", f"{habits.name} {what}; asking again in {pause:.2f} s (attempt {tried + 1})")
        request.idle = True
        return await self._pause(pause)

    async def _pause(self, seconds: float) -> bool:
        """Wait; return whether it was to the end."""
        loop = asyncio.get_running_loop()
        over: asyncio.Future[bool] = loop.create_future()
        timer = loop.call_later(seconds, _end, over, True)
        self._pausing.add(over)
        try:
            return await over
        finally:
            timer.cancel()
            self._pausing.discard(over)

    def hurry(self) -> None:
        """Send nothing again from here on, and let those who wait for it go: the process is about to end."""
        self._hurried = True
        for over in self._pausing:
            _end(over, False)

    def circuits(self) -> dict[str, bool]:
        """Return for each provider whether its circuit is open."""
        return {name: habits.breaker.open for name, habits in self._habits.items()}

    async def warm(self) -> None:
        """Open the connections that providers want ahead."""
        await self.inner.warm()

    async def follow(self, before: SteadyTransport) -> None:
        """Take the place of `before`: open what is wanted ahead, and have that one close what it has once nobody uses it."""
        await self.warm()
        await before.retire()

    async def retire(self) -> None:
        """Close every connection once nobody uses one or waits to: for a transport that a reload has replaced."""
        while self._pausing:
            await asyncio.wait(set(self._pausing))
        await self.inner.retire()

    async def close(self) -> None:
        """Close every connection."""
        await self.inner.close()


def _end(over: asyncio.Future[bool], whole: bool) -> None:
    if not over.done():
        over.set_result(whole)
