from __future__ import annotations

import asyncio
import io
import json
import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from proxy.admin import AdminViews, build_admin
from proxy.admin.panels import MOST_WAITING
from proxy.engine.ports import StoreError
from proxy.engine.record import Record
from proxy.telemetry.ledger import Ledger, MemoryLedger
from proxy.telemetry.logs import setup
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.query import ALL, By, Filter, Group, Journal

TOKEN = "canary-admin-4f9a8b7c6d5e"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
NOW = 1_800_000_000.0
PATHS = ("/", "/metrics", "/api/v1/agents", "/api/v1/budgets", "/api/v1/exchanges", "/api/v1/decisions/one", "/api/v1/pairs")
RECORD = Record(
    "one", NOW - 60, agent="a", model="m", model_asked="m", provider="p", status=200, outcome="ok", output_tokens=5, cost=1_500_000_000
)
RECORDS = [RECORD, replace(RECORD, id="two", time=NOW - 7200, agent="b", outcome="denied", reason="rate_limited", cost=0)]


@dataclass
class House:
    """What the admin plane shows in these tests."""

    ledger: Journal
    ready: bool = True
    detail: dict[str, Any] = field(default_factory=lambda: {"store": "ok", "config": "c1", "config_errors": ["AGENTS.md:3: bad"]})
    metrics: Metrics = field(default_factory=lambda: Metrics("1.2.3"))

    def views(self) -> AdminViews:
        async def budgets() -> Sequence[Mapping[str, Any]]:
            return [{"name": "fleet-month", "limit": "500.00"}]

        return AdminViews(
            ready=lambda: (self.ready, self.detail),
            metrics=self.metrics.render,
            agents=lambda: [{"id": "a", "models": ["m"]}],
            budgets=budgets,
            ledger=self.ledger,
            now=lambda: NOW,
            pairs=lambda: [{"agent": "a"}],
        )


def memory() -> House:
    ledger = MemoryLedger()
    for record in RECORDS:
        ledger.record(record)
    return House(ledger)


@dataclass
class Answer:
    """A reply that was read."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


def ask(
    house: House,
    *paths: str,
    token: str | None = None,
    host: str = "127.0.0.1",
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
) -> list[Answer]:
    """Serve the admin plane on a real socket of loopback and ask it; `host` is what it believes to be bound to."""

    async def main() -> list[Answer]:
        server = TestServer(build_admin(house.views(), token, host))
        await server.start_server(access_log=None)
        try:
            async with aiohttp.ClientSession() as session:
                answers = []
                for path in paths:
                    async with session.request(method, server.make_url(path), headers=headers) as reply:
                        answers.append(Answer(reply.status, reply.headers.copy(), await reply.text()))
                return answers
        finally:
            await server.close()

    return asyncio.run(main())


def test_readers_of_the_whole_ledger_leave_the_threads_of_the_data_plane_alone() -> None:
    house, go = memory(), threading.Event()

    class Slow(MemoryLedger):
        def groups(self, by: By, where: Filter = ALL) -> list[Group]:
            assert go.wait(60)
            return []

    async def main() -> list[int]:
        server = TestServer(build_admin(replace(house, ledger=Slow()).views(), None))
        await server.start_server(access_log=None)
        try:
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

                async def sums() -> int:
                    async with session.get(server.make_url("/api/v1/exchanges?by=agent")) as reply:
                        return reply.status

                asking = [asyncio.ensure_future(sums()) for _ in range(40)]
                done, _ = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
                assert await asyncio.wait_for(asyncio.to_thread(lambda: "guarded"), 30) == "guarded"
                assert {task.result() for task in done} == {503}, "so many wait, and no more"
                go.set()
                return await asyncio.gather(*asking)
        finally:
            go.set()
            await server.close()

    found = asyncio.run(main())
    assert sorted(set(found)) == [200, 503]
    assert found.count(200) == MOST_WAITING


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


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("agent=a", ["one"]),
        ("outcome=denied&reason=rate_limited", ["two"]),
        ("since=1h", ["one"]),
        ("until=1h", ["two"]),
        ("limit=1", ["one"]),
        ("agent=%27%20OR%201%3D1", []),
    ],
)
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_exchanges_are_filtered(tmp_path: Path, kind: str, query: str, ids: list[str]) -> None:
    house = memory()
    if kind == "sqlite":
        ledger = Ledger(tmp_path / "l.db")
        for record in RECORDS:
            ledger.record(record)
        ledger.stop()
        house = House(ledger)
    answer = ask(house, f"/api/v1/exchanges?{query}")[0]
    assert [r["id"] for r in answer.json["exchanges"]] == ids


def test_exchanges_in_groups() -> None:
    answer = ask(memory(), "/api/v1/exchanges?by=agent")[0].json
    assert answer["by"] == "agent"
    assert [(g["key"], g["calls"], g["refused"], g["cost_usd"]) for g in answer["groups"]] == [("a", 1, 0, "1.50"), ("b", 1, 1, "0.00")]


@pytest.mark.parametrize("query", ["since=soon", "limit=0", "limit=1001", "limit=x", "limit=-1", "limit=٣", "by=cost", "by=1;--", "agnt=a"])
def test_input_that_means_nothing_is_refused(query: str) -> None:
    answer = ask(memory(), f"/api/v1/exchanges?{query}")[0]
    assert answer.status == 400
    assert answer.json["error"]


def test_what_does_not_exist() -> None:
    for answer in ask(memory(), "/api/v1/decisions/none", "/nowhere", "/api/v1/decisions/..%2f..%2fetc"):
        assert answer.status == 404
        assert set(answer.json) == {"error"}


def test_text_that_is_odd_is_still_json() -> None:
    house = memory()
    house.ledger.record(replace(RECORD, id="odd", model_asked="\ud800<script>\x1b"))  # type: ignore[attr-defined]
    answer = ask(house, "/api/v1/decisions/odd")[0]
    assert answer.json["exchange"]["model_asked"] == "\ud800<script>\x1b"
    assert "\x1b" not in answer.json["explain"]


def test_a_ledger_or_store_that_is_down_is_a_503(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.db")
    ledger.stop()
    for file in tmp_path.iterdir():
        file.unlink()
    house = House(ledger)
    assert [a.status for a in ask(house, "/api/v1/exchanges", "/api/v1/decisions/x", "/healthz")] == [503, 503, 200]

    class Down(House):
        def views(self) -> AdminViews:
            async def budgets() -> Sequence[Mapping[str, Any]]:
                raise StoreError("the store is locked")

            return replace(super().views(), budgets=budgets)

    answer = ask(Down(MemoryLedger()), "/api/v1/budgets")[0]
    assert (answer.status, answer.json) == (503, {"error": "the store is locked"})


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
