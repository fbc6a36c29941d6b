"""The admin plane's handlers for human hands: kill, resume, approve.

Decides who may use them: only who sends the admin token, from wherever. A browser never sends that header by itself, so no page that it was
lured to can do anything; bodies are JSON and say so. How it fails: what cannot be read is a 400 and changed nothing, an unknown name a 404.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from aiohttp import web

from proxy.admin.answers import answer
from proxy.control.port import Entry, entry_json, kill_json
from proxy.control.questions import UNDECIDED, Case, Decision, Undecided, case_json
from proxy.control.rules import Kill, clean, seconds_of

MAX_BODY = 16_384
BY = "the admin token"


class Hands(Protocol):
    """What people may do with the running fleet."""

    async def kills(self) -> Sequence[Kill]:
        """Return the kills that hold."""
        ...

    async def log(self, limit: int) -> Sequence[Entry]:
        """Return what was done last, newest first."""
        ...

    async def kill(self, target: str, reason: str, by: str, lasts: str, force: bool) -> Kill:
        """Stop a target. Raises ValueError for what means nothing, LookupError for what nobody knows, StoreError."""
        ...

    async def resume(self, target: str, reason: str, by: str) -> bool:
        """Lift a kill; return whether there was one. Raises StoreError."""
        ...

    async def cases(self) -> Sequence[Case]:
        """Return the questions to people, newest first. Raises StoreError."""
        ...

    async def case(self, name: str) -> Case | None:
        """Return the question with that id. Raises StoreError."""
        ...

    async def decide(self, name: str, decision: Decision) -> Case | Undecided:
        """Decide a question; return it, or why it cannot be decided. Raises StoreError."""
        ...


def routes(hands: Hands, now: Callable[[], float]) -> list[web.RouteDef]:
    """Return the routes."""
    pages = _Pages(hands, now)
    return [
        web.get("/api/v1/kill", pages.kills),
        web.post("/api/v1/kill", pages.kill),
        web.post("/api/v1/resume", pages.resume),
        web.get("/api/v1/approvals", pages.cases),
        web.get("/api/v1/approvals/{id}", pages.case),
        web.post("/api/v1/approvals/{id}", pages.decide),
    ]


class _Pages:
    def __init__(self, hands: Hands, now: Callable[[], float]) -> None:
        self._hands, self._now = hands, now

    async def kills(self, request: web.Request) -> web.Response:
        """What is stopped, and what was done last."""
        kills, log = await self._hands.kills(), await self._hands.log(100)
        return answer({"kills": [kill_json(k) for k in kills], "log": [entry_json(e) for e in log]})

    async def kill(self, request: web.Request) -> web.Response:
        """Stop something: `{target, reason, for?, by?, force?}`."""
        asked = await body_of(request, {"target": str, "reason": str, "for": str, "by": str, "force": bool})
        target, reason = asked.get("target", ""), asked.get("reason", "")
        if not target or not clean(reason):
            raise web.HTTPBadRequest(text="A kill needs a `target`, as agent:crawler or all, and a `reason`.")
        try:
            kill = await self._hands.kill(target, reason, who(asked), asked.get("for", ""), asked.get("force", False))
        except LookupError as e:
            raise web.HTTPNotFound(text=str(e.args[0])) from None
        except ValueError as e:
            raise web.HTTPBadRequest(text=str(e)) from None
        return answer({"killed": kill_json(kill)})

    async def resume(self, request: web.Request) -> web.Response:
        """Lift a kill: `{target, reason?, by?}`."""
        asked = await body_of(request, {"target": str, "reason": str, "by": str})
        target = asked.get("target", "")
        if not await self._hands.resume(target, asked.get("reason", ""), who(asked)):
            raise web.HTTPNotFound(text=f"No kill of {clean(target, 80)!r} holds; GET /api/v1/kill lists those that do.")
        return answer({"resumed": target, "kills": [kill_json(k) for k in await self._hands.kills()]})

    async def cases(self, request: web.Request) -> web.Response:
        """The questions to people."""
        now = self._now()
        return answer({"approvals": [case_json(case, now) for case in await self._hands.cases()]})

    async def case(self, request: web.Request) -> web.Response:
        """One of them."""
        case = await self._hands.case(request.match_info["id"])
        if case is None:
            raise web.HTTPNotFound(text=UNDECIDED["unknown"])
        return answer(case_json(case, self._now()))

    async def decide(self, request: web.Request) -> web.Response:
        """Decide one: `{allow, reason?, by?, for?}`."""
        asked = await body_of(request, {"allow": bool, "reason": str, "by": str, "for": str})
        if "allow" not in asked:
            raise web.HTTPBadRequest(text="A decision needs `allow`, true or false.")
        try:
            lasts = seconds_of(asked["for"]) if asked.get("for") else None
        except ValueError as e:
            raise web.HTTPBadRequest(text=str(e)) from None
        decision = Decision(asked["allow"], who(asked), asked.get("reason", ""), lasts)
        found = await self._hands.decide(request.match_info["id"], decision)
        if not isinstance(found, Case):
            raise STATUS[found](text=UNDECIDED[found])
        return answer(case_json(found, self._now()))


STATUS: Mapping[Undecided, type[web.HTTPError]] = {
    "unknown": web.HTTPNotFound,
    "foreign": web.HTTPForbidden,
    "expired": web.HTTPGone,
    "decided": web.HTTPConflict,
}


def who(asked: Mapping[str, Any]) -> str:
    """Return who acts: the token, and the name that its holder gives, which nobody checks."""
    name = clean(asked.get("by", ""), 60)
    return f"{name} (with {BY})" if name else BY


async def body_of(request: web.Request, members: Mapping[str, type]) -> dict[str, Any]:
    """Return the JSON object that a request carries.

    Raises:
        web.HTTPException: it is no JSON object, has other members than `members`, or of another type.
    """
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(text="Send a JSON object, with `content-type: application/json`.")
    try:
        value = json.loads(await request.read())
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise web.HTTPBadRequest(text="Send a JSON object.")
    for name, held in value.items():
        kind = members.get(name)
        if kind is None or type(held) is not kind:
            raise web.HTTPBadRequest(text=f"Known members: {', '.join(f'{n} ({k.__name__})' for n, k in members.items())}.")
    return value
