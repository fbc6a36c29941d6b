"""Signing in and out with a browser: the admin token against a cookie.

Decides nothing that `guard` and `logins` do not: a right token begins a login, ten wrong ones in a minute from one address have to wait,
also with the right one. The token is compared in constant time and stands in no URL, answer or log.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from proxy import __version__
from proxy.admin.answers import answer
from proxy.admin.auth import Gate
from proxy.admin.guard import CALLER, COOKIE, SECURE_COOKIE, Caller, address_of, secret_of, secure
from proxy.admin.hands import body_of
from proxy.admin.logins import LASTS_S, Logins


class SignIn:
    """The handlers.

    Args:
        gate: what knows the token.
        logins: who is signed in.
        now: UTC seconds.
    """

    def __init__(self, gate: Gate, logins: Logins, now: Callable[[], float]) -> None:
        self._gate, self._logins, self._now = gate, logins, now

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/api/v1/session", self.shown),
            web.post("/api/v1/login", self.begin),
            web.post("/api/v1/logout", self.end),
        ]

    async def shown(self, request: web.Request) -> web.Response:
        """Say who asks."""
        return answer(self._facts(request[CALLER]))

    async def begin(self, request: web.Request) -> web.Response:
        """Sign in: `{token}`."""
        token = (await body_of(request, {"token": str})).get("token", "")
        now, address = self._now(), address_of(request) or ""
        if not self._gate.has_token:
            raise web.HTTPForbidden(text="Nobody can sign in until FLEETGATE_ADMIN_TOKEN is set.")
        if wait := self._logins.wait_s(address, now):
            raise web.HTTPTooManyRequests(text="Too many wrong tokens from this address.", headers={"Retry-After": str(wait)})
        if not self._gate.is_token(token):
            self._logins.wrong(address, now)
            raise web.HTTPUnauthorized(text="This is not the value of FLEETGATE_ADMIN_TOKEN.")
        secret, login = self._logins.begin(now)
        reply = answer(self._facts(Caller("session", login)))
        safe = secure(request)
        name = SECURE_COOKIE if safe else COOKIE
        reply.set_cookie(name, secret, max_age=int(LASTS_S), path="/", httponly=True, secure=safe, samesite="Strict")
        return reply

    async def end(self, request: web.Request) -> web.Response:
        """Sign out."""
        self._logins.end(secret_of(request))
        reply = answer(self._facts(Caller("none")))
        for name in (COOKIE, SECURE_COOKIE):
            reply.set_cookie(name, "", max_age=0, path="/", httponly=True, secure=name == SECURE_COOKIE, samesite="Strict")
        return reply

    def _facts(self, caller: Caller) -> dict[str, Any]:
        facts = {
            "reads": caller.how != "none",
            "changes": caller.how in ("session", "token"),
            "how": caller.how,
            "token_set": self._gate.has_token,
            "version": __version__,
        }
        return facts if caller.login is None else facts | {"csrf": caller.login.csrf, "expires": caller.login.expires}
