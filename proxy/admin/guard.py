"""What stands before every route of the admin plane: who asks, whether that is enough, and how what goes wrong is answered.

Decides from `auth` (the token, or loopback) and from `logins` (a browser's cookie). A change needs the token in a header, or a login and
its second secret in a header: a browser sends a cookie by itself but never a header, so no page that it was lured to changes anything. A
cookie does not count on a request that says to come from another site. Fails closed: what is unclear is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from proxy.admin.answers import error
from proxy.admin.auth import Gate
from proxy.admin.links import PAGE
from proxy.admin.logins import Login, Logins, proves
from proxy.engine.ports import StoreError

OPEN_PATHS = frozenset({"/healthz", "/readyz", "/api/v1/session", "/api/v1/login"})
PAGES = "/web/"
CSRF = "x-fleetgate-csrf"
COOKIE, SECURE_COOKIE = "fleetgate_login", "__Host-fleetgate_login"
_CROSS = "Another site sent this; sign in and act on the dashboard itself."
_NO_CSRF = f"A change needs the header {CSRF} with the value that GET /api/v1/session gives."


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: by which right they read, and their login where that is one."""

    how: Literal["session", "token", "loopback", "none"]
    login: Login | None = None
    why_not: str = ""


CALLER = web.RequestKey("caller", Caller)


class Guard:
    """See the module.

    Args:
        gate: the rule of the token and of loopback.
        logins: who is signed in.
        now: UTC seconds.
    """

    def __init__(self, gate: Gate, logins: Logins, now: Callable[[], float]) -> None:
        self._gate, self._logins, self._now = gate, logins, now

    def caller(self, request: web.Request) -> Caller:
        """Return who asks."""
        headers = list(request.headers.items())
        if self._gate.proves(headers):
            return Caller("token")
        if not crossed(request) and (login := self._logins.of(secret_of(request), self._now())) is not None:
            return Caller("session", login)
        why_not = self._gate.why_not(address_of(request), headers)
        return Caller("none", why_not=why_not) if why_not else Caller("loopback")

    def why_no_change(self, request: web.Request, caller: Caller) -> str:
        """Return why a request may not change anything, or nothing when it may."""
        if caller.how == "session" and caller.login is not None:
            return "" if proves(caller.login, request.headers.get(CSRF, "")) else _NO_CSRF
        return self._gate.why_no_change(list(request.headers.items()))

    def refused(self, request: web.Request, caller: Caller) -> web.Response | None:
        """Return the answer to a request that may not go on, else None."""
        found = request.match_info.route.resource
        if found is not None and found.canonical == PAGE:  # whoever has a link shows its secret
            return None
        if request.path == "/api/v1/login":
            return error(403, _CROSS) if crossed(request) else None
        if request.method == "POST" and (why_not := self.why_no_change(request, caller)):
            return error(403, why_not) if caller.how == "session" or not self._gate.has_token else _asked(why_not)
        if caller.how != "none" or request.path in OPEN_PATHS or request.path.startswith(PAGES):
            return None
        if request.path == "/" and wants_page(request):
            return None
        return _asked(caller.why_not) if self._gate.has_token else error(403, caller.why_not)

    def middleware(self) -> Middleware:
        """Return what aiohttp runs before each handler."""

        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            if request.method not in ("GET", "HEAD", "POST"):
                return error(405, "Only GET, HEAD and POST exist here.", {"Allow": "GET, HEAD, POST"})
            request[CALLER] = caller = self.caller(request)
            if (refusal := self.refused(request, caller)) is not None:
                return refusal
            try:
                return await handler(request)
            except web.HTTPException as e:
                kept = {name: e.headers[name] for name in ("Allow", "Retry-After") if name in e.headers}
                return error(e.status, e.text or e.reason, kept)
            except StoreError as e:
                return error(503, str(e))

        return guard


def _asked(why_not: str) -> web.Response:
    return error(401, why_not, {"WWW-Authenticate": "Bearer"})


def address_of(request: web.Request) -> str | None:
    """Return the address of the other end of the connection; None when unknown."""
    peer = request.transport.get_extra_info("peername") if request.transport else None
    return peer[0] if isinstance(peer, tuple) else None


def secret_of(request: web.Request) -> str:
    """Return the value of the login's cookie, empty without one."""
    cookies = request.cookies
    return cookies.get(SECURE_COOKIE, "") or cookies.get(COOKIE, "")


def secure(request: web.Request) -> bool:
    """Return whether the browser speaks TLS, to us or to a proxy before us. It decides nothing but what the cookie says of itself."""
    return request.secure or request.headers.get("x-forwarded-proto", "").lower() == "https"


def crossed(request: web.Request) -> bool:
    """Return whether a browser says that another site made it send this. One that says nothing of that is no browser of today."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = request.headers.get("origin")
    if origin is None:
        return False
    try:
        return urlsplit(origin).netloc.lower() != request.headers.get("host", "").lower()
    except ValueError:
        return True


def wants_page(request: web.Request) -> bool:
    """Return whether a browser asks for a page."""
    return request.method in ("GET", "HEAD") and "text/html" in request.headers.get("accept", "")
