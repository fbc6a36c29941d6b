"""The official `ollama` SDK against the simulator and through Fleetgate: it cannot tell the difference, except for refusals."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from typing import Any

import pytest
from ollama import AsyncClient, Client, ResponseError
from sdk_cases import MODES, PIXEL, WEATHER, Fleet, fleet, say
from serving import PROVIDER_KEY, Proxy, Simulator, digest, post

TOOLS: Any = [{"type": "function", "function": {"name": "get_weather", "description": "Weather", "parameters": WEATHER}}]
CALL: dict[str, Any] = {"tool_calls": [{"name": "get_weather", "arguments": {"city": "Zürich"}}]}
MODEL = "qwen3:8b"
AGENTS = """---
agents:
  - name: clerk
    description: May do little
    policy:
      models: {allow: ["qwen*"], deny: [qwen3-vl, "qwen4:latest"], default: "qwen3:8b"}
      tools: {allow: ["read_*"]}
      budgets: {request: {max_output_tokens: 12}}
---
Agents of the Ollama tests.
"""


@pytest.fixture(scope="module", params=MODES)
def served(request: pytest.FixtureRequest) -> Iterator[Fleet]:
    with fleet(request.param) as found:
        yield found


@pytest.fixture
def client(served: Fleet) -> Iterator[Client]:
    target = served.target()
    served.sim.reset()
    with Client(host=target.url, headers={"authorization": f"Bearer {target.key}"}, timeout=30) as client:
        yield client


def user(text: str = "", /, **wishes: Any) -> Any:
    return [{"role": "user", "content": say(text, **wishes)}]


def test_a_chat_and_its_stream_say_the_same(client: Client) -> None:
    done = client.chat(MODEL, user("What is 17 + 4?"))
    assert done.message.content == "17 + 4 = 21."
    assert (done.model, done.done, done.done_reason, done.eval_count) == (MODEL, True, "stop", 5)
    parts = list(client.chat(MODEL, user("What is 17 + 4?"), stream=True))
    assert "".join(part.message.content or "" for part in parts) == "17 + 4 = 21."
    assert [part.done for part in parts] == [False] * 5 + [True]
    assert (parts[-1].prompt_eval_count, parts[-1].eval_count) == (done.prompt_eval_count, 5)


def test_async_both_ways(served: Fleet) -> None:
    async def main() -> None:
        target = served.target()
        async with AsyncClient(host=target.url, headers={"authorization": f"Bearer {target.key}"}, timeout=30) as client:
            done = await client.chat(MODEL, user(tokens=7))
            text = "".join([part.message.content or "" async for part in await client.chat(MODEL, user(tokens=7), stream=True)])
            assert text == done.message.content
            assert len(text.split()) == 7

    asyncio.run(main())


def test_a_tool_is_called_and_answered(client: Client) -> None:
    asked = user(**CALL)
    done = client.chat(MODEL, asked, tools=TOOLS)
    (call,) = done.message.tool_calls or []
    assert (call.function.name, call.function.arguments) == ("get_weather", {"city": "Zürich"})
    streamed = [c for part in client.chat(MODEL, asked, tools=TOOLS, stream=True) for c in part.message.tool_calls or []]
    assert [c.function.arguments for c in streamed] == [{"city": "Zürich"}]
    turn = [*asked, done.message, {"role": "tool", "tool_name": "get_weather", "content": "4 °C"}]
    assert client.chat(MODEL, turn, tools=TOOLS).message.content == "The tool returned: 4 °C. That is all I needed."


def test_generate_both_ways(client: Client) -> None:
    done = client.generate(MODEL, "What is 2 * 3?", system="Be brief.", images=[base64.b64decode(PIXEL)])
    assert (done.response, done.done_reason) == ("2 * 3 = 6.", "stop")
    assert done.prompt_eval_count is not None
    assert done.prompt_eval_count > 85
    parts = list(client.generate(MODEL, "What is 2 * 3?", stream=True, context=done.context))
    assert "".join(part.response or "" for part in parts) == "2 * 3 = 6."
    assert parts[-1].done


def test_thinking_comes_along(client: Client) -> None:
    done = client.chat(MODEL, user("What is 1 + 1?", reasoning=3), think=True)
    assert (done.message.thinking, done.message.content, done.eval_count) == ("hm hm hm", "1 + 1 = 2.", 8)
    parts = list(client.generate(MODEL, say("What is 1 + 1?", reasoning=3), think=True, stream=True))
    assert "".join(part.thinking or "" for part in parts).split() == ["hm"] * 3


def test_a_ceiling_is_kept_and_reported(client: Client) -> None:
    done = client.chat(MODEL, user(tokens=50), options={"num_predict": 5})
    assert (done.done_reason, done.eval_count) == ("length", 5)
    assert client.chat(MODEL, user(tokens=20), options={"num_predict": -1}).eval_count == 20


def test_an_image_and_a_schema_are_accepted(client: Client) -> None:
    message = {"role": "user", "content": "What is 1 + 1?", "images": [base64.b64decode(PIXEL)]}
    done = client.chat(MODEL, [message], format={"type": "object"}, keep_alive="1m")
    assert done.message.content == "1 + 1 = 2."
    assert done.prompt_eval_count is not None
    assert done.prompt_eval_count > 85


def test_loading_a_model_says_nothing(client: Client) -> None:
    assert client.generate(MODEL, keep_alive=0).done_reason == "unload"
    assert client.chat(MODEL, []).done_reason == "load"
    assert [part.done_reason for part in client.generate(MODEL, stream=True)] == ["load"]


def test_the_smaller_routes(client: Client) -> None:
    done = client.embed(MODEL, ["one two", "three"])
    assert (len(done.embeddings), done.prompt_eval_count) == (2, 3)
    assert len(client.embeddings(MODEL, "one two").embedding) == len(done.embeddings[0])
    assert MODEL in [model.model for model in client.list().models]
    assert "completion" in (client.show(MODEL).capabilities or [])


def test_errors_are_the_servers_own(client: Client) -> None:
    with pytest.raises(ResponseError, match="out of memory") as e:
        client.chat(MODEL, user(status=500, message="out of memory"))
    assert e.value.status_code == 500
    with pytest.raises(ResponseError, match="runner died"):
        list(client.chat(MODEL, user(tokens=9, error_after=2, message="runner died"), stream=True))


# --- refusals ------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded() -> Iterator[Fleet]:
    with Simulator() as sim, Proxy(sim, agents=AGENTS, keys=("clerk",)) as proxy:
        yield Fleet(sim, proxy)


@pytest.fixture
def clerk(guarded: Fleet) -> Iterator[Client]:
    guarded.sim.reset()
    target = guarded.target("clerk")
    with Client(host=target.url, headers={"authorization": f"Bearer {target.key}"}, timeout=30) as client:
        yield client


@pytest.mark.parametrize(
    "model",
    [
        "llama3.2",
        "qwen3-vl",
        "qwen3-vl:latest",
        "QWEN3-VL:Latest",
        "qwen3-vl:local",
        "library/qwen3-vl",
        "registry.ollama.ai/library/qwen3-vl",
        "https://registry.ollama.ai/library/qwen3-vl:latest",
        "qwen4",
        "qwen4:latest",
        "local/qwen3",
    ],
)
def test_no_spelling_of_a_denied_model_passes(guarded: Fleet, clerk: Client, model: str) -> None:
    for ask in (
        lambda: clerk.chat(model, user("hi")),
        lambda: list(clerk.generate(model, "hi", stream=True)),
        lambda: clerk.generate(model),
        lambda: clerk.show(model),
        lambda: clerk.embed(model, "hi"),
    ):
        with pytest.raises(ResponseError) as e:
            ask()
        assert e.value.status_code in (400, 403)
    assert guarded.sim.calls() == []


@pytest.mark.parametrize("model", ["qwen3-vl:latest", "library/qwen3-vl", "qwen3-vl:local"])
def test_nor_does_it_in_another_protocol(guarded: Fleet, model: str) -> None:
    guarded.sim.reset()
    target = guarded.target("clerk")
    body = {"model": model, "messages": user("hi")}
    refused = post(f"{target.url}/v1/chat/completions", body, {"authorization": f"Bearer {target.key}"})
    assert (refused.status, b"model_not_allowed" in refused.body) == (403, True)
    assert guarded.sim.calls() == []


def test_a_refusal_is_a_plain_sentence(guarded: Fleet, clerk: Client) -> None:
    with pytest.raises(ResponseError, match="may not use model llama3") as e:
        clerk.chat("llama3", user("hi"))
    assert (e.value.status_code, e.value.error.startswith("Agent clerk")) == (403, True)
    with pytest.raises(ResponseError, match="may not offer tool get_weather"):
        clerk.chat(MODEL, user("hi"), tools=TOOLS)
    assert guarded.sim.calls() == []


def test_the_tag_latest_goes_up_as_it_came(guarded: Fleet, clerk: Client) -> None:
    assert clerk.chat("qwen5:latest", user("What is 1 + 1?"), options={"num_predict": 9}).message.content == "1 + 1 = 2."
    assert guarded.sim.calls()[0]["body"]["model"] == "qwen5:latest"
    assert guarded.proxy is not None
    assert guarded.proxy.records(1)[-1]["model_asked"] == "qwen5"


def test_auto_is_the_agents_model(guarded: Fleet, clerk: Client) -> None:
    assert clerk.chat("auto", user("What is 1 + 1?"), options={"num_predict": 9}).message.content == "1 + 1 = 2."
    assert guarded.sim.calls()[0]["body"]["model"] == MODEL


def test_the_list_shows_what_may_be_used(clerk: Client) -> None:
    assert [model.model for model in clerk.list().models] == [MODEL]


@pytest.mark.parametrize("options", [None, {"num_predict": -1}, {"num_predict": 0, "num_ctx": 64}, {"num_predict": 500}])
def test_a_ceiling_is_set_where_there_is_none_or_a_higher_one(guarded: Fleet, clerk: Client, options: Any) -> None:
    parts = list(clerk.chat(MODEL, user(tokens=40), options=options, stream=True))
    assert (parts[-1].done_reason, parts[-1].eval_count) == ("length", 12)
    sent = guarded.sim.calls()[0]
    assert sent["body"]["options"] == {**(options or {}), "num_predict": 12}
    assert sent["keys"] == {"authorization": digest(PROVIDER_KEY)}


def test_a_model_that_says_more_than_was_paid_for_is_cut(guarded: Fleet, clerk: Client) -> None:
    parts = list(clerk.chat(MODEL, user(tokens=400, ignore_max=True, chunk_ms=1), stream=True))
    assert (parts[-1].done, parts[-1].done_reason) == (True, "length")
    assert guarded.sim.calls()[0]["output_tokens"] < 400


def test_a_stream_that_breaks_off_ends_with_an_error(clerk: Client) -> None:
    with pytest.raises(ResponseError, match="broke off"):
        list(clerk.generate(MODEL, say(tokens=9, cut_after=3), stream=True))


def test_what_it_cost_is_what_the_server_reported(guarded: Fleet, clerk: Client) -> None:
    assert guarded.proxy is not None
    before = len(guarded.proxy.ledger())
    done = clerk.chat(MODEL, user(tokens=8))
    parts = list(clerk.generate(MODEL, say(tokens=6), stream=True))
    clerk.generate(MODEL)
    clerk.show(MODEL)
    found = guarded.proxy.records(before + 4)[before:]
    assert [(r["protocol"], r["input_tokens"], r["output_tokens"], r["usage_exact"], r["outcome"]) for r in found] == [
        ("ollama", done.prompt_eval_count, 8, True, "ok"),
        ("ollama", parts[-1].prompt_eval_count, 6, True, "ok"),
        ("ollama", 0, 0, True, "ok"),
        ("ollama", 0, 0, True, "ok"),
    ]


def test_a_cached_prompt_that_is_not_counted_is_bounded(guarded: Fleet, clerk: Client) -> None:
    assert guarded.proxy is not None
    before = len(guarded.proxy.ledger())
    assert clerk.chat(MODEL, user(tokens=8, cached=900)).prompt_eval_count is None
    record = guarded.proxy.records(before + 1)[-1]
    assert record["input_tokens"] > 20
    assert (record["output_tokens"] >= 8, record["usage_exact"]) == (True, False)


@pytest.mark.parametrize("path", ["pull", "push", "create", "copy", "delete", "ps", "blobs/sha256:0", "chat/"])
def test_what_changes_the_server_is_refused(guarded: Fleet, path: str) -> None:
    guarded.sim.reset()
    target = guarded.target("clerk")
    refused = post(f"{target.url}/api/{path}", {"model": MODEL}, {"authorization": f"Bearer {target.key}"})
    assert refused.status == 404
    assert b"unmetered_route" in refused.body
    assert guarded.sim.calls() == []
