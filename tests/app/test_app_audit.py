"""The audit: records of holds that a sweep ended, and whether counters say what records say."""

from __future__ import annotations

import pytest

from proxy.app.audit import swept
from proxy.budget.port import Ended
from proxy.engine.ports import StoreError
from proxy.engine.record import Record
from proxy.telemetry.ledger import MemoryLedger
from proxy.telemetry.query import ALL, By, Filter, Group

NOW = 1_795_600_000.0
CAP, DAY, CALLS = "cap|usd||total", "day|usd|agent=a|2026-11-25", "calls|requests||total"


def test_a_hold_that_a_sweep_ended_leaves_a_record_of_what_it_charged() -> None:
    about = '{"agent": "a", "session": "a/s", "run": "r", "model": "gpt-5", "provider": "openai", "seen": 3}'
    hold = Ended("h1", ((CAP, "usd", 7), (DAY, "usd", 7), (CALLS, "requests", 1)), about)
    (record,) = swept([hold], MemoryLedger(), NOW)
    assert (record.id, record.time, record.outcome, record.cost, record.usage_exact) == ("h1", NOW, "expired", 7, False)
    assert (record.agent, record.session, record.run, record.model, record.provider) == ("a", "a/s", "r", "gpt-5", "openai")
    assert record.charges == ((CAP, "usd", 7), (DAY, "usd", 7), (CALLS, "requests", 1))


@pytest.mark.parametrize("about", ["", "{", "[]", "7", '"x"', '{"agent": 3}', "[" * 100_000])
def test_what_a_hold_says_of_itself_may_be_anything(about: str) -> None:
    (record,) = swept([Ended("h1", ((CAP, "usd", 7),), about)], MemoryLedger(), NOW)
    assert (record.agent, record.charges) == ("", ((CAP, "usd", 7),))


def test_an_exchange_whose_settle_was_lost_is_charged_the_rest() -> None:
    ledger = MemoryLedger()
    ledger.record(Record("h1", NOW - 3600, charges=((CAP, "usd", 5), (CALLS, "requests", 1))))
    (record,) = swept([Ended("h1", ((CAP, "usd", 7), (CALLS, "requests", 1)))], ledger, NOW)
    assert (record.charges, record.cost) == (((CAP, "usd", 2),), 2)


class Unreadable(MemoryLedger):
    """A ledger whose file is gone."""

    def one(self, record_id: str) -> Record | None:
        raise StoreError("gone")

    def rows(self, where: Filter = ALL) -> list[Record]:
        raise AssertionError

    def groups(self, by: By, where: Filter = ALL) -> list[Group]:
        raise AssertionError


def test_a_ledger_that_cannot_be_read_costs_no_record() -> None:
    (record,) = swept([Ended("h1", ((CAP, "usd", 7),))], Unreadable(), NOW)
    assert record.charges == ((CAP, "usd", 7),)
