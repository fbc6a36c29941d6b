"""`fleetgate keys create|list|revoke`: shown once, kept as a hash, and dead on a running server soon after it is revoked."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

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


def listed(good: Folder) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = good.run("keys", "list", "--json").json
    return found


def created(good: Folder, *arguments: str) -> str:
    """Make a key and return its id."""
    done = good.run("keys", "create", *arguments)
    assert (done.code, done.err) == (0, "")
    return hash_key(done.out.strip())[:8]


def test_a_key_may_be_bound_to_a_run_and_to_an_amount(good: Folder) -> None:
    parent = created(good, "clerk")
    ids = [
        created(good, "team-a/scout", "--run", "nightly", "--parent", parent, "--usd", "2.50"),
        created(good, "team-a/scout", "--run", f"{parent}/nightly"),
        created(good, "clerk", "--run", "own", "--usd", "0.000000001"),
        created(good, "team-a/scout", "--run", "clerk/some-session"),
        created(good, "clerk", "--usd", "7"),
    ]
    shown = {e["id"]: (e["run"], e["usd"], e["parent"]) for e in listed(good)}
    assert shown.pop(parent) == (None, None, None)
    assert [shown[i] for i in ids] == [
        (f"{parent}/nightly", "2.50", parent),
        (f"{parent}/nightly", None, parent),
        (f"{ids[2]}/own", "0.000000001", None),
        ("clerk/some-session", None, None),
        (None, "7.00", None),
    ]
    table = good.run("keys", "list").out
    assert "RUN" in table.splitlines()[0]
    assert re.search(rf"{ids[0]}  team-a/scout  {parent}/nightly +2\.50 ", table)


def test_a_key_of_a_bound_parent_shares_its_run(good: Folder) -> None:
    root = created(good, "clerk")
    parent = created(good, "clerk", "--run", "nightly", "--parent", root)
    child = created(good, "clerk", "--parent", parent)
    assert {e["id"]: e["run"] for e in listed(good)}[child] == f"{root}/nightly"
    done = good.run("keys", "create", "clerk", "--run", "other", "--parent", parent)
    assert (done.code, done.out) == (1, "")
    assert f"key {parent} is bound to run {root}/nightly itself" in done.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--run", "r", "--parent", "01234567"), "no key 01234567 holds now"),
        (("--run", "01234567/r"), "no key 01234567 holds now"),
        (("--run", "nobody/r"), "nobody is no key's id and no agent"),
        (("--parent", "PARENT"), "name the run of key"),
        (("--run", "clerk/session", "--parent", "PARENT"), "name the run of key"),
    ],
)
def test_a_run_of_nobody_is_not_bound_to(good: Folder, arguments: tuple[str, ...], words: str) -> None:
    parent = created(good, "clerk")
    done = good.run("keys", "create", "clerk", *(parent if a == "PARENT" else a for a in arguments))
    assert (done.code, done.out) == (1, "")
    assert words in done.err
    assert len(listed(good)) == 1


@pytest.mark.parametrize("amount", ["-1", "nan", "inf", "1e308", "two", ""])
def test_an_amount_that_is_none_is_wrong_usage(good: Folder, amount: str) -> None:
    done = good.run("keys", "create", "clerk", f"--usd={amount}")
    assert (done.code, done.out) == (2, "")
    assert "is not an amount of dollars" in done.err


@pytest.mark.parametrize("run", ["", "a b", "x/", "/x"])
def test_a_run_that_is_no_name_is_wrong_usage(good: Folder, run: str) -> None:
    done = good.run("keys", "create", "clerk", f"--run={run}")
    assert (done.code, done.out) == (2, "")
    assert "is not a run" in done.err


def test_a_child_of_a_key_of_a_file_and_revoking_with_the_parent(good: Folder) -> None:
    good.write("fleetgate.yaml", CONFIG + "auth: {mode: keys, keys: keys.yaml}\n")
    good.write("keys.yaml", f"keys:\n  - {{agent: clerk, sha256: {'ab' * 32}, usd: 3}}\n")
    created(good, "clerk", "--run", "r", "--parent", "abababab")
    assert [(e["run"], e["usd"]) for e in listed(good)] == [(None, "3.00"), ("abababab/r", None)]
    parent = created(good, "team-a/scout")
    for _ in range(2):
        created(good, "clerk", "--run", "r", "--parent", parent)
    assert good.run("keys", "revoke", parent).out == "revoked 3 keys\n"
    assert len(listed(good)) == 2


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
