"""The engine as scripts: what the client asks, what the upstream says, what the client gets, and what the record keeps."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from engine_script import (
    ANSWER,
    ASK,
    CLAUDE,
    DONE,
    STOP,
    STREAM,
    STREAM_WITH_USAGE,
    USAGE,
    Caller,
    Outcome,
    Says,
    play,
    says,
    stream,
)

from proxy.engine.exchange import Exchange
from proxy.engine.ports import StoreError, UpstreamError
from proxy.engine.stage import Stage, Tap
from proxy.model import Deny, Reason
from proxy.wire.call import Event


class Refuse(Stage):
    """Refuses, or raises, or refuses dry."""

    name = "refuse"

    def __init__(self, answer: Deny | Exception) -> None:
        self.answer = answer

    async def request(self, ex: Exchange) -> Deny | None:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class RefuseReply(Stage):
    name = "refuse-reply"

    async def reply(self, ex: Exchange) -> Deny | None:
        return Deny(Reason.CONTENT_BLOCKED, "no", rule="r1")


class CutAt(Stage):
    """Cuts a stream at the first event whose text is `word`."""

    name = "cut"

    def __init__(self, word: str, shadow: bool = False) -> None:
        self.word, self.shadow, self.seen = word, shadow, list[Event]()

    def tap(self, ex: Exchange) -> Tap | None:
        def look(event: Event) -> Deny | None:
            self.seen.append(event)
            return Deny(Reason.CONTENT_BLOCKED, "bad word", rule="w", shadow=self.shadow) if event.text == self.word else None

        return look


def events(outcome: Outcome) -> list[bytes]:
    return outcome.caller.got.split(b"\n\n")[:-1]


def test_a_buffered_answer_is_byte_identical_and_priced() -> None:
    out = play(ASK, Says([ANSWER[:50], ANSWER[50:]]))
    assert out.caller.got == ANSWER
    assert out.caller.status == 200
    assert out.upstream.asked[0].body is out.exchange.call.body
    assert (out.record.input_tokens, out.record.output_tokens) == (10, 3)
    assert out.record.cost == 10 * 1000 + 3 * 10_000
    assert out.caller.headers["x-fleetgate-cost-usd"] == "0.00004"
    assert out.record.outcome == "ok"
    assert out.caller.headers["x-fleetgate-request-id"] == out.record.id


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (f"00-{TRACE}-00f067aa0ba902b7-01", TRACE),
        (f"00-{TRACE}-00f067aa0ba902b7-03", TRACE),
        (f"01-{TRACE}-00f067aa0ba902b7-01-more", TRACE),
        (f"00-{TRACE}-00f067aa0ba902b7-00", ""),
        (f"ff-{TRACE}-00f067aa0ba902b7-01", ""),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", ""),
        (f"00-{TRACE}-{'0' * 16}-01", ""),
        (f"00-{TRACE.upper()}-00f067aa0ba902b7-01", ""),
        ("a secret that is no trace", ""),
    ],
)
def test_the_trace_that_its_caller_keeps_is_on_the_record(header: str, found: str) -> None:
    assert play(ASK, Says([ANSWER]), headers={"traceparent": header}).record.trace_id == found


def test_a_stream_with_usage_asked_for_is_byte_identical() -> None:
    sent = says("a") + says("b") + STOP + USAGE + DONE
    out = play(STREAM_WITH_USAGE, stream(sent[:30], sent[30:200], sent[200:]))
    assert out.caller.got == sent
    assert out.caller.ended
    assert out.record.output_tokens == 2
    assert out.upstream.asked[0].body is out.exchange.call.body


def test_usage_that_only_we_asked_for_is_not_shown() -> None:
    out = play(STREAM, stream(says("a"), STOP + USAGE + DONE))
    assert out.caller.got == says("a") + STOP + DONE
    assert json.loads(out.upstream.asked[0].body)["stream_options"] == {"include_usage": True}
    assert out.record.usage_exact
    assert out.record.input_tokens == 10


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b"{", ""),
        (b"[]", ""),
        (b'{"model":"a","model":"b","messages":[]}', "model"),
        (b'{"model":1,"messages":[{}]}', "model"),
        (b"\xff", ""),
    ],
)
def test_malformed_bodies_are_refused_and_never_sent(body: bytes, pointer: str) -> None:
    out = play(body)
    assert out.caller.status == 400
    assert json.loads(out.caller.got)["fleetgate"]["reason"] == "malformed_request"
    assert pointer in json.loads(out.caller.got)["error"]["message"]
    assert not out.upstream.asked
    assert out.record.outcome == "denied"


@pytest.mark.parametrize(
    ("answer", "status", "reason"),
    [
        (Deny(Reason.MODEL_NOT_ALLOWED, "not this one", rule="AGENTS.md:3"), 403, "model_not_allowed"),
        (Deny(Reason.BUDGET_EXCEEDED, "spent", rule="b"), 402, "budget_exceeded"),
        (StoreError("down"), 503, "store_unavailable"),
        (ZeroDivisionError(), 500, "internal"),
    ],
)
def test_a_stage_that_refuses_or_raises_ends_it_before_anything_is_sent(answer: Deny | Exception, status: int, reason: str) -> None:
    out = play(ASK, stages=[Refuse(answer)])
    assert out.caller.status == status
    body = json.loads(out.caller.got)
    assert body["fleetgate"]["reason"] == reason
    assert body["fleetgate"]["decision_id"] == out.record.id
    assert not out.upstream.asked
    assert out.record.reason == reason
    assert out.admit.released[0][1] is False, "nothing was sent, so the hold is refunded"


def test_a_dry_refusal_is_a_finding_and_the_call_goes_on() -> None:
    out = play(ASK, Says([ANSWER]), stages=[Refuse(Deny(Reason.MODEL_NOT_ALLOWED, "no", rule="AGENTS.md:3", shadow=True))])
    assert out.caller.status == 200
    assert out.caller.headers["x-fleetgate-findings"] == "shadow/model_not_allowed"
    assert out.record.findings == (("shadow/model_not_allowed", "AGENTS.md:3"),)
    assert out.record.reason == ""


def test_a_reply_hook_can_refuse_and_the_work_is_charged() -> None:
    out = play(ASK, Says([ANSWER]), stages=[RefuseReply()])
    assert out.caller.status == 403
    assert b"hello" not in out.caller.got
    assert out.record.output_tokens == 3


def test_a_tap_cuts_the_stream_before_the_event_and_ends_it_well_formed() -> None:
    cut = CutAt("bad")
    out = play(STREAM, stream(says("good"), says("bad"), says("worse")), stages=[cut])
    assert b"bad" not in out.caller.got.split(b'"error"')[0]
    assert b"worse" not in out.caller.got
    assert out.caller.got.endswith(DONE)
    assert out.caller.ended
    assert out.record.reason == "content_blocked"
    assert out.record.outcome == "denied"
    assert out.upstream.replies[0].closed


def test_a_dry_tap_lets_everything_through() -> None:
    out = play(STREAM, stream(says("bad") + STOP + DONE), stages=[CutAt("bad", shadow=True)])
    assert out.caller.got == says("bad") + STOP + DONE
    assert out.record.findings == (("shadow/content_blocked", "w"),)


def test_a_stream_that_goes_past_its_ceiling_is_cut_as_length() -> None:
    out = play(STREAM, stream(*[says("x")] * 10, STOP + DONE), held=4)
    assert out.caller.got.count(b'"content":"x"'.replace(b":", b": ")) == 4
    assert b'"length"' in out.caller.got
    assert out.caller.got.endswith(DONE)
    assert out.record.reason == "budget_exceeded"


@pytest.mark.parametrize(
    ("error", "status", "reason", "sent"),
    [
        (UpstreamError("connect", "refused"), 502, "upstream_error", False),
        (UpstreamError("timeout", "late"), 504, "upstream_timeout", True),
        (UpstreamError("cut", "gone"), 502, "upstream_error", True),
        (UpstreamError("protocol", "not HTTP"), 502, "upstream_error", True),
    ],
)
def test_an_upstream_that_does_not_answer(error: UpstreamError, status: int, reason: str, sent: bool) -> None:
    out = play(ASK, error)
    assert out.caller.status == status
    assert out.record.reason == reason
    assert out.admit.released[0][1] is sent


@pytest.mark.parametrize("status", [400, 403, 404, 429, 500, 529])
def test_a_providers_own_error_is_passed_on_untouched_and_free(status: int) -> None:
    body = b'{"error":{"message":"theirs","type":"x"},"more":1}'
    out = play(ASK, Says([body], status=status, headers={"retry-after": "3600", "x-request-id": "r9"}))
    assert (out.caller.status, out.caller.got) == (status, body)
    assert out.caller.headers["retry-after"] == "30"
    assert out.caller.headers["x-request-id"] == "r9"
    assert out.record.cost == 0
    assert out.record.upstream_status == status
    assert out.record.outcome == "upstream_error"


@pytest.mark.parametrize(
    "says_", [Says([b"<html>"], status=502, kind="text/html"), Says([b"<html>"], kind="text/html"), Says([b""], status=302, kind="")]
)
def test_what_is_not_the_protocols_becomes_the_protocols_error(says_: Says) -> None:
    out = play(ASK, says_)
    assert out.caller.status == 502
    assert json.loads(out.caller.got)["error"]["message"]
    assert b"<html>" not in out.caller.got


@pytest.mark.parametrize("end", [[UpstreamError("cut", "gone")], [], [b'data: {"half']])
def test_a_stream_that_breaks_off_ends_with_an_error_event(end: Sequence[bytes | Exception]) -> None:
    out = play(STREAM, stream(says("a"), says("b"), *end))
    assert out.caller.got.startswith(says("a") + says("b"))
    last = events(out)
    assert b'"error"' in last[-2]
    assert last[-1] == b"data: [DONE]"
    assert out.record.outcome == "upstream_error"
    assert not out.record.usage_exact
    assert 2 <= out.record.output_tokens <= 3, "half an event may count as one more"


def test_a_stall_is_a_timeout() -> None:
    out = play(STREAM, stream(says("a"), UpstreamError("timeout", "no data")))
    assert out.record.reason == "upstream_timeout"


def test_anthropic_streams_end_with_their_own_error_event() -> None:
    start = b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","usage":{"input_tokens":5,"output_tokens":1}}}\n\n'
    body = b'{"model":"claude","max_tokens":5,"stream":true,"messages":[{"role":"user","content":"hi"}]}'
    out = play(body, stream(start, UpstreamError("cut", "gone")), path="/v1/messages", targets=[CLAUDE])
    assert out.caller.got.startswith(start)
    assert b"event: error" in out.caller.got


def test_a_client_that_leaves_is_charged_for_what_was_made() -> None:
    out = play(STREAM, stream(says("a"), says("b"), says("c"), hang=True), caller=Caller(STREAM, leaves_after=1))
    assert out.record.outcome == "client_gone"
    assert out.record.output_tokens >= 1


@pytest.mark.parametrize("after", range(1, 12))
def test_cancellation_at_any_point_leaves_one_record_and_no_hold(after: int) -> None:
    out = play(STREAM, stream(says("a"), says("b"), says("c"), hang=True), cancel_after=after)
    assert out.record.outcome == "client_gone"
