"""Claude Code before an OpenAI-compatible server: text, and tools that it runs by itself, all in translation."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from client_cases import Clients, Done, fleet, installed, say
from watching import Watched

MODEL = "gpt-4o-mini"


@pytest.fixture(scope="module")
def clients() -> Clients:
    return installed()


@pytest.fixture(scope="module")
def served(clients: Clients) -> Iterator[Watched]:
    with fleet() as found:
        yield found


def claude(clients: Clients, served: Watched, prompt: str, *options: str) -> Done:
    program = clients.modules / "@anthropic-ai" / "claude-code" / "cli-wrapper.cjs"
    env = {"ANTHROPIC_BASE_URL": served.proxy.url, "ANTHROPIC_API_KEY": served.proxy.key("tester")}
    env["CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"] = "1"
    return clients.run([str(clients.node), str(program), "-p", prompt, "--model", MODEL, *options], env)


def test_text(clients: Clients, served: Watched) -> None:
    done = claude(clients, served, say("Say it.", text="Seven birds"))
    assert (done.code, done.out) == (0, "Seven birds\n"), done.err
    (call,) = served.calls()
    assert call["path"] == "/v1/chat/completions"
    (record,) = served.records(1)
    assert (record["protocol"], record["provider"], record["status"], record["usage_exact"]) == ("anthropic", "openai", 200, True)
    assert {rule for rule, _ in record["findings"]} == {"translate/dropped"}


def test_tools_are_run_and_their_results_come_back(clients: Clients, served: Watched) -> None:
    calls = [{"name": "Bash", "arguments": {"command": f"echo pelican-{n}", "description": "Say a word"}} for n in (7, 8)]
    options = ("--allowedTools", "Bash(echo:*)", "--output-format", "json")
    shown = claude(clients, served, say("Run it.", tool_calls=calls), *options).json()
    assert re.fullmatch(r"The tool returned: pelican-[78]\. That is all I needed\.", shown["result"])
    _, last = served.calls()
    messages = last["body"]["messages"]
    (asked,) = [m["tool_calls"] for m in messages if m.get("tool_calls")]
    results = {m["tool_call_id"]: m["content"] for m in messages if m["role"] == "tool"}
    assert [results[call["id"]] for call in asked] == ["pelican-7", "pelican-8"], "in any order: it runs them at the same time"
    usage = shown["usage"]
    records = served.records(2)
    assert sum(r["input_tokens"] for r in records) == usage["input_tokens"]
    assert sum(r["output_tokens"] for r in records) == usage["output_tokens"]
