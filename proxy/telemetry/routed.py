"""What routing did, from the ledger: shares, dollars, seconds, and the threshold that recorded traffic speaks for.

Pure sums over records. Dollars saved compare the same tokens at two prices, with nothing cached. Seconds compare with the mean of the
calls that the same model served when it was asked for: an estimate, and none where there were none. Quality is what can be seen: a
call that the simple model served to the end counts as good, one that fell back or failed as not. Whether the answer was right nobody
here knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from proxy.engine.record import Record
from proxy.money import dollars
from proxy.telemetry.tables import count, printable, table
from proxy.telemetry.timing import upstream_ns

WOULD = "routing/would-go-local"
SAMPLE = "sample"
LEAST = 20
"""Calls that the simple model must have been tried with before their outcome says anything."""
_NAME_CHARS = 20

Of = Literal["calls", "dollars"]


@dataclass(slots=True)
class Line:
    """Sums over the chats of one agent or one model: all, scored, begun at the simple model, fallen back from there, that would have gone
    there; nanos charged, saved, and that would have been saved; seconds saved."""

    key: str
    calls: int = 0
    scored: int = 0
    local: int = 0
    back: int = 0
    would: int = 0
    cost: int = 0
    saved: int = 0
    would_save: int = 0
    seconds: float = 0.0
    causes: dict[str, int] = field(default_factory=dict)
    """Why they fell back, where the record says (docs/local.md)."""

    def as_json(self) -> dict[str, Any]:
        """Return the line as plain data."""
        return {
            "key": self.key,
            "calls": self.calls,
            "scored": self.scored,
            "routed": self.local,
            "share": _share(self.local, self.calls),
            "fell_back": self.back,
            "fallback_rate": _share(self.back, self.local),
            "fallback_causes": self.causes,
            "cost_usd": dollars(self.cost),
            "saved_usd": dollars(self.saved),
            "saved_share": _share(self.saved, self.cost + self.saved),
            "seconds_saved": round(self.seconds, 1),
            "would_route": self.would,
            "would_share": _share(self.would, self.calls),
            "would_save_usd": dollars(self.would_save),
        }


@dataclass(slots=True)
class Report:
    """The whole, and the same by agent and by the model that was asked for, most calls first."""

    total: Line
    agents: list[Line] = field(default_factory=list)
    models: list[Line] = field(default_factory=list)
    samples: int = 0
    samples_cost: int = 0
    """Calls that were asked of the asked model once more to compare its answer, and what those cost: in no other sum."""

    def as_json(self) -> dict[str, Any]:
        """Return the report as plain data."""
        parts = {"agents": self.agents, "models": self.models}
        samples = {"calls": self.samples, "cost_usd": dollars(self.samples_cost)}
        whole = {"total": self.total.as_json(), "samples": samples}
        return whole | {name: [line.as_json() for line in lines] for name, lines in parts.items()}


def chats(records: Iterable[Record]) -> list[Record]:
    """Return the records that routing could have moved: chats of clients that were not refused."""
    return [r for r in records if r.operation == "chat" and r.outcome != "denied" and not sampled(r)]


def sampled(record: Record) -> bool:
    """Tell if the exchange was ours, to compare its answer with a local one."""
    return any(stage == SAMPLE for stage, _ in record.decisions)


def began_local(record: Record) -> bool:
    """Tell if the simple model was asked first, because routing chose it."""
    return any(stage == "routing" and words.startswith("local: ") for stage, words in record.decisions)


def report(records: Iterable[Record]) -> Report:
    """Return what routing did with `records`."""
    every = list(records)
    found, samples = chats(every), [record for record in every if sampled(record) and record.outcome == "ok"]
    usual = _usual(found)
    total, agents, models = Line("all"), dict[str, Line](), dict[str, Line]()
    for record in found:
        for line in (total, _line(agents, record.agent), _line(models, record.model_asked)):
            _add(line, record, usual)
    return Report(total, _sorted(agents), _sorted(models), len(samples), sum([record.cost for record in samples]))


def _line(lines: dict[str, Line], key: str) -> Line:
    return lines.setdefault(key, Line(key))


def _sorted(lines: dict[str, Line]) -> list[Line]:
    return sorted(lines.values(), key=lambda line: (-line.calls, line.key))


def _usual(records: Sequence[Record]) -> dict[str, float]:
    """Return the mean seconds of a call at each model that served as it was asked to."""
    sums: dict[str, list[float]] = {}
    for record in records:
        took = upstream_ns(record)
        if record.route == "requested" and record.outcome == "ok" and took is not None:
            sums.setdefault(record.model, []).append(took / 1e9)
    return {model: sum(each) / len(each) for model, each in sums.items()}


def _add(line: Line, record: Record, usual: dict[str, float]) -> None:
    line.calls += 1
    line.scored += record.difficulty is not None
    line.cost += record.cost
    line.would += any(rule == WOULD for rule, _ in record.findings)
    line.would_save += record.would_save
    if not began_local(record):
        return
    line.local += 1
    line.saved += record.saved
    if record.route != "local" or record.outcome not in ("ok", "client_gone"):
        line.back += 1
        for _, _, cause, *_ in record.fallbacks[:1]:
            line.causes[cause] = line.causes.get(cause, 0) + 1
        return
    took = upstream_ns(record)
    if took is not None and record.model_asked in usual:
        line.seconds += usual[record.model_asked] - took / 1e9


def _share(part: float, whole: float) -> float:
    return round(part / whole, 4) if whole else 0.0


def words(found: Report, since: str) -> str:
    """Return the report as text of at most 80 columns."""
    all_ = found.total
    lines = [f"Routing {since}: {count(all_.calls)} chats, {count(all_.scored)} scored as new tasks", ""]
    if all_.local or not all_.would:
        lines += [
            f"  routed      {count(all_.local)} to the simple model: {_percent(all_.local, all_.calls)} of calls",
            f"  fell back   {count(all_.back)}: {_percent(all_.back, all_.local)} of those{_causes(all_)}",
            f"  dollars     {_usd(all_.saved)} saved, {_usd(all_.cost)} spent: {_percent(all_.saved, all_.cost + all_.saved)} saved",
            f"  seconds     {all_.seconds:,.0f} saved (estimated from calls that stayed)",
        ]
    if all_.would:
        lines.append(
            f"  in shadow   {count(all_.would)} would go: {_percent(all_.would, all_.calls)} of calls, {_usd(all_.would_save)} USD"
        )
    if found.samples:
        lines.append(f"  compared    {count(found.samples)} asked again for {_usd(found.samples_cost)} USD: `fleetgate routing pairs`")
    for title, part in (("AGENT", found.agents), ("MODEL ASKED", found.models)):
        if part:
            lines += ["", _table(title, part)]
    return "\n".join(lines)


def _causes(line: Line) -> str:
    most = sorted(line.causes.items(), key=lambda item: (-item[1], item[0]))[:3]
    return f" ({', '.join(f'{count(number)} {cause}' for cause, number in most)})" if most else ""


def _table(title: str, lines: Sequence[Line]) -> str:
    head = (title, "CALLS", "ROUTED", "SHARE", "BACK", "SPENT", "SAVED", "WOULD")
    rows = [
        (
            _short(line.key or "-"),
            count(line.calls),
            count(line.local),
            _percent(line.local, line.calls),
            count(line.back),
            _usd(line.cost),
            _usd(line.saved),
            count(line.would),
        )
        for line in lines
    ]
    return table(head, rows, set(head[1:]))


def _short(name: str) -> str:
    name = printable(name)
    return name if len(name) <= _NAME_CHARS else name[: _NAME_CHARS - 1] + "…"


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f}%" if whole else "-"


def _usd(nanos: int) -> str:
    if abs(nanos) >= 1e14:
        return f"{nanos / 1e9:,.0f}"
    return f"{nanos / 1e9:,.2f}" if abs(nanos) >= 1e9 else f"{nanos / 1e9:.4f}"


# --- which threshold ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fit:
    """A threshold, and what recorded calls say of it: the share that would go or the quality, over so many calls; or why there is none."""

    threshold: float | None
    reached: float
    calls: int
    problem: str = ""


def fit_saving(records: Iterable[Record], wanted: float, of: Of) -> Fit:
    """Return the lowest threshold with which the share `wanted` of calls or dollars would have gone to the simple model."""
    weigh: Callable[[Record], int] = (lambda r: 1) if of == "calls" else (lambda r: r.cost + r.saved)
    found = chats(records)
    total = sum(map(weigh, found))
    able = sorted([(r.difficulty, weigh(r)) for r in found if r.difficulty is not None and "not to " not in r.route_why])
    if not able or not total:
        return Fit(None, 0.0, len(able), "no scored calls are recorded: run `routing.mode: shadow` for a while")
    gone = 0
    for at, (score, weight) in enumerate(able):
        gone += weight
        if gone >= wanted * total and (at + 1 == len(able) or able[at + 1][0] != score):
            return Fit(_above(score), gone / total, len(able))
    return Fit(None, gone / total, len(able), f"only {gone / total:.1%} of {of} are new tasks that may go")


def fit_quality(records: Iterable[Record], wanted: float) -> Fit:
    """Return the highest threshold below which the share `wanted` of what the simple model was tried with ended well there."""
    tried = sorted([(r.difficulty, r.route == "local" and r.outcome == "ok") for r in chats(records) if _tried(r)])
    if len(tried) < LEAST:
        return Fit(None, 0.0, len(tried), f"the simple model was tried with {len(tried)} calls; {LEAST} say something")
    best, good = Fit(None, 0.0, len(tried), f"below no threshold {wanted:.0%} ended well"), 0
    for at, (score, well) in enumerate(tried):
        good += well
        last = at + 1 == len(tried) or tried[at + 1][0] != score
        if last and at + 1 >= LEAST and good >= wanted * (at + 1):
            best = Fit(_above(score or 0.0), good / (at + 1), at + 1)
    return best


def _tried(record: Record) -> bool:
    return record.difficulty is not None and began_local(record) and record.outcome != "client_gone"


def _above(score: float | None) -> float:
    """Return the next threshold above `score`, in thousandths."""
    return min(1.0, (int((score or 0.0) * 1000) + 1) / 1000)
