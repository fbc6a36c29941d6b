"""What a provider's settings make of a client's request, through a real proxy."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from broken import Broken

sys.path.insert(0, str(Path(__file__).parents[1]))

from serving import PROVIDER_KEY, Proxy, Simulator, post

SECRET = "sig-that-no-log-may-show"


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with Simulator() as sim:
        yield sim


@pytest.mark.parametrize("transport", ["lean", "aiohttp"])
def test_an_azure_deployment(sim: Simulator, transport: str) -> None:
    with Broken(200) as azure:
        settings = {
            "providers": {
                "azure": {
                    "protocols": ["openai"],
                    "base_url": azure.root + "/openai/deployments/{model}",
                    "api_key": "env:SIM_PROVIDER_KEY",
                    "auth": "api-key",
                    "query": {"api-version": "2024-10-21", "sig": "env:AZURE_SIG"},
                }
            },
            "models": {"mine": {"provider": "azure", "upstream_model": "dep 1", "price": {"input": 1, "output": 1}}},
            "upstream": {"transport": transport},
        }
        with Proxy(sim, settings=settings, env={"AZURE_SIG": SECRET}) as proxy:
            body = {"model": "mine", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
            headers = {"api-key": proxy.key(), "x-note": "kept"}
            reply = post(f"{proxy.url}/v1/chat/completions?api-version=1999-01-01&x=1", body, headers)
            assert reply.status == 200
            asked = azure.asked[0]
            assert asked["path"] == f"/openai/deployments/dep%201/chat/completions?x=1&api-version=2024-10-21&sig={SECRET}"
            assert (asked["api-key"], asked["x-note"]) == (PROVIDER_KEY, "kept")
            assert "authorization" not in asked
            told = proxy.log() + str(reply.headers) + str(proxy.records(1)) + proxy.command("check").stdout
            assert SECRET not in told
            assert PROVIDER_KEY not in told


def test_a_vendors_versions_pass_through(sim: Simulator) -> None:
    """`anthropic-version` and `anthropic-beta` are the client's, and so is `?beta=true`."""
    sim.reset()
    with Proxy(sim) as proxy:
        body = {"model": "claude-sonnet-4-5", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
        ours = {"anthropic-version": "2023-06-01", "anthropic-beta": "context-1m-2025-08-07,interleaved-thinking-2025-05-14"}
        reply = post(f"{proxy.url}/v1/messages?beta=true", body, {"x-api-key": proxy.key(), **ours})
        assert reply.status == 200
        call = sim.calls()[0]
        assert call["query"] == "beta=true"
        assert {name: call["headers"][name] for name in ours} == ours
