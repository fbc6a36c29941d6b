"""How long a budget lasts at this pace."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.budget.forecast import Pace, exhausted_in, length_of

DAY_END = datetime(2026, 11, 26, tzinfo=UTC).timestamp()
NOON = DAY_END - 43_200


def pace(spent: int, **more: object) -> Pace:
    fields: dict[str, object] = {"limit": 100, "spent": spent, "held": 0, "window": "day", "resets_at": DAY_END} | more
    return Pace(**fields)  # type: ignore[arg-type]


def test_half_a_day_of_the_same_pace() -> None:
    assert exhausted_in(pace(80), NOON) == pytest.approx(20 / (80 / 43_200))
    assert exhausted_in(pace(80, held=10), NOON) == pytest.approx(10 / (80 / 43_200)), "what is held is as good as spent"
    assert exhausted_in(pace(50), NOON) is None, "just at the reset is not before it"
    assert exhausted_in(pace(0), NOON) is None
    assert exhausted_in(pace(0, recent=0), NOON) is None


@pytest.mark.parametrize(("spent", "held"), [(100, 0), (90, 10), (300, 0)])
def test_what_is_used_up_is_exhausted_now(spent: int, held: int) -> None:
    assert exhausted_in(pace(spent, held=held), NOON) == 0
    assert exhausted_in(pace(spent, held=held, window="total", resets_at=None), NOON) == 0


def test_one_call_in_the_first_second_is_no_pace() -> None:
    start = DAY_END - 86_400
    assert exhausted_in(pace(1), start + 1) == pytest.approx(99 * 300), "as if it had taken five minutes"
    minute = pace(10, window="minute", resets_at=start + 60)
    assert exhausted_in(minute, start + 1) == pytest.approx(90 / (10 / 3)), "a twentieth of a minute"
    assert exhausted_in(pace(10, window="minute", resets_at=start + 60), start + 30) is None


def test_at_the_beginning_the_recent_past_speaks_and_later_the_window() -> None:
    start = DAY_END - 86_400
    assert exhausted_in(pace(0, recent=50), start) == pytest.approx(2 * 3600), "50 in the hour before midnight"
    assert exhausted_in(pace(1, recent=0), start + 1) is None, "one call after an hour of silence"
    early, late = (exhausted_in(pace(60, recent=100), start + hours * 3600) for hours in (1, 10))
    assert early == pytest.approx(40 / ((60 + 100) / 2 / 3600))
    weight = 10 / 11
    assert late == pytest.approx(40 / (weight * 60 / 36_000 + (1 - weight) * 100 / 3600))


def test_where_no_clock_ends_the_window_the_recent_past_alone_says_how_fast_it_goes() -> None:
    for window in ("session", "run", "total"):
        assert exhausted_in(pace(50, window=window, resets_at=None), NOON) is None
        assert exhausted_in(pace(50, window=window, resets_at=None, recent=10, recent_s=60.0), NOON) == 300
        assert exhausted_in(pace(50, window=window, resets_at=None, recent=10, recent_s=0.0), NOON) is None


def test_a_rolling_window_forgets_meanwhile() -> None:
    rolling = {"window": "rolling 24h", "resets_at": None, "span": 86_400.0}
    assert exhausted_in(pace(50, **rolling), NOON) is None
    assert exhausted_in(pace(48, recent=2, **rolling), NOON) is None, "it forgets as fast as it is spent"
    assert exhausted_in(pace(48, recent=4, **rolling), NOON) == pytest.approx(52 / (2 / 3600))


@pytest.mark.parametrize(
    ("window", "end", "days"),
    [
        ("month", (2027, 1, 1), 31),
        ("month", (2028, 3, 1), 29),
        ("month", (2027, 3, 1), 28),
        ("week", (2027, 1, 4), 7),
        ("day", (2027, 1, 1), 1),
    ],
)
def test_the_length_of_a_window(window: str, end: tuple[int, int, int], days: int) -> None:
    assert length_of(window, datetime(*end, tzinfo=UTC).timestamp()) == days * 86_400
    assert length_of("session", NOON) is None


@given(
    st.integers(0, 1 << 62),
    st.integers(0, 1 << 62),
    st.integers(0, 1 << 62),
    st.sampled_from(["minute", "hour", "day", "week", "month", "session", "total"]),
    st.none() | st.integers(0, 1 << 62),
    st.floats(0, 86_400),
)
def test_it_is_never_negative_and_never_beyond_the_reset(
    limit: int, spent: int, held: int, window: str, recent: int | None, ago: float
) -> None:
    ends = None if window in ("session", "total") else DAY_END
    found = exhausted_in(Pace(limit, spent, held, window, ends, recent), DAY_END - ago)
    assert found is None or found >= 0
    assert found is None or found == 0 or ends is None or DAY_END - ago + found < ends
    assert (found == 0) == (spent + held >= limit)
