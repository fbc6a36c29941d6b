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
from proxy.control.approvals import decide
from proxy.control.port import Entry
from proxy.control.questions import Case, Decision, Timing, Undecided, digest, opened
from proxy.control.rules import Kill, seconds_of, target_of
from proxy.engine.ports import Question
from proxy.stores.control import MemoryControl
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
    store: MemoryControl = field(default_factory=MemoryControl)

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

    async def cases(self) -> Sequence[Case]:
        return await self.store.cases(NOW)

    async def case(self, name: str) -> Case | None:
        return await self.store.case(name)

    async def decide(self, name: str, decision: Decision) -> Case | Undecided:
        return await decide(self.store, name, decision, NOW, 3600)


@dataclass
class Reply:
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


def ask(people: People, *asked: tuple[str, Any], headers: Mapping[str, str] = BEARER, token: str | None = TOKEN) -> list[Reply]:
    """POST each (path, body) over a real socket; a body of bytes goes as it is, None is a GET."""

    async def budgets() -> Sequence[Mapping[str, Any]]:
        return []

    views = AdminViews(lambda: (True, {}), lambda accept: (b"", "text/plain"), list, budgets, MemoryLedger(), now=lambda: NOW, hands=people)

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
                        replies.append(Reply(reply.status, reply.headers.copy(), await reply.text()))
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


# --- questions to people ---------------------------------------------------------------------------------------------------------------

EVIL = "<script>alert(1)</script>\"'&\x1b[2J"
SECRET = "s" * 43
FORM = {"content-type": "application/x-www-form-urlencoded"}


def asking(people: People, what: str = "send_email", until: float = 300.0) -> str:
    """Put a question there; return its id."""
    question = Question("tool_call", "clerk", "s1", "r1", "e" * 32, what, "d1", "policies/x.yaml:3 (mail)", EVIL, '{"to": "' + EVIL + '"}')
    case = opened(question, None, NOW, Timing(until, until), digest(SECRET))
    asyncio.run(people.store.save(case, 0))
    return case.id


def status_of(people: People, name: str) -> str:
    case = asyncio.run(people.store.case(name))
    assert case is not None
    return case.status


def test_questions_are_listed_without_their_secret() -> None:
    people = People()
    name = asking(people)
    listed, one, none = ask(people, ("/api/v1/approvals", None), (f"/api/v1/approvals/{name}", None), ("/api/v1/approvals/0", None))
    assert [a["id"] for a in listed.json["approvals"]] == [name]
    assert (one.json["state"], one.json["what"], one.json["agent"]) == ("waits", "send_email", "clerk")
    assert digest(SECRET) not in listed.text + one.text
    assert "\x1b" not in one.json["preview"]
    assert none.status == 404


@pytest.mark.parametrize(("allow", "status"), [(True, "approved"), (False, "denied")])
def test_a_question_is_decided_once(allow: bool, status: str) -> None:
    people = People()
    path = f"/api/v1/approvals/{asking(people)}"
    done, again = ask(people, (path, {"allow": allow, "reason": "looks right", "by": "ann"}), (path, {"allow": not allow}))
    assert (done.status, done.json["status"], done.json["by"]) == (200, status, "ann (with the admin token)")
    assert again.status == 409
    assert [(e.action, e.reason) for e in asyncio.run(people.store.log(9))] == [("approve" if allow else "deny", "looks right")]


@pytest.mark.parametrize(
    ("body", "status"), [({}, 400), ({"allow": "yes"}, 400), ({"allow": 1}, 400), ({"allow": True, "for": "soon"}, 400), (b"", 400)]
)
def test_what_is_no_decision_decides_nothing(body: Any, status: int) -> None:
    people = People()
    name = asking(people)
    (reply,) = ask(people, (f"/api/v1/approvals/{name}", body))
    assert (reply.status, status_of(people, name)) == (status, "pending")


def test_a_question_that_is_over_or_unknown() -> None:
    people = People()
    name = asking(people, until=-100.0)
    gone, unknown = ask(people, (f"/api/v1/approvals/{name}", {"allow": True}), ("/api/v1/approvals/ffff", {"allow": True}))
    assert (gone.status, unknown.status, status_of(people, name)) == (410, 404, "pending")


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}])
def test_without_the_token_nothing_is_decided(headers: dict[str, str]) -> None:
    people = People()
    name = asking(people)
    (reply,) = ask(people, (f"/api/v1/approvals/{name}", {"allow": True}), headers=headers)
    assert (reply.status, status_of(people, name)) == (401, "pending")


def test_a_link_shows_what_is_asked_and_decides_nothing_by_being_looked_at() -> None:
    people = People()
    name = asking(people, what=EVIL)
    for _ in range(2):
        (page,) = ask(people, (f"/approve/{name}?token={SECRET}", None), headers={})
        assert (page.status, status_of(people, name)) == (200, "pending")
    assert "<script" not in page.text
    assert "&lt;script&gt;" in page.text
    assert "\x1b" not in page.text
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "script-src" not in policy
    assert page.headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize(("button", "status"), [("approve", "approved"), ("deny", "denied")])
def test_a_button_decides_once(button: str, status: str) -> None:
    people = People()
    name = asking(people)
    form = f"token={SECRET}&decision={button}&by=ann&reason=ok".encode()
    done, again, shown = ask(
        people, (f"/approve/{name}", form), (f"/approve/{name}", form), (f"/approve/{name}?token={SECRET}", None), headers=FORM
    )
    assert (done.status, again.status, shown.status) == (200, 403, 403)
    assert status_of(people, name) == status
    assert asyncio.run(people.store.log(1))[0].by == "ann (with a link)"


@pytest.mark.parametrize(
    ("form", "status"),
    [
        (b"", 400),
        (b"decision=approve", 403),
        (b"decision=approve&token=", 403),
        (b"decision=approve&token=wrong", 403),
        (f"decision=perhaps&token={SECRET}".encode(), 400),
        (f"token={SECRET}".encode(), 400),
    ],
)
def test_a_wrong_form_decides_nothing(form: bytes, status: int) -> None:
    people = People()
    name = asking(people)
    (reply,) = ask(people, (f"/approve/{name}", form), headers=FORM)
    assert (reply.status, status_of(people, name)) == (status, "pending")


def test_a_link_to_another_question_or_none_looks_the_same() -> None:
    people = People()
    first = asking(people)
    pages = ask(people, (f"/approve/{first}?token=x", None), ("/approve/ffff?token=x", None), ("/approve/ffff", None), headers={})
    assert {(p.status, p.text) for p in pages} == {(403, pages[0].text)}
    form = f"decision=approve&token={SECRET}".encode()
    (reply,) = ask(people, ("/approve/ffff", form), headers=FORM)
    assert (reply.status, status_of(people, first)) == (403, "pending")


def test_a_link_that_comes_too_late() -> None:
    people = People()
    name = asking(people, until=-100.0)
    form = f"decision=approve&token={SECRET}".encode()
    shown, posted = ask(people, (f"/approve/{name}?token={SECRET}", None), (f"/approve/{name}", form), headers=FORM)
    assert (shown.status, posted.status, status_of(people, name)) == (410, 410, "pending")


@pytest.mark.parametrize("path", ["/approve/../api/v1/kill", "/approve/%2e%2e/api/v1/kill"])
def test_the_open_path_opens_no_other(path: str) -> None:
    people = People()
    (reply,) = ask(people, (path, GOOD), headers={})
    assert reply.status in (401, 403, 404)
    assert not people.held
