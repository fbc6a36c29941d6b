"""Kill and resume over the admin plane: with the token alone, as JSON alone, and all or nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from proxy.admin import AdminViews, build_admin
from proxy.control.port import Entry
from proxy.control.rules import Kill, seconds_of, target_of
from proxy.telemetry.ledger import MemoryLedger

TOKEN = "canary-admin-4f9a8b7c6d5e"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
NOW = 1_800_000_000.0
GOOD = {"target": "agent:a", "reason": "enough"}


@dataclass
class People:
    """Plays what people may do."""

    held: dict[str, Kill] = field(default_factory=dict)
    done: list[Entry] = field(default_factory=list)

    async def kills(self) -> Sequence[Kill]:
        return list(self.held.values())

    async def log(self, limit: int) -> Sequence[Entry]:
        return self.done[:limit]

    async def kill(self, target: str, reason: str, by: str, lasts: str, force: bool) -> Kill:
        kind, name = target_of(target)
        until = NOW + seconds_of(lasts) if lasts else None
        if name == "nobody" and not force:
            raise LookupError("no agent is known as nobody")
        self.held[target] = kill = Kill(kind, name, reason, by, NOW, until)
        self.done.insert(0, Entry(NOW, by, "kill", target, reason, until))
        return kill

    async def resume(self, target: str, reason: str, by: str) -> bool:
        return self.held.pop(target, None) is not None


@dataclass
class Reply:
    status: int
    headers: Mapping[str, str]
    json: Any


def ask(people: People, *asked: tuple[str, Any], headers: Mapping[str, str] = BEARER, token: str | None = TOKEN) -> list[Reply]:
    """POST each (path, body) over a real socket; a body of bytes goes as it is, None is a GET."""

    async def budgets() -> Sequence[Mapping[str, Any]]:
        return []

    views = AdminViews(lambda: (True, {}), lambda: b"", list, budgets, MemoryLedger(), hands=people)

    async def main() -> list[Reply]:
        server = TestServer(build_admin(views, token))
        await server.start_server(access_log=None)
        replies = []
        try:
            async with aiohttp.ClientSession() as session:
                for path, body in asked:
                    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
                    sent = {"content-type": "application/json", **headers} if data is not None else headers
                    async with session.request("GET" if data is None else "POST", server.make_url(path), data=data, headers=sent) as reply:
                        replies.append(Reply(reply.status, reply.headers.copy(), json.loads(await reply.text())))
        finally:
            await server.close()
        return replies

    return asyncio.run(main())


def test_kill_list_and_resume() -> None:
    people = People()
    killed, listed, resumed, again = ask(
        people,
        ("/api/v1/kill", GOOD | {"for": "1h", "by": "ann\x07"}),
        ("/api/v1/kill", None),
        ("/api/v1/resume", {"target": "agent:a"}),
        ("/api/v1/resume", {"target": "agent:a"}),
    )
    assert killed.status == 200
    assert killed.json["killed"] == {
        "target": "agent:a",
        "reason": "enough",
        "by": "ann (with the admin token)",
        "since": NOW,
        "until": NOW + 3600,
    }
    assert [k["target"] for k in listed.json["kills"]] == ["agent:a"]
    assert [e["action"] for e in listed.json["log"]] == ["kill"]
    assert (resumed.status, resumed.json) == (200, {"resumed": "agent:a", "kills": []})
    assert again.status == 404


def test_who_is_the_token_where_nobody_says() -> None:
    people = People()
    ask(people, ("/api/v1/kill", GOOD))
    assert people.held["agent:a"].by == "the admin token"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"not json", 400),
        (b"[" * 10_000, 400),
        ([], 400),
        ({"target": "agent:a"}, 400),
        ({"reason": "x"}, 400),
        (GOOD | {"reason": " \n"}, 400),
        (GOOD | {"target": 3}, 400),
        (GOOD | {"force": "yes"}, 400),
        (GOOD | {"more": 1}, 400),
        (GOOD | {"target": "robot:a"}, 400),
        (GOOD | {"for": "soon"}, 400),
        (GOOD | {"target": "agent:nobody"}, 404),
        (GOOD | {"reason": "x" * 20_000}, 413),
    ],
)
def test_bad_input_changes_nothing(body: Any, status: int) -> None:
    people = People()
    (reply,) = ask(people, ("/api/v1/kill", body))
    assert reply.status == status
    assert reply.json["error"]
    assert not people.held


def test_force() -> None:
    people = People()
    ask(people, ("/api/v1/kill", GOOD | {"target": "agent:nobody", "force": True}))
    assert list(people.held) == ["agent:nobody"]


@pytest.mark.parametrize("path", ["/api/v1/kill", "/api/v1/resume"])
@pytest.mark.parametrize(
    ("headers", "token", "status"),
    [({}, TOKEN, 401), ({"Authorization": "Bearer wrong"}, TOKEN, 401), ({}, None, 403), (BEARER, None, 403)],
)
def test_without_the_token_nothing_changes_even_over_loopback(path: str, headers: dict[str, str], token: str | None, status: int) -> None:
    people = People({"agent:a": Kill("agent", "a", "x", "ann", NOW)})
    (reply,) = ask(people, (path, GOOD | {"target": "agent:a", "reason": "y"}), headers=headers, token=token)
    assert reply.status == status
    assert people.held["agent:a"].reason == "x"


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_what_a_form_could_send_is_refused(kind: str) -> None:
    people = People()
    (reply,) = ask(people, ("/api/v1/kill", GOOD), headers=BEARER | {"content-type": kind})
    assert reply.status == 415
    assert not people.held


def test_posting_elsewhere_is_refused() -> None:
    (reply,) = ask(People(), ("/api/v1/agents", GOOD))
    assert (reply.status, reply.headers["Allow"]) == (405, "GET,HEAD")
