"""The dashboard's API as time goes on: reloads, a ledger in memory, names without end, and the stream of what happens."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

from panels_port import AGENTS, BASE, NASTY, NOW, RECORDS, Port, folder, play

from proxy.app import build
from proxy.app.views import admin_views
from proxy.telemetry.rollup import beside

WRONG = "budgets/more.yaml:1: budgets: got 3, expected a list"


def test_the_configuration_with_what_became_of_the_last_reloads(tmp_path: Path) -> None:
    path = folder(tmp_path, "memory:")

    async def script(p: Port) -> None:
        house = p.house
        await house.note_files()
        found = await p.get("/api/v1/config")
        assert (found["version"], found["stale"], found["counts"]["agents"]) == (house.files.version, False, 3)
        assert {f["path"] for f in found["files"]} == {"AGENTS.md", "budgets/fleet.yaml", "fleetgate.yaml"}
        assert found["state"]["store"] == "ok"
        (tmp_path / "AGENTS.md").write_text(AGENTS.replace("claude-*", "gpt-*"))
        house.use(build.read(path, {"KEY": "sk-test"}))
        await house.note_files()
        (tmp_path / "budgets" / "more.yaml").write_text("budgets: 3\n")
        house.keep_old([WRONG, "something else"])
        await house.note_files()
        found = await p.get("/api/v1/config")
        assert found["stale"] is True
        assert found["problems"][0] == {
            "file": "budgets/more.yaml",
            "line": 1,
            "text": "budgets/more.yaml:1: budgets: got 3, expected a list",
        }
        assert found["problems"][1]["line"] == 0
        refused, applied, start = found["history"]
        assert (refused["outcome"], refused["added"], len(refused["problems"])) == ("refused", ["budgets/more.yaml"], 2)
        assert (applied["outcome"], applied["changed"], applied["problems"]) == ("applied", ["AGENTS.md"], [])
        assert (start["outcome"], refused["version"]) == ("applied", house.files.version)
        (tmp_path / "budgets" / "more.yaml").unlink()
        await house.note_files()
        assert (await p.get("/api/v1/config"))["history"][0]["removed"] == ["budgets/more.yaml"]

    play(path, script)


def test_a_ledger_in_memory_is_read_the_same(tmp_path: Path) -> None:
    async def script(p: Port) -> None:
        for record in RECORDS:
            p.house.journal.record(record)
        assert (await p.get("/api/v1/fleet"))["totals"]["calls"] == 6
        p.house.journal.record(replace(BASE, id="0006", time=NOW - 1))
        p.house.journal.record(replace(BASE, id="0006", time=NOW - 1))
        assert (await p.get("/api/v1/fleet"))["totals"]["calls"] == 8
        assert (await p.get("/api/v1/sessions/triage/s1"))["session"]["calls"] == 5

    play(folder(tmp_path, "memory:"), script)


def test_names_of_ten_thousand_characters_are_cut_and_refused_ones_are_no_names(tmp_path: Path) -> None:
    async def script(p: Port) -> None:
        long = "m\u202e<b>" * 2000
        p.house.journal.record(replace(BASE, id="1", model=long, model_asked=long, message=long))
        for i in range(20):
            refused = replace(BASE, id=f"2{i}", model="", model_asked=f"{i}{long}", route="", outcome="denied", reason="model_not_allowed")
            p.house.journal.record(refused)
        assert [(len(m["model"]), m["calls"]) for m in (await p.get("/api/v1/agents/triage"))["models"]] == [(200, 1)]
        assert [len(m["key"]) for m in (await p.get("/api/v1/routing"))["models"]] == [200]
        for path in ("sessions/triage/s1", "sessions", "decisions"):
            async with p.session.get(p.server.make_url(f"/api/v1/{path}")) as reply:
                assert len(await reply.read()) < 400_000
        with sqlite3.connect(beside(p.house.journal.file())) as db:
            assert db.execute("SELECT count(*) FROM hours").fetchone() == (2,)
        db.close()

    play(folder(tmp_path, "memory:"), script)


async def events(p: Port, last: str = "") -> Any:
    headers = {"Last-Event-ID": last} if last else {}
    async with p.session.get(p.server.make_url("/api/v1/events"), headers=headers) as reply:
        assert (reply.status, reply.content_type) == (200, "text/event-stream")
        while True:
            fields = {}
            while line := (await reply.content.readline()).decode().rstrip("\n"):
                name, _, value = line.partition(": ")
                fields[name] = value
            if "event" in fields:
                yield fields["event"], json.loads(fields["data"]), fields["id"]
            elif not fields:
                return


def test_what_happens_is_told_while_it_happens(tmp_path: Path) -> None:
    async def script(p: Port) -> None:
        house, seen = p.house, list[str]()
        stream = events(p)
        name, data, last = await anext(stream)
        assert (name, data["now"]) == ("hello", NOW)
        house.journal.record(replace(BASE, id="a1", agent=NASTY))
        while "exchanges" not in seen:
            name, data, last = await anext(stream)
            seen.append(name)
            if name == "fleet":
                assert [a["agent"] for a in data["agents"]] == [NASTY]
            if name == "exchanges":
                assert [x["id"] for x in data["exchanges"]] == ["a1"]
        hands = admin_views(house).hands
        assert hands is not None
        await hands.kill("agent:triage", "test", "me", "1h", False)
        house.keep_old(["AGENTS.md:1: bad"])
        while not {"kill", "config"} <= set(seen):
            name, data, last = await anext(stream)
            seen.append(name)
            if name == "config":
                assert data == {"version": house.files.version, "stale": True, "problems": 1}
        await stream.aclose()
        again = events(p, last)
        assert (await anext(again))[0] == "hello"
        house.keep_old([])
        assert "resync" not in [(await anext(again))[0]]
        await again.aclose()
        lost = events(p, "other-1")
        assert [(await anext(lost))[0] for _ in range(2)] == ["hello", "resync"]
        await p.server.close()
        assert [name async for name, *_ in lost][-1] == "end"

    play(folder(tmp_path, "memory:"), script)
