"""The official `anthropic` SDK against the simulator and through Fleetgate: it cannot tell the difference, except for refusals."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic import Anthropic, AsyncAnthropic
from sdk_cases import MODES, PIXEL, WEATHER, Fleet, fleet, say

TOOLS: Any = [{"name": "get_weather", "description": "Weather", "input_schema": WEATHER}]
CALL: dict[str, Any] = {"tool_calls": [{"name": "get_weather", "arguments": {"city": "Zürich"}}]}
MODEL = "claude-sonnet-5"


@pytest.fixture(scope="module", params=MODES)
def served(request: pytest.FixtureRequest) -> Iterator[Fleet]:
    with fleet(request.param) as found:
        yield found


@pytest.fixture
def client(served: Fleet) -> Iterator[Anthropic]:
    target = served.target()
    served.sim.reset()
    with Anthropic(base_url=target.url, api_key=target.key, timeout=30) as client:
        yield client


def user(text: str = "Hello", /, **wishes: Any) -> Any:
    return [{"role": "user", "content": say(text, **wishes)}]


def text_of(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def test_a_plain_message(client: Anthropic) -> None:
    done = client.messages.create(model=MODEL, max_tokens=100, messages=user("What is 17 + 4?"))
    assert text_of(done) == "17 + 4 = 21."
    assert (done.stop_reason, done.stop_sequence, done.model, done.role, done.type) == ("end_turn", None, MODEL, "assistant", "message")
    assert done.usage.output_tokens == 5
    assert done.usage.input_tokens > 5


def test_a_stream_says_the_same_in_the_documented_order(client: Anthropic) -> None:
    with client.messages.create(model=MODEL, max_tokens=100, messages=user("What is 17 + 4?"), stream=True) as stream:
        events = list(stream)
    kinds = [e.type for e in events]
    assert kinds == [
        "message_start",
        "content_block_start",
        *["content_block_delta"] * 5,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert "".join(e.delta.text for e in events if e.type == "content_block_delta" and e.delta.type == "text_delta") == "17 + 4 = 21."
    (end,) = [e for e in events if e.type == "message_delta"]
    assert (end.delta.stop_reason, end.usage.output_tokens) == ("end_turn", 5)


def test_the_stream_helper_builds_the_same_message(client: Anthropic) -> None:
    wishes: dict[str, Any] = {"text": "Let me look.", "reasoning": 6, **CALL}
    with client.messages.stream(model=MODEL, max_tokens=100, messages=user(**wishes), tools=TOOLS) as stream:
        built = stream.get_final_message()
    whole = client.messages.create(model=MODEL, max_tokens=100, messages=user(**wishes), tools=TOOLS)
    assert [b.type for b in whole.content] == ["thinking", "text", "tool_use"]
    assert [b.model_dump(exclude={"parsed_output"}) for b in built.content] == [b.model_dump() for b in whole.content]
    assert (built.stop_reason, built.usage.output_tokens) == (whole.stop_reason, whole.usage.output_tokens)


def test_async_both_ways(served: Fleet) -> None:
    async def main() -> None:
        target = served.target()
        async with AsyncAnthropic(base_url=target.url, api_key=target.key, timeout=30) as client:
            done = await client.messages.create(model=MODEL, max_tokens=100, messages=user(tokens=7))
            async with client.messages.stream(model=MODEL, max_tokens=100, messages=user(tokens=7)) as stream:
                text = "".join([piece async for piece in stream.text_stream])
            assert text == text_of(done)
            assert len(text.split()) == 7

    asyncio.run(main())


def test_a_tool_is_called_and_answered(client: Anthropic) -> None:
    asked = user("Weather?", **CALL)
    done = client.messages.create(model=MODEL, max_tokens=100, messages=asked, tools=TOOLS)
    assert done.stop_reason == "tool_use"
    (block,) = done.content
    assert block.type == "tool_use"
    assert (block.name, block.input) == ("get_weather", {"city": "Zürich"})
    with client.messages.create(model=MODEL, max_tokens=100, messages=asked, tools=TOOLS, stream=True) as stream:
        pieces = [e.delta.partial_json for e in stream if e.type == "content_block_delta" and e.delta.type == "input_json_delta"]
    assert len(pieces) > 2, "arguments come in pieces"
    assert "".join(pieces) == '{"city":"Zürich"}'
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": block.id, "content": "4 °C"}]}
    turn: Any = [*asked, {"role": "assistant", "content": [b.model_dump(exclude_none=True) for b in done.content]}, result]
    after = client.messages.create(model=MODEL, max_tokens=100, messages=turn, tools=TOOLS)
    assert text_of(after) == "The tool returned: 4 °C. That is all I needed."


def test_a_ceiling_is_kept_and_reported(client: Anthropic) -> None:
    done = client.messages.create(model=MODEL, max_tokens=5, messages=user(tokens=50))
    assert (done.stop_reason, done.usage.output_tokens) == ("max_tokens", 5)


def test_a_stop_sequence_is_kept_and_reported(client: Anthropic) -> None:
    done = client.messages.create(model=MODEL, max_tokens=50, messages=user("What is the capital of Japan?"), stop_sequences=[" is"])
    assert (text_of(done), done.stop_reason, done.stop_sequence) == ("The capital of Japan", "stop_sequence", " is")


def test_an_image_and_a_system_prompt_are_accepted(client: Anthropic) -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    parts: Any = [{"type": "text", "text": "What is 1 + 1?"}, image]
    done = client.messages.create(model=MODEL, max_tokens=50, messages=[{"role": "user", "content": parts}], system="Be brief.")
    assert text_of(done) == "1 + 1 = 2."
    assert done.usage.input_tokens > 85


def test_cached_tokens_stand_beside_the_input(client: Anthropic) -> None:
    done = client.messages.create(model=MODEL, max_tokens=50, messages=user(tokens=3, cached=900, cache_write=20, cache_write_1h=7))
    assert (done.usage.cache_read_input_tokens, done.usage.cache_creation_input_tokens, done.usage.input_tokens) == (900, 27, 0)
    assert done.usage.cache_creation is not None
    assert (done.usage.cache_creation.ephemeral_5m_input_tokens, done.usage.cache_creation.ephemeral_1h_input_tokens) == (20, 7)


def test_counting_tokens(client: Anthropic) -> None:
    counted = client.messages.count_tokens(model=MODEL, messages=user("Count these five words"))
    done = client.messages.create(model=MODEL, max_tokens=50, messages=user("Count these five words"))
    assert counted.input_tokens == done.usage.input_tokens == 11


def test_models(client: Anthropic) -> None:
    found = {m.id: m for m in client.models.list()}
    assert found[MODEL].display_name
    assert found[MODEL].created_at.year > 2000


def test_the_raw_response(served: Fleet, client: Anthropic) -> None:
    raw = client.messages.with_raw_response.create(model=MODEL, max_tokens=50, messages=user())
    assert raw.headers["request-id"].startswith("req_")
    assert ("x-fleetgate-request-id" in raw.headers) == served.target().proxied
    assert text_of(raw.parse())


def test_unknown_fields_and_events_survive(client: Anthropic) -> None:
    done = client.messages.create(model=MODEL, max_tokens=50, messages=user(extra_field={"x_new": {"a": [1, None]}}))
    assert done.model_extra == {"x_new": {"a": [1, None]}}
    wish: dict[str, Any] = {"extra_event": {"event": "new_kind", "data": {"type": "new_kind", "n": 1}}, "tokens": 2}
    with client.messages.create(model=MODEL, max_tokens=50, messages=user(**wish), stream=True) as stream:
        kinds = [str(e.type) for e in stream]
    assert kinds[1] == "new_kind"


def test_compressed_replies(client: Anthropic) -> None:
    done = client.messages.create(model=MODEL, max_tokens=50, messages=user(tokens=30, gzip=True))
    with client.messages.stream(model=MODEL, max_tokens=50, messages=user(tokens=30, gzip=True)) as stream:
        assert "".join(stream.text_stream) == text_of(done)


ERRORS: list[tuple[int, str, type[anthropic.APIStatusError]]] = [
    (400, "invalid_request_error", anthropic.BadRequestError),
    (404, "not_found_error", anthropic.NotFoundError),
    (429, "rate_limit_error", anthropic.RateLimitError),
    (500, "api_error", anthropic.InternalServerError),
    (529, "overloaded_error", anthropic.InternalServerError),
]


@pytest.mark.parametrize(("status", "kind", "raised"), ERRORS)
def test_an_upstream_error_is_the_sdks_own(
    served: Fleet, client: Anthropic, status: int, kind: str, raised: type[anthropic.APIStatusError]
) -> None:
    for stream in (False, True):
        served.sim.reset()
        with pytest.raises(raised, match="the upstream's own words") as e:
            client.with_options(max_retries=0).messages.create(
                model=MODEL, max_tokens=50, messages=user(status=status, message="the upstream's own words"), stream=stream
            )
        assert (e.value.status_code, e.value.type) == (status, kind)
        assert [c["status"] for c in served.sim.calls()] == [status]


def test_what_the_provider_does_not_take(client: Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError, match="user messages must have non-empty content"):
        client.messages.create(model=MODEL, max_tokens=50, messages=user(""))
    with pytest.raises(anthropic.BadRequestError, match="messages"):
        client.messages.create(model=MODEL, max_tokens=50, messages=[])


def test_an_error_inside_a_stream(client: Anthropic) -> None:
    with (
        pytest.raises(anthropic.APIStatusError, match="Overloaded"),
        client.messages.create(model=MODEL, max_tokens=50, messages=user(tokens=20, error_after=5), stream=True) as stream,
    ):
        list(stream)


def test_a_broken_stream_is_an_error_not_an_end(client: Anthropic) -> None:
    seen: list[Any] = []
    stream = client.messages.create(model=MODEL, max_tokens=50, messages=user(tokens=20, cut_after=6), stream=True)
    with pytest.raises((anthropic.APIError, httpx2.RemoteProtocolError)), stream:
        seen.extend(stream)
    assert seen


def test_a_client_that_stops_reading_stops_the_provider(served: Fleet, client: Anthropic) -> None:
    stream = client.messages.create(model=MODEL, max_tokens=5000, messages=user(tokens=5000, chunk_ms=5), stream=True)
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
        Anthropic(base_url=target.url, api_key=target.key, timeout=30, max_retries=3) as client,
        pytest.raises(anthropic.PermissionDeniedError, match=MODEL) as e,
    ):
        client.messages.create(model=MODEL, max_tokens=50, messages=user(), stream=stream)
    assert e.value.type == "permission_error"
    assert e.value.response.headers["x-should-retry"] == "false"
    said = e.value.response.json()["fleetgate"]
    assert said["reason"] == "model_not_allowed"
    assert "AGENTS.md" in said["rule"]
    assert guarded.sim.calls() == []
    records = guarded.proxy.records(before + 1)
    assert len(records) == before + 1, "one request, no retry"
    assert records[-1]["reason"] == "model_not_allowed"


def test_a_tool_that_is_not_allowed(guarded: Fleet) -> None:
    guarded.sim.reset()
    target = guarded.target("clerk")
    with (
        Anthropic(base_url=target.url, api_key=target.key, timeout=30) as client,
        pytest.raises(anthropic.PermissionDeniedError, match="get_weather") as e,
    ):
        client.messages.create(model="claude-haiku-4-5", max_tokens=50, messages=user(), tools=TOOLS)
    assert e.value.response.json()["fleetgate"]["reason"] == "tool_not_allowed"
    assert guarded.sim.calls() == []


def test_a_wrong_key(guarded: Fleet) -> None:
    guarded.sim.reset()
    with (
        Anthropic(base_url=guarded.target().url, api_key="fg_wrong", timeout=30) as client,
        pytest.raises(anthropic.AuthenticationError) as e,
    ):
        client.messages.create(model=MODEL, max_tokens=50, messages=user())
    assert e.value.response.json()["fleetgate"]["reason"] == "unauthenticated"
    assert guarded.sim.calls() == []
