"""The short way of a stream and the pump's own are one: the same bytes, usage, findings and cuts, whatever is said and however it comes."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from typing import Any
from unittest import mock

import pytest
from engine_script import DONE, SSE, STOP, STREAM, STREAM_WITH_USAGE, USAGE, Caller, Outcome, Says, play, says, stream
from gate_cases import PROTOCOLS, Inspecting, Look, Part, Text, Use
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.engine import pace
from proxy.engine.exchange import Exchange
from proxy.engine.express import Express
from proxy.engine.inspector import Span
from proxy.engine.ports import StoreError
from proxy.engine.stage import Stage, Tap
from proxy.model import Deny, Reason
from proxy.wire.call import Event
from proxy.wire.repeating import RepeatingMeter


class Watch(Stage):
    """Stops a stream at a word, or fails there."""

    name = "watch"

    def __init__(self, word: str, shadow: bool = False, fails: bool = False) -> None:
        self.word, self.shadow, self.fails, self.heard = word, shadow, fails, list[str]()

    def tap(self, ex: Exchange) -> Tap | None:
        def look(event: Event) -> Deny | None:
            self.heard.append(f"{event.kind}:{event.text}:{event.tool}")
            if self.word and self.word in event.text and event.kind == "text":
                if self.fails:
                    raise ZeroDivisionError
                return Deny(Reason.LOOP_DETECTED, "enough", rule="watch", shadow=self.shadow)
            return None

        return look


@dataclasses.dataclass
class Case:
    """One stream, and who looks at it."""

    protocol: str
    pieces: Sequence[bytes | tuple[bytes, ...]]
    look: dict[str, Any]
    watch: tuple[str, bool] | None
    held: int

    def play(self) -> tuple[Outcome, Look, Watch | None]:
        spoken, look = PROTOCOLS[self.protocol], Look(**self.look)
        watch = None if self.watch is None else Watch(*self.watch)
        stages: list[Stage] = [Inspecting(look)] if self.look.get("reach", 0) is None or self.look else []
        out = play(
            json.dumps(spoken.ask).encode(),
            Says(self.pieces, kind=spoken.kind),
            path=spoken.path,
            query=spoken.query,
            stages=[*stages, *([watch] if watch else [])],
            targets=[spoken.target],
            held=self.held,
        )
        return out, look, watch


def told(case: Case) -> dict[str, Any]:
    """Everything that may be known of an exchange afterwards."""
    out, look, watch = case.play()
    ex, record = out.exchange, out.record
    assert ex.meter is not None
    return {
        "got": out.caller.got,
        "record": dataclasses.replace(record, id="", marks={}),
        "findings": ex.findings,
        "meter": {
            name: getattr(ex.meter, name)
            for name in (
                "usage",
                "texts",
                "pieces",
                "tool_calls",
                "finish",
                "model",
                "ended",
                "failed",
                "odd",
                "turns",
                "reply_id",
                "part_ids",
            )
        },
        "judged": look.judged,
        "took": look.took_spans,
        "heard": watch and watch.heard,
    }


READ = "usage texts pieces tool_calls finish model ended failed odd turns reply_id part_ids"
WORD = st.one_of(
    st.sampled_from([" word", "a", " stop", 'say "x"', "back\\slash", "line\n", "é", "雪", "😀", "\u2028", "\x7f", "", " secret", "</s>"]),
    st.text(max_size=6).filter(lambda text: not re.search("[\ud800-\udfff]", text)),
)
TEXT = st.builds(Text, st.lists(WORD, min_size=1, max_size=8).map(tuple), st.booleans())
USE = st.builds(Use, st.sampled_from(["read", "delete"]), st.sampled_from([('{"a":', "1}"), ('{"a"', ':"', "b", " stop", " é\\n", '"}')]))
LOOKS: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {},
        {"calls": True},
        {"refused": frozenset({"delete"})},
        {"pattern": "secret", "reach": 7},
        {"pattern": "secret", "reach": None, "calls": False},
        {"pattern": "stop", "reach": 5, "blocks": True},
    ]
)


@st.composite
def cases(draw: st.DrawFn, protocol: str) -> Case:
    spoken = PROTOCOLS[protocol]
    parts: list[Part] = draw(st.lists(TEXT if not spoken.calls else st.one_of(TEXT, TEXT, USE), min_size=1, max_size=4))
    events = spoken.write(parts)
    odd = draw(st.sampled_from(["", "", "", "again", "broken", "spaced", "cut", "comment"]))
    place = draw(st.integers(0, len(events) - 1))
    if odd == "again":
        events.insert(place, events[place])
    elif odd == "broken":
        events[place] = events[place].replace(b'"', b"'", 1)
    elif odd == "spaced":
        events[place] = events[place].replace(b'": "', b'" :  "', 1)
    elif odd == "cut":
        events = events[:place]
    elif odd == "comment" and spoken.kind == SSE:
        events.insert(place, b": alive\n\n")
    whole, pieces = b"".join(events), list[bytes | tuple[bytes, ...]]()
    how = draw(st.sampled_from(["events", "together", "anyhow"]))
    if how == "events":
        pieces += events
    elif how == "together":
        while events:
            size = draw(st.integers(1, 5))
            pieces.append(tuple(events[:size]))
            events = events[size:]
    else:
        at = 0
        while at < len(whole):
            size = draw(st.integers(1, 400))
            pieces.append(whole[at : at + size])
            at += size
    watch = draw(st.sampled_from([None, ("", False), ("stop", False), ("stop", True)]))
    return Case(protocol, pieces, draw(LOOKS), watch, draw(st.sampled_from([3, 100_000])))


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read all that stands behind a cut, however slow the machine is."""
    monkeypatch.setattr(pace, "BEHIND_S", 60.0)
    monkeypatch.setattr(pace, "GONE_S", 60.0)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_short_way_is_the_long_one(protocol: str, unhurried: None) -> None:
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(cases(protocol))
    def same(case: Case) -> None:
        with mock.patch.object(RepeatingMeter, "_worth", return_value=False):
            long = told(case)
        assert told(case) == long
        with mock.patch.object(Caller, "push", return_value=False):
            assert told(case) == long, "events that are read where they arrive and sent by the pump"

    same()


