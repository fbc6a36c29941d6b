from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from proxy.admin import AdminViews, build_admin
from proxy.admin.logins import IDLE_S, TRIES, WINDOW_S
from proxy.admin.pages import WEB
from proxy.control.rules import Kill
from proxy.telemetry.ledger import MemoryLedger

TOKEN = "canary-admin-4f9a8b7c6d5e"
NOW = 1_800_000_000.0
SAME = {"Sec-Fetch-Site": "same-origin"}


class Hands:
    """Hands that only write down what they would do."""

    def __init__(self) -> None:
        self.done: list[str] = []

    async def kill(self, target: str, reason: str, by: str, lasts: str, force: bool) -> Kill:
        self.done.append(target)
        return Kill("agent", "a", reason, by, NOW)


class Browser:
    """A browser at the dashboard: keeps cookies, and speaks to a port that believes to be bound to `host`."""

    def __init__(self, server: TestServer, session: aiohttp.ClientSession, clock: list[float], hands: Hands) -> None:
        self._server, self._session, self.clock, self.hands = server, session, clock, hands

    async def ask(self, path: str, body: Any = None, **headers: str) -> tuple[int, Any, Any]:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        method = "GET" if body is None else "POST"
        async with self._session.request(method, self._server.make_url(path), json=body, headers=sent) as reply:
            text = await reply.text()
            return reply.status, await reply.json() if reply.content_type == "application/json" else text, reply.headers

    async def sign_in(self, **headers: str) -> str:
        status, said, _ = await self.ask("/api/v1/login", {"token": TOKEN}, **headers)
        assert status == 200, said
        return str(said["csrf"])


def play(script: Callable[[Browser], Awaitable[None]], token: str | None = TOKEN, host: str = "0.0.0.0", web: Path | None = None) -> None:
    async def main() -> None:
        async def budgets() -> list[Any]:
            return []

        clock, hands = [NOW], Hands()
        views = AdminViews(
            ready=lambda: (True, {"store": "ok"}),
            metrics=lambda accept: (b"", "text/plain"),
            agents=list,
            budgets=budgets,
            ledger=MemoryLedger(),
            now=lambda: clock[0],
            hands=hands,  # type: ignore[arg-type]
            web=web or WEB,
        )
        server = TestServer(build_admin(views, token, host))
        await server.start_server(access_log=None)
        try:
            async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
                await script(Browser(server, session, clock, hands))
        finally:
            await server.close()

    asyncio.run(main())


KILL = {"target": "agent:a", "reason": "test"}


def test_signing_in_lets_a_browser_read_and_with_the_second_secret_change() -> None:
    async def script(b: Browser) -> None:
        assert (await b.ask("/api/v1/agents"))[0] == 401
        status, who, _ = await b.ask("/api/v1/session")
        assert (status, who["how"], who["reads"], who["token_set"]) == (200, "none", False, True)
        assert "csrf" not in who
        csrf = await b.sign_in(**SAME)
        assert (await b.ask("/api/v1/agents", **SAME))[0] == 200
        status, who, _ = await b.ask("/api/v1/session")
        assert (who["how"], who["csrf"], who["changes"]) == ("session", csrf, True)
        assert (await b.ask("/api/v1/kill", KILL))[0] == 403
        assert (await b.ask("/api/v1/kill", KILL, x_fleetgate_csrf="guessed"))[0] == 403
        assert b.hands.done == []
        assert (await b.ask("/api/v1/kill", KILL, x_fleetgate_csrf=csrf))[0] == 200
        assert b.hands.done == ["agent:a"]
        assert (await b.ask("/api/v1/logout", {}, x_fleetgate_csrf=csrf))[0] == 200
        assert (await b.ask("/api/v1/agents"))[0] == 401
        assert (await b.ask("/api/v1/kill", KILL, x_fleetgate_csrf=csrf))[0] == 401
        assert b.hands.done == ["agent:a"]

    play(script)


def test_the_cookie_is_for_this_site_alone_and_no_script_reads_it() -> None:
    async def script(b: Browser) -> None:
        _, said, headers = await b.ask("/api/v1/login", {"token": TOKEN})
        cookie = headers["Set-Cookie"]
        assert cookie.startswith("fleetgate_login=")
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
        assert "Secure" not in cookie
        assert "Domain" not in cookie
        assert TOKEN not in str(said) + cookie
        _, _, headers = await b.ask("/api/v1/login", {"token": TOKEN}, X_Forwarded_Proto="https")
        assert headers["Set-Cookie"].startswith("__Host-fleetgate_login=")
        assert "Secure" in headers["Set-Cookie"]
        assert headers["Cache-Control"] == "no-store"

    play(script)


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://[evil"},
        {"Origin": "https://evil.example", "Sec_Fetch_Site": "cross-site"},
    ],
)
def test_what_another_site_makes_a_browser_send_does_nothing(headers: dict[str, str]) -> None:
    async def script(b: Browser) -> None:
        csrf = await b.sign_in()
        assert (await b.ask("/api/v1/login", {"token": TOKEN}, **headers))[0] == 403
        assert (await b.ask("/api/v1/agents", **headers))[0] == 401
        assert (await b.ask("/api/v1/kill", KILL, x_fleetgate_csrf=csrf, **headers))[0] == 401
        assert b.hands.done == []

    play(script)


