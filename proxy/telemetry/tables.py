"""Ledger rows as aligned text, and times as people type them.

Decides only how things look. What clients wrote is shown with control characters escaped, so that a model's name cannot move the cursor
of whoever reads the ledger.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from proxy.engine.record import Record
from proxy.model.footprints import MICRO
from proxy.money import dollars
from proxy.telemetry.grouping import Sum, total
from proxy.telemetry.timing import overhead_ns, total_ns

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGO = re.compile(r"(\d{1,6})\s?([smhdw])", re.ASCII)
_NAME_CHARS = 32


def parse_when(text: str, now: float) -> float:
    """Return the UTC seconds that `text` means: `90s`, `15m`, `1h`, `2d`, `1w` ago, `today`, `yesterday`, an ISO date or date-time.

    A date-time without an offset is UTC, and so are the days.

    Raises:
        ValueError: none of these.
    """
    word = text.strip().lower()
    try:
        if match := _AGO.fullmatch(word):
            return now - timedelta(**{_UNITS[match[2]]: int(match[1])}).total_seconds()
        today = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        if word in ("today", "yesterday"):
            return (today - timedelta(days=word == "yesterday")).timestamp()
        when = datetime.fromisoformat(text.strip())
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ValueError(f"{printable(text)[:40]!r} is not a time: write 15m, 1h, 2d, today, 2027-01-31 or 2027-01-31T08:00") from None


def printable(text: str) -> str:
    """Return `text` with everything that does not print (controls, direction marks, line separators) escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def duration(ns: int) -> str:
    """Return a duration as people say it: `84 µs`, `1.2 ms`, `3.40 s`, `2 m 05 s`."""
    if ns < 1_000_000:
        return f"{ns / 1e3:.0f} µs"
    if ns < 1_000_000_000:
        return f"{ns / 1e6:.1f} ms"
    if ns < 60_000_000_000:
        return f"{ns / 1e9:.2f} s"
    minutes, seconds = divmod(ns // 1_000_000_000, 60)
    return f"{minutes} m {seconds:02d} s"


def moment(seconds: float) -> str:
    """Return UTC seconds as `2027-01-31 08:00:00`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def count(number: int) -> str:
    """Return a count with thousands set apart: `1,234,567`."""
    return f"{number:,}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], right: frozenset[str] | set[str] = frozenset()) -> str:
    """Return an aligned table; the columns named in `right` are set flush right. No trailing spaces, no last newline."""
    shown = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(line[i]) for line in (list(head), *shown)) for i in range(len(head))]
    flush = [name in right for name in head]
    lines = []
    for line in (list(head), *shown):
        cells = [c.rjust(w) if r else c.ljust(w) for c, w, r in zip(line, widths, flush, strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def record_table(records: Sequence[Record]) -> str:
    """Return records as a table, in the order given."""
    head = ("TIME (UTC)", "ID", "AGENT", "MODEL", "STATUS", "RESULT", "IN", "OUT", "USD", "TIME", "OURS")
    rows = [
        (
            moment(r.time),
            r.id,
            _short(r.agent) or "-",
            _short(r.model or r.model_asked) or "-",
            str(r.status),
            r.reason or r.outcome,
            count(r.input_tokens + r.cache_read_tokens + r.cache_write_tokens + r.cache_write_1h_tokens),
            count(r.output_tokens),
            dollars(r.cost),
            duration(total_ns(r)),
            duration(overhead_ns(r)),
        )
        for r in records
    ]
    return table(head, rows, {"IN", "OUT", "USD", "OURS"}) if rows else "no exchanges"


def sum_table(fields: Sequence[str], sums: Sequence[Sum]) -> str:
    """Return sums by `fields` as a table with a last line of them all, in the order given, with what was saved where something
    was, and what was emitted where that is estimated.
    """
    if not sums:
        return "no exchanges"
    saved = any(s.saved for s in sums)
    estimated = any(s.carbon_ug for s in sums)
    more = (*(["SAVED"] if saved else []), *(["GCO2E", "WH"] if estimated else []))
    head = (*(name.upper() for name in fields), "CALLS", "REFUSED", "IN", "CACHED", "OUT", "USD", *more)
    whole = total(sums)._replace(keys=("total", *[""] * (len(fields) - 1)))
    rows = []
    for s in (*sums, whole) if len(sums) > 1 else sums:
        numbers = (s.calls, s.refused, s.input_tokens, s.cached_tokens, s.output_tokens)
        keys = [_short(key) or ("-" if s is not whole else "") for key in s.keys]
        rest = [dollars(s.saved)] if saved else []
        if estimated:
            rest += [between(s.carbon_ug_low, s.carbon_ug), between(s.energy_uwh_low, s.energy_uwh)]
        rows.append((*keys, *(count(n) for n in numbers), dollars(s.cost), *rest))
    return table(head, rows, set(head[len(fields) :]))


def between(low: int, high: int) -> str:
    """Return an estimate in millionths for people: its bounds to three digits, or one number where they are the same."""
    least, most = (f"{amount / MICRO:.3g}" if amount < 1000 * MICRO else count(round(amount / MICRO)) for amount in (low, high))
    return most if least == most else f"{least} to {most}"


def _short(text: str) -> str:
    return text if len(text) <= _NAME_CHARS else text[: _NAME_CHARS - 1] + "…"
