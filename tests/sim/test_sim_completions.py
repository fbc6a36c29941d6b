"""OpenAI's legacy completions in the simulated provider."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from serving import Raw, Simulator, events, post

PATH = "/v1/completions"


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with Simulator() as sim:
        yield sim


def ask(sim: Simulator, prompt: Any = "What is 2 + 2?", script: dict[str, Any] | None = None, **more: Any) -> Raw:
    body = {"model": "gpt-3.5-turbo-instruct", "prompt": prompt, **more}
    return post(f"{sim.url}{PATH}", body, {"x-sim-script": json.dumps(script)} if script else {})


def answer(sim: Simulator, prompt: Any = "What is 2 + 2?", script: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    reply = ask(sim, prompt, script, **more)
    assert reply.status == 200, reply.body
    found: dict[str, Any] = json.loads(reply.body)
    return found


def test_the_fields_of_a_completion(sim: Simulator) -> None:
    reply = answer(sim)
    assert list(reply) == ["id", "object", "created", "model", "choices", "usage"]
    assert reply["choices"] == [{"text": "2 + 2 = 4.", "index": 0, "logprobs": None, "finish_reason": "stop"}]
    assert reply["usage"] == {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}
    assert ask(sim).body == ask(sim).body


def test_a_stream_says_the_same(sim: Simulator) -> None:
    body = ask(sim, stream=True, stream_options={"include_usage": True}).body
    assert body.endswith(b"data: [DONE]\n\n")
    chunks = list(events(body))
    assert "".join(c["choices"][0]["text"] for c in chunks[:-1]) == "2 + 2 = 4."
    assert [c["choices"][0]["finish_reason"] for c in chunks[:-1]] == [None] * 5 + ["stop"]
    assert (chunks[-1]["choices"], chunks[-1]["usage"]["completion_tokens"]) == ([], 5)
    assert all(c["usage"] is None for c in chunks[:-1])
    assert not any("usage" in c for c in events(ask(sim, stream=True).body))
    without = list(events(ask(sim, script={"usage": False}, stream=True, stream_options={"include_usage": True}).body))
    assert without[-1]["choices"][0]["finish_reason"] == "stop"


def test_many_prompts_and_answers(sim: Simulator) -> None:
    reply = answer(sim, ["1 + 1", "2 + 2"], n=2, best_of=3)
    assert [c["index"] for c in reply["choices"]] == [0, 1, 2, 3]
    assert [c["text"] for c in reply["choices"]][::2] == ["1 + 1 = 2.", "2 + 2 = 4."]
    shown = sum(len(c["text"].split()) for c in reply["choices"])
    assert reply["usage"]["completion_tokens"] > shown, "what best_of throws away is charged"
    chunks = list(events(ask(sim, ["1 + 1", "2 + 2"], stream=True).body))
    assert {c["choices"][0]["index"] for c in chunks} == {0, 1}


def test_token_ids_and_no_prompt(sim: Simulator) -> None:
    assert answer(sim, [1, 2, 3])["usage"]["prompt_tokens"] == 3
    assert len(answer(sim, [[1, 2], [3]])["choices"]) == 2
    assert answer(sim, None)["usage"]["prompt_tokens"] == 1
    assert answer(sim, [5, 6], echo=True)["choices"][0]["text"].startswith(" <5> <6>")


def test_echo_stop_and_ceiling(sim: Simulator) -> None:
    assert answer(sim, echo=True)["choices"][0]["text"] == "What is 2 + 2?2 + 2 = 4."
    echoed = list(events(ask(sim, echo=True, stream=True).body))
    assert "".join(c["choices"][0]["text"] for c in echoed) == "What is 2 + 2?2 + 2 = 4."
    for stop in ("=", ["=", 7]):
        assert answer(sim, stop=stop)["choices"][0]["text"] == "2 + 2 "
    long = answer(sim, "go", {"tokens": 90})
    assert (long["usage"]["completion_tokens"], long["choices"][0]["finish_reason"]) == (16, "length")
    assert answer(sim, "go", {"tokens": 90}, max_tokens=20)["usage"]["completion_tokens"] == 20


def test_what_a_script_can_ask_for(sim: Simulator) -> None:
    reply = answer(
        sim, "go", {"tokens": 3, "cached": 4, "reasoning": 2, "usage": {"x": 1}, "extra_field": {"y": 2}, "finish_reason": "odd"}
    )
    usage = reply["usage"]
    assert (usage["prompt_tokens_details"], usage["completion_tokens_details"]) == ({"cached_tokens": 4}, {"reasoning_tokens": 2})
    assert (usage["x"], reply["y"], reply["choices"][0]["finish_reason"]) == (1, 2, "odd")
    assert "usage" not in answer(sim, "go", {"usage": False})
    body = ask(sim, 'say [[sim: {"text": "a b", "extra_event": true}]]', stream=True).body
    assert body.count(b"event: sim.unknown") == 1


WRONG = [{"model": None}, {"prompt": {}}, {"prompt": []}, {"prompt": ["a", 1]}, {"stream": True, "best_of": 2}]


@pytest.mark.parametrize("wrong", WRONG)
def test_what_openai_would_refuse(sim: Simulator, wrong: dict[str, Any]) -> None:
    reply = post(f"{sim.url}{PATH}", {"model": "m", "prompt": "hi", **wrong})
    assert reply.status == 400
    assert json.loads(reply.body)["error"]["type"] == "invalid_request_error"
