"""The numbers as a table for people, JSON for machines, and Markdown for docs/benchmarks.md."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.measure import Row, middle

START, END = "<!-- measured -->", "<!-- /measured -->"
HEAD = ("request", "proxy", "CPU µs", "x bare", "target", "added p50 µs", "added p99 µs", "RSS MB", "requests", "errors")


def cells(row: Row) -> tuple[str, ...]:
    """Return one line of the table. A row with errors shows them and no speed."""
    if row.errors or not row.cpu_us:
        return row.case, row.target, "FAILED", "", "", "", "", "", str(row.requests), f"{row.errors}: {row.first_error[:120]}"
    ratio, target = "", ""
    if row.ratio:
        ratio = _plus_minus(row.ratio, 2)
    if row.limit is not None and row.ratio:
        target = f"≤ {row.limit} {'met' if middle(row.ratio)[0] <= row.limit else 'MISSED'}"
    return (
        row.case,
        row.target,
        _plus_minus(row.cpu_us, 1),
        ratio,
        target,
        _plus_minus(row.added_p50_us, 0),
        _plus_minus(row.added_p99_us, 0),
        f"{row.rss_mb[0]:.0f} to {row.rss_mb[-1]:.0f}",
        str(row.requests),
        "0",
    )


def text(rows: Sequence[Row]) -> str:
    lines = [HEAD, *(cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEAD))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)


def markdown(rows: Sequence[Row], notes: Sequence[str]) -> str:
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    lines += ["| " + " | ".join(cells(row)) + " |" for row in rows]
    return "\n".join([START, "", *(f"- {note}" for note in notes), "", *lines, "", END])


def write(path: Path, block: str) -> None:
    """Put `block` in the place of the measured part of the file at `path`."""
    old = path.read_text()
    before, _, rest = old.partition(START)
    _, _, after = rest.partition(END)
    path.write_text(before + block + after)


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


def _plus_minus(values: Sequence[float], digits: int) -> str:
    if not values:
        return ""
    value, spread = middle(values)
    return f"{value:.{digits}f} ±{spread:.{digits}f}"
