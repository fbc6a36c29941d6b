"""Opening stores, and one contract for every key store."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from store_cases import SCHEMES, url_of

from proxy.engine.ports import StoreError
from proxy.identity.keys import KeyEntry, KeyStore
from proxy.model import Nanos
from proxy.stores import open_store
from proxy.stores.schema import STEPS


@pytest.fixture(params=SCHEMES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return url_of(request.param, tmp_path)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis://localhost:1/0", "cannot be reached"),
        ("redis://user:secret@local host", "no URL of a Redis store"),
        ("sqlite:", "is not known"),
        ("memory", "is not known"),
        ("postgres://x", "is not known"),
        ("sqlite:/nowhere/at/all/x.db", "must exist and be writable"),
    ],
)
def test_a_store_that_cannot_be_opened_says_why(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        open_store(url)


def test_a_file_that_is_no_database_or_from_the_future_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.db"
    text.write_text("this is not a database at all, and long enough to be seen as one" * 20)
    with pytest.raises(ValueError, match="not a database"):
        open_store(f"sqlite:{text}")
    newer = tmp_path / "newer.db"
    with contextlib.closing(sqlite3.connect(newer)) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(ValueError, match="newer version"):
        open_store(f"sqlite:{newer}")


@pytest.fixture
def keys(url: str) -> Iterator[KeyStore]:
    stores = open_store(url)
    yield stores.keys
    asyncio.run(stores.close())


def agents(keys: KeyStore) -> list[str]:
    entries = keys.keys()
    return [entry.agent for entry in entries]


def test_keys_are_kept_listed_and_revoked(keys: KeyStore) -> None:
    one = KeyEntry("triage", "a" * 64, None, 1.0)
    two = KeyEntry("triage", "b" * 64, 99.0, 2.0)
    three = KeyEntry("team-a/*", "c" * 64, None, 3.0)
    versions = [keys.version()]
    for entry in (one, two, three):
        keys.add(entry)
        versions.append(keys.version())
    assert len(set(versions)) == 4, "every change shows in the version"
    assert keys.keys() == [one, two, three]
    assert keys.revoke(three.id) == 1
    assert keys.revoke("triage") == 2
    assert keys.keys() == []
    assert keys.revoke("triage") == 0
    assert keys.version() not in versions


def test_what_a_key_is_bound_to_is_kept(keys: KeyStore) -> None:
    bound = KeyEntry("triage", "a" * 64, None, 1.0, run="nightly", usd=Nanos(9 * 10**18))
    keys.add(bound)
    keys.add(KeyEntry("triage", "b" * 64, None, 2.0, usd=Nanos(0)))
    found = keys.keys()
    assert found[0] == bound
    assert [(e.run, e.usd) for e in found] == [("aaaaaaaa/nightly", 9 * 10**18), ("", 0)]


FAMILY = (
    KeyEntry("triage", "a" * 64, None, 1.0),
    KeyEntry("scout", "b" * 64, None, 2.0, run="aaaaaaaa/r1"),
    KeyEntry("scout", "c" * 64, None, 3.0, run="aaaaaaaa/r2"),
    KeyEntry("triage", "d" * 64, None, 4.0, run="own"),
    KeyEntry("scout", "e" * 64, None, 5.0, run="reviewer/session"),
    KeyEntry("scout", "f" * 64, None, 6.0, run="99999999/parent-of-a-file"),
)


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("aaaaaaaa", "def"),
        ("bbbbbbbb", "acdef"),
        ("dddddddd", "abcef"),
        ("triage", "ef"),
        ("scout", "ad"),
        ("99999999", "abcde"),
        ("reviewer", "abcdef"),
        ("aaaaaaa", "abcdef"),
    ],
)
def test_child_keys_go_with_their_parent(keys: KeyStore, name: str, left: str) -> None:
    for entry in FAMILY:
        keys.add(entry)
    before = keys.version()
    assert keys.revoke(name) == len(FAMILY) - len(left)
    found = keys.keys()
    assert "".join(e.id[0] for e in found) == left
    assert (keys.version() != before) or len(left) == len(FAMILY)


def test_a_file_of_before_runs_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    with contextlib.closing(sqlite3.connect(path)) as db:
        for statement in (*STEPS[0], *STEPS[1]):
            db.execute(statement)
        db.execute("INSERT INTO keys VALUES ('aaaaaaaa', 'triage', ?, NULL, 1.0)", ("a" * 64,))
        db.execute("PRAGMA user_version = 2")
        db.commit()
    stores = open_store(f"sqlite:{path}")
    assert stores.keys.keys() == [KeyEntry("triage", "a" * 64, None, 1.0)]
    asyncio.run(stores.close())


def test_keys_of_one_process_are_seen_by_another(tmp_path: Path) -> None:
    url = url_of("sqlite", tmp_path)
    server, command = open_store(url), open_store(url)
    before = server.keys.version()
    command.keys.add(KeyEntry("triage", "a" * 64, None, 1.0))
    assert server.keys.version() != before
    assert agents(server.keys) == ["triage"]
    asyncio.run(server.close())
    asyncio.run(command.close())


def test_the_same_key_twice_is_a_store_error_and_harms_nothing(tmp_path: Path) -> None:
    stores = open_store(url_of("sqlite", tmp_path))
    stores.keys.add(KeyEntry("triage", "a" * 64, None, 1.0))
    with pytest.raises(StoreError):
        stores.keys.add(KeyEntry("other", "a" * 64, None, 1.0))
    assert agents(stores.keys) == ["triage"]
    asyncio.run(stores.close())
