"""Codex (`codex exec`) before a real proxy: as a custom provider and as its built-in one, which tries a websocket first."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from client_cases import Clients, Done, fleet, installed, say
from watching import Watched

MODEL = "gpt-5"
CUSTOM = """
model_provider = "fleetgate"

[model_providers.fleetgate]
name = "fleetgate"
base_url = "{url}/v1"
env_key = "FLEETGATE_KEY"
wire_api = "responses"
"""
BUILT_IN = """
openai_base_url = "{url}/v1"
"""
SETUPS = {"custom": CUSTOM, "built-in": BUILT_IN}


@pytest.fixture(scope="module")
def clients() -> Clients:
    return installed()


@pytest.fixture(scope="module")
def served(clients: Clients) -> Iterator[Watched]:
    with fleet() as found:
        yield found


@pytest.fixture(params=list(SETUPS))
def setup(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


def codex(clients: Clients, served: Watched, setup: str, prompt: str, *more: str, agent: str = "tester", model: str = MODEL) -> Done:
    """Run it; `out` is one JSON event a line."""
    key = served.proxy.key(agent)
    files = {
        ".codex/config.toml": f'model = "{model}"{SETUPS[setup].format(url=served.proxy.url)}',
        ".codex/auth.json": json.dumps({"auth_mode": "apikey", "OPENAI_API_KEY": key}),
    }
    program = clients.modules / "@openai" / "codex" / "bin" / "codex.js"
    # Its sandbox needs what containers often forbid; the one command that it is told to run is an `echo`.
    options = ["exec", "--json", "--skip-git-repo-check", "--sandbox", "danger-full-access"]
    return clients.run([str(clients.node), str(program), *options, *more, prompt], {"FLEETGATE_KEY": key}, files)


def events(done: Done) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.out.splitlines()]


def items(done: Done, kind: str) -> list[dict[str, Any]]:
    return [e["item"] for e in events(done) if e["type"] == "item.completed" and e["item"]["type"] == kind]


def outcome(record: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(record[k] for k in ("agent", "protocol", "operation", "model_asked", "stream", "status", "session_source"))


FINE = ("tester", "openai", "chat", MODEL, True, 200, "session-id")


def posted(served: Watched, setup: str, count: int) -> list[dict[str, Any]]:
    """The records of `count` posts; the built-in provider tries a websocket before the first of them, and is told to post."""
    if setup == "custom":
        return served.records(count)
    upgrade, *found = served.records(1 + count)
    assert (upgrade["status"], upgrade["reason"]) == (426, "unmetered_route")
    return found


def test_text(clients: Clients, served: Watched, setup: str) -> None:
    done = codex(clients, served, setup, say("Say it.", text="Seven pelicans."))
    assert done.code == 0, done.out
    assert [item["text"] for item in items(done, "agent_message")] == ["Seven pelicans."]
    assert [(c["method"], c["status"]) for c in served.calls()] == [("POST", 200)]
    (record,) = posted(served, setup, 1)
    assert outcome(record) == FINE
    (end,) = [e for e in events(done) if e["type"] == "turn.completed"]
    assert (end["usage"]["input_tokens"], end["usage"]["output_tokens"]) == (record["input_tokens"], record["output_tokens"])


def test_a_command_is_run_and_its_session_is_recognised(clients: Clients, served: Watched, setup: str) -> None:
    prompt = say("Run it.", tool_calls=[{"name": "exec_command", "arguments": {"cmd": "echo pelican-$((40+2))"}}])
    done = codex(clients, served, setup, prompt)
    assert done.code == 0, done.out
    (command,) = items(done, "command_execution")
    assert (command["aggregated_output"], command["exit_code"]) == ("pelican-42\n", 0)
    (message,) = items(done, "agent_message")
    assert "pelican-42" in message["text"]
    assert [c["status"] for c in served.calls()] == [200, 200]
    records = posted(served, setup, 2)
    assert [outcome(r) for r in records] == [FINE, FINE]
    (thread,) = [e["thread_id"] for e in events(done) if e["type"] == "thread.started"]
    assert {r["session"] for r in records} == {f"tester/{thread}"}


def test_a_sub_agent_draws_from_the_same_run(clients: Clients, served: Watched) -> None:
    spawn = {"name": "spawn_agent", "arguments": {"message": "Say hello."}}
    done = codex(clients, served, "custom", say("Delegate it.", tool_calls=[spawn], delay_ms=1500))  # longer than the other one takes
    assert done.code == 0, done.out
    (thread,) = [e["thread_id"] for e in events(done) if e["type"] == "thread.started"]
    calls = served.calls()
    assert len({c["headers"]["thread-id"] for c in calls}) == 2, "a thread of its own"
    (begun,) = [c for c in calls if c["headers"].get("x-openai-subagent")]
    assert begun["headers"]["x-codex-parent-thread-id"] == thread
    records = served.records(len(calls))  # the first agent may hear of the other's end in a call of its own
    assert {(r["session"], r["run"]) for r in records} == {(f"tester/{thread}", f"tester/{thread}")}
    assert sorted(r["parent"] for r in records) == [""] * (len(calls) - 1) + [thread]


def test_a_refusal_is_shown_once_and_not_retried(clients: Clients, served: Watched, setup: str) -> None:
    done = codex(clients, served, setup, "Hello", agent="clerk")
    assert done.code == 1
    (failed,) = [e for e in events(done) if e["type"] == "turn.failed"]
    assert failed["error"]["message"].startswith(f"Agent clerk may not use model {MODEL}: ")
    assert "AGENTS.md:11 policy.models.allow" in failed["error"]["message"]
    assert "Reconnecting" not in done.out
    assert served.calls() == []
    (record,) = posted(served, setup, 1)
    assert (record["agent"], record["reason"]) == ("clerk", "model_not_allowed")


def test_an_empty_purse_is_shown_once_and_not_retried(clients: Clients, served: Watched, setup: str) -> None:
    done = codex(clients, served, setup, "Hello", agent="pauper")
    assert done.code == 1
    (failed,) = [e for e in events(done) if e["type"] == "turn.failed"]
    assert "AGENTS.md:17 policy.budgets.day.usd" in failed["error"]["message"]
    assert "Reconnecting" not in done.out
    assert served.calls() == []
    (record,) = posted(served, setup, 1)
    assert (record["agent"], record["reason"]) == ("pauper", "request_too_costly")
