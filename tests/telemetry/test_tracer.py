"""What is sampled, what is linked, and what of an exchange goes to the exporter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from record_samples import REFUSED, SERVED, STRANGER

from proxy.engine.capture import Heard
from proxy.engine.exchange import Exchange, new_id
from proxy.engine.record import Record
from proxy.engine.trace import Trace
from proxy.telemetry.content import Content
from proxy.telemetry.genai import GenAiMetrics
from proxy.telemetry.spans import Kept
from proxy.telemetry.tracer import MAX_SESSIONS, Sampling, Tracer, details_of

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Outlet:
    def __init__(self) -> None:
        self.kept: list[Kept] = []
        self.stopped = 0.0

    def put(self, kept: Kept) -> None:
        self.kept.append(kept)

    def stop(self, within_s: float) -> None:
        self.stopped = within_s


def exchange(headers: dict[str, str] | None = None) -> Exchange:
    """As much of one as a tracer looks at."""
    ex = SimpleNamespace(
        id=new_id(SERVED.time), headers=headers or {}, trace=None, method="POST", path="/v1/x", meter=None, max_output=None, client=None
    )
    return cast(Exchange, ex)


def ran(tracer: Tracer, record: Record = SERVED, headers: dict[str, str] | None = None) -> Trace:
    """Begin and end an exchange."""
    ex = exchange(headers)
    trace = ex.trace = tracer.begin(ex)
    tracer.end(ex, replace(record, id=ex.id))
    return trace


def made(outlet: Outlet, **sampling: Any) -> Tracer:
    return Tracer(Sampling(**sampling), outlet)


def parent(flag: str) -> dict[str, str]:
    return {"traceparent": f"00-{TRACE}-{SPAN}-{flag}", "tracestate": "v=1", "baggage": "user=ann"}


@pytest.mark.parametrize(
    ("sampling", "headers", "record", "kept"),
    [
        ({}, None, SERVED, True),
        ({"ratio": 0.0}, None, SERVED, False),
        ({"ratio": 0.0}, parent("01"), SERVED, True),
        ({"ratio": 1.0}, parent("00"), SERVED, False),
        ({"ratio": 0.0, "errors": True}, None, SERVED, False),
        ({"ratio": 0.0, "errors": True}, None, REFUSED, True),
        ({"ratio": 1.0, "errors": True}, parent("00"), REFUSED, True),
        ({"ratio": 0.0, "adopt": False}, parent("01"), SERVED, False),
        ({"ratio": 0.0}, parent("01"), STRANGER, False),
        ({"ratio": 0.0, "errors": True}, parent("01"), STRANGER, False),
        ({"ratio": 1.0}, parent("01"), STRANGER, True),
    ],
)
def test_who_is_kept(sampling: dict[str, Any], headers: dict[str, str] | None, record: Record, kept: bool) -> None:
    outlet = Outlet()
    ran(made(outlet, **sampling), record, headers)
    assert len(outlet.kept) == kept


def test_a_callers_trace_is_gone_on_with_or_linked_to() -> None:
    outlet = Outlet()
    adopted = ran(made(outlet, baggage=("user",), propagate="local"), SERVED, parent("01"))
    assert (adopted.trace_id, adopted.parent, adopted.state, adopted.baggage) == (TRACE, SPAN, "v=1", (("user", "ann"),))
    assert adopted.propagate == "local"
    own = ran(made(outlet, adopt=False), SERVED, parent("01"))
    assert (own.trace_id != TRACE, own.parent, own.state, own.baggage) == (True, "", "", ())
    assert outlet.kept[0].details.links == ()
    assert outlet.kept[1].details.links == ((TRACE, SPAN),)


@pytest.mark.parametrize(
    ("parent_id", "session"), [("triage/s-1", "triage/s-1"), ("s-1", "other/s-1"), ("agent-7", "other/s-2")], ids=["named", "own", "within"]
)
def test_a_sub_agent_links_to_who_began_it(parent_id: str, session: str) -> None:
    outlet = Outlet()
    tracer = made(outlet)
    first = ran(tracer, replace(SERVED, session=session))
    ran(tracer, replace(SERVED, session="other/s-2" if parent_id == "agent-7" else "other/s-3", parent=parent_id))
    assert outlet.kept[1].details.links == ((first.trace_id, first.span_id),)


def test_nobody_links_to_the_sessions_of_another_key() -> None:
    outlet = Outlet()
    tracer = made(outlet)
    ran(tracer, replace(SERVED, session="triage/s-1", key_id="k1"))
    ran(tracer, replace(SERVED, session="other/s-3", parent="triage/s-1", key_id="k2"))
    assert outlet.kept[1].details.links == ()


def test_what_is_remembered_of_sessions_is_bounded() -> None:
    tracer = made(Outlet(), ratio=0.0)
    for i in range(MAX_SESSIONS * 2):
        tracer._remember(("k", f"a/{i}"), (TRACE, SPAN))
    assert len(tracer._young) + len(tracer._old) <= MAX_SESSIONS


def test_metrics_count_what_is_not_sampled_too() -> None:
    metrics = GenAiMetrics()
    tracer = Tracer(Sampling(ratio=0.0), Outlet(), metrics)
    ran(tracer)
    assert len(metrics.duration.rows) == 1


def test_an_exchange_without_a_trace_is_let_be() -> None:
    outlet = Outlet()
    made(outlet).end(exchange(), SERVED)
    assert not outlet.kept


def test_the_end_waits_for_no_longer_than_a_bound() -> None:
    outlet = Outlet()
    made(outlet).stop()
    assert 0 < outlet.stopped <= 10


def calls(*names: str) -> Sequence[SimpleNamespace]:
    return [SimpleNamespace(name=name, id=f"call-{name}") for name in names]


def test_details_are_what_the_record_lacks() -> None:
    ex = exchange()
    ex.codec = cast(Any, object())
    ex.path = "/v1beta/models/gemini-3:streamGenerateContent"
    ex.grant = cast(Any, SimpleNamespace(data={"secrets": "redact"}))
    ex.call = cast(Any, SimpleNamespace(max_output=100, choices=2))
    ex.meter = cast(Any, SimpleNamespace(reply_id="r", finish="stop", model="m", tool_calls=calls("a", "b")))
    cast(Any, ex).shown = SimpleNamespace(tool_calls=calls("a"))
    found = details_of(ex, ())
    assert found.http_route == "/v1beta/models/{model}:streamGenerateContent"
    assert found.tools == (("a", "call-a", True), ("b", "call-b", False))
    assert (found.reply_id, found.finish, found.served, found.max_output, found.choices) == ("r", "stop", "m", 100, 2)
    assert found.modes == (("secrets", "redact"),)
    cast(Any, ex).shown = None
    assert all(passed for _, _, passed in details_of(ex, ()).tools)


@pytest.mark.parametrize("content", [None, Content("x", 1.0, "a", "a/s", "full", 2.0)])
def test_spans_wait_for_what_may_be_kept_of_what_was_said(content: Content | None) -> None:
    outlet = Outlet()
    tracer = made(outlet)
    ex = exchange()
    ex.client = heard = Heard(ex, lambda _: True, 10, lambda size: True)
    ex.trace = tracer.begin(ex)
    tracer.end(ex, replace(SERVED, id=ex.id))
    assert outlet.kept == []
    assert heard.then is not None
    heard.then(content)
    assert [kept.details.content for kept in outlet.kept] == [content]
