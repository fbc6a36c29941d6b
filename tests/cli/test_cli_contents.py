"""`explain --content` and `ledger erase` on a file that a server has left."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cli_cases import CONFIG, Folder, folder

from proxy.engine.record import Record
from proxy.routing.pairs import Half, Pair
from proxy.stores.pairs import SqlitePairs
from proxy.telemetry.content import Content, Part, Turn
from proxy.telemetry.content_sqlite import SqliteContents
from proxy.telemetry.ledger import Ledger

TURNS = (
    Turn("user", (Part("text", "hello\nthere \x1b[31m\u202e", size=12), Part("media", name="image_url", size=9000))),
    Turn("tool", (Part("tool_result", "found", id="c1", size=5), Part("tool_result", size=0))),
)
REPLY = (Turn("assistant", (Part("tool_call", '{"a": 1}', "read_\x07file", "c2", 8), Part("text", "yes", size=9000, cut=8997))),)


def content(name: str, session: str = "clerk/s", **more: Any) -> Content:
    return Content(name, 1_800_000_000.0, session.partition("/")[0], session, "full", 1_900_000_000.0, TURNS, **more)


@pytest.fixture
def there(tmp_path: Path) -> Folder:
    made = folder(tmp_path)
    path = made.path / "fleetgate.db"
    ledger = Ledger(path)
    for name, agent in (("e1", "clerk"), ("e2", "scout"), ("e3", "clerk")):
        ledger.record(Record(name, 1_800_000_000.0, agent=agent, session=f"{agent}/s", outcome="ok", status=200))
    ledger.stop()
    contents = SqliteContents(path, 10)
    contents.keep([content("e1", before=3, left_out=2, reply=REPLY, finish="stop", reply_cut=True), content("e2", "scout/s")])
    contents.close()
    pairs = SqlitePairs(path)
    for name, agent in (("e1", "clerk"), ("e2", "scout")):
        half = Half(name, "here", "small", 0, 5, "stop", 3, "yes")
        pairs.keep(Pair(1_800_000_000.0, agent, half, replace(half, id=f"{name}-second")))
    return made


def test_what_was_said_stands_below_the_story_and_controls_nothing(there: Folder) -> None:
    done = there.run("explain", "e1", "--content")
    assert (done.code, done.err) == (0, "")
    said = done.out.partition("What was said (full), kept until ")[2]
    for words in (
        "3 messages that came with it stand before this",
        "    hello\n    there \\x1b[31m\\u202e\n",
        "[image_url, 9,000 bytes]",
        "[was given by a tool]\n    found",
        "2 more messages had no room",
        "The reply (stop), not all of it",
        '[calls read_\\x07file]\n    {"a": 1}',
        "… 8,997 more characters were cut off",
    ):
        assert words in said, (words, said)
    assert "What was said" not in there.run("explain", "e1").out
    assert there.run("explain", "e1", "--content", "--json").json["content"]["before"] == 3
    log = there.run("kill", "--log", "--json").json
    assert [(e["action"], e["target"]) for e in log] == [("read", "exchange:e1 of clerk/s")] * 2
    assert log[0]["by"].endswith("(on the command line)")


def test_where_nothing_is_kept_it_says_why(there: Folder) -> None:
    assert "Nothing is kept of what was said" in there.run("explain", "e3", "--content").out
    assert there.run("explain", "e3", "--content", "--json").json["content"] is None
    assert there.run("kill", "--log", "--json").json == []
    assert there.run("explain", "e2", "--content").out.count("The reply") == 0


@pytest.mark.parametrize(("whose", "left"), [(("--session", "clerk/s"), "e2"), (("--agent", "scout"), "e1")])
def test_a_session_or_an_agent_is_erased_and_that_is_logged(there: Folder, whose: tuple[str, str], left: str) -> None:
    done = there.run("ledger", "erase", *whose, "--why", "asked for")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("erased what was said in 1 exchanges of ")
    contents = SqliteContents(there.path / "fleetgate.db", 10)
    assert [name for name in ("e1", "e2") if contents.one(name)] == [left]
    assert [pair.local.id for pair in SqlitePairs(there.path / "fleetgate.db").all()] == [left], "sampled pairs have texts too"
    assert [e["reason"] for e in there.run("kill", "--log", "--json").json] == ["asked for"]
    assert "erase" in there.run("kill", "--log").out


@pytest.mark.parametrize(
    "words", [(), ("--agent", "a"), ("--why", "x"), ("--agent", "a", "--session", "a/s", "--why", "x"), ("--agent", "a", "--why", " ")]
)
def test_erasing_needs_one_name_and_a_reason(there: Folder, words: tuple[str, ...]) -> None:
    done = there.run("ledger", "erase", *words)
    assert done.code == 1
    assert "needs one of --session and --agent, and a --why" in done.err
    assert SqliteContents(there.path / "fleetgate.db", 10).one("e1") is not None


def test_a_server_s_memory_is_not_reached_from_here(there: Folder) -> None:
    there.write("fleetgate.yaml", CONFIG.replace("sqlite:fleetgate.db", "'memory:'"))
    done = there.run("ledger", "erase", "--agent", "a", "--why", "x")
    assert done.code == 1
    assert "store memory:" in done.err
