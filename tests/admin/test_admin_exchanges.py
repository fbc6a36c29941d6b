"""Exchanges by the admin API: filtered, in groups, odd in every way, and a ledger that is down."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from admin_port import RECORD, RECORDS, House, ask, memory
from aiohttp.test_utils import TestServer

from proxy.admin import AdminViews, build_admin
from proxy.admin.panels import MOST_WAITING
from proxy.engine.ports import StoreError
from proxy.telemetry.ledger import Ledger, MemoryLedger
from proxy.telemetry.query import ALL, By, Filter, Group


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
