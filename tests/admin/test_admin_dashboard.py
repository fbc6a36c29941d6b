"""The routes that the dashboard reads, on a real house with a real ledger, over real sockets."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from panels_port import FLEET, NASTY, NOW, RECORDS, Port, folder, play

from proxy.app.views import admin_views
from proxy.telemetry.content import Content
from proxy.telemetry.ledger import Ledger


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
