"""Budgets as people read them: one line each where the window is wide, two where it is not, the one nearest to its limit first.

Decides only how things look: bars in unicode or ASCII, colour or none. Spent is the full part of a bar, held the lighter one behind it.
Amounts of money are shown to the cent, and less than a dollar to a hundredth of one, or exactly where they are less than that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from proxy.app.balances import agent_of
from proxy.telemetry.tables import printable, table

WIDE = 118
"""From so many columns on, a budget may be one line."""
LEAST_BAR = 6
WARN, FULL = 0.8, 1.0
_EIGHTHS = " ▏▎▍▌▋▊▉"
_NAME_CHARS, _SCOPE_CHARS, _VALUE_CHARS = 28, 30, 13
_UNITS = {"concurrency": "at once", "gco2e": "gCO2e", "input_tokens": "tokens in", "output_tokens": "tokens out"}


@dataclass(frozen=True, slots=True)
class Look:
    """The window's `width` in columns, and whether it can show `colour` and `unicode`."""

    width: int = 80
    colour: bool = False
    unicode: bool = True


def render(budgets: Sequence[Mapping[str, Any]], now: float, look: Look) -> str:
    """Return `budgets` (as the JSON of `fleetgate budgets` has them) as text, in the order given, without a last newline."""
    if not budgets:
        return "no budgets"
    wide = _wide(budgets, now, look) if look.width >= WIDE else ""
    return wide or "\n".join(_narrow(b, now, look) for b in budgets)


def _wide(budgets: Sequence[Mapping[str, Any]], now: float, look: Look) -> str:
    """Return a table, nothing where it is too wide for the window."""
    head = ("BUDGET", "FOR", "WINDOW", "SPENT", "HELD", "LIMIT", "", "USED", "RESETS", "FORECAST")
    rows = [
        (
            _short(title(b), _NAME_CHARS),
            _short(scope(b), _SCOPE_CHARS),
            b["window"],
            _amount(b["spent"]),
            _amount(b["held"]) if _number(b["held"]) else "-",
            f"{_amount(b['limit'])} {_unit(b)}",
            bar(b, 1, look),
            percent(b["used"]),
            resets(b, now),
            forecast(b),
        )
        for b in budgets
    ]
    room = look.width - max(len(line) for line in table(head, rows).splitlines())
    if room < LEAST_BAR - 1:
        return ""
    size = min(24, 1 + room)
    rows = [(*row[:6], bar(b, size, look), *row[7:]) for row, b in zip(rows, budgets, strict=True)]
    first, *lines = table(head, rows, {"SPENT", "HELD", "LIMIT", "USED"}).splitlines()
    painted = [paint(line, b, look) for line, b in zip(lines, budgets, strict=True)]
    return "\n".join([_dim(first, look), *painted])


def _narrow(b: Mapping[str, Any], now: float, look: Look) -> str:
    """Return the two lines of one budget: whose it is and until when; how much is gone."""
    width = max(40, look.width)
    when = ", ".join(word for word in (b["window"], f"resets in {resets(b, now)}" if resets(b, now) else "", forecast(b)) if word)
    room = width - len(when) - 2
    whose = _short(f"{title(b)}  {scope(b)}", max(12, room))
    first = f"{whose.ljust(room)}  {when}"
    held = f" + {_amount(b['held'])} held" if _number(b["held"]) else ""
    spent = f"{_amount(b['spent'])}{held} of {_amount(b['limit'])} {_unit(b)}"
    second = f"  {bar(b, max(8, min(24, width // 3)), look)} {percent(b['used']).rjust(7)}  {spent}"
    return f"{first.rstrip()}\n{paint(second, b, look)}"


