"""The routes that the dashboard reads, on a real house with a real ledger, over real sockets."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from proxy.admin import build_admin
from proxy.app import build
from proxy.app.house import House
from proxy.app.views import admin_views
from proxy.engine.ports import SystemClock
from proxy.engine.record import Record
from proxy.telemetry.content import Content
from proxy.telemetry.ledger import Ledger
from proxy.telemetry.rollup import beside

NOW = 1_800_000_000.0  # 08:00 UTC
NASTY = "<img src=x onerror=alert(1)>\"'\u202e" + "x" * 200
AGENTS = """---
agents:
  - name: triage
    version: 1.4.0
    description: Sorts
    policy: {owner: {team: payments}, models: {allow: ["claude-*"]}, budgets: {day: {usd: 40}}, data: {log_content: hash}}
  - {name: scout, policy: {owner: {team: web}}}
  - {name: idle, policy: {owner: {team: web}}}
---
"""
CONFIG = """
agents: [AGENTS.md]
budgets: budgets/
policies: policies/
providers: {p: {protocols: [openai], base_url: "http://127.0.0.1:9/v1", api_key: env:KEY}}
models: {"claude-*": {provider: p, price: {input: 1, output: 1}}}
store: "%s"
"""
WRONG = "budgets/more.yaml:1: budgets: got 3, expected a list"
FLEET = "fleet-month|usd||2027-01"
BASE = Record(
    "0001", NOW - 30, agent="triage", team="payments", version="1.4.0", file_digest="f1", policy_digest="p1", session="triage/s1",
    run="triage/s1", protocol="openai.chat", operation="chat", stream=True, model_asked="claude-x", model="claude-x", provider="p",
    route="requested", status=200, outcome="ok", input_tokens=100, output_tokens=10, cache_read_tokens=50, cost=2_000_000_000,
    decisions=(("routing", "requested"),),
    marks={"sent": 1_000_000, "first_byte": 301_000_000, "last_byte": 800_000_000, "closed": 801_000_000},
    tools=(("Read", "passed"), ("rm", "withheld")),
    charges=((FLEET, "usd", 2_000_000_000), ("agent:triage/day/usd|usd||2027-01-15", "usd", 2_000_000_000)),
)  # fmt: skip
RECORDS = [
    replace(BASE, id="0000", time=NOW - 7200, policy_digest="p0", session="triage/s0", run="triage/s0"),
    BASE,
    replace(BASE, id="0002", time=NOW - 20, agent="scout", team="web", session="scout/s2", run="triage/s1", parent="triage/s1",
            policy_digest="q", route="local", model="local/q", saved=500_000_000, cost=0,
            decisions=(("routing", "local: simple"),), charges=(),
            findings=(("shadow/content_blocked", "policies/pii.yaml:4"), ("pii/email", "in message 1"))),
    replace(BASE, id="0003", time=NOW - 10, outcome="denied", reason="tool_call_blocked", rule="AGENTS.md:3", status=403, message="No.",
            remedy="Ask.", cost=0, output_tokens=0, marks={}, charges=()),
    replace(BASE, id="0004", time=NOW - 5, loop="block;rule=identical;count=5", wasted=7, reason="loop_detected", outcome="denied", cost=0,
            marks={}, charges=()),
    replace(BASE, id="0005", time=NOW - 4, agent=NASTY, team="", session=f"{NASTY}/s", run=f"{NASTY}/s", cost=1, charges=()),
]  # fmt: skip


class Clock(SystemClock):
    """A clock that stands."""

    def now(self) -> float:
        return NOW


def folder(tmp: Path, store: str) -> Path:
    (tmp / "AGENTS.md").write_text(AGENTS)
    (tmp / "budgets").mkdir()
    (tmp / "policies").mkdir()
    (tmp / "budgets" / "fleet.yaml").write_text("budgets: [{name: fleet-month, scope: {fleet: '*'}, limit: {usd: 500}, window: month}]\n")
    path = tmp / "fleetgate.yaml"
    path.write_text(CONFIG % store)
    return path


class Port:
    """The admin port of a house."""

    def __init__(self, house: House, server: TestServer, session: aiohttp.ClientSession) -> None:
        self.house, self.server, self.session = house, server, session

    async def get(self, path: str, status: int = 200) -> Any:
        async with self.session.get(self.server.make_url(path)) as reply:
            text = await reply.text()
            assert reply.status == status, (path, text)
            assert reply.headers["Cache-Control"] == "no-store"
            return json.loads(text)


@asynccontextmanager
async def port(path: Path) -> Any:
    house = House(build.read(path, {"KEY": "sk-test"}), clock=Clock())
    server = TestServer(build_admin(admin_views(house), None))
    await server.start_server(access_log=None)
    try:
        async with aiohttp.ClientSession() as session:
            yield Port(house, server, session)
    finally:
        await server.close()
        await house.close()


def play(path: Path, script: Callable[[Port], Awaitable[None]]) -> None:
    async def main() -> None:
        async with port(path) as p:
            await script(p)

    asyncio.run(main())


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration whose ledger has records."""
    tmp = tmp_path_factory.mktemp("house")
    ledger = Ledger(tmp / "fg.db")
    for record in RECORDS:
        ledger.record(record)
    ledger.stop()
    return folder(tmp, "sqlite:fg.db")


