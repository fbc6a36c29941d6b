"""Gemini CLI (`gemini -p`) before a real proxy: text, a file that it reads by itself, and a refusal that is sent once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from client_cases import Clients, Done, fleet, installed, say
from watching import Watched

MODEL = "gemini-2.5-flash"
SETTINGS = {
    "security": {"auth": {"selectedType": "gemini-api-key"}},
    "privacy": {"usageStatisticsEnabled": False},
    "general": {"enableAutoUpdate": False},
}


@pytest.fixture(scope="module")
def clients() -> Clients:
    return installed()


@pytest.fixture(scope="module")
def served(clients: Clients) -> Iterator[Watched]:
    with fleet() as found:
        yield found


def gemini(clients: Clients, served: Watched, prompt: str, agent: str = "tester", model: str = MODEL) -> Done:
    files = {".gemini/settings.json": json.dumps(SETTINGS), "work/note.txt": "forty-two pelicans\n"}
    env = {"GOOGLE_GEMINI_BASE_URL": served.proxy.url, "GEMINI_API_KEY": served.proxy.key(agent)}
    program = clients.modules / "@google" / "gemini-cli" / "bundle" / "gemini.js"
    return clients.run([str(clients.node), str(program), "--skip-trust", "-m", model, "-p", prompt], env, files)


def outcome(record: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(record[k] for k in ("agent", "protocol", "model_asked", "stream", "status"))


FINE = ("tester", "gemini", MODEL, True, 200)


def test_text(clients: Clients, served: Watched) -> None:
    done = gemini(clients, served, say("Say it.", text="Seven pelicans."))
    assert (done.code, done.out) == (0, "Seven pelicans.\n"), done.err
    assert [c["path"] for c in served.calls()] == [f"/v1beta/models/{MODEL}:streamGenerateContent"]
    assert [outcome(r) for r in served.records(1)] == [FINE]


def test_a_file_is_read_in_one_session(clients: Clients, served: Watched) -> None:
    prompt = say("Read it.", tool_calls=[{"name": "read_file", "arguments": {"file_path": "note.txt"}}])
    done = gemini(clients, served, prompt)
    assert done.code == 0, done.err
    assert "forty-two pelicans" in done.out
    assert [c["status"] for c in served.calls()] == [200, 200]
    records = served.records(2)
    assert [outcome(r) for r in records] == [FINE, FINE]
    assert len({r["session"] for r in records}) == 1, "it names no session: system prompt and first message tell"


def test_a_refusal_is_shown_and_not_retried(clients: Clients, served: Watched) -> None:
    done = gemini(clients, served, "Hello", agent="clerk")
    assert done.code != 0
    assert f"Agent clerk may not use model {MODEL}: " in done.err
    assert "AGENTS.md:11 policy.models.allow" in done.err
    assert served.calls() == []
    (record,) = served.records(1)
    assert (record["agent"], record["reason"]) == ("clerk", "model_not_allowed")
