"""The admin plane's handlers for what was said: reading what is kept of one exchange, and erasing what is kept of a session or an agent.

Decides who may: where there is an admin token only who shows it or is signed in, also on loopback, for an agent may run on this machine;
without one, who reads on loopback. No page of another site may even ask. Both leave a line in the log of human hands before anything is
shown or gone; where that cannot be written, nothing is. How it fails: nothing kept is a 404 that says why that may be, a store that is away
a 503.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from aiohttp import web

from proxy.admin.answers import answer
from proxy.admin.auth import Gate
from proxy.admin.guard import CALLER, address_of, crossed
from proxy.admin.hands import BY, body_of, who

NEED = "What was said is shown to those who sign in or send the admin token."
_READERS: Mapping[str, str] = {"session": "a person who is signed in", "token": BY, "loopback": "somebody on this machine"}


class Reading(Protocol):
    """What is kept of what was said."""

    def level(self, agent: str) -> str:
        """Return how what an agent says is kept now: `hash`, `redacted` or `full`, empty where it is not."""
        ...

    async def read(self, name: str, by: str) -> Mapping[str, Any]:
        """Return what is kept of the exchange with that id, the reading logged. Raises LookupError, StoreError."""
        ...

    async def erase(self, session: str, agent: str, by: str, reason: str) -> int:
        """Erase what is kept of one of the two, logged; return of how many exchanges. Raises StoreError."""
        ...


def content_routes(reading: Reading, gate: Gate) -> list[web.RouteDef]:
    """Return the routes."""
    pages = _Pages(reading, gate)
    return [web.get("/api/v1/exchanges/{id}/content", pages.content), web.post("/api/v1/contents/erase", pages.erase)]


class _Pages:
    def __init__(self, reading: Reading, gate: Gate) -> None:
        self._reading, self._gate = reading, gate

    async def content(self, request: web.Request) -> web.Response:
        """What is kept of one exchange."""
        how = request[CALLER].how
        if crossed(request):
            raise web.HTTPForbidden(text="Another site sent this.")
        if how == "loopback" and self._gate.has_token:
            raise web.HTTPUnauthorized(text=NEED)
        by = f"{_READERS[how]} ({address_of(request) or 'unknown address'})"
        try:
            return answer(await self._reading.read(request.match_info["id"], by))
        except LookupError as e:
            raise web.HTTPNotFound(text=str(e.args[0])) from None

    async def erase(self, request: web.Request) -> web.Response:
        """Erase: `{session | agent, reason, by?}`."""
        asked = await body_of(request, {"session": str, "agent": str, "reason": str, "by": str})
        session, agent, reason = (asked.get(name, "") for name in ("session", "agent", "reason"))
        if bool(session) == bool(agent) or not reason.strip():
            raise web.HTTPBadRequest(text="Name one `session` or one `agent`, and give a `reason`.")
        return answer({"erased": await self._reading.erase(session, agent, who(asked), reason)})
