"""`fleetgate keys create|list|revoke`: shown once, kept as a hash, and dead on a running server soon after it is revoked."""

from __future__ import annotations

import json
import sqlite3
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cli_cases import CONFIG, Folder, folder
from serving import Proxy, Simulator, post

from proxy.identity.keys import hash_key


@pytest.fixture
def good(tmp_path: Path) -> Folder:
    return folder(tmp_path)


def test_a_new_key_stands_alone_on_stdout_and_only_its_hash_is_kept(good: Folder) -> None:
    done = good.run("keys", "create", "clerk")
    assert (done.code, done.err) == (0, "")
    key = done.out.removesuffix("\n")
    assert key.startswith("fg-clerk-")
    assert not any(c.isspace() for c in key)
    for file in good.path.iterdir():
        if file.is_file():
            assert key.encode() not in file.read_bytes()
    with sqlite3.connect(good.path / "fleetgate.db") as db:
        assert db.execute("SELECT agent, sha256, expires FROM keys").fetchall() == [("clerk", hash_key(key), None)]


def test_keys_are_listed_by_id_never_by_key(good: Folder) -> None:
    assert good.run("keys", "list").out == "no keys\n"
    key = good.run("keys", "create", "clerk").out.strip()
    good.run("keys", "create", "team-a/*", "--expires", "2099-01-31")
    done = good.run("keys", "list")
    assert done.code == 0
    assert key not in done.out
    assert hash_key(key)[:8] in done.out
    assert "2099-01-31 00:00:00" in done.out
    first, second = good.run("keys", "list", "--json").json
    assert (first["agent"], first["expires"], first["from"]) == ("clerk", None, "store")
    assert (second["agent"], second["expires"]) == ("team-a/*", datetime(2099, 1, 31, tzinfo=UTC).timestamp())


def test_keys_of_a_file_are_listed_and_revoked_there(good: Folder) -> None:
    good.write("fleetgate.yaml", CONFIG + "auth: {mode: keys, keys: keys.yaml}\n")
    good.write("keys.yaml", f"keys:\n  - {{agent: clerk, sha256: {'ab' * 32}}}\n")
    assert good.run("keys", "list", "--json").json[0]["from"] == "file"
    done = good.run("keys", "revoke", "abababab")
    assert done.code == 1
    assert "keys of a file are revoked there" in done.err


@pytest.mark.parametrize("when", ["2020-01-01", "today", "0s", "soon", "", "2027-13-01", "-3d"])
def test_an_expiry_that_is_past_or_no_time_is_wrong_usage(good: Folder, when: str) -> None:
    done = good.run("keys", "create", "clerk", f"--expires={when}")
    assert (done.code, done.out) == (2, "")
    assert "is in the past" in done.err or "is not a time" in done.err
    assert good.run("keys", "list").out == "no keys\n"


@pytest.mark.parametrize(("when", "seconds"), [("12h", 43_200), ("30d", 30 * 86_400), ("90 m", 5400)])
def test_an_expiry_is_a_time_from_now(good: Folder, when: str, seconds: int) -> None:
    before = time.time()
    assert good.run("keys", "create", "clerk", "--expires", when).code == 0
    assert before + seconds <= good.run("keys", "list", "--json").json[0]["expires"] <= time.time() + seconds


@pytest.mark.parametrize("agent", ["clark", "team-b/*", "[a-z]*", "CLERK"])
def test_a_key_for_nobody_is_not_made(good: Folder, agent: str) -> None:
    done = good.run("keys", "create", agent)
    assert (done.code, done.out) == (1, "")
    assert "known: clerk, team-a/scout" in done.err


def test_keys_can_be_revoked_while_another_file_is_wrong(good: Folder) -> None:
    good.run("keys", "create", "clerk")
    good.write("AGENTS.md", "---\nname: [\n---\n")
    assert good.run("keys", "create", "clerk").code == 1
    assert good.run("keys", "list").code == 0
    assert good.run("keys", "revoke", "clerk").out == "revoked 1 key\n"


def test_revoking_by_id_or_agent_counts(good: Folder) -> None:
    keys = [good.run("keys", "create", "clerk").out.strip() for _ in range(3)]
    assert good.run("keys", "revoke", hash_key(keys[0])[:8]).out == "revoked 1 key\n"
    assert good.run("keys", "revoke", "clerk").out == "revoked 2 keys\n"
    done = good.run("keys", "revoke", "clerk")
    assert (done.code, done.out) == (1, "")


def test_memory_keeps_no_keys_and_says_what_to_do(good: Folder) -> None:
    good.write("fleetgate.yaml", CONFIG.replace("sqlite:fleetgate.db", '"memory:"'))
    done = good.run("keys", "create", "clerk")
    assert done.code == 1
    assert "use store: sqlite:PATH" in done.err


BODY = {"model": "gpt-4o-mini", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}


def test_a_running_server_learns_of_keys_within_a_second() -> None:
    with Simulator() as sim, Proxy(sim) as proxy:

        def status(key: str, **headers: str) -> int:
            return post(proxy.url + "/v1/chat/completions", BODY, {"authorization": f"Bearer {key}", **headers}).status

        def until(key: str, wanted: int) -> None:
            began = time.monotonic()
            while status(key) != wanted:
                assert time.monotonic() - began < 5
            print(f"{(time.monotonic() - began) * 1000:6.0f} ms until {wanted}")

        key = proxy.command("keys", "create", "tester").stdout.strip()
        until(key, 200)
        assert proxy.command("keys", "revoke", "tester").stdout == "revoked 1 key\n"
        until(key, 401)
        reply = post(proxy.url + "/v1/chat/completions", BODY, {"authorization": f"Bearer {key}"})
        assert json.loads(reply.body)["fleetgate"]["reason"] == "unauthenticated"

        fleet = proxy.command("keys", "create", "test*").stdout.strip()
        asked = {"x-fleetgate-agent": "tester"}
        began = time.monotonic()
        while status(fleet, **asked) != 200:
            assert time.monotonic() - began < 5
        assert status(fleet, **{"x-fleetgate-agent": "other"}) == 403
        assert key not in proxy.log()

        short = proxy.command("keys", "create", "tester", "--expires", "3s").stdout.strip()
        until(short, 200)
        until(short, 401)
