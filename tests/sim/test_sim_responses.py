"""OpenAI Responses in the simulated provider: shapes, the order of a stream, what is kept, and what is refused."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import pytest
from serving import Raw, Simulator, events, post

from proxy.sim import openai_responses
from proxy.sim.reply import Given, Invalid

PATH = "/v1/responses"
FUNCTION = {"type": "function", "name": "look_up", "parameters": {"properties": {"what": {"type": "string"}}}, "strict": False}


@pytest.fixture(scope="module")
def running() -> Iterator[Simulator]:
    with Simulator() as sim:
        yield sim


@pytest.fixture
def sim(running: Simulator) -> Simulator:
    running.reset()
    return running


def ask(sim: Simulator, input: Any = "hi", script: dict[str, Any] | None = None, **more: Any) -> Raw:
    return post(f"{sim.url}{PATH}", {"model": "gpt-5.5", "input": input, **more}, {"x-sim-script": json.dumps(script)} if script else {})


def answer(sim: Simulator, input: Any = "hi", script: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    reply = ask(sim, input, script, **more)
    assert reply.status == 200, reply.body
    found: dict[str, Any] = json.loads(reply.body)
    return found


def names(raw: bytes) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events(raw)]


def test_the_fields_of_a_response(sim: Simulator) -> None:
    reply = answer(sim, instructions="Be brief.", metadata={"a": "b"}, max_output_tokens=50)
    assert (reply["object"], reply["status"], reply["model"], reply["error"]) == ("response", "completed", "gpt-5.5", None)
    assert (reply["instructions"], reply["metadata"], reply["max_output_tokens"]) == ("Be brief.", {"a": "b"}, 50)
    (message,) = reply["output"]
    assert (message["type"], message["role"], message["status"], message["content"][0]["type"]) == (
        "message",
        "assistant",
        "completed",
        "output_text",
    )
    usage = reply["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert set(usage) == {"input_tokens", "input_tokens_details", "output_tokens", "output_tokens_details", "total_tokens"}


def test_the_same_request_gives_the_same_bytes_and_the_stream_says_the_same(sim: Simulator) -> None:
    first, second = ask(sim), ask(sim)
    assert first.body == second.body
    found = list(events(ask(sim, stream=True).body))
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    assert found[-1]["response"] == json.loads(first.body)
    assert found[0]["response"]["output"] == []


def test_the_order_of_a_stream(sim: Simulator) -> None:
    script = {
        "text": "one two",
        "reasoning": 3,
        "tool_calls": [{"name": "look_up", "arguments": {"a": 1}}, {"name": "patch", "arguments": "x"}],
    }
    tools = [FUNCTION, {"type": "custom", "name": "patch"}]
    body = ask(sim, "go", script, tools=tools, stream=True, reasoning={"summary": "auto"}, include=["reasoning.encrypted_content"]).body
    assert names(body) == [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_summary_part.added",
        *["reasoning_summary_text.delta"] * 4,
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        *["output_text.delta"] * 2,
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        *["function_call_arguments.delta"] * 2,
        "function_call_arguments.done",
        "output_item.done",
        "output_item.added",
        "custom_tool_call_input.delta",
        "custom_tool_call_input.done",
        "output_item.done",
        "completed",
    ]
    found = list(events(body))
    output = found[-1]["response"]["output"]
    assert [event["item"] for event in found if event["type"] == "response.output_item.done"] == output
    assert output[0]["encrypted_content"]
    assert (
        "".join(e["delta"] for e in found if e["type"] == "response.function_call_arguments.delta") == output[2]["arguments"] == '{"a":1}'
    )
    assert output[3]["input"] == "x"
    assert all(event["obfuscation"] for event in found if event["type"].endswith(".delta"))


@pytest.mark.parametrize(
    ("tool", "arguments", "kind", "key", "expected"),
    [
        ("local_shell", {"command": ["ls"]}, "local_shell_call", "action", {"type": "exec", "command": ["ls"], "env": {}}),
        ("local_shell", "no json", "local_shell_call", "action", {"type": "exec", "command": ["true"], "env": {}}),
        ("shell", {"commands": ["ls"]}, "shell_call", "action", {"commands": ["ls"], "timeout_ms": None, "max_output_length": None}),
        ("apply_patch", {"path": "b"}, "apply_patch_call", "operation", {"type": "delete_file", "path": "b"}),
    ],
)
def test_tools_of_the_providers_own(sim: Simulator, tool: str, arguments: Any, kind: str, key: str, expected: dict[str, Any]) -> None:
    script = {"tool_calls": [{"name": tool, "arguments": arguments}]}
    reply = answer(sim, "go", script, tools=[{"type": tool}])
    assert (reply["output"][0]["type"], reply["output"][0][key]) == (kind, expected)
    assert names(ask(sim, "go", script, tools=[{"type": tool}], stream=True).body)[2:4] == ["output_item.added", "output_item.done"]


def test_tools_are_found_in_namespaces_and_forced_or_forbidden(sim: Simulator) -> None:
    tools = [{"type": "namespace", "name": "n", "description": "d", "tools": [FUNCTION]}]
    for choice, expected in ((None, "message"), ("required", "function_call"), ({"type": "function", "name": "look_up"}, "function_call")):
        assert answer(sim, tools=tools, tool_choice=choice)["output"][0]["type"] == expected
    called = answer(sim, "please look_up this", tools=tools)["output"][0]
    assert (called["name"], called["namespace"]) == ("look_up", "n")
    assert "namespace" not in answer(sim, "please look_up this", tools=[FUNCTION])["output"][0]
    assert answer(sim, "please look_up this", tools=tools, tool_choice="none")["output"][0]["type"] == "message"


def test_an_agent_that_goes_in_circles(sim: Simulator) -> None:
    say = '[[sim: {"repeat_tool": {"name": "look_up", "arguments": {}}}]]'
    items: list[Any] = [{"role": "user", "content": say}]
    for _ in range(3):
        (call,) = answer(sim, items, tools=[FUNCTION], store=False)["output"]
        items += [call, {"type": "function_call_output", "call_id": call["call_id"], "output": [{"type": "input_text", "text": "nothing"}]}]
    assert call["name"] == "look_up"


def test_history_that_is_kept_grows_and_is_billed(sim: Simulator) -> None:
    first = answer(sim, "What is 1 + 1?")
    second = answer(sim, "And 2 + 2?", previous_response_id=first["id"])
    third = answer(sim, [{"role": "user", "content": "And 3 + 3?"}], previous_response_id=second["id"])
    assert [r["output"][0]["content"][0]["text"] for r in (first, second, third)] == ["1 + 1 = 2.", "2 + 2 = 4.", "3 + 3 = 6."]
    tokens = [r["usage"]["input_tokens"] for r in (first, second, third)]
    assert tokens == sorted(set(tokens))
    assert third["previous_response_id"] == second["id"]
    assert answer(sim, None, previous_response_id=first["id"])["status"] == "completed"


def test_a_result_that_is_an_object_is_repeated_in_words(sim: Simulator) -> None:
    first = answer(sim, "go", {"tool_calls": [{"name": "look_up", "arguments": {}}]}, tools=[FUNCTION])
    output = {"type": "function_call_output", "call_id": first["output"][0]["call_id"], "output": {"rows": 3}}
    text = answer(sim, [output], previous_response_id=first["id"])["output"][0]["content"][0]["text"]
    assert text.startswith('The tool returned: {"rows": 3}')


def test_the_ceiling_is_kept(sim: Simulator) -> None:
    reply = answer(sim, "go", {"tokens": 90}, max_output_tokens=20)
    assert (reply["status"], reply["incomplete_details"], reply["usage"]["output_tokens"]) == (
        "incomplete",
        {"reason": "max_output_tokens"},
        20,
    )
    assert reply["output"][0]["status"] == "incomplete"
    assert names(ask(sim, "go", {"tokens": 90}, max_output_tokens=20, stream=True).body)[-1] == "incomplete"
    assert answer(sim, "go", {"tokens": 90, "ignore_max": True}, max_output_tokens=20)["usage"]["output_tokens"] == 90


def test_what_a_script_can_ask_for(sim: Simulator) -> None:
    usage = {"input_tokens": -1}
    reply = answer(sim, "go", {"usage": usage, "cached": 9, "cache_write": 4, "extra_field": {"x": 1}})
    assert (reply["usage"]["input_tokens"], reply["x"]) == (-1, 1)
    assert reply["usage"]["input_tokens_details"] == {"cached_tokens": 9, "cache_write_tokens": 4}
    assert answer(sim, "go", {"usage": False})["usage"] is None
    assert answer(sim, "go", {"finish_reason": "failed"})["status"] == "failed"
    found = list(events(ask(sim, "go", {"extra_event": True, "extra_field": {"x": 1}}, stream=True).body))
    assert found[1]["type"] == "sim.unknown"
    assert all(event["x"] == 1 for event in found if event is not found[1])


def test_an_error_in_a_stream_is_an_event_of_its_own(sim: Simulator) -> None:
    body = ask(sim, "go", {"tokens": 9, "error_after": 3, "message": "slow down"}, stream=True).body
    last = body.split(b"\n\n")[-2]
    assert last.startswith(b"event: error\ndata: ")
    assert list(events(body))[-1] == {"type": "error", "code": "server_error", "message": "slow down", "param": None, "sequence_number": 0}


def test_an_image_counts(sim: Simulator) -> None:
    def tokens(*more: Any) -> int:
        content = [{"type": "input_text", "text": "hi"}, *more]
        return int(answer(sim, [{"role": "user", "content": content}])["usage"]["input_tokens"])

    assert tokens({"type": "input_image", "file_id": "f", "detail": "low"}) == tokens() + 85
    assert tokens({"type": "input_file", "file_id": "f"}) == tokens()


WRONG = [
    ({"model": None}, 400, "model"),
    ({"input": None}, 400, "input"),
    ({"input": 7}, 400, "input"),
    ({"input": ["x"]}, 400, "input"),
    ({"max_output_tokens": 5}, 400, "max_output_tokens"),
    ({"max_output_tokens": "x"}, 400, "max_output_tokens"),
    ({"previous_response_id": "resp_0"}, 400, "previous_response_id"),
    ({"conversation": "conv_1"}, 404, "conversation"),
    ({"prompt": {"id": "p"}}, 404, "prompt"),
    ({"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]}, 400, "input"),
]


@pytest.mark.parametrize(("wrong", "status", "param"), WRONG)
def test_what_openai_would_refuse(sim: Simulator, wrong: dict[str, Any], status: int, param: str) -> None:
    reply = ask(sim, **({"input": "hi"} | wrong))
    assert (reply.status, json.loads(reply.body)["error"]["param"]) == (status, param)


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_responses, "MAX_KEPT", 2)
    monkeypatch.setattr(openai_responses, "_kept", OrderedDict())
    ids = []
    for n in range(3):
        _, reply = openai_responses.responses(Given({"model": "m", "input": f"number {n}"}))
        ids.append(json.loads(reply.body)["id"])
    openai_responses.responses(Given({"model": "m", "input": "x", "previous_response_id": ids[2]}))
    with pytest.raises(Invalid, match="not found"):
        openai_responses.responses(Given({"model": "m", "input": "x", "previous_response_id": ids[0]}))
    openai_responses.responses(Given({"model": "m", "input": "x", "store": False}))
    assert len(openai_responses._kept) == 2
