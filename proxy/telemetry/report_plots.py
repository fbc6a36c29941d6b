"""Plots as inline SVG: bars over time, and bars beside names. Colours come from the page's classes, so that light, dark and print follow.

Decides only how things look. Every text is escaped, and what does not print is shown as such: no name can leave its element.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence

from proxy.telemetry.tables import printable

WIDTH, HEIGHT = 860, 200
_LEFT, _TOP, _BOTTOM = 64, 12, 26
_MOST_LABELS, _GAP = 8, 0.22
_NAME_CHARS = 30


def text(value: str, most: int = 0) -> str:
    """Return `value` for HTML, cut to `most` characters where that is given."""
    if most and len(value) > most:
        value = value[: most - 1] + "…"
    return html.escape(printable(value))


def bars(labels: Sequence[str], now: Sequence[int], before: Sequence[int], show: Callable[[int], str], title: str) -> str:
    """Return bars of `now` over `labels`, with `before` as a line; `show` writes an amount."""
    high = max((*now, *before, 1))
    steps = [round(high * part) for part in (0, 0.5, 1)]
    plot_h = HEIGHT - _TOP - _BOTTOM
    wide = (WIDTH - _LEFT) / max(1, len(labels))
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{text(title)}"><title>{text(title)}</title>']
    for step in steps:
        y = _y(step, high, plot_h)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{text(show(step))}</text>')
    every = max(1, -(-len(labels) // _MOST_LABELS))
    for i, (label, value) in enumerate(zip(labels, now, strict=True)):
        x, y = _LEFT + wide * (i + _GAP / 2), _y(value, high, plot_h)
        said = f"{label}: {show(value)}, before {show(before[i])}"
        parts.append(
            f'<rect class="bar" x="{x:.1f}" y="{y}" width="{wide * (1 - _GAP):.1f}" height="{max(0.0, _TOP + plot_h - y):.1f}" rx="2">'
            f"<title>{text(said)}</title></rect>"
        )
        if i % every == 0:
            at = _LEFT + wide * (i + 0.5)
            parts.append(f'<text class="tick" x="{at:.1f}" y="{HEIGHT - 8}" text-anchor="middle">{text(_short_time(label))}</text>')
    if any(before):
        points = " ".join(f"{_LEFT + wide * (i + 0.5):.1f},{_y(value, high, plot_h)}" for i, value in enumerate(before))
        parts.append(f'<polyline class="before" points="{points}"/>')
    return "".join([*parts, "</svg>"])


def _y(value: int, high: int, plot_h: int) -> float:
    return round(_TOP + plot_h * (1 - value / high), 1)


def _short_time(label: str) -> str:
    """Return `05-31` of a day and `31 14:00` of an hour."""
    return label[8:] if " " in label else label[5:]


def rows(names: Sequence[str], values: Sequence[int], show: Callable[[int], str], title: str) -> str:
    """Return one bar for each name; values below zero go to the left."""
    if not names:
        return '<p class="none">nothing</p>'
    line, label_w, value_w = 26, 250, 110
    low, high = min(0, *values), max(0, *values)
    span = max(1, high - low)
    room = WIDTH - label_w - value_w
    zero = label_w + room * -low / span
    tall = line * len(names) + 4
    parts = [f'<svg viewBox="0 0 {WIDTH} {tall}" role="img" aria-label="{text(title)}"><title>{text(title)}</title>']
    for i, (name, value) in enumerate(zip(names, values, strict=True)):
        y, wide = i * line + 4, max(1.5, room * abs(value) / span) if value else 0
        x = zero if value >= 0 else zero - wide
        kind = "bar" if value >= 0 else "less"
        parts.append(f'<text class="name" x="{label_w - 10}" y="{y + 14}" text-anchor="end">{text(name or "-", _NAME_CHARS)}</text>')
        parts.append(f'<rect class="{kind}" x="{x:.1f}" y="{y + 2}" width="{wide:.1f}" height="{line - 10}" rx="2"/>')
        parts.append(f'<text class="value" x="{WIDTH}" y="{y + 14}" text-anchor="end">{text(show(value))}</text>')
    if low < 0 < high or low < 0:
        parts.append(f'<line class="zero" x1="{zero:.1f}" x2="{zero:.1f}" y1="0" y2="{tall}"/>')
    return "".join([*parts, "</svg>"])
