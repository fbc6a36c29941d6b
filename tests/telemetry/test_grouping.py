"""Sums by any fields, and what other programs get: on a real file, and on the index of a real stream in test_ledger_redis."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from record_samples import REFUSED, SERVED, served

from proxy.engine.ports import StoreError
from proxy.engine.record import Record
from proxy.telemetry import exports
from proxy.telemetry.grouping import FIELDS, Sum, every, fields_of, grouped, total
from proxy.telemetry.ledger import Ledger
from proxy.telemetry.query import BYS, Filter

DAY_S = 86_400.0
FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "=cmd|' /C calc'!A0", "\uff1d1+1")


def file(tmp_path: Path, *records: Record) -> Path:
    ledger = Ledger(tmp_path / "l.db")
    for record in records:
        ledger.record(record)
    ledger.stop()
    return tmp_path / "l.db"


@pytest.fixture
def week(tmp_path: Path) -> Path:
    """Three days; two agents of two teams, two models."""
    records = []
    for n in range(12):
        who = ("clerk", "payments") if n % 3 else ("coder", "core")
        changes = {"agent": who[0], "team": who[1], "model": f"m{n % 2}", "cost": n * 1_000_000_000, "time": (n % 3) * DAY_S, "loop": ""}
        records.append(served(n, **changes, saved=500 if n == 4 else 0, wasted_new=0))
    records.append(
        served(90, agent="clerk", team="payments", outcome="denied", model="", model_asked="m9", cost=0, time=10.0, wasted_new=7)
    )
    return file(tmp_path, *records)


def test_all_old_keys_and_every_column_of_words_can_be_summed_by(week: Path) -> None:
    assert set(BYS) <= set(FIELDS)
    assert {"team", "rule", "run", "operation", "stream", "status", "hour", "minute", "month", "trace_id"} <= set(FIELDS)
    assert not {"charges", "decisions", "cost"} & set(FIELDS)
    for field in FIELDS:
        assert total(grouped(week, [field])).calls == 13, field


def test_sums_by_team_are_the_bill(week: Path) -> None:
    payments, core = grouped(week, ["team"])
    assert (payments.keys, payments.calls, payments.refused, payments.cost) == (("payments",), 9, 1, 48_000_000_000)
    assert (core.keys, core.calls, core.cost) == (("core",), 4, 18_000_000_000)
    assert (payments.saved, payments.loops, payments.wasted) == (500, 1, 7)
    assert payments.input_tokens == 9 * 7042
    assert payments.cached_tokens == 9 * 2000


def test_sums_by_several_fields_and_by_time(week: Path) -> None:
    found = grouped(week, ["day", "team", "model"])
    assert [s.keys[0] for s in found] == sorted((s.keys[0] for s in found), reverse=True), "newest day first"
    assert ("1970-01-01", "payments", "m9") in [s.keys for s in found], "what never was routed counts under the name asked for"
    assert total(found) == total(grouped(week, []))
    assert [s.keys for s in grouped(week, ["hour"], Filter(until=DAY_S))] == [("1970-01-01 00:00",)]
    assert grouped(week, ["agent", "minute"], Filter(agent="coder"), most=1)[0].keys == ("coder", "1970-01-01 00:00")


def test_filters_hold_and_nothing_is_nothing(week: Path) -> None:
    assert total(grouped(week, ["agent"], Filter(since=DAY_S, until=2 * DAY_S))).calls == 4
    assert grouped(week, ["agent"], Filter(agent="'; DROP TABLE records; --")) == []
    assert grouped(week, [], Filter(agent="nobody")) == [Sum((), 0, 0, 0, 0, 0, 0, 0, 0, 0)]
    assert total([]) == Sum((), 0, 0, 0, 0, 0, 0, 0, 0, 0)
    assert len(list(every(week, Filter(limit=1)))) == 13, "every record, whatever the limit"


@pytest.mark.parametrize(
    "text", ["", "moon", "agent,", "agent,agent", "cost", "charges", "1; DROP TABLE records", "a" * 1000, ",".join(FIELDS)]
)
def test_what_is_no_list_of_fields_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"field"):
        fields_of(text)
    assert fields_of("team, model") == ("team", "model")


def test_a_span_is_read_from_the_index_that_covers_it(week: Path) -> None:
    import sqlite3

    from proxy.telemetry import grouping

    sums, keys = grouping.SUMS, {name: grouping.KEYS[name] for name in ("agent", "team", "model", "provider", "reason", "day", "minute")}
    with sqlite3.connect(week) as db:
        for key in keys.values():
            plan = db.execute(f"EXPLAIN QUERY PLAN SELECT {key}, {sums} FROM records WHERE time >= 1 AND time < 2 GROUP BY 1").fetchall()
            assert "USING COVERING INDEX records_sums" in plan[0][-1], plan
        other = db.execute(f"EXPLAIN QUERY PLAN SELECT +session, {sums} FROM records WHERE time >= 1 GROUP BY 1").fetchall()
        assert "USING INDEX records_sums (time>?)" in other[0][-1], other
    db.close()


def test_csv_of_records_computes_nothing_in_a_spreadsheet(tmp_path: Path) -> None:
    records = [served(n, agent=text, model=text, rule=text, session=text) for n, text in enumerate(FORMULAS)]
    out = io.StringIO()
    exports.records_csv(out, every(file(tmp_path, *records, REFUSED)))
    rows = list(csv.DictReader(io.StringIO(out.getvalue(), newline="")))
    assert len(rows) == len(FORMULAS) + 1
    for row, text in zip(rows, FORMULAS, strict=False):
        for name in ("agent", "model", "rule", "session"):
            assert row[name].startswith("'"), text
            assert row[name].isprintable()
    assert (rows[0]["cost"], rows[0]["cost_usd"], rows[0]["difficulty"], rows[0]["stream"]) == ("12345678", "0.012345678", "0.12", "1")
    assert rows[-1]["reason"] == "budget_exceeded"


def test_csv_of_sums(week: Path) -> None:
    out = io.StringIO()
    exports.sums_csv(out, ["team", "model"], grouped(week, ["team", "model"]))
    first = next(csv.DictReader(io.StringIO(out.getvalue(), newline="")))
    assert list(first)[:4] == ["team", "model", "calls", "refused"]
    assert (first["team"], first["cost_usd"]) == ("payments", "24.00")


def test_a_name_of_any_kind_is_one_cell(tmp_path: Path) -> None:
    names = ("<script>", '"', "a,b", "line\nbreak", "\u202eevil", "\x1b[31m", "x" * 10_000)
    out = io.StringIO()
    exports.sums_csv(out, ["agent"], grouped(file(tmp_path, *(served(n, agent=name) for n, name in enumerate(names))), ["agent"]))
    rows = list(csv.DictReader(io.StringIO(out.getvalue(), newline="")))
    assert len(rows) == len(names)
    assert all(row["agent"].isprintable() and row["calls"] == "1" for row in rows)


def test_parquet_of_records_and_of_sums(week: Path, tmp_path: Path) -> None:
    records, sums = tmp_path / "r.parquet", tmp_path / "s.parquet"
    assert exports.records_parquet(records, every(week)) == 13
    table = pq.read_table(records)
    assert table.column("cost").to_pylist()[-1] == 11_000_000_000
    assert str(table.schema.field("stream").type) == "bool"
    assert table.column("difficulty").to_pylist()[0] == SERVED.difficulty
    assert exports.sums_parquet(sums, ["team"], grouped(week, ["team"])) == 2
    assert pq.read_table(sums).to_pylist()[0]["cost_nanos"] == 48_000_000_000
    assert exports.sums_parquet(sums, ["team"], []) == 0
    assert sorted(p.name for p in tmp_path.iterdir() if not p.name.startswith("l.db")) == ["r.parquet", "s.parquet"], (
        "nothing half done is left"
    )
    with pytest.raises(StoreError, match="cannot be written"):
        exports.sums_parquet(tmp_path / "no" / "s.parquet", ["team"], [])


def test_without_pyarrow_it_says_which_extra_brings_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "proxy.telemetry.export_parquet", None)
    with pytest.raises(StoreError, match=r"fleetgate\[parquet\]"):
        exports.sums_parquet(tmp_path / "s.parquet", ["team"], [])
