"""`fleetgate ledger ship`: to every target, how far it is, and shippers that are killed in the middle of their work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.dataset as ds
import pytest
from cli_cases import Folder, folder
from postgres_server import PASSWORD, database, needs_postgres, query
from redis_server import needs_redis, shared_url
from simulating import ROOT, START_S

from proxy.engine.ports import StoreError
from proxy.engine.record import Record
from proxy.stores.redis_blocking import BlockingLink
from proxy.stores.redis_place import place_of
from proxy.telemetry.ship import Shipment
from proxy.telemetry.ship_postgres import TABLE
from proxy.telemetry.stream import packed

pytestmark = needs_redis


@pytest.fixture
def link() -> Iterator[BlockingLink]:
    link = BlockingLink(place_of(shared_url()))
    yield link
    link.close()


@pytest.fixture
def here(tmp_path: Path, link: BlockingLink, monkeypatch: pytest.MonkeyPatch) -> Folder:
    host, port = link.place.hosts[0]
    monkeypatch.setenv("FLEETGATE_STORE", f"redis://{host}:{port}/{link.place.db}?tenant={link.place.tenant}")
    return folder(tmp_path)


def add(link: BlockingLink, first: int, count: int) -> None:
    for i in range(first, first + count):
        link.call("XADD", link.key("ledger"), "*", "r", packed(Record(f"r{i:05}", 1000.0 + i, agent="a", cost=5)))


@needs_postgres
def test_one_group_a_target_and_each_has_all(here: Folder, link: BlockingLink, monkeypatch: pytest.MonkeyPatch) -> None:
    add(link, 0, 20)
    url = database()
    assert here.run("ledger", "ship", "--status").out.startswith("nobody ships: fleetgate ledger ship")
    done = here.run("ledger", "ship", "--to", f"parquet:{here.path / 'out'}")
    assert (done.code, done.err) == (0, "")
    assert done.out == f"shipped 20 records to parquet:{here.path / 'out'}, 20 of them new there\n"
    assert ds.dataset(here.path / "out", format="parquet", partitioning="hive").count_rows() == 20
    add(link, 20, 5)
    wrong = here.run("ledger", "ship", "--to", url)
    assert wrong.code == 1
    assert "the password in --to" in wrong.err
    assert f"group ship ships to parquet:{here.path / 'out'}" in wrong.err
    monkeypatch.setenv("LEDGER_URL", url)
    done = here.run("ledger", "ship", "--to", "env:LEDGER_URL", "--group", "second")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("shipped 5 records to postgresql://127.0.0.1:")
    assert PASSWORD not in done.out
    assert query(url, f"SELECT count(*) FROM {TABLE}") == [(5,)]
    status = {lag["group"]: lag for lag in here.run("ledger", "ship", "--status", "--json").json}
    assert (status["ship"]["behind"], status["ship"]["pending"], status["second"]["behind"], status["second"]["oldest"]) == (5, 0, 0, None)
    assert status["ship"]["age_s"] > 0
    shown = here.run("ledger", "ship", "--status").out
    assert f"ship to parquet:{here.path / 'out'}: 5 waiting, 0 on their way, the oldest for " in shown
    done = here.run("ledger", "ship", "--to", f"sqlite:{here.path / 'all.db'}", "--moved")
    assert done.out.startswith("shipped 5 records to sqlite:"), done.err


def test_what_another_shipper_has_is_said(here: Folder, link: BlockingLink) -> None:
    done = here.run("ledger", "ship", "--to", f"sqlite:{here.path / 'all.db'}")
    assert done.out.startswith("shipped 0 records")
    add(link, 0, 3)
    link.call("XREADGROUP", "GROUP", "ship", "dead", "COUNT", 3, "STREAMS", link.key("ledger"), ">")
    done = here.run("ledger", "ship", "--to", f"sqlite:{here.path / 'all.db'}")
    assert done.code == 0
    assert "3 records are another shipper's; if it died, run this again in a minute" in done.err
    assert "  dead: 3 on their way, asked 0 s ago" in here.run("ledger", "ship", "--status").out


def test_what_is_wrong_is_said(here: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments, words in (
        ((), "needs --to sqlite:PATH, postgresql://"),
        (("--to", "mysql://db/x"), "--to names no target"),
        (("--to", "env:NOT_SET_ANYWHERE"), "NOT_SET_ANYWHERE is not set"),
        (("--to", f"sqlite:{here.path}/no/where.db"), "cannot be opened"),
        (("--to", "parquet:/proc/nothing"), "the folder cannot be written"),
        (("--to", "sqlite:a.db", "--group", "no name"), "is no name"),
    ):
        done = here.run("ledger", "ship", *arguments)
        assert done.code in (1, 2), done
        assert words in done.err
    monkeypatch.delenv("FLEETGATE_STORE")
    assert "moves records from a store redis://" in here.run("ledger", "ship", "--to", "sqlite:a.db").err


def test_following_goes_on_over_failures_and_ends_on_a_signal(here: Folder, link: BlockingLink, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, calls, waited, before = Shipment.step, [0], list[float](), signal.getsignal(signal.SIGTERM)

    def step(self: Shipment) -> tuple[int, int]:
        calls[0] += 1
        if calls[0] < 9:
            raise StoreError("the target is away")
        return whole(self)

    def pause(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 10:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Shipment, "step", step)
    monkeypatch.setattr("proxy.cli.ship.time.sleep", pause)
    add(link, 0, 3)
    done = here.run("ledger", "ship", "--to", f"sqlite:{here.path / 'all.db'}", "--follow")
    assert (done.code, done.out.split(" to ")[0]) == (0, "shipped 3 records")
    assert done.err.count("the target is away; trying again") == 1
    assert waited == [1, 2, 4, 8, 16, 30, 30, 30, 1.0, 1.0]
    assert signal.getsignal(signal.SIGTERM) is before
    calls[0] = 0
    assert here.run("ledger", "ship", "--to", f"sqlite:{here.path / 'all.db'}").code == 1, "without --follow it fails"


@needs_postgres
def test_shippers_that_are_killed_lose_nothing_and_repeat_nothing(here: Folder, link: BlockingLink) -> None:
    url = database()
    code = "import sys, proxy.telemetry.ship as s; s.IDLE_MS = 0; from proxy.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "ledger", "ship", "--to", "env:LEDGER_URL", "--config", str(here.path / "fleetgate.yaml")]
    env = {**os.environ, "LEDGER_URL": url, "PYTHONPATH": str(ROOT)}
    add(link, 0, 3000)
    pair = [subprocess.Popen([*command, "--follow"], env=env, stdout=subprocess.DEVNULL) for _ in range(2)]
    deadline = time.monotonic() + START_S
    while link.call("XLEN", link.key("ledger")) == 3000:
        assert time.monotonic() < deadline
    for process in pair:
        process.kill()
    add(link, 3000, 200)
    for process in pair:
        process.wait()
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=True)
    assert "records to postgresql://" in done.stdout
    assert query(url, f"SELECT count(*), count(DISTINCT id), max(id) FROM {TABLE}") == [(3200, 3200, "r03199")]
    assert link.call("XLEN", link.key("ledger")) == 0
