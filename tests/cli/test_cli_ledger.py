"""`fleetgate ledger`, `explain` and `budgets` after a real server served, refused, routed and cut exchanges."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cli_cases import CONFIG, Done, folder, run
from serving import ROOT, Proxy, Simulator, post

AGENTS = """---
agents:
  - name: tester
    description: Tests
    version: 1.0.0
    policy:
      owner: {team: qa}
      tools: {deny: ["delete_*"]}
      routing: {local_ok: true}
  - name: idle
    description: Does nothing
    version: 1.0.0
---
"""
BUDGETS = {
    "budgets": [
        {"name": "all", "scope": {"fleet": "*"}, "limit": {"usd": 10}, "window": "month"},
        {"name": "each", "scope": {"agent": "*"}, "limit": {"tokens": 100000}, "window": "day"},
    ]
}
HARD = "Prove step by step why the design is correct, and explain the reasoning of each trade-off in the architecture. " * 40


@dataclass(frozen=True, slots=True)
class World:
    """A server that has answered one exchange of each kind, by name."""

    proxy: Proxy
    ids: dict[str, str]

    def run(self, *arguments: str) -> Done:
        return run(*arguments, "--config", str(self.proxy.config))


def ask(proxy: Proxy, words: str, script: Any = None, **body: Any) -> str:
    headers = {"authorization": f"Bearer {proxy.key()}", **({"x-sim-script": json.dumps(script)} if script else {})}
    full = {"model": "gpt-4o", "max_tokens": 20, "messages": [{"role": "user", "content": words}], **body}
    return post(proxy.url + "/v1/chat/completions", full, headers).headers["x-fleetgate-request-id"]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    routing = {"routing": {"simple_to": "local/qwen3", "threshold": 0.35, "mode": "enforce"}}
    with Simulator() as sim, Proxy(sim, agents=AGENTS, budgets=BUDGETS, settings=routing) as proxy:
        tool = {"type": "function", "function": {"name": "delete_all", "parameters": {}}}
        ids = {
            "served": ask(proxy, HARD, {"tokens": 7}),
            "routed": ask(proxy, "hi"),
            "refused": ask(proxy, HARD, tools=[tool]),
            "cut": ask(proxy, HARD, {"tokens": 300, "ignore_max": True, "usage": False}, stream=True),
            "unmetered": post(proxy.url + "/v1/files", b"", {}).headers["x-fleetgate-request-id"],
        }
        proxy.records(len(ids))
        yield World(proxy, ids)


def test_the_ledger_lists_newest_first(world: World) -> None:
    done = world.run("ledger")
    assert (done.code, done.err) == (0, "")
    head, *lines = done.out.splitlines()
    assert head.split()[:2] == ["TIME", "(UTC)"]
    assert [line.split()[2] for line in lines] == list(reversed(world.ids.values()))
    assert [r["id"] for r in world.run("ledger", "--json").json] == list(reversed(world.ids.values()))


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("--agent", "tester"), ["cut", "refused", "routed", "served"]),
        (("--agent", "idle"), []),
        (("--reason", "tool_not_allowed"), ["refused"]),
        (("--outcome", "ok"), ["routed", "served"]),
        (("--model", "local/qwen3"), ["routed"]),
        (("--model", "gpt-4o", "--limit", "2"), ["cut", "refused"]),
        (("--since", "1h"), ["unmetered", "cut", "refused", "routed", "served"]),
        (("--until", "1h"), []),
        (("--since", "2099-01-01"), []),
    ],
)
def test_filters(world: World, arguments: tuple[str, ...], names: list[str]) -> None:
    assert [r["id"] for r in world.run("ledger", "--json", *arguments).json] == [world.ids[name] for name in names]
    if not names:
        assert world.run("ledger", *arguments).out == "no exchanges\n"


@pytest.mark.parametrize("by", ["agent", "model", "session", "run", "provider", "day", "reason"])
def test_groups_add_up(world: World, by: str) -> None:
    groups = world.run("ledger", "--by", by, "--json").json
    assert sum(g["calls"] for g in groups) == len(world.ids)
    assert sum(g["cost"] for g in groups) == sum(r["cost"] for r in world.run("ledger", "--json").json) > 0
    shown = world.run("ledger", "--by", by).out
    assert shown.split()[0] == by.upper()


@pytest.mark.parametrize(
    "arguments", [("--limit", "0"), ("--limit", "-1"), ("--limit", "many"), ("--limit", "10001"), ("--since", "soon"), ("--until", "")]
)
def test_a_filter_that_means_nothing_is_wrong_usage(world: World, arguments: tuple[str, str]) -> None:
    done = world.run("ledger", f"{arguments[0]}={arguments[1]}")
    assert (done.code, done.out) == (2, "")
    assert arguments[0] in done.err


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("served", ["served", "model gpt-4o", "7 output at 10.00 USD per million", "charged 0.00"]),
        ("routed", ["served", "local: ", "local/qwen3", "charged 0.00 USD", "fleetgate.yaml:"]),
        ("refused", ["refused: tool_not_allowed", "AGENTS.md:8 policy.tools.deny", "not asked", "nothing charged", "remedy"]),
        ("cut", ["output ceiling of 20 tokens", "20 output", "a bound"]),
        ("unmetered", ["refused: unmetered_route", "POST /v1/files", "docs/http.md"]),
    ],
)
def test_explain_tells_what_happened_and_why(world: World, name: str, said: list[str]) -> None:
    done = world.run("explain", world.ids[name])
    assert (done.code, done.err) == (0, "")
    for words in said:
        assert words in " ".join(done.out.split()), done.out
    assert max(map(len, done.out.splitlines())) <= 100
    assert world.run("explain", world.ids[name], "--json").json["id"] == world.ids[name]


def test_a_local_price_is_explained_by_its_own_line(world: World) -> None:
    line = next(i for i, text in enumerate(world.proxy.config.read_text().splitlines(), 1) if "input: 0" in text) - 1
    assert f"fleetgate.yaml:{line}" in world.run("explain", world.ids["routed"]).out.replace("\n", "")


def test_explain_of_an_unknown_id(world: World) -> None:
    done = world.run("explain", "nonsense")
    assert (done.code, done.out) == (1, "")
    assert "the ledger has no exchange nonsense" in done.err


def test_budgets_show_what_is_spent_and_left(world: World) -> None:
    spent = sum(r["cost"] for r in world.run("ledger", "--json").json)
    found = {b["name"] + str(b["counter"]): b for b in world.run("budgets", "--json").json}
    fleet = next(b for b in found.values() if b["name"] == "all")
    assert round(float(fleet["spent"]) * 1e9) == spent
    assert float(fleet["held"]) == 0
    assert round(float(fleet["remaining"]) * 1e9) == 10_000_000_000 - spent
    done = world.run("budgets")
    assert done.out.split()[0] == "BUDGET"
    assert any(" idle " in line and "100,000" in line for line in done.out.splitlines())


def test_a_mistake_in_another_file_hides_no_history(world: World) -> None:
    file = world.proxy.folder / "AGENTS.md"
    before = file.read_text()
    file.write_text("---\nname: [\n---\n", encoding="utf-8")
    try:
        assert world.run("ledger").code == 0
        assert world.run("explain", world.ids["served"]).code == 0
        assert world.run("budgets").code == 1
    finally:
        file.write_text(before, encoding="utf-8")


def test_a_reader_that_leaves_early_sees_no_traceback(world: World) -> None:
    for command in ("ledger", "ledger --json", "budgets", "agents list"):
        line = f"{sys.executable} -m proxy {command} --config {world.proxy.config} | head -n 1; echo ${{PIPESTATUS[0]}} >&2"
        done = subprocess.run(["bash", "-c", line], cwd=ROOT, env=world.proxy.environment(), capture_output=True, text=True, check=True)
        assert done.stdout.count("\n") == 1
        assert done.stderr == "0\n"


def test_a_reader_that_is_gone_before_the_first_line(world: World) -> None:
    line = f"{sys.executable} -m proxy ledger --config {world.proxy.config} | true; echo ${{PIPESTATUS[0]}} >&2"
    done = subprocess.run(["bash", "-c", line], cwd=ROOT, env=world.proxy.environment(), capture_output=True, text=True, check=True)
    assert done.stderr == "0\n"


def test_before_anything_was_served(tmp_path: Path) -> None:
    fresh = folder(tmp_path)
    assert fresh.run("ledger").code == 1
    assert "no exchange was recorded there yet" in fresh.run("ledger").err
    assert fresh.run("keys", "create", "clerk").code == 0
    done = fresh.run("ledger")  # the file is there now, the ledger in it is not
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert fresh.run("budgets").code == 0
    fresh.write("fleetgate.yaml", CONFIG.replace("sqlite:fleetgate.db", '"memory:"'))
    for command in (("ledger",), ("explain", "x")):
        done = fresh.run(*command)
        assert done.code == 1
        assert "admin port is asked" in done.err
