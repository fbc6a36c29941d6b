from __future__ import annotations

import resource
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proxy.engine.ports import StoreError
from proxy.engine.record import Record
from proxy.telemetry import query, rollup, sums
from proxy.telemetry.ledger import Ledger
from proxy.telemetry.query import Filter
from proxy.telemetry.rollup import beside, follow, reach, reading

NOW = 1_800_000_000.0
DAY_S, HOUR_S = 86_400, 3600
BASE = Record(
    "",
    NOW,
    agent="a",
    policy_digest="p",
    model_asked="m",
    model="m",
    route="requested",
    outcome="ok",
    input_tokens=3,
    output_tokens=2,
    cost=7,
)


def write(path: Path, count: int, start: int = 0, agents: int = 7) -> None:
    """Append records, the later ones later."""
    ledger = Ledger(path)
    for i in range(start, start + count):
        ledger.record(replace(BASE, id=f"{i:08d}", time=NOW - 5 * DAY_S + 60 * i, agent=f"agent-{i % agents}", team=f"t{i % 2}"))
    ledger.stop()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "fg.db"
    write(found, 300)
    return found


def counted(path: Path) -> dict[str, tuple[int, int]]:
    """What the rollup says each agent did: calls and cost."""
    with reading(path) as db:
        return {a: (n, c) for a, n, c in db.execute("SELECT agent, sum(calls), sum(cost) FROM main.hours GROUP BY 1 ORDER BY 1")}


def told(path: Path) -> dict[str, tuple[int, int]]:
    """What the ledger says."""
    return {g.key: (g.calls, g.cost) for g in sorted(query.groups(path, "agent", Filter(limit=1000)), key=lambda g: g.key)}


def ticks() -> Callable[[], float]:
    """A clock of which each look takes a second."""
    times = iter(range(10_000))
    return lambda: float(next(times))


def test_what_follows_says_what_the_ledger_says(path: Path) -> None:
    found = follow(path, NOW, 60)
    assert (found.upto, found.behind, found.as_of, found.stale, found.blocked) == (300, 0, NOW, "", False)
    assert counted(path) == told(path)
    write(path, 50, 300)
    assert reach(path, NOW).behind == 50
    assert reach(path, NOW).as_of == NOW - 5 * DAY_S + 60 * 299
    assert "50 records" in reach(path, NOW).stale
    follow(path, NOW, 60)
    assert counted(path) == told(path)
    with reading(path) as db:
        days = sums.series(db, sums.Part(NOW - 5 * DAY_S, NOW), DAY_S)
    assert sum(day["calls"] for day in days) == 350


def test_a_step_at_a_time_counts_each_record_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollup, "STEP", 7)
    found = follow(path, NOW, 3.0, clock=ticks())
    assert found.upto == 21
    assert found.behind == 279
    assert not found.blocked
    follow(path, NOW, 1e9)
    assert counted(path) == told(path)


