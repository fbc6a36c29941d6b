"""`fleetgate routing report` and `routing calibrate` on a ledger."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cli_cases import CONFIG, Folder, folder

from proxy.cli import routing
from proxy.engine.record import Record
from proxy.routing.pairs import Half, Pair
from proxy.stores.pairs import SqlitePairs
from proxy.telemetry.ledger import Ledger, MemoryLedger

START = 1_795_600_000.0


def record(number: int, **more: Any) -> Record:
    fields: dict[str, Any] = {
        "agent": "clerk",
        "operation": "chat",
        "model_asked": "gpt-4o",
        "model": "local/qwen3",
        "route": "local",
        "outcome": "ok",
        "difficulty": number / 100,
        "saved": 1_000_000,
        "decisions": (("routing", "local: here local/qwen3"),),
    } | more
    return Record(f"id{number}", START + number, **fields)


@pytest.fixture
def made(tmp_path: Path) -> Folder:
    fresh = folder(tmp_path)

    async def fill() -> None:
        ledger = Ledger(tmp_path / "fleetgate.db")
        for number in range(40):
            ledger.record(record(number))
        await ledger.close()

    asyncio.run(fill())
    return fresh


def test_the_report_tells_what_was_saved(made: Folder) -> None:
    done = made.run("routing", "report")
    assert (done.code, done.err) == (0, "")
    assert "of all records: 40 chats" in done.out
    assert "0.0400 saved" in done.out
    late = made.run("routing", "report", "--since", "2026-11-25T15:07:00", "--json").json
    assert late["total"]["calls"] < 40 or START > 1_795_619_220
    assert made.run("routing", "report", "--json").json["agents"][0]["key"] == "clerk"


def test_calibrate_prints_the_lines_and_changes_nothing(made: Folder) -> None:
    before = (made.path / "fleetgate.yaml").read_text()
    done = made.run("routing", "calibrate", "--saving", "0.5")
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith("routing:\n  threshold: 0.191\n")
    assert "50.0% of calls would have gone there, of 40 scored calls; now 0.35" in done.out
    quality = made.run("routing", "calibrate", "--quality", "0.95")
    assert "100.0% of 40 calls below this ended well" in quality.out
    assert made.run("routing", "calibrate", "--saving", "0.5", "--of", "dollars", "--json").json["threshold"] == pytest.approx(0.191)
    assert (made.path / "fleetgate.yaml").read_text() == before


def test_says_why_nothing_fits(tmp_path: Path) -> None:
    fresh = folder(tmp_path)
    asyncio.run(Ledger(tmp_path / "fleetgate.db").close())
    done = fresh.run("routing", "calibrate", "--quality", "0.9")
    assert (done.code, done.out) == (1, "")
    assert "was tried with 0 calls" in done.err
    assert fresh.run("routing", "calibrate", "--saving", "0.9", "--json").json["threshold"] is None


@pytest.mark.parametrize(
    "arguments", [("--saving", "0"), ("--saving", "2"), ("--quality", "x"), (), ("--saving", "0.1", "--quality", "0.1")]
)
def test_refuses_what_is_no_share(made: Folder, arguments: tuple[str, ...]) -> None:
    assert made.run("routing", "calibrate", *arguments).code == 2
    assert made.run("routing", "report", "--since", "never").code == 2


def test_reads_more_than_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = MemoryLedger()
    for number in range(25):
        ledger.record(record(number))
    monkeypatch.setattr(routing, "MAX_ROWS", 10)
    assert sorted(r.id for r in routing._records(ledger, None)) == sorted(f"id{n}" for n in range(25))
    assert len(list(routing._records(ledger, START + 20))) == 5


def test_pairs_of_a_store_in_memory_are_on_the_admin_port(made: Folder) -> None:
    assert "No pairs are kept" in made.run("routing", "pairs").out
    made.write("fleetgate.yaml", CONFIG.replace("sqlite:fleetgate.db", "'memory:'"))
    done = made.run("routing", "pairs")
    assert done.code != 0
    assert "GET /api/v1/pairs" in done.err
    assert "Traceback" not in done.err


def test_pairs_are_shown_with_their_texts_and_without_what_a_terminal_obeys(made: Folder, tmp_path: Path) -> None:
    half = Half("one", "here", "small", 0, 2_000_000_000, "stop", 9, "first\nsec\x1b[2Jond")
    SqlitePairs(tmp_path / "fleetgate.db").keep(Pair(START, "clerk", half, replace(half, id="two", cost=5_000_000, text=None)))
    done = made.run("routing", "pairs")
    assert (done.code, done.err) == (0, "")
    assert "here small  one: 9 characters, 2.00 s, 0.00 USD, ended: stop\n    | first\n    | sec" in done.out
    assert "0.005 USD" in done.out
    assert "\x1b" not in done.out
    assert [pair["asked"]["id"] for pair in made.run("routing", "pairs", "--json").json] == ["two"]
