"""The windows of budgets: those of the calendar, those that roll, and those that something other than a clock ends. Pure.

The calendar is UTC, so no change to or from summer time is ever seen; weeks are those of ISO 8601 and belong to the year of their
Thursday. A rolling window is so many seconds, counted back from now.
"""

from __future__ import annotations

import functools
import re
from datetime import UTC, datetime, timedelta

CALENDAR = ("minute", "hour", "day", "week", "month")
WINDOWS = (*CALENDAR, "session", "run", "total")
SLIDING = {"minute": "rolling 1m", "hour": "rolling 1h", "day": "rolling 24h"}
"""What a rate means by a short window of the calendar: any stretch of that length, or a burst at its edge could send twice the limit."""
SHORTEST_S, LONGEST_S = 60, 366 * 86_400
"""Bounds of rolling windows: shorter ones are less than clocks of replicas may differ by, longer ones are a typing error."""

_ROLLING = re.compile(r"rolling +([1-9][0-9]{0,8})([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def span_of(window: str) -> int:
    """Return the seconds of a window `rolling 24h` (s, m, h, d, w), 0 for one that does not roll or whose length is out of bounds."""
    found = _ROLLING.fullmatch(window)
    seconds = int(found[1]) * _SECONDS[found[2]] if found else 0
    return seconds if SHORTEST_S <= seconds <= LONGEST_S else 0


def calendar(window: str, now: float) -> tuple[str, float]:
    """Return name and end of the calendar window that holds `now`; weeks start on Monday."""
    return _calendar(window, int(now // 60))


@functools.lru_cache(maxsize=64)  # the same objects for all counters of a window, of which each agent has some
def _calendar(window: str, minute: int) -> tuple[str, float]:
    """Return what `calendar` does for the `minute` since 1970: no window begins or ends within one."""
    at = datetime.fromtimestamp(minute * 60, UTC)
    if window == "minute":
        start = at.replace(second=0, microsecond=0)
        return start.strftime("%Y-%m-%dT%H:%M"), (start + timedelta(minutes=1)).timestamp()
    if window == "hour":
        start = at.replace(minute=0, second=0, microsecond=0)
        return start.strftime("%Y-%m-%dT%H"), (start + timedelta(hours=1)).timestamp()
    midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
    if window == "day":
        return midnight.strftime("%Y-%m-%d"), (midnight + timedelta(days=1)).timestamp()
    if window == "week":
        start = midnight - timedelta(days=midnight.weekday())
        return start.strftime("%G-W%V"), (start + timedelta(days=7)).timestamp()
    start = midnight.replace(day=1)
    return start.strftime("%Y-%m"), (start + timedelta(days=32)).replace(day=1).timestamp()
