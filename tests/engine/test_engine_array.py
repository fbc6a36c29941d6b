"""A stream that is one JSON array stays valid JSON wherever it is cut: what the client gets is read strictly in each test."""

from __future__ import annotations

import json
from typing import Any

import pytest
from engine_script import Outcome, Says, play

from proxy.engine.exchange import Exchange
from proxy.engine.ports import UpstreamError
from proxy.engine.stage import Stage, Tap
from proxy.model import Deny, Reason
from proxy.wire.call import Event

ASK = b'{"contents":[{"parts":[{"text":"hi"}]}]}'
PATH = "/v1/models/strong:streamGenerateContent"
SAID = [
    b'[{"candidates":[{"content":{"parts":[{"text":"%d"}]}}]}' % i
    if i == 0
    else b'\n,\r\n{"candidates":[{"content":{"parts":[{"text":"%d"}]}}]}' % i
    for i in range(4)
]
STOP = b'\n,\r\n{"candidates":[{"finishReason":"STOP"}]}'


class CutAt(Stage):
    """Cuts a stream at the first event whose text is `word`; `*` at the end of the array."""

    name = "cut"

    def __init__(self, word: str, reason: Reason) -> None:
        self.word, self.reason = word, reason

    def tap(self, ex: Exchange) -> Tap | None:
        def look(event: Event) -> Deny | None:
            hit = event.text == self.word or (self.word == "*" and event.raw.endswith(b"]"))
            return Deny(self.reason, "no", rule="w") if hit else None

        return look


def stream(*pieces: bytes | Exception, stages: tuple[Stage, ...] = (), held: int = 100) -> Outcome:
    return play(ASK, Says(pieces), path=PATH, stages=stages, held=held)


def got(outcome: Outcome) -> list[dict[str, Any]]:
    assert outcome.caller.ended
    found: list[dict[str, Any]] = json.loads(outcome.caller.got)
    return found


def test_a_clean_array_is_byte_identical() -> None:
    whole = b"".join([*SAID, STOP, b"\n]\n"])
    for pieces in ([whole], [whole[i : i + 7] for i in range(0, len(whole), 7)]):
        for stages in ((), (CutAt("nowhere", Reason.CONTENT_BLOCKED),)):
            out = stream(*pieces, stages=stages)
            assert out.caller.got == whole
            assert out.record.outcome == "ok"


@pytest.mark.parametrize("passed", [0, 1, 3])
@pytest.mark.parametrize("reason", [Reason.CONTENT_BLOCKED, Reason.BUDGET_EXCEEDED])
@pytest.mark.parametrize("at_once", [True, False])
def test_a_cut_by_a_tap(passed: int, reason: Reason, at_once: bool) -> None:
    pieces = [b"".join(SAID)] if at_once else SAID
    *before, ending = got(stream(*pieces, STOP, b"\n]\n", stages=(CutAt(str(passed), reason),)))
    assert [r["candidates"][0]["content"]["parts"][0]["text"] for r in before] == ["0", "1", "2"][:passed]
    assert ending["fleetgate"]["reason"] == str(reason)
    assert ("error" in ending) == (reason is Reason.CONTENT_BLOCKED)


def test_a_cut_at_the_closing_bracket() -> None:
    *before, ending = got(stream(*SAID, STOP, b"\n]\n", stages=(CutAt("*", Reason.CONTENT_BLOCKED),)))
    assert (len(before), ending["error"]["code"]) == (5, 403)


@pytest.mark.parametrize("passed", [0, 1, 4])
@pytest.mark.parametrize("rest", [b"", b'\n,\r\n{"candid', b"\n,", b"\n"])
@pytest.mark.parametrize("error", [None, UpstreamError("cut", "gone", 200), UpstreamError("timeout", "slow", 200)])
def test_an_array_that_breaks_off(passed: int, rest: bytes, error: UpstreamError | None) -> None:
    rest = rest if passed else rest.replace(b"\n,\r\n", b"[").replace(b"\n,", b"[")
    *before, ending = got(stream(*SAID[:passed], rest, *([error] if error else [])))
    assert len(before) == passed
    assert ending["fleetgate"]["reason"] == ("upstream_timeout" if error and error.kind == "timeout" else "upstream_error")


@pytest.mark.parametrize("body", [b'{"candidates":[]}', b"data: {}\n\n", b"[{}]{}"])
def test_what_is_no_array(body: bytes) -> None:
    out = stream(body)
    assert out.record.outcome == "upstream_error"
    assert got(out)[-1]["fleetgate"]["reason"] == "upstream_error"


def test_one_that_goes_past_its_ceiling() -> None:
    out = stream(*SAID, held=2)
    assert [r["candidates"][0].get("finishReason") for r in got(out)] == [None, None, "MAX_TOKENS"]
    assert out.record.reason == "budget_exceeded"
