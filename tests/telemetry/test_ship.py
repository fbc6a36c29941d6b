"""Shipping itself: groups, what is taken over, what stays in the stream, how far it is; and which target a text names."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis_server import needs_redis, shared_url
from shipping import add, all_of, ids, taken_by_the_dead, waiting

from proxy.engine.ports import StoreError
from proxy.stores.redis_blocking import BlockingLink
from proxy.stores.redis_place import place_of
from proxy.telemetry import query
from proxy.telemetry.lag import Lag, families, lags
from proxy.telemetry.ledger_redis import Index, RedisLedger
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.query import Filter
from proxy.telemetry.ship import Shipment
from proxy.telemetry.ship_sqlite import SqliteTarget
from proxy.telemetry.ship_to import named, opened, shows_password
from proxy.telemetry.stream import Entry

pytestmark = needs_redis


@pytest.fixture
def link() -> Iterator[BlockingLink]:
    link = BlockingLink(place_of(shared_url()))
    yield link
    link.close()


class Memory:
    """A target that fails while it is told to."""

    most, pause_s = 4, 0.0

    def __init__(self, name: str = "memory") -> None:
        self.name, self.kept, self.broken = name, list[bytes](), False

    def write(self, entries: list[Entry]) -> int:
        if self.broken:
            raise StoreError("broken")
        self.kept += [entry[0] for entry in entries]
        return len(entries)

    def close(self) -> None:
        self.broken = False


def test_two_shippers_share_the_work_and_a_second_group_gets_all_once_more(link: BlockingLink) -> None:
    one, two, other = Memory(), Memory(), Memory("copy")
    pair = [Shipment(link, one), Shipment(link, two)]
    copy = Shipment(link, other, "copy")
    added = add(link, *ids(20))
    while sum([shipment.step()[0] for shipment in pair]):
        pass
    assert (len(one.kept), len(two.kept)) == (12, 8)
    assert sorted(one.kept + two.kept) == sorted(at.encode() for at in added)
    assert waiting(link) == 20, "not cut before every group has it"
    assert all_of(copy) == (20, 20)
    assert waiting(link) == 0
    for shipment in (*pair, copy):
        shipment.close()


def test_a_group_has_one_target_unless_it_moved(link: BlockingLink) -> None:
    Shipment(link, Memory("sqlite:/a.db")).close()
    Shipment(link, Memory("sqlite:/a.db")).close()
    with pytest.raises(StoreError, match=r"group ship ships to sqlite:/a\.db.*--group NAME for a second copy in parquet:/b, --moved"):
        Shipment(link, Memory("parquet:/b"))
    Shipment(link, Memory("parquet:/b"), moved=True).close()
    with pytest.raises(StoreError, match="ships to parquet:/b"):
        Shipment(link, Memory("sqlite:/a.db"))


def test_a_step_that_failed_is_done_again_without_what_others_took_over(link: BlockingLink, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Memory(), Memory()
    one, two = Shipment(link, first), Shipment(link, second)
    added = [at.encode() for at in add(link, *ids(6))]
    first.broken = True
    for _ in range(3):
        with pytest.raises(StoreError, match="broken"):
            one.step()
    assert one.waiting() == 4, "a target that fails is not given more and more"
    first.broken = False
    assert one.step() == (4, 4)
    first.broken = True
    with pytest.raises(StoreError, match="broken"):
        one.step()
    monkeypatch.setattr("proxy.telemetry.ship.IDLE_MS", 0)
    two._consumer = "another"
    assert two.step() == (2, 2)
    monkeypatch.undo()
    first.broken = False
    assert one.step() == (0, 0)
    assert (first.kept, second.kept) == (added[:4], added[4:])


def test_a_server_that_lost_its_data_is_shipped_from_again(link: BlockingLink) -> None:
    target = Memory("sqlite:/a.db")
    shipment = Shipment(link, target)
    added = add(link, *ids(3))
    assert all_of(shipment) == (3, 3)
    added += add(link, *ids(2))
    target.broken = True
    with pytest.raises(StoreError, match="broken"):
        shipment.step()
    target.broken = False
    link.call("DEL", link.key("ledger"), link.key("ledger-targets"))
    assert shipment.step() == (2, 2), "what it had taken stands nowhere else"
    added += add(link, *ids(2))
    assert shipment.step() == (2, 2)
    assert target.kept == [at.encode() for at in added]
    with pytest.raises(StoreError, match=r"ships to sqlite:/a\.db"):
        Shipment(link, Memory("parquet:/b"))


def test_all_that_the_dead_had_taken_is_found_behind_what_the_living_hold(link: BlockingLink, monkeypatch: pytest.MonkeyPatch) -> None:
    target = Memory()
    shipment = Shipment(link, target)
    added = [at.encode() for at in add(link, *ids(11))]
    taken_by_the_dead(link, 11)
    monkeypatch.setattr("proxy.telemetry.ship.IDLE_MS", 0)
    assert [shipment.step()[0] for _ in range(4)] == [4, 4, 3, 0]
    assert target.kept == added


def test_how_far_it_is(link: BlockingLink) -> None:
    assert lags(link) == []
    shipment = Shipment(link, Memory("sqlite:/a.db"))
    assert lags(link) == [Lag("ship", "sqlite:/a.db")]
    added = add(link, *ids(10))
    taken_by_the_dead(link, 3)
    (lag,) = lags(link)
    assert (lag.group, lag.target, lag.behind, lag.pending) == ("ship", "sqlite:/a.db", 7, 3)
    begun = int(added[0].partition("-")[0]) / 1000
    assert (lag.oldest, round(lag.age(begun + 9)), lag.age(begun - 9)) == (begun, 9, 0.0)
    assert [(name, pending) for name, pending, _ in lag.shippers] == [("dead", 3)]
    shipment.step()
    shipment.step()
    (lag,) = lags(link)
    assert (lag.behind, lag.pending, lag.oldest) == (0, 3, begun)
    link.call("HDEL", link.key("ledger-targets"), "ship")
    assert lags(link)[0].target == ""


def test_replicas_show_how_far_it_is_and_keep_what_they_knew(link: BlockingLink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.telemetry.ledger_redis.LAG_S", 0.01)
    Shipment(link, Memory("sqlite:/a.db"))
    ledger, metrics = RedisLedger(link, 1000), Metrics("1")
    metrics.watch_shipping(lambda: ledger.shipping)
    added = add(link, *ids(3))
    while not ledger.shipping or ledger.shipping[0].behind != 3:
        pass
    text = metrics.render()[0].decode()
    assert 'fleetgate_ledger_unshipped{group="ship"} 3.0' in text
    assert 'fleetgate_ledger_unshipped_seconds{group="ship"} ' in text
    link.call("SET", "other", 1)
    link.call("RENAME", "other", link.key("ledger"))
    while not ledger.problem:
        pass
    assert ledger.shipping[0].oldest == int(added[0].partition("-")[0]) / 1000
    link.call("DEL", link.key("ledger"))
    while ledger.problem or ledger.shipping:
        pass
    ledger.stop()
    unknown = list(families([Lag("a", behind=None, pending=1)], 0.0))
    assert [len(family.samples) for family in unknown] == [0, 1]


NO_RECORDS = ("no json", "[1]", '{"id": 5}', '{"id": "a", "cost": true}', '{"id": "a", "cost": 1.5}', '{"time": 1}', b"\xff")
TOO_LARGE = '{"id": "a", "cost": 9223372036854775808}'


def test_what_is_no_record_is_passed_over_and_said(link: BlockingLink, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    add(link, "first")
    for text in (*NO_RECORDS, TOO_LARGE, '{"id": "\\ud800"}'):
        link.call("XADD", link.key("ledger"), "*", "r", text)
    add(link, "last")
    shipment = Shipment(link, SqliteTarget(tmp_path / "all.db"))
    index = Index(link)
    assert [r.id for r in reversed(query.rows(index.now()))] == ["first", "last"]
    index.close()
    assert all_of(shipment) == (11, 2)
    shipment.close()
    assert waiting(link) == 0
    assert sorted(r.id for r in query.rows(tmp_path / "all.db", Filter())) == ["first", "last"]
    assert caplog.text.count("holds no record and is passed over") == 18


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("sqlite:all.db", "sqlite:all.db"),
        ("parquet:/data/ledger", "parquet:/data/ledger"),
        ("postgresql://gate@db/ledger", "postgresql://gate@db/ledger"),
        ("postgres://gate@db/ledger", "postgresql://gate@db/ledger"),
        ("env:LEDGER_URL", "postgresql://gate:pw@db/ledger"),
    ],
)
def test_targets(text: str, target: str) -> None:
    assert named(text, {"LEDGER_URL": " postgresql://gate:pw@db/ledger\n"}) == target


def test_a_target_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "to"
    path.write_text("parquet:there\n")
    assert named(f"file:{path}", {}) == "parquet:there"
    with pytest.raises(ValueError, match="cannot be read"):
        named(f"file:{path}.not", {})


@pytest.mark.parametrize(
    "text", ["", "all.db", "sqlite:", "sqlite://all.db", "parquet://bucket/x", "postgresql:db", "mysql://db/x", "redis://h"]
)
def test_no_targets(text: str) -> None:
    with pytest.raises(ValueError, match=r"--to names no target; expected sqlite:PATH, postgresql://"):
        named(text, {})
    with pytest.raises(ValueError, match=r"env:TO names no target|TO is not set"):
        named("env:TO", {"TO": text})


def test_a_target_with_a_password_is_noticed() -> None:
    assert shows_password("postgresql://gate:pw@db/ledger")
    assert shows_password("postgresql://db/ledger?user=a&password=b")
    assert not shows_password("postgresql://gate@db/ledger")
    assert not shows_password("sqlite:password=.db")
    assert not shows_password("postgresql://[::1/ledger")


@pytest.mark.parametrize(
    ("target", "library", "extra"), [("postgresql://db/x", "psycopg", "postgres"), ("parquet:x", "pyarrow", "parquet")]
)
def test_a_library_that_is_missing_is_named_with_its_extra(
    target: str, library: str, extra: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in sys.modules if name.startswith("proxy.telemetry.ship_p")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(StoreError, match=rf"not installed \({library}\): pip install 'fleetgate\[{extra}\]'"):
        opened(target, "t")
