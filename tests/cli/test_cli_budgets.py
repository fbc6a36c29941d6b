"""`fleetgate budgets` beside a real server, on a store that it reads itself and on one that only the server has."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from cli_cases import Done, folder, run
from serving import Proxy, Simulator, free_port, post

from proxy.stores.rows import Rows
from proxy.stores.schema import connect

AGENTS = """---
agents:
  - name: clerk
    description: Files things
    version: 1.0.0
    policy: {budgets: {day: {usd: 3}}}
  - name: idle
    description: Does nothing
    version: 1.0.0
---
"""
BUDGETS = {
    "budgets": [
        {"name": "all", "scope": {"fleet": "*"}, "limit": {"usd": 10}, "window": "month"},
        {"name": "talk", "scope": {"session": "*"}, "limit": {"tokens": 1000}, "window": "session"},
        {"name": "each", "scope": {"agent": "*"}, "limit": {"requests": 50}, "window": "day"},
    ]
}
PATH = "/v1/chat/completions"


@pytest.fixture(scope="module", params=["sqlite:fleetgate.db", "memory:"])
def proxy(request: pytest.FixtureRequest) -> Iterator[Proxy]:
    with Simulator() as sim, Proxy(sim, agents=AGENTS, budgets=BUDGETS, settings={"store": request.param}, keys=("clerk", "idle")) as proxy:
        headers = {"authorization": f"Bearer {proxy.key('clerk')}", "x-fleetgate-session": "s1"}
        for _ in range(3):
            reply = post(proxy.url + PATH, {"model": "gpt-4o", "max_tokens": 20, "messages": [{"role": "user", "content": "hi"}]}, headers)
            assert reply.status == 200
        deadline = time.monotonic() + 10
        while len(_exchanges(proxy)) < 3:
            assert time.monotonic() < deadline
        yield proxy


def _exchanges(proxy: Proxy) -> list[Any]:
    found: list[Any] = json.loads(post(f"{proxy.admin_url}/api/v1/exchanges", b"", method="GET").body)["exchanges"]
    return found


def budgets(proxy: Proxy, *arguments: str) -> Done:
    return run("budgets", *arguments, "--config", str(proxy.config))


def test_all_of_now_nearest_to_its_limit_first(proxy: Proxy) -> None:
    found = budgets(proxy, "--json").json
    spent = sum(r["cost"] for r in _exchanges(proxy))
    assert spent > 0
    by_name = {(b["name"], b["scope"]): b for b in found}
    fleet, own = by_name["all", ""], by_name["agent:clerk/day/usd", ""]
    assert round(float(fleet["spent"]) * 1e9) == round(float(own["spent"]) * 1e9) == spent
    assert own["used"] == round(spent / 3e9, 6)
    assert (by_name["each", "agent=clerk"]["spent"], by_name["each", "agent=idle"]["spent"]) == (3, 0)
    assert [b["used"] for b in found] == sorted((b["used"] for b in found), reverse=True)
    assert (fleet["window"], fleet["unit"], fleet["enforced"], fleet["exhausted_in"]) == ("month", "usd", True, None)
    assert time.time() < fleet["resets_at"] < time.time() + 32 * 86_400


def test_a_table_of_bars(proxy: Proxy) -> None:
    done = budgets(proxy)
    assert (done.code, done.err) == (0, "")
    head, *lines = done.out.splitlines()
    assert head.split()[0] == "BUDGET"
    assert any(line.startswith("day/usd") and "clerk" in line and "3.00 USD" in line for line in lines)
    assert any(line.startswith("each") and "idle" in line and "50 requests" in line for line in lines)


def test_filters(proxy: Proxy) -> None:
    def names(*arguments: str) -> set[str]:
        return {f"{b['name']} {b['scope']}".rstrip() for b in budgets(proxy, "--json", *arguments).json}

    assert names("--agent", "idle") == {"all", "each agent=idle"}
    assert {"all", "each agent=clerk", "agent:clerk/day/usd"} <= names("--agent", "cl*")
    assert names("--name", "each") == {"each agent=clerk", "each agent=idle"}
    assert names("--name", "day/*") == {"agent:clerk/day/usd"}
    assert names("--name", "nothing") == set()
    assert budgets(proxy, "--name", "nothing").out == "no budgets\n"


def test_again_and_again(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("proxy.cli.budgets.time.sleep", sleep)
    done = budgets(proxy, "--watch", "3")
    assert (done.code, waits) == (130, [3.0, 3.0])
    assert done.out.count("BUDGET") == 2
    assert done.out.count(" UTC\n") == 2
    assert "\x1b" not in done.out, "not a terminal: nothing is drawn over"
    waits.clear()
    done = budgets(proxy, "--watch", "--json")
    assert [len(json.loads(line)) for line in done.out.splitlines()] == [len(budgets(proxy, "--json").json)] * 2


@pytest.mark.parametrize("seconds", ["0", "-1", "x", "nan", "inf", "1e9"])
def test_a_watch_that_means_nothing_is_wrong_usage(proxy: Proxy, seconds: str) -> None:
    assert budgets(proxy, f"--watch={seconds}").code == 2


def test_me_says_the_same_with_the_session_that_the_request_names(proxy: Proxy) -> None:
    def me(**headers: str) -> dict[str, Any]:
        reply = post(f"{proxy.url}/fleetgate/v1/me", b"", {"authorization": f"Bearer {proxy.key('clerk')}"} | headers, method="GET")
        return {b["name"]: b for b in json.loads(reply.body)["budgets"]}

    plain, named, other = me(), me(**{"x-fleetgate-session": "s1"}), me(**{"x-fleetgate-session": "s2"})
    assert set(plain) == {"all", "each", "agent:clerk/day/usd"}
    assert set(named) == set(other) == {*plain, "talk"}
    tokens = sum(r["input_tokens"] + r["output_tokens"] for r in _exchanges(proxy))
    assert (named["talk"]["spent"], named["talk"]["remaining"], other["talk"]["spent"]) == (tokens, 1000 - tokens, 0)
    assert (named["talk"]["window"], named["talk"]["resets_at"]) == ("session", None)
    for budget in named.values():
        assert {"limit", "spent", "held", "remaining", "resets_at", "exhausted_in", "window"} <= set(budget)


def test_metrics_show_them_within_seconds(proxy: Proxy) -> None:
    wanted = 'fleetgate_budget_remaining{budget="each",scope="agent=clerk",unit="requests"} 47.0'
    deadline = time.monotonic() + 20
    while wanted not in (text := post(f"{proxy.admin_url}/metrics", b"", method="GET").body.decode()):
        assert time.monotonic() < deadline, text
        time.sleep(0.2)
    assert 'fleetgate_budget_used_ratio{budget="each",scope="agent=clerk",unit="requests"} 0.06' in text
    assert 'budget="talk"' not in text, "sessions come and go: a series for each would never end"


def sqlite(proxy: Proxy, *statements: str) -> None:
    with closing(connect(proxy.folder / "fleetgate.db", 5.0)) as db:
        Rows(db).recorded(())  # what the proxy did last comes into the tables
        for statement in statements:
            db.execute(statement)


def test_the_audit_compares_every_counter_with_the_records(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.cli.audit.WAIT_S", 0.2)
    if "memory" in proxy.config.read_text():
        done = budgets(proxy, "--audit")
        assert (done.code, done.out) == (1, "")
        assert "fleetgate_budget_drift" in done.err
        return
    done = budgets(proxy, "--audit", "--json")
    assert (done.code, done.json["differences"]) == (0, [])
    assert done.json["audited"] == 5
    text = budgets(proxy, "--audit")
    assert (text.code, text.out.splitlines()[-1]) == (0, "no difference")
    month = next(b["counter"] for b in budgets(proxy, "--json").json if b["name"] == "all")
    change = f"UPDATE budget_counters SET spent = spent + %d WHERE counter = '{month}'"
    sqlite(proxy, change % 7)
    done = budgets(proxy, "--audit", "--json")
    assert done.code == 1
    (found,) = done.json["differences"]
    assert (found["counter"], found["unit"], found["over"], found["first"]) == (month, "usd", 7, "")
    done = budgets(proxy, "--audit")
    assert done.code == 1
    assert "0.000000007 USD" in done.out
    assert f"{month}: a hold was charged that left no record" in done.out
    sqlite(proxy, change % -7)
    assert budgets(proxy, "--audit").code == 0


def test_a_memory_store_without_a_server_says_who_was_asked(tmp_path: Any) -> None:
    fresh = folder(tmp_path)
    text = (tmp_path / "fleetgate.yaml").read_text()
    kept = [line for line in text.splitlines() if not line.startswith(("store", "listen"))]
    fresh.write("fleetgate.yaml", "\n".join([*kept, "store: 'memory:'", f"listen: {{admin_port: {free_port()}}}"]))
    done = fresh.run("budgets")
    assert done.code == 1
    assert "admin port is asked" in done.err
    assert "is `fleetgate serve` running?" in done.err
