"""What was said over the admin plane: who may read and erase, that each is logged first, and that nothing is shown where it cannot be."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from proxy.admin import AdminViews, build_admin
from proxy.app import contents as house
from proxy.control.port import Entry
from proxy.engine.ports import StoreError
from proxy.stores.control import MemoryControl
from proxy.stores.pairs import MemoryPairs
from proxy.telemetry.content import Content, MemoryContents, Part, Turn, Whose
from proxy.telemetry.ledger import MemoryLedger

TOKEN = "canary-admin-token-of-what-was-said"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
NOW = 1_800_000_000.0
HOSTILE = "<img src=x onerror=alert(1)>\"'</script>"
KEPT = Content("e1", NOW, "a", "a/s", "full", NOW + 60, (Turn("user", (Part("text", HOSTILE, size=4),)),))
PATH, ERASE = "/api/v1/exchanges/e1/content", "/api/v1/contents/erase"


class Broken(MemoryControl):
    """Its log cannot be written."""

    async def note(self, entry: Entry) -> None:
        raise StoreError("the log cannot be written")


@dataclass
class House:
    """Reads and erases as a house does."""

    control: MemoryControl = field(default_factory=MemoryControl)
    contents: MemoryContents = field(default_factory=MemoryContents)

    def __post_init__(self) -> None:
        self.contents.keep([KEPT])

    def level(self, agent: str) -> str:
        return ""

    async def read(self, name: str, by: str) -> Mapping[str, Any]:
        found = await house.read(self.contents, self.control, name, by, NOW)
        if found is None:
            raise LookupError(house.NOTHING)
        return found.as_json()

    async def erase(self, session: str, agent: str, by: str, reason: str) -> int:
        places = house.Places(self.contents, MemoryPairs(), MemoryLedger())
        return await house.erase(places, self.control, Whose(session, agent), (by, reason), NOW)

    @property
    def log(self) -> list[tuple[str, str, str]]:
        return [(e.action, e.target, e.by) for e in asyncio.run(_log(self.control))]


async def _log(control: MemoryControl) -> Sequence[Entry]:
    return await control.log(10)


def ask(home: House, path: str = PATH, body: Any = None, *, token: str | None = TOKEN, **headers: str) -> tuple[int, Any]:
    """Ask over a real socket, once."""

    async def budgets() -> Sequence[Mapping[str, Any]]:
        return []

    views = AdminViews(lambda: (True, {}), lambda accept: (b"", "text/plain"), list, budgets, MemoryLedger(), lambda: NOW, contents=home)

    async def main() -> tuple[int, Any]:
        server = TestServer(build_admin(views, token))
        await server.start_server(access_log=None)
        try:
            async with aiohttp.ClientSession() as session:
                method: Literal["GET", "POST"] = "GET" if body is None else "POST"
                async with session.request(method, server.make_url(path), json=body, headers=headers) as reply:
                    assert reply.headers["Cache-Control"] == "no-store"
                    return reply.status, json.loads(await reply.text())
        finally:
            await server.close()

    return asyncio.run(main())


def test_the_token_reads_and_that_is_logged() -> None:
    home = House()
    status, found = ask(home, **BEARER)
    assert (status, found["id"], found["level"]) == (200, "e1", "full")
    assert found["request"][0]["parts"][0]["text"] == HOSTILE
    assert home.log == [("read", "exchange:e1 of a/s", "the admin token (127.0.0.1)")]


@pytest.mark.parametrize(
    ("token", "headers", "status"),
    [
        (TOKEN, {}, 401),
        (TOKEN, {"Authorization": "Bearer wrong"}, 401),
        (TOKEN, BEARER | {"sec-fetch-site": "cross-site"}, 403),
        (None, {"sec-fetch-site": "cross-site"}, 403),
        (None, {"origin": "http://elsewhere.example"}, 403),
        (None, {"x-forwarded-for": "10.0.0.1"}, 403),
        (None, {}, 200),
    ],
)
def test_loopback_alone_does_not_do_where_there_is_a_token(token: str | None, headers: dict[str, str], status: int) -> None:
    home = House()
    found = ask(home, token=token, **headers)
    assert found[0] == status
    if status != 200:
        assert HOSTILE not in json.dumps(found[1])
        assert home.log == []
    else:
        assert home.log == [("read", "exchange:e1 of a/s", "somebody on this machine (127.0.0.1)")]


def test_nothing_is_shown_or_erased_where_it_cannot_be_logged() -> None:
    home = House(Broken())
    assert ask(home, **BEARER) == (503, {"error": "the log cannot be written"})
    assert ask(home, ERASE, {"agent": "a", "reason": "x"}, **BEARER)[0] == 503
    assert home.contents.one("e1") is not None


def test_what_nobody_kept_is_said_and_not_logged() -> None:
    home = House()
    status, found = ask(home, "/api/v1/exchanges/e2/content", **BEARER)
    assert (status, home.log) == (404, [])
    assert "telemetry.capture" in found["error"]


def test_erasing_is_for_the_token_and_logged() -> None:
    home = House()
    assert ask(home, ERASE, {"session": "a/other", "reason": "asked for", "by": "ann"}, **BEARER) == (200, {"erased": 0})
    assert home.contents.one("e1") is not None
    assert ask(home, ERASE, {"session": "a/s", "reason": "asked for"}, **BEARER) == (200, {"erased": 1})
    assert home.contents.one("e1") is None
    assert home.log == [
        ("erase", "session:a/s", "the admin token"),
        ("erase", "session:a/other", "ann (with the admin token)"),
    ]


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        ({"agent": "a", "reason": "x"}, {}, 401),
        ({}, BEARER, 400),
        ({"agent": "a"}, BEARER, 400),
        ({"agent": "a", "reason": " "}, BEARER, 400),
        ({"agent": "a", "session": "a/s", "reason": "x"}, BEARER, 400),
        ({"agent": 1, "reason": "x"}, BEARER, 400),
        ({"everything": "a", "reason": "x"}, BEARER, 400),
    ],
)
def test_what_means_nothing_erases_nothing(body: Any, headers: dict[str, str], status: int) -> None:
    home = House()
    assert ask(home, ERASE, body, **headers)[0] == status
    assert home.contents.one("e1") is not None
    assert home.log == []