def test_several_that_follow_one_ledger_count_each_record_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollup, "STEP", 5)
    follow(path, NOW, 0)
    threads = [threading.Thread(target=follow, args=(path, NOW, 60)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counted(path) == told(path)


def test_another_ledger_in_the_same_place_is_begun_anew(path: Path) -> None:
    follow(path, NOW, 60)
    for file in path.parent.glob("fg.db*"):
        if "rollup" not in file.name:
            file.unlink()
    write(path, 400, 1000, agents=2)
    follow(path, NOW, 60)
    assert counted(path) == told(path)
    assert set(counted(path)) == {"agent-0", "agent-1"}


def test_a_rollup_of_another_version_is_begun_anew(path: Path) -> None:
    follow(path, NOW, 60)
    with sqlite3.connect(beside(path)) as db:
        db.execute("PRAGMA user_version = 99")
        db.execute("DROP TABLE hours")
    db.close()
    follow(path, NOW, 60)
    assert counted(path) == told(path)


def test_what_is_no_database_is_removed_for_the_next_time(path: Path) -> None:
    beside(path).write_bytes(b"this is no database" * 100)
    with pytest.raises(StoreError):
        follow(path, NOW, 60)
    follow(path, NOW, 60)
    assert counted(path) == told(path)
    assert beside(path).stat().st_mode & 0o777 == 0o600


@contextmanager
def full_disk() -> Iterator[None]:
    """Files of more than 400 KB cannot grow any more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_on_a_full_disk_it_stays_where_it_is_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "fg.db"
    write(path, 200)
    follow(path, NOW, 60)
    before = counted(path)
    write(path, 4000, 200, agents=4000)
    with full_disk():
        found = follow(path, NOW, 60)
    assert found.blocked
    assert "cannot be written" in found.stale
    assert 200 <= found.upto < 4200
    assert found.behind == 4200 - found.upto
    assert sum(n for n, _ in counted(path).values()) == found.upto
    assert set(before) <= set(counted(path))


def test_while_another_holds_it_what_there_is_can_be_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollup, "_BUSY_S", 0.01)
    follow(path, NOW, 60)
    before = counted(path)
    write(path, 10, 300)
    with closing(sqlite3.connect(beside(path), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        found = follow(path, NOW, 60)
        assert (found.blocked, found.behind) == (True, 10)
        assert "locked" in found.stale
        assert counted(path) == before
        other.execute("UPDATE reached SET last = 'of another ledger'")
        other.execute("COMMIT")
        other.execute("BEGIN IMMEDIATE")
        assert "locked" in reach(path, NOW).stale
    follow(path, NOW, 60)
    assert counted(path) == told(path)


def test_a_rollup_that_cannot_be_made_is_said(path: Path) -> None:
    beside(path).mkdir()
    with pytest.raises(StoreError, match="rollup cannot be opened"):
        follow(path, NOW, 60)


def test_no_ledger_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such file"):
        follow(tmp_path / "none.db", NOW, 1)
    (tmp_path / "empty.db").write_bytes(b"")
    with pytest.raises(StoreError):
        follow(tmp_path / "empty.db", NOW, 1)


def test_a_question_that_takes_too_long_is_broken_off(path: Path) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    with pytest.raises(StoreError, match="too long"), reading(path, 0.0) as db:
        db.execute(endless).fetchone()


def test_the_ledger_cannot_be_written_through_it(path: Path) -> None:
    with pytest.raises(StoreError, match="readonly"), reading(path) as db:
        db.execute("DROP TABLE ledger.records")


def test_sums_of_an_agent_are_looked_up_hour_by_hour(path: Path) -> None:
    follow(path, NOW, 60)
    with reading(path) as db:
        points = sums.series(db, sums.Part(NOW - 5 * DAY_S, NOW - 4 * DAY_S, agent="agent-1"), 3600)
        assert sum(p["calls"] for p in points) == told(path)["agent-1"][0]
        assert len(points) == 24
        assert [m["model"] for m in sums.models(db, sums.Part(NOW - 5 * DAY_S, NOW, agent="agent-1", team="t1"))] == ["m"]
        assert sums.versions(db, "agent-1")[0]["calls"] == told(path)["agent-1"][0]


def test_a_counter_of_many_slots_is_shown_in_longer_steps(tmp_path: Path) -> None:
    path = tmp_path / "fg.db"
    ledger = Ledger(path)
    for i in range(900):
        charges = (("all|usd||total", "usd", 1), ("burst|requests||2027-01-01T00:00", "requests", 1), ("x|usd|agent=a|total", "usd", 1))
        ledger.record(replace(BASE, id=f"{i:08d}", time=NOW + 600 * i, charges=charges))
    ledger.stop()
    follow(path, NOW, 60)
    with reading(path) as db:
        slots = sums.burned(db, "all|usd||total")
        assert len(slots) == 150
        assert sum(amount for _, amount in slots) == 900
        assert sums.spenders(db, "all|usd||total") == ([("a", 900)], 1, 900)
        assert sums.burned(db, "burst|requests||2027-01-01T00:00") == []  # of a minute: too many of them, and over too soon
        assert sums.burned(db, "x|usd|agent=a|total") == []
        assert sum(n for _, n in sums.burned_by(db, "a", "x|usd|agent=a|total", NOW)) == 900


@pytest.mark.parametrize(
    ("took", "share", "expected"), [([0] * 13, 0.5, None), ([1, *[0] * 12], 1.0, 50.0), ([*[0] * 12, 4], 0.5, 153_600.0)]
)
def test_quantiles_of_a_histogram(took: list[int], share: float, expected: float | None) -> None:
    assert sums.quantile_ms(took, share) == expected


def test_what_was_emitted_is_added_up_between_its_bounds(tmp_path: Path) -> None:
    path = tmp_path / "fg.db"
    ledger = Ledger(path)
    took: dict[str, Any] = {"carbon_ug_low": 500_000, "carbon_ug": 1_500_000, "energy_uwh_low": 2_000_000, "energy_uwh": 3_000_000}
    for i in range(2):
        ledger.record(replace(BASE, id=f"{i}", time=NOW - 60, **took))
    ledger.record(replace(BASE, id="quiet", time=NOW - 60, agent="quiet"))
    ledger.stop()
    follow(path, NOW, 60)
    with reading(path) as db:
        found = [sums.emitted(db, sums.Part(NOW - HOUR_S, NOW, agent=agent)) for agent in ("a", "quiet", None)]
    assert found == [{"carbon_g": [1.0, 3.0], "energy_wh": [4.0, 6.0]}, None, {"carbon_g": [1.0, 3.0], "energy_wh": [4.0, 6.0]}]
