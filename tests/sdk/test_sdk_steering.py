"""A loop in the history of one request, sent with the official SDKs: the provider is asked with a note, another persona and no tools."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from google import genai
from google.genai import types
from ollama import Client
from sdk_cases import WEATHER, Fleet, fleet, say

STEPS = 7
TOOL = {"name": "get_weather", "description": "Weather", "parameters": WEATHER}


@pytest.fixture(scope="module")
def served() -> Iterator[Fleet]:
    with fleet("proxy") as found:
        yield found


def asked(served: Fleet) -> Any:
    (call,) = served.sim.calls()
    assert call["status"] == 200
    return call["body"]


@pytest.mark.parametrize("stream", [False, True])
def test_gemini(served: Fleet, stream: bool) -> None:
    served.sim.reset()
    target = served.target("guided")
    tool = types.Tool(function_declarations=[types.FunctionDeclaration(name="get_weather", parameters_json_schema=WEATHER)])
    history: list[types.Content] = [types.Content(role="user", parts=[types.Part(text=say("Go.", text="Enough."))])]
    for _ in range(STEPS):
        call = types.FunctionCall(name="get_weather", args={"city": "Bern"})
        output = types.FunctionResponse(name="get_weather", response={"output": "4"})
        history.append(types.Content(role="model", parts=[types.Part(function_call=call)]))
        history.append(types.Content(role="user", parts=[types.Part(function_response=output)]))
    config = types.GenerateContentConfig(tools=[tool], system_instruction="Be brief.")
    with genai.Client(api_key=target.key, http_options=types.HttpOptions(base_url=target.url)) as client:
        ask = client.models.generate_content_stream if stream else client.models.generate_content
        done: Any = ask(model="gemini-2.5-flash", contents=history, config=config)
        assert ("".join(chunk.text for chunk in done) if stream else done.text) == "Enough."
    body = asked(served)
    assert body["systemInstruction"] == {"parts": [{"text": "You debug."}]}
    assert body["toolConfig"] == {"functionCallingConfig": {"mode": "NONE"}}
    assert body["generationConfig"]["temperature"] == 0.2
    assert len(body["contents"]) == 2 * STEPS + 2
    (part,) = body["contents"][-1]["parts"]
    assert "get_weather, 7 times in a row" in part["text"]


@pytest.mark.parametrize("stream", [False, True])
def test_ollama(served: Fleet, stream: bool) -> None:
    served.sim.reset()
    target = served.target("guided")
    history: list[Any] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": say("Go.", text="Enough.")}]
    for _ in range(STEPS):
        call = {"function": {"name": "get_weather", "arguments": {"city": "Bern"}}}
        history += [
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_name": "get_weather", "content": "4"},
        ]
    with Client(host=target.url, headers={"authorization": f"Bearer {target.key}"}, timeout=30) as client:
        done: Any = client.chat("qwen3:8b", history, tools=[{"type": "function", "function": TOOL}], stream=stream)
        assert ("".join(line.message.content for line in done) if stream else done.message.content) == "Enough."
    body = asked(served)
    assert (body["tools"], body["options"]["temperature"]) == ([], 0.2)
    assert body["messages"][0] == {"role": "system", "content": "You debug."}
    assert body["messages"][1:-1] == history[1:]
    assert "get_weather, 7 times in a row" in body["messages"][-1]["content"]


@pytest.mark.parametrize(("steps", "model", "loop"), [(4, "gpt-4o", ""), (5, "gpt-4o-mini", ";action=downgrade")])
def test_a_cheaper_model_goes_on(served: Fleet, steps: int, model: str, loop: str) -> None:
    served.sim.reset()
    target = served.target("frugal")
    history: list[Any] = [{"role": "user", "content": say("Go.", text="Enough.")}]
    for i in range(steps):
        call = {"id": f"c{i}", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
        history += [{"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": f"c{i}", "content": "4"}]
    with openai.OpenAI(base_url=f"{target.url}/v1", api_key=target.key) as client:
        done = client.chat.completions.with_raw_response.create(model="gpt-4o", messages=history)
    assert done.headers["x-fleetgate-loop"] == f"nudge;rule=identical;count={steps}{loop}"
    assert done.headers["x-fleetgate-route"] == ("downgrade" if loop else "requested")
    assert done.headers["x-fleetgate-model"] == model == asked(served)["model"]
