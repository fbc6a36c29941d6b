"""Trace contexts: what counts as one, what goes on upstream, and that nothing a client sends there can do harm."""

from __future__ import annotations

import pytest
from engine_script import ANSWER, ASK, LOCAL, STRONG, Says, play
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from proxy.engine.exchange import Exchange
from proxy.engine.record import Record
from proxy.engine.stage import Stage
from proxy.engine.trace import MAX_STATE, Remote, Trace, baggage_of, begun, drawn, numbered, remote_of, state_of
from proxy.model import Deny, Reason, Target

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"
ID = "0123456789ab" + "c0ffee" * 3 + "00"


@pytest.mark.parametrize("value", [PARENT, f" {PARENT} ", f"01-{TRACE}-{SPAN}-01-more", f"cc-{TRACE}-{SPAN}-03"])
def test_a_context_is_read_also_of_later_versions(value: str) -> None:
    assert remote_of({"traceparent": value}) == Remote(TRACE, SPAN, True)


def test_the_flag_says_whether_it_is_sampled() -> None:
    assert remote_of({"traceparent": f"00-{TRACE}-{SPAN}-02"}) == Remote(TRACE, SPAN, False)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "00",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE[:-1]}٣-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\r\nx: y",
    ],
)
def test_what_is_no_context_counts_as_none(value: str) -> None:
    assert remote_of({"traceparent": value}) is None


def test_two_contexts_are_none() -> None:
    assert remote_of(CIMultiDict([("traceparent", PARENT), ("traceparent", PARENT)])) is None
    assert remote_of(CIMultiDict([("Traceparent", PARENT)])) is not None


def test_states_are_joined_and_bounded() -> None:
    assert state_of(CIMultiDict([("tracestate", "a=1"), ("tracestate", "b=2")])) == "a=1,b=2"
    assert state_of({"tracestate": "a=1"}) == "a=1"
    assert state_of({"tracestate": "a=" + "1" * MAX_STATE}) == ""
    assert state_of({"tracestate": "a=\r\nx"}) == ""
    assert state_of({}) == ""


def test_only_wanted_baggage_is_read() -> None:
    headers = {"baggage": "user=ann%20b;ttl=1, tenant = t1 ,odd,user=eve"}
    assert baggage_of(headers, ("tenant", "user", "none")) == (("tenant", "t1"), ("user", "ann b"))
    assert baggage_of({"baggage": "user=" + "x" * 9000}, ("user",)) == ()
    assert baggage_of({"baggage": "user=" + "x" * 900}, ("user",))[0][1] == "x" * 256
    assert baggage_of({}, ("user",)) == ()


def test_a_trace_that_begins_here_bears_the_request_id() -> None:
    trace = begun(ID, None, 1.0)
    assert (trace.trace_id, trace.span_id, trace.parent, trace.sampled) == (ID, ID[16:], "", True)
    assert begun("1" * 16 + "0" * 16, None, 1.0).span_id == "0" * 15 + "1"


def test_a_callers_trace_is_gone_on_with() -> None:
    trace = begun(ID, Remote(TRACE, SPAN, False), 1.0)
    assert (trace.trace_id, trace.span_id, trace.parent, trace.sampled) == (TRACE, ID[16:], SPAN, False)


def test_the_share_that_is_drawn_is_the_ratio_and_depends_on_the_trace_alone() -> None:
    ids = [f"{i * 0x9E3779B97F4A7C15F39CC0605CEDC835 % (1 << 128):032x}" for i in range(1, 20_001)]
    share = sum(drawn(id, 0.01) for id in ids) / len(ids)
    assert 0.008 < share < 0.012
    assert not any(drawn(id, 0.0) for id in ids)
    assert all(drawn(id, 1.0) for id in ids)
    assert all(drawn(id, 0.5) for id in ids if drawn(id, 0.01))


@given(st.integers(0, (1 << 64) - 1), st.integers(0, 1 << 20))
def test_spans_below_one_are_never_none_and_never_itself(span: int, number: int) -> None:
    span_id = f"{span:016x}"
    child = numbered(span_id, number + 1)
    assert len(child) == 16
    assert child != "0" * 16
    assert child != span_id or span == 1


