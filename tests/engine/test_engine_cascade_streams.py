"""Streams of a local target on trial, how long it is waited for, what it costs, and other dialects."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from cascade_cases import GOOD_STREAM, SOON, TOOLS, answer, asking, fell, tried
from engine_script import (
    ANSWER,
    ASK,
    DONE,
    LOCAL,
    SSE,
    STOP,
    STREAM_WITH_USAGE,
    STRONG,
    USAGE,
    Says,
    Upstream,
    chunk,
    says,
    stream,
)

from proxy.engine.exchange import Exchange
from proxy.engine.ports import UpstreamError
from proxy.engine.stage import Stage
from proxy.model import Deny, Price, Reason, Target

# --- streams -----------------------------------------------------------------------------------------------------------------

ROLE = chunk(choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}])
ERROR = b'data: {"error":{"message":"out of memory"}}\n\n'
CALL = chunk(
    choices=[{"index": 0, "delta": {"tool_calls": [{"index": 0, "id": "1", "function": {"name": "burn", "arguments": "{}"}}]}}],
)
BAD_STREAMS: dict[str, tuple[bytes, Says, str]] = {
    "nothing": (STREAM_WITH_USAGE, stream(), "empty"),
    "no words": (STREAM_WITH_USAGE, stream(ROLE, STOP, USAGE, DONE), "empty"),
    "blanks": (STREAM_WITH_USAGE, stream(ROLE, says(" \n"), STOP, DONE), "empty"),
    "error": (STREAM_WITH_USAGE, stream(ROLE, ERROR), "error"),
    "restart": (STREAM_WITH_USAGE, stream(ROLE, UpstreamError("cut", "gone")), "cut"),
    "ends early": (STREAM_WITH_USAGE, stream(ROLE), "cut"),
    "half an event": (STREAM_WITH_USAGE, stream(ROLE, b"data: {"), "cut"),
    "lines": (STREAM_WITH_USAGE, Says((b'{"done":false}\n',), kind="application/x-ndjson"), "foreign"),
    "whole": (STREAM_WITH_USAGE, Says((answer("hi"),)), "foreign"),
    "no kind": (STREAM_WITH_USAGE, Says((answer("hi"),), kind=""), "foreign"),
    "endless event": (STREAM_WITH_USAGE, stream(b"data: " + b"x" * (9 << 20)), "foreign"),
    "endless prelude": (STREAM_WITH_USAGE, stream(*[b": ping" + b"." * 60_000 + b"\n\n"] * 150), "foreign"),
    "tool": (asking(True, tools=TOOLS), stream(ROLE, CALL, STOP, USAGE, DONE), "tool"),
    "json": (asking(True, response_format={"type": "json_object"}), stream(ROLE, says("{"), says("a"), STOP, USAGE, DONE), "json"),
    "refusal": (
        asking(True, response_format={"type": "json_object"}),
        stream(chunk(choices=[{"index": 0, "delta": {"refusal": "I cannot"}}]), STOP, DONE),
        "refused",
    ),
    "late error": (asking(True, tools=TOOLS), stream(ROLE, says("well"), ERROR), "error"),
    "late cut": (asking(True, tools=TOOLS), stream(ROLE, says("well"), UpstreamError("cut", "gone")), "cut"),
}


@pytest.mark.parametrize("name", BAD_STREAMS)
def test_a_stream_that_is_none_is_replaced_before_a_byte_of_it_is_seen(name: str) -> None:
    body, bad, cause = BAD_STREAMS[name]
    outcome = tried(body, bad, stream(*GOOD_STREAM))
    fell(outcome, cause)
    assert outcome.caller.got == b"".join(GOOD_STREAM)


@pytest.mark.parametrize(
    ("body", "pieces"),
    [
        (STREAM_WITH_USAGE, (ROLE, says(" "), says("hel"), says("lo"), STOP, USAGE, DONE)),
        (asking(True, tools=TOOLS), (ROLE, says("no need"), STOP, USAGE, DONE)),
        (asking(True, response_format={"type": "json_object"}), (ROLE, says('{"a"'), says(":1}"), STOP, USAGE, DONE[:-1])),
        (STREAM_WITH_USAGE, (ROLE + says("hello")[:20], says("hello")[20:] + STOP + USAGE + DONE)),
    ],
)
def test_a_good_stream_keeps_its_bytes(body: bytes, pieces: tuple[bytes, ...]) -> None:
    outcome = tried(body, stream(*pieces))
    assert outcome.caller.got == b"".join(pieces)
    assert (outcome.record.route, outcome.record.output_tokens, outcome.record.fallbacks) == ("local", 2, ())


def test_a_stream_that_breaks_off_after_its_first_piece_ends_well_formed() -> None:
    outcome = tried(STREAM_WITH_USAGE, stream(ROLE, says("hel"), UpstreamError("cut", "gone")))
    assert outcome.caller.got.startswith(ROLE + says("hel"))
    assert outcome.caller.got.endswith(DONE)
    assert outcome.record.outcome == "upstream_error"
    assert len(outcome.upstream.asked) == 1


# --- waiting -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [ASK, STREAM_WITH_USAGE, asking(True, tools=TOOLS)])
def test_a_server_that_says_nothing_is_not_waited_for(body: bytes) -> None:
    hung = Says((), kind=SSE if b"stream" in body else "application/json", hang=True)
    good = stream(*GOOD_STREAM) if b"stream" in body else Says((ANSWER,))
    outcome = tried(body, hung, good, patience=SOON)
    fell(outcome, "slow")


class Reporting(Upstream):
    """Sets `report`, as the transport does, and keeps what it is told."""

    def __init__(self, *lines: Says | Exception) -> None:
        super().__init__(lines)
        self.told: list[bool] = []

    async def send(self, request: Any) -> Any:
        request.report = self.told.append
        request.idle = False
        return await super().send(request)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (Says((answer("four"),)), [True]),
        (Says((answer(""),)), [True]),
        (Says((b"{}",), status=400), [True]),
        (Says((b"{}",), status=503), []),
        (Says((), hang=True), [False]),
        (Says((UpstreamError("cut", "gone"),)), [False]),
        (UpstreamError("connect", "down"), []),
    ],
)
def test_the_transport_hears_whether_the_server_answers(line: Says | Exception, told: list[bool]) -> None:
    upstream = Reporting(line, Says((ANSWER,)))
    tried(ASK, upstream=upstream, patience=SOON)
    assert upstream.told == told


class Waiting(Upstream):
    """Never gets to the server the first time."""

    async def send(self, request: Any) -> Any:
        if not self.asked:
            self.asked.append(request)
            request.idle = True
            await asyncio.Event().wait()
        return await super().send(request)


def test_a_line_before_a_local_server_is_not_waited_in() -> None:
    outcome = tried(ASK, upstream=Waiting([Says((ANSWER,))]), patience=SOON)
    fell(outcome, "busy")
    assert outcome.record.fallbacks[0][3:6] == (0, 0, 0)


def test_a_client_that_leaves_ends_the_trial() -> None:
    outcome = tried(ASK, Says((), hang=True), cancel_after=12)
    assert outcome.record.outcome == "client_gone"
    assert len(outcome.upstream.asked) == 1


def test_a_client_that_leaves_the_line_owes_nothing() -> None:
    outcome = tried(ASK, upstream=Waiting([]), cancel_after=12)
    assert outcome.record.outcome == "client_gone"
    assert outcome.admit.released[0][1] is False


# --- what it costs -----------------------------------------------------------------------------------------------------------

PAID = Target("local", "small", "small:8b", "openai", Price(((0, 1_000_000_000),), ((0, 1_000_000_000),)), local=True)


def test_both_are_charged() -> None:
    outcome = tried(asking(max_tokens=50), Says((answer("and so", "length"),)), Says((ANSWER,)), targets=(PAID, STRONG))
    local, strong = (7 + 4) * 1000, 10 * 1000 + 3 * 10_000
    assert outcome.record.fallbacks[0][3:6] == (7, 4, local)
    assert outcome.record.cost == local + strong
    assert (outcome.record.input_tokens, outcome.record.output_tokens) == (10, 3)


def test_what_a_local_model_did_is_charged_where_nobody_answers() -> None:
    down = UpstreamError("connect", "down")
    outcome = tried(asking(max_tokens=50), Says((answer("and so", "length"),)), down, targets=(PAID, STRONG))
    assert outcome.record.cost == (7 + 4) * 1000
    assert (outcome.record.outcome, outcome.record.status, outcome.record.route) == ("upstream_error", 502, "fallback")


def test_each_target_is_tried_once() -> None:
    other = Target("other", "small", "small:8b", "openai", LOCAL.price, local=True)
    outcome = tried(ASK, Says((answer(""),)), Says((answer(""),)), Says((ANSWER,)), targets=(LOCAL, other, STRONG))
    assert [left[:3] for left in outcome.record.fallbacks] == [("local", "small", "empty"), ("other", "small", "empty")]
    assert outcome.caller.got == ANSWER


class Slow:
    """A pace (`engine.pace.Pace`) that can or cannot hold all."""

    def __init__(self, deny: Deny | None) -> None:
        self.deny = deny

    def came(self, events: int) -> None:
        """See `Pace`."""

    def due(self, meter: object) -> bool:
        return False

    async def more(self, ex: object) -> Deny | None:
        raise AssertionError("not asked for")

    async def rest(self, ex: object) -> Deny | None:
        return self.deny


@pytest.mark.parametrize("short", [None, Deny(Reason.BUDGET_EXCEEDED, "used up")])
def test_a_priced_local_model_needs_a_hold_for_all_that_it_may_say(short: Deny | None) -> None:
    class Paced(Stage):
        name = "paced"

        async def request(self, ex: Exchange) -> Deny | None:
            ex.pace = Slow(short)
            return None

    lines = [stream(*GOOD_STREAM)] if short else [stream(ROLE, says("hi"), STOP, USAGE, DONE)]
    outcome = tried(STREAM_WITH_USAGE, *lines, targets=(PAID, STRONG), stages=[Paced()])
    assert outcome.record.provider == ("openai" if short else "local")
    assert [left[2] for left in outcome.record.fallbacks] == (["budget"] if short else [])


# --- other dialects ----------------------------------------------------------------------------------------------------------


def test_a_request_that_cannot_be_carried_goes_on_to_the_asked_model() -> None:
    gemini = Target("local", "small", "small", "gemini", LOCAL.price, local=True, wire="gemini.generate")
    outcome = tried(asking(logprobs=True, n=2), Says((ANSWER,)), targets=(gemini, STRONG))
    assert [left[2] for left in outcome.record.fallbacks] == ["untranslatable"]
    assert outcome.caller.got == ANSWER


def test_a_stream_that_is_not_framed_as_its_kind_says_is_replaced() -> None:
    gemini = Target("local", "small", "small", "gemini", LOCAL.price, local=True, wire="gemini.generate")
    outcome = tried(asking(True), Says((b'{"a":1}',)), stream(*GOOD_STREAM), targets=(gemini, STRONG))
    assert [left[2] for left in outcome.record.fallbacks] == ["foreign"]
    assert outcome.caller.got == b"".join(GOOD_STREAM)


@pytest.mark.parametrize("path", ["/v1/completions"])
def test_a_dialect_that_nobody_translates_is_looked_at_for_being_empty(path: str) -> None:
    ask = json.dumps({"model": "strong", "prompt": "hi"}).encode()
    empty, full = b'{"choices":[{"text":"","finish_reason":"stop"}]}', b'{"choices":[{"text":"ho","finish_reason":"stop"}]}'
    assert tried(ask, Says((full,)), path=path).caller.got == full
    assert tried(ask, Says((empty,)), Says((full,)), path=path).caller.got == full
    streamed = ask[:-1] + b',"stream":true,"stream_options":{"include_usage":true}}'
    done = b'data: {"choices":[{"text":"","finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    said = b'data: {"choices":[{"text":"ho","finish_reason":null}]}\n\n' + done
    outcome = tried(streamed, stream(done), stream(said), path=path)
    assert outcome.caller.got == said
    assert [left[2] for left in outcome.record.fallbacks] == ["empty"]
