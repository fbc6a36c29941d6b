from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.engine.record import Record
from proxy.telemetry.timing import overhead_ns, total_ns, ttft_ns, upstream_ns

NAMES = ("body", "admitted", "sent", "head", "first_byte", "last_byte", "closed")


@pytest.mark.parametrize(
    ("marks", "stream", "expected"),
    [
        ({}, True, (0, 0, None, None)),
        ({"closed": 9}, True, (9, 9, None, None)),
        ({"body": 4, "closed": 9}, True, (9, 5, None, None)),
        ({"body": 4, "sent": 6, "closed": 9}, True, (9, 2, 3, None)),
        ({"body": 4, "sent": 6, "first_byte": 20, "last_byte": 90, "closed": 95}, True, (95, 7, 84, 14)),
        ({"body": 4, "sent": 6, "first_byte": 20, "closed": 95}, True, (95, 2, 89, 14)),
        ({"body": 4, "sent": 6, "first_byte": 20, "closed": 25}, False, (25, 7, 14, None)),
        ({"body": 4, "sent": 6, "first_byte": 20, "last_byte": 22, "closed": 25}, False, (25, 5, 16, None)),
        ({"sent": 6, "head": 8}, False, (8, 6, 2, None)),
    ],
)
def test_whose_time_it_was(marks: dict[str, int], stream: bool, expected: tuple[int, int, int | None, int | None]) -> None:
    record = Record("i", 0.0, stream=stream, marks=marks)
    assert (total_ns(record), overhead_ns(record), upstream_ns(record), ttft_ns(record)) == expected


@given(st.dictionaries(st.sampled_from(NAMES), st.integers(0, 1 << 50)), st.booleans())
def test_no_part_is_negative_even_when_marks_make_no_sense(marks: dict[str, int], stream: bool) -> None:
    record = Record("i", 0.0, stream=stream, marks=marks)
    assert min(total_ns(record), overhead_ns(record), upstream_ns(record) or 0, ttft_ns(record) or 0) >= 0
    assert overhead_ns(record) <= total_ns(record)
