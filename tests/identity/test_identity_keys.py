"""Keys prove exactly what their entry says, and nothing that is not a key passes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from proxy.config import ConfigErrors
from proxy.identity import keys
from proxy.identity.keys import KeyEntry, KeyRing, Presented, load_keys_file, new_key, presented_key
from proxy.model import Nanos, Principal

HASH = "ab" * 32


def entry(key: str, agent: str = "a", expires: float | None = None) -> KeyEntry:
    return KeyEntry(agent, hashlib.sha256(key.encode()).hexdigest(), expires, 1.0)


@pytest.mark.parametrize(("agent", "start"), [("a", "fg-a-"), ("team-a/*", "fg-team-a-"), ("*", "fg-fleet-"), ("a/b_c.d", "fg-a-b-c-d-")])
def test_a_new_key_names_its_agent_and_is_random(agent: str, start: str) -> None:
    key, other = new_key(agent), new_key(agent)
    assert key.startswith(start)
    assert len(key) == len(start) + 32
    assert key[len(start) :].isalnum()
    assert key != other
    assert KeyRing([entry(key, agent)]).find(key, 0.0) == Principal(agent, keys.hash_key(key)[:8])


def test_a_key_holds_until_it_expires() -> None:
    ring = KeyRing([entry("fg-a-1", expires=100.0), entry("fg-b-2", "b")])
    assert ring.find("fg-a-1", 99.9) is not None
    assert ring.find("fg-a-1", 100.0) is None
    assert ring.find("fg-b-2", 1e12) == Principal("b", entry("fg-b-2").id)
    assert len(ring) == 2


@pytest.mark.parametrize("presented", ["", "fg-a-", "fg-a-1 ", "FG-A-1", "fg-a-1" * 100, "fg-ä-1", entry("fg-a-1").sha256, "\ud800"])
def test_what_is_not_the_key_is_nobody(presented: str) -> None:
    assert KeyRing([entry("fg-a-1"), entry("fg-ä-1")]).find(presented, 0.0) is None


@given(st.text(max_size=300))
def test_no_text_breaks_the_ring(text: str) -> None:
    assert KeyRing([entry("fg-a-1")]).find(text, 0.0) is None


@pytest.mark.parametrize(
    ("headers", "query", "expected"),
    [
        ({}, "", None),
        ({"Authorization": "Bearer k"}, "", "k"),
        ({"authorization": "bEARER  k "}, "", "k"),
        ({"Authorization": "Basic k"}, "", None),
        ({"Authorization": "Bearer "}, "", None),
        ({"X-Api-Key": "k"}, "", "k"),
        ({"x-goog-api-key": "k"}, "", "k"),
        ({"api-key": "k"}, "", "k"),
        ({}, "alt=sse&key=k", "k"),
        ({}, "key=a%2Bb", "a+b"),
        ({}, "monkey=k", None),
        ({}, "key=", None),
        ({"x-goog-api-key": "k", "Authorization": "Bearer k"}, "key=k", "k"),
        ({"x-goog-api-key": "k", "Authorization": "Basic z"}, "", "k"),
        ({"x-api-key": "k", "Authorization": "Bearer z"}, "", Presented.CONFLICT),
        ({"x-api-key": "k", "api-key": "z"}, "", Presented.CONFLICT),
        ({"x-api-key": "k"}, "key=z", Presented.CONFLICT),
        ({}, "key=k&key=z", Presented.CONFLICT),
        ({"x-api-key": "  "}, "key=z", "z"),
    ],
)
def test_where_a_key_is_presented(headers: Mapping[str, str], query: str, expected: str | Presented | None) -> None:
    assert presented_key(CIMultiDict(headers), query) == expected


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([("Authorization", "Bearer k"), ("authorization", "Bearer z")], Presented.CONFLICT),
        ([("Authorization", "Basic y"), ("authorization", "Bearer k")], "k"),
        ([("x-api-key", "k"), ("X-Api-Key", "k"), ("accept", "z")], "k"),
        ([("api-key", "k"), ("API-KEY", "z")], Presented.CONFLICT),
    ],
)
def test_a_carrier_that_is_there_twice_counts_twice(pairs: list[tuple[str, str]], expected: str | Presented) -> None:
    assert presented_key(CIMultiDict(pairs), "") == expected


def load(tmp_path: Path, text: str) -> list[KeyEntry]:
    path = tmp_path / "keys.yaml"
    path.write_text(text)
    return load_keys_file(path, "keys.yaml")


def test_the_keys_file(tmp_path: Path) -> None:
    text = f"""keys:
  - {{agent: a, sha256: {HASH}}}
  - {{agent: "team/*", sha256: {"AB1" * 21}A, expires: 2027-01-31}}
  - {{agent: b, sha256: {"c" * 64}, expires: 2027-01-31T12:00:00Z}}
  - {{agent: b, sha256: {"d" * 64}, expires: 2027-01-31 12:00:00+02:00}}
