"""Ollama's dialect of the simulated provider: framing, shapes, errors. The official SDK judges the rest in tests/sdk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from serving import Raw, Simulator, post
from simulating import get

HI = [{"role": "user", "content": "hi"}]
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"properties": {"path": {"type": "string"}}}}}


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with Simulator() as running:
        yield running


def ask(sim: Simulator, path: str, body: Any, **script: Any) -> Raw:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return post(f"{sim.url}{path}", data, {"x-sim-script": json.dumps(script)} if script else {})


def chat(**more: Any) -> dict[str, Any]:
    return {"model": "qwen3:8b", "messages": HI, **more}


def lines(reply: Raw) -> list[dict[str, Any]]:
    assert reply.headers["content-type"] == "application/x-ndjson"
    assert reply.body.endswith(b"\n")
    return [json.loads(line) for line in reply.body.splitlines()]


def test_the_order_of_a_stream(sim: Simulator) -> None:
    calls = [{"name": "f", "arguments": {"a": 1}}, {"name": "g", "arguments": "{broken"}]
    found = lines(ask(sim, "/api/chat", chat(), text="one two", reasoning=2, tool_calls=calls))
    assert [(line["message"].get("thinking"), line["message"]["content"]) for line in found] == [
        ("hm ", ""),
        ("hm ", ""),
        (None, "one"),
        (None, " two"),
        (None, ""),
        (None, ""),
        (None, ""),
    ]
    assert [line["message"]["tool_calls"][0]["function"] for line in found[4:6]] == [
        {"index": 0, "name": "f", "arguments": {"a": 1}},
        {"index": 1, "name": "g", "arguments": {}},
    ]
    assert [line["done"] for line in found] == [False] * 6 + [True]
    assert len({line["created_at"] for line in found}) == 7
    assert list(found[-1]) == [
        "model",
        "created_at",
        "message",
        "done",
        "done_reason",
        "total_duration",
        "load_duration",
        "prompt_eval_count",
        "prompt_eval_duration",
        "eval_count",
        "eval_duration",
    ]


def test_a_whole_reply_says_the_same(sim: Simulator) -> None:
    script: dict[str, Any] = {"text": "one two", "reasoning": 2, "tool_calls": [{"name": "f", "arguments": {"a": 1}}]}
    reply = ask(sim, "/api/chat", chat(stream=False), **script)
    assert reply.headers["content-type"] == "application/json; charset=utf-8"
    whole, streamed = json.loads(reply.body), lines(ask(sim, "/api/chat", chat(), **script))
    assert whole["message"]["content"] == "".join(line["message"]["content"] for line in streamed)
    assert whole["message"]["thinking"] == "".join(line["message"].get("thinking", "") for line in streamed).strip()
    assert whole["message"]["tool_calls"] == streamed[-2]["message"]["tool_calls"]
    assert {k: whole[k] for k in whole if "count" in k} == {k: streamed[-1][k] for k in streamed[-1] if "count" in k}
    assert ask(sim, "/api/chat", chat(stream=False), **script).body == reply.body, "the same request gives the same bytes"


def test_generate_streams_and_answers(sim: Simulator) -> None:
    body = {"model": "m", "prompt": "What is 1 + 1?", "system": "Be brief.", "images": ["AAAA"]}
    found = lines(ask(sim, "/api/generate", body, reasoning=1, text="two."))
    assert [(line["response"], line.get("thinking")) for line in found] == [("", "hm "), ("two.", None), ("", None)]
    whole = json.loads(ask(sim, "/api/generate", {**body, "stream": False}, reasoning=1, text="two.").body)
    assert (whole["response"], whole["thinking"], whole["context"]) == ("two.", "hm", found[-1]["context"])
    longer = json.loads(ask(sim, "/api/generate", {**body, "stream": False, "context": [1] * 50}).body)
    assert longer["prompt_eval_count"] == whole["prompt_eval_count"] + 50


def test_usage_as_a_script_wants_it(sim: Simulator) -> None:
    def counts(**script: Any) -> dict[str, Any]:
        found = lines(ask(sim, "/api/chat", chat(), tokens=3, **script))[-1]
        return {key: found.get(key) for key in ("prompt_eval_count", "eval_count", "done_reason")}

    plain = counts()
    assert plain["eval_count"] == 3
    assert counts(cached=2)["prompt_eval_count"] == plain["prompt_eval_count"] - 2
    assert counts(cached=900) == {"prompt_eval_count": None, "eval_count": 3, "done_reason": "stop"}
    assert counts(usage=False) == {"prompt_eval_count": None, "eval_count": None, "done_reason": "stop"}
    assert counts(usage={"eval_count": -5}, finish_reason="odd") == {**plain, "eval_count": -5, "done_reason": "odd"}


def test_tools_are_called_by_name_and_answered(sim: Simulator) -> None:
    asked = [{"role": "user", "content": "please look"}]
    found = json.loads(ask(sim, "/api/chat", chat(messages=asked, tools=[TOOL, "odd", {"function": 5}], stream=False)).body)
    assert [call["function"]["name"] for call in found["message"]["tool_calls"]] == ["look"]
    turn = [*asked, found["message"], {"role": "tool", "tool_name": "look", "content": "a door", "images": ["A"]}]
    after = json.loads(ask(sim, "/api/chat", chat(messages=turn, tools=[TOOL], stream=False)).body)
    assert after["message"]["content"] == "The tool returned: a door. That is all I needed."
    assert after["prompt_eval_count"] > found["prompt_eval_count"] + 85


@pytest.mark.parametrize(("ceiling", "tokens"), [(2, 2), (2.9, 2), (0, 9), (-1, 9), (-2, 9), (None, 9)])
def test_ceilings(sim: Simulator, ceiling: Any, tokens: int) -> None:
    last = lines(ask(sim, "/api/chat", chat(options={"num_predict": ceiling}), tokens=9))[-1]
    assert (last["eval_count"], last["done_reason"]) == (tokens, "length" if tokens < 9 else "stop")


def test_stops(sim: Simulator) -> None:
    for stop in ("=", ["=", 5]):
        body = chat(messages=[{"role": "user", "content": "1 + 1"}], options={"stop": stop}, stream=False)
        assert json.loads(ask(sim, "/api/chat", body).body)["message"]["content"] == "1 + 1 "


@pytest.mark.parametrize(("alive", "reason"), [(None, "load"), (300, "load"), (0, "unload"), ("0s", "unload")])
def test_nothing_to_say_loads_or_unloads(sim: Simulator, alive: Any, reason: str) -> None:
    for path, body in (("/api/chat", {"messages": []}), ("/api/chat", {}), ("/api/generate", {"prompt": ""})):
        reply = ask(sim, path, {"model": "m", "keep_alive": alive, **body})
        assert json.loads(reply.body)["done_reason"] == reason
        assert reply.headers["content-type"] == "application/json; charset=utf-8"


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/api/chat", {"messages": HI}, 400, "model is required"),
        ("/api/chat", {"model": "m", "messages": ["x"]}, 400, "cannot unmarshal"),
        ("/api/chat", {"model": "m", "messages": [{"role": 5}]}, 400, "cannot unmarshal"),
        ("/api/chat", {"model": "m", "messages": HI, "options": {"num_predict": "9"}}, 400, "must be of type integer"),
        ("/api/chat", {"model": "m", "messages": HI, "options": {"num_predict": True}}, 400, "must be of type integer"),
        ("/api/chat", {"model": "m", "messages": 5}, 400, "wrong type"),
        ("/api/chat", b"no json", 400, "could not parse"),
        ("/api/generate", {"model": "m", "prompt": 5}, 400, "cannot unmarshal"),
        ("/api/embed", {"model": "m", "input": [5]}, 400, "invalid input"),
        ("/api/embed", {"model": "m", "input": "x", "dimensions": 9999}, 400, "invalid dimensions"),
        ("/api/embeddings", {"model": "m", "prompt": 5}, 400, "invalid input"),
        ("/api/show", {"model": "gone"}, 404, "model 'gone' not found"),
        ("/api/pull", {"model": "m"}, 404, "Invalid URL"),
    ],
)
def test_errors_are_one_sentence(sim: Simulator, path: str, body: Any, status: int, words: str) -> None:
    reply = ask(sim, path, body)
    assert reply.status == status
    found = json.loads(reply.body)
    assert list(found) == ["error"]
    assert words in found["error"]


def test_scripted_errors(sim: Simulator) -> None:
    assert json.loads(ask(sim, "/api/chat", chat(), status=503).body)["error"].startswith("server busy")
    assert json.loads(ask(sim, "/api/chat", chat(), status=599).body) == {"error": "internal server error"}
    assert json.loads(ask(sim, "/api/chat", chat(), status=418).body) == {"error": "invalid request"}
    found = lines(ask(sim, "/api/chat", chat(), tokens=5, error_after=1))
    assert list(found[-1]) == ["error"]
    assert len(found) == 2


def test_members_and_lines_nobody_knows(sim: Simulator) -> None:
    found = lines(ask(sim, "/api/chat", chat(), text="a b", extra_event=True, extra_field={"new": 1}))
    assert [line.get("status") for line in found] == [None, "sim.unknown", None, None]
    assert all(line["new"] == 1 for line in found if "model" in line)
    assert lines(ask(sim, "/api/chat", chat(), text="a", extra_event={"x": 1}))[1] == {"x": 1}
    assert json.loads(ask(sim, "/api/chat", chat(stream=False), extra_field={"new": 1}).body)["new"] == 1


def test_the_smaller_operations(sim: Simulator) -> None:
    one = json.loads(ask(sim, "/api/embed", {"model": "m", "input": "one two"}).body)
    both = json.loads(ask(sim, "/api/embed", {"model": "m", "input": ["one two", "x"], "dimensions": 4}).body)
    assert (one["prompt_eval_count"], len(one["embeddings"][0]), [len(e) for e in both["embeddings"]]) == (2, 768, [4, 4])
    assert "prompt_eval_count" not in json.loads(ask(sim, "/api/embed", {"model": "m", "input": "x"}, usage=False).body)
    assert json.loads(ask(sim, "/api/embed", {"model": "m"}, usage={"prompt_eval_count": 7}).body)["prompt_eval_count"] == 7
    assert json.loads(ask(sim, "/api/embeddings", {"model": "m", "prompt": "one two"}).body)["embedding"] == one["embeddings"][0]
    names = [model["model"] for model in json.loads(get(f"{sim.url}/api/tags")[1])["models"]]
    assert "qwen3:8b" in names
    for body in ({"model": "llama3.2"}, {"name": "llama3.2:latest"}):
        assert json.loads(ask(sim, "/api/show", body).body)["capabilities"] == ["completion", "tools", "thinking"]
    assert json.loads(ask(sim, "/api/show", {"model": "nomic-embed-text"}).body)["capabilities"] == ["embedding"]
    assert json.loads(get(f"{sim.url}/api/version")[1])["version"]
