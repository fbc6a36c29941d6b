"""Webhooks over real sockets: what arrives and how it is signed, and that a hook that fails or hangs harms nobody."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from proxy.engine.notice import Notice, NoticeKind
from proxy.upstream import webhook
from proxy.upstream.webhook import Hook, Surroundings, Webhooks, json_body, sign, slack_body

ROOT = Path(__file__).parents[2]
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


def genuine() -> Callable[..., bool]:
    """The receiver's check as the documentation has it."""
    found = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "webhooks.md").read_text(), re.DOTALL)
    assert found is not None
    names: dict[str, Any] = {}
    exec(found[1], names)
    check: Callable[..., bool] = names["genuine"]
    return check


def test_a_notice_arrives_signed_and_whole() -> None:
    async def body(there: Receiver, world: World) -> None:
        world.hooks.use([hook(there.url)])
        world.hooks.tell(notice())
        assert await world.settled() == {"delivered": 1}
        ((headers, sent),) = there.got
        told = json.loads(sent)
        assert re.fullmatch(r"[0-9a-f]{32}", told.pop("id"))
        assert told == {
            "kind": "budget",
            "text": "Budget b is at 80 %.",
            "time": 1795305600.5,
            "facts": {"budget": "b", "n": 1, "share": 0.8},
        }
        assert headers["content-type"] == "application/json"
        check, signature = genuine(), headers["x-fleetgate-signature"]
        assert check(signature, sent, SECRET)
        assert not check(signature, sent + b" ", SECRET)
        assert not check(signature, sent, b"another secret")
        assert not check(sign(SECRET, sent, int(time.time()) - 1000), sent, SECRET), "an old one that somebody kept"

    run(body)


def test_kinds_go_where_they_are_wanted_and_slack_gets_text_alone() -> None:
    async def body(there: Receiver, world: World) -> None:
        slack = Hook(there.url, b"", frozenset({"kill"}), "slack")
        world.hooks.use([hook(there.url, events=frozenset({"loop"})), slack])
        for n, kind in enumerate(("budget", "loop", "kill", "config", "approval")):
            world.hooks.tell(notice(n, kind, "<!channel> & more"))  # type: ignore[arg-type]
        assert await world.settled() == {"delivered": 2}
        assert sorted(map(len, there.told())) == [3, 5]
        (plain,) = [told for told in there.told() if len(told) == 3]
        assert plain == {"text": "[fleetgate kill] &lt;!channel&gt; &amp; more", "unfurl_links": False, "unfurl_media": False}
        (headers,) = [headers for headers, sent in there.got if len(json.loads(sent)) == 3]
        assert "x-fleetgate-signature" not in headers, "without a secret there is none"

    run(body)


@pytest.mark.parametrize("statuses", [[500], [503, 429, 408], [502, 502, 502]])
def test_what_may_pass_is_tried_again_with_the_same_id(statuses: list[int]) -> None:
    async def body(there: Receiver, world: World) -> None:
        there.statuses = list(statuses)
        world.hooks.use([hook(there.url)])
        world.hooks.tell(notice())
        assert await world.settled() == {"delivered": 1}
        assert len(there.got) == len(statuses) + 1
        assert len({told["id"] for told in there.told()}) == 1

    run(body)


@pytest.mark.parametrize(("statuses", "tries"), [([500] * 9, 4), ([400], 1), ([404], 1), ([302], 1)])
def test_what_does_not_pass_is_given_up_and_the_next_goes_on(statuses: list[int], tries: int, caplog: pytest.LogCaptureFixture) -> None:
    async def body(there: Receiver, world: World) -> None:
        there.statuses = statuses[:tries]
        world.hooks.use([hook(there.url)])
        world.hooks.tell(notice(1))
        world.hooks.tell(notice(2))
        assert await world.settled() == {"failed": 1, "delivered": 1}
        assert [told["facts"]["n"] for told in there.told()] == [1] * tries + [2]

    with caplog.at_level(logging.WARNING, "fleetgate.webhook"):
        run(body)
    (line,) = caplog.messages
    assert re.fullmatch(rf"webhook http://127\.0\.0\.1:\d+: notice [0-9a-f]{{32}} failed: status {statuses[0]}.*", line)
    assert "token-in-the-path" not in caplog.text
    assert SECRET.decode() not in caplog.text


