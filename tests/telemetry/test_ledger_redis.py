"""The ledger in a Redis stream: what is recorded is read by every replica, shipped once, and never lost quietly."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from record_samples import REFUSED, SERVED, served
from redis_server import RedisServer, needs_own_redis, needs_redis, shared_url

from proxy.engine.ports import StoreError
from proxy.engine.record import Record
from proxy.stores.redis_blocking import BlockingLink
from proxy.stores.redis_place import Place, place_of
from proxy.telemetry import query, schema
from proxy.telemetry.charges import Charged, Charges
from proxy.telemetry.fleet import Fleet
from proxy.telemetry.ledger_redis import Index, RedisLedger
from proxy.telemetry.query import Filter
from proxy.telemetry.ship import GROUP, Shipment
from proxy.telemetry.ship_sqlite import SqliteTarget
from proxy.telemetry.stream import packed, row_of

pytestmark = needs_redis


@pytest.fixture
def link() -> Iterator[BlockingLink]:
    link = BlockingLink(place_of(shared_url()))
    yield link
    link.close()


def written(link: BlockingLink, ids: list[str], records: int = 100_000) -> RedisLedger:
    ledger = RedisLedger(link, records)
    for i, name in enumerate(ids):
        ledger.record(served(0, id=name, time=1000.0 + i))
    asyncio.run(ledger.close())
    return ledger


def names(link: BlockingLink) -> list[str]:
    index = Index(link)
    try:
        return [r.id for r in reversed(query.rows(index.now(), Filter(limit=10_000)))]
    finally:
        index.close()


def test_what_was_recorded_is_there_after_a_clean_stop_and_reads_the_same(link: BlockingLink) -> None:
    ids = [f"r{i:04}" for i in range(450)]
    ledger = written(link, ids)
    assert (ledger.depth, ledger.lost, ledger.problem) == (0, 0, "")
    assert names(link) == ids
    reader = RedisLedger(link, 100_000)
    sample = served(0, id="full", time=5.0, findings=(("a", "b"),), marks={"sent": 3})
    link.call("XADD", link.key("ledger"), "*", "r", packed(sample))
    assert reader.one("full") == sample
    assert len(reader.rows(Filter(limit=1000))) == 451
    assert reader.groups("day")[0].calls == 451
    link.call("XADD", link.key("ledger"), "*", "r", packed(sample))
    assert len(reader.rows(Filter(limit=1000))) == 451, "a record that was sent twice is one"
    reader.stop()


def test_charges_are_summed_and_what_the_stream_let_go_is_known_to_be_missing(link: BlockingLink) -> None:
    ledger = RedisLedger(link, 100_000)
    assert isinstance(ledger, Charges)
    assert (ledger.charged(0), ledger.parts("a"), ledger.charged_since()) == (Charged(0, {}, {}, {}), [], 0.0)
    for i in range(3):
        sample = served(i, charges=(("a", "usd", 10),), cost=10)
        link.call("XADD", link.key("ledger"), "*", "r", packed(sample))
    assert ledger.charged(0) == Charged(3, {"a": 30}, {"a": 0.0}, {"a": 2.0})
    assert ledger.charged(2).amounts == {"a": 10}
    assert [part.id for part in ledger.parts("a")] == ["id-000000", "id-000001", "id-000002"]
    assert ledger.recent(1.0, 3.0).amounts == {"a": 20}
    assert ledger.rolled(1.0, own=True) == {}
    ledger.stop()
    link.call("XTRIM", link.key("ledger"), "MAXLEN", 2)
    late = RedisLedger(link, 100_000)
    assert late.charged(0).missing
    late.stop()


def test_an_index_that_grew_too_large_is_made_anew(link: BlockingLink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.telemetry.ledger_redis.MOST_INDEXED", 5)
    written(link, [f"r{i}" for i in range(8)])
    index = Index(link)
    assert len(query.rows(index.now())) == 8
    link.call("XTRIM", link.key("ledger"), "MAXLEN", 3)
    assert len(query.rows(index.now())) == 3
    assert index.missing
    index.close()


def test_what_a_page_shows_is_summed_from_the_index(link: BlockingLink, monkeypatch: pytest.MonkeyPatch) -> None:
    written(link, [f"r{i}" for i in range(8)])
    ledger, fleet = RedisLedger(link, 100_000), Fleet()
    fleet.look(ledger.file(), 1000.0, 60)
    assert sum(standing.calls for standing in fleet.agents.values()) == 8
    monkeypatch.setattr("proxy.telemetry.ledger_redis.MOST_INDEXED", 5)
    link.call("XTRIM", link.key("ledger"), "MAXLEN", 3)
    fleet.look(ledger.file(), 1000.0, 60)  # the index was made anew, and so are the sums
    assert sum(standing.calls for standing in fleet.agents.values()) == 3
    ledger.stop()


def test_a_record_of_another_release_is_read_for_what_is_known(link: BlockingLink) -> None:
    link.call("XADD", link.key("ledger"), "*", "r", b'{"id":"new","time":3.5,"agent":"a","colour":"blue"}')
    index = Index(link)
    found = query.one(index.now(), "new")
    index.close()
    assert found is not None
    assert (found.agent, found.time, found.cost) == ("a", 3.5, 0)


def test_the_stream_is_bounded_and_what_goes_unshipped_is_said(link: BlockingLink, caplog: pytest.LogCaptureFixture) -> None:
    ledger = written(link, [f"r{i:04}" for i in range(250)], records=100)
    assert names(link) == [f"r{i:04}" for i in range(150, 250)]
    assert ledger.dropped == 150
    assert "old records were dropped unshipped" in caplog.text


def test_what_was_shipped_may_go_unsaid(link: BlockingLink, tmp_path: Path) -> None:
    written(link, [f"r{i:04}" for i in range(100)])
    link.call("XGROUP", "CREATE", link.key("ledger"), GROUP, "$")
    assert written(link, [f"s{i:04}" for i in range(100)], records=100).dropped == 0


def test_shipping_moves_all_once_and_lets_the_stream_forget(link: BlockingLink, tmp_path: Path) -> None:
    path = tmp_path / "all.db"
    ids = [f"r{i:04}" for i in range(1200)]
    written(link, ids)
    shipment = Shipment(link, SqliteTarget(path))
    moved = 0
    while (step := shipment.step())[0]:
        moved += step[1]
    shipment.close()
    assert moved == 1200
    assert link.call("XLEN", link.key("ledger")) == 0
    assert [r.id for r in reversed(query.rows(path, Filter(limit=10_000)))] == ids
    written(link, ["r0003", "later"])
    again = Shipment(link, SqliteTarget(path))
    assert again.step() == (2, 1), "what the file has is passed over"
    assert again.step() == (0, 0)
    again.close()
    assert len(query.rows(path, Filter(limit=10_000))) == 1201
    assert link.call("XINFO", "CONSUMERS", link.key("ledger"), GROUP) == []


def test_what_a_shipper_took_and_did_not_finish_is_taken_over(link: BlockingLink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(link, [f"r{i}" for i in range(10)])
    first = Shipment(link, SqliteTarget(tmp_path / "a.db"))
    link.call("XREADGROUP", "GROUP", GROUP, "dead", "COUNT", 4, "STREAMS", link.key("ledger"), ">")
    assert first.step() == (6, 6)
    assert link.call("XLEN", link.key("ledger")) == 10, "not below what nobody acknowledged"
    monkeypatch.setattr("proxy.telemetry.ship.IDLE_MS", 0)
    assert first.step() == (4, 4)
    assert link.call("XLEN", link.key("ledger")) == 0
    first.close()


def test_a_file_that_cannot_be_written_keeps_the_records_in_the_stream(link: BlockingLink, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        SqliteTarget(tmp_path / "no" / "where.db")
    written(link, ["r1"])
    path = tmp_path / "a.db"
    shipment = Shipment(link, SqliteTarget(path))
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("DROP TABLE records")
    with pytest.raises(StoreError, match="cannot be written"):
        shipment.step()
    shipment.close()
    assert link.call("XLEN", link.key("ledger")) == 1


def test_a_record_that_cannot_be_written_is_counted_and_harms_no_other(link: BlockingLink) -> None:
    ledger = RedisLedger(link, 100)
    ledger.record(replace(served(0, id="odd", time=0.0), team=cast(str, object())))
    ledger.record(served(0, id="fine", time=1.0))
    ledger.stop()
    assert ledger.lost == 1
    assert names(link) == ["fine"]


@needs_own_redis
def test_records_wait_while_the_server_is_away_and_none_is_lost() -> None:
    with RedisServer("--appendonly", "yes", "--appendfsync", "always") as server:
        place = Place("single", (("127.0.0.1", server.port),), command_s=0.5)
        link = BlockingLink(place)
        ledger = RedisLedger(link, 1000, max_queue=5)
        link.call("PING")
        server.kill()
        for i in range(7):
            ledger.record(served(0, id=f"r{i}", time=float(i)))
        while not ledger.problem:
            pass
        assert "cannot be reached" in ledger.problem or "ended" in ledger.problem
        assert (ledger.depth, ledger.lost) == (5, 2), "the queue is bounded, and what does not fit is counted"
        server.start()
        ledger.stop()
        assert (ledger.depth, ledger.lost) == (0, 2)
        assert names(link) == [f"r{i}" for i in range(5)]
        link.close()
        nowhere = BlockingLink(Place("single", (("127.0.0.1", 1),)))
        late = RedisLedger(nowhere, 1000, close_timeout_s=0.1)
        late.record(served(0, id="x", time=1.0))
        late.stop()
        assert late.lost == 1
        nowhere.close()


@pytest.mark.parametrize("sample", [SERVED, REFUSED, Record("x", 0.0, difficulty=0.0, usage_exact=False, stream=True)])
def test_what_a_record_has_nothing_in_is_not_in_the_stream_and_comes_back(sample: Record) -> None:
    data = packed(sample)
    row = row_of((b"1-0", data, False))
    assert row is not None
    assert schema.to_record(row) == sample
    assert not {b"saved", b"fallbacks", b"repriced"} & set(data.replace(b'"', b" ").split())


def test_numbers_that_no_row_holds_are_cut_to_what_it_does() -> None:
    odd = Record("x", 0.0, saved=-(10**30), repriced=10**30, cost=10**30)
    row = row_of((b"1-0", packed(odd), False))
    assert row is not None
    found = schema.to_record(row)
    assert (found.saved, found.repriced, found.cost) == (-schema.BOUND, schema.BOUND, schema.BOUND)
