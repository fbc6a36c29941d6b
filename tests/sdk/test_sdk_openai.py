"""The official `openai` SDK against the simulator and through Fleetgate: it cannot tell the difference, except for refusals."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from sdk_cases import MODES, PIXEL, WEATHER, Fleet, fleet, say

TOOLS: Any = [{"type": "function", "function": {"name": "get_weather", "description": "Weather", "parameters": WEATHER}}]
CALL: dict[str, Any] = {"tool_calls": [{"name": "get_weather", "arguments": {"city": "Zürich"}}]}


@pytest.fixture(scope="module", params=MODES)
def served(request: pytest.FixtureRequest) -> Iterator[Fleet]:
    with fleet(request.param) as found:
        yield found


@pytest.fixture
def client(served: Fleet) -> Iterator[OpenAI]:
    target = served.target()
    served.sim.reset()
    with OpenAI(base_url=f"{target.url}/v1", api_key=target.key, timeout=30) as client:
        yield client


def user(text: str = "", /, **wishes: Any) -> Any:
    return [{"role": "user", "content": say(text, **wishes)}]


def test_a_plain_completion(client: OpenAI) -> None:
    done = client.chat.completions.create(model="gpt-4o", messages=user("What is 17 + 4?"))
    assert done.choices[0].message.content == "17 + 4 = 21."
    assert (done.choices[0].finish_reason, done.model, done.object) == ("stop", "gpt-4o", "chat.completion")
    assert done.usage is not None
    assert (done.usage.completion_tokens, done.usage.total_tokens) == (5, done.usage.prompt_tokens + 5)


def test_a_stream_says_the_same(client: OpenAI) -> None:
    with client.chat.completions.create(model="gpt-4o", messages=user("What is 17 + 4?"), stream=True) as stream:
        chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "17 + 4 = 21."
    assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == ["stop"]
    assert {c.id for c in chunks} == {chunks[0].id}
    assert all(c.choices for c in chunks), "nobody asked for a chunk with usage"
    assert all(c.usage is None for c in chunks)


def test_a_stream_with_usage_when_asked(client: OpenAI) -> None:
    options: Any = {"include_usage": True}
    with client.chat.completions.create(model="gpt-4o", messages=user(tokens=12), stream=True, stream_options=options) as stream:
        chunks = list(stream)
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 12
    assert all(c.usage is None for c in chunks[:-1])


def test_async_both_ways(served: Fleet) -> None:
    async def main() -> None:
        target = served.target()
        async with AsyncOpenAI(base_url=f"{target.url}/v1", api_key=target.key, timeout=30) as client:
            done = await client.chat.completions.create(model="gpt-4o", messages=user(tokens=7))
            stream = await client.chat.completions.create(model="gpt-4o", messages=user(tokens=7), stream=True)
            text = "".join([c.choices[0].delta.content or "" async for c in stream])
            assert text == done.choices[0].message.content
            assert len(text.split()) == 7

    asyncio.run(main())


def test_a_tool_is_called_and_answered(client: OpenAI) -> None:
    asked = user(**CALL)
    done = client.chat.completions.create(model="gpt-4o", messages=asked, tools=TOOLS)
    assert done.choices[0].finish_reason == "tool_calls"
    call = (done.choices[0].message.tool_calls or [])[0]
    assert call.type == "function"
    assert (call.function.name, call.function.arguments) == ("get_weather", '{"city":"Zürich"}')
    with client.chat.completions.create(model="gpt-4o", messages=asked, tools=TOOLS, stream=True) as stream:
        pieces = [t for c in stream if c.choices for t in c.choices[0].delta.tool_calls or []]
    assert len(pieces) > 2, "arguments come in pieces"
    assert (pieces[0].id, pieces[0].function and pieces[0].function.name) == (call.id, "get_weather")
    assert "".join((p.function and p.function.arguments) or "" for p in pieces) == call.function.arguments
    turn: Any = [
        *asked,
        done.choices[0].message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "4 °C"},
    ]
    after = client.chat.completions.create(model="gpt-4o", messages=turn, tools=TOOLS)
    assert after.choices[0].message.content == "The tool returned: 4 °C. That is all I needed."


def test_the_stream_helper_builds_the_same_message(client: OpenAI) -> None:
    with client.chat.completions.stream(model="gpt-4o", messages=user(**CALL), tools=TOOLS) as stream:
        final = stream.get_final_completion()
    calls = final.choices[0].message.tool_calls or []
    assert [c.function.arguments for c in calls] == ['{"city":"Zürich"}']


def test_several_choices(client: OpenAI) -> None:
    done = client.chat.completions.create(model="gpt-4o", messages=user(tokens=6), n=3)
    texts = [c.message.content for c in done.choices]
    assert [c.index for c in done.choices] == [0, 1, 2]
    assert len(set(texts)) == 3
    assert done.usage is not None
    assert done.usage.completion_tokens == 18
    parts = ["", "", ""]
    with client.chat.completions.create(model="gpt-4o", messages=user(tokens=6), n=3, stream=True) as stream:
        for chunk in stream:
            for choice in chunk.choices:
                parts[choice.index] += choice.delta.content or ""
    assert parts == texts


@pytest.mark.parametrize("ceiling", ["max_tokens", "max_completion_tokens"])
def test_a_ceiling_is_kept_and_reported(client: OpenAI, ceiling: str) -> None:
    limits: Any = {ceiling: 5}
    done = client.chat.completions.create(model="gpt-4o", messages=user(tokens=50), **limits)
    assert done.choices[0].finish_reason == "length"
    assert done.usage is not None
    assert done.usage.completion_tokens == 5


def test_an_image_is_accepted(client: OpenAI) -> None:
    parts: Any = [{"type": "text", "text": "What is 1 + 1?"}, {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}]
    done = client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": parts}])
    assert done.choices[0].message.content == "1 + 1 = 2."
    assert done.usage is not None
    assert done.usage.prompt_tokens > 85


def test_details_of_usage(client: OpenAI) -> None:
    done = client.chat.completions.create(model="gpt-4o", messages=user(tokens=3, cached=40, reasoning=9))
    assert done.usage is not None
    assert done.usage.prompt_tokens_details is not None
    assert done.usage.completion_tokens_details is not None
    assert (done.usage.prompt_tokens_details.cached_tokens, done.usage.completion_tokens_details.reasoning_tokens) == (40, 9)
    assert done.usage.completion_tokens == 12


def test_the_raw_response(served: Fleet, client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="gpt-4o", messages=user("hi"))
    assert raw.headers["x-request-id"].startswith("req_")
    assert raw.headers["content-type"] == "application/json"
    assert ("x-fleetgate-request-id" in raw.headers) == served.target().proxied
    assert raw.parse().choices[0].message.content


def test_unknown_fields_and_events_survive(client: OpenAI) -> None:
    done = client.chat.completions.create(model="gpt-4o", messages=user(extra_field={"x_new": {"a": [1, None]}}))
    assert done.model_extra == {"x_new": {"a": [1, None]}}
    wish: dict[str, Any] = {"extra_event": {"event": "new.kind", "data": {"n": 1}}, "tokens": 2}
    with client.chat.completions.create(model="gpt-4o", messages=user(**wish), stream=True) as stream:
        found = [c.model_extra for c in stream]
    assert {"n": 1} in found


def test_compressed_replies(client: OpenAI) -> None:
    done = client.chat.completions.create(model="gpt-4o", messages=user(tokens=30, gzip=True))
    with client.chat.completions.create(model="gpt-4o", messages=user(tokens=30, gzip=True), stream=True) as stream:
        assert "".join(c.choices[0].delta.content or "" for c in stream) == done.choices[0].message.content


def test_embeddings_as_numbers_and_as_base64(client: OpenAI) -> None:
    plain = client.embeddings.create(model="text-embedding-3-small", input=["one", "two"], dimensions=64, encoding_format="float")
    packed = client.embeddings.create(model="text-embedding-3-small", input=["one", "two"], dimensions=64)
    assert [len(e.embedding) for e in plain.data] == [64, 64]
    assert plain.data[0].embedding != plain.data[1].embedding
    assert [list(e.embedding) for e in packed.data] == [e.embedding for e in plain.data]
    assert plain.usage.total_tokens == 2


def test_models(client: OpenAI) -> None:
    assert "gpt-4o" in [m.id for m in client.models.list()]


ERRORS: list[tuple[int, type[openai.APIStatusError]]] = [
    (400, openai.BadRequestError),
    (404, openai.NotFoundError),
    (409, openai.ConflictError),
    (422, openai.UnprocessableEntityError),
    (429, openai.RateLimitError),
    (500, openai.InternalServerError),
]


@pytest.mark.parametrize(("status", "raised"), ERRORS)
def test_an_upstream_error_is_the_sdks_own(served: Fleet, client: OpenAI, status: int, raised: type[openai.APIStatusError]) -> None:
    for stream in (False, True):
        served.sim.reset()
        with pytest.raises(raised, match="the upstream's own words") as e:
            client.with_options(max_retries=0).chat.completions.create(
                model="gpt-4o", messages=user(status=status, message="the upstream's own words", error_type="some_type"), stream=stream
            )
        assert (e.value.status_code, e.value.type) == (status, "some_type")
        assert [c["status"] for c in served.sim.calls()] == [status]


def test_what_the_provider_does_not_take(client: OpenAI) -> None:
    alone: Any = [*user("hi"), {"role": "tool", "tool_call_id": "call_1", "content": "4"}]
    with pytest.raises(openai.BadRequestError, match="must be a response to a preceeding message") as e:
        client.chat.completions.create(model="gpt-4o", messages=alone)
    assert (e.value.type, e.value.param) == ("invalid_request_error", "messages[1].role")
    with pytest.raises(openai.BadRequestError, match="messages"):
        client.chat.completions.create(model="gpt-4o", messages=[])


def test_a_broken_stream_is_an_error_not_an_end(client: OpenAI) -> None:
    seen: list[Any] = []
    stream = client.chat.completions.create(model="gpt-4o", messages=user(tokens=50, cut_after=6), stream=True)
    with pytest.raises((openai.APIError, httpx2.RemoteProtocolError)), stream:
        seen.extend(stream)
    assert seen


def test_a_connection_closed_without_a_word(client: OpenAI) -> None:
    with pytest.raises((openai.APIConnectionError, openai.InternalServerError)):
        client.with_options(max_retries=0).chat.completions.create(model="gpt-4o", messages=user(nothing=True))


def test_a_client_that_stops_reading_stops_the_provider(served: Fleet, client: OpenAI) -> None:
    stream = client.chat.completions.create(model="gpt-4o", messages=user(tokens=5000, chunk_ms=5), stream=True)
    for number, _ in enumerate(stream):
        if number == 10:
            break
    stream.close()
    (call,) = served.sim.calls()
    assert call["aborted"]
    assert 0 < call["output_tokens"] < 1000


# --- what only Fleetgate does ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded() -> Iterator[Fleet]:
    with fleet("proxy") as found:
        yield found


@pytest.mark.parametrize("stream", [False, True])
def test_a_refusal_is_shown_once_and_not_retried(guarded: Fleet, stream: bool) -> None:
    assert guarded.proxy is not None
    guarded.sim.reset()
    before = len(guarded.proxy.ledger())
    target = guarded.target("clerk")
    with (
        OpenAI(base_url=f"{target.url}/v1", api_key=target.key, timeout=30, max_retries=3) as client,
        pytest.raises(openai.PermissionDeniedError, match="gpt-4o") as e,
    ):
        client.chat.completions.create(model="gpt-4o", messages=user("hi"), stream=stream)
    assert e.value.response.headers["x-should-retry"] == "false"
    said = e.value.response.json()["fleetgate"]
    assert said["reason"] == "model_not_allowed"
    assert "AGENTS.md" in said["rule"]
    assert said["decision_id"] == e.value.response.headers["x-fleetgate-request-id"]
    assert guarded.sim.calls() == []
    records = guarded.proxy.records(before + 1)
    assert len(records) == before + 1, "one request, no retry"
    assert records[-1]["reason"] == "model_not_allowed"


def test_a_tool_that_is_not_allowed(guarded: Fleet) -> None:
    guarded.sim.reset()
    target = guarded.target("clerk")
    with (
        OpenAI(base_url=f"{target.url}/v1", api_key=target.key, timeout=30) as client,
        pytest.raises(openai.PermissionDeniedError, match="get_weather") as e,
    ):
        client.chat.completions.create(model="gpt-4o-mini", messages=user("hi"), tools=TOOLS)
    assert e.value.response.json()["fleetgate"]["reason"] == "tool_not_allowed"
    assert guarded.sim.calls() == []


def test_a_wrong_key(guarded: Fleet) -> None:
    guarded.sim.reset()
    with (
        OpenAI(base_url=f"{guarded.target().url}/v1", api_key="fg_wrong", timeout=30) as client,
        pytest.raises(openai.AuthenticationError) as e,
    ):
        client.chat.completions.create(model="gpt-4o", messages=user("hi"))
    assert e.value.response.json()["fleetgate"]["reason"] == "unauthenticated"
    assert "fg_wrong" not in e.value.response.text
    assert guarded.sim.calls() == []
