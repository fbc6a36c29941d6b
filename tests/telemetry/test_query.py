from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from record_samples import REFUSED, SERVED, served

from proxy.engine.ports import StoreError
from proxy.engine.record import Record
from proxy.telemetry import query
from proxy.telemetry.ledger import Ledger, MemoryLedger
from proxy.telemetry.query import BYS, By, Filter, Group, Journal

DAY = 86_400.0


def journal(kind: str, folder: Path, records: Sequence[Record]) -> Journal:
    """A ledger of either kind that holds `records`."""
    ledger = Ledger(folder / "l.db") if kind == "sqlite" else MemoryLedger()
    for record in records:
        ledger.record(record)
    asyncio.run(ledger.close())
    return ledger


MIXED = [
    served(1, agent="a", session="s1", run="k/r1", model_asked="big", model="small", cost=10),
    served(2, agent="b", session="s1", run="k/r2", model_asked="small", model="small", cost=30),
    served(
        3, agent="a", session="s2", run="k/r1", model_asked="big", model="", provider="", outcome="denied", reason="rate_limited", cost=0
    ),
    served(int(DAY) + 4, agent="a", session="s2", run="k/r2", cost=5, model="big", model_asked="big"),
]


@pytest.mark.parametrize("kind", ["sqlite", "memory"])
@pytest.mark.parametrize(
    ("where", "found"),
    [
        (Filter(), [3, 2, 1, 0]),
        (Filter(limit=2), [3, 2]),
        (Filter(limit=0), []),
        (Filter(limit=-5), []),
        (Filter(agent="a"), [3, 2, 0]),
        (Filter(agent=""), []),
        (Filter(agent="' OR 1=1 --"), []),
        (Filter(session="s1"), [1, 0]),
        (Filter(model="small"), [1, 0]),
        (Filter(model="big"), [3, 2, 0]),
        (Filter(reason="rate_limited"), [2]),
        (Filter(outcome="ok", agent="a"), [3, 0]),
        (Filter(since=2.0), [3, 2, 1]),
        (Filter(until=2.0), [0]),
        (Filter(since=2.0, until=3.5), [2, 1]),
    ],
)
def test_filters(tmp_path: Path, kind: str, where: Filter, found: list[int]) -> None:
    assert journal(kind, tmp_path, MIXED).rows(where) == [MIXED[i] for i in found]


@pytest.mark.parametrize("kind", ["sqlite", "memory"])
@pytest.mark.parametrize(
    ("by", "keys"),
    [
        ("agent", ["b", "a"]),
        ("model", ["small", "big"]),
        ("session", ["s1", "s2"]),
        ("run", ["k/r2", "k/r1"]),
        ("provider", ["openai", ""]),
        ("reason", ["", "rate_limited"]),
        ("day", ["1970-01-02", "1970-01-01"]),
    ],
)
def test_groups_are_ordered_and_complete(tmp_path: Path, kind: str, by: By, keys: list[str]) -> None:
    groups = journal(kind, tmp_path, MIXED).groups(by)
    assert [g.key for g in groups] == keys
    assert sum(g.calls for g in groups) == 4
    assert sum(g.cost for g in groups) == 45


@pytest.mark.parametrize("kind", ["sqlite", "memory"])
def test_sums(tmp_path: Path, kind: str) -> None:
    found = journal(kind, tmp_path, [SERVED, served(1), REFUSED]).groups("agent", Filter(agent="invoice-triage"))
    assert found == [Group("invoice-triage", 3, 1, 14_084, 1200, 4000, 24_691_356)]


RECORDS = st.lists(
    st.builds(
        served,
        st.integers(0, 10**6),
        time=st.sampled_from([0.0, 1.5, DAY - 0.0001, DAY, 2 * DAY, 1.8e9]),
        agent=st.sampled_from(["a", "b", "", "é"]),
        model=st.sampled_from(["m", "n", ""]),
        session=st.sampled_from(["s", "t"]),
        outcome=st.sampled_from(["ok", "denied"]),
        reason=st.sampled_from(["", "rate_limited"]),
        cost=st.integers(0, 3),
    ),
    unique_by=lambda r: r.id,
    max_size=12,
)
FILTERS = st.builds(
    Filter,
    agent=st.sampled_from([None, "a", ""]),
    model=st.sampled_from([None, "m", "gpt-5"]),
    outcome=st.sampled_from([None, "ok"]),
    since=st.sampled_from([None, 1.5, DAY]),
    until=st.sampled_from([None, DAY, 1.8e9]),
    limit=st.integers(0, 12),
)


@settings(max_examples=30, deadline=None)
@given(RECORDS, FILTERS, st.sampled_from(BYS))
def test_memory_and_file_give_the_same_answers(records: list[Record], where: Filter, by: By) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file, memory = (journal(kind, Path(folder), records) for kind in ("sqlite", "memory"))
        assert file.rows(where) == memory.rows(where)
        assert file.groups(by, where) == memory.groups(by, where)


def test_reading_works_while_the_ledger_writes_and_never_writes(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.db")
    assert query.rows(tmp_path / "l.db") == []
    ledger.record(SERVED)
    ledger.stop()
    assert query.rows(tmp_path / "l.db") == [SERVED]


def test_a_path_with_odd_characters(tmp_path: Path) -> None:
    path = tmp_path / "a b?#%41.db"
    ledger = Ledger(path)
    ledger.record(SERVED)
    ledger.stop()
    assert query.rows(str(path)) == [SERVED]


@pytest.mark.parametrize(
    ("name", "words"),
    [("missing.db", "no such file"), ("text.db", "cannot be read"), ("empty.db", "no exchange was recorded")],
)
def test_what_cannot_be_read_is_a_store_error(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "text.db").write_text("no database " * 100)
    (tmp_path / "empty.db").touch()
    with pytest.raises(StoreError, match=words):
        query.rows(tmp_path / name)
    assert not (tmp_path / "missing.db").exists()


def test_a_filter_that_no_ledger_can_hold(tmp_path: Path) -> None:
    Ledger(tmp_path / "l.db").stop()
    with pytest.raises(StoreError, match="not text"):
        query.rows(tmp_path / "l.db", Filter(agent="\ud800"))
