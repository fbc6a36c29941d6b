"""`fleetgate kill` and `resume`: what they do, what they refuse to half-do, and what they show."""

from __future__ import annotations

import asyncio
import getpass
from pathlib import Path

import pytest
from cli_cases import CONFIG, Folder, folder

from proxy.engine.record import Record
from proxy.telemetry.ledger import Ledger


@pytest.fixture
def good(tmp_path: Path) -> Folder:
    return folder(tmp_path)


def kills(good: Folder) -> list[str]:
    return [kill["target"] for kill in good.run("kill", "--list", "--json").json]


def test_a_kill_and_its_end(good: Folder) -> None:
    done = good.run("kill", "agent:clerk", "--reason", "it deletes files")
    assert (done.code, done.err) == (0, "")
    assert done.out == "killed agent:clerk; `fleetgate resume agent:clerk` lifts it\n"
    listed = good.run("kill", "--list").out
    assert "agent:clerk" in listed
    assert "it deletes files" in listed
    assert getpass.getuser() in listed
    done = good.run("kill", "team:office", "--reason", "audit", "--for", "2h", "--json")
    assert done.json["until"] == pytest.approx(done.json["since"] + 7200)
    assert kills(good) == ["agent:clerk", "team:office"]
    assert good.run("resume", "agent:clerk", "--reason", "fixed").out == "resumed agent:clerk; still stopped: team:office\n"
    assert good.run("resume", "team:office").out == "resumed team:office\n"
    assert good.run("kill", "--list").out == "nothing is stopped\n"
    log = good.run("kill", "--log", "--json").json
    assert [(e["action"], e["target"], e["reason"]) for e in log] == [
        ("resume", "team:office", ""),
        ("resume", "agent:clerk", "fixed"),
        ("kill", "team:office", "audit"),
        ("kill", "agent:clerk", "it deletes files"),
    ]
    assert "fixed" in good.run("kill", "--log").out


def test_nothing_was_done_yet(good: Folder) -> None:
    assert good.run("kill", "--log").out == "nothing was done yet\n"


@pytest.mark.parametrize(
    "target", ["agent:clerc", "team:nobody", "key:00000000", "model:claude-*", "session:s-1", "run:r-1", "agent:team-b/*"]
)
def test_what_nobody_knows_is_not_stopped_unless_forced(good: Folder, target: str) -> None:
    done = good.run("kill", target, "--reason", "x")
    assert (done.code, done.out) == (1, "")
    assert "nothing was done" in done.err
    assert kills(good) == []
    assert good.run("kill", target, "--reason", "x", "--force").code == 0
    assert kills(good) == [target]


@pytest.mark.parametrize("target", ["agent:team-a/*", "agent:CLERK", "team:off*", "model:gpt-4o", "all", "session:s-1", "run:r-*"])
def test_what_is_known_is_stopped(good: Folder, target: str) -> None:
    ledger = Ledger(good.path / "fleetgate.db")
    ledger.record(Record("1" * 32, 1.0, session="s-1", run="r-1"))
    asyncio.run(ledger.close())
    assert good.run("kill", target, "--reason", "x").code == 0
    assert kills(good) == [target]


def test_a_key_is_known_by_its_id(good: Folder) -> None:
    good.run("keys", "create", "clerk")
    key = good.run("keys", "list", "--json").json[0]["id"]
    assert good.run("kill", f"key:{key}", "--reason", "leaked").code == 0


def test_resuming_what_is_not_stopped(good: Folder) -> None:
    good.run("kill", "agent:clerk", "--reason", "x")
    done = good.run("resume", "agent:*")
    assert (done.code, done.out) == (1, "")
    assert done.err == "fleetgate: no kill of agent:* holds; still stopped: agent:clerk\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["kill"],
        ["kill", "agent:clerk"],
        ["kill", "agent:clerk", "--reason", "  "],
        ["kill", "clerk", "--reason", "x"],
        ["kill", "robot:clerk", "--reason", "x"],
        ["kill", "agent:clerk", "--reason", "x", "--for", "soon"],
        ["kill", "agent:clerk", "--reason", "x", "--for", "0h"],
        ["kill", "agent:clerk", "--reason", "x", "--for", "100%"],
        ["kill", "agent:clerk", "--list"],
        ["resume"],
        ["resume", "clerk"],
    ],
)
def test_wrong_usage_does_nothing(good: Folder, arguments: list[str]) -> None:
    done = good.run(*arguments)
    assert (done.code, done.out) == (2, "")
    assert "usage:" in done.err
    assert kills(good) == []


def test_a_broken_file_keeps_nobody_from_stopping_something(good: Folder) -> None:
    good.write("budgets/b.yaml", "budgets: 3\n")
    done = good.run("kill", "agent:clerk", "--reason", "x")
    assert done.code == 1
    assert "names cannot be checked" in done.err
    assert kills(good) == []
    assert good.run("kill", "agent:clerk", "--reason", "x", "--force").code == 0
    assert good.run("kill", "all", "--reason", "x").code == 0
    assert kills(good) == ["agent:clerk", "all"]


def test_a_store_in_memory_is_out_of_reach(good: Folder) -> None:
    good.write("fleetgate.yaml", CONFIG.replace("sqlite:fleetgate.db", "'memory:'"))
    done = good.run("kill", "all", "--reason", "x")
    assert done.code == 1
    assert "admin API" in done.err


def test_what_people_type_moves_no_cursor(good: Folder) -> None:
    good.run("kill", "all", "--reason", "a\x1b[2Jb\nc")
    assert "\x1b" not in good.run("kill", "--list").out
    assert good.run("kill", "--list", "--json").json[0]["reason"] == "a [2Jb c"
