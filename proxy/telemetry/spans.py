"""The spans of one exchange, made from its finished record: what happened when, and what was found. Pure; runs in the exporter's thread.

    exchange    SERVER    the client's request and our reply; an event for each decision, links to who began it
      admit     INTERNAL  from the body's arrival to the decision to send it, or to the refusal
      guard     INTERNAL  one for each finding, and one for the refusal; verdict and action apart
      model     CLIENT    one for each target that was asked and is known of: the one that served, and those it took the place of
        tool    INTERNAL  one for each tool call in the reply; it has no length, since the client runs the tool

Prompts, replies and arguments are in none of them but where they are kept (`telemetry.content`). What one exchange can bring is bounded
(`MAX_CHILDREN`, `MAX_EVENTS`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from proxy.engine.record import Record
from proxy.engine.trace import Trace, numbered
from proxy.model import Reason
from proxy.model.footprints import MICRO
from proxy.money import NANOS
from proxy.telemetry.content import Content
from proxy.telemetry.messages import input_messages, output_messages
from proxy.telemetry.semconv import BAGGAGE, DECISION, Facts, SpanKind, Value, attributes, text, vendor_of
from proxy.telemetry.timing import total_ns, ttft_ns

SECOND = 1_000_000_000
JSON = "application/json"
MAX_CHILDREN = 64
"""Spans for findings of one exchange, and as many for tool calls."""
MAX_EVENTS = 64
REASONS = frozenset(reason.value for reason in Reason)
DOES = {"warn": ("warn", "allow"), "redact": ("modify", "modify"), "block": ("deny", "deny")}
"""What a guard's mode makes of what it found: verdict and action."""
_BLOCKED = frozenset({Reason.CONTENT_BLOCKED.value, Reason.TOOL_CALL_BLOCKED.value})
_GENERATES = ("chat", "embeddings")
_GUARDS, _TOOLS = 1 << 16, 1 << 17
"""Where the numbers of these spans begin; targets have the small ones."""