@given(st.text(max_size=80), st.text(max_size=80), st.text(max_size=200))
def test_no_header_can_make_it_fail(parent: str, state: str, baggage: str) -> None:
    headers = {"traceparent": parent, "tracestate": state, "baggage": baggage}
    remote_of(headers)
    state_of(headers)
    baggage_of(headers, ("a", ""))


class Following:
    """Tracing as a test wants it."""

    def __init__(self, propagate: str = "all", fails: str = "") -> None:
        self.propagate, self.fails, self.ended = propagate, fails, list[tuple[Exchange, Record]]()

    def begin(self, ex: Exchange) -> Trace:
        trace = begun(ex.id, remote_of(ex.headers), 1.0)
        trace.propagate, trace.state = self.propagate, state_of(ex.headers)  # type: ignore[assignment]
        return trace

    def end(self, ex: Exchange, record: Record) -> None:
        self.ended.append((ex, record))
        if self.fails:
            raise RuntimeError(self.fails)


CLIENT = {"traceparent": PARENT, "tracestate": "v=1", "baggage": "user=ann", "user-agent": "u"}


def sent(target: Target, propagate: str) -> dict[str, str]:
    """The headers that `target` gets."""
    found = play(ASK, Says([ANSWER]), targets=(target,), headers=CLIENT, tracing=Following(propagate))
    return {name.lower(): value for name, value in found.upstream.asked[0].headers}


def test_a_provider_is_told_the_span_that_asks_it() -> None:
    found = play(ASK, Says([ANSWER]), headers=CLIENT, tracing=Following())
    headers = dict(found.upstream.asked[0].headers)
    trace = found.exchange.trace
    assert trace is not None
    assert headers["traceparent"] == f"00-{TRACE}-{trace.attempt(1)}-01"
    assert headers["tracestate"] == "v=1"
    assert "baggage" not in headers
    assert found.record.trace_id == TRACE
    assert trace.attempts == 1


@pytest.mark.parametrize(
    ("target", "propagate", "names"),
    [
        (STRONG, "all", {"traceparent", "tracestate"}),
        (STRONG, "local", set()),
        (STRONG, "none", set()),
        (LOCAL, "all", {"traceparent", "tracestate", "baggage"}),
        (LOCAL, "local", {"traceparent", "tracestate", "baggage"}),
        (LOCAL, "none", set()),
    ],
)
def test_who_is_told_is_the_operators_choice(target: Target, propagate: str, names: set[str]) -> None:
    assert set(sent(target, propagate)) & {"traceparent", "tracestate", "baggage"} == names


def test_each_target_that_is_asked_has_a_span_of_its_own() -> None:
    found = play(ASK, Says(status=503), Says([ANSWER]), targets=(STRONG, LOCAL), headers=CLIENT, tracing=Following())
    parents = [dict(asked.headers)["traceparent"] for asked in found.upstream.asked]
    assert len(set(parents)) == 2
    assert found.exchange.trace is not None
    assert found.exchange.trace.attempts == 2


def test_without_tracing_the_clients_context_goes_on_as_it_came() -> None:
    found = play(ASK, Says([ANSWER]), headers=CLIENT)
    assert dict(found.upstream.asked[0].headers)["traceparent"] == PARENT
    assert found.exchange.trace is None


def test_a_trace_that_cannot_be_taken_changes_nothing() -> None:
    tracing = Following(fails="no room")
    found = play(ASK, Says([ANSWER]), tracing=tracing)
    assert found.caller.status == 200
    assert found.record.outcome == "ok"
    assert len(tracing.ended) == 1


class Refuses(Stage):
    name = "refuses"

    async def request(self, ex: Exchange) -> Deny | None:
        return Deny(Reason.POLICY_DENIED, "no", rule="r")


def test_a_refusal_has_a_trace_too() -> None:
    tracing = Following()
    found = play(ASK, stages=(Refuses(),), headers=CLIENT, tracing=tracing)
    assert not found.upstream.asked
    assert found.record.trace_id == TRACE
    assert tracing.ended[0][1] is found.record
