"""A table of a real PostgreSQL as the target: one row a record, whatever it holds; wrong passwords, other shapes, servers that go."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from postgres_server import database, needs_postgres, query
from record_samples import REFUSED, SERVED, served
from redis_server import needs_redis, shared_url
from shipping import add, all_of, ids, taken_by_the_dead, waiting

from proxy.engine.ports import StoreError
from proxy.stores.redis_blocking import BlockingLink
from proxy.stores.redis_place import place_of
from proxy.telemetry import schema
from proxy.telemetry.ship import Shipment
from proxy.telemetry.ship_postgres import COLUMNS, TABLE, PostgresTarget

pytestmark = [needs_redis, needs_postgres]


@pytest.fixture
def link() -> Iterator[BlockingLink]:
    link = BlockingLink(place_of(shared_url()))
    yield link
    link.close()


def test_every_record_is_one_row_however_often_it_is_shipped(link: BlockingLink, monkeypatch: pytest.MonkeyPatch) -> None:
    url = database()
    add(link, *ids(1200), "r0003")
    shipment = Shipment(link, PostgresTarget(url, "blue"))
    first = taken_by_the_dead(link, 30)
    killed = PostgresTarget(url, "blue")
    assert killed.write(first[:20]) == 20, "written, and never acknowledged"
    killed.close()
    assert all_of(shipment) == (1171, 1170)
    assert waiting(link) == 1201
    monkeypatch.setattr("proxy.telemetry.ship.IDLE_MS", 0)
    assert all_of(shipment) == (30, 10)
    assert waiting(link) == 0
    shipment.close()
    assert query(url, f"SELECT count(*), count(DISTINCT id), min(id), max(id) FROM {TABLE}") == [(1200, 1200, "r0000", "r1199")]
    green = PostgresTarget(url, "green")
    assert green.write(first) == 30, "another tenant's ids are others"
    green.close()
    assert query(url, f"SELECT tenant, count(*) FROM {TABLE} GROUP BY 1 ORDER BY 1") == [("blue", 1200), ("green", 30)]


def test_a_row_says_what_the_record_said(link: BlockingLink) -> None:
    url = database()
    add(link, SERVED, REFUSED)
    shipment = Shipment(link, PostgresTarget(url, "blue"))
    assert all_of(shipment) == (2, 2)
    shipment.close()
    rows = query(url, f"SELECT {', '.join(COLUMNS)} FROM {TABLE} ORDER BY time")
    for found, record in zip(rows, (SERVED, REFUSED), strict=True):
        row = dict(zip(COLUMNS, found, strict=True))
        assert row.pop("tenant") == "blue"
        assert row.pop("time") == datetime.fromtimestamp(record.time, UTC)
        assert row == {
            n: json.loads(v) if n in schema.JSON_COLUMNS else v
            for n, v in zip(schema.COLUMNS, schema.to_row(record), strict=True)
            if n != "time"
        }
    assert query(url, f"SELECT findings->0->>0 FROM {TABLE} WHERE id = '{SERVED.id}'") == [("secrets/aws-key",)]


def test_what_postgresql_cannot_hold_does_not_stop_the_rest(link: BlockingLink) -> None:
    url = database()
    nasty = replace(
        SERVED, id="nasty\0", message="a\0b\ud800", findings=(("a\0", "\ud800\\u0000"),), marks={"\0": 1}, cost=1 << 70, time=1e300
    )
    add(link, nasty, "plain")
    link.call("XADD", link.key("ledger"), "*", "r", '{"id": "other", "findings": "no json", "time": -5}')
    shipment = Shipment(link, PostgresTarget(url, "blue"))
    assert all_of(shipment) == (3, 3)
    shipment.close()
    rows = query(url, f"SELECT id, message, findings, marks, cost, extract(year FROM time)::int FROM {TABLE} ORDER BY id")
    assert rows[0] == ("nasty\ufffd", "a\ufffdb?", [["a\ufffd", "?\\u0000"]], {"\ufffd": 1}, (1 << 63) - 1, 9999)
    assert [row[0] for row in rows] == ["nasty\ufffd", "other", "plain"]
    assert rows[1][2:] == ("no json", {}, 0, 1970)


def test_a_wrong_password_an_unknown_database_and_no_server_are_said_without_the_password() -> None:
    url = database()
    for wrong, words in (
        (url.replace("s3cret-of-tests", "wr0ng-word"), "password authentication failed"),
        (url + "_not", "does not exist"),
        ("postgresql://gate:wr0ng-word@127.0.0.1:1/x", "refused"),
    ):
        with pytest.raises(StoreError, match=words) as caught:
            PostgresTarget(wrong, "blue")
        assert "wr0ng-word" not in str(caught.value)
        assert "s3cret" not in str(caught.value)
        assert str(caught.value).startswith("postgresql://127.0.0.1:")
    with pytest.raises(StoreError, match="no URL of PostgreSQL"):
        PostgresTarget("postgresql://db/x?colour=blue", "blue")


def test_elsewhere_the_connection_is_encrypted_or_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    url = database()
    elsewhere = url.replace("127.0.0.1", "db.example.com") + "?hostaddr=127.0.0.1"
    with pytest.raises(StoreError, match=r"SSL was required \(sslmode=disable in the URL would send everything in clear\)"):
        PostgresTarget(elsewhere, "blue")
    PostgresTarget(elsewhere + "&sslmode=disable", "blue").close()
    monkeypatch.setenv("PGSSLMODE", "disable")
    PostgresTarget(elsewhere, "blue").close()


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("(name text, amount int)", "of another shape, without tenant, id"),
        ("(id bigint, tenant text)", "id is bigint, expected text"),
        ("(id text, tenant text)", r"lacks its primary key \(tenant, id\)"),
        ("(id text PRIMARY KEY, tenant text, cost text)", "cost is text, expected bigint"),
    ],
)
def test_a_table_of_another_shape_is_left_alone(table: str, words: str) -> None:
    url = database()
    query(url, f"CREATE TABLE {TABLE} {table}")
    before = query(url, f"SELECT count(*) FROM information_schema.columns WHERE table_name = '{TABLE}'")
    with pytest.raises(StoreError, match=words):
        PostgresTarget(url, "blue")
    assert query(url, f"SELECT count(*) FROM information_schema.columns WHERE table_name = '{TABLE}'") == before


def test_a_table_of_an_older_release_gets_what_it_lacks(link: BlockingLink) -> None:
    url = database()
    PostgresTarget(url, "blue").close()
    query(url, f"ALTER TABLE {TABLE} DROP COLUMN wasted, DROP COLUMN findings")
    query(url, f"INSERT INTO {TABLE} (tenant, id) VALUES ('blue', 'old')")
    query(url, f"ALTER TABLE {TABLE} ADD COLUMN colour text")
    add(link, served(1, id="new", wasted=7))
    shipment = Shipment(link, PostgresTarget(url, "blue"))
    assert shipment.step() == (1, 1)
    shipment.close()
    assert query(url, f"SELECT id, wasted, jsonb_array_length(findings) FROM {TABLE} ORDER BY id") == [("new", 7, 2), ("old", 0, 0)]


def test_a_user_who_may_only_insert_ships_and_one_who_may_not_is_told(link: BlockingLink) -> None:
    url = database()
    PostgresTarget(url, "blue").close()
    name = url.rpartition("/")[2]
    query(url, f"CREATE ROLE {name}_user LOGIN PASSWORD 'pw'")
    limited = url.replace("gate:s3cret-of-tests", f"{name}_user:pw")
    target = PostgresTarget(limited, "blue")
    shipment = Shipment(link, target)
    add(link, *ids(3))
    with pytest.raises(StoreError, match=f"permission denied for table {TABLE}"):
        shipment.step()
    assert waiting(link) == 3
    query(url, f"GRANT INSERT, SELECT ON {TABLE} TO {name}_user")
    assert shipment.step() == (3, 3)
    shipment.close()


def test_a_connection_that_ends_is_made_anew_and_nothing_is_lost(link: BlockingLink) -> None:
    url = database()
    shipment = Shipment(link, PostgresTarget(url, "blue"))
    add(link, *ids(4))
    query(
        url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'fleetgate' AND datname = current_database()"
    )
    with pytest.raises(StoreError, match=r"terminat|closed"):
        shipment.step()
    assert waiting(link) == 4
    assert shipment.step() == (4, 4)
    assert waiting(link) == 0
    shipment.close()


def test_a_commit_that_would_not_reach_the_disk_is_not_taken() -> None:
    url = database()
    query(url, f"ALTER DATABASE {url.rpartition('/')[2]} SET synchronous_commit = off")
    target = PostgresTarget(url, "blue")
    assert target._reached().execute("SHOW synchronous_commit").fetchone() == ("on",)
    target.close()
