"""What the book keeps in memory: bounded, whatever sessions clients name, and never at the cost of another limit."""

from __future__ import annotations

import pytest
from budget_exchange import rule

from proxy.budget.book import Book
from proxy.budget.port import Claim, Exceeded, Held
from proxy.budget.rules import Facts, RuleSet
from proxy.engine.ports import StoreError

LATE = 1e12
AMOUNTS = {"usd": 10}


def call(book: Book, hold_id: str, claims: list[Claim], now: float, used: int = 10) -> Held | Exceeded:
    answer = book.reserve(hold_id, claims, now, now + 50)
    if isinstance(answer, Held):
        book.settle(hold_id, {"usd": used, "requests": 1}, now)
    return answer


def test_a_session_of_another_name_with_every_call_fills_no_memory_and_passes_no_day() -> None:
    book = Book(watched=False, most=50)
    day, each = (rule(name, limit, window=name, scope=(("agent", "*"),)) for name, limit in (("day", 1e-5), ("session", 1e-7)))
    rules = RuleSet([day, each])
    answers = []
    for i in range(3000):
        facts = Facts("t", "triage", "k", "s" * 1_000_000 if i == 0 else f"s{i}", "")
        answers.append(call(book, f"h{i}", rules.claims(facts, 1000.0 + i, AMOUNTS), 1000.0 + i))
        assert len(book.counters) <= 70, "a few are looked at each time"
    assert sum(isinstance(answer, Held) for answer in answers) == 1000, "10,000 nanos a day, 10 each"
    assert all(isinstance(answer, Exceeded) for answer in answers[1000:])
    assert max(map(len, book.counters)) < 200


def test_a_run_of_another_name_with_every_call_fills_no_memory_either() -> None:
    book = Book(watched=False, most=50)
    rules = RuleSet([rule("run", 1e-7, window="run")])
    for i in range(500):
        facts = Facts("t", "triage", "k", "s", f"k/{i}")
        assert isinstance(call(book, f"h{i}", rules.claims(facts, 1000.0 + i, AMOUNTS), 1000.0 + i), Held)
        assert len(book.counters) <= 70


def test_a_refused_call_leaves_no_counter_of_its_session_for_long() -> None:
    book = Book(watched=False, most=10**6)
    for i in range(100):
        assert isinstance(call(book, f"h{i}", [Claim(f"c|usd|session={i}|session", "usd", 0, 1, LATE)], 5.0), Exceeded)
    book.sweep(6.0)
    assert book.counters == {}


def test_sessions_that_run_or_are_used_are_kept_and_the_others_forgotten() -> None:
    book = Book(watched=False, most=10)

    def session(name: str, now: float) -> list[Claim]:
        return [Claim(f"c|usd|session={name}|session", "usd", 100, 10, now + 86_400)]

    book.reserve("running", session("running", 0.0), 0.0, 1e9)
    for i in range(500):
        call(book, f"b{i}", session("busy", 1.0 + i), 1.0 + i, 0)
        call(book, f"h{i}", session(str(i), 1.0 + i), 1.0 + i)
    kept = {key.split("=")[1].split("|")[0] for key in book.counters}
    assert {"running", "busy", "499"} <= kept
    assert len(book.counters) <= 20
    assert book.balance("c|usd|session=running|session", 600.0) == (0, 10)


def test_counters_that_are_no_sessions_are_never_forgotten_and_too_many_are_a_fault() -> None:
    book = Book(watched=False, most=10)
    claims = [[Claim(f"c|usd|key={i}|total", "usd", 100, 10, LATE)] for i in range(40)]
    for i in range(21):
        assert isinstance(call(book, f"h{i}", claims[i], 1.0), Held)
    with pytest.raises(StoreError, match="more counters than the memory store keeps"):
        call(book, "h22", claims[22], 1.0)
    assert all(book.balance(claims[i][0].counter, 1.0) == (10, 0) for i in range(21))
    assert len(book.counters) == 21
    assert book.holds == {}


def test_a_sweep_forgets_sessions_that_expired_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.budget.book._LOOKED_AT", 5)
    book = Book(watched=False)
    for i in range(20):
        call(book, f"h{i}", [Claim(f"c|usd|session={i}|session", "usd", 100, 10, 100.0)], 1.0)
    book.reserve("running", [Claim("c|usd|session=x|session", "usd", 100, 10, 100.0)], 1.0, 1e9)
    sizes = []
    for _ in range(6):
        book.sweep(200.0)
        sizes.append(len(book.counters))
    assert sizes == [16, 11, 6, 1, 1, 1], "the one that runs stays"


def test_a_counter_that_was_none_before_takes_what_it_knows_into_its_window() -> None:
    book = Book(watched=False)
    call(book, "old", [Claim("c", "usd", 100, 60, LATE)], 100.0, 60)
    assert call(book, "new", [Claim("c", "usd", 100, 60, LATE, span=60.0)], 110.0) == Exceeded(0, ((60, 0),), 171.0)
    assert isinstance(call(book, "new", [Claim("c", "usd", 100, 60, LATE, span=60.0)], 171.5), Held)
