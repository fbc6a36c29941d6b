"""What is said is kept, found, bounded, forgotten and erased, in memory, in a file and on a Redis server."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from redis_server import needs_redis, shared_url

from proxy.engine.ports import StoreError
from proxy.stores.redis_blocking import BlockingLink
from proxy.stores.redis_link import Script
from proxy.stores.redis_place import place_of
from proxy.telemetry import content_redis, content_sqlite
from proxy.telemetry.content import Content, Contents, Mark, MemoryContents, Part, Turn, Whose, packed, unpacked
from proxy.telemetry.content_redis import RedisContents
from proxy.telemetry.content_sqlite import SqliteContents, beside

Opened = Callable[..., Contents]


@pytest.fixture(params=["memory", "sqlite", pytest.param("redis", marks=needs_redis)])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    links: list[BlockingLink] = []

    def memory_or_file(most_mb: int = 10) -> Contents:
        return MemoryContents(most_mb) if request.param == "memory" else SqliteContents(tmp_path / "f.db", most_mb)

    def redis(most_mb: int = 10) -> Contents:
        links.append(BlockingLink(place_of(shared_url())))
        return RedisContents(links[-1], most_mb, Script)

    yield redis if request.param == "redis" else memory_or_file
    for link in links:
        link.close()


def said(number: int, session: str = "a/s", agent: str = "a", until: float = 100.0, words: str = "hello") -> Content:
    turns = (Turn("user", (Part("text", words, size=len(words)), Part("media", name="image_url", size=9))),)
    reply = (Turn("assistant", (Part("tool_call", '{"a": 1}', "read", "call_1", 8), Part("text", "yes", size=30, cut=27))),)
    mark = Mark(number, f"{number:032x}", "5f", True)
    return Content(f"{number:012x}", float(number), agent, session, "full", until, turns, 3, reply, "stop", 1, False, mark)


def test_what_is_kept_is_found_again(opened: Opened) -> None:
    contents = opened()
    assert contents.one(said(1).id) is None
    assert contents.mark("a/s") is None
    contents.keep([said(1), said(2, "a/t"), said(3)])
    assert contents.one(said(2).id) == said(2, "a/t")
    assert contents.mark("a/s") == said(3).mark
    assert contents.mark("a/t") == said(2).mark
    contents.keep([replace(said(3), finish="length")])
    found = contents.one(said(3).id)
    assert found is not None
    assert found.finish == "length"
    assert "mark" not in found.as_json()
    assert found.as_json()["request"][0]["parts"][0]["text"] == "hello"


def test_what_is_over_is_forgotten(opened: Opened) -> None:
    contents = opened()
    assert contents.forget(1000.0) == 0
    contents.keep([said(1, until=50.0), said(2, until=60.0), said(3, until=70.0)])
    assert contents.forget(60.0) == 2
    assert contents.one(said(2).id) is None
    assert contents.one(said(3).id) is not None
    assert contents.forget(60.0) == 0


def test_a_session_or_an_agent_is_erased_and_nobody_else(opened: Opened) -> None:
    contents = opened()
    assert contents.erase(Whose(session="a/s")) == 0
    kept = [said(1), said(2, "a/s2"), said(3, "ab/s", "ab"), said(4, "a/b/s", "a/b"), said(5)]
    contents.keep(kept)
    assert contents.erase(Whose(session="a/s")) == 2
    assert [contents.one(one.id) is not None for one in kept] == [False, True, True, True, False]
    assert contents.mark("a/s") is None
    assert contents.erase(Whose(agent="a")) == 1
    assert [contents.one(one.id) is not None for one in kept] == [False, False, True, True, False]
    assert contents.erase(Whose(agent="a")) == 0


def test_the_oldest_go_where_there_is_no_room(opened: Opened) -> None:
    contents = opened(1)
    for start in range(1, 60, 10):
        contents.keep([said(n, words="w" * 50_000) for n in range(start, start + 10)])
    left = [n for n in range(1, 61) if contents.one(said(n).id) is not None]
    assert left
    assert left == list(range(left[0], 61)), "the newest stay"
    assert 10 <= len(left) <= 21


def test_any_text_can_be_kept(opened: Opened) -> None:
    contents = opened()
    odd = said(1, "a/\ud800\u202e<b>", words="\ud83d \x00 \u202e <script>")
    contents.keep([odd])
    found = contents.one(odd.id)
    assert found is not None
    assert found.request[0].parts[0].text.replace("\ud83d", "?") == "? \x00 \u202e <script>"
    assert contents.mark("a/\ud800\u202e<b>") == odd.mark
    assert contents.erase(Whose(session="a/\ud800\u202e<b>")) == 1


def test_what_is_no_content_is_a_fault_and_not_a_crash() -> None:
    assert unpacked(packed(said(1)), Content) == said(1)
    for junk in (b"", b"\xff", b"[]", b'{"id": 1}'):
        with pytest.raises(StoreError, match="cannot be read"):
            unpacked(junk, Content)


def test_names() -> None:
    assert str(Whose(session="a/s")) == "session:a/s"
    assert str(Whose(agent="a")) == "agent:a"


# --- the file ----------------------------------------------------------------------------------------------------------------------------


def test_the_file_is_its_owner_s_alone_and_there_only_when_needed(tmp_path: Path) -> None:
    ledger = tmp_path / "f.db"
    contents = SqliteContents(ledger, 10)
    assert contents.one("x") is None
    assert (contents.forget(1.0), contents.erase(Whose(agent="a"))) == (0, 0)
    assert not beside(ledger).exists()
    contents.keep([said(1)])
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert SqliteContents(ledger, 10).one(said(1).id) == said(1), "another process reads it"
    contents.close()
    contents.close()


def test_a_file_that_is_just_being_made_has_nothing_yet(tmp_path: Path) -> None:
    beside(tmp_path / "f.db").touch()
    assert SqliteContents(tmp_path / "f.db", 10).one("x") is None


def test_what_is_erased_stands_in_no_byte_of_the_files(tmp_path: Path) -> None:
    contents = SqliteContents(tmp_path / "f.db", 10)
    contents.keep([said(n, words=f"canary{n} " * 400) for n in range(1, 20)])
    assert b"canary7" in b"".join(p.read_bytes() for p in tmp_path.iterdir())
    assert contents.erase(Whose(agent="a")) == 19
    assert b"canary" not in b"".join(p.read_bytes() for p in tmp_path.iterdir())


def test_a_file_that_was_taken_away_is_made_anew(tmp_path: Path) -> None:
    contents = SqliteContents(tmp_path / "f.db", 10)
    contents.keep([said(1)])
    for path in tmp_path.iterdir():
        path.unlink()
    contents.keep([said(2)])
    assert contents.one(said(2).id) == said(2)


def test_more_are_forgotten_and_dropped_step_by_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content_sqlite, "STEP", 2)
    contents = SqliteContents(tmp_path / "f.db", 10)
    contents.keep([said(n) for n in range(5)])
    assert [contents.forget(1000.0) for _ in range(4)] == [2, 2, 1, 0]


def test_a_file_that_is_none_is_a_fault(tmp_path: Path) -> None:
    beside(tmp_path / "f.db").write_text("no database at all, whatever its name" * 100)
    contents = SqliteContents(tmp_path / "f.db", 10)
    for verb in (
        lambda: contents.keep([said(1)]),
        lambda: contents.one("x"),
        lambda: contents.mark("x"),
        lambda: contents.forget(1.0),
        lambda: contents.erase(Whose(agent="a")),
    ):
        with pytest.raises(StoreError, match="what was said in exchanges cannot be"):
            verb()
    with pytest.raises(StoreError):
        SqliteContents(tmp_path / "not" / "there.db", 10).keep([said(1)])


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    contents = SqliteContents(tmp_path / "f.db", 10)
    contents.keep([said(1)])
    with closing(sqlite3.connect(beside(tmp_path / "f.db"), isolation_level=None)) as db:
        db.execute("CREATE TRIGGER full BEFORE INSERT ON contents BEGIN SELECT RAISE(ABORT, 'disk is full'); END")
        with pytest.raises(StoreError, match="disk is full"):
            contents.keep([said(2)])
        db.execute("DROP TRIGGER full")
    contents.keep([said(3)])
    assert [contents.one(said(n).id) is not None for n in (1, 2, 3)] == [True, False, True]


def test_a_full_disk_takes_nothing_and_what_there_is_can_be_read_and_erased(tmp_path: Path) -> None:
    contents = SqliteContents(tmp_path / "f.db", 10)
    contents.keep([said(1)])
    assert contents._writer is not None
    pages = contents._writer.execute("PRAGMA page_count").fetchone()[0]
    contents._writer.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StoreError, match="full"):
        contents.keep([said(2, words="w" * 100_000)])
    assert contents.one(said(1).id) == said(1)
    assert contents.erase(Whose(agent="a")) == 1
    contents.keep([said(3)])
    assert contents.one(said(3).id) == said(3)


# --- the server --------------------------------------------------------------------------------------------------------------------------


@needs_redis
def test_replicas_share_it_and_nothing_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content_redis, "STEP", 2)
    place = place_of(shared_url())
    links = [BlockingLink(place), BlockingLink(place)]
    try:
        one, other = (RedisContents(link, 10, Script) for link in links)
        one.keep([said(n) for n in range(1, 6)])
        assert other.one(said(2).id) == said(2)
        other.keep([said(2)])
        assert other.erase(Whose(agent="a")) == 5
        left = links[0].call("KEYS", links[0].key("contents", "*"))
        assert [name for name in left if not name.endswith(b"bytes")] == []
        assert int(links[0].call("GET", links[0].key("contents", "bytes"))) == 0
    finally:
        for link in links:
            link.close()
