"""Personal data: what checks out is found whole, what only looks like it is left, nothing is slow."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from taking import linear

from proxy.guards import checksums
from proxy.guards.pii import PiiGuard

GUARD = PiiGuard()


def found(text: str) -> list[tuple[str, str]]:
    return [(hit.rule.removeprefix("pii/"), text[hit.start : hit.end]) for hit in GUARD.scan(text, "prompt")]


CARDS = (
    "4111111111111111",
    "4111 1111 1111 1111",
    "4111-1111-1111-1111",
    "378282246310005",
    "3782 822463 10005",
    "5555555555554444",
    "6011111111111117",
    "3530111333300000",
    "30569309025904",
)
IBANS = (
    "DE89370400440532013000",
    "DE89 3704 0044 0532 0130 00",
    "gb29nwbk60161331926819",
    "FR1420041010050500013M02606",
    "NO9386011117947",
)
PHONES = (
    "+1 415 555 2671",
    "+1-415-555-2671",
    "(415) 555-2671",
    "415-555-2671",
    "415.555.2671",
    "+44 20 7946 0958",
    "+49 (0)30 901820",
    "001-415-555-2671x123",
    "+49 30 901820",
)
ADDRESSES = ("203.0.113.7", "10.1.2.3", "2001:db8:85a3::8a2e:370:7334", "2001:0db8:85a3:0000:0000:8a2e:0370:7334")
EMAILS = ("jane.doe@corp.io", "x+tag@mail.co.uk", "JANE_DOE@CORP.COM")
ALL = [
    *[("card", v) for v in CARDS],
    *[("iban", v) for v in IBANS],
    *[("phone", v) for v in PHONES],
    *[("ip", v) for v in ADDRESSES],
    *[("email", v) for v in EMAILS],
    ("ssn", "536-22-1234"),
]
PLACES = ("{}", "it is {}.", '{{"v": "{}"}}', "é \u2013 {} \u2013 ü", "a\n{}\nb", "a\\n{}\\nb", "({})", "12 {}, ok")


@pytest.mark.parametrize(("rule", "value"), ALL)
@pytest.mark.parametrize("place", PLACES)
def test_it_is_found_whole(rule: str, value: str, place: str) -> None:
    assert (rule, value) in found(place.format(value))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("call me at 0451 20 30 41 please", "0451 20 30 41"),
        ("my phone: 5129876043", "5129876043"),
        ("81 22 63-Office", "81 22 63"),
        ("931 44 620 mobile", "931 44 620"),
        ("stop messages to 612 344 508", "612 344 508"),
    ],
)
def test_a_number_is_a_phone_beside_the_word(text: str, value: str) -> None:
    assert found(text) == [("phone", value)]
    assert found(f"order {value} of 9") == []


@pytest.mark.parametrize("text", ["My driver's license number is K204417730092", "passport no. X1234567"])
def test_a_licence_beside_the_word(text: str) -> None:
    assert [rule for rule, _ in found(text)] == ["licence"]


def test_a_card_of_no_known_issuer_counts_beside_the_word() -> None:
    assert found("9192837465019283") == []
    assert found("my card 9192837465019283") == [("card", "9192837465019283")]


@pytest.mark.parametrize(
    "text",
    [
        "4111111111111112",
        "0000000000000000",
        "id 1234567890123456",
        "0.41111111111111111",
        "x4111111111111111",
        "DE89370400440532013001",
        "XX89370400440532013000",
        "000-12-3456 666-12-3456 900-12-3456 123-00-4567 123-45-0000",
        "2024-01-15 12:30:45",
        "01/02/2024 - 03/04/2025",
        "1999-2024",
        "127.0.0.1 0.0.0.0 255.255.255.0 ::1",
        "version 1.2.3.4 and v10.20.30.40",
        "300.1.1.1",
        "std::vector add::face a::b",
        "12:30:45",
        "user@example.com git@github.com logo@2x.png",
        "@decorator a@b",
        "1,234,567,890",
        "sha256:9f86d081884c7d659a2feaa0c55ad015",
        "1732556890123",
        "row 1 2 3 4 5 6 7 8 9 10 11 12",
        "chapter 12-34 and 56-78",
        "",
    ],
)
def test_nobody_s(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize(("digits", "right"), [("79927398713", True), ("79927398710", False), ("0", True)])
def test_luhn(digits: str, right: bool) -> None:
    assert checksums.luhn(digits) is right


@given(st.text("0123456789", min_size=11, max_size=18))
def test_one_wrong_digit_is_seen(digits: str) -> None:
    whole = next(digits + d for d in "0123456789" if checksums.luhn(digits + d))
    assert not checksums.luhn(whole[:-1] + str((int(whole[-1]) + 1) % 10))


@given(st.integers(0, 10**18 - 1))
def test_iban_check_digits(account: int) -> None:
    body = f"{account:018d}"
    check = 98 - int(body + "131400") % 97
    assert checksums.iban(f"DE{check:02d}{body}")
    assert not checksums.iban(f"DE{(check + 1) % 100:02d}{body}")


@given(st.text(max_size=300) | st.text("0123456789 -.()+x:@a", max_size=300))
def test_nothing_raises_and_spans_are_in_order(text: str) -> None:
    hits = GUARD.scan(text, "prompt")
    assert all(0 <= h.start < h.end <= len(text) for h in hits)
    assert all(a.end <= b.start for a, b in pairwise(hits))
    assert all(h.end - h.start <= (GUARD.reach or 0) for h in hits if text.isascii())


@pytest.mark.parametrize(
    "unit", ["1", "1 ", "12-", "4111 ", "a@", "a.", "a@b.c", "::", "1:", "+1", "(1)", "DE89", "license is ", "555-1234 "]
)
def test_hostile_text_takes_time_by_its_length(unit: str) -> None:
    assert linear(GUARD, unit, "prompt")


def test_a_text_full_of_candidates_is_a_finding() -> None:
    assert ("crowded", True) in [(hit.rule[4:], hit.open) for hit in GUARD.scan("123 4567; " * 110_000, "prompt")]