def test_the_fleet_is_all_agents_with_what_they_do(config: Path) -> None:
    async def script(p: Port) -> None:
        await p.house.gauges.look()
        found = await p.get("/api/v1/fleet?sort=agent")
        assert [a["agent"] for a in found["agents"]] == sorted([NASTY, "idle", "scout", "triage"], key=str.casefold)
        assert (found["total"], found["stale"], found["as_of"]) == (4, None, NOW)
        rows = {a["agent"]: a for a in found["agents"]}
        triage = rows["triage"]
        assert (triage["state"], triage["calls"], triage["refused"], triage["usd"], triage["loops"]) == ("stuck", 4, 2, "4.00", 1)
        assert triage["tokens"] == 2 * 160 + 150 + 160
        assert triage["last_refusal"] == {"id": "0004", "time": NOW - 5, "reason": "loop_detected", "rule": ""}
        assert triage["loop"]["rule"] == "identical"
        assert triage["loop"]["session"] == "triage/s1"
        assert (triage["version"], triage["team"], triage["known"]) == ("1.4.0", "payments", True)
        assert (triage["budget"]["unit"], triage["budget"]["limit"]) == ("usd", "40.00")
        assert len(triage["minutes"]) == 15
        assert sum(triage["minutes"]) == 3
        assert (rows["scout"]["state"], rows["idle"]["state"], rows["idle"]["last_seen"]) == ("active", "idle", None)
        assert rows[NASTY]["known"] is False
        totals = found["totals"]
        assert (totals["agents"], totals["stuck"], totals["active"], totals["idle"], totals["calls"]) == (4, 1, 2, 1, 6)
        assert found["teams"] == ["payments", "web"]

    play(config, script)


def test_the_fleet_is_searched_sorted_and_paged(config: Path) -> None:
    async def script(p: Port) -> None:
        assert [a["agent"] for a in (await p.get("/api/v1/fleet?q=TRI"))["agents"]] == ["triage"]
        assert {a["agent"] for a in (await p.get("/api/v1/fleet?team=web"))["agents"]} == {"scout", "idle"}
        assert [a["agent"] for a in (await p.get("/api/v1/fleet?state=idle,stuck&sort=-state"))["agents"]] == ["triage", "idle"]
        found = await p.get("/api/v1/fleet?sort=-usd&limit=1&offset=1")
        assert (found["total"], found["offset"], [a["agent"] for a in found["agents"]]) == (4, 1, [NASTY])
        for sort in ("team", "calls_per_min", "calls", "refused", "tokens", "loops", "budget", "last_seen", "last_refusal"):
            await p.get(f"/api/v1/fleet?sort=-{sort}")

    play(config, script)