def test_an_origin_that_is_the_dashboards_own_is_none_of_another_site() -> None:
    async def script(b: Browser) -> None:
        await b.sign_in(Origin=str(b._server.make_url("/")).rstrip("/"))

    play(script)


def test_a_login_ends_while_the_browser_sleeps() -> None:
    async def script(b: Browser) -> None:
        csrf = await b.sign_in()
        b.clock[0] += IDLE_S
        assert (await b.ask("/api/v1/agents"))[0] == 401
        assert (await b.ask("/api/v1/kill", KILL, x_fleetgate_csrf=csrf))[0] == 401
        assert b.hands.done == []

    play(script)


def test_wrong_tokens_are_counted_and_then_the_right_one_waits_too() -> None:
    async def script(b: Browser) -> None:
        for wrong in ["", TOKEN[:-1], *["x"] * (TRIES - 2)]:
            status, said, headers = await b.ask("/api/v1/login", {"token": wrong})
            assert (status, "Set-Cookie" in headers) == (401, False)
        status, said, headers = await b.ask("/api/v1/login", {"token": TOKEN})
        assert (status, headers["Retry-After"]) == (429, "60")
        assert "error" in said
        status, _, _ = await b.ask("/api/v1/agents", Authorization=f"Bearer {TOKEN}")
        assert status == 200  # scripts are not kept out by a browser that guesses
        b.clock[0] += WINDOW_S
        await b.sign_in()

    play(script)


def test_without_a_token_nobody_signs_in() -> None:
    async def script(b: Browser) -> None:
        assert (await b.ask("/api/v1/login", {"token": ""}))[0] == 403
        assert (await b.ask("/api/v1/session"))[1]["token_set"] is False

    play(script, token=None)
    play(script, token="")


@pytest.mark.parametrize(("body", "status"), [([], 400), ({"token": 1}, 400), ({"tocken": "x"}, 400), ({"token": "x" * 20_000}, 413)])
def test_what_is_no_token_is_refused(body: Any, status: int) -> None:
    async def script(b: Browser) -> None:
        assert (await b.ask("/api/v1/login", body))[0] == status

    play(script)


def test_over_loopback_one_may_read_without_signing_in_but_not_change() -> None:
    async def script(b: Browser) -> None:
        _, who, _ = await b.ask("/api/v1/session")
        assert (who["how"], who["reads"], who["changes"]) == ("loopback", True, False)
        assert (await b.ask("/api/v1/kill", KILL))[0] == 401
        csrf = await b.sign_in()
        assert (await b.ask("/api/v1/kill", KILL, x_fleetgate_csrf=csrf))[0] == 200

    play(script, host="127.0.0.1")


def test_a_name_that_was_pointed_at_loopback_reads_nothing() -> None:
    async def script(b: Browser) -> None:
        assert (await b.ask("/api/v1/agents", Host="evil.example"))[0] == 401
        _, who, _ = await b.ask("/api/v1/session", Host="evil.example")
        assert who["reads"] is False

    play(script, host="127.0.0.1")


# --- the files -----------------------------------------------------------------------------------------------------------------------


def test_a_browser_gets_the_dashboard_and_a_script_the_list_of_paths(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<!doctype html><title>Fleet</title>" + "x" * 500)
    (tmp_path / "app.js").write_text("export const a = 1;")
    (tmp_path / "notes.py").write_text("secret = 1")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "more.js").write_text("1")

    async def script(b: Browser) -> None:
        status, page, headers = await b.ask("/", Accept="text/html,*/*;q=0.8")
        assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert "<title>Fleet</title>" in page
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert (headers["X-Content-Type-Options"], headers["X-Frame-Options"]) == ("nosniff", "DENY")
        assert (await b.ask("/"))[0] == 401  # for a script it is the list of paths, which is not open
        status, _, headers = await b.ask("/web/app.js")
        assert (status, headers["Content-Type"]) == (200, "text/javascript; charset=utf-8")
        assert (await b.ask("/web/app.js", If_None_Match=f'"other", W/{headers["ETag"]}'))[0] == 304
        assert (await b.ask("/web/below/more.js"))[0] == 200
        for path in (
            "/web/notes.py",
            "/web/more.js",
            "/web/below",
            "/web/below/app.js",
            "/web/below/../notes.py",
            "/web/..%2fapi.py",
            "/web/%2e%2e/api.py",
            "/web/",
        ):
            status, said, _ = await b.ask(path)
            assert status in (401, 404), path
            assert "secret" not in str(said)
        assert (await b.ask("/web/app.js", {}))[0] in (401, 405)

    play(script, web=tmp_path)


def test_without_its_files_the_port_serves_the_rest(tmp_path: Path) -> None:
    async def script(b: Browser) -> None:
        status, said, _ = await b.ask("/", Accept="text/html", Authorization=f"Bearer {TOKEN}")
        assert status == 200
        assert "/api/v1/agents" in said["paths"]

    play(script, web=tmp_path / "none")
