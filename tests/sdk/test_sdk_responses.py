"""The official `openai` SDK on Responses and on legacy completions, against the simulator and through Fleetgate."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI, omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseFunctionToolCall, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter
from sdk_cases import MODES, PIXEL, WEATHER, Fleet, fleet, say
from serving import Simulator, post

from proxy.model import Deny, Reason
from proxy.wire.base import Memos
from proxy.wire.openai_responses import ResponsesCodec
from proxy.wire.sse import Splitter, data_of

TOOLS: Any = [{"type": "function", "name": "get_weather", "description": "Weather", "parameters": WEATHER, "strict": False}]
CALL: dict[str, Any] = {"tool_calls": [{"name": "get_weather", "arguments": {"city": "Zürich"}}]}


class Invoice(BaseModel):
    number: int
    total: float


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


def test_a_plain_response(client: OpenAI) -> None:
    done = client.responses.create(model="gpt-4o", instructions="Be brief.", input="What is 17 + 4?")
    assert done.output_text == "17 + 4 = 21."
    assert (done.status, done.model, done.object, done.instructions) == ("completed", "gpt-4o", "response", "Be brief.")
    assert done.usage is not None
    assert (done.usage.output_tokens, done.usage.total_tokens) == (5, done.usage.input_tokens + 5)


def test_a_stream_says_the_same(client: OpenAI) -> None:
    with client.responses.create(model="gpt-4o", input="What is 17 + 4?", stream=True) as stream:
        events = list(stream)
    assert [e.sequence_number for e in events] == list(range(len(events)))
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == "17 + 4 = 21."
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.output_text == "17 + 4 = 21."
    assert last.response.usage is not None
    assert last.response.usage.output_tokens == 5


def test_async_both_ways(served: Fleet) -> None:
    async def main() -> None:
        target = served.target()
        async with AsyncOpenAI(base_url=f"{target.url}/v1", api_key=target.key, timeout=30) as client:
            done = await client.responses.create(model="gpt-4o", input=say(tokens=7))
            stream = await client.responses.create(model="gpt-4o", input=say(tokens=7), stream=True)
            text = "".join([e.delta async for e in stream if e.type == "response.output_text.delta"])
            assert text == done.output_text
            assert len(text.split()) == 7

    asyncio.run(main())


def call_of(output: Any) -> ResponseFunctionToolCall:
    (found,) = [item for item in output if isinstance(item, ResponseFunctionToolCall)]
    return found


def test_a_tool_is_called_and_answered_with_the_whole_history(client: OpenAI) -> None:
    asked: Any = [{"role": "user", "content": say(**CALL)}]
    done = client.responses.create(model="gpt-4o", input=asked, tools=TOOLS, store=False)
    call = call_of(done.output)
    assert (call.name, call.arguments) == ("get_weather", '{"city":"Zürich"}')
    turn: Any = [*asked, *done.output, {"type": "function_call_output", "call_id": call.call_id, "output": "4 °C"}]
    after = client.responses.create(model="gpt-4o", input=turn, tools=TOOLS, store=False)
    assert after.output_text == "The tool returned: 4 °C. That is all I needed."


def test_a_tool_is_called_and_answered_with_what_the_provider_keeps(client: OpenAI) -> None:
    with client.responses.stream(model="gpt-4o", input=say(reasoning=6, **CALL), tools=TOOLS) as stream:
        pieces = [event.delta for event in stream if event.type == "response.function_call_arguments.delta"]
        done = stream.get_final_response()
    call = call_of(done.output)
    assert "".join(pieces) == call.arguments == '{"city":"Zürich"}'
    assert len(pieces) > 2, "arguments come in pieces"
    assert done.usage is not None
    assert done.usage.output_tokens_details.reasoning_tokens == 6
    output: Any = [{"type": "function_call_output", "call_id": call.call_id, "output": "4 °C"}]
    after = client.responses.create(model="gpt-4o", input=output, previous_response_id=done.id, tools=TOOLS)
    assert after.output_text == "The tool returned: 4 °C. That is all I needed."
    assert after.usage is not None
    assert after.usage.input_tokens > done.usage.input_tokens, "the history is billed again"


def test_what_is_not_kept_is_not_found(client: OpenAI) -> None:
    done = client.responses.create(model="gpt-4o", input="hi", store=False)
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model="gpt-4o", input="and?", previous_response_id=done.id)
    assert caught.value.code == "previous_response_not_found"


def test_custom_tools_and_shells(client: OpenAI) -> None:
    tools: Any = [{"type": "custom", "name": "apply_patch"}, {"type": "local_shell"}]
    calls = [{"name": "apply_patch", "arguments": "*** Begin"}, {"name": "local_shell", "arguments": {"command": ["ls", "-l"]}}]
    with client.responses.stream(model="gpt-4o", input=say(tool_calls=calls), tools=tools) as stream:
        done = stream.get_final_response()
    patch, shell = done.output
    assert (patch.type == "custom_tool_call" and patch.input) == "*** Begin"
    assert (shell.type == "local_shell_call" and shell.action.command) == ["ls", "-l"]


def test_a_structured_answer(client: OpenAI) -> None:
    said = say("Which invoice?", text='{"number": 7, "total": 12.5}')
    done = client.responses.parse(model="gpt-4o", input=said, text_format=Invoice)
    assert done.output_parsed == Invoice(number=7, total=12.5)
    with client.responses.stream(model="gpt-4o", input=said, text_format=Invoice) as stream:
        assert stream.get_final_response().output_parsed == Invoice(number=7, total=12.5)


def test_a_ceiling_is_kept_and_reported(client: OpenAI) -> None:
    done = client.responses.create(model="gpt-4o", input=say(tokens=50), max_output_tokens=20)
    assert (done.status, done.incomplete_details and done.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    with client.responses.create(model="gpt-4o", input=say(tokens=50), max_output_tokens=20, stream=True) as stream:
        assert list(stream)[-1].type == "response.incomplete"


def test_an_image_and_details_of_usage(client: OpenAI) -> None:
    image = {"type": "input_image", "detail": "low", "image_url": f"data:image/png;base64,{PIXEL}"}
    parts: Any = [{"role": "user", "content": [{"type": "input_text", "text": say(tokens=3, cached=40, reasoning=9)}, image]}]
    done = client.responses.create(model="gpt-4o", input=parts)
    assert done.usage is not None
    assert done.usage.input_tokens_details.cached_tokens == 40
    assert (done.usage.output_tokens, done.usage.output_tokens_details.reasoning_tokens) == (12, 9)


def test_errors_are_the_providers_own(client: OpenAI) -> None:
    with pytest.raises(openai.UnprocessableEntityError, match="not this way"):
        client.responses.create(model="gpt-4o", input=say(status=422, message="not this way"))
    with client.responses.create(model="gpt-4o", input=say(tokens=9, error_after=4), stream=True) as stream:
        (*_, last) = stream
    assert last.type == "error"
    assert "had an error while processing" in last.message


def test_legacy_completions(client: OpenAI) -> None:
    done = client.completions.create(model="gpt-3.5-turbo-instruct", prompt=["What is 2 + 2?", "What is 3 + 3?"], n=2, max_tokens=40)
    assert [c.text for c in done.choices[::2]] == ["2 + 2 = 4.", "3 + 3 = 6."]
    assert done.usage is not None
    asked: Any = {"model": "gpt-3.5-turbo-instruct", "prompt": "What is 2 + 2?", "max_tokens": 40, "stream": True}
    with client.completions.create(**asked) as stream:
        chunks = list(stream)
    assert "".join(c.choices[0].text for c in chunks) == "2 + 2 = 4."
    assert all(c.usage is None for c in chunks), "nobody asked for usage"
    with client.completions.create(**asked, stream_options={"include_usage": True}) as stream:
        (*_, last) = stream
    assert last.usage is not None
    assert last.usage.completion_tokens == 5


CLERK: list[dict[str, Any]] = [
    {"model": "gpt-5.5", "input": "hi"},
    {"model": "gpt-4o-mini", "input": "hi", "tools": TOOLS},
    {"model": "gpt-4o-mini", "input": "hi", "tools": [{"type": "mcp", "server_label": "read_mail", "server_url": "https://example.com"}]},
    {"model": "gpt-4o-mini", "input": [{"type": "additional_tools", "role": "developer", "tools": TOOLS}]},
    {"model": "gpt-4o-mini", "input": "hi", "prompt": {"id": "pmpt_1"}},
]


@pytest.mark.parametrize("asked", CLERK)
@pytest.mark.parametrize("stream", [False, True])
def test_what_an_agent_may_not_do_never_reaches_the_provider(served: Fleet, asked: dict[str, Any], stream: bool) -> None:
    if served.proxy is None:
        return
    served.sim.reset()
    target = served.target("clerk")
    with (
        OpenAI(base_url=f"{target.url}/v1", api_key=target.key, timeout=30) as client,
        pytest.raises(openai.PermissionDeniedError) as caught,
    ):
        client.responses.create(**asked, stream=stream)
    assert caught.value.code in ("model_not_allowed", "tool_not_allowed")
    assert served.sim.calls() == []


def test_a_reply_in_the_background_is_refused(served: Fleet) -> None:
    if served.proxy is None:
        return
    served.sim.reset()
    target = served.target()
    with (
        OpenAI(base_url=f"{target.url}/v1", api_key=target.key, timeout=30) as client,
        pytest.raises(openai.BadRequestError, match="background"),
    ):
        client.responses.create(model="gpt-4o", input="hi", background=True)
    assert served.sim.calls() == []


def test_a_reply_that_goes_on_past_what_was_paid_for_is_cut_as_too_long(served: Fleet, client: OpenAI) -> None:
    if served.proxy is None:
        return
    with client.responses.stream(model="gpt-4o", input=say(tokens=2000, ignore_max=True), max_output_tokens=20) as stream:
        events = list(stream)
    last = events[-1]
    assert last.type == "response.incomplete"
    assert last.response.incomplete_details is not None
    assert last.response.incomplete_details.reason == "max_output_tokens"
    said = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert last.response.output_text.startswith(said)
    assert len(said.split()) < 200
    assert [event.sequence_number for event in events] == sorted({event.sequence_number for event in events})


def test_a_lost_stream_fails_the_response(served: Fleet, client: OpenAI) -> None:
    if served.proxy is None:
        return
    with client.responses.create(model="gpt-4o", input=say(tokens=40, cut_after=8), stream=True) as stream:
        (*_, last) = stream
    assert last.type == "response.failed"
    assert last.response.error is not None
    assert (last.response.error.code, last.response.status) == ("server_error", "failed")


EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
CODEC = ResponsesCodec()


def typed(raw: bytes) -> list[Any]:
    """The events of a stream, each valid by the SDK's own types, and accumulated as the SDK does."""
    found = [EVENT.validate_json(data_of(event)) for event in Splitter().feed(raw)]
    state: Any = ResponseStreamState(input_tools=omit, text_format=omit)
    for event in found:
        state.handle_event(event)
    return found