def test_whoever_is_stopped_is_shown_as_killed(config: Path) -> None:
    async def script(p: Port) -> None:
        hands = admin_views(p.house).hands
        assert hands is not None
        await hands.kill("team:web", "test", "me", "1h", False)
        rows = {a["agent"]: a for a in (await p.get("/api/v1/fleet?state=killed"))["agents"]}
        assert {name: row["killed_by"] for name, row in rows.items()} == {"scout": "team:web", "idle": "team:web"}
        await hands.resume("team:web", "", "me")
        assert (await p.get("/api/v1/fleet?state=killed"))["total"] == 0

    play(config, script)


def test_an_agent_with_its_policy_and_where_each_value_is_written(config: Path) -> None:
    async def script(p: Port) -> None:
        await p.house.gauges.look()
        found = await p.get("/api/v1/agents/triage")
        assert found["row"]["agent"] == "triage"
        assert found["policy"]["models"][0]["source"].startswith("AGENTS.md:")
        assert "AGENTS.md:" in found["text"]
        assert [v["policy_digest"] for v in found["versions"]] == ["p1", "p0"]
        assert [(v["first"], v["last"], v["calls"]) for v in found["versions"]] == [(NOW - 30, NOW - 5, 3), (NOW - 7200, NOW - 7200, 1)]
        assert found["models"] == [{"model": "claude-x", "calls": 4, "tokens": 630, "usd": "4.00"}]
        assert [b["name"] for b in found["budgets"]] == ["agent:triage/day/usd"]
        assert found["log_content"] == "hash"
        assert found["emitted"] is None, "nobody estimates"
        nasty = await p.get(f"/api/v1/agents/{quote(NASTY, safe='')}")
        assert nasty["policy"] is None
        assert nasty["row"]["agent"] == NASTY
        assert "error" in await p.get("/api/v1/agents/nobody", 404)

    play(config, script)


def test_series_have_a_point_for_each_step(config: Path) -> None:
    async def script(p: Port) -> None:
        found = await p.get("/api/v1/series?since=3h")
        assert [x["t"] for x in found["points"]] == [NOW - 10800, NOW - 7200, NOW - 3600]
        assert [x["calls"] for x in found["points"]] == [0, 1, 5]
        point = found["points"][2]
        assert (point["refused"], point["usd"], point["saved_usd"], point["loops"]) == (2, "2.000000001", "0.50", 1)
        assert (point["input_tokens"], point["cached_tokens"]) == (750, 250)
        assert (point["mean_ms"], point["ttft_ms"]) == (801.0, 300.0)
        assert 400 < point["p50_ms"] <= point["p95_ms"] <= 1600
        assert found["points"][0]["mean_ms"] is None
        assert found["points"][0]["p95_ms"] is None
        one = await p.get("/api/v1/series?since=3h&agent=triage&step=day")
        assert [x["calls"] for x in one["points"]] == [4]
        assert sum(x["calls"] for x in (await p.get("/api/v1/series?team=web"))["points"]) == 1
        assert sum(x["calls"] for x in (await p.get("/api/v1/series?model=local/q"))["points"]) == 1
        await p.get("/api/v1/series?since=2020-01-01", 400)
        teams = (await p.get("/api/v1/teams"))["teams"]
        assert [(t["team"], t["calls"]) for t in teams] == [("payments", 4), ("", 1), ("web", 1)]

    play(config, script)


