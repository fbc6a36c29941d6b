"""Claude Code (`claude -p`) before a real proxy: text, a tool that it runs by itself, its session, and refusals that are shown once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from client_cases import Clients, Done, fleet, installed, say
from watching import Watched

MODEL = "claude-sonnet-5"


@pytest.fixture(scope="module")
def clients() -> Clients:
    return installed()


@pytest.fixture(scope="module")
def served(clients: Clients) -> Iterator[Watched]:
    with fleet() as found:
        yield found


def claude(
    clients: Clients,
    served: Watched,
    prompt: str,
    *options: str,
    agent: str = "tester",
    model: str = MODEL,
    credential: str = "ANTHROPIC_API_KEY",
) -> Done:
    program = clients.modules / "@anthropic-ai" / "claude-code" / "cli-wrapper.cjs"
    env = {
        "ANTHROPIC_BASE_URL": served.proxy.url,
        credential: served.proxy.key(agent),
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }
    return clients.run([str(clients.node), str(program), "-p", prompt, "--model", model, *options], env)


def outcome(record: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(record[k] for k in ("agent", "protocol", "operation", "model_asked", "stream", "status", "session_source"))


FINE = ("tester", "anthropic", "chat", MODEL, True, 200, "x-claude-code-session-id")


@pytest.mark.parametrize("credential", ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"])
def test_text_with_either_credential(clients: Clients, served: Watched, credential: str) -> None:
    done = claude(clients, served, say("Say it.", text="Seven pelicans."), credential=credential)
    assert (done.code, done.out) == (0, "Seven pelicans.\n"), done.err
    (call,) = served.calls()
    assert call["status"] == 200
    assert [outcome(r) for r in served.records(1)] == [FINE]


def test_a_tool_is_run_and_its_session_is_recognised(clients: Clients, served: Watched) -> None:
    arguments = {"command": "echo pelican-$((40+2))", "description": "Say a word"}
    prompt = say("Run it.", tool_calls=[{"name": "Bash", "arguments": arguments}])
    shown = claude(clients, served, prompt, "--allowedTools", "Bash(echo:*)", "--output-format", "json").json()
    assert shown["result"] == "The tool returned: pelican-42. That is all I needed."
    assert (shown["num_turns"], shown["is_error"], shown["permission_denials"]) == (2, False, [])
    assert [c["status"] for c in served.calls()] == [200, 200]
    records = served.records(2)
    assert [outcome(r) for r in records] == [FINE, FINE]
    assert {r["session"] for r in records} == {f"tester/{shown['session_id']}"}


def test_a_sub_agent_counts_on_the_same_session(clients: Clients, served: Watched) -> None:
    task = {"description": "Greet", "prompt": "Say hello.", "subagent_type": "general-purpose", "run_in_background": False}
    prompt = say("Delegate it.", tool_calls=[{"name": "Agent", "arguments": task}])
    shown = claude(clients, served, prompt, "--output-format", "json").json()
    assert shown["subagent_stats"]["completed"] == 1
    calls = served.calls()
    assert ["cc_is_subagent=true" in str(c["body"]["system"]) for c in calls] == [False, True, False]
    records = served.records(3)
    assert [outcome(r) for r in records] == [FINE] * 3
    assert {r["session"] for r in records} == {f"tester/{shown['session_id']}"}
    assert [r["parent"] for r in records] == ["", shown["session_id"], ""]
    assert {r["run"] for r in records} == {f"tester/{shown['session_id']}"}


def test_what_it_counts_is_what_the_ledger_counts(clients: Clients, served: Watched) -> None:
    usage = claude(clients, served, say("Say it.", tokens=9, cached=400), "--output-format", "json").json()["usage"]
    served.calls()
    (record,) = served.records(1)
    counted = [usage[k] for k in ("output_tokens", "cache_read_input_tokens", "input_tokens")]
    assert counted[:2] == [9, 400]
    assert [record[k] for k in ("output_tokens", "cache_read_tokens", "input_tokens")] == counted
    assert record["usage_exact"]


def test_a_refusal_is_shown_once_and_not_retried(clients: Clients, served: Watched) -> None:
    done = claude(clients, served, "Hello", agent="clerk")
    assert done.code == 1
    assert re.match(r"Failed to authenticate\. API Error: 403 Agent clerk may not use model claude-sonnet-5: .*AGENTS\.md:11", done.out)
    assert done.out.count("may not use") == 1
    assert served.calls() == []
    (record,) = served.records(1)
    assert (record["agent"], record["reason"], record["session_source"]) == ("clerk", "model_not_allowed", "x-claude-code-session-id")


def test_an_empty_purse_is_shown_once_and_not_retried(clients: Clients, served: Watched) -> None:
    done = claude(clients, served, "Hello", agent="pauper")
    assert done.code == 1
    assert done.out.startswith("API Error: 402 ")
    assert "AGENTS.md:17 policy.budgets.day.usd" in done.out
    assert served.calls() == []
    (record,) = served.records(1)
    assert (record["agent"], record["reason"]) == ("pauper", "request_too_costly")
