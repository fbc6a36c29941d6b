"""A local target on trial: whatever it does badly, the client gets one clean reply of the next, and the record says why."""

from __future__ import annotations

import pytest
from cascade_cases import NAMED, ROUTE, SCHEMA, TOOLS, answer, asking, fell, tried
from engine_script import (
    ANSWER,
    ASK,
    LOCAL,
    Says,
    play,
)

from proxy.engine.exchange import Patience
from proxy.engine.ports import UpstreamError

FLAWS: dict[str, Says | Exception] = {
    "empty": Says((answer(""),)),
    "blank": Says((answer("  \n"),)),
    "error 400": Says((b'{"error":{"message":"no"}}',), status=400),
    "error 404": Says((b"not found",), status=404, kind="text/plain"),
    "error 401": Says((b"{}",), status=401),
    "error 503": Says((b"{}",), status=503),
    "redirect": Says((b"",), status=302, kind=""),
    "context": Says((b'{"error":{"message":"request (900 tokens) exceeds the available context size"}}',), status=400),
    "context unread": Says((b"x", UpstreamError("cut", "gone")), status=413),
    "foreign text": Says((b"hello",), kind="text/plain"),
    "foreign json": Says((b'{"message":{"role":"assistant","content":"hi"},"done":true}',)),
    "foreign array": Says((b"[1]",)),
    "torn": Says((b'{"choices":[',)),
    "cut": Says((b"{", UpstreamError("cut", "gone"))),
    "too large": Says((b"{", UpstreamError("too_large", "big"))),
    "refused": Says((answer("no", finish="content_filter"),)),
    "refusal": Says((answer(None, refusal="I cannot"),)),
    "tool": Says((answer(None, "tool_calls", [("look", "{}")]),)),
    "length": Says((answer("and so", finish="length"),)),
    "down": UpstreamError("connect", "no connection"),
    "late": UpstreamError("timeout", "too late"),
    "broken": UpstreamError("protocol", "no HTTP"),
    "busy": UpstreamError("connect", "all taken", busy=True),
}
CAUSES = {
    "blank": "empty",
    "redirect": "error",
    "context unread": "error",
    "torn": "foreign",
    "too large": "foreign",
    "refusal": "refused",
    "late": "slow",
    "broken": "foreign",
}


@pytest.mark.parametrize("name", FLAWS)
def test_a_whole_reply_that_is_none_is_replaced(name: str) -> None:
    outcome = tried(ASK, FLAWS[name], Says((ANSWER,)))
    fell(outcome, CAUSES.get(name, name.split(" ", maxsplit=1)[0]))
    assert outcome.caller.got == ANSWER
    assert (outcome.record.input_tokens, outcome.record.output_tokens) == (10, 3)


def test_a_good_reply_of_the_local_model_is_passed_on_as_it_came() -> None:
    body = answer("four")
    outcome = tried(ASK, Says((body,)))
    assert outcome.caller.got == body
    assert (outcome.record.route, outcome.record.provider, outcome.record.fallbacks) == ("local", "local", ())


def test_the_last_target_is_believed() -> None:
    body = answer("")
    outcome = tried(ASK, Says((body,)), targets=(LOCAL,))
    assert outcome.caller.got == body
    assert not outcome.upstream.asked[0].spare


def test_a_local_model_that_the_client_asked_for_is_not_judged() -> None:
    body = answer("")
    outcome = play(ASK, Says((body,)), targets=ROUTE)
    assert outcome.caller.got == body


WHOLE = {
    "unknown tool": (asking(tools=TOOLS), answer(None, "tool_calls", [("burn", "{}")]), "tool"),
    "arguments": (asking(tools=TOOLS), answer(None, "tool_calls", [("look", '{"a":')]), "tool"),
    "list": (asking(tools=TOOLS), answer(None, "tool_calls", [("look", "[1]")]), "tool"),
    "no call": (asking(tools=TOOLS, tool_choice="required"), answer("well"), "tool"),
    "another": (
        asking(tools=[*TOOLS, NAMED], tool_choice=NAMED),
        answer(None, "tool_calls", [("look", "{}")]),
        "tool",
    ),
    "no json": (asking(response_format={"type": "json_object"}), answer("sure: {}"), "json"),
    "fenced": (asking(response_format={"type": "json_object"}), answer("```json\n{}\n```"), "json"),
    "shape": (asking(response_format={"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA}}), answer('{"a":1}'), "json"),
    "enum": (
        asking(response_format={"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA}}),
        answer('{"a":1,"b":"z"}'),
        "json",
    ),
    "own limit": (asking(max_tokens=50), answer("and so", "length"), "length"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_an_answer_of_the_wrong_shape_is_replaced(name: str) -> None:
    body, bad, cause = WHOLE[name]
    outcome = tried(body, Says((bad,)), Says((ANSWER,)))
    fell(outcome, cause)
    assert outcome.caller.got == ANSWER
    assert outcome.record.fallbacks[0][3:6] == (7, 4, 0)
    assert ("upstream", "local used 7 tokens of input and 4 of output") in outcome.record.decisions


GOOD = {
    "call": (asking(tools=TOOLS), answer(None, "tool_calls", [("look", '{"a":"b"}')])),
    "no arguments": (asking(tools=TOOLS), answer(None, "tool_calls", [("look", "")])),
    "json": (asking(response_format={"type": "json_object"}), answer('{"a":1}')),
    "shape": (
        asking(response_format={"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA}}),
        answer('{"a":1,"b":"x"}'),
    ),
    "ceiling": (asking(max_tokens=4), answer("and so on and", "length")),
    "custom tools": (asking(tools=[{"type": "custom", "custom": {"name": "run"}}]), answer("done")),
}


@pytest.mark.parametrize("name", GOOD)
def test_an_answer_of_the_right_shape_is_passed_on(name: str) -> None:
    body, good = GOOD[name]
    outcome = tried(body, Says((good,)))
    assert outcome.caller.got == good
    assert outcome.record.fallbacks == ()


def test_an_answer_that_is_stuck_is_replaced() -> None:
    outcome = tried(ASK, Says((answer("a b a b"),)), Says((ANSWER,)), patience=Patience(chants=lambda text: text == "a b a b"))
    fell(outcome, "repetition")
