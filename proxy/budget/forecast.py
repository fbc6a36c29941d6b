"""How long a budget lasts at this pace. Pure: `now` is an argument.

The pace is what was spent in the window so far over the time that took, blended with that of the recent past: at a window's beginning
the window itself says little, so the recent past speaks; later the window does. One call in a window's first second is no pace: what was
spent counts as having taken at least a twentieth of the window, or five minutes where that is less.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

HOUR_S = 3600.0
LEAST_S = 300.0
"""The shortest time that something counts as having taken, in windows long enough."""
_LENGTH_S = {"minute": 60.0, "hour": 3600.0, "day": 86_400.0, "week": 604_800.0}


@dataclass(frozen=True, slots=True)
class Pace:
    """What a forecast rests on.

    Attributes:
        limit, spent, held: of the counter, in its own unit.
        window: as in `BudgetRule.window`.
        resets_at: when the window ends, UTC seconds; None where no clock ends it.
        recent: what was spent in the recent past, across windows; None where nobody knows.
        recent_s: how long that past is, in seconds.
        span: length of a rolling window in seconds, else 0.
    """

    limit: int
    spent: int
    held: int
    window: str
    resets_at: float | None = None
    recent: int | None = None
    recent_s: float = HOUR_S
    span: float = 0.0


def exhausted_in(pace: Pace, now: float) -> float | None:
    """Return in how many seconds nothing will be left, 0 when that is so now, None when the window starts anew before, or nobody knows.

    A pace of nothing never ends a budget. Where no clock ends the window (session, run, total) only the recent past says how fast it goes.
    """
    left = pace.limit - pace.spent - pace.held
    if left <= 0:
        return 0.0
    recent = None if pace.recent is None or pace.recent_s <= 0 else pace.recent / pace.recent_s
    rate = _rolling(pace, recent) if pace.span > 0 else _rate(pace, recent, now)
    if rate is None or rate <= 0:
        return None
    seconds = left / rate
    ends_first = pace.resets_at is not None and now + seconds >= pace.resets_at
    return None if ends_first else seconds


def _rate(pace: Pace, recent: float | None, now: float) -> float | None:
    length = None if pace.resets_at is None else length_of(pace.window, pace.resets_at)
    if length is None or pace.resets_at is None:
        return recent
    elapsed = min(max(now - (pace.resets_at - length), 0.0), length)
    own = pace.spent / max(elapsed, min(LEAST_S, length / 20))
    if recent is None:
        return own
    weight = elapsed / (elapsed + min(HOUR_S, length / 2))
    return weight * own + (1 - weight) * recent


def _rolling(pace: Pace, recent: float | None) -> float | None:
    """Return how fast what is left of a rolling window shrinks: new spending, less what it forgets meanwhile."""
    return None if recent is None else recent - pace.spent / pace.span


def length_of(window: str, resets_at: float) -> float | None:
    """Return the seconds of the calendar window that ends at `resets_at`; None for any other window."""
    if window == "month":
        end = datetime.fromtimestamp(resets_at, UTC)
        return (end - (end - timedelta(days=1)).replace(day=1)).total_seconds()
    return _LENGTH_S.get(window)
