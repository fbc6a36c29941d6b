"""What a provider's own settings make of a request, with both transports: key, query, model in the path, headers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from upstream_script import CASES, OK, Asked, Upstream, outcome, run, whole

from proxy.engine.ports import UpstreamError, UpstreamRequest
from proxy.model import Target
from proxy.upstream.base import Deadlines, Provider, located
from proxy.upstream.lean import LeanTransport
from proxy.upstream.request import REMEMBERED
from proxy.upstream.transport import AioTransport

every = pytest.mark.parametrize("case", CASES)
QUERY = (("api-version", "2024-10-21"), ("note", "a b&c"))


def request(model: str = "m", path: str = "/chat/completions", protocol: str = "openai", **more: Any) -> UpstreamRequest:
    return UpstreamRequest(Target("p", model, model, protocol, None), "POST", path, more.get("headers", ()), b"{}", False)


async def asked(case: str, base: str, *requests: UpstreamRequest, protocol: str = "openai", **settings: Any) -> list[Asked]:
    """What the upstream was asked; `base` is what follows its host."""
    kind = AioTransport if case.startswith("aiohttp") else LeanTransport
    async with Upstream([OK] * len(requests)) as upstream:
        transport = kind([Provider("p", {protocol: upstream.url + base}, "sk-secret", **settings)], Deadlines())
        try:
            for one in requests:
                assert await whole(transport, one) == (200, b"{}")
        finally:
            await transport.close()
        return upstream.asked


@every
@pytest.mark.parametrize(
    ("auth", "protocol", "sent"),
    [
        (None, "openai", {"authorization": ["Bearer sk-secret"]}),
        (None, "ollama", {"authorization": ["Bearer sk-secret"]}),
        (None, "anthropic", {"x-api-key": ["sk-secret"]}),
        (None, "gemini", {"x-goog-api-key": ["sk-secret"]}),
        ("bearer", "anthropic", {"authorization": ["Bearer sk-secret"]}),
        ("x-api-key", "openai", {"x-api-key": ["sk-secret"]}),
        ("x-goog-api-key", "openai", {"x-goog-api-key": ["sk-secret"]}),
        ("api-key", "openai", {"api-key": ["sk-secret"]}),
        ("none", "openai", {}),
    ],
)
def test_the_key_goes_where_the_provider_wants_it(case: str, auth: str | None, protocol: str, sent: dict[str, list[str]]) -> None:
    found = run(case, asked(case, "", request(protocol=protocol), protocol=protocol, auth=auth))[0]
    carriers = ("authorization", "x-api-key", "x-goog-api-key", "api-key")
    assert {name: found.get(name) for name in carriers if found.get(name)} == sent


@every
def test_the_model_stands_in_the_path_and_each_has_its_own(case: str) -> None:
    base = "/openai/deployments/{model}"
    found = run(case, asked(case, base, request("gpt-4o"), request("a/b c"), request("gpt-4o"), query=QUERY))
    end = "/chat/completions?api-version=2024-10-21&note=a+b%26c HTTP/1.1"
    assert [one.line for one in found] == [
        f"POST /openai/deployments/gpt-4o{end}",
        f"POST /openai/deployments/a%2Fb%20c{end}",
        f"POST /openai/deployments/gpt-4o{end}",
    ]


@every
def test_the_operators_parameters_hold_and_the_clients_others_stay(case: str) -> None:
    theirs = "/chat?beta=true&api-version=1999-01-01&API-Version=x&%61pi-version=y&z"
    found = run(case, asked(case, "/v1", request(path=theirs), query=QUERY))
    assert found[0].line == "POST /v1/chat?beta=true&z&api-version=2024-10-21&note=a+b%26c HTTP/1.1"


@every
def test_a_vendors_versions_pass_through_from_the_client(case: str) -> None:
    headers = [("anthropic-version", "2023-06-01"), ("anthropic-beta", "context-1m-2025-08-07,interleaved-thinking-2025-05-14")]
    found = run(case, asked(case, "", request(protocol="anthropic", path="/v1/messages?beta=true", headers=headers), protocol="anthropic"))
    assert found[0].line == "POST /v1/messages?beta=true HTTP/1.1"
    assert [found[0].get(name) for name, _ in headers] == [[value] for _, value in headers]


@every
@pytest.mark.parametrize("model", ["", ".", ".."])
def test_a_model_cannot_lead_out_of_its_place(case: str, model: str) -> None:
    async def main() -> None:
        kind = AioTransport if case.startswith("aiohttp") else LeanTransport
        async with Upstream([OK]) as upstream:
            transport = kind([Provider("p", {"openai": upstream.url + "/deployments/{model}"})], Deadlines())
            assert await outcome(transport, request(model)) == "protocol"
            await transport.retire()
            assert upstream.asked == []

    run(case, main())


@given(model=st.text(max_size=20).filter(lambda m: m not in ("", ".", "..") and not any(0xD800 <= ord(c) < 0xE000 for c in m)))
def test_any_model_is_one_segment(model: str) -> None:
    found = located("/deployments/{model}", "/chat", model, ())
    assert found.isascii()
    assert found.count("/") == 3
    assert not set(found) & set("?#\r\n \\")


def test_what_is_remembered_of_models_is_bounded() -> None:
    async def main() -> None:
        for kind in (LeanTransport, AioTransport):
            transport = kind([Provider("p", {"openai": "http://127.0.0.1:1/d/{model}"})], Deadlines())
            for n in range(REMEMBERED + 50):
                one = request(f"m{n}")
                if isinstance(transport, AioTransport):
                    transport._url(one)
                    assert len(transport._urls) <= REMEMBERED + 1
                else:
                    endpoint, _ = transport._ways.get(("p", "openai")) or transport._way("p", "openai")
                    endpoint.head(one)
                    assert len(endpoint._starts) <= REMEMBERED
            await transport.close()

    asyncio.run(main())


def test_a_provider_shows_no_secret() -> None:
    shown = repr(Provider("p", {}, "sk-secret", headers=(("a", "sk-secret"),), query=(("key", "sk-secret"),)))
    assert "sk-secret" not in shown
    with pytest.raises(UpstreamError) as e:
        located("/{model}", "/x", "..", (("key", "sk-secret"),))
    assert "sk-secret" not in str(e.value)