def test_a_redirect_is_not_followed() -> None:
    async def body(there: Receiver, world: World) -> None:
        async def elsewhere(request: web.Request) -> web.StreamResponse:
            return web.Response(status=307, headers={"location": "/elsewhere"})

        there.answer = elsewhere
        world.hooks.use([hook(there.url)])
        world.hooks.tell(notice())
        assert await world.settled() == {"failed": 1}
        assert len(there.got) == 1

    run(body)


def test_an_endless_answer_is_not_read() -> None:
    async def body(there: Receiver, world: World) -> None:
        written = 0

        async def endless(request: web.Request) -> web.StreamResponse:
            nonlocal written
            reply = web.StreamResponse()
            await reply.prepare(request)
            try:
                while True:
                    await reply.write(b"x" * 65536)
                    written += 65536
            except ConnectionError:
                return reply

        there.answer = endless
        world.hooks.use([hook(there.url)])
        world.hooks.tell(notice())
        assert await world.settled() == {"delivered": 1}
        assert written < 64 << 20

    run(body)


def test_nobody_there_is_tried_again_then_given_up(caplog: pytest.LogCaptureFixture) -> None:
    async def body(there: Receiver, world: World) -> None:
        world.hooks.use([hook("http://127.0.0.1:1/secret-path"), hook(there.url)])
        world.hooks.tell(notice())
        assert await world.settled() == {"failed": 1, "delivered": 1}

    with caplog.at_level(logging.WARNING, "fleetgate.webhook"):
        run(body)
    assert "ClientConnectorError" in caplog.text
    assert "secret-path" not in caplog.text


