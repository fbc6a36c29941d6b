"""Requests of Ollama's generate: a prompt and what stands beside it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.wire.base import Memos
from proxy.wire.call import Call, Edit, Media, WireError
from proxy.wire.ollama import GenerateCodec

PNG = "iVBORw0KGgoAAAANSUhEUgAAAoAAAAHgCAYAAAA="
LONG = "a text that is long enough to be a prompt of its own, so it counts as one"
generate = GenerateCodec()


def prompt(**members: Any) -> Call:
    return generate.decode(json.dumps({"model": "m", **members}).encode(), Memos())


def test_a_prompt_reads_as_a_conversation() -> None:
    call = prompt(
        prompt="Why is the sky blue?",
        system="Be brief.",
        suffix="the end",
        template="{{ .Prompt }}",
        images=[PNG],
        context=[1, 2, 3],
        format="json",
        options={"num_predict": 7},
        stream=False,
        raw=True,
    )
    assert (call.operation, call.stream, call.max_output, call.tokens_given, call.wants_json) == ("chat", False, 7, 3, True)
    assert [(m.role, m.texts) for m in call.system] == [("system", ("Be brief.",))]
    assert [(m.role, m.texts) for m in call.messages] == [("user", ("Why is the sky blue?",))]
    assert call.messages[0].media == (Media("image", len(PNG) + 2, "", 640, 480),)
    assert call.extra == ("the end", "{{ .Prompt }}")
    assert generate.upstream_path(call, "m") == "/api/generate"
    assert json.loads(generate.rewrite(call, Edit(model="n", max_output=5)))["options"] == {"num_predict": 5}


def test_the_same_prompt_is_parsed_once() -> None:
    memos = Memos()
    body = json.dumps({"model": "m", "prompt": "x" * 5000}).encode()
    first, second = generate.decode(body, memos), generate.decode(body, memos)
    assert first.messages[0] is second.messages[0]
    assert memos.messages.misses == 1


@pytest.mark.parametrize(
    ("members", "operation"),
    [
        ({}, "show"),
        ({"prompt": ""}, "show"),
        ({"prompt": None, "keep_alive": 0, "images": []}, "show"),
        ({"prompt": "", "context": []}, "show"),
        ({"prompt": "x"}, "chat"),
        ({"system": "x"}, "chat"),
        ({"suffix": "x"}, "chat"),
        ({"template": "x"}, "chat"),
        ({"images": [PNG]}, "chat"),
        ({"context": [1]}, "chat"),
        ({"context": "x"}, "chat"),
    ],
)
def test_only_what_says_nothing_at_all_is_free(members: dict[str, Any], operation: str) -> None:
    assert prompt(**members).operation == operation


@pytest.mark.parametrize(
    ("members", "texts"),
    [
        ({"prompt": ["a"]}, ['["a"]']),
        ({"prompt": {"b": 1}}, ['{"b":1}']),
        ({"prompt": "p", "system": 7}, ["p", "7"]),
        ({"prompt": "p", "suffix": ["s"], "template": {"t": 1}}, ["p", '["s"]', '{"t": 1}']),
        ({"prompt": "p", "context": [1, "smuggled"]}, ["p", '[1, "smuggled"]']),
        ({"prompt": "p", "images": ["", "no picture", {"x": 1}]}, ["p", '{"x":1}']),
        ({"prompt": "p", "images": LONG}, ["p", LONG]),
        ({"prompt": "p", "messages": [{"role": "user", "content": LONG}]}, ["p", f'[{{"role": "user", "content": "{LONG}"}}]']),
        ({"prompt": "p", "options": {"prefix": LONG}}, ["p", f'"{LONG}"']),
    ],
)
def test_nothing_escapes_a_prompt(members: dict[str, Any], texts: list[str]) -> None:
    call = prompt(**members)
    found = [text for message in (*call.messages, *call.system) for text in message.texts]
    assert sorted([*found, *call.extra]) == sorted(texts)


def test_generate_checks_what_chat_checks() -> None:
    for members in ({"name": "x"}, {"Prompt": "x"}, {"options": {"num_predict": "9"}}, {"stream": 1}, {"model": "library/x"}):
        with pytest.raises(WireError):
            prompt(**members)
