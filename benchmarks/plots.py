"""Plots as SVG files for docs/img: bars with a mark where the target is, and lines over a logarithmic axis.

Colours are of middle lightness and there is no background, so that they can be read on light and on dark pages. Every text is escaped.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence

WIDTH, LINE, TOP, LABEL, RIGHT = 860, 20, 50, 190, 84
TALL, LEFT, BOTTOM = 300, 64, 46
COLOURS = ("#3b82c4", "#d9822b", "#4a9d6f", "#a368b5", "#c2555f", "#7d8590")
STYLE = (
    "<style>text{font:12px system-ui,sans-serif;fill:#7d8590}.title{font-weight:600;font-size:13px}"
    ".grid{stroke:#7d8590;stroke-opacity:.25}.limit{stroke:#c2555f;stroke-width:2}</style>"
)


def bars(title: str, names: Sequence[str], series: Mapping[str, Sequence[float | None]], limits: Sequence[float | None], unit: str) -> str:
    """Return a group of bars for each name, one for each of `series`, and a red mark at the limit of each group that has one."""
    high = max([value for values in series.values() for value in values if value is not None] + [x for x in limits if x] + [1e-9])
    group = LINE * len(series) + 12
    room, tall = WIDTH - LABEL - RIGHT, TOP + group * len(names) + 8
    parts = [_legend(list(series), limits)]
    for i, name in enumerate(names):
        top = TOP + group * i
        parts.append(f'<text x="{LABEL - 10}" y="{top + group / 2:.1f}" text-anchor="end">{_text(name)}</text>')
        for k, values in enumerate(series.values()):
            value, y = values[i], top + LINE * k
            if value is None:
                parts.append(f'<text x="{LABEL + 4}" y="{y + 14}">no figure</text>')
                continue
            wide = max(1.0, room * max(0.0, value) / high)
            parts.append(f'<rect x="{LABEL}" y="{y + 2}" width="{wide:.1f}" height="{LINE - 5}" rx="2" fill="{COLOURS[k % 6]}"/>')
            parts.append(f'<text x="{LABEL + wide + 6:.1f}" y="{y + 14}">{_number(value)}{_text(unit)}</text>')
        if limits[i] is not None:
            x = LABEL + room * (limits[i] or 0) / high
            parts.append(f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" y1="{top - 2}" y2="{top + LINE * len(series) + 2}"/>')
    return _svg(title, tall, parts)


def lines(title: str, xs: Sequence[float], series: Mapping[str, Sequence[float | None]], axis: str, limit: float | None = None) -> str:
    """Return a line for each of `series` over `xs`, which is logarithmic where it spans a factor of 20 or more."""
    ticks = _ticks(max([value for values in series.values() for value in values if value is not None] + [limit or 0.0, 1e-9]))
    high = ticks[-1]
    log = min(xs) > 0 and max(xs) / min(xs) >= 20
    room, plot = WIDTH - LEFT - RIGHT, TALL - TOP - BOTTOM

    def across(x: float) -> float:
        low, top = (math.log(min(xs)), math.log(max(xs))) if log else (min(xs), max(xs))
        return LEFT + room * ((math.log(x) if log else x) - low) / ((top - low) or 1)

    def down(y: float) -> float:
        return TOP + plot * (1 - y / high)

    parts = [_legend(list(series), [limit])]
    for tick in ticks:
        y = down(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:,g}</text>')
    for x in xs:
        parts.append(f'<text x="{across(x):.1f}" y="{TALL - BOTTOM + 18}" text-anchor="middle">{x:,.0f}</text>')
    parts.append(f'<text x="{LEFT + room / 2:.1f}" y="{TALL - 8}" text-anchor="middle">{_text(axis)}</text>')
    if limit is not None:
        parts.append(f'<line class="limit" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{down(limit):.1f}" y2="{down(limit):.1f}"/>')
    for k, values in enumerate(series.values()):
        colour = COLOURS[k % 6]
        points = [(across(x), down(value)) for x, value in zip(xs, values, strict=True) if value is not None]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
    return _svg(title, TALL, parts)


def _ticks(highest: float) -> list[float]:
    """Return round numbers from 0 to the first that is not below `highest`: four to six of them."""
    rough = highest / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(step for step in (power, 2 * power, 2.5 * power, 5 * power, 10 * power) if step >= rough)
    return [step * i for i in range(math.ceil(highest / step) + 1)]


def _legend(names: Sequence[str], limits: Sequence[float | None]) -> str:
    x, parts = 8.0, []
    for k, name in enumerate(names):
        parts.append(f'<rect x="{x:.0f}" y="26" width="11" height="11" rx="2" fill="{COLOURS[k % 6]}"/>')
        parts.append(f'<text x="{x + 16:.0f}" y="36">{_text(name)}</text>')
        x += 34 + 7 * len(name)
    if any(limit is not None for limit in limits):
        parts.append(f'<line class="limit" x1="{x + 5:.0f}" x2="{x + 5:.0f}" y1="24" y2="39"/><text x="{x + 16:.0f}" y="36">target</text>')
    return "".join(parts)


def _svg(title: str, tall: float, parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {tall:.0f}" role="img" aria-label="{_text(title)}">'
    return "".join(
        [head, f"<title>{_text(title)}</title>", STYLE, f'<text class="title" x="8" y="16">{_text(title)}</text>', *parts, "</svg>\n"]
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 20 else f"{value:.1f}" if abs(value) >= 5 else f"{value:.2f}"


def _text(value: str) -> str:
    return html.escape(value)
