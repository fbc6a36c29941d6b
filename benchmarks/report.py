"""The numbers as tables for people, JSON for machines, and Markdown with plots for docs/benchmarks.md.

A section of the report stands between two marks that name it; writing one leaves the rest of the page, and other sections, as they are.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.measure import Latency, Row, middle

START, END = "<!-- measured -->", "<!-- /measured -->"
HEAD = ("request", "proxy", "CPU µs", "x bare", "target", "RSS MB", "requests", "errors")
LATENCY_HEAD = ("request", "proxy", "added p50 µs", "p50 target", "added p99 µs", "p99 target", "requests", "errors")


@dataclass(slots=True)
class Table:
    """A head and lines of text."""

    head: Sequence[str]
    lines: Sequence[Sequence[str]]

    def text(self) -> str:
        lines = [self.head, *self.lines]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.head))]
        return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)

    def markdown(self) -> str:
        shown = [" | ".join(cell.replace("|", "\\|") for cell in line) for line in (self.head, *self.lines)]
        return "\n".join([f"| {shown[0]} |", "|" + "---|" * len(self.head), *(f"| {line} |" for line in shown[1:])])


@dataclass(slots=True)
class Section:
    """One part of the report: what is to be known of the run, its tables, its plots as (what it shows, SVG) by name, what was wrong."""

    name: str
    tables: list[Table]
    notes: list[str] = field(default_factory=list)
    plots: dict[str, tuple[str, str]] = field(default_factory=dict)
    errors: int = 0

    def text(self) -> str:
        return "\n\n".join([f"## {self.name}", *(["\n".join(self.notes)] if self.notes else []), *(table.text() for table in self.tables)])

    def markdown(self) -> str:
        parts = ["\n".join(f"- {note}" for note in self.notes)] if self.notes else []
        parts += [f"![{shows}](img/bench-{name}.svg)" for name, (shows, _) in self.plots.items()]
        return "\n\n".join([*parts, *(table.markdown() for table in self.tables)])


def cells(row: Row) -> tuple[str, ...]:
    """Return one line of the table. A row with errors shows them and no speed."""
    if row.failed:
        return row.case, row.target, "FAILED", "", "", "", str(row.requests), f"{row.errors}: {row.first_error[:120]}"
    return (
        row.case,
        row.target,
        plus_minus(row.cpu_us, 1),
        plus_minus(row.ratio, 2),
        verdict(middle(row.ratio)[0], row.limit) if row.ratio and row.limit is not None else "",
        f"{row.rss_mb[0]:.0f} to {row.rss_mb[-1]:.0f}" if row.rss_mb else "",
        str(row.requests),
        "0",
    )


def latency_cells(case: str, row: Latency, limits: tuple[float, float] | None) -> tuple[str, ...]:
    """Return one line of the table of latencies; none where replies were wrong or the rate was not held."""
    if row.errors or not row.p50_us:
        return case, row.target, "FAILED", "", "", "", str(row.requests), f"{row.errors}: {row.first_error[:120]}"
    if not row.held:
        late, direct = middle(row.late_us)[0] / 1000, middle(row.direct_p99_us)[0] / 1000
        busy = f"machine too busy: {late:.1f} ms late, {direct:.1f} ms without a proxy at p99"
        return case, row.target, busy, "", "", "", str(row.requests), "0"
    p50, p99 = middle(row.p50_us)[0], middle(row.p99_us)[0]
    told = (verdict(p50, limits[0]), verdict(p99, limits[1])) if limits is not None else ("", "")
    return case, row.target, plus_minus(row.p50_us, 0), told[0], plus_minus(row.p99_us, 0), told[1], str(row.requests), "0"


def verdict(value: float, limit: float) -> str:
    """Return the target and whether it was met."""
    return f"≤ {limit:,g} {'met' if value <= limit else 'MISSED'}"


def plus_minus(values: Sequence[float], digits: int) -> str:
    """Return the middle and half of the range."""
    if not values:
        return ""
    value, spread = middle(values)
    return f"{value:,.{digits}f} ±{spread:,.{digits}f}"


def write(path: Path, block: str, name: str = "") -> None:
    """Put `block` in the place of the measured part, that of section `name` where one is given, of the file at `path`.

    Raises:
        ValueError: the page has no place for it.
    """
    start, end = (START, END) if not name else (f"<!-- measured: {name} -->", f"<!-- /measured: {name} -->")
    old = path.read_text()
    before, mark, rest = old.partition(start)
    _, found, after = rest.partition(end)
    if not mark or not found:
        raise ValueError(f"{path} has no {start} … {end}")
    path.write_text(f"{before}{start}\n\n{block}\n\n{end}{after}")


def publish(docs: Path, sections: Sequence[Section], notes: Sequence[str]) -> None:
    """Write sections with what is to be known of the machine, and their plots, into `docs`."""
    (docs / "img").mkdir(exist_ok=True)
    for section in sections:
        for name, (_, svg) in section.plots.items():
            (docs / "img" / f"bench-{name}.svg").write_text(svg)
        told = Section(section.name, section.tables, [*notes, *section.notes], section.plots)
        write(docs / "benchmarks.md", told.markdown(), section.name)


def as_json(sections: Sequence[Section], notes: Sequence[str]) -> Mapping[str, object]:
    """Return all of it for machines: tables as lists of texts by column."""
    found = {
        s.name: {
            "notes": s.notes,
            "errors": s.errors,
            "tables": [[dict(zip(t.head, line, strict=True)) for line in t.lines] for t in s.tables],
        }
        for s in sections
    }
    return {"machine": list(notes), "sections": found}


def machine(here: int, there: int) -> list[str]:
    """Return what the reader must know of the machine; the proxies run on core `here`, the rest on core `there`."""
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    pinned = f"proxies on core {here}, load and upstream on core {there}"
    if here == there:
        pinned = "ONE core for everything: latency figures mean little here"
    stamp = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return [f"{stamp}, {model}, {os.cpu_count()} cores, Python {platform.python_version()}, Linux {platform.release()}", pinned]