@asynccontextmanager
async def hanging() -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that takes connections and says nothing."""
    got: list[bytes] = []
    done = asyncio.Event()

    async def sit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await reader.read(1))
        await done.wait()
        writer.close()

    server = await asyncio.start_server(sit, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", got
    finally:
        done.set()
        server.close()


def test_a_hook_that_hangs_keeps_nobody_else_waiting_and_loses_the_oldest() -> None:
    async def body(there: Receiver, world: World) -> None:
        async with hanging() as (url, got):
            world.hooks.use([hook(url, timeout_s=30), hook(there.url)])
            for start in (0, 60):  # the second time there is one too many for the first hook, which has one under way
                for n in range(start, start + 60):
                    world.hooks.tell(notice(n))
                await there.until(start + 60)
            assert [len(sender._queue) for sender in world.hooks._senders.values()] == [webhook.MOST_WAITING, 0]
            assert world.counts["dropped"] == 120 - webhook.MOST_WAITING - 1
            assert got == [b"P"]
            world.hooks.hurry()
            for sender in world.hooks._senders.values():
                if sender._scope is not None:
                    sender._scope.reschedule(asyncio.get_running_loop().time())
            counts = await world.settled()
            assert counts["delivered"] + counts["dropped"] == 2 * 120, "each is accounted for"

    run(body)


def test_no_answer_in_time_is_a_failure() -> None:
    async def body(there: Receiver, world: World) -> None:
        async with hanging() as (url, got):
            world.hooks.use([hook(url, timeout_s=0.05)])
            world.hooks.tell(notice())
            assert await world.settled() == {"failed": 1}
            assert len(got) == 4

    run(body)


def test_a_pause_between_tries_ends_when_the_process_does() -> None:
    async def body(there: Receiver, world: World) -> None:
        there.statuses = [503] * 9
        world.hooks.use([hook(there.url)])
        world.hooks.tell(notice())
        await there.until(1)
        world.hooks.hurry()
        assert await world.settled() == {"failed": 1}
        assert len(there.got) <= 2, "the one more that is owed"
        world.hooks.tell(notice(2))
        assert (await world.settled())["failed"] == 2

    run(body, (3600.0,) * 3)


def test_what_was_told_is_not_told_again_for_a_while() -> None:
    async def body(there: Receiver, world: World) -> None:
        world.hooks.use([hook(there.url)])
        for _ in range(3):
            world.hooks.tell(notice())
        world.hooks.tell(notice(1, "loop"))
        world.clock.t_ns = int(webhook.AGAIN_S * 1e9) - 1
        world.hooks.tell(notice())
        world.clock.t_ns += 1
        world.hooks.tell(notice())
        assert await world.settled() == {"delivered": 3, "repeated": 3}

    run(body)


def test_memory_of_what_was_told_is_bounded() -> None:
    async def body(there: Receiver, world: World) -> None:
        world.hooks.use([hook(there.url, events=frozenset({"kill"}))])
        for n in range(50):
            world.hooks.tell(notice(n, "budget"))
        assert not world.hooks._seen, "what nobody wants is not remembered"
        sender = next(iter(world.hooks._senders.values()))
        sender._working = True  # nothing is sent
        for n in range(2 * webhook.MOST_SEEN):
            world.hooks.tell(notice(n, "kill"))
        assert len(world.hooks._seen) == webhook.MOST_SEEN
        assert len(sender._queue) == webhook.MOST_WAITING

    run(body)


def test_hooks_are_swapped_and_one_that_stays_keeps_its_queue() -> None:
    async def body(there: Receiver, world: World) -> None:
        one, other = hook(there.url), hook(there.url, b"other")
        world.hooks.use([one])
        world.hooks.tell(notice(1))
        before = world.hooks._senders[one]
        world.hooks.use([other, one])
        assert world.hooks._senders[one] is before
        world.hooks.use([other])
        world.hooks.tell(notice(2))
        await world.settled()
        assert {told["facts"]["n"] for told in there.told()} == {1, 2}
        world.hooks.use([])
        world.hooks.tell(notice(3))
        assert await world.settled() == {"delivered": 2}

    run(body)


def test_a_task_that_fails_does_not_end_the_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(there: Receiver, world: World) -> None:
        world.hooks.use([hook(there.url)])
        with monkeypatch.context() as patched:
            patched.setattr(webhook, "sign", lambda *_: 1 / 0)
            world.hooks.tell(notice(1))
            (task,) = world.tasks
            with pytest.raises(ZeroDivisionError):
                await task
        world.hooks.tell(notice(2))
        assert (await world.settled())["delivered"] == 1

    run(body)


def test_bodies_are_bounded() -> None:
    huge = Notice("loop", "k", "x" * 100_000, {"x": "y" * 100_000})
    assert json.loads(json_body("id", huge, 1.0)) == {
        "id": "id",
        "kind": "loop",
        "text": "x" * webhook.MAX_TEXT,
        "time": 1.0,
        "facts": {"truncated": True},
    }
    assert len(json.loads(slack_body(huge))["text"]) < webhook.MAX_TEXT + 30


def test_what_is_no_number_for_json_is_null() -> None:
    body = json_body("id", Notice("kill", "k", "t", {"until": float("inf"), "share": float("nan"), "n": 1.5}), 1.0)
    assert json.loads(body)["facts"] == {"until": None, "share": None, "n": 1.5}
    assert b"Infinity" not in body
    assert b"NaN" not in body


def test_what_is_secret_is_not_shown() -> None:
    shown = repr(hook("https://hooks.example.com:444/services/T0/B0/secret?k=v"))
    assert "secret" not in shown
    assert hook("https://hooks.example.com:444/services/T0").shown == "https://hooks.example.com:444"
    assert hook("https://hooks.example.com/services/T0").shown == "https://hooks.example.com"


def test_in_slack_no_address_is_a_link_but_the_notices_own() -> None:
    link = "https://admin.example/approve/1?token=2"
    told = Notice("approval", "k", f"Agent a asks: https://evil.example/x. Decide: {link}", {"link": link})
    text = json.loads(slack_body(told))["text"]
    assert text.endswith(f"Decide: {link}")
    assert text.count("://") == 1
    other = json.loads(slack_body(Notice("loop", "k", "calls http://evil.example/x again")))["text"]
    assert "://" not in other
    assert "evil.example" in other
