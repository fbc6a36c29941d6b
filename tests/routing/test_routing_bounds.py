"""Where data may go, and what models are able to do."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from proxy.model import FREE, Grant, Target
from proxy.routing.bounds import LEAST_ANSWER, barred, held, too_long, unable, unproven
from proxy.wire.call import Call, Media, Message, ToolCall, ToolResult, Tools, ToolSpec

CLOUD = Target("cloud", "big", "big", "openai", FREE, region="us")
EU = dataclasses.replace(CLOUD, provider="paris", region="EU")
HERE = Target("here", "small", "small", "openai", FREE, local=True)
SAYS = Message(b"", "user", ("hello",))
SEES = Message(b"", "user", ("look",), media=(Media("image_url", 100),))
CALLED = Message(b"", "assistant", (), (ToolCall("1", "t", "{}", b"s"),))
RESULT = Message(b"", "tool", ("42",), tool_results=(ToolResult("1", b"d"),))


@pytest.mark.parametrize(
    ("target", "data", "words"),
    [
        (CLOUD, {}, ""),
        (CLOUD, {"classification": "internal"}, ""),
        (CLOUD, {"classification": "restricted"}, "restricted data stays on local models (routing.local_only), and cloud is none"),
        (HERE, {"classification": "restricted"}, ""),
        (EU, {"residency": "eu,ch"}, ""),
        (CLOUD, {"residency": "eu,ch"}, "data stays in eu, ch (policy.data.residency), and cloud is in us"),
        (HERE, {"residency": "eu"}, "and here is in no region that its settings name"),
        (EU, {"residency": ""}, "data stays in no region at all"),
        (HERE, {"residency": ""}, "data stays in no region at all"),
    ],
)
def test_data_goes_where_it_may(target: Target, data: dict[str, str], words: str) -> None:
    found = barred(target, data, ("confidential", "restricted"))
    assert words in found
    assert bool(found) == bool(words)


def test_a_dry_run_holds_to_what_the_other_files_say() -> None:
    grant = Grant("a", "", "", "", "", (), (), data={"residency": "eu"}, firm_data={"residency": "eu,us"})
    assert held(grant) == {"residency": "eu"}
    assert held(dataclasses.replace(grant, shadow=True)) == {"residency": "eu,us"}


def call(*messages: Message, **more: Any) -> Call:
    return Call("chat", "m", b"{}", messages=messages, **more)


TOOLS: dict[str, Any] = {"tools": Tools((ToolSpec("t"),))}


@pytest.mark.parametrize(
    ("asked", "able", "chosen", "named"),
    [
        (call(SAYS), {}, "", ""),
        (call(SAYS, **TOOLS), {}, "it uses tools", ""),
        (call(SAYS, **TOOLS), {"tools": True}, "", ""),
        (call(SAYS, **TOOLS), {"tools": False}, "it uses tools", "it is offered tools"),
        (call(SAYS, CALLED, RESULT), {}, "it uses tools", ""),
        (call(SAYS, CALLED, RESULT), {"tools": True}, "", ""),
        (call(SEES), {}, "it holds images or files", ""),
        (call(SEES), {"images": True}, "", ""),
        (call(SEES), {"images": False}, "it holds images or files", "it holds images or files"),
        (call(SAYS, wants_json=True), {}, "", ""),
        (call(SAYS, wants_json=True), {"json": False}, "it wants JSON", "it wants JSON"),
    ],
)
def test_what_nobody_says_that_a_model_can_do_is_not_tried(asked: Call, able: dict[str, Any], chosen: str, named: str) -> None:
    target = dataclasses.replace(HERE, **able)
    assert unproven(asked, target) == chosen
    assert unable(asked, target) == named


@pytest.mark.parametrize(
    ("tokens", "context", "ceiling", "long"),
    [
        (10**9, None, None, False),
        (8192 - LEAST_ANSWER, 8192, None, False),
        (8192 - LEAST_ANSWER + 1, 8192, None, True),
        (8100, 8192, 10, False),
        (6145, 8192, 100_000, True),
        (6144, 8192, 100_000, False),
    ],
)
def test_a_prompt_leaves_room_for_an_answer(tokens: int, context: int | None, ceiling: int | None, long: bool) -> None:
    assert too_long(call(SAYS, max_output=ceiling), dataclasses.replace(HERE, context=context), tokens) is long
