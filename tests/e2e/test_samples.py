"""Side-by-side pairs through a real proxy: both calls metered, the client's reply as it was, and nothing where it may not be."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from serving import ROOT, Proxy, Raw, Simulator, post
from simulating import get
from streams import Stream

SECRET = "AKIA" + "Q7XH2LMNB4ZKPD3T"
AGENTS = """---
agents:
  - name: open
    policy: {models: {allow: ["*"]}, routing: {local_ok: true}, budgets: {day: {usd: 1}}, data: {log_content: full}}
  - name: quiet
    policy: {models: {allow: ["*"]}, routing: {local_ok: true}}
  - name: poor
    policy: {models: {allow: ["*"]}, routing: {local_ok: true}, budgets: {day: {llm_calls: 1}}}
---
"""
NAMES = ("open", "quiet", "poor")
PRICE = {"input": 1, "output": 1}
SETTINGS: dict[str, Any] = {
    "models": {"local/qwen3": {"price": PRICE}},
    "routing": {"simple_to": "local/qwen3", "threshold": 1.0, "mode": "enforce", "sample": 1.0},
}
CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with Simulator() as running:
        yield running


@pytest.fixture(scope="module")
def proxy(sim: Simulator) -> Iterator[Proxy]:
    with Proxy(sim, agents=AGENTS, settings=SETTINGS, keys=NAMES) as running:
        yield running


def ask(proxy: Proxy, agent: str, path: str = CHAT, script: dict[str, Any] | None = None, **more: Any) -> Raw:
    headers = {"authorization": f"Bearer {proxy.key(agent)}", "anthropic-version": "2023-06-01"} | (
        {"x-sim-script": json.dumps(script)} if script else {}
    )
    model = "gpt-4o" if path == CHAT else "claude-sonnet-4-5"
    body = {"model": model, "max_tokens": 30, "messages": [{"role": "user", "content": "Hello"}], **more}
    reply = post(proxy.url + path, body, headers)
    assert reply.status == 200, reply.body
    return reply


@contextmanager
def readied(proxy: Proxy, *arguments: str) -> Iterator[Callable[[], int]]:
    """A command that is loaded and waits: calling it runs it at once and returns its exit code, however slow a start is here."""
    code = "import sys; from proxy.cli import main, parser; parser(sys.argv[1]); print(flush=True); input(); sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, *arguments, "--config", str(proxy.config)]
    with subprocess.Popen(command, cwd=ROOT, env=proxy.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()

        def run() -> int:
            process.communicate(b"\n", timeout=60)
            return process.returncode

        try:
            yield run
        finally:
            process.kill()


def until(look: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 20
    while not (found := look()):
        assert time.monotonic() < deadline
    return found


def pairs(proxy: Proxy) -> list[dict[str, Any]]:
    status, body = get(f"{proxy.admin_url}/api/v1/pairs")
    assert status == 200, body
    found: list[dict[str, Any]] = json.loads(body)["pairs"]
    return found


def pair_of(proxy: Proxy, reply: Raw) -> dict[str, Any]:
    name = reply.headers["x-fleetgate-request-id"]
    return until(lambda: next((pair for pair in pairs(proxy) if pair["local"]["id"] == name), None))  # type: ignore[no-any-return]


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
@pytest.mark.parametrize("stream", [False, True])
def test_both_are_asked_and_metered_and_the_texts_stand_side_by_side(sim: Simulator, proxy: Proxy, path: str, stream: bool) -> None:
    before = sim.stats()["total"]
    more = {"stream_options": {"include_usage": True}} if stream and path == CHAT else {}
    reply = ask(proxy, "open", path, {"text": f"The key is {SECRET} indeed"}, stream=stream, **more)
    assert (reply.headers["x-fleetgate-route"], reply.headers["x-fleetgate-model"]) == ("local", "local/qwen3")
    assert SECRET.encode() in reply.body or stream or path == MESSAGES, "the script does not pass a translation"
    pair = pair_of(proxy, reply)
    assert sim.stats()["total"] == before + 2
    local, asked = proxy.record(pair["local"]["id"]), proxy.record(pair["asked"]["id"])
    assert (asked["route"], asked["route_why"], asked["stream"]) == ("requested", f"sample of {local['id']}", False)
    assert (asked["agent"], asked["session"], asked["key_id"]) == (local["agent"], local["session"], local["key_id"])
    assert local["provider"] == "local"
    assert asked["provider"] == ("openai" if path == CHAT else "anthropic")
    for record, half in ((local, pair["local"]), (asked, pair["asked"])):
        assert record["cost"] > 0
        assert record["cost"] in [amount for _, unit, amount in record["charges"] if unit == "usd"], "its budget was charged"
        assert 0 < len(half["text"]) <= half["chars"]
        assert SECRET not in half["text"]
        if path == MESSAGES and half is pair["local"]:
            continue
        assert half["chars"] == len(f"The key is {SECRET} indeed")
        assert half["text"].startswith("The key is [")
        assert half["text"].endswith("] indeed")


def test_the_budgets_audit_finds_no_difference(proxy: Proxy) -> None:
    pair_of(proxy, ask(proxy, "open"))
    done = until(lambda: (d := proxy.command("budgets", "--audit")).returncode == 0 and d)
    assert done.returncode == 0
    report = proxy.command("routing", "report")
    assert "compared" in report.stdout


def test_without_log_content_only_facts_are_kept(proxy: Proxy) -> None:
    pair = pair_of(proxy, ask(proxy, "quiet"))
    assert (pair["local"]["text"], pair["asked"]["text"]) == (None, None)
    assert min(pair["local"]["chars"], pair["asked"]["chars"], pair["asked"]["seconds"]) > 0
    assert pair["asked"]["id"] in proxy.command("routing", "pairs").stdout
    assert json.loads(proxy.command("routing", "pairs", "--json").stdout) == pairs(proxy)[:20]


def test_a_sample_that_the_budget_refuses_leaves_its_record_and_no_pair(sim: Simulator, proxy: Proxy) -> None:
    before = sim.stats()["total"]
    ask(proxy, "poor")
    records = until(lambda: [r for r in proxy.ledger("--agent", "poor") if r["outcome"] == "denied"])
    assert any(stage == "sample" for stage, _ in records[0]["decisions"])
    assert sim.stats()["total"] == before + 1
    assert [pair for pair in pairs(proxy) if pair["agent"] == "poor"] == []


def test_a_kill_ends_a_sample_that_runs_and_none_begins_after_it(sim: Simulator, proxy: Proxy) -> None:
    before = sim.stats()["total"]
    with readied(proxy, "kill", "agent:quiet", "--reason", "test") as kill:
        reply = ask(proxy, "quiet", script={"delay_ms": 3000})
        until(lambda: sim.stats()["total"] == before + 2)
        assert kill() == 0
    try:
        why = f"sample of {reply.headers['x-fleetgate-request-id']}"
        ended = until(lambda: [r for r in proxy.ledger("--agent", "quiet") if r["route_why"] == why])
        assert (ended[0]["outcome"], ended[0]["reason"]) == ("denied", "agent_killed")
        assert [pair for pair in pairs(proxy) if pair["asked"]["id"] == ended[0]["id"]] == []
        headers = {"authorization": f"Bearer {proxy.key('quiet')}"}
        assert post(proxy.url + CHAT, {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}, headers).status == 403
        assert sim.stats()["total"] == before + 2
    finally:
        assert proxy.command("resume", "agent:quiet").returncode == 0


def test_a_local_answer_that_a_kill_cut_gets_no_sample(sim: Simulator, proxy: Proxy) -> None:
    before = sim.stats()["total"]
    with Stream(proxy, 400, 25, model="gpt-4o") as stream:
        stream.until(b"data:")
        assert proxy.command("kill", "agent:open", "--reason", "test").returncode == 0
        stream.rest()
    assert proxy.command("resume", "agent:open").returncode == 0
    record = proxy.record(stream.header("x-fleetgate-request-id"))
    assert (record["route"], record["reason"]) == ("local", "agent_killed")
    assert sim.stats()["total"] == before + 1


def test_nothing_is_sampled_unless_asked_for(sim: Simulator) -> None:
    settings = {**SETTINGS, "routing": {**SETTINGS["routing"], "sample": None}}
    with Proxy(sim, agents=AGENTS, settings=settings, keys=NAMES) as proxy:
        before = sim.stats()["total"]
        assert ask(proxy, "open").headers["x-fleetgate-route"] == "local"
        assert pairs(proxy) == []
        proxy.stop()  # waits for whatever would run
        assert sim.stats()["total"] == before + 1
        assert len(proxy.records(1)) == 1
        assert "No pairs are kept" in proxy.command("routing", "pairs").stdout
