"""Streams of what is new: who may have one, how it ends, and what happens to those that do not read."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from proxy.admin import live as module
from proxy.admin.guard import CALLER, Caller
from proxy.admin.live import QUEUE, Listener, Live
from proxy.admin.logins import Login
from proxy.admin.panels import Readers, Turns
from proxy.engine.ports import StoreError

NOW = 1_800_000_000.0


class Stage:
    """A port with one stream, whose news are written by the test."""

    def __init__(self) -> None:
        self.news: list[Any] = []
        self.now = NOW
        self.login = Login("c", NOW + 100, NOW)
        self.asked = asyncio.Event()
        self.readers = Readers()
        self.live = Live(self.look, self.readers, lambda: self.now, beat_s=0.02)
        self._loop = asyncio.get_running_loop()

    def look(self) -> Sequence[tuple[str, dict[str, Any]]]:
        self._loop.call_soon_threadsafe(self.asked.set)
        if not self.news:
            return []
        found = self.news.pop(0)
        if isinstance(found, Exception):
            raise found
        return [found]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        request[CALLER] = Caller("session", self.login)
        return await self.live.listen(request)


def play(script: Callable[[Stage, Callable[..., Any]], Awaitable[None]]) -> None:
    async def main() -> None:
        stage = Stage()
        app = web.Application()
        app.router.add_get("/", stage.handle)
        server = TestServer(app)
        await server.start_server(access_log=None)
        try:
            async with aiohttp.ClientSession() as session:
                await script(stage, lambda **headers: session.get(server.make_url("/"), headers=headers))
        finally:
            await stage.live.close()
            await server.close()
            stage.readers.close()

    asyncio.run(main())


async def upto(reply: aiohttp.ClientResponse, word: str) -> str:
    """Read until `word` was there; fail when the stream ends before."""
    text = ""
    while word not in text:
        line = (await reply.content.readline()).decode()
        assert line, f"ended without {word}: {text}"
        text += line
    return text


async def until(true: Callable[[], bool]) -> None:
    """Let others run until it is so."""
    async with asyncio.timeout(30):
        while not true():  # noqa: ASYNC110 - nothing says when
            await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look all the time."""
    monkeypatch.setattr(module, "EVERY_S", 0.0)
    monkeypatch.setattr(module, "REST", 0.0)


def test_a_look_that_fails_is_tried_again_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    async def script(stage: Stage, get: Callable[..., Any]) -> None:
        stage.news = [*[StoreError("away")] * 3, LookupError("gone"), ("config", {"version": "v2"})]
        async with get() as reply:
            assert "text/event-stream" in reply.headers["Content-Type"]
            assert '"v2"' in await upto(reply, "event: config\n") + await upto(reply, "\n\n")
        assert [record.message.rpartition(": ")[2] for record in caplog.records if record.name == "fleetgate.admin"] == ["away", "gone"]

    play(script)


def test_a_look_that_cannot_be_made_ends_the_streams_and_the_next_begins_anew(caplog: pytest.LogCaptureFixture) -> None:
    async def script(stage: Stage, get: Callable[..., Any]) -> None:
        stage.news = [ZeroDivisionError("a bug"), ("config", {})]
        async with get() as reply:
            await upto(reply, "event: end\n")
        assert "not looked for any more" in caplog.text
        async with get() as reply:
            await upto(reply, "event: config\n")

    play(script)


def test_a_stream_ends_with_its_login() -> None:
    async def script(stage: Stage, get: Callable[..., Any]) -> None:
        async with get() as reply:
            await upto(reply, ": still here\n")
            assert stage.login.used == NOW
            stage.now += 50
            await upto(reply, ": still here\n")
            await upto(reply, ": still here\n")
            assert stage.login.used == NOW + 50  # a page that is open is used
            stage.login.expires = 0.0
            assert "signed out" in await upto(reply, "event: end\n") + await upto(reply, "\n\n")
            assert await reply.content.read() == b""

    play(script)


def test_a_login_that_is_over_ends_a_stream_that_never_rests() -> None:
    async def script(stage: Stage, get: Callable[..., Any]) -> None:
        stage.live._beat_s = 3600.0  # events come faster than any heartbeat
        stage.live._news = lambda: [("config", {"secret": stage.login.expires == 0.0})]
        async with get() as reply:
            await upto(reply, '"secret": false')
            stage.now += 50
            await upto(reply, "event: config\n")
            await until(lambda: stage.login.used == NOW + 50)
            stage.login.expires = 0.0
            rest = (await reply.content.read()).decode()
            assert "signed out" in rest
            assert '"secret": true' not in rest, "what came later is not for them"

    play(script)


