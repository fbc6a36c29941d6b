"""Clients that never stop by themselves, before a provider whose model asks for the same tool for ever: six model calls at the most."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from client_cases import Clients, fleet, installed, say
from test_client_claude_code import claude
from test_client_codex import codex, posted
from watching import Watched

MOST = 6
ECHO = {"command": "echo pelican", "description": "Say a word"}


@pytest.fixture(scope="module")
def clients() -> Clients:
    return installed()


@pytest.fixture(scope="module")
def served(clients: Clients) -> Iterator[Watched]:
    with fleet() as found:
        yield found


def stopped(served: Watched, setup: str = "") -> list[dict[str, Any]]:
    """The records of one runaway: calls that were served, then a refusal for the loop."""
    calls = served.calls()
    assert 3 <= len(calls) <= MOST
    records = posted(served, setup, len(calls) + 1) if setup else served.records(len(calls) + 1)
    assert [r["reason"] for r in records] == [""] * len(calls) + ["loop_detected"]
    return records


def test_claude_code_is_stopped(clients: Clients, served: Watched) -> None:
    prompt = say("Run it.", repeat_tool={"name": "Bash", "arguments": ECHO})
    done = claude(clients, served, prompt, "--allowedTools", "Bash(echo:*)", "--output-format", "json")
    records = stopped(served)
    assert "loop_detected" in done.out + done.err or "Bash" in done.out, "the person at the terminal sees why"
    assert records[-1]["loop"].startswith("block;")


@pytest.mark.parametrize("setup", ["custom", "built-in"])
def test_codex_is_stopped(clients: Clients, served: Watched, setup: str) -> None:
    tool = {"name": "exec_command", "arguments": {"cmd": "echo pelican"}}
    done = codex(clients, served, setup, say("Run it.", repeat_tool=tool))
    stopped(served, setup)
    assert "exec_command" in done.out
