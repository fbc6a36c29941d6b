"""The official SDKs before a provider of another protocol: `google-genai`, `ollama`, `openai` (Responses), and `openai` (chat) by Gemini,
Ollama and Responses. Text, a round trip with two tools at once, the same as a stream, and usage: each pair must agree with itself.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from google import genai
from google.genai import errors, types
from ollama import Client, ResponseError
from openai import OpenAI
from sdk_cases import AGENTS, PIXEL, WEATHER, Fleet, say
from serving import Proxy, Simulator, post

CALLS: dict[str, Any] = {
    "text": "Let me look.",
    "tool_calls": [
        {"name": "get_weather", "arguments": {"city": "Zürich"}},
        {"name": "get_weather", "arguments": {"city": "Bern"}},
    ],
}
CITIES = [{"city": "Zürich"}, {"city": "Bern"}]
FUNCTION: Any = {"type": "function", "function": {"name": "get_weather", "description": "Weather", "parameters": WEATHER}}
RESPONSES_TOOL: Any = {"type": "function", "name": "get_weather", "description": "Weather", "parameters": WEATHER, "strict": False}
GEMINI_TOOL = types.Tool(
    function_declarations=[types.FunctionDeclaration(name="get_weather", description="Weather", parameters_json_schema=WEATHER)]
)
LOCAL, CLAUDE, GEMINI, OLLAMA = "near", "claude-haiku-4-5", "gemini-2.5-flash", "qwen3"
RESPONDING = "answers"
SETTINGS: dict[str, Any] = {
    "providers": {"local": {"operations": ["chat"]}, "answers": {"protocols": ["openai"], "operations": ["responses"]}},
    "models": {
        RESPONDING: {"provider": "answers", "upstream_model": "gpt-5", "price": {"input": 1, "output": 1}},
        LOCAL: {"provider": "local", "upstream_model": "qwen3:8b"},
    },
}


@pytest.fixture(scope="module")
def served() -> Iterator[Fleet]:
    with Simulator() as sim:
        SETTINGS["providers"]["answers"]["base_url"] = f"{sim.url}/v1"
        with Proxy(sim, agents=AGENTS, settings=SETTINGS) as proxy:
            yield Fleet(sim, proxy)


@pytest.fixture
def gpt(served: Fleet) -> Iterator[OpenAI]:
    target = served.target()
    served.sim.reset()
    with OpenAI(base_url=f"{target.url}/v1", api_key=target.key, timeout=30, max_retries=0) as client:
        yield client


@pytest.fixture
def google(served: Fleet) -> Iterator[genai.Client]:
    target = served.target()
    served.sim.reset()
    with genai.Client(api_key=target.key, http_options=types.HttpOptions(base_url=target.url, timeout=30_000)) as client:
        yield client


@pytest.fixture
def llama(served: Fleet) -> Iterator[Client]:
    target = served.target()
    served.sim.reset()
    with Client(host=target.url, headers={"authorization": f"Bearer {target.key}"}, timeout=30) as client:
        yield client


def sent(served: Fleet) -> dict[str, Any]:
    """The body that the provider got last."""
    found: dict[str, Any] = served.sim.calls()[-1]["body"]
    return found


def heard(served: Fleet) -> int:
    """How many outputs of the tools the provider got."""
    return json.dumps(sent(served), ensure_ascii=False).count("4 °C")


def user(text: str = "Hello", /, **wishes: Any) -> Any:
    return [{"role": "user", "content": say(text, **wishes)}]


# --- google-genai ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [LOCAL, CLAUDE, OLLAMA])
def test_google_says_the_same_whole_and_streamed(google: genai.Client, model: str) -> None:
    config = types.GenerateContentConfig(system_instruction="Be brief.", max_output_tokens=50, temperature=0.5)
    done = google.models.generate_content(model=model, contents="What is 17 + 4?", config=config)
    assert done.text == "17 + 4 = 21."
    assert done.candidates
    assert done.candidates[0].finish_reason == types.FinishReason.STOP
    chunks = list(google.models.generate_content_stream(model=model, contents="What is 17 + 4?", config=config))
    assert "".join(chunk.text or "" for chunk in chunks) == done.text
    assert len(chunks) > 3
    for usage in (done.usage_metadata, chunks[-1].usage_metadata):
        assert usage is not None
        assert usage.candidates_token_count == 5
        assert usage.total_token_count == (usage.prompt_token_count or 0) + 5
    reasons = [chunk.candidates[0].finish_reason for chunk in chunks if chunk.candidates]
    assert [reason for reason in reasons if reason] == [types.FinishReason.STOP]


@pytest.mark.parametrize("model", [LOCAL, CLAUDE, OLLAMA])
def test_google_calls_tools_at_once_and_answers_them(served: Fleet, google: genai.Client, model: str) -> None:
    config = types.GenerateContentConfig(
        tools=[GEMINI_TOOL], automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True), max_output_tokens=200
    )
    asked = types.Content(role="user", parts=[types.Part(text=say("Weather?", **CALLS))])
    done = google.models.generate_content(model=model, contents=[asked], config=config)
    assert [call.args for call in done.function_calls or ()] == CITIES
    chunks = list(google.models.generate_content_stream(model=model, contents=[asked], config=config))
    parts = [part for chunk in chunks for part in ((chunk.candidates or [])[0].content.parts or ())]  # type: ignore[union-attr]
    assert [part.function_call.args for part in parts if part.function_call] == CITIES
    assert "".join(part.text or "" for part in parts) == "Let me look."
    said = (done.candidates or [])[0].content
    assert said is not None
    outputs = [
        types.Part(function_response=types.FunctionResponse(id=call.id, name=call.name, response={"output": "4 °C"}))
        for call in done.function_calls or ()
    ]
    after = google.models.generate_content(model=model, contents=[asked, said, types.Content(role="user", parts=outputs)], config=config)
    assert after.text == "Let me look."
    assert heard(served) == 2


def test_google_asks_for_an_array_when_it_wants_one(served: Fleet) -> None:
    target = served.target()
    body = {"contents": [{"parts": [{"text": say("Hi", text="Grüezi zusammen")}]}]}
    path = f"{target.url}/v1beta/models/{CLAUDE}:streamGenerateContent"
    raw = post(path, body, {"x-goog-api-key": target.key})
    assert raw.headers["content-type"] == "application/json"
    texts = [part["text"] for chunk in json.loads(raw.body) for part in chunk["candidates"][0]["content"]["parts"]]
    assert "".join(texts) == "Grüezi zusammen"


def test_google_sends_an_image_and_wants_json(served: Fleet, google: genai.Client) -> None:
    parts = [types.Part(text="What is 1 + 1?"), types.Part.from_bytes(data=base64.b64decode(PIXEL), mime_type="image/png")]
    config = types.GenerateContentConfig(response_mime_type="application/json", response_schema=types.Schema(type=types.Type.OBJECT))
    google.models.generate_content(model=LOCAL, contents=[types.Content(role="user", parts=parts)], config=config)
    body = sent(served)
    assert body["messages"][0]["content"][1] == {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}


def test_google_is_refused_before_anybody_is_asked(served: Fleet, google: genai.Client) -> None:
    config = types.GenerateContentConfig(tools=[types.Tool(google_search=types.GoogleSearch())])
    with pytest.raises(errors.ClientError, match="a googleSearch tool"):
        google.models.generate_content(model=LOCAL, contents="Hi", config=config)
    assert served.sim.calls() == []


# --- ollama ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [LOCAL, CLAUDE, GEMINI])
def test_ollama_says_the_same_whole_and_streamed(llama: Client, model: str) -> None:
    done = llama.chat(model, user("What is 17 + 4?"), options={"num_predict": 50, "temperature": 0})
    assert (done.message.content, done.done, done.done_reason, done.eval_count) == ("17 + 4 = 21.", True, "stop", 5)
    parts = list(llama.chat(model, user("What is 17 + 4?"), stream=True))
    assert "".join(part.message.content or "" for part in parts) == "17 + 4 = 21."
    assert [part.done for part in parts[:-1]] == [False] * (len(parts) - 1)
    assert (parts[-1].done, parts[-1].eval_count) == (True, 5)
    assert len(parts) > 3


@pytest.mark.parametrize("model", [LOCAL, CLAUDE, GEMINI])
@pytest.mark.parametrize("stream", [False, True])
def test_ollama_calls_tools_at_once_and_answers_them(served: Fleet, llama: Client, model: str, stream: bool) -> None:
    asked = user("Weather?", **CALLS)
    ask: Any = llama.chat
    done = ask(model, asked, tools=[FUNCTION], stream=stream)
    replies = list(done) if stream else [done]
    calls = [call for reply in replies for call in reply.message.tool_calls or ()]
    assert [call.function.arguments for call in calls] == CITIES
    text = "".join(reply.message.content or "" for reply in replies)
    turn = {"role": "assistant", "content": text, "tool_calls": [call.model_dump() for call in calls]}
    outputs = [{"role": "tool", "tool_name": "get_weather", "content": "4 °C"} for _ in calls]
    after = llama.chat(model, [*asked, turn, *outputs], tools=[FUNCTION])
    assert after.message.content == "Let me look."
    assert heard(served) == 2


def test_ollama_sends_an_image_and_thinks(served: Fleet, llama: Client) -> None:
    message = {"role": "user", "content": say("Look", reasoning=3, text="Seen."), "images": [PIXEL]}
    done = llama.chat(LOCAL, [message], think=False)
    assert done.message.content == "Seen."
    assert sent(served)["messages"][0]["content"][1]["image_url"]["url"] == f"data:image/png;base64,{PIXEL}"


def test_ollama_is_refused_and_told_of_errors(served: Fleet, llama: Client) -> None:
    with pytest.raises(ResponseError, match="neither PNG, JPEG"):
        llama.chat(LOCAL, [{"role": "user", "content": "Hi", "images": ["AAAA"]}])
    assert served.sim.calls() == []
    with pytest.raises(ResponseError, match="its own words") as e:
        llama.chat(CLAUDE, user(status=400, message="its own words"))
    assert e.value.status_code == 400


# --- openai, Responses -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [LOCAL, CLAUDE, GEMINI, OLLAMA])
def test_responses_say_the_same_whole_and_streamed(gpt: OpenAI, model: str) -> None:
    done = gpt.responses.create(model=model, instructions="Be brief.", input="What is 17 + 4?", max_output_tokens=50)
    assert (done.output_text, done.status, done.id[:5]) == ("17 + 4 = 21.", "completed", "resp_")
    assert done.usage is not None
    assert (done.usage.output_tokens, done.usage.total_tokens) == (5, done.usage.input_tokens + 5)
    with gpt.responses.stream(model=model, instructions="Be brief.", input="What is 17 + 4?", max_output_tokens=50) as stream:
        events = list(stream)
        built = stream.get_final_response()
    assert built.output_text == done.output_text
    assert built.usage == done.usage
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == done.output_text
    assert [event.sequence_number for event in events] == list(range(len(events)))


@pytest.mark.parametrize("model", [LOCAL, CLAUDE, GEMINI, OLLAMA])
def test_responses_call_tools_at_once_and_answer_them(served: Fleet, gpt: OpenAI, model: str) -> None:
    asked: Any = user("Weather?", **CALLS)
    with gpt.responses.stream(model=model, input=asked, tools=[RESPONSES_TOOL]) as stream:
        list(stream)
        built = stream.get_final_response()
    done = gpt.responses.create(model=model, input=asked, tools=[RESPONSES_TOOL])
    for response in (done, built):
        assert [item.type for item in response.output] == ["message", "function_call", "function_call"]
        calls = [item for item in response.output if item.type == "function_call"]
        assert [json.loads(call.arguments) for call in calls] == CITIES
        assert len({call.call_id for call in calls}) == 2
    items: Any = [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in done.output]
    outputs: Any = [
        {"type": "function_call_output", "call_id": item.call_id, "output": "4 °C"} for item in done.output if item.type == "function_call"
    ]
    after = gpt.responses.create(model=model, input=[*asked, *items, *outputs], tools=[RESPONSES_TOOL])
    assert after.output_text == "Let me look."
    assert heard(served) == 2


def test_a_response_that_is_too_long_is_incomplete(gpt: OpenAI) -> None:
    done = gpt.responses.create(model=LOCAL, input=user(tokens=50), max_output_tokens=5)
    assert (done.status, done.incomplete_details and done.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    events = list(gpt.responses.create(model=LOCAL, input=user(tokens=50), max_output_tokens=5, stream=True))
    assert events[-1].type == "response.incomplete"
    assert events[-1].response.output_text == done.output_text


@pytest.mark.parametrize("model", [LOCAL, CLAUDE])
def test_responses_are_refused_before_anybody_is_asked(served: Fleet, gpt: OpenAI, model: str) -> None:
    tools: Any = [RESPONSES_TOOL, {"type": "web_search"}]
    with pytest.raises(openai.APIStatusError, match="a web_search tool"):
        gpt.responses.create(model=model, input="Hi", tools=tools)
    with pytest.raises(openai.APIStatusError, match="keeps"):
        gpt.responses.create(model=model, input="Hi", previous_response_id="resp_1")
    assert served.sim.calls() == []


# --- openai, chat ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [GEMINI, OLLAMA, RESPONDING])
def test_chat_says_the_same_whole_and_streamed(gpt: OpenAI, model: str) -> None:
    messages: Any = [{"role": "system", "content": "Be brief."}, *user("What is 17 + 4?")]
    done = gpt.chat.completions.create(model=model, messages=messages, max_tokens=50)
    assert (done.choices[0].message.content, done.choices[0].finish_reason) == ("17 + 4 = 21.", "stop")
    options: Any = {"include_usage": True}
    chunks = list(gpt.chat.completions.create(model=model, messages=messages, max_tokens=50, stream=True, stream_options=options))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "17 + 4 = 21."
    assert len(chunks) > 3
    for usage in (done.usage, chunks[-1].usage):
        assert usage is not None
        assert (usage.completion_tokens, usage.total_tokens) == (5, usage.prompt_tokens + 5)


@pytest.mark.parametrize("model", [GEMINI, "gemini-3-pro-preview", OLLAMA, RESPONDING])
def test_chat_calls_tools_at_once_and_answers_them(served: Fleet, gpt: OpenAI, model: str) -> None:
    asked = user("Weather?", **CALLS)
    with gpt.chat.completions.stream(model=model, messages=asked, tools=[FUNCTION]) as stream:
        built = stream.get_final_completion().choices[0]
    whole = gpt.chat.completions.create(model=model, messages=asked, tools=[FUNCTION]).choices[0]
    for choice in (built, whole):
        calls = choice.message.tool_calls or []
        assert [json.loads(call.function.arguments) for call in calls if call.type == "function"] == CITIES
        assert len({call.id for call in calls}) == 2
        assert (choice.message.content, choice.finish_reason) == ("Let me look.", "tool_calls")
    said: Any = whole.message.model_dump(exclude_none=True)
    outputs: Any = [{"role": "tool", "tool_call_id": call.id, "content": "4 °C"} for call in whole.message.tool_calls or ()]
    after = gpt.chat.completions.create(model=model, messages=[*asked, said, *outputs], tools=[FUNCTION])
    assert after.choices[0].message.content == "Let me look."
    assert heard(served) == 2
    if model.startswith("gemini"):
        parts = sent(served)["contents"][1]["parts"]
        assert [("thoughtSignature" in part) for part in parts] == [False, model == "gemini-3-pro-preview", False]


@pytest.mark.parametrize("model", [GEMINI, OLLAMA, RESPONDING])
def test_errors_of_the_provider_come_in_the_clients_shape(gpt: OpenAI, model: str) -> None:
    for stream in (False, True):
        with pytest.raises(openai.RateLimitError, match="its own words"):
            gpt.chat.completions.create(model=model, messages=user(status=429, message="its own words"), stream=stream)


@pytest.mark.parametrize("model", [GEMINI, OLLAMA, RESPONDING])
def test_a_stream_that_breaks_off_is_an_error(gpt: OpenAI, model: str) -> None:
    stream = gpt.chat.completions.create(model=model, messages=user(tokens=50, cut_after=6), stream=True)
    with pytest.raises(openai.APIError), stream:
        list(stream)


def test_what_was_used_is_charged(served: Fleet, gpt: OpenAI, google: genai.Client) -> None:
    assert served.proxy is not None
    gpt.responses.create(model=GEMINI, input=user(tokens=7, cached=5, reasoning=3))
    google.models.generate_content(model=LOCAL, contents=say(tokens=9))
    responses, gemini = served.proxy.records(2)[-2:]
    assert (responses["protocol"], responses["provider"], responses["output_tokens"]) == ("openai", "gemini", 10)
    assert (gemini["protocol"], gemini["provider"], gemini["output_tokens"]) == ("gemini", "local", 9)
