from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from record_samples import REFUSED, SERVED

from proxy.telemetry.grouping import Sum
from proxy.telemetry.tables import duration, parse_when, printable, record_table, sum_table, table

NOW = datetime(2027, 1, 31, 8, 30, 15, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", NOW - 90),
        ("15m", NOW - 900),
        (" 1H ", NOW - 3600),
        ("2 d", NOW - 172_800),
        ("1w", NOW - 604_800),
        ("today", datetime(2027, 1, 31, tzinfo=UTC).timestamp()),
        ("yesterday", datetime(2027, 1, 30, tzinfo=UTC).timestamp()),
        ("2027-01-05", datetime(2027, 1, 5, tzinfo=UTC).timestamp()),
        ("2027-01-05T10:00", datetime(2027, 1, 5, 10, tzinfo=UTC).timestamp()),
        ("2027-01-05T10:00:00+02:00", datetime(2027, 1, 5, 8, tzinfo=UTC).timestamp()),
        ("2027-01-05T10:00Z", datetime(2027, 1, 5, 10, tzinfo=UTC).timestamp()),
    ],
)
def test_times_as_people_type_them(text: str, expected: float) -> None:
    assert parse_when(text, NOW) == expected


@pytest.mark.parametrize("text", ["", "soon", "1y", "-1h", "1.5h", "h", "2027-13-01", "٣h", "9999999h", "1h; DROP TABLE"])
def test_other_text_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time: write 15m"):
        parse_when(text, NOW)


@given(st.text(max_size=30))
def test_any_text_is_a_time_or_a_value_error(text: str) -> None:
    try:
        when = parse_when(text, NOW)
    except ValueError as e:
        words = str(e)
    else:
        words = str(when)
    assert words.isprintable()


@pytest.mark.parametrize(
    ("ns", "text"),
    [(0, "0 µs"), (84_400, "84 µs"), (1_230_000, "1.2 ms"), (3_400_000_000, "3.40 s"), (125_000_000_000, "2 m 05 s")],
)
def test_durations(ns: int, text: str) -> None:
    assert duration(ns) == text


@given(st.text())
def test_printable_text_prints(text: str) -> None:
    assert printable(text).isprintable()
    if text.isprintable():
        assert printable(text) == text


def test_columns_line_up_and_numbers_stand_right() -> None:
    text = table(("NAME", "CALLS", "X"), [("a", "1", ""), ("longer\n", "1,000", "y")], {"CALLS"})
    assert text.split("\n") == ["NAME      CALLS  X", "a             1", "longer\\n  1,000  y"]


def test_records_as_a_table() -> None:
    head, served, refused = record_table([replace(SERVED, model="m" * 60), REFUSED]).split("\n")
    assert head.split()[:3] == ["TIME", "(UTC)", "ID"]
    assert "m" * 31 + "…" in served
    assert "7,042" in served
    assert "3.0 ms" in served
    assert "budget_exceeded" in refused
    assert record_table([]) == "no exchanges"


def test_sums_as_a_table_end_with_their_sum() -> None:
    sums = [Sum(("a",), 3, 1, 1000, 50, 200, 1_500_000_000, 0, 0, 0), Sum(("",), 1, 1, 0, 0, 0, 0, 0, 0, 0)]
    lines = [line.split() for line in sum_table(["agent"], sums).split("\n")]
    assert lines == [
        ["AGENT", "CALLS", "REFUSED", "IN", "CACHED", "OUT", "USD"],
        ["a", "3", "1", "1,000", "50", "200", "1.50"],
        ["-", "1", "1", "0", "0", "0", "0.00"],
        ["total", "4", "2", "1,000", "50", "200", "1.50"],
    ]
    assert "total" not in sum_table(["day"], sums[:1])
    assert sum_table(["day"], []) == "no exchanges"


def test_sums_by_two_fields_show_what_was_saved() -> None:
    found = [Sum(("a", "m"), 1, 0, 0, 0, 0, 0, 2_000_000_000, 0, 0), Sum(("a", ""), 1, 0, 0, 0, 0, 0, 0, 0, 0)]
    lines = [line.split() for line in sum_table(["agent", "model"], found).split("\n")]
    assert lines[0][-1] == "SAVED"
    assert [line[:2] for line in lines[1:]] == [["a", "m"], ["a", "-"], ["total", "2"]]
    assert lines[1][-1] == "2.00"


def test_estimates_are_shown_as_ranges_where_there_are_any() -> None:
    first = Sum(("a",), 3, 1, 1000, 50, 200, 1, 0, 0, 0, 500_000, 1_250_000, 2_000_000_000, 3_000_000_000)
    sums = [first, Sum(("b",), 1, 0, 0, 0, 0, 0, 0, 0, 0)]
    lines = sum_table(["agent"], sums).splitlines()
    assert lines[0].split()[-2:] == ["GCO2E", "WH"]
    assert "0.5 to 1.25" in lines[1]
    assert "2,000 to 3,000" in lines[1]
    assert lines[2].split()[-1] == "0"
    assert "0.5 to 1.25" in lines[3]
    assert "GCO2E" not in sum_table(["agent"], sums[1:])
