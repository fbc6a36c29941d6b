"""What policies read, and decisions remembered on exactly that: the same with and without, whatever the input."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rego_cases import REQUEST, load, proven

from proxy.policy.cache import Cache, Reads, pick
from proxy.policy.embedded import Embedded

READ = {
    "a path": ('deny contains "x" if input.agent.id == "a"\n', [("agent", "id")], True),
    "brackets": ('deny contains "x" if input["agent"]["id"] == "a"\n', [("agent", "id")], True),
    "an index": ('deny contains "x" if input.tools[0].name == "a"\n', [("tools",)], True),
    "a variable": ('deny contains "x" if {\n\tk := input.protocol\n\tinput.agent[k].y\n}\n', [("agent",), ("protocol",)], True),
    "some in": ('deny contains "x" if {\n\tsome t in input.tools\n\tt.name == "a"\n}\n', [("tools",)], True),
    "an alias": ('import input.agent as who\ndeny contains "x" if who.team == "a"\n', [("agent", "team")], True),
    "an import": ('import input.agent\ndeny contains "x" if agent.team == "a"\n', [("agent", "team")], True),
    "handed on": ('f(x) := x.stream\ndeny contains "x" if f(input)\n', [()], False),
    "walked": ('deny contains "x" if {\n\twalk(input, [p, v])\n\tv == "a"\n}\n', [()], False),
    "the whole by a variable": ('deny contains "x" if {\n\tsome k in {"stream"}\n\tinput[k]\n}\n', [()], False),
    "parent and child": ('deny contains "x" if {\n\tinput.agent\n\tinput.agent.id\n}\n', [("agent",)], True),
    "in an index": ('deny contains "x" if {"a": 1}[input.protocol] == 1\n', [("protocol",)], True),
    "in a head": ("deny contains input.agent.id if input.stream\n", [("agent", "id"), ("stream",)], True),
    "the clock": ('deny contains "x" if {\n\tinput.stream\n\ttime.now_ns() > 1\n}\n', [("stream",)], False),
    "chance": ('deny contains "x" if {\n\tinput.stream\n\trand.intn("x", 2) == 1\n}\n', [("stream",)], False),
    "the time of day": ('deny contains "x" if input.time.hour > 22\n', [("time", "hour")], False),
    "balances": ('deny contains "x" if input.budgets[_].left < 1\n', [("budgets",)], False),
    "counters": ('deny contains "x" if input.counters.turns > 9\n', [("counters", "turns")], False),
    "nothing": ('deny contains "x" if 1 == 2\n', [], True),
}


@pytest.mark.parametrize(("rules", "paths", "fixed"), READ.values(), ids=READ)
def test_what_is_read(tmp_path: Path, rules: str, paths: list[tuple[str, ...]], fixed: bool) -> None:
    assert proven(tmp_path, REQUEST + rules).reads["request"] == Reads(tuple(sorted(paths)), fixed)


def test_a_library_counts_and_another_hook_does_not(tmp_path: Path) -> None:
    files = {
        "a.rego": REQUEST + 'import data.lib\ndeny contains "x" if lib.f(1)\n',
        "lib.rego": "package lib\nf(x) if input.agent.id == x\n",
        "b.rego": 'package fleetgate.tool_call\ndeny contains "x" if input.tool_call.name == "a"\n',
    }
    reads = proven(tmp_path, files).reads
    assert reads["request"].paths == (("agent", "id"),)
    assert reads["tool_call"].paths == (("agent", "id"), ("tool_call", "name"))
    files["a.rego"] = REQUEST + 'deny contains "x" if count(data.fleetgate.tool_call.deny) > 0\n'
    assert ("tool_call", "name") in proven(tmp_path, files).reads["request"].paths


def test_only_what_is_read_is_built() -> None:
    reads = Reads((("agent", "id"), ("request",)), fixed=True)
    assert reads.covers("agent")
    assert reads.covers("request", "messages")
    assert not reads.covers("tools")
    assert Reads(((),), fixed=False).covers("anything")
    assert Reads(((),), fixed=False).everything


def test_pick_tells_null_from_nothing() -> None:
    assert pick({"a": {"b": None}}, ("a", "b")) == [None]
    assert pick({"a": {}}, ("a", "b")) == pick({"a": 1}, ("a", "b")) == []


def test_a_decision_is_remembered_on_its_paths_alone() -> None:
    cache = Cache({"request": Reads((("a",),), fixed=True)})
    asked = []

    def evaluate() -> int:
        asked.append(1)
        return len(asked)

    assert [cache.ask("request", {"a": 1, "b": n}, evaluate) for n in range(3)] == [1, 1, 1]
    assert cache.ask("request", {"a": 2}, evaluate) == 2
    assert cache.ask("request", {}, evaluate) == 3
    assert cache.ask("request", {"a": "x" * 20_000}, evaluate) == 4
    assert cache.ask("request", {"a": "x" * 20_000}, evaluate) == 5
    assert cache.hits == 2


def test_memory_is_bounded() -> None:
    cache = Cache({"request": Reads((("a",),), fixed=True)}, most=5_000)
    for n in range(1000):
        cache.ask("request", {"a": n}, lambda n=n: n)  # type: ignore[misc]
    assert len(cache._kept) < 30
    assert cache.ask("request", {"a": 3}, lambda: 3) == 3


def test_what_is_not_fixed_is_asked_each_time() -> None:
    cache = Cache({"request": Reads((("time",),), fixed=False)})
    answers = iter(range(5))
    assert [cache.ask("request", {"time": 1}, lambda: next(answers)) for _ in range(3)] == [0, 1, 2]


SMALL = st.sampled_from(["a", "b", None, 1, True])
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "agent": st.dictionaries(st.sampled_from(["id", "team", "data"]), SMALL),
        "stream": SMALL,
        "protocol": SMALL,
        "tools": st.lists(st.dictionaries(st.sampled_from(["name", "kind"]), SMALL), max_size=3),
    },
)
RULES = [rules for rules, _, fixed in READ.values() if fixed]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rules=st.sampled_from(RULES), documents=st.lists(DOCUMENTS, min_size=1, max_size=12))
def test_the_same_decision_with_and_without(tmp_path: Path, rules: str, documents: list[dict[str, Any]]) -> None:
    policies = load(tmp_path, REQUEST + rules)
    with_cache, fresh = Embedded(policies), Embedded(policies)
    for document in documents:
        assert asyncio.run(with_cache.ask("request", document)) == fresh._ask("request", document)
