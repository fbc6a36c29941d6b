"""SDKs for Node before a real proxy: text, a stream, a round of a tool, and a refusal that is shown once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from client_cases import Clients, fleet, installed, say
from watching import Watched


@dataclass(frozen=True, slots=True)
class Case:
    """One client: the script, what tells it which API to use, and what the ledger should call that."""

    script: str
    api: str
    model: str
    protocol: str
    operation: str
    code: str | None = None

    def __str__(self) -> str:
        return f"{self.script}-{self.api}"


CASES = [
    Case("openai", "chat", "gpt-4o", "openai", "chat", "model_not_allowed"),
    Case("openai", "responses", "gpt-4o", "openai", "chat", "model_not_allowed"),
    Case("anthropic", "messages", "claude-sonnet-5", "anthropic", "chat", "permission_error"),
    Case("ai", "chat", "gpt-4o", "openai", "chat"),
    Case("ai", "responses", "gpt-4o", "openai", "chat"),
    Case("ai", "compatible", "gpt-4o", "openai", "chat"),
    Case("ai", "messages", "claude-sonnet-5", "anthropic", "chat"),
    Case("ai", "gemini", "gemini-2.5-flash", "gemini", "chat"),
    Case("genai", "gemini", "gemini-2.5-flash", "gemini", "chat"),
]


@pytest.fixture(scope="module")
def clients() -> Clients:
    return installed()


@pytest.fixture(scope="module")
def served(clients: Clients) -> Iterator[Watched]:
    with fleet() as found:
        yield found


def play(clients: Clients, served: Watched, case: Case, what: str, prompt: str, agent: str = "tester") -> Any:
    return clients.script(
        case.script, api=case.api, model=case.model, what=what, prompt=prompt, url=served.proxy.url, key=served.proxy.key(agent)
    )


def went_through(served: Watched, case: Case, count: int, *, stream: bool = False) -> None:
    """Each request reached the provider once and left one record."""
    assert [c["status"] for c in served.calls()] == [200] * count
    found = [(r["agent"], r["protocol"], r["operation"], r["model_asked"], r["stream"], r["status"]) for r in served.records(count)]
    assert found == [("tester", case.protocol, case.operation, case.model, stream, 200)] * count


@pytest.mark.parametrize("case", CASES, ids=str)
def test_text(clients: Clients, served: Watched, case: Case) -> None:
    assert play(clients, served, case, "text", "What is 17 + 4?") == {"text": "17 + 4 = 21."}
    went_through(served, case, 1)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_stream(clients: Clients, served: Watched, case: Case) -> None:
    assert play(clients, served, case, "stream", "What is 17 + 4?") == {"text": "17 + 4 = 21.", "pieces": 5}
    went_through(served, case, 1, stream=True)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_round_of_a_tool(clients: Clients, served: Watched, case: Case) -> None:
    prompt = say("Weather?", tool_calls=[{"name": "get_weather", "arguments": {"city": "Zürich"}}])
    shown = play(clients, served, case, "tools", prompt)
    assert shown["asked"] == {"city": "Zürich"}
    assert re.fullmatch(r"The tool returned: .*4 °C.*\. That is all I needed\.", shown["text"])
    went_through(served, case, 2)


@pytest.mark.parametrize("what", ["text", "stream"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_refusal_is_shown_once_and_not_retried(clients: Clients, served: Watched, case: Case, what: str) -> None:
    shown = play(clients, served, case, what, "Hello", agent="clerk")
    assert f"Agent clerk may not use model {case.model}: " in shown["error"]
    assert "AGENTS.md:11 policy.models.allow" in shown["error"]
    assert (shown["status"], shown["code"]) == (403, case.code)
    assert served.calls() == []
    (record,) = served.records(1)
    assert (record["agent"], record["reason"]) == ("clerk", "model_not_allowed")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_empty_purse_is_shown_once_and_not_retried(clients: Clients, served: Watched, case: Case) -> None:
    shown = play(clients, served, case, "text", "Hello", agent="pauper")
    assert "AGENTS.md:17 policy.budgets.day.usd" in shown["error"]
    assert shown["status"] == 402
    assert served.calls() == []
    (record,) = served.records(1)
    assert (record["agent"], record["reason"]) == ("pauper", "request_too_costly")
