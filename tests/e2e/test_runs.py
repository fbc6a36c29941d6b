"""Run trees on a real server: a parent and its sub-agents draw from one run, and nobody gets into another's."""

from __future__ import annotations

import json
import secrets
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

from serving import Proxy, Raw, Simulator, digest, post

AGENTS = """---
agents:
  - {name: lead, description: Leads, policy: {models: {allow: ["*"]}}}
  - {name: scout, description: Looks, policy: {models: {allow: ["*"]}}}
---
"""
KEYS = {"lead": "fg-lead-1", "scout one": "fg-scout-1", "scout two": "fg-scout-2", "stranger": "fg-lead-2"}
LEAD = digest(KEYS["lead"])[:8]
TOKEN = 1_000_000
"""What a token of the answer costs, in nanos; those of the prompt are free."""


def entries(**amounts: float) -> str:
    """The keys file: two scouts are children of the lead's key in run `job`, perhaps with an amount each."""
    found: list[dict[str, Any]] = []
    for who, key in KEYS.items():
        agent = "lead" if who in ("lead", "stranger") else "scout"
        more = {"run": f"{LEAD}/job"} if agent == "scout" else {}
        usd = amounts.get(who.replace(" ", "_"))
        found.append({"agent": agent, "sha256": digest(key), **more, **({} if usd is None else {"usd": usd})})
    return yaml.safe_dump({"keys": found})


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with Simulator() as sim:
        yield sim


@pytest.fixture(autouse=True)
def fresh(sim: Simulator) -> None:
    sim.reset()


def served(sim: Simulator, usd: float, **amounts: float) -> Proxy:
    settings = {
        "models": {"m": {"provider": "openai", "upstream_model": "gpt-4o-mini", "price": {"input": 0, "output": 1000}}},
        "budget": {"min_output": 1},
    }
    budgets = {"budgets": [{"name": "job", "scope": {"run": "*"}, "limit": {"usd": usd}, "window": "run"}]}
    return Proxy(sim, agents=AGENTS, settings=settings, budgets=budgets, files={"keys.yaml": entries(**amounts)})


def ask(proxy: Proxy, who: str, headers: Mapping[str, str] | None = None, tokens: int = 20) -> Raw:
    script, words = json.dumps({"tokens": tokens}), " ".join(secrets.token_hex(4) for _ in range(20))  # nobody goes in circles
    body = {"model": "m", "max_tokens": tokens, "messages": [{"role": "user", "content": f"{words} [[sim:{script}]]"}]}
    key = KEYS.get(who, who)
    return post(proxy.url + "/v1/chat/completions", body, {"authorization": f"Bearer {key}", **(headers or {})})


def refusal(reply: Raw) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(reply.body)["fleetgate"]
    return found


NAMED = {"x-fleetgate-run": "job"}


def test_parent_and_sub_agents_draw_from_one_run_at_once_and_never_pass_it(sim: Simulator) -> None:
    with served(sim, 1.00) as proxy, ThreadPoolExecutor(12) as pool:
        elsewhere = {"x-fleetgate-session": "s2", "x-fleetgate-parent": "p"}
        turns: list[tuple[str, Mapping[str, str]]] = [("lead", NAMED), ("scout one", {}), ("scout two", elsewhere)] * 30
        replies = list(pool.map(lambda turn: ask(proxy, *turn), turns))
        assert {r.status for r in replies} == {200, 402}
        assert {refusal(r)["reason"] for r in replies if r.status == 402} <= {"budget_exceeded", "request_too_costly"}
        records = proxy.records(len(turns))
        assert {r["run"] for r in records} == {f"{LEAD}/job"}
        assert {r["key_id"] for r in records if r["status"] == 200} == {digest(KEYS[who])[:8] for who in ("lead", "scout one", "scout two")}
        spent = sum(r["cost"] for r in records)
        assert 995 * TOKEN <= spent <= 1000 * TOKEN
        calls = [c for c in sim.calls() if c["path"].endswith("/chat/completions")]
        assert len(calls) == sum(r.status == 200 for r in replies), "what was refused was not sent"
        other = ask(proxy, "stranger", NAMED)
        assert other.status == 200, "the same name with another key is another run"
        assert proxy.record(other.headers["x-fleetgate-request-id"])["run"] == f"{digest(KEYS['stranger'])[:8]}/job"


def test_nobody_drains_another_keys_run(sim: Simulator) -> None:
    with served(sim, 0.10) as proxy:
        for forged in (f"{LEAD}/job", "job", f"{LEAD}%2Fjob"):
            assert ask(proxy, "stranger", {"x-fleetgate-run": forged}, 90).status == 200
        left = ask(proxy, "lead", NAMED, 90)
        assert (left.status, left.headers["x-fleetgate-budget-remaining-usd"]) == (200, "0.01")


def test_a_bound_key_is_refused_in_another_run(sim: Simulator) -> None:
    with served(sim, 1.00) as proxy:
        reply = ask(proxy, "scout one", {"x-fleetgate-run": "mine"})
        assert reply.status == 403
        assert refusal(reply)["reason"] == "policy_denied"
        assert refusal(reply)["rule"] == f"key {digest(KEYS['scout one'])[:8]}"
        assert sim.calls() == []
        (record,) = proxy.records(1)
        assert (record["agent"], record["reason"]) == ("scout", "policy_denied")
        assert ask(proxy, "scout one", NAMED).status == 200


