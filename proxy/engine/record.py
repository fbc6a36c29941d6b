"""The record: what remains of an exchange. One a request, whatever became of it; the ledger, the metrics, the log and `explain` read it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from proxy.engine.emitted import emitted
from proxy.model import Route, Usage
from proxy.money import cost

if TYPE_CHECKING:
    from proxy.engine.exchange import Exchange

EXPIRED, LOST = "expired", "lost"
"""The outcomes of records that a sweep leaves behind; see `Record.outcome`."""
SWEPT = frozenset((EXPIRED, LOST))
MOST_TOOLS, MAX_TOOL = 32, 128
"""Tool calls of one reply that its record names, and characters of a name."""


@dataclass(slots=True)
class Record:
    """One finished exchange. Nobody changes one; it is not frozen because that would double the cost of making it.

    Attributes:
        id: the request id (sorts by time).
        time: when it started, UTC seconds.
        agent, team, version, file_digest, policy_digest, key_id: who, and under which policy; empty when it never got that far.
        session, session_source, run, parent: correlation.
        protocol, operation, stream: what was asked, in which dialect.
        model_asked, model, provider: the name that the client wrote, the one that served, and who served it.
        route, route_why, difficulty: where it went and why.
        status: the HTTP status that the client got (0: it was gone before any).
        upstream_status: the provider's, 0 when none came.
        outcome: `ok`, `denied`, `upstream_error`, `client_gone`, `error`, or of a process that died: `expired` when its hold was charged in
            full, `lost` when it was settled and its record never came.
        reason, rule, message, remedy: of the refusal or the cut, else empty.
        input_tokens .. reasoning_tokens: as in `model.Usage`; usage_exact false when they are a bound.
        media: (kind, tokens) pairs, as in `model.Usage`.
        cost: nano-dollars charged. price: where the price came from. price_digest: 8 hex digits of its rates.
        repriced: what `ledger --reprice --apply` found that it would cost at later prices; None where nobody asked.
        saved: nano-dollars less than the same tokens cost at the model that was asked for, of a call that the simple model
            served; of one that fell back, what was paid there in vain, as a loss.
        would_save: the same of a call that would have gone there, had scores done more than report.
        fallbacks: the targets that were asked before and replaced, as (provider, model, cause, tokens in, tokens out, nanos, ns it took);
            their nanos are a part of `cost`, their tokens are not among the record's own.
        charges: what each counter was charged, as (counter, unit, amount); the sum over all records is what the counter has spent.
        loop: level, rule, count and action of the loop signal. wasted: nano-dollars since the loop began; wasted_new: what of them no
            earlier record told.
        findings: (rule, detail) pairs. decisions: (stage, words) pairs in order.
        marks: name to ns since the start: body, admitted, sent, head, first_byte, last_byte, closed.
        bytes_in, bytes_out: body bytes from and to the client.
        config: version of the configuration snapshot.
        tools: (name, `passed` or `withheld`) of each tool call in the reply, the first `MOST_TOOLS`; what a tool was given is not kept.
        carbon_ug, carbon_ug_low: micrograms of CO2 equivalents that it took, at most and at least, as estimated; 0 where nobody estimates.
        energy_uwh, energy_uwh_low: micro-watt-hours, likewise.
        trace_id: 32 hex digits of the trace that the exchange belongs to, where that is one that is kept; else empty.
    """

    id: str
    time: float
    agent: str = ""
    team: str = ""
    version: str = ""
    file_digest: str = ""
    policy_digest: str = ""
    key_id: str = ""
    session: str = ""
    session_source: str = ""
    run: str = ""
    parent: str = ""
    protocol: str = ""
    operation: str = ""
    stream: bool = False
    model_asked: str = ""
    model: str = ""
    provider: str = ""
    route: str = ""
    route_why: str = ""
    difficulty: float | None = None
    status: int = 0
    upstream_status: int = 0
    outcome: str = ""
    reason: str = ""
    rule: str = ""
    message: str = ""
    remedy: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0
    usage_exact: bool = True
    cost: int = 0
    price: str = ""
    loop: str = ""
    wasted: int = 0
    wasted_new: int = 0
    findings: tuple[tuple[str, str], ...] = ()
    decisions: tuple[tuple[str, str], ...] = ()
    marks: dict[str, int] = field(default_factory=dict)
    bytes_in: int = 0
    bytes_out: int = 0
    config: str = ""
    price_digest: str = ""
    media: tuple[tuple[str, int], ...] = ()
    charges: tuple[tuple[str, str, int], ...] = ()
    repriced: int | None = None
    saved: int = 0
    would_save: int = 0
    fallbacks: tuple[tuple[str, str, str, int, int, int, int], ...] = ()
    trace_id: str = ""
    tools: tuple[tuple[str, str], ...] = ()
    carbon_ug: int = 0
    carbon_ug_low: int = 0
    energy_uwh: int = 0
    energy_uwh_low: int = 0


def record_of(ex: Exchange) -> Record:
    """Return the record of a closed exchange. Fields that no stage gave stay empty."""
    grant, call, route = getattr(ex, "grant", None), getattr(ex, "call", None), getattr(ex, "route", None)
    principal, deny, usage = getattr(ex, "principal", None), ex.deny, ex.usage or Usage()
    saved, would_save = _saved(ex)
    took = emitted(ex)
    target = ex.target if ex.target is not None else (route.targets[0] if route and route.targets else None)
    return Record(
        id=ex.id,
        time=ex.wall,
        agent=getattr(ex, "agent", ""),
        team=grant.team if grant else "",
        version=grant.version if grant else "",
        file_digest=grant.file_digest if grant else "",
        policy_digest=grant.digest if grant else "",
        key_id=principal.key_id if principal else "",
        session=ex.session,
        session_source=ex.session_source,
        run=ex.run,
        parent=ex.parent,
        protocol=ex.protocol,
        operation=call.operation if call else ex.codec.name if hasattr(ex, "codec") else "",
        stream=call.stream if call else False,
        model_asked=ex.asked_model,
        model=target.model if target else "",
        provider=target.provider if target else "",
        route=_route_reason(ex),
        route_why=_why(ex, route),
        difficulty=route.difficulty if route else None,
        status=ex.status,
        upstream_status=ex.upstream_status,
        outcome=ex.outcome or "error",
        reason=str(deny.reason) if deny else "upstream_error" if ex.outcome == "upstream_error" else "",
        rule=deny.rule if deny else "",
        message=deny.message if deny else "",
        remedy=deny.remedy if deny else "",
        input_tokens=usage.input,
        output_tokens=usage.output,
        cache_read_tokens=usage.cache_read,
        cache_write_tokens=usage.cache_write,
        cache_write_1h_tokens=usage.cache_write_1h,
        reasoning_tokens=usage.reasoning,
        usage_exact=usage.exact,
        cost=ex.cost,
        price=target.price.source if target and target.price else "",
        loop=ex.loop.header() if ex.loop.level != "none" else "",
        wasted=ex.loop.wasted,
        wasted_new=ex.loop.fresh,
        findings=tuple((f.rule, f.detail) for f in ex.findings),
        decisions=tuple(ex.decisions),
        marks=ex.marks,
        bytes_in=ex.sizes[0],
        bytes_out=ex.sizes[1],
        config=ex.rt.version,
        media=usage.media,
        price_digest=target.price.digest if target and target.price else "",
        charges=() if ex.bill is None else ex.bill(ex),
        saved=saved,
        would_save=would_save,
        fallbacks=tuple([(x.provider, x.model, x.cause, x.usage.total_input, x.usage.output, x.cost, x.ns) for x in ex.left]),
        trace_id=_trace_id(ex),
        tools=_tools(ex),
        carbon_ug=took.carbon[1],
        carbon_ug_low=took.carbon[0],
        energy_uwh=took.energy[1],
        energy_uwh_low=took.energy[0],
    )


def _tools(ex: Exchange) -> tuple[tuple[str, str], ...]:
    """Return what became of the tool calls that the meter has seen; where no gate stood before the client, all passed."""
    if ex.meter is None or not ex.meter.tool_calls:
        return ()
    passed = None if ex.shown is None else {(call.id, call.name) for call in ex.shown.tool_calls}
    calls = ex.meter.tool_calls[:MOST_TOOLS]
    return tuple([(c.name[:MAX_TOOL], "passed" if passed is None or (c.id, c.name) in passed else "withheld") for c in calls])


_traceparent = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f][13579bdf](?:-.*)?", re.ASCII)


def _trace_id(ex: Exchange) -> str:
    """Return the trace that is followed, or that a `traceparent` names, if it is kept (the flag `sampled`).

    Source: W3C Trace Context, 3.2.
    """
    if ex.trace is not None:
        return ex.trace.trace_id if ex.trace.sampled else ""
    header = ex.headers.get("traceparent")
    match = None if header is None else _traceparent.fullmatch(header)
    return "" if match is None else match[1]


def _saved(ex: Exchange) -> tuple[int, int]:
    """Return what the simple model saved against the one that was asked for, and what it would have."""
    route, usage = getattr(ex, "route", None), ex.usage
    if route is None or route.other is None or route.other.price is None or usage is None or ex.target is None or not usage.total:
        return 0, 0
    there = cost(usage, route.other.price)
    if route.reason != "local":
        return 0, ex.cost - there
    return (there - ex.cost if ex.target == route.targets[0] else -sum([x.cost for x in ex.left])), 0


def _why(ex: Exchange, route: Route | None) -> str:
    words = [f"{left.provider} {left.model} was replaced ({left.cause}): {left.words}" for left in ex.left]
    return "; ".join([*words, route.why] if route is not None and route.why else words)


def _route_reason(ex: Exchange) -> str:
    route = getattr(ex, "route", None)
    if route is None:
        return ""
    if ex.left or (ex.target is not None and route.targets and ex.target != route.targets[0]):
        return "fallback"
    return str(route.reason)
