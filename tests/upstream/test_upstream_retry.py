"""When a request is sent again, as a table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.upstream.retry import AGAIN, LONGEST_S, Failure, pause_s

NO_CONNECTION = Failure("connect")


@pytest.mark.parametrize(
    ("failure", "tried", "retries", "left_s", "pause"),
    [
        (NO_CONNECTION, 1, 1, 10, 0.25),
        (NO_CONNECTION, 2, 1, 10, None),
        (NO_CONNECTION, 1, 0, 10, None),
        (NO_CONNECTION, 2, 5, 10, 0.5),
        (NO_CONNECTION, 5, 5, 10, 2.0),
        (NO_CONNECTION, 1, 1, 0.25, None),
        (NO_CONNECTION, 1, 1, -3, None),
        (Failure("timeout"), 1, 5, 10, None),
        (Failure("cut"), 1, 5, 10, None),
        (Failure("protocol"), 1, 5, 10, None),
        (Failure("too_large"), 1, 5, 10, None),
        (Failure(status=429), 1, 1, 10, 0.25),
        (Failure(status=503), 1, 1, 10, 0.25),
        (Failure(status=529), 1, 1, 10, 0.25),
        (Failure(status=429), 2, 1, 10, None),
        *[(Failure(status=status), 1, 5, 10, None) for status in (200, 400, 401, 404, 408, 413, 500, 501, 502, 504)],
        (Failure(status=429, retry_after="0"), 1, 1, 10, 0.25),
        (Failure(status=429, retry_after="1"), 1, 1, 10, 1.0),
        (Failure(status=429, retry_after="1.5"), 1, 1, 10, 1.5),
        (Failure(status=429, retry_after="2"), 1, 1, 10, 2.0),
        (Failure(status=429, retry_after="2"), 1, 1, 1.5, None),
        *[
            (Failure(status=429, retry_after=text), 1, 1, 10, None)
            for text in ("2.1", "30", "-1", "nan", "inf", "", "soon", "Wed, 21 Oct 2026 07:28:00 GMT", "9" * 400)
        ],
    ],
)
def test_the_decision(failure: Failure, tried: int, retries: int, left_s: float, pause: float | None) -> None:
    assert pause_s(failure, tried, retries, left_s, luck=1.0) == pause


@given(
    tried=st.integers(1, 6), retries=st.integers(0, 5), left_s=st.floats(-5, 100), luck=st.floats(0, 1), status=st.sampled_from([0, *AGAIN])
)
def test_a_pause_is_short_spread_and_inside_the_deadline(tried: int, retries: int, left_s: float, luck: float, status: int) -> None:
    found = pause_s(Failure("" if status else "connect", status), tried, retries, left_s, luck)
    if found is None:
        assert tried > retries or left_s <= LONGEST_S
    else:
        assert 0.125 <= found <= LONGEST_S
        assert found < left_s
        assert found <= pause_s(Failure("connect"), tried, retries, 1000, 1.0)  # type: ignore[operator]