@dataclass(slots=True)
class Details:
    """What of an exchange no record holds.

    Attributes:
        method, path: of the client's request; http_route: the path as documented, empty where nobody meters it.
        reply_id, finish, served: as the provider said: the reply's id, why it ended, the model.
        tools: name, id, and whether it was let through, of each tool call in the reply.
        max_output, choices: as they were sent; None and 1 where nothing was said.
        modes: each guard's mode for this agent, as far as its file says one.
        links: traces and spans of who began this agent.
        content: what is kept of what was said.
    """

    method: str = ""
    path: str = ""
    http_route: str = ""
    reply_id: str = ""
    finish: str = ""
    served: str = ""
    tools: tuple[tuple[str, str, bool], ...] = ()
    max_output: int | None = None
    choices: int = 1
    modes: tuple[tuple[str, str], ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    content: Content | None = None


@dataclass(slots=True)
class Event:
    """Something that happened in a span."""

    name: str
    at: int
    attributes: dict[str, Value]


@dataclass(slots=True)
class Span:
    """One span. Times are UTC nanoseconds. `failed` sets its status to error; left open otherwise, as servers' spans want it."""

    span: SpanKind
    name: str
    trace_id: str
    span_id: str
    parent: str
    start: int
    end: int
    attributes: dict[str, Value]
    events: list[Event] = field(default_factory=list)
    links: tuple[tuple[str, str], ...] = ()
    failed: str = ""


@dataclass(slots=True)
class Kept:
    """An exchange whose spans are wanted."""

    record: Record
    trace: Trace
    details: Details


def spans_of(kept: Kept) -> list[Span]:
    """Return the spans of an exchange, its own first."""
    found = [_exchange(kept), _admit(kept), *_models(kept)]
    if kept.details.tools:
        found += _tools(kept, found[-1])
    found += _guards(kept)
    return found


def _base(kept: Kept, kind: str) -> Facts:
    return {"kind": kind, "agent": kept.record.agent, "session": kept.record.session}


def _began(kept: Kept) -> int:
    return int(kept.record.time * SECOND)


def _exchange(kept: Kept) -> Span:
    record, trace, details = kept.record, kept.trace, kept.details
    failed = record.reason or record.outcome if record.status >= 500 or record.outcome == "error" else ""
    failed = text(failed)
    facts: Facts = _base(kept, "AGENT") | {
        "version": record.version,
        "team": record.team,
        "run": record.run,
        "parent": record.parent,
        "id": record.id,
        "method": details.method,
        "path": details.path,
        "http_route": details.http_route,
        "bytes_in": record.bytes_in,
        "bytes_out": record.bytes_out,
        "protocol": record.protocol,
        "outcome": record.outcome,
        "reason": record.reason,
        "rule": record.rule,
        "route": record.route,
        "route_why": record.route_why,
        "loop": record.loop,
        "policy": record.policy_digest,
        "config": record.config,
        "cost": record.cost / NANOS,
        "error": failed,
    }
    if record.status:
        facts["status"] = record.status
    if record.difficulty is not None:
        facts["difficulty"] = record.difficulty
    if record.carbon_ug:
        facts |= {"carbon": record.carbon_ug / MICRO, "carbon_low": record.carbon_ug_low / MICRO}
        facts |= {"energy": record.energy_uwh / MICRO, "energy_low": record.energy_uwh_low / MICRO}
    if record.saved:
        facts["saved"] = record.saved / NANOS
    if "sent" not in record.marks:
        facts |= _heard(details.content)
    named = attributes("exchange", facts)
    for key, value in trace.baggage:
        named[BAGGAGE + text(key)] = text(value)
    start = _began(kept)
    events = [
        Event(DECISION, start, {"fleetgate.stage": text(s), "fleetgate.words": text(w, 1024)}) for s, w in record.decisions[:MAX_EVENTS]
    ]
    name = text(f"{details.method} {details.http_route}".strip() or "exchange")
    return Span(
        "exchange", name, trace.trace_id, trace.span_id, trace.parent, start, start + total_ns(record), named, events, details.links, failed
    )


def _admit(kept: Kept) -> Span:
    record, trace = kept.record, kept.trace
    start, marks = _began(kept), record.marks
    end = marks.get("admitted") or marks.get("sent") or total_ns(record)
    named = attributes("admit", _base(kept, "CHAIN"))
    return Span("admit", "admit", trace.trace_id, numbered(trace.span_id, _GUARDS - 1), trace.span_id, start, start + end, named)


def _models(kept: Kept) -> Iterator[Span]:
    """Yield a span for each target that was asked: those that were replaced, reckoned back from when the last one was asked, then it."""
    record, trace = kept.record, kept.trace
    start, asked = _began(kept), record.marks.get("sent")
    if asked is None:
        return
    begins = asked - sum([left[6] for left in record.fallbacks])
    for number, (provider, model, cause, tokens_in, tokens_out, cost, ns) in enumerate(record.fallbacks, 1):
        facts: Facts = _base(kept, "LLM") | _asked(record, provider, model)
        facts |= {"input": tokens_in, "output": tokens_out, "total": tokens_in + tokens_out, "cost": cost / NANOS, "paid": cost / NANOS}
        facts |= {"cause": cause, "error": cause}
        yield _model(kept, facts, number, (start + max(0, begins), start + max(0, begins) + ns))
        begins += ns
    if not record.provider:
        return
    end = record.marks.get("last_byte") or record.marks.get("head") or total_ns(record)
    yield _model(kept, _served(kept), max(trace.attempts, len(record.fallbacks) + 1), (start + asked, start + max(asked, end)))


def _asked(record: Record, provider: str, model: str) -> Facts:
    operation = record.operation
    if operation == "chat" and record.protocol == "gemini":
        operation = "generate_content"
    return {
        "operation": operation,
        "vendor": vendor_of(provider),
        "provider": provider,
        "asked": model,
        "served": model,
        "wanted": record.model_asked,
        "stream": record.stream,
    }


def _served(kept: Kept) -> Facts:
    record, details = kept.record, kept.details
    facts: Facts = _base(kept, "EMBEDDING" if record.operation == "embeddings" else "LLM" if record.operation == "chat" else "CHAIN")
    facts |= _asked(record, record.provider, record.model)
    cost = record.cost - sum([left[5] for left in record.fallbacks])
    facts |= {"cost": cost / NANOS, "reply_id": details.reply_id, "exact": record.usage_exact}
    if record.operation in _GENERATES:
        written = record.cache_write_tokens + record.cache_write_1h_tokens
        prompt = record.input_tokens + record.cache_read_tokens + written
        facts |= {"input": prompt, "output": record.output_tokens, "total": prompt + record.output_tokens, "paid": cost / NANOS}
        facts |= {"cache_read": record.cache_read_tokens, "cache_write": written, "reasoning": record.reasoning_tokens}
    facts |= _heard(details.content)
    if said := output_messages(details.content):
        facts |= {"output_messages": said, "output_kind": JSON}
    if details.served:
        facts["served"] = details.served
    if details.finish:
        facts["finish"] = (text(details.finish, 64),)
    if details.max_output is not None:
        facts["max_output"] = details.max_output
    if details.choices != 1:
        facts["choices"] = details.choices
    first = ttft_ns(record)
    if first is not None:
        facts["ttft"] = first / SECOND
    if record.upstream_status:
        facts["upstream_status"] = record.upstream_status
    failed = record.outcome == "upstream_error" or record.upstream_status >= 400
    if failed:
        facts["error"] = str(record.upstream_status) if record.upstream_status >= 400 else record.reason or "upstream_error"
    return facts


def _heard(content: Content | None) -> Facts:
    said = input_messages(content)
    return {"input_messages": said, "input_kind": JSON} if said else {}


def _model(kept: Kept, facts: Facts, number: int, times: tuple[int, int]) -> Span:
    trace = kept.trace
    name = text(f"{facts['operation']} {facts['asked']}")
    failed = text(str(facts.get("error", "")))
    named = attributes("model", facts)
    return Span("model", name, trace.trace_id, trace.attempt(number), trace.span_id, *times, named, failed=failed)


def _tools(kept: Kept, model: Span) -> Iterator[Span]:
    parent = model.span_id if model.span == "model" else kept.trace.span_id
    for number, (tool, call_id, passed) in enumerate(kept.details.tools[:MAX_CHILDREN]):
        facts = _base(kept, "TOOL") | {"tool_operation": "execute_tool", "tool": tool, "call_id": call_id, "passed": passed}
        name = text(f"execute_tool {tool}")
        span_id = numbered(kept.trace.span_id, _TOOLS + number)
        yield Span("tool", name, kept.trace.trace_id, span_id, parent, model.end, model.end, attributes("tool", facts))


def _guards(kept: Kept) -> Iterator[Span]:
    """Yield what was found: what the finding says of itself, and what was done about it."""
    record, trace = kept.record, kept.trace
    at = _began(kept) + (record.marks.get("admitted") or total_ns(record))
    modes = dict(kept.details.modes)
    blocked = record.reason in _BLOCKED or any(rule in REASONS for rule, _ in record.findings)
    found = [(*_verdict(rule, detail, modes, blocked), detail) for rule, detail in record.findings]
    if record.reason and record.outcome == "denied":
        found.append((_spoke(record), "deny", "deny", record.reason, record.rule, record.message))
    for number, (guard, verdict, action, rule, policy, words) in enumerate(found[:MAX_CHILDREN]):
        facts = _base(kept, "GUARDRAIL") | {"guard_operation": "run_guardrail", "guard": guard, "verdict": verdict, "action": action}
        facts |= {"rule_id": rule, "policy_id": policy, "words": words}
        span_id = numbered(trace.span_id, _GUARDS + number)
        name = text(f"run_guardrail {guard}")
        yield Span("guard", name, trace.trace_id, span_id, trace.span_id, at, at, attributes("guard", facts))


def _verdict(rule: str, detail: str, modes: dict[str, str], blocked: bool) -> tuple[str, str, str, str, str]:
    """Return guard, verdict, action, rule and policy of a finding."""
    guard, _, name = rule.partition("/")
    if guard == "shadow":
        return name, "deny", "allow", name, detail
    if rule in REASONS:  # a tool call that was withheld
        return rule, "deny", "deny", rule, detail
    verdict, action = DOES.get(modes.get(guard, ""), ("warn", "allow"))
    return guard, verdict, action if blocked or action != "deny" else "allow", rule, ""


def _spoke(record: Record) -> str:
    """Return the stage that refused: the last that noted so."""
    return next((stage for stage, words in reversed(record.decisions) if words.startswith("refused:")), record.reason)