def test_only_so_many_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_LISTENERS", 2)

    async def script(stage: Stage, get: Callable[..., Any]) -> None:
        async with get() as one, get() as two:
            await upto(one, "event: hello\n")
            await upto(two, "event: hello\n")
            async with get() as three:
                assert (three.status, three.headers["Retry-After"]) == (503, "30")
        stage.asked.clear()

    play(script)


def test_nobody_looks_while_nobody_listens() -> None:
    async def script(stage: Stage, get: Callable[..., Any]) -> None:
        async with get() as reply:
            await upto(reply, "event: hello\n")
            await stage.asked.wait()
        await until(lambda: not stage.live._listeners)
        assert stage.live._task is None

    play(script)


def test_what_was_missed_comes_again_and_what_is_forgotten_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    async def script(stage: Stage, get: Callable[..., Any]) -> None:
        live = stage.live
        for i in range(5):
            live._tell("kill", json.dumps({"kills": i}))
        boot = live._boot
        assert [part if isinstance(part, int) else len(part) for part in live._missed(f"{boot}-3")] == [3, 2]
        assert live._missed(f"{boot}-5") == live._missed("") == (5, [])
        for last in ("x", "other-3", f"{boot}-9", f"{boot}-", f"{boot}-{'9' * 30}", f"{boot}--1", f"{boot}-\u0663"):
            assert [b"resync" in frame for frame in live._missed(last)[1]] == [True], last
        for i in range(module.REMEMBERED):
            live._tell("kill", json.dumps({"kills": i}))
        assert b"resync" in live._missed(f"{boot}-3")[1][0]
        async with get(**{"Last-Event-ID": f"{boot}-304"}) as reply:
            assert f"id: {boot}-304\n" in await upto(reply, "event: hello\n")
            assert '"kills": 299' in await upto(reply, "event: kill\n") + await upto(reply, "\n\n")

    play(script)


def test_who_does_not_read_gets_one_word_in_place_of_what_it_held() -> None:
    async def main() -> None:
        listener = Listener()
        for i in range(QUEUE + 3):
            listener.put(b"%d" % i, b"resync")
        assert list(listener.waiting) == [b"resync", b"%d" % (QUEUE + 1), b"%d" % (QUEUE + 2)]

    asyncio.run(main())


def test_names_cannot_break_out_of_an_event() -> None:
    async def main() -> None:
        live = Live(list, Readers(), lambda: NOW)
        frame = live._frame("fleet", {"agent": "x\n\nevent: kill\ndata: {}\r\n\u2028\u202e</script>"}).decode()
        assert frame.count("\n") == 4
        assert frame.isascii()

    asyncio.run(main())


def test_questions_wait_for_a_thread_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.admin.panels.DEADLINE_S", 0.01)
    monkeypatch.setattr("proxy.admin.panels.MOST_WAITING", 3)

    async def main() -> None:
        readers, go = Readers(), threading.Event()
        try:
            asked = [asyncio.ensure_future(readers.read(go.wait)) for _ in range(3)]
            await asyncio.sleep(0)
            with pytest.raises(web.HTTPServiceUnavailable) as refused:
                await readers.read(lambda: None)
            assert (refused.value.text, refused.value.headers["Retry-After"]) == ("Too many questions at once.", "2")
            assert [isinstance(e, web.HTTPServiceUnavailable) for e in await asyncio.gather(*asked, return_exceptions=True)] == [True] * 3
            go.set()
            await until(lambda: not readers._waiting)
            assert await readers.read(lambda: "again") == "again"
        finally:
            go.set()
            readers.close()

    asyncio.run(main())


def test_turns_are_short_while_somebody_reads_and_as_before_after_it() -> None:
    usual = sys.getswitchinterval()

    async def script() -> None:
        readers, go, seen = Readers(), threading.Event(), list[float]()

        def ask() -> None:
            seen.append(sys.getswitchinterval())
            go.wait(30)

        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(readers.read(ask))
            while len(seen) < 2:  # noqa: ASYNC110 - their threads have nothing to tell this loop by
                await asyncio.sleep(0.001)
            go.set()
        assert seen == [pytest.approx(Turns.SHORT_S)] * 2
        readers.close()

    asyncio.run(script())
    assert sys.getswitchinterval() == usual
    turns = Turns()
    with pytest.raises(LookupError), turns.short():
        raise LookupError
    assert sys.getswitchinterval() == usual
