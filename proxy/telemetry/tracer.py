"""Following exchanges: whose trace each belongs to, which of them are kept, and what of them goes to the exporter.

Decides what is sampled: as the caller's trace is, else the configured share of all, drawn by the trace id; with `errors`, refusals and
failures always. Whoever did not prove who they are cannot have anything kept: their share is the configured one. Makes no spans; a kept
exchange costs the loop a handful of attribute reads, the rest is the exporter's thread's. Remembers, within bounds, the last exchange of
each session, so that those of an agent that it began can link to it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol

from proxy.engine.capture import Heard
from proxy.engine.exchange import Exchange
from proxy.engine.record import Record
from proxy.engine.trace import Trace, baggage_of, begun, drawn, remote_of, state_of
from proxy.model import Reason
from proxy.telemetry.content import Content
from proxy.telemetry.genai import GenAiMetrics
from proxy.telemetry.spans import MAX_CHILDREN, Details, Kept

MAX_SESSIONS = 20_000
_STRANGERS = frozenset((Reason.UNAUTHENTICATED.value, Reason.UNKNOWN_AGENT.value))
_MODEL = re.compile(r"(/models/)[^/:]+")
CLOSE_S = 5.0
"""How long the last spans may take at shutdown."""


class Outlet(Protocol):
    """Where kept exchanges go (see `telemetry.otlp.Exporter`)."""

    def put(self, kept: Kept) -> None:
        """Take one, in any thread; must not block."""
        ...

    def stop(self, within_s: float) -> None:
        """Send what is left, within so many seconds."""
        ...


@dataclass(frozen=True, slots=True)
class Sampling:
    """What is kept and who is told.

    Attributes:
        ratio: the share of traces that begin here. errors: refusals and failures are kept whatever was drawn.
        adopt: callers' traces are gone on with; else they are linked to.
        propagate: which providers are told the trace. baggage: what of the callers' becomes attributes.
    """

    ratio: float = 1.0
    errors: bool = False
    adopt: bool = True
    propagate: Literal["all", "local", "none"] = "all"
    baggage: tuple[str, ...] = ()


class Tracer:
    """Implements `engine.trace.Tracing`. One loop's."""

    def __init__(self, sampling: Sampling, outlet: Outlet, metrics: GenAiMetrics | None = None) -> None:
        self._sampling, self._outlet, self._metrics = sampling, outlet, metrics
        self._young: dict[tuple[str, str], tuple[str, str]] = {}
        self._old: dict[tuple[str, str], tuple[str, str]] = {}

    def begin(self, ex: Exchange) -> Trace:
        """See `Tracing.begin`."""
        sampling, headers = self._sampling, ex.headers
        remote = remote_of(headers)
        if remote is not None and sampling.adopt:
            trace = begun(ex.id, remote, sampling.ratio)
            trace.state = state_of(headers)
        else:
            trace = begun(ex.id, None, sampling.ratio)
            trace.remote = remote
        trace.propagate = sampling.propagate
        if sampling.baggage:
            trace.baggage = baggage_of(headers, sampling.baggage)
        return trace

    def end(self, ex: Exchange, record: Record) -> None:
        """See `Tracing.end`."""
        trace = ex.trace
        if trace is None:
            return
        if self._metrics is not None:
            self._metrics.take(record)
        links: tuple[tuple[str, str], ...] = ()
        if record.session:
            if record.parent:
                links = self._above(record)
            self._remember((record.key_id, record.session), (trace.trace_id, trace.span_id))
        if self._kept(trace, record):
            if trace.remote is not None and not trace.parent:
                links = (*links, (trace.remote.trace_id, trace.remote.span_id))
            kept = Kept(record, trace, details_of(ex, links))
            if isinstance(ex.client, Heard):  # what was said goes with it, once it is known what may be kept
                ex.client.then = partial(self._put, kept)
            else:
                self._outlet.put(kept)

    def _put(self, kept: Kept, content: Content | None) -> None:
        kept.details.content = content
        self._outlet.put(kept)

    def _kept(self, trace: Trace, record: Record) -> bool:
        sampling = self._sampling
        if record.reason in _STRANGERS:
            return drawn(trace.trace_id if not trace.parent else record.id, sampling.ratio)
        return trace.sampled or (sampling.errors and record.outcome != "ok")

    def _above(self, record: Record) -> tuple[tuple[str, str], ...]:
        """Return the last span of the session that began this one's, where that is known."""
        agent = record.session.partition("/")[0]
        for session in (record.parent, f"{agent}/{record.parent}", record.session):
            key = (record.key_id, session)
            found = self._young.get(key) or self._old.get(key)
            if found is not None:
                return (found,)
        return ()

    def _remember(self, key: tuple[str, str], span: tuple[str, str]) -> None:
        if len(self._young) >= MAX_SESSIONS // 2 and key not in self._young:
            self._old, self._young = self._young, {}
        self._young[key] = span

    def stop(self) -> None:
        """Send what is left. Waits, for `CLOSE_S` at most."""
        self._outlet.stop(CLOSE_S)


def details_of(ex: Exchange, links: tuple[tuple[str, str], ...]) -> Details:
    """Return what of `ex` its spans need beside its record."""
    found = Details(ex.method, ex.path[:1024], links=links)
    if hasattr(ex, "codec"):
        found.http_route = _MODEL.sub(r"\1{model}", found.path)
    grant = getattr(ex, "grant", None)
    if grant is not None:
        found.modes = tuple(grant.data.items())
    call = getattr(ex, "call", None)
    if call is not None:
        found.max_output = ex.max_output if ex.max_output is not None else call.max_output
        found.choices = call.choices
    meter = ex.meter
    if meter is not None:
        found.reply_id, found.finish, found.served = meter.reply_id, meter.finish, meter.model
        if meter.tool_calls:
            passed = None if ex.shown is None else {(tool.id, tool.name) for tool in ex.shown.tool_calls}
            calls = meter.tool_calls[:MAX_CHILDREN]
            found.tools = tuple([(c.name[:256], c.id[:256], passed is None or (c.id, c.name) in passed) for c in calls])
    return found
