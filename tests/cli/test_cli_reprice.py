"""`fleetgate ledger --reprice`: what history would have cost at the prices of now, without touching what was charged."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cli_cases import CONFIG, Folder, folder

from proxy.engine.record import Record
from proxy.telemetry import query
from proxy.telemetry.ledger import Ledger
from proxy.telemetry.query import Filter

MODELS = """
models:
  "own": {provider: openai, price: {input: 2, output: 8, cache_read: 0.5}}
  "gpt-*": {provider: openai}
"""


def record(number: int, model: str, cost: int, **more: Any) -> Record:
    fields: dict[str, Any] = {
        "provider": "openai",
        "protocol": "openai",
        "outcome": "ok",
        "input_tokens": 1000,
        "output_tokens": 100,
    } | more
    return Record(f"id{number}", 1_795_600_000.0 + number, agent="a", model=model, cost=cost, **fields)


RECORDS = (
    record(1, "own", 5_000_000),
    record(2, "own", 2_800_000, cache_read_tokens=2000),
    record(3, "own", 2_800_000),
    record(4, "gone-model", 777),
    record(5, "own", 0, input_tokens=0, output_tokens=0, outcome="denied"),
    record(6, "own", 9, provider="elsewhere"),
)


@pytest.fixture
def made(tmp_path: Path) -> Folder:
    fresh = folder(tmp_path)
    lines = CONFIG.split("models:")[0]
    fresh.write("fleetgate.yaml", f"{lines}{MODELS}" if "store" in lines else f"{lines}{MODELS}store: sqlite:fleetgate.db\n")
    ledger = Ledger(tmp_path / "fleetgate.db")
    for one in RECORDS:
        ledger.record(one)
    ledger.stop()
    return fresh


def test_history_at_the_prices_of_now(made: Folder) -> None:
    done = made.run("ledger", "--reprice", "--json")
    assert (done.code, done.err) == (0, "")
    own, gone = done.json["models"]
    assert own == {
        "model": "own",
        "calls": 4,
        "changed": 2,
        "unpriced": 1,
        "charged": 10_600_009,
        "now": 2_800_000 + 3_800_000 + 2_800_000 + 9,
        "difference": -1_200_000,
    }
    assert (gone["model"], gone["unpriced"], gone["difference"]) == ("gone-model", 1, 0)
    text = made.run("ledger", "--reprice").out
    assert "nothing was changed" in text
    assert "2 calls have no price now" in text
    assert text.splitlines()[-3].split() == ["total", "5", "2", "0.010600786", "0.009400786", "-0.0012"]
    assert all(r.repriced is None for r in query.rows(made.path / "fleetgate.db"))


def test_only_what_the_filter_lets_pass(made: Folder) -> None:
    assert made.run("ledger", "--reprice", "--model", "gone-model", "--json").json["models"][0]["calls"] == 1
    assert made.run("ledger", "--reprice", "--agent", "b").out == "no exchanges that used tokens\n"


def test_applied_costs_stand_beside_the_old(made: Folder) -> None:
    done = made.run("ledger", "--reprice", "--apply")
    assert done.code == 0
    assert "kept beside 3 records" in done.out
    found = {r.id: (r.cost, r.repriced) for r in query.rows(made.path / "fleetgate.db", Filter(limit=100))}
    assert found == {
        "id1": (5_000_000, 2_800_000),
        "id2": (2_800_000, 3_800_000),
        "id3": (2_800_000, 2_800_000),
        "id4": (777, None),
        "id5": (0, None),
        "id6": (9, None),
    }
    assert made.run("ledger", "--reprice", "--apply", "--json").json["applied"] == 3, "again changes nothing more"


def test_apply_alone_is_refused(made: Folder) -> None:
    done = made.run("ledger", "--apply")
    assert (done.code, done.out) == (1, "")
    assert "--reprice" in done.err


def test_a_locked_ledger_is_left_as_it_is(made: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.telemetry.reprice._BUSY_S", 0.01)
    with closing(sqlite3.connect(made.path / "fleetgate.db", isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        done = made.run("ledger", "--reprice", "--apply")
        db.execute("ROLLBACK")
    assert done.code == 1
    assert "cannot be written" in done.err
    assert all(r.repriced is None for r in query.rows(made.path / "fleetgate.db"))