SAID = [says(f" word{number}") for number in range(9)]


def taken(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return what will have gone the short way."""
    found: list[bytes] = []
    call = Express.__call__

    def counted(self: Express, pieces: Sequence[bytes]) -> int:
        took = call(self, pieces)
        found.extend(pieces[:took])
        return took

    monkeypatch.setattr(Express, "__call__", counted)
    return found


def test_words_after_the_first_go_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    short = taken(monkeypatch)
    out = play(STREAM_WITH_USAGE, stream(*SAID, STOP + USAGE + DONE), stages=[Inspecting(Look())])
    assert short == SAID[1:]
    assert out.caller.got == b"".join(SAID) + STOP + USAGE + DONE
    assert (out.record.bytes_out, out.caller.writes) == (len(out.caller.got), len(SAID) + 1)


def test_what_comes_at_once_leaves_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    short = taken(monkeypatch)
    out = play(STREAM_WITH_USAGE, stream(SAID[0], tuple(SAID[1:5]), (*SAID[5:], STOP), USAGE + DONE), stages=[Inspecting(Look())])
    assert (short, out.caller.writes) == (SAID[1:], 5)
    assert out.caller.got == b"".join(SAID) + STOP + USAGE + DONE


@pytest.mark.parametrize("gone", [False, True])
def test_a_cut_in_the_middle_of_what_came_at_once(gone: bool) -> None:
    ends = says(" stop")
    caller = Caller(STREAM, leaves_after=1 if gone else None)
    out = play(STREAM, stream(SAID[0], (SAID[1], ends, SAID[2])), stages=[Watch("stop")], caller=caller)
    assert out.caller.got.startswith(SAID[0] if gone else SAID[0] + SAID[1])
    assert (out.record.reason, out.record.outcome) == (("", "client_gone") if gone else ("loop_detected", "denied"))
    assert b" stop" not in out.caller.got
    assert out.record.output_tokens == 4, "what stood behind it was made too"


@pytest.mark.parametrize("protocol", [name for name in PROTOCOLS if name != "completions"])
def test_all_protocols_have_it(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    short = taken(monkeypatch)
    events = PROTOCOLS[protocol].write([Text(tuple(f" word{number}" for number in range(20)))])
    out = PROTOCOLS[protocol].play(events, Look())
    assert len(short) >= 18
    assert out.caller.got == b"".join(events)


def test_nothing_does_behind_a_call_that_was_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    short = taken(monkeypatch)
    spoken = PROTOCOLS["chat"]
    out = spoken.play(spoken.write([Use("delete"), Text((" a", " b", " c", " d"))]), Look(refused=frozenset({"delete"})))
    assert (short, out.record.outcome) == ([], "ok")


@pytest.mark.parametrize("protocol", ["chat", "messages", "responses"])
@pytest.mark.parametrize("look", [Look(), Look(refused=frozenset({"delete"})), Look(calls=False, pattern="zz", reach=3), None])
def test_the_arguments_of_a_call_go_there_too(protocol: str, look: Look | None, monkeypatch: pytest.MonkeyPatch) -> None:
    short, spoken = taken(monkeypatch), PROTOCOLS[protocol]
    events = spoken.write([Use("delete", ('{"a"', ':"', *"abcdefgh", '"}'))])
    out = spoken.play(events, look) if look is not None else Case(protocol, events, {}, None, 100_000).play()[0]
    assert len(short) == (10 if look is None or look.calls else 0)
    assert out.record.outcome == "ok"
    assert (out.caller.got == b"".join(events)) == (look is None or not look.refused)


def test_a_call_that_is_too_long_stops_the_reply_there_too(monkeypatch: pytest.MonkeyPatch) -> None:
    short, spoken = taken(monkeypatch), PROTOCOLS["chat"]
    monkeypatch.setattr("proxy.engine.gate.MAX_HELD", 3000)
    out = spoken.play(spoken.write([Use("read", ('{"a":"', *["word"] * 50, '"}'))]), Look())
    assert (0 < len(short) < 20, out.record.outcome) == (True, "denied")
    assert b"word" not in out.caller.got


@pytest.mark.parametrize("protocol", [name for name in PROTOCOLS if name != "completions"])
@pytest.mark.parametrize("reach", [7, None])
def test_texts_that_are_looked_at_wait_there_as_anywhere(protocol: str, reach: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    short, spoken = taken(monkeypatch), PROTOCOLS[protocol]
    events = spoken.write([Text((" a", " b", " c", " d", " e", " sec", "ret", " f", " g", " h", " i", " j", " k"))])
    out = spoken.play(events, Look(pattern="secret", reach=reach))
    assert len(short) >= (5 if reach else 10)
    assert (out.record.outcome, b"ret" in out.caller.got, b"[X]" in out.caller.got) == ("ok", False, True)


@pytest.mark.parametrize("fault", [ZeroDivisionError(), StoreError("gone")])
def test_a_gate_that_fails_there_fails_as_anywhere(fault: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def spans(self: Look, text: str) -> list[Span]:
        if "stop" in text:
            raise fault
        return []

    monkeypatch.setattr(Look, "spans", spans)
    ends: list[tuple[bytes, str]] = []
    for worth in (True, False):
        with mock.patch.object(RepeatingMeter, "_worth", return_value=worth):
            out = play(STREAM, stream(*SAID[:4], says(" stop"), *SAID), stages=[Inspecting(Look(pattern="x", reach=7))])
        ends.append((out.caller.got, out.record.reason))
    assert ends[0] == ends[1]
    assert ends[0][1] == ("store_unavailable" if isinstance(fault, StoreError) else "internal")
    assert b"stop" not in ends[0][0]


def test_nothing_does_behind_a_part_of_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    short = taken(monkeypatch)
    out = play(STREAM_WITH_USAGE, stream(SAID[0], SAID[1] + SAID[2][:9], SAID[2][9:], SAID[3], STOP + DONE))
    assert short == [SAID[3]]
    assert out.caller.got == b"".join(SAID[:4]) + STOP + DONE


def test_a_tap_stops_it_there(monkeypatch: pytest.MonkeyPatch) -> None:
    short = taken(monkeypatch)
    out = play(STREAM, stream(*SAID[:4], says(" stop"), *SAID, hang=True), stages=[Watch("stop")])
    assert (short, out.record.reason) == (SAID[1:4], "loop_detected")
    assert out.caller.got.startswith(b"".join(SAID[:4]) + b"data: {")
    assert b" stop" not in out.caller.got


def test_a_tap_that_fails_there_fails_as_anywhere() -> None:
    out = play(STREAM, stream(*SAID[:4], says(" stop"), *SAID, STOP + DONE), stages=[Watch("stop", fails=True)])
    assert (out.record.outcome, b" stop" in out.caller.got) == ("error", False)
    assert out.caller.got.startswith(b"".join(SAID[:4]))


def test_a_client_that_goes_away_there_is_charged_for_what_was_made() -> None:
    out = play(STREAM, stream(*SAID, STOP + DONE), caller=Caller(STREAM, leaves_after=5))
    assert (out.record.outcome, out.record.output_tokens >= 6) == ("client_gone", True)
    assert out.caller.got == b"".join(SAID[:5])


def test_a_ceiling_is_kept_there() -> None:
    out = play(STREAM, stream(*SAID, STOP + DONE), held=4)
    assert out.record.reason == "budget_exceeded"
    assert out.caller.got.startswith(b"".join(SAID[:4]))
    assert SAID[4] not in out.caller.got


def test_an_array_is_opened_once(monkeypatch: pytest.MonkeyPatch) -> None:
    short, spoken = taken(monkeypatch), PROTOCOLS["gemini-array"]
    first, *rest = spoken.write([Text((" word", " word"))])
    out = spoken.play([first, first, *rest], Look())
    assert (short, out.record.outcome) == ([], "upstream_error")