def bar(b: Mapping[str, Any], size: int, look: Look) -> str:
    """Return a bar of `size` characters: what is spent, what is held, what is left."""
    limit, spent, held = (_number(b[name]) for name in ("limit", "spent", "held"))
    used = min(Decimal(1), (spent + held) / limit) if limit else Decimal(1)
    share = min(used, spent / limit) if limit else used
    eighths, all_eighths = (int(part * size * 8) for part in (share, used))
    if not look.unicode:
        return "#" * (eighths // 8) + "=" * (all_eighths // 8 - eighths // 8) + "." * (size - all_eighths // 8)
    if share == used:
        full, rest = divmod(max(eighths, 1 if used else 0), 8)
        return ("█" * full + (_EIGHTHS[rest] if rest else "")).ljust(size, "·")
    full = eighths // 8
    return ("█" * full + "▒" * max(1, -(-all_eighths // 8) - full)).ljust(size, "·")


def paint(line: str, b: Mapping[str, Any], look: Look) -> str:
    """Return `line` in the colour of how near the budget is to its limit."""
    if not look.colour:
        return line
    code = "31" if b["used"] >= FULL else "33" if b["used"] >= WARN or b.get("exhausted_in") is not None else "32" if b["used"] else "2"
    return f"\x1b[{code}m{line}\x1b[0m"


def _dim(line: str, look: Look) -> str:
    return f"\x1b[2m{line}\x1b[0m" if look.colour else line


def title(b: Mapping[str, Any]) -> str:
    """Return the budget's name; of an agent's own without the agent, which stands beside it."""
    name: str = b["name"]
    return name.removeprefix(f"agent:{agent_of(name, '')}/")


def scope(b: Mapping[str, Any]) -> str:
    """Return whose counter it is: `clerk`, `clerk, session s1`, `shared`."""
    agent = agent_of(b["name"], b["scope"])
    words = [agent] if agent else []
    for kind, _, value in [part.partition("=") for part in b["scope"].split(",") if part]:
        if kind != "agent":
            words.append(f"{kind} {_short(value.removeprefix(f'{agent}/'), _VALUE_CHARS)}")
    return ", ".join(words) or "shared"


def percent(used: float) -> str:
    """Return a share as `62.9 %`; less than all is never shown as all, more than nothing never as nothing."""
    if 0 < used < 0.001:
        return "<0.1 %"
    shown = min(used * 100, 99.9) if used < 1 else used * 100
    return f"{shown:.1f} %" if shown < 1000 else ">999 %"


def resets(b: Mapping[str, Any], now: float) -> str:
    """Return how long it is until the window starts anew, nothing where no clock says so."""
    return span(b["resets_at"] - now) if b["resets_at"] is not None else ""


def forecast(b: Mapping[str, Any]) -> str:
    """Return when nothing will be left, in words; nothing for a budget that lasts."""
    seconds = b.get("exhausted_in")
    if seconds is None:
        return ""
    return "exhausted" if seconds <= 0 else f"exhausted in {span(seconds)}"


def span(seconds: float) -> str:
    """Return a time to come in its largest unit: `40 s`, `12 min`, `3 h`, `5 d`."""
    for length, word in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * length or (seconds >= length and word != "d"):
            return f"{seconds / length:.0f} {word}"
    return f"{max(seconds, 0):.0f} s"


def _unit(b: Mapping[str, Any]) -> str:
    unit: str = b["unit"]
    return _UNITS.get(unit, unit.upper() if unit == "usd" else unit)


def _number(value: Any) -> Decimal:
    return Decimal(str(value))


def _amount(value: Any) -> str:
    """Return dollars (text) to the cent, less than one to a hundredth of it, and less than that exactly; counts with thousands apart."""
    if not isinstance(value, str):
        return f"{value:,}"
    exact = Decimal(value)
    short = exact.quantize(Decimal("0.01") if exact >= 1 else Decimal("0.0001"))
    text = f"{(exact if exact and not short else short).normalize():,f}"
    whole, _, cents = text.partition(".")
    return f"{whole}.{cents.ljust(2, '0')}"


def _short(text: str, size: int) -> str:
    text = printable(text)
    return text if len(text) <= size else text[: size - 1] + "…"
