"""What is new, as server-sent events to whoever listens.

Decides how often it is looked (once a second while somebody listens, more rarely where a look takes long), and what a listener gets that
is slow or was away: each has a queue of so many events, and who does not read it gets one `resync` in place of what it held; who comes
back with the id of its last event gets what it missed, while that is remembered. Nothing here waits for a listener but its own coroutine,
and nothing is looked at on the loop.

How it fails: a look that cannot be made is tried again, and listeners hear nothing meanwhile but the heartbeat. A listener that takes no
byte for `WRITE_S` is let go; so is one whose login is over.

Source: WHATWG HTML, 9.2 Server-sent events.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import web

from proxy import __version__
from proxy.admin.answers import HEADERS
from proxy.admin.guard import CALLER, Caller
from proxy.admin.panels import Readers
from proxy.engine.ports import StoreError

log = logging.getLogger("fleetgate.admin")
MOST_LISTENERS, QUEUE, REMEMBERED = 32, 64, 300
EVERY_S, REST = 1.0, 20.0
"""Seconds between two looks; and the rest after one is at least so many times as long as it was."""
BEAT_S, WRITE_S = 15.0, 30.0
News = Callable[[], Sequence[tuple[str, dict[str, Any]]]]


class Listener:
    """One stream: the frames that wait for it."""

    def __init__(self) -> None:
        self.waiting: deque[bytes] = deque()
        self.wake = asyncio.Event()
        self.over = ""

    def put(self, frame: bytes, resync: bytes) -> None:
        """Queue a frame; where too many wait already, all of them become one `resync`."""
        if len(self.waiting) >= QUEUE:
            self.waiting.clear()
            self.waiting.append(resync)
        else:
            self.waiting.append(frame)
        self.wake.set()

    def end(self, why: str) -> None:
        """Have it end."""
        self.over = why
        self.wake.set()


class Live:
    """See the module.

    Args:
        news: what changed since it was last called; called in a thread.
        readers: the threads.
        now: UTC seconds.
        beat_s: seconds between two heartbeats.
    """

    def __init__(self, news: News, readers: Readers, now: Callable[[], float], beat_s: float = BEAT_S) -> None:
        self._news, self._readers, self._now, self._beat_s = news, readers, now, beat_s
        self._listeners: set[Listener] = set()
        self._boot, self._count = secrets.token_hex(4), 0
        self._past: deque[tuple[int, bytes]] = deque(maxlen=REMEMBERED)
        self._task: asyncio.Task[None] | None = None
        self._closed, self._problem = False, ""

    async def listen(self, request: web.Request) -> web.StreamResponse:
        """Stream events until either side ends it."""
        if len(self._listeners) >= MOST_LISTENERS or self._closed:
            raise web.HTTPServiceUnavailable(text="Too many listen already.", headers={"Retry-After": "30"})
        reply = web.StreamResponse(headers=HEADERS | {"Content-Type": "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no"})
        if request.method == "HEAD":
            await reply.prepare(request)
            return reply
        listener = Listener()
        self._listeners.add(listener)
        try:
            await reply.prepare(request)
            if self._task is None:
                self._task = asyncio.ensure_future(self._look())
                self._task.add_done_callback(self._stopped)
            seen, missed = self._missed(request.headers.get("last-event-id", ""))
            listener.waiting.append(self._frame("hello", {"now": self._now(), "version": __version__}, seen))
            listener.waiting.extend(missed)
            await self._write(reply, listener, request[CALLER])
        except (ConnectionError, TimeoutError):
            pass  # it is gone
        finally:
            self._listeners.discard(listener)
            if not self._listeners and self._task is not None:
                self._task.cancel()
                self._task = None
        return reply

    async def close(self) -> None:
        """End all streams."""
        self._closed = True
        for listener in self._listeners:
            listener.end("the process stops")
        if self._task is not None:
            self._task.cancel()

    async def _write(self, reply: web.StreamResponse, listener: Listener, caller: Caller) -> None:
        while True:
            while listener.waiting and _may_listen(caller, self._now()):
                await self._send(reply, listener.waiting.popleft())
            if not _may_listen(caller, self._now()):
                listener.end("signed out")
            if listener.over:
                return await self._send(reply, self._frame("end", {"why": listener.over}))
            listener.wake.clear()
            try:
                async with asyncio.timeout(self._beat_s):
                    await listener.wake.wait()
            except TimeoutError:
                if _may_listen(caller, self._now()):
                    await self._send(reply, b": still here\n\n")

    @staticmethod
    async def _send(reply: web.StreamResponse, frame: bytes) -> None:
        async with asyncio.timeout(WRITE_S):
            await reply.write(frame)

    async def _look(self) -> None:
        while True:
            began = time.monotonic()
            try:
                for name, text in await self._readers.read(self._written):
                    self._tell(name, text)
                self._problem = ""
            except (StoreError, web.HTTPException) as e:
                problem = str(e.text) if isinstance(e, web.HTTPException) else str(e)
                if problem != self._problem:  # once, and not each second
                    log.warning("what is new cannot be read: %s", problem)
                self._problem = problem
            await asyncio.sleep(max(EVERY_S, REST * (time.monotonic() - began)))

    def _written(self) -> list[tuple[str, str]]:
        """Return what is new, written already: that is no work for the loop."""
        return [(name, json.dumps(data)) for name, data in self._news()]

    def _stopped(self, task: asyncio.Task[None]) -> None:
        """Let those who come later begin anew, should looking have failed for good."""
        if not task.cancelled() and (e := task.exception()) is not None:
            log.error("what is new is not looked for any more", exc_info=e)
            self._task = None
            for listener in self._listeners:
                listener.end("an error; the log says which")

    def _tell(self, name: str, text: str) -> None:
        self._count += 1
        frame = self._framed(name, text)
        self._past.append((self._count, frame))
        resync = self._frame("resync", {"why": "you were too slow"})
        for listener in self._listeners:
            listener.put(frame, resync)

    def _missed(self, last: str) -> tuple[int, list[bytes]]:
        """Return the number up to which all was seen, and what came later; one `resync` where the event `last` is not known (any more)."""
        if not last:
            return self._count, []
        boot, _, number = last.partition("-")
        seen = int(number) if boot == self._boot and number.isascii() and number.isdigit() and len(number) < 16 else -1
        first = self._past[0][0] if self._past else self._count + 1
        if not first - 1 <= seen <= self._count:
            return self._count, [self._frame("resync", {"why": "you were away for too long"})]
        return seen, [frame for number_, frame in self._past if number_ > seen]

    def _frame(self, name: str, data: dict[str, Any], number: int | None = None) -> bytes:
        return self._framed(name, json.dumps(data), number)

    def _framed(self, name: str, text: str, number: int | None = None) -> bytes:
        return f"id: {self._boot}-{self._count if number is None else number}\nevent: {name}\ndata: {text}\n\n".encode()


def _may_listen(caller: Caller, now: float) -> bool:
    """Return whether a caller may still listen; whoever has a page open uses the login."""
    if caller.login is None:
        return True
    if not caller.login.holds(now):
        return False
    caller.login.used = now
    return True
