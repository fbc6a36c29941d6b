"""Targets as scripts: which one is asked next, what goes up to it, and who pays for one that failed."""

from __future__ import annotations

import asyncio
import json

import pytest
from engine_script import (
    ANSWER,
    ASK,
    LOCAL,
    STRONG,
    Says,
    Upstream,
    play,
)

from proxy.budget.settle import settle_usage
from proxy.engine.ports import UpstreamError, UpstreamReply, UpstreamRequest
from proxy.engine.reply import _up, upstream_headers, upstream_query


def test_a_local_server_that_is_down_is_replaced_before_the_first_byte() -> None:
    out = play(ASK, UpstreamError("connect", "refused"), Says([ANSWER]), targets=[LOCAL, STRONG])
    assert out.caller.got == ANSWER
    assert json.loads(out.upstream.asked[0].body)["model"] == "small:8b"
    assert out.upstream.asked[1].body is out.exchange.call.body
    assert out.caller.headers["x-fleetgate-route"] == "fallback"
    assert out.caller.headers["x-fleetgate-model"] == "strong"
    assert out.record.route == "fallback"


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_target_that_fails_is_replaced(status: int) -> None:
    out = play(ASK, Says([b"{}"], status=status), Says([ANSWER]), targets=[LOCAL, STRONG])
    assert out.caller.status == 200
    assert out.record.model == "strong"


def test_a_paid_target_that_may_have_worked_is_not_asked_twice() -> None:
    out = play(ASK, UpstreamError("timeout", "late"), targets=[STRONG, LOCAL])
    assert out.caller.status == 504
    assert len(out.upstream.asked) == 1


def test_long_names_of_headers_are_not_kept() -> None:
    before = len(_up)
    assert dict(upstream_headers({"x-long-" + "y" * 1000: "1"})) == {"x-long-" + "y" * 1000: "1"}
    assert len(_up) == before


def test_credentials_and_our_own_headers_stay_here() -> None:
    headers = {
        "authorization": "Bearer fg-x",
        "X-Api-Key": "fg-x",
        "x-fleetgate-session": "s",
        "cookie": "c",
        "connection": "x-hop",
        "x-hop": "1",
        "openai-beta": "b",
    }
    out = play(ASK, Says([ANSWER], headers={"set-cookie": "a=b", "x-fleetgate-model": "fake", "openai-version": "v"}), headers=headers)
    assert dict(out.upstream.asked[0].headers) == {"openai-beta": "b"}
    assert "set-cookie" not in out.caller.headers
    assert out.caller.headers.getall("x-fleetgate-model") == ["strong"]
    assert out.caller.headers["openai-version"] == "v"


@pytest.mark.parametrize(
    ("query", "up"),
    [
        ("", ""),
        ("api-version=2024-10-21&beta=true", "api-version=2024-10-21&beta=true"),
        ("key=fg-x&a=1&%6bey=fg-x&KEY=y", "a=1"),
        ("$httpHeaders=a&%24req=b&fields=id&access_token=t&quotaUser=u&a=1", "a=1"),
        ("alt=sse&$alt=sse&prettyPrint=false&%24prettyPrint=false", "alt=sse&$alt=sse&prettyPrint=false&%24prettyPrint=false"),
    ],
)
def test_of_the_query_only_what_asks_goes_up(query: str, up: str) -> None:
    assert upstream_query(query) == up


def test_a_refusing_target_and_a_silent_one_charge_for_the_silent_one() -> None:
    out = play(ASK, Says([b"{}"], status=503), UpstreamError("timeout", "late"), targets=[LOCAL, STRONG])
    assert out.record.upstream_status == 0
    assert out.admit.released[0][1] is True


def test_a_target_that_could_not_be_reached_is_not_charged_for_the_one_before() -> None:
    out = play(ASK, UpstreamError("timeout", "late"), UpstreamError("connect", "refused"), targets=[LOCAL, STRONG])
    assert out.exchange.target is LOCAL
    assert out.caller.status == 502


def test_a_target_that_refused_is_not_charged_when_the_next_cannot_be_reached() -> None:
    out = play(ASK, Says([b"{}"], status=503), UpstreamError("connect", "refused"), targets=[STRONG, LOCAL], settle=settle_usage)
    assert (out.exchange.target, out.record.upstream_status, out.record.outcome) == (STRONG, 503, "upstream_error")
    assert (out.record.input_tokens, out.record.output_tokens, out.record.cost) == (0, 0, 0)


class Idle(Upstream):
    """Has done nothing for a request yet when the client leaves, or cannot even write it."""

    async def send(self, request: UpstreamRequest) -> UpstreamReply:
        request.idle = True
        if self.lines:
            return await super().send(request)
        await asyncio.Event().wait()
        raise AssertionError


@pytest.mark.parametrize("lines", [[], [UpstreamError("protocol", "a header has characters that cannot be sent")]])
def test_nobody_pays_for_a_request_that_never_left(lines: list[Exception]) -> None:
    out = play(ASK, upstream=Idle(lines), cancel_after=None if lines else 8, settle=settle_usage)
    assert len(out.upstream.asked) == len(lines)
    assert (out.record.outcome, out.exchange.sent) == ("upstream_error" if lines else "client_gone", False)
    assert (out.record.input_tokens, out.record.cost, out.admit.released[0][1]) == (0, 0, False)


def test_a_key_of_ours_that_the_provider_does_not_take_is_not_blamed_on_the_client() -> None:
    no = Says([b'{"error":{"message":"Incorrect API key provided"}}'], status=401)
    found = play(ASK, no)
    assert found.caller.status == 502
    assert found.caller.headers["x-should-retry"] == "false"
    assert "openai does not take the key that Fleetgate holds for it" in json.loads(found.caller.got)["error"]["message"]
    assert (found.record.outcome, found.record.reason, found.record.upstream_status, found.record.cost) == (
        "upstream_error",
        "upstream_error",
        401,
        0,
    )
    second = play(ASK, no, Says([ANSWER]), targets=(STRONG, LOCAL))
    assert (second.caller.status, second.record.route) == (200, "fallback")
