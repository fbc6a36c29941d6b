"""Receivers of webhooks that fail, hang, send elsewhere or are not there: tried again, given up, and nobody waits."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from webhook_receiver import SECRET, Receiver, World, hook, notice, run

from proxy.upstream import webhook


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