"""
    found = load(tmp_path, text)
    assert [(e.agent, e.expires) for e in found] == [("a", None), ("team/*", 1801353600.0), ("b", 1801396800.0), ("b", 1801389600.0)]
    assert found[0].id == "abababab"
    assert found[1].sha256.islower()
    assert load(tmp_path, "keys: []") == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("keys: {}", "keys.yaml:1: no list of keys"),
        ("[]", "keys.yaml:1: no list of keys"),
        ("{", "keys.yaml:"),
        ("keys: []\nkesy: []", "keys.yaml:2: kesy: unknown key"),
        (f"keys:\n - {{agnet: a, sha256: {HASH}}}", "keys.yaml:2: keys[0].agnet: unknown key (did you mean agent?)"),
        (f"keys:\n - {{agent: 'A B', sha256: {HASH}}}", "keys.yaml:2: keys[0].agent: 'A B'; expected an agent's name"),
        ("keys:\n - {agent: a, sha256: abc}", "keys.yaml:2: keys[0].sha256: 'abc'; expected 64 hex characters"),
        (f"keys:\n - {{agent: a, sha256: {HASH}, expires: soon}}", "keys.yaml:2: keys[0].expires: 'soon'; expected a date"),
        (f"keys:\n - {{agent: a, sha256: {HASH}}}\n - {{agent: b, sha256: {HASH}}}", "keys.yaml:3: keys[1].sha256: this key stands here"),
    ],
)
def test_errors_of_the_keys_file(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        load(tmp_path, text)
    assert str(caught.value).startswith(words)


ID = "abababab"
"""The id of the key with the hash `HASH`."""


def test_the_run_and_the_amount_of_a_key_of_the_file(tmp_path: Path) -> None:
    text = f"""keys:
  - {{agent: a, sha256: {HASH}, run: nightly, usd: 2.5}}
  - {{agent: b, sha256: {"c" * 64}, run: {ID}/nightly, usd: 0.1}}
  - {{agent: b, sha256: {"d" * 64}, run: a/some-session}}
"""
    found = load(tmp_path, text)
    assert [(e.run, e.usd, e.parent) for e in found] == [
        (f"{ID}/nightly", 2_500_000_000, ""),
        (f"{ID}/nightly", 100_000_000, ID),
        ("a/some-session", None, ""),
    ]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("run: 'a b'", "keys[0].run: 'a b'; expected a run"),
        ("run: a/b/", "keys[0].run: 'a/b/'; expected a run"),
        ("run: 'A:x/b'", "keys[0].run: 'A:x/b'; expected a run"),
        ("run: [a]", "keys[0].run: a list; expected a run"),
        ("usd: -1", "keys[0].usd: -1; expected a number from 0"),
        ("usd: .nan", "keys[0].usd: .nan is not a number"),
        ("usd: 1.0e+308", "keys[0].usd: 1e+308; expected a number from 0"),
        ("usd: '1'", "keys[0].usd: '1'; expected a number from 0"),
    ],
)
def test_a_run_or_an_amount_that_is_none(tmp_path: Path, more: str, words: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        load(tmp_path, f"keys:\n  - {{agent: a, sha256: {HASH}, {more}}}")
    assert words in str(caught.value)


def test_what_a_key_is_bound_to_is_proved_with_it() -> None:
    bound = KeyEntry("a", keys.hash_key("fg-a-1"), run="nightly", usd=Nanos(7))
    assert KeyRing([bound]).find("fg-a-1", 0.0) == Principal("a", bound.id, f"{bound.id}/nightly", Nanos(7))


def child(key: str, parent: KeyEntry, expires: float | None = None) -> KeyEntry:
    return KeyEntry("b", keys.hash_key(key), expires, run=f"{parent.id}/r")


def test_a_child_key_ends_with_its_parent() -> None:
    parent = entry("fg-a-1", expires=100.0)
    one, other = child("fg-b-1", parent), child("fg-b-2", parent, 50.0)
    grandchild = child("fg-c-1", one)
    ring = KeyRing([one, other, grandchild, parent])
    assert [ring.find("fg-b-1", now) is not None for now in (0.0, 99.0, 100.0)] == [True, True, False]
    assert [ring.find("fg-b-2", now) is not None for now in (0.0, 50.0)] == [True, False]
    assert [ring.find("fg-c-1", now) is not None for now in (0.0, 99.0, 100.0)] == [True, True, False]
    assert [ring.holds(one, now) for now in (0.0, 100.0)] == [True, False]
    orphans = KeyRing([one, other, grandchild])
    assert [orphans.find(key, 0.0) for key in ("fg-b-1", "fg-b-2", "fg-c-1")] == [None] * 3
    assert not orphans.holds(parent, 0.0)


def test_keys_that_are_each_others_parents_do_not_hold() -> None:
    one, other = keys.hash_key("fg-a-1"), keys.hash_key("fg-b-1")
    ring = KeyRing([KeyEntry("a", one, run=f"{other[:8]}/r"), KeyEntry("b", other, run=f"{one[:8]}/r")])
    assert (ring.find("fg-a-1", 0.0), ring.find("fg-b-1", 0.0)) == (None, None)


def test_a_key_as_plain_data_and_back() -> None:
    bound = KeyEntry("a", HASH, 9.0, 1.0, run="nightly", usd=Nanos(7))
    assert bound.to_dict() == {
        "agent": "a",
        "sha256": HASH,
        "expires": 9.0,
        "created": 1.0,
        "id": ID,
        "run": f"{ID}/nightly",
        "usd": 7,
    }
    for one in (bound, entry("fg-a-1")):
        assert KeyEntry.from_dict(json.loads(json.dumps(one.to_dict()))) == one
    assert KeyEntry.from_dict({"agent": "a", "sha256": HASH, "colour": "red"}) == KeyEntry("a", HASH)
    with pytest.raises(KeyError):
        KeyEntry.from_dict({"agent": "a"})