def test_sessions_and_one_timeline_page_by_page(config: Path) -> None:
    async def script(p: Port) -> None:
        found = await p.get("/api/v1/sessions?agent=triage&sort=calls")
        assert [(s["session"], s["calls"], s["refused"]) for s in found["sessions"]] == [("triage/s0", 1, 0), ("triage/s1", 3, 2)]
        assert found["sessions"][1]["loop"] == "block;rule=identical;count=5"
        assert (await p.get("/api/v1/sessions?q=/S2"))["sessions"][0]["parent"] == "triage/s1"
        assert (await p.get("/api/v1/sessions?run=triage/s1"))["total"] == 2
        page = await p.get("/api/v1/sessions/triage%2Fs1?limit=2")
        assert [x["id"] for x in page["exchanges"]] == ["0004", "0003"]
        assert page["session"]["calls"] == 3
        rest = await p.get(f"/api/v1/sessions/triage/s1?limit=2&cursor={page['next']}")
        assert [x["id"] for x in rest["exchanges"]] == ["0001"]
        assert rest["next"] is None
        first = rest["exchanges"][0]
        assert (first["total_ms"], first["ttft_ms"], first["input_tokens"], first["cached_tokens"]) == (801.0, 300.0, 150, 50)
        assert first["tools"] == [{"name": "Read", "status": "passed"}, {"name": "rm", "status": "withheld"}]
        assert (await p.get("/api/v1/sessions/triage/s1?agent=triage"))["run"] == "triage/s1"
        await p.get("/api/v1/sessions/triage/s1?agent=scout", 404)
        assert page["exchanges"][0]["loop"] == {"level": "block", "rule": "identical", "count": 5, "action": "", "usd": "0.000000007"}
        assert (await p.get("/api/v1/decisions/0002"))["view"]["findings"][1] == {"rule": "pii/email", "detail": "in message 1"}
        await p.get("/api/v1/sessions/nobody", 404)
        for cursor in ("x", "1~", "9" * 40 + "~1", "1~1;DROP"):
            await p.get(f"/api/v1/sessions/triage/s1?cursor={quote(cursor)}", 400)

    play(config, script)


@pytest.mark.parametrize(("capture", "level"), [("true", "hash"), ("false", "")])
def test_what_was_said_is_there_where_it_is_kept(tmp_path: Path, capture: str, level: str) -> None:
    path = folder(tmp_path, "memory:")
    path.write_text(path.read_text() + f"telemetry: {{capture: {capture}}}\n")

    async def script(p: Port) -> None:
        p.house.journal.record(RECORDS[1])
        p.house.journal.record(RECORDS[2])
        for name, kept in (("triage/s1", level), ("scout/s2", "")):
            assert (await p.get(f"/api/v1/sessions/{quote(name, safe='')}"))["content"] == kept
        assert (await p.get("/api/v1/decisions/0001"))["content"] == level
        p.house.contents.keep([Content("0001", NOW, "triage", "triage/s1", "hash", NOW + 1)])
        assert (await p.get("/api/v1/exchanges/0001/content"))["level"] == "hash", "also what was kept before it was turned off"
        assert "telemetry.capture" in (await p.get("/api/v1/exchanges/0002/content", 404))["error"]
        log = (await p.get("/api/v1/kill"))["log"]
        assert [(e["action"], e["target"]) for e in log] == [("read", "exchange:0001 of triage/s1")]

    play(path, script)


def test_a_run_is_a_tree(config: Path) -> None:
    async def script(p: Port) -> None:
        found = await p.get("/api/v1/runs/triage%2Fs1")
        assert [(n["id"], n["parent"], n["depth"]) for n in found["nodes"]] == [("triage/s1", None, 0), ("scout/s2", "triage/s1", 1)]
        assert found["edges"] == [{"from": "triage/s1", "to": "scout/s2"}]
        assert found["more"] is False
        await p.get("/api/v1/runs/none", 404)

    play(config, script)


def test_decisions_with_counts_and_dry_runs(config: Path) -> None:
    async def script(p: Port) -> None:
        found = await p.get("/api/v1/decisions?limit=1")
        assert [d["id"] for d in found["decisions"]] == ["0004"]
        assert {r["reason"]: r["count"] for r in found["reasons"]} == {"loop_detected": 1, "tool_call_blocked": 1}
        rest = await p.get(f"/api/v1/decisions?limit=1&cursor={found['next']}")
        assert [(d["id"], d["message"], d["remedy"], d["rule"]) for d in rest["decisions"]] == [("0003", "No.", "Ask.", "AGENTS.md:3")]
        assert "reasons" not in rest
        assert rest["next"] is None
        for query in ("reason=tool_call_blocked", "rule=agents.md", "agent=triage&rule=:3"):
            assert [d["id"] for d in (await p.get(f"/api/v1/decisions?{query}"))["decisions"]] == ["0003"]
        assert (await p.get("/api/v1/decisions?until=1h"))["decisions"] == []
        shadow = (await p.get("/api/v1/shadow"))["rules"]
        assert [(r["reason"], r["rule"], r["count"]) for r in shadow] == [("content_blocked", "policies/pii.yaml:4", 1)]
        assert shadow[0]["examples"] == [{"id": "0002", "agent": "scout", "time": NOW - 20}]

    play(config, script)


