"""The record: what remains of an exchange. One a request, whatever became of it; the ledger, the metrics, the log and `explain` read it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from proxy.engine.emitted import emitted
from proxy.engine.reply import served_as
from proxy.model import Route, Usage
from proxy.money import cost

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.engine.exchange import Exchange, Left
    from proxy.wire.base import Meter

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
    """Return the record of a closed exchange. Fields that no stage gave stay empty.

    By place, in the order of the fields: by name, so many of them take four times as long.
    """
    principal, grant = getattr(ex, "principal", None), getattr(ex, "grant", None)
    call, route = getattr(ex, "call", None), getattr(ex, "route", None)
    usage, loop, left, target, took = ex.usage or _NO_USAGE, ex.loop, ex.left, ex.target, emitted(ex)
    if target is None and route is not None and route.targets:
        target = route.targets[0]
    price = None if target is None else target.price
    team, version, file, policy = ("", "", "", "") if grant is None else (grant.team, grant.version, grant.file_digest, grant.digest)
    chosen, why, difficulty = "", "", None
    if route is not None:
        chosen, why, difficulty = served_as(ex, route), _why(left, route) if left else route.why, route.difficulty
    reason, rule, message, remedy = _NO_REFUSAL if ex.deny is None and ex.outcome != "upstream_error" else _refused(ex)
    saved, would_save = (0, 0) if route is None or route.other is None else _saved(ex, route, usage)
    return Record(
        ex.id, ex.wall, getattr(ex, "agent", ""), team, version, file, policy, "" if principal is None else principal.key_id,
        ex.session, ex.session_source, ex.run, ex.parent,
        ex.protocol, _operation(ex) if call is None else call.operation, call is not None and call.stream,
        ex.asked_model, "" if target is None else target.model, "" if target is None else target.provider, chosen, why, difficulty,
        ex.status, ex.upstream_status, ex.outcome or "error", reason, rule, message, remedy,
        usage.input, usage.output, usage.cache_read, usage.cache_write, usage.cache_write_1h, usage.reasoning, usage.exact,
        ex.cost, "" if price is None else price.source,
        "" if loop.level == "none" else loop.header(), loop.wasted, loop.fresh,
        tuple([(f.rule, f.detail) for f in ex.findings]) if ex.findings else (), tuple(ex.decisions), ex.marks,
        ex.sizes[0], ex.sizes[1], ex.rt.version, "" if price is None else price.digest, usage.media,
        () if ex.bill is None else ex.bill(ex), None, saved, would_save, _replaced(left) if left else (),
        _trace_id(ex), () if ex.meter is None or not ex.meter.tool_calls else _tools(ex, ex.meter),
        took.carbon[1], took.carbon[0], took.energy[1], took.energy[0],
    )  # fmt: skip


def _operation(ex: Exchange) -> str:
    """Return what was asked of a request that nobody read."""
    return ex.codec.name if hasattr(ex, "codec") else ""


_NO_REFUSAL = ("", "", "", "")


def _refused(ex: Exchange) -> tuple[str, str, str, str]:
    """Return reason, rule, message and remedy of what was refused, cut or failed at the provider."""
    deny = ex.deny
    return ("upstream_error", "", "", "") if deny is None else (str(deny.reason), deny.rule, deny.message, deny.remedy)


def _replaced(left: Sequence[Left]) -> tuple[tuple[str, str, str, int, int, int, int], ...]:
    """Return the targets that were asked before and replaced."""
    return tuple([(x.provider, x.model, x.cause, x.usage.total_input, x.usage.output, x.cost, x.ns) for x in left])


_NO_USAGE = Usage()


def _tools(ex: Exchange, meter: Meter) -> tuple[tuple[str, str], ...]:
    """Return what became of the tool calls that the meter has seen; where no gate stood before the client, all passed."""
    passed = None if ex.shown is None else {(call.id, call.name) for call in ex.shown.tool_calls}
    calls = meter.tool_calls[:MOST_TOOLS]
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


def _saved(ex: Exchange, route: Route, usage: Usage) -> tuple[int, int]:
    """Return what the simple model saved against the one that was asked for, and what it would have."""
    if route.other is None or route.other.price is None or ex.target is None or not usage.total:
        return 0, 0
    there = cost(usage, route.other.price)
    if route.reason != "local":
        return 0, ex.cost - there
    return (there - ex.cost if ex.target == route.targets[0] else -sum([x.cost for x in ex.left])), 0


def _why(left: Sequence[Left], route: Route) -> str:
    """Return why a call went where it did that others were asked before."""
    words = [f"{x.provider} {x.model} was replaced ({x.cause}): {x.words}" for x in left]
    return "; ".join([*words, route.why] if route.why else words)
