"""One record in words: what was asked, what each stage decided and why, what it cost, and what to do about a refusal.

Decides only the words and their order; every fact comes from the record (and the price, when the caller still knows it). Plain text of at
most 100 columns. What clients wrote is shown with control characters escaped. Never fails on a record that a ledger could hold.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from proxy.engine.record import Record
from proxy.model import Price
from proxy.money import MILLION, cost, dollars, rate
from proxy.telemetry.reprice import usage_of
from proxy.telemetry.tables import between, count, duration, moment, printable
from proxy.telemetry.timing import overhead_ns, total_ns, ttft_ns, upstream_ns

WIDTH = 100
_LABEL = 14
_OUTCOME = {
    "ok": "served",
    "denied": "refused",
    "upstream_error": "the provider failed",
    "client_gone": "the client went away",
    "error": "Fleetgate failed",
    "expired": "left behind by a process that died",
    "lost": "charged, by a process that died before it kept the record",
}
_COLOUR = {"ok": "32", "denied": "31", "upstream_error": "33", "client_gone": "33", "error": "31", "expired": "31", "lost": "31"}


_PLACE = {"routing": "route"}
_TOLD = ("identity", "session")
"""Stages whose note says no more than the facts of the record."""


def explain(record: Record, price: Price | None = None, tty: bool = False) -> str:
    """Return the story of `record`, a fact a line.

    Args:
        record: any record.
        price: what the model that served costs; with it each kind of token is priced.
        tty: colour the outcome.
    """
    lines = [_header(record, tty), ""]
    notes: dict[str, list[str]] = {}
    for stage, note in record.decisions:
        notes.setdefault(_PLACE.get(stage, stage), []).append(note)
    for label, facts in (
        ("asked", _asked(record)),
        ("identity", _identity(record)),
        ("session", _session(record)),
        ("loops", [_loop(record)]),
    ):
        own = notes.pop(label, [])
        lines += _block(label, [*facts, *(own if label not in _TOLD else [n for n in own if n.startswith("refused")])])
    end = (
        ("upstream", _upstream(record)),
        ("reply", _reply(record)),
        ("money", _money(record, price)),
        ("findings", [f"{rule}: {detail}" if detail else rule for rule, detail in record.findings] or ["none"]),
        ("time", _time(record)),
    )
    last = {label: notes.pop(label, []) for label, _ in end}
    notes.setdefault("route", _route(record))
    for label, own in notes.items():
        lines += _block(label, own)
    if record.route == "fallback":
        lines += _block("", [f"in the end it went to the fallback {record.provider} {record.model}"])
    for label, facts in end:
        lines += _block(label, [*facts, *last[label]])
    if record.reason:
        lines += ["", *_refusal(record)]
    return "\n".join(lines)


def _block(label: str, words: Iterable[str]) -> list[str]:
    """Return `words`, one or more lines each, beside their label."""
    lines: list[str] = []
    indent = " " * (_LABEL + 2)
    for said in words:
        text = printable(said.replace("\n", " ").strip())
        head = f"  {printable(label)[:_LABEL].ljust(_LABEL)}" if not lines else indent
        lines += textwrap.wrap(text, WIDTH, initial_indent=head, subsequent_indent=indent + "  ", break_on_hyphens=False) or [head.rstrip()]
    return lines


def _header(r: Record, tty: bool) -> str:
    who = f"{printable(r.agent)}{' v' + printable(r.version) if r.version else ''}" if r.agent else "unknown agent"
    outcome = _OUTCOME.get(r.outcome, r.outcome or "unknown")
    if r.reason:
        outcome += f": {r.reason}"
    if tty:
        outcome = f"\x1b[{_COLOUR.get(r.outcome, '0')}m{outcome}\x1b[0m"
    return f"{printable(r.id)}  {moment(r.time)} UTC  {who}  {outcome}"


def _asked(r: Record) -> list[str]:
    what = " ".join(p for p in (r.protocol, r.operation) if p) or "nothing that could be read"
    model = f", model {r.model_asked}" if r.model_asked else ""
    return [f"{what}{model}{', streamed' if r.stream else ''}, {count(r.bytes_in)} bytes"]


def _identity(r: Record) -> list[str]:
    if not r.agent:
        return ["the caller did not prove to be any agent"]
    team = f" of team {r.team}" if r.team else ""
    key = f", by key {r.key_id}" if r.key_id else ""
    lines = [f"agent {r.agent}{team}{key}"]
    if r.file_digest:
        lines.append(f"its file: version {r.version or 'not given'}, SHA-256 {r.file_digest[:16]}…")
    if r.policy_digest or r.config:
        lines.append(f"policy in force: {r.policy_digest[:16] or '-'}, configuration {r.config or '-'}")
    return lines


def _session(r: Record) -> list[str]:
    if not r.session:
        return ["none: it never got that far"]
    source = "a hash of agent, system prompt and first message" if r.session_source == "derived" else r.session_source
    lines = [f"{r.session}{f' (from {source})' if source else ''}"]
    if (r.run and r.run != r.session) or r.parent:
        lines.append(", ".join(w for w in (f"run {r.run}" if r.run else "", f"parent {r.parent}" if r.parent else "") if w))
    return lines


def _loop(r: Record) -> str:
    level, _, rest = r.loop.partition(";")
    if level in ("", "none"):
        return "none seen"
    cost = f"; {dollars(r.wasted)} USD since it began" if r.wasted else ""
    return f"{level}: {rest.replace('=', ' ').replace(';', ', ')}{cost}"


def _route(r: Record) -> list[str]:
    if not r.route:
        return ["not chosen: it was over before"]
    lines = [f"{r.route}: {r.route_why}".rstrip(": ")]
    return lines if r.difficulty is None else [*lines, f"difficulty {r.difficulty:.2f} of 1"]


def _upstream(r: Record) -> list[str]:
    if "sent" not in r.marks:
        return ["not asked"]
    answer = f"answered {r.upstream_status}" if r.upstream_status else "gave no answer"
    return [f"{r.provider or 'the provider'}, model {r.model or '-'}, {answer}"]


def _reply(r: Record) -> list[str]:
    if not r.status:
        return ["none: the client was gone before any"]
    return [f"status {r.status}, {count(r.bytes_out)} bytes to the client"]


def _money(r: Record, price: Price | None) -> list[str]:
    kinds = (
        ("input", r.input_tokens, "input"),
        ("read from cache", r.cache_read_tokens, "cache_read"),
        ("written to cache", r.cache_write_tokens, "cache_write"),
        ("written to cache for 1 h", r.cache_write_1h_tokens, "cache_write_1h"),
        ("output", r.output_tokens, "output"),
    )
    used = [(words, tokens, kind) for words, tokens, kind in kinds if tokens]
    if not used and not r.cost:
        return ["nothing charged"]
    prompt = r.input_tokens + r.cache_read_tokens + r.cache_write_tokens + r.cache_write_1h_tokens
    lines = []
    for words, tokens, kind in used:
        part = ""
        if price is not None:
            per_million = _rate(price, kind, prompt)
            amount = -(-tokens * per_million // MILLION)
            part = f" at {dollars(per_million)} USD per million: {dollars(amount)} USD"
        hidden = f", of them {count(r.reasoning_tokens)} reasoning" if kind == "output" and r.reasoning_tokens else ""
        lines.append(f"{count(tokens)} {words}{hidden}{part}")
    lines += [f"of them {count(tokens)} {kind.replace('_', ' ')}, at a rate of their own where there is one" for kind, tokens in r.media]
    bound = "" if r.usage_exact else " (a bound: no usage of the provider covers it)"
    source = f", price from {r.price}{f' ({r.price_digest})' if r.price_digest else ''}" if r.price else ""
    lines.append(f"charged {dollars(r.cost)} USD{source}{bound}")
    if r.carbon_ug:
        took = f"{between(r.carbon_ug_low, r.carbon_ug)} g of CO2 equivalents, {between(r.energy_uwh_low, r.energy_uwh)} Wh"
        lines.append(f"took {took}, as estimated")
    if price is not None and cost(usage_of(r), price) != r.cost:
        lines.append("the parts do not add up to the charge: the price has changed since")
    return lines


def _rate(price: Price, kind: str, prompt: int) -> int:
    """Return the nanos per million tokens of one kind, in a call whose whole prompt has `prompt` tokens."""
    steps: tuple[tuple[int, int], ...] | None = getattr(price, kind)
    if steps is None and kind == "cache_write_1h":
        steps = price.cache_write
    return rate(price.input if steps is None else steps, prompt)


def _time(r: Record) -> list[str]:
    parts = [f"{duration(total_ns(r))} in all", f"{duration(overhead_ns(r))} ours"]
    if (upstream := upstream_ns(r)) is not None:
        parts.append(f"{duration(upstream)} the provider's")
    if (ttft := ttft_ns(r)) is not None:
        parts.append(f"first byte after {duration(ttft)}")
    if body := r.marks.get("body"):
        parts.append(f"{duration(body)} until the request was read")
    return [", ".join(parts)]


def _refusal(r: Record) -> list[str]:
    cut = r.outcome == "denied" and 200 <= r.status < 300
    lines = [f"{'Why it was cut' if cut else 'Why it was refused' if r.outcome == 'denied' else 'What went wrong'}: {r.reason}"]
    what, remedy = r.message, r.remedy
    if not what and r.upstream_status >= 400:
        what = f"the provider answered {r.upstream_status}, and its own error went to the client as it was"
        remedy = "read the provider's message in the client's log"
    lines += _block("what", [what] if what else [])
    lines += _block("rule", [r.rule] if r.rule else [])
    lines += _block("remedy", [remedy] if remedy else [])
    return lines