def test_sub_agents_by_headers_draw_from_the_parents_session(sim: Simulator) -> None:
    with served(sim, 0.10) as proxy:
        turns = [
            {"x-fleetgate-session": "s1"},
            {"x-fleetgate-session": "s2", "x-fleetgate-parent": "s1"},
            {"x-fleetgate-session": "s3", "x-fleetgate-parent": "s2"},
        ]
        left = [ask(proxy, "lead", turn, 30).headers["x-fleetgate-budget-remaining-usd"] for turn in turns]
        assert left == ["0.07", "0.04", "0.01"]
        assert ask(proxy, "lead", turns[0], 30).headers["x-fleetgate-max-output"] == "10"
        assert ask(proxy, "lead", turns[1], 30).status == 402
        assert ask(proxy, "lead", {"x-fleetgate-session": "s9"}, 30).status == 200, "another session is another run"
        assert {r["run"] for r in proxy.records(6)} == {"lead/s1", "lead/s9"}


def test_a_child_key_made_and_revoked_beside_a_running_server(sim: Simulator) -> None:
    with served(sim, 0.10) as proxy:

        def until(key: str, wanted: int) -> int:
            deadline, asked = time.monotonic() + 10, 1
            while ask(proxy, key, tokens=1).status != wanted:
                assert time.monotonic() < deadline
                asked += 1
            return asked

        parent = proxy.command("keys", "create", "lead").stdout.strip()
        made = proxy.command("keys", "create", "scout", "--run", "job", "--parent", digest(parent)[:8], "--expires", "2h")
        child = made.stdout.strip()
        asked = until(child, 200)
        assert proxy.records(asked)[-1]["run"] == f"{digest(parent)[:8]}/job"
        shown = proxy.command("ledger", "--by", "run", "--json").stdout
        assert f"{digest(parent)[:8]}/job" in shown
        assert proxy.command("keys", "revoke", digest(parent)[:8]).stdout == "revoked 2 keys\n"
        until(child, 401)


def test_a_child_never_passes_its_own_cap_and_leaves_the_rest_to_the_run(sim: Simulator) -> None:
    with served(sim, 1.00, scout_one=0.05, scout_two=0.90) as proxy, ThreadPoolExecutor(12) as pool:
        replies = list(pool.map(lambda _: ask(proxy, "scout one"), range(12)))
        first = [r for r in proxy.records(12) if r["key_id"] == digest(KEYS["scout one"])[:8]]
        assert 45 * TOKEN <= sum(r["cost"] for r in first) <= 50 * TOKEN
        said = [refusal(r) for r in replies if r.status == 402]
        assert len(said) == 12 - sum(r.status == 200 for r in replies) > 0
        assert {s["rule"] for s in said} == {"key:limit"}
        last = ask(proxy, "scout one", tokens=20)
        assert (last.status, refusal(last)["reason"], refusal(last)["rule"]) == (402, "budget_exceeded", "key:limit")
        assert "Budget key:limit (total) allows 0.05 USD: 0.05 USD spent" in last.body.decode()
        assert "what the key itself may spend in all" in refusal(last)["remedy"]
        shown = json.loads(post(f"{proxy.url}/fleetgate/v1/me", b"", {"authorization": f"Bearer {KEYS['scout one']}"}, "GET").body)
        assert shown["key"] == {"id": digest(KEYS["scout one"])[:8], "run": f"{LEAD}/job"}
        own, run = shown["budgets"]
        assert (own["name"], own["limit"], own["remaining"], own["source"]) == ("key:limit", "0.05", "0.00", "")
        assert (run["name"], run["scope"], run["remaining"]) == ("job", f"run={LEAD}/job", "0.95")
        assert ask(proxy, "lead", NAMED, 900).status == 200, "what the children may spend is not set apart"
        held = ask(proxy, "scout two", tokens=100)
        assert held.headers["x-fleetgate-max-output"] == "50", "the run has no more, whatever the key may spend"
        over = ask(proxy, "scout two", tokens=20)
        assert (over.status, refusal(over)["rule"]) == (402, "budgets/test.yaml:2 budgets.job (job)")
        assert {r["run"] for r in proxy.records(16)} == {f"{LEAD}/job"}


def test_one_prompt_mapped_over_many_items_is_no_loop(sim: Simulator) -> None:
    template = "Read the invoice and say what it is worth, who sent it and when it is due. " * 30
    history: list[dict[str, Any]] = [{"role": "user", "content": "Have all invoices read."}]

    def said(who: str, messages: list[dict[str, Any]]) -> tuple[int, str]:
        body = {"model": "m", "max_tokens": 5, "messages": messages}
        reply = post(proxy.url + "/v1/chat/completions", body, {"authorization": f"Bearer {KEYS[who]}", "x-fleetgate-run": "job"})
        return reply.status, reply.headers["x-fleetgate-loop"]

    def worker(item: int) -> tuple[int, str]:
        who = "scout one" if item % 2 else "scout two"
        return said(who, [{"role": "user", "content": f"{template} Invoice {item}. [[sim:{json.dumps({'tokens': 2})}]]"}])

    with served(sim, usd=10) as proxy:
        for item in range(12):
            call = {"id": f"c{item}", "type": "function", "function": {"name": "scout", "arguments": json.dumps({"invoice": item})}}
            assert said("lead", history) == (200, "none")
            assert worker(item) == (200, "none")
            history += [{"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": call["id"], "content": f"{item} EUR"}]
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(worker, range(40))) == {(200, "none")}
            assert {status for status, _ in pool.map(worker, [7] * 20)} == {200}, "equal prompts"
