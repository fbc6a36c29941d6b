"""The official `google-genai` SDK against the simulator and through Fleetgate: it cannot tell the difference, except for refusals."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from typing import Any

import pytest
from google import genai
from google.genai import errors, types
from sdk_cases import MODES, PIXEL, Fleet, fleet, say

FLASH = "gemini-2.5-flash"
CITY: Any = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = types.Tool(
    function_declarations=[types.FunctionDeclaration(name="get_weather", description="Weather", parameters_json_schema=CITY)]
)
BERNE: dict[str, Any] = {"name": "get_weather", "arguments": {"city": "Bern"}}
ZURICH: dict[str, Any] = {"name": "get_weather", "arguments": {"city": "Zürich"}}


@pytest.fixture(scope="module", params=MODES)
def served(request: pytest.FixtureRequest) -> Iterator[Fleet]:
    with fleet(request.param) as found:
        yield found


def connect(served: Fleet, agent: str = "tester", version: str | None = None) -> genai.Client:
    target = served.target(agent)
    options = types.HttpOptions(base_url=target.url, timeout=30_000, api_version=version)
    return genai.Client(api_key=target.key, http_options=options)


@pytest.fixture(params=[None, "v1", "v1beta"])
def client(served: Fleet, request: pytest.FixtureRequest) -> Iterator[genai.Client]:
    served.sim.reset()
    with connect(served, version=request.param) as client:
        yield client


def test_a_plain_answer(client: genai.Client) -> None:
    done = client.models.generate_content(model=FLASH, contents="What is 17 + 4?")
    assert done.text == "17 + 4 = 21."
    assert done.candidates is not None
    assert done.candidates[0].finish_reason == types.FinishReason.STOP
    assert done.model_version == FLASH
    assert done.response_id
    usage = done.usage_metadata
    assert usage is not None
    assert (usage.candidates_token_count, usage.total_token_count) == (5, (usage.prompt_token_count or 0) + 5)


def test_a_stream_says_the_same(client: genai.Client) -> None:
    chunks = list(client.models.generate_content_stream(model=FLASH, contents="What is 17 + 4?"))
    assert "".join(chunk.text or "" for chunk in chunks) == "17 + 4 = 21."
    assert len(chunks) > 3
    reasons = [chunk.candidates[0].finish_reason for chunk in chunks if chunk.candidates]
    assert [reason for reason in reasons if reason] == [types.FinishReason.STOP]
    usage = chunks[-1].usage_metadata
    assert usage is not None
    assert usage.candidates_token_count == 5


@pytest.mark.filterwarnings("ignore:Inheritance class:DeprecationWarning")  # the SDK's own
def test_async_both_ways(served: Fleet) -> None:
    async def main() -> None:
        client = connect(served).aio
        done = await client.models.generate_content(model=FLASH, contents=say(tokens=7))
        stream = await client.models.generate_content_stream(model=FLASH, contents=say(tokens=7))
        text = "".join([chunk.text or "" async for chunk in stream])
        assert text == done.text
        assert len(text.split()) == 7
        await client.aclose()

    asyncio.run(main())


@pytest.mark.parametrize("calls", [[ZURICH], [ZURICH, BERNE]], ids=["one", "parallel"])
@pytest.mark.parametrize("stream", [False, True])
def test_tools_are_called_and_answered(client: genai.Client, calls: list[dict[str, Any]], stream: bool) -> None:
    config = types.GenerateContentConfig(tools=[WEATHER], automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True))
    asked = types.UserContent(say("Weather?", tool_calls=calls))
    if stream:
        chunks = list(client.models.generate_content_stream(model=FLASH, contents=[asked], config=config))
        found = [call for chunk in chunks for call in chunk.function_calls or []]
        said = types.ModelContent([types.Part(function_call=call) for call in found])
    else:
        done = client.models.generate_content(model=FLASH, contents=[asked], config=config)
        found = done.function_calls or []
        assert done.candidates is not None
        assert done.candidates[0].content is not None
        said = types.ModelContent(done.candidates[0].content.parts or [])
    assert [(call.name, call.args) for call in found] == [(c["name"], c["arguments"]) for c in calls]
    assert len({call.id for call in found}) == len(calls)
    answers = [types.FunctionResponse(id=call.id, name=call.name, response={"output": f"{i} °C"}) for i, call in enumerate(found)]
    turn = [asked, said, types.UserContent([types.Part(function_response=answer) for answer in answers])]
    after = client.models.generate_content(model=FLASH, contents=turn, config=config)
    assert after.text == f"The tool returned: {len(calls) - 1} °C. That is all I needed."


def test_the_sdk_calls_a_python_function_by_itself(client: genai.Client) -> None:
    asked: list[str] = []

    def get_weather(city: str) -> str:
        """Weather of a city."""
        asked.append(city)
        return "4 °C"

    config = types.GenerateContentConfig(tools=[get_weather])
    done = client.models.generate_content(model=FLASH, contents=say("Weather?", tool_calls=[ZURICH]), config=config)
    assert asked == ["Zürich"]
    assert done.text == "The tool returned: 4 °C. That is all I needed."


def test_a_chat_with_an_image_a_system_instruction_and_thoughts(client: genai.Client) -> None:
    config = types.GenerateContentConfig(
        system_instruction="Be brief.", thinking_config=types.ThinkingConfig(include_thoughts=True), max_output_tokens=500
    )
    chat = client.chats.create(model=FLASH, config=config)
    picture = types.Part.from_bytes(data=base64.b64decode(PIXEL), mime_type="image/png")
    first = chat.send_message([types.Part.from_text(text=say("What is 17 + 4?", reasoning=30, cached=5)), picture])
    assert first.text == "17 + 4 = 21."
    usage = first.usage_metadata
    assert usage is not None
    assert (usage.thoughts_token_count, usage.cached_content_token_count) == (30, 5)
    assert chat.send_message("What is the capital of France?").text == "The capital of France is Paris."


def test_several_candidates_and_a_ceiling(client: genai.Client) -> None:
    config = types.GenerateContentConfig(candidate_count=2, max_output_tokens=4)
    done = client.models.generate_content(model=FLASH, contents=say(tokens=9), config=config)
    candidates = done.candidates or []
    assert [c.finish_reason for c in candidates] == [types.FinishReason.MAX_TOKENS] * 2
    assert done.usage_metadata is not None
    assert done.usage_metadata.candidates_token_count == 8


def test_tokens_are_counted(client: genai.Client) -> None:
    counted = client.models.count_tokens(model=FLASH, contents="What is 17 + 4?")
    done = client.models.generate_content(model=FLASH, contents="What is 17 + 4?")
    assert done.usage_metadata is not None
    assert counted.total_tokens == done.usage_metadata.prompt_token_count


def test_embeddings(client: genai.Client) -> None:
    config = types.EmbedContentConfig(output_dimensionality=8)
    done = client.models.embed_content(model="gemini-embedding-001", contents=["one", "two", "one"], config=config)
    vectors = [e.values for e in done.embeddings or []]
    assert [len(v or []) for v in vectors] == [8, 8, 8]
    assert vectors[0] == vectors[2] != vectors[1]
    single = client.models.embed_content(model="gemini-embedding-2", contents="one", config=config)
    assert [len(e.values or []) for e in single.embeddings or []] == [8]


def test_models_are_listed_page_by_page(client: genai.Client) -> None:
    names = [model.name for model in client.models.list(config={"page_size": 2})]
    assert "models/gemini-2.5-flash" in names
    assert len(names) == len(set(names)) > 2
    assert client.models.get(model=FLASH).display_name == "Gemini 2.5 Flash"


def test_errors_of_the_provider_come_through(client: genai.Client) -> None:
    with pytest.raises(errors.ClientError) as raised:
        client.models.generate_content(model=FLASH, contents=say(status=429, message="Slow down"))
    assert (raised.value.code, raised.value.status, raised.value.message) == (429, "RESOURCE_EXHAUSTED", "Slow down")
    with pytest.raises(errors.APIError) as broken:
        list(client.models.generate_content_stream(model=FLASH, contents=say(tokens=9, error_after=2)))
    assert broken.value.code == 503


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
    with connect(guarded, "clerk") as client, pytest.raises(errors.ClientError) as raised:
        list((client.models.generate_content_stream if stream else client.models.generate_content)(model=FLASH, contents="hi"))
    assert (raised.value.code, raised.value.status) == (403, "PERMISSION_DENIED")
    assert FLASH in str(raised.value)
    said = raised.value.details["fleetgate"]
    assert (said["reason"], "AGENTS.md" in said["rule"]) == ("model_not_allowed", True)
    assert guarded.sim.calls() == []
    records = guarded.proxy.records(before + 1)
    assert len(records) == before + 1, "one request, no retry"
    assert (records[-1]["protocol"], records[-1]["reason"]) == ("gemini", "model_not_allowed")


def test_a_wrong_key(guarded: Fleet) -> None:
    guarded.sim.reset()
    options = types.HttpOptions(base_url=guarded.target().url, timeout=30_000)
    with genai.Client(api_key="fg_wrong", http_options=options) as client, pytest.raises(errors.ClientError) as raised:
        client.models.generate_content(model=FLASH, contents="hi")
    assert (raised.value.code, raised.value.status) == (401, "UNAUTHENTICATED")
    assert "fg_wrong" not in str(raised.value)
    assert guarded.sim.calls() == []


def test_the_list_shows_what_the_agent_may_use(guarded: Fleet) -> None:
    with connect(guarded, "clerk") as client:
        assert list(client.models.list()) == []
        with pytest.raises(errors.ClientError, match="model_not_allowed"):
            client.models.get(model=FLASH)


def test_what_is_written_down(guarded: Fleet) -> None:
    assert guarded.proxy is not None
    before = len(guarded.proxy.ledger())
    with connect(guarded) as client:
        done = client.models.generate_content(model=FLASH, contents=say("hi", tokens=20, reasoning=30, cached=8))
        list(client.models.generate_content_stream(model=FLASH, contents=say("hi", tokens=20, reasoning=30, cached=8)))
        client.models.count_tokens(model=FLASH, contents="hi")
        client.models.embed_content(model="gemini-embedding-001", contents="one two three")
    *spoken, counted, embedded = guarded.proxy.records(before + 4)[before:]
    usage = done.usage_metadata
    assert usage is not None
    for record in spoken:
        assert (record["protocol"], record["operation"], record["model"], record["outcome"]) == ("gemini", "chat", FLASH, "ok")
        assert (record["output_tokens"], record["reasoning_tokens"], record["cache_read_tokens"]) == (50, 30, 8)
        assert record["input_tokens"] == (usage.prompt_token_count or 0) - 8
        assert record["usage_exact"]
        assert record["cost"] > 0
    assert [record["stream"] for record in spoken] == [False, True]
    assert (counted["operation"], counted["cost"], counted["input_tokens"]) == ("count_tokens", 0, 0)
    assert (embedded["operation"], embedded["usage_exact"], embedded["output_tokens"]) == ("embeddings", False, 0)
    assert embedded["input_tokens"] >= 3
