"""A receiver of webhooks on a real socket, and the world around those who send them."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from proxy.engine.notice import Notice, NoticeKind
from proxy.upstream.webhook import Hook, Surroundings, Webhooks

SECRET = b"hook-secret-that-nobody-may-see"
ALL = frozenset({"budget", "loop", "approval", "kill", "config"})
FAST = (0.001, 0.001, 0.001)


class Clock:
    """The machine's time of day; the other clock stands until it is moved."""

    def __init__(self) -> None:
        self.t_ns = 0

    def now(self) -> float:
        return time.time()

    def ns(self) -> int:
        return self.t_ns


class Receiver:
    """A server that keeps what is posted and answers as `answer` says."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.answer: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None
        self.statuses: list[int] = []
        self.url = ""
        self._news = asyncio.Event()

    async def until(self, count: int) -> None:
        """Wait until so many came."""
        while len(self.got) < count:
            self._news.clear()
            async with asyncio.timeout(20):
                await self._news.wait()

    async def take(self, request: web.Request) -> web.StreamResponse:
        self.got.append(({k.lower(): v for k, v in request.headers.items()}, await request.read()))
        self._news.set()
        if self.answer is not None:
            return await self.answer(request)
        return web.Response(status=self.statuses.pop(0) if self.statuses else 204)

    def told(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.got]


class World:
    """Webhooks with all that they need, and what became of their notices."""

    def __init__(self, delays_s: tuple[float, ...] = FAST) -> None:
        self.clock, self.counts = Clock(), Counter[str]()
        self.tasks: set[asyncio.Task[None]] = set()
        self.hooks = Webhooks(Surroundings(self.spawn, self.clock, self.count, delays_s))

    def spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def count(self, outcome: str) -> None:
        self.counts[outcome] += 1

    async def settled(self) -> Counter[str]:
        """What became of everything, once nobody works any more."""
        while self.tasks:
            async with asyncio.timeout(20):
                await asyncio.wait(set(self.tasks))
        return self.counts


@asynccontextmanager
async def receiver() -> AsyncIterator[Receiver]:
    found = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", found.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook/token-in-the-path?room=1"
    try:
        yield found
    finally:
        await runner.cleanup()


def hook(url: str, secret: bytes = SECRET, events: frozenset[str] = ALL, timeout_s: float = 5.0) -> Hook:
    return Hook(url, secret, events, timeout_s=timeout_s)


def notice(n: int = 1, kind: NoticeKind = "budget", text: str = "Budget b is at 80 %.") -> Notice:
    return Notice(kind, f"b/{n}", text, {"budget": "b", "n": n, "share": 0.8}, 1795305600.5)


def run(body: Callable[[Receiver, World], Awaitable[None]], delays_s: tuple[float, ...] = FAST) -> None:
    async def main() -> None:
        async with receiver() as found:
            world = World(delays_s)
            await body(found, world)
            await world.settled()

    asyncio.run(main())