def test_budgets_by_page_and_what_burnt_them(config: Path) -> None:
    async def script(p: Port) -> None:
        assert (await p.get("/api/v1/budgets?limit=5"))["budgets"] == []  # nobody has looked yet
        await p.house.gauges.look()
        found = await p.get("/api/v1/budgets?sort=name&limit=1")
        assert (found["total"], [b["name"] for b in found["budgets"]]) == (2, ["agent:triage/day/usd"])
        assert [b["name"] for b in (await p.get("/api/v1/budgets?scope=shared"))["budgets"]] == ["fleet-month"]
        assert [b["name"] for b in (await p.get("/api/v1/budgets?agent=triage&unit=usd"))["budgets"]] == ["agent:triage/day/usd"]
        assert (await p.get("/api/v1/budgets?q=nothing"))["total"] == 0
        await p.get("/api/v1/budgets?scope=all", 400)
        burn = await p.get(f"/api/v1/burn?counter={quote(FLEET)}")
        assert [(x["t"], x["amount"], x["spent"]) for x in burn["points"]] == [(NOW - 7200, "2.00", "2.00"), (NOW - 600, "2.00", "4.00")]
        assert burn["budget"]["name"] == "fleet-month"
        assert burn["agents"] == [{"agent": "triage", "amount": "4.00", "share": 1.0}]
        own = await p.get(f"/api/v1/burn?counter={quote('agent:triage/day/usd|usd||2027-01-15')}")
        assert [x["amount"] for x in own["points"]] == ["2.00", "2.00"]
        await p.get("/api/v1/burn?counter=x", 404)
        await p.get("/api/v1/burn", 400)

    play(config, script)


def test_routing_in_sums(config: Path) -> None:
    async def script(p: Port) -> None:
        found = await p.get("/api/v1/routing")
        assert (found["total"]["calls"], found["total"]["routed"], found["total"]["saved_usd"]) == (4, 1, "0.50")
        assert [(a["key"], a["routed"]) for a in found["agents"]] == [("triage", 0), (NASTY, 0), ("scout", 1)]
        assert [(m["key"], m["calls"]) for m in found["models"]] == [("claude-x", 4)]
        assert {r["route"]: r["calls"] for r in found["routes"]} == {"requested": 3, "local": 1}
        assert [x["calls"] for x in found["points"]] == [1, 3]
        assert (await p.get("/api/v1/routing?agent=scout"))["total"]["share"] == 1.0

    play(config, script)


@pytest.mark.parametrize(
    "query",
    [
        "fleet?limit=0", "fleet?limit=501", "fleet?limit=1e3", "fleet?offset=-1", "fleet?sort=usd;drop", "fleet?state=dead", "fleet?x=1",
        "fleet?q=a&q=b", "fleet?q=" + "x" * 2000, "fleet?q=%00", "series?step=minute", "series?since=tomorrow", "series?since=1d&until=2d",
        "sessions?sort=parent", "decisions?cursor=", "burn?counter=", "burn?counter=%ff%00", "routing?until=9999-99-99",
        "agents/triage?x=1",
    ],
)  # fmt: skip
def test_what_means_nothing_is_refused_in_words(config: Path, query: str) -> None:
    async def script(p: Port) -> None:
        assert "error" in await p.get(f"/api/v1/{query}", 404 if query == "burn?counter=" else 400)

    play(config, script)


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