def test_the_simulators_events_are_of_the_sdks_types(served: Fleet) -> None:
    target = served.target()
    wish = say(text="one two", reasoning=4, **CALL)
    body = {"model": "gpt-4o", "input": wish, "tools": TOOLS, "stream": True, "reasoning": {"summary": "auto"}}
    got = post(f"{target.url}/v1/responses", body, {"authorization": f"Bearer {target.key}"})
    assert typed(got.body)[-1].type == "response.completed"


def test_what_we_say_ourselves_is_of_the_sdks_types() -> None:
    call = CODEC.decode(b'{"model":"gpt-4o","input":"hi","stream":true}', Memos())
    events = typed(CODEC.speak(call, "No.", "0199f0000000aaaaaaaa") or b"")
    assert (events[-1].type, events[-1].response.output_text) == ("response.completed", "No.")
    call.stream = False
    whole = Response.model_validate_json(CODEC.speak(call, "No.", "0199f0000000aaaaaaaa") or b"")
    assert whole == events[-1].response


@pytest.mark.parametrize("reason", [Reason.BUDGET_EXCEEDED, Reason.TOOL_CALL_BLOCKED, Reason.UPSTREAM_ERROR])
def test_wherever_we_cut_the_end_is_of_the_sdks_types(reason: Reason) -> None:
    with Simulator() as sim:
        wish = say(text="one two", reasoning=4, **CALL)
        whole = post(f"{sim.url}/v1/responses", {"model": "gpt-4o", "input": wish, "tools": TOOLS, "stream": True}, {}).body
    events = Splitter().feed(whole)
    for length in range(len(events)):
        meter = CODEC.meter(CODEC.decode(b'{"model":"m","input":"hi"}', Memos()))
        for raw in events[:length]:
            meter.event(raw)
        ending = meter.cut(Deny(reason, "No."))
        found = typed(b"".join(events[:length]) + ending)
        assert found[-1].type == ("response.incomplete" if reason is Reason.BUDGET_EXCEEDED else "response.failed")
        assert [event.sequence_number for event in found] == list(range(len(found)))
