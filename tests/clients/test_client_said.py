"""`refusal: message`: the assistant says a refusal, for clients that hide errors. Gemini CLI shows it instead of a stack trace."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from client_cases import Clients, fleet, installed
from test_client_claude_code import claude
from test_client_codex import codex, items
from test_client_gemini_cli import gemini
from watching import Watched


@pytest.fixture(scope="module")
def clients() -> Clients:
    return installed()


@pytest.fixture(scope="module")
def served(clients: Clients) -> Iterator[Watched]:
    with fleet(refusal="message") as found:
        yield found


def refused(served: Watched) -> None:
    """Once, before the provider was asked, and the ledger knows it as a refusal."""
    assert served.calls() == []
    (record,) = served.records(1)
    assert (record["agent"], record["outcome"], record["reason"]) == ("clerk", "denied", "model_not_allowed")


def test_gemini_cli(clients: Clients, served: Watched) -> None:
    done = gemini(clients, served, "Hello", agent="clerk")
    assert done.code == 0, done.err
    assert "Agent clerk may not use model gemini-2.5-flash: " in done.out
    assert "AGENTS.md:11 policy.models.allow" in done.out
    assert "at throwErrorIfNotOK" not in done.err
    refused(served)


def test_claude_code(clients: Clients, served: Watched) -> None:
    shown = claude(clients, served, "Hello", "--output-format", "json", agent="clerk").json()
    assert (shown["is_error"], shown["num_turns"]) == (False, 1)
    assert "Agent clerk may not use model claude-sonnet-5: " in shown["result"]
    refused(served)


def test_codex(clients: Clients, served: Watched) -> None:
    done = codex(clients, served, "custom", "Hello", agent="clerk")
    assert done.code == 0, done.out
    (message,) = items(done, "agent_message")
    assert "Agent clerk may not use model gpt-5: " in message["text"]
    refused(served)
