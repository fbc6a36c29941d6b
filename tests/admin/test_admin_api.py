"""Who may read the admin port, from where, and what nobody may do there."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from admin_port import House, ask, memory
from aiohttp import web
from aiohttp.test_utils import TestServer

from proxy.admin import AdminViews, build_admin
from proxy.telemetry.ledger import MemoryLedger
from proxy.telemetry.logs import setup

TOKEN = "canary-admin-4f9a8b7c6d5e"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
PATHS = ("/", "/metrics", "/api/v1/agents", "/api/v1/budgets", "/api/v1/exchanges", "/api/v1/decisions/one", "/api/v1/pairs")


def test_metrics_come_in_the_format_that_the_scraper_asks_for() -> None:
    (asked,) = ask(memory(), "/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"})
    assert asked.headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert asked.text.endswith("# EOF\n")


def test_everything_can_be_read_over_loopback() -> None:
    answers = ask(memory(), *PATHS)
    assert [a.status for a in answers] == [200] * len(PATHS)
    index, metrics, agents, budgets, exchanges, decision, pairs = answers
    assert index.json["paths"] == [
        "/api/v1/agents",
        "/api/v1/budgets",
        "/api/v1/decisions/{id}",
        "/api/v1/exchanges",
        "/api/v1/login",
        "/api/v1/logout",
        "/api/v1/pairs",
        "/api/v1/session",
        "/healthz",
        "/metrics",
        "/readyz",
        "/web/{name}",
    ]
    assert metrics.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert 'fleetgate_build_info{version="1.2.3"} 1.0' in metrics.text
    assert agents.json == {"agents": [{"id": "a", "models": ["m"]}]}
    assert pairs.json == {"pairs": [{"agent": "a"}]}
    assert budgets.json == {"budgets": [{"name": "fleet-month", "limit": "500.00"}]}
    assert [r["id"] for r in exchanges.json["exchanges"]] == ["one", "two"]
    assert decision.json["exchange"]["cost"] == 1_500_000_000
    assert decision.json["exchange"]["cost_usd"] == "1.50"
    assert "charged 1.50 USD" in decision.json["explain"]


def test_answers_cannot_be_cached_framed_or_read_by_other_pages() -> None:
    for answer in ask(memory(), *PATHS, "/healthz", "/nowhere"):
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Server"] == "fleetgate"
        assert not [h for h in answer.headers if h.lower().startswith("access-control")]


def test_health_and_readiness_are_open_but_details_are_not() -> None:
    house = memory()
    for token, headers, detailed in ((TOKEN, None, False), (TOKEN, BEARER, True), (None, None, False)):
        house.ready = True
        health, ready = ask(house, "/healthz", "/readyz", token=token, host="0.0.0.0", headers=headers)
        assert (health.status, ready.status) == (200, 200)
        assert ready.json == ({"ready": True} | house.detail if detailed else {"ready": True})
        house.ready = False
        health, ready = ask(house, "/healthz", "/readyz", token=token, host="0.0.0.0", headers=headers)
        assert (health.status, ready.status) == (200, 503)
        assert ("config_errors" in ready.json) is detailed


def test_a_kubelet_asks_by_address_and_gets_no_details() -> None:
    ready = ask(memory(), "/readyz", headers={"Host": "10.1.2.3:9090"})[0]
    assert (ready.status, ready.json) == (200, {"ready": True})


@pytest.mark.parametrize("path", PATHS)
def test_off_loopback_everything_else_needs_the_token(path: str) -> None:
    house = memory()
    without = ask(house, path, token=TOKEN, host="0.0.0.0")[0]
    assert (without.status, without.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert set(without.json) == {"error"}
    assert ask(house, path, token=TOKEN, host="0.0.0.0", headers={"Authorization": "Bearer wrong"})[0].status == 401
    assert ask(house, path, token=TOKEN, host="0.0.0.0", headers=BEARER)[0].status == 200
    unset = ask(house, path, token=None, host="0.0.0.0", headers=BEARER)[0]
    assert unset.status == 403
    assert "Set FLEETGATE_ADMIN_TOKEN" in unset.json["error"]


@pytest.mark.parametrize("path", PATHS)
def test_a_page_that_rebinds_its_name_reads_nothing(path: str) -> None:
    answer = ask(memory(), path, headers={"Host": "evil.example"})[0]
    assert answer.status == 403
    assert set(answer.json) == {"error"}


def test_nothing_can_be_posted_without_a_token() -> None:
    assert {a.status for a in ask(memory(), "/", "/api/v1/agents", "/api/v1/kill", "/healthz", method="POST")} == {403}


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS"])
def test_nothing_can_be_changed(method: str) -> None:
    for answer in ask(memory(), "/", "/api/v1/agents", "/api/v1/kill", "/healthz", method=method):
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD, POST")


def test_head() -> None:
    answers = ask(memory(), *PATHS, method="HEAD")
    assert {(a.status, a.text) for a in answers} == {(200, "")}


def test_what_is_no_http_is_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> bytes:
        server = TestServer(build_admin(memory().views(), None))
        await server.start_server()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /" + b"canary" * 4000 + b" HTTP/1.1\r\nhost: x\r\n\r\n")
        said = await reader.read()
        writer.close()
        await server.close()
        return said

    with caplog.at_level(logging.DEBUG):
        said = asyncio.run(run())
    (entry,) = [e for e in caplog.records if e.name == "aiohttp.server"]
    assert (entry.levelname, entry.exc_info, entry.getMessage()) == ("INFO", None, "what is no HTTP came to the admin port (LineTooLong)")
    assert b" 400 " in said.partition(b"\r\n")[0]
    assert "canary" not in caplog.text


def test_neither_token_nor_key_reaches_the_log() -> None:
    stream, root = io.StringIO(), logging.getLogger()
    handlers, level, raising = list(root.handlers), root.level, logging.raiseExceptions
    setup("DEBUG", stream=stream)
    root.setLevel(logging.DEBUG)

    class Broken(House):
        def views(self) -> AdminViews:
            def agents() -> Sequence[Mapping[str, Any]]:
                raise RuntimeError(f"request with Authorization: Bearer {TOKEN}")

            return replace(super().views(), agents=agents)

    try:
        keys = {"x-api-key": "sk-canary-client-key-1234", **BEARER}
        answers = ask(Broken(MemoryLedger()), "/api/v1/agents?key=canary", "/api/v1/exchanges", token=TOKEN, host="0.0.0.0", headers=keys)
    finally:
        root.handlers[:], logging.raiseExceptions = handlers, raising
        root.setLevel(level)
    assert [a.status for a in answers] == [500, 200]
    assert "RuntimeError" in stream.getvalue()
    assert "canary" not in stream.getvalue()
    assert "canary" not in answers[0].text


def test_two_host_headers_are_not_believed() -> None:
    async def main() -> bytes:
        server = TestServer(build_admin(memory().views(), None))
        await server.start_server(access_log=None)
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"GET /api/v1/agents HTTP/1.1\r\nHost: evil.example\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
            return answer
        finally:
            await server.close()

    status = asyncio.run(main()).split(b" ", 2)[1]
    assert status in (b"400", b"403")


def test_a_peer_without_an_address_is_asked_for_the_token(tmp_path: Path) -> None:
    async def main() -> list[int]:
        runner = web.AppRunner(build_admin(memory().views(), TOKEN), access_log=None)
        await runner.setup()
        path = str(tmp_path / "s")
        try:
            await web.UnixSite(runner, path).start()
            async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(path)) as session:
                statuses = []
                for headers in ({}, BEARER):
                    async with session.get("http://localhost/api/v1/agents", headers=headers) as reply:
                        statuses.append(reply.status)
                return statuses
        finally:
            await runner.cleanup()

    assert asyncio.run(main()) == [401, 200]
