"""Whether counters say what records say, and where they part."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.app.audit import drift
from proxy.app.balances import passing
from proxy.app.drift import Difference, Parting, Sums, differences, lasting, parting, windows
from proxy.engine.record import Record
from proxy.telemetry.charges import Charges, ChargesFile, Part
from proxy.telemetry.ledger import Ledger, MemoryLedger

NOW = datetime(2026, 11, 25, 12, 30, tzinfo=UTC).timestamp()
HOUR = 3600.0
TOTAL, DAY, SESSION = "cap|usd||total", "day|tokens|agent=a|2026-11-25", "talk|usd|,session=a/s|session"


def record(number: int, time: float = NOW, **charges: int) -> Record:
    keys = {"total": (TOTAL, "usd"), "day": (DAY, "tokens"), "session": (SESSION, "usd")}
    cost = charges.get("total", charges.get("session", 0))
    return Record(f"id{number:04d}", time, cost=cost, charges=tuple((*keys[name], amount) for name, amount in charges.items()))


def sums_of(journal: Charges) -> Sums:
    sums = Sums()
    while sums.read(journal):
        pass
    return sums


@pytest.mark.parametrize("kind", ["file", "memory"])
def test_sums_are_added_up_as_records_are_written(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.app.drift.STEP", 3)
    ledger: Ledger | MemoryLedger = Ledger(tmp_path / "l.db") if kind == "file" else MemoryLedger()
    for i in range(10):
        ledger.record(record(i, NOW + i, total=i, day=2 * i))
    ledger.record(record(10, NOW - 5, session=7))
    ledger.record(Record("none", NOW))
    asyncio.run(ledger.close())
    journal: Charges = ChargesFile(tmp_path / "l.db") if kind == "file" else ledger
    sums = sums_of(journal)
    assert sums.amounts == {TOTAL: 45, DAY: 90, SESSION: 7}
    assert (sums.first[SESSION], sums.first[TOTAL], sums.last[TOTAL]) == (NOW - 5, NOW, NOW + 9)
    assert (sums.upto, sums.missing, sums.since) == (12, False, 0.0)
    assert not sums.read(journal)
    recent = journal.recent(NOW + 5, NOW + 60)
    assert recent.amounts == {TOTAL: 35, DAY: 70}
    assert recent.seconds == 55
    assert journal.parts(SESSION) == [Part("id0010", NOW - 5, "", "usd", 7, 7)]


def test_a_busy_hour_is_judged_by_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.telemetry.charges.MOST_RECENT", 3)
    ledger = Ledger(tmp_path / "l.db")
    for i in range(10):
        ledger.record(record(i, NOW + i, total=1))
    asyncio.run(ledger.close())
    recent = ledger.recent(NOW, NOW + 10)
    assert (recent.amounts, recent.seconds) == ({TOTAL: 4}, 4.0)


@pytest.mark.parametrize("kind", ["file", "memory"])
def test_of_very_many_counters_lately_those_of_sessions_are_left_out(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger: Ledger | MemoryLedger = Ledger(tmp_path / "l.db") if kind == "file" else MemoryLedger()
    for i in range(10):
        ledger.record(record(i, NOW + i, total=1, session=2))
    asyncio.run(ledger.close())
    assert ledger.recent(NOW, NOW + 10).amounts == {TOTAL: 10, SESSION: 20}
    monkeypatch.setattr("proxy.telemetry.charges.MANY", 1)
    assert ledger.recent(NOW, NOW + 10).amounts == {TOTAL: 10}


def test_a_memory_ledger_that_lost_records_says_so() -> None:
    ledger = MemoryLedger(max_records=3)
    for i in range(5):
        ledger.record(record(i, NOW + i, total=1))
    sums = sums_of(ledger)
    assert (sums.missing, sums.amounts, sums.upto) == (True, {TOTAL: 3}, 5)
    ledger.record(record(6, NOW + 6, total=1))
    assert sums.read(ledger)
    assert sums.amounts == {TOTAL: 4}
    assert ledger.recent(NOW, NOW + 7) == ({TOTAL: 3}, 4.0), "what is kept begins at the fourth second"


@pytest.mark.parametrize(
    ("counter", "why"),
    [
        (TOTAL, ""),
        (DAY, ""),
        ("m|usd||2026-11", ""),
        ("w|usd||2026-W48", ""),
        ("h|usd||2026-11-25T12", ""),
        ("h|usd||2026-11-25T11", "over"),
        ("d|usd||2026-11-24", "over"),
        ("r|requests||rolling-24h", "rolling"),
        (SESSION, ""),
        ("talk|usd|,session=a/long|session", "older"),
        ("talk|usd|,session=a/past|session", "older"),
        ("talk|usd|,run=unseen|run", ""),
    ],
)
def test_what_is_sure(counter: str, why: str) -> None:
    sums = Sums()
    for name, first, last in (("s", -HOUR, 0.0), ("long", -30 * HOUR, 0.0), ("past", -23 * HOUR, -21 * HOUR)):
        sums.first[f"talk|usd|,session=a/{name}|session"] = NOW + first
        sums.last[f"talk|usd|,session=a/{name}|session"] = NOW + last
    assert sums.why_not(counter, NOW, windows(NOW)) == why


def test_what_began_before_records_held_charges_is_not_sure() -> None:
    sums = Sums(since=NOW - 2 * HOUR)
    found = {counter: sums.why_not(counter, NOW, windows(NOW)) for counter in (TOTAL, DAY, SESSION, "h|usd||2026-11-25T12")}
    assert found == {TOTAL: "older", DAY: "older", SESSION: "older", "h|usd||2026-11-25T12": ""}


def test_of_many_sessions_some_are_summed_and_those_whole() -> None:
    ledger, sums = MemoryLedger(), Sums(most=100)
    for turn in range(3):
        for i in range(300):
            charges = ((f"cap|usd|agent=a,session=s{i}|session", "usd", 10**turn), (TOTAL, "usd", 1))
            ledger.record(Record(f"{turn}-{i:03}", NOW + turn, charges=charges))
        while sums.read(ledger):
            pass
    kept = {counter: amount for counter, amount in sums.amounts.items() if passing(counter)}
    assert 20 <= len(kept) <= 100
    assert set(kept.values()) == {111}
    assert sums.amounts[TOTAL] == 900
    assert sums.first.keys() == sums.last.keys() == sums.amounts.keys()


def test_counters_that_nobody_asks_for_are_forgotten() -> None:
    ledger = MemoryLedger()
    ledger.record(record(1, NOW, total=1, day=1, session=1))
    sums = sums_of(ledger)
    sums.forget(NOW + HOUR)
    assert set(sums.amounts) == {TOTAL, DAY, SESSION}
    sums.forget(NOW + 24 * HOUR)
    assert set(sums.amounts) == set(sums.first) == set(sums.last) == {TOTAL, SESSION}
    sums.forget(NOW + 49 * HOUR)
    assert set(sums.amounts) == {TOTAL}


def test_a_difference_is_what_no_race_explains() -> None:
    before, after = {"a": 10, "b": 10, "c": 10}, {"a": 20, "b": 20, "c": 20, "d": 5}
    balances = {"a": (10, 3), "b": (21, 0), "c": (7, 9), "d": (5, 0), "e": (4, 0)}
    found = differences(before, balances, after, ["a", "b", "c", "d", "e", "f"])
    assert found == [Difference("e", 4, 0, 4), Difference("c", 7, 10, -3), Difference("b", 21, 20, 1)]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 100)), max_size=40), st.integers(0, 40), st.integers(0, 40), st.integers(0, 40))
def test_no_order_of_events_makes_a_difference(charges: list[tuple[int, int]], one: int, two: int, three: int) -> None:
    """Whenever the three looks fall, as long as each charge is in the store and in the ledger before the next look."""
    low, middle, high = sorted((one, two, three))

    def summed(count: int) -> dict[str, int]:
        found: dict[str, int] = {}
        for counter, amount in charges[:count]:
            found[str(counter)] = found.get(str(counter), 0) + amount
        return found

    balances = {counter: (amount, 0) for counter, amount in summed(middle).items()}
    assert differences(summed(low), balances, summed(high), ["0", "1", "2", "3"]) == []


def test_only_what_stays_is_believed() -> None:
    first = [Difference("a", 1, 0, 1), Difference("b", 1, 0, 1)]
    second = [Difference("a", 3, 0, 3), Difference("b", 0, 1, -1), Difference("c", 1, 0, 1)]
    assert lasting(first, second) == [second[0]]


def test_drift_adds_up_what_differs_by_unit() -> None:
    found = [Difference(TOTAL, 5, 0, 5 * 10**9), Difference(SESSION, 0, 1, -(10**9)), Difference(DAY, 1, 0, 7)]
    assert drift(found) == {"usd": 6.0, "tokens": 7, "input_tokens": 0, "output_tokens": 0, "requests": 0}
    assert set(drift([]).values()) == {0}


GOOD = Part("r1", NOW, "ok", "usd", 5, 5)


@pytest.mark.parametrize(
    ("over", "parts", "found"),
    [
        (3, [GOOD, Part("r2", NOW, "ok", "usd", 5, 2), Part("r3", NOW, "ok", "usd", 3, 3)], Parting("r2", "this record charges it 5")),
        (3, [GOOD, Part("r2+", NOW, "ok", "usd", 1, 1)], Parting("r2+", "two records of this hold")),
        (3, [GOOD, Part("r2+", NOW, "expired", "usd", 1, 1)], Parting("", "left no record")),
        (3, [GOOD, Part("r2", NOW, "lost", "usd", 9, 4)], Parting("", "left no record")),
        (
            3,
            [GOOD, Part("r2", NOW, "ok", "usd", 3, 3)],
            Parting("r2", "was lost, or this one was charged twice"),
        ),
        (-3, [GOOD, Part("r2", NOW, "ok", "usd", 3, 3)], Parting("r2", "its settle was lost")),
        (3, [GOOD, Part("r2", NOW, "expired", "usd", 9, 4)], Parting("", "left no record")),
        (-4, [GOOD], Parting("", "the store has lost")),
        (3, [], Parting("", "left no record")),
    ],
)
def test_where_they_part(over: int, parts: list[Part], found: Parting) -> None:
    told = parting(Difference(TOTAL, 10, 10 - over, over), parts)
    assert told.id == found.id
    assert found.why in told.why
