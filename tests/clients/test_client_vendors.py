"""Command lines on models of other vendors: each speaks its own protocol, the provider another, and a tool still makes its round."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from client_cases import Clients, fleet, installed, say
from test_client_claude_code import claude
from test_client_codex import codex, items
from test_client_gemini_cli import gemini
from watching import Watched

PATHS = {
    "gpt-4o": "/v1/chat/completions",
    "claude-sonnet-5": "/v1/messages",
    "gemini-2.5-flash": "/v1beta/models/gemini-2.5-flash:streamGenerateContent",
}
ECHO = "echo pelican-$((40+2))"


@pytest.fixture(scope="module")
def clients() -> Clients:
    return installed()


@pytest.fixture(scope="module")
def served(clients: Clients) -> Iterator[Watched]:
    with fleet() as found:
        yield found


def calling(name: str, **arguments: Any) -> str:
    return say("Do it.", tool_calls=[{"name": name, "arguments": arguments}])


def went_to(served: Watched, model: str, protocol: str) -> None:
    """Two turns of one session, answered by the provider of `model` in its own protocol, and metered."""
    assert [(c["path"], c["status"]) for c in served.calls()] == [(PATHS[model], 200)] * 2
    records = served.records(2)
    assert [(r["protocol"], r["model_asked"], r["status"], r["usage_exact"]) for r in records] == [(protocol, model, 200, True)] * 2
    assert len({r["session"] for r in records}) == 1
    assert all(r["output_tokens"] > 0 and r["cost"] > 0 for r in records)


@pytest.mark.parametrize("model", ["gpt-4o", "gemini-2.5-flash"])
def test_claude_code(clients: Clients, served: Watched, model: str) -> None:
    prompt = calling("Bash", command=ECHO, description="Say a word")
    shown = claude(clients, served, prompt, "--allowedTools", "Bash(echo:*)", "--output-format", "json", model=model).json()
    assert shown["result"] == "The tool returned: pelican-42. That is all I needed."
    went_to(served, model, "anthropic")


@pytest.mark.parametrize("model", ["gpt-4o", "claude-sonnet-5"])
def test_gemini_cli(clients: Clients, served: Watched, model: str) -> None:
    done = gemini(clients, served, calling("read_file", file_path="note.txt"), model=model)
    assert (done.code, done.out) == (0, "The tool returned: forty-two pelicans. That is all I needed.\n"), done.err
    went_to(served, model, "gemini")


@pytest.mark.parametrize("model", ["claude-sonnet-5", "gemini-2.5-flash"])
def test_codex_without_the_tools_of_its_own_provider(clients: Clients, served: Watched, model: str) -> None:
    bare = ("-c", 'web_search="disabled"', "-c", "agents.enabled=false")
    done = codex(clients, served, "custom", calling("exec_command", cmd=ECHO), *bare, model=model)
    assert done.code == 0, done.out
    (message,) = items(done, "agent_message")
    assert re.fullmatch(r"The tool returned: .*pelican-42.*That is all I needed\.", message["text"])
    went_to(served, model, "openai")


def test_codex_is_told_which_tool_cannot_go_there(clients: Clients, served: Watched) -> None:
    done = codex(clients, served, "custom", "Hello", model="claude-sonnet-5")
    assert done.code == 1
    assert "cannot be carried there: /tools/" in done.out
    assert "a namespace tool (multi_agent_v1)" in done.out
    assert served.calls() == []
    (record,) = served.records(1)
    assert (record["outcome"], record["upstream_status"]) == ("denied", 0)
