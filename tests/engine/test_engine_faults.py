"""Faults of our own, and ends that nobody wants: each exchange still ends well-formed, with one record and no hold."""

from __future__ import annotations

import json

from engine_script import ANSWER, ASK, DONE, STOP, STREAM, Caller, Says, play, says, stream

from proxy.engine.exchange import Exchange
from proxy.engine.ports import UpstreamError
from proxy.engine.record import Record
from proxy.engine.stage import Stage, Tap
from proxy.model import Deny, Nanos, Usage
from proxy.wire.call import Event


class Breaks(Stage):
    """A tap with a fault in it."""

    name = "breaks"

    def tap(self, ex: Exchange) -> Tap | None:
        def look(event: Event) -> Deny | None:
            raise ZeroDivisionError

        return look


class BrokenSink:
    name = "broken"

    def record(self, record: Record) -> None:
        raise ZeroDivisionError

    async def close(self) -> None:
        """Nothing to write."""


def broken_settle(ex: Exchange) -> tuple[Usage, Nanos]:
    raise ZeroDivisionError


def test_a_fault_before_the_reply_is_a_500_without_details() -> None:
    out = play(ASK, ZeroDivisionError("secret"))
    assert out.caller.status == 500
    assert json.loads(out.caller.got)["fleetgate"]["reason"] == "internal"
    assert b"secret" not in out.caller.got
    assert (out.record.outcome, out.record.reason) == ("error", "internal")


def test_a_fault_in_a_stream_ends_it_well_formed() -> None:
    out = play(STREAM, stream(says("a"), STOP + DONE), stages=[Breaks()])
    assert b'"content": "a"' not in out.caller.got
    assert out.caller.got.endswith(DONE)
    assert out.caller.ended
    assert out.record.outcome == "error"


def test_a_sink_that_fails_keeps_no_other_from_the_record() -> None:
    assert play(ASK, Says([ANSWER]), sinks=[BrokenSink()]).record.outcome == "ok"


def test_usage_that_cannot_be_told_is_charged_in_full() -> None:
    out = play(ASK, Says([ANSWER]), settle=broken_settle)
    assert out.caller.got == ANSWER
    assert out.admit.released == [(None, True)], "no usage tells the hold to settle in full"


def test_a_client_that_is_gone_is_no_fault() -> None:
    assert play(b"{", caller=Caller(b"{", leaves_after=0)).record.outcome == "client_gone"
    assert play(ASK, ZeroDivisionError(), caller=Caller(ASK, leaves_after=0)).record.outcome == "error"


def test_a_provider_that_cannot_finish_its_own_error_is_an_upstream_error() -> None:
    out = play(ASK, Says([b"{", UpstreamError("cut", "gone")], status=500))
    assert (out.caller.status, out.record.reason) == (502, "upstream_error")


def test_an_event_over_the_bound_ends_the_stream() -> None:
    out = play(STREAM, stream(says("a"), b"data: " + b"x" * (17 << 20)))
    assert out.record.outcome == "upstream_error"
    assert out.caller.got.endswith(DONE)


def test_a_last_event_without_its_blank_line_goes_through() -> None:
    out = play(STREAM, stream(says("a"), STOP, b"data: [DONE]"))
    assert out.caller.got == says("a") + STOP + b"data: [DONE]"
    assert out.record.outcome == "ok"


def test_single_characters_are_not_taken_for_tokens() -> None:
    text = "a quite ordinary sentence"
    out = play(STREAM, stream(*[says(c) for c in text], STOP + DONE), held=12, count=lambda ex: 4)
    assert out.record.outcome == "ok"
    assert play(STREAM, stream(*[says(c) for c in text], STOP + DONE), held=12, count=lambda ex: 13).record.reason == "budget_exceeded"


def test_a_shutdown_ends_streams_in_their_protocol() -> None:
    out = play(STREAM, stream(says("a"), hang=True), cut_short=True)
    assert out.caller.got.startswith(says("a"))
    assert out.caller.got.endswith(DONE)
    assert out.record.outcome == "upstream_error"
