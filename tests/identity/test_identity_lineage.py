"""Which run a call draws from, who its parent is and how deep it stands: within one key, never beyond."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from proxy.engine.exchange import Exchange
from proxy.engine.ports import Client
from proxy.identity.headers import present
from proxy.identity.lineage import MAX_DEPTH, Known, Lineage, Node, Place, place_of
from proxy.identity.sessions import MAX_VALUE, session_of
from proxy.model import Principal
from proxy.wire.call import Call, Message

NOON = 1_800_000_000.0
KEY = "0123abcd"
ONE = Principal("a", KEY)
OTHER = Principal("a", "ffff0000")
FLEET = Principal("team/*", KEY)
OPEN = Principal("*", "open")
CHILD = Principal("b", "cccc0000", f"{KEY}/nightly")
CLAUDE, CLAUDE_SUB, CLAUDE_PARENT = "X-Claude-Code-Session-Id", "x-claude-code-agent-id", "x-claude-code-parent-agent-id"
UUID = "0b9f3c1e-1111-4222-8333-123456789abc"


class Clock:
    def now(self) -> float:
        return NOON

    def ns(self) -> int:
        return 0


def place(headers: Mapping[str, str], lineage: Lineage | None = None, principal: Principal = ONE, agent: str = "a") -> Place:
    """Place one call, its session being what the headers say."""
    ex = Exchange(cast(Any, None), Clock(), cast(Client, None), "openai")
    ex.headers, ex.principal, ex.agent = CIMultiDict(headers), principal, agent
    ex.call = Call("chat", "m", b"", messages=(Message(b"hi", "user", ("hi",)),))
    found = present(ex.headers)
    ex.session, ex.session_source = session_of(ex.headers, ex.call, agent, NOON, found)
    return place_of(ex, found, lineage or Lineage())


def ours(session: str, parent: str = "", run: str = "") -> dict[str, str]:
    named = {"x-fleetgate-session": session, "x-fleetgate-parent": parent, "x-fleetgate-run": run}
    return {name: value for name, value in named.items() if value}


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (ours("s"), ("a/s", "", 0)),
        (ours("s", run="r1"), (f"{KEY}/r1", "", 0)),
        (ours("s", run=f"{KEY}/r1"), (f"{KEY}/r1", "", 0)),
        (ours("s", run=" r 1 "), (f"{KEY}/r 1", "", 0)),
        (ours("s", "p1", "r1"), (f"{KEY}/r1", "p1", 1)),
        (ours("s", "p1"), ("a/p1", "p1", 1)),
        (ours("s", "a/p1"), ("a/p1", "a/p1", 1)),
        (ours("s", "s"), ("a/s", "s", 1)),
        ({"x-fleetgate-run": " ", "x-fleetgate-parent": " ", **ours("s")}, ("a/s", "", 0)),
        ({CLAUDE: UUID, CLAUDE_SUB: "g1"}, (f"a/{UUID}", UUID, 1)),
        ({CLAUDE: UUID, CLAUDE_SUB: "g2", CLAUDE_PARENT: "g1"}, (f"a/{UUID}", "g1", 2)),
        ({CLAUDE: UUID, CLAUDE_SUB: " "}, (f"a/{UUID}", "", 0)),
        ({CLAUDE: UUID, CLAUDE_PARENT: "g1"}, (f"a/{UUID}", "g1", 2)),
        ({"session_id": "t2", "x-codex-parent-thread-id": "t1", "x-openai-subagent": "collab_spawn"}, ("a/t1", "t1", 1)),
        ({"session-id": "s", "thread-id": "s"}, ("a/s", "", 0)),
        ({"session-id": "s", "thread-id": "t2", "x-codex-parent-thread-id": "s"}, ("a/s", "s", 1)),
        ({"session-id": "s", "thread-id": "t3", "x-codex-parent-thread-id": "t2"}, ("a/s", "t2", 2)),
        ({"session-id": "t2", "thread-id": "t2", "x-codex-parent-thread-id": "t1"}, ("a/t1", "t1", 1)),
        ({"session-id": "s", "thread-id": "s", "x-openai-subagent": "review"}, ("a/s", "s", 1)),
        ({"session-id": "s", "thread-id": "s", "x-openai-subagent": "compact"}, ("a/s", "s", 0)),
        ({"session-id": "s", "x-openai-subagent": "memory_consolidation"}, ("a/s", "s", 0)),
        ({**ours("s", "p1"), "x-codex-parent-thread-id": "p3"}, ("a/p1", "p1", 1)),
    ],
)
def test_where_a_call_stands(headers: Mapping[str, str], expected: tuple[str, str, int]) -> None:
    assert place(headers) == expected


def test_a_named_run_is_the_callers_own() -> None:
    seen = {place(ours("s", run="r"), principal=who).run for who in (ONE, OTHER, OPEN)}
    assert seen == {f"{KEY}/r", "ffff0000/r", "open:a/r"}
    assert place(ours("s", run="r"), principal=OPEN, agent="b").run == "open:b/r"


@pytest.mark.parametrize("forged", [f"{KEY}/r", "b/their-session", f"{KEY}/r/", f"//{KEY}/r", "open:a/r", f"ffff0000/{KEY}/r"])
def test_no_header_reaches_another_keys_run(forged: str) -> None:
    run = place(ours("s", run=forged), principal=OTHER).run
    assert run.startswith("ffff0000/")
    assert run.count("/") == 1
    parent = place(ours("s", forged), principal=OTHER).run
    assert parent.startswith("a/")
    assert parent.count("/") == 1


def test_what_one_key_named_is_nothing_to_another() -> None:
    lineage = Lineage()
    place(ours("p", run="r"), lineage)
    assert place(ours("s", "p"), lineage).run == f"{KEY}/r"
    assert place(ours("s", "p"), lineage, OTHER).run == "a/p"


def test_sub_agents_of_sub_agents_draw_from_the_first_ones_run() -> None:
    lineage = Lineage()
    assert place(ours("s1"), lineage) == ("a/s1", "", 0)
    assert place(ours("s2", "s1"), lineage) == ("a/s1", "s1", 1)
    assert place(ours("s3", "s2"), lineage) == ("a/s1", "s2", 2)
    assert place(ours("s4", "s3"), lineage) == ("a/s1", "s3", 3)
    assert place(ours("s4", "s3"), lineage) == ("a/s1", "s3", 3), "the same call again is no deeper"


def test_older_codex_has_a_session_for_each_thread() -> None:
    lineage = Lineage()
    spawn = {"x-openai-subagent": "collab_spawn"}
    assert place({"session_id": "t2", "x-codex-parent-thread-id": "t1", **spawn}, lineage) == ("a/t1", "t1", 1)
    assert place({"session_id": "t3", "x-codex-parent-thread-id": "t2", **spawn}, lineage) == ("a/t1", "t2", 2)


def test_nested_agents_of_one_session_are_told_apart() -> None:
    lineage = Lineage()
    for n in range(1, 5):
        more = {CLAUDE_PARENT: f"g{n - 1}"} if n > 1 else {}
        assert place({CLAUDE: UUID, CLAUDE_SUB: f"g{n}", **more}, lineage).depth == n
    for n in range(2, 5):
        headers = {"session-id": "s", "thread-id": f"t{n}", "x-codex-parent-thread-id": f"t{n - 1}" if n > 2 else "s"}
        assert place(headers, lineage) == ("a/s", headers["x-codex-parent-thread-id"], n - 1)


def test_a_run_that_the_first_agent_named_is_that_of_the_others() -> None:
    lineage = Lineage()
    assert place({CLAUDE: UUID, "x-fleetgate-run": "r"}, lineage).run == f"{KEY}/r"
    assert place({CLAUDE: UUID, CLAUDE_SUB: "g1"}, lineage).run == f"{KEY}/r"
    assert place({CLAUDE: UUID, CLAUDE_SUB: "g1", "x-fleetgate-run": "q"}, lineage).run == f"{KEY}/q"


def test_a_fleet_key_reaches_the_sessions_of_its_own_agents_alone() -> None:
    for agent, reached in (("team/b", True), ("c", False), ("team", False), ("Team/b", False), ("team/" + "b" * 60, False)):
        run = place(ours("s", f"{agent}/p"), principal=FLEET, agent="team/a").run
        assert (run == f"{agent}/p") is reached, run
        assert run.startswith("team/")
    assert place(ours("s", "c/p"), principal=OPEN, agent="a").run == "c/p"


def test_a_bound_key_stays_in_its_run_whatever_is_said() -> None:
    for headers in (ours("s"), ours("s", "p"), ours("s", run="nightly"), {CLAUDE: UUID, CLAUDE_SUB: "g"}):
        found = place(headers, principal=CHILD, agent="b")
        assert (found.run, found.depth) == (f"{KEY}/nightly", 1)
    own = Principal("b", "cccc0000", "cccc0000/mine")
    assert place(ours("s"), principal=own, agent="b") == ("cccc0000/mine", "", 0)
    assert place(ours("s"), principal=Principal("b", "cccc0000", "a/session"), agent="b") == ("a/session", "", 1)


def test_sub_agents_of_a_child_key_are_deeper() -> None:
    lineage = Lineage()
    assert [place(ours(f"s{n}", f"s{n - 1}"), lineage, CHILD, "b").depth for n in range(1, 5)] == [1, 2, 3, 4]


def test_circles_end() -> None:
    lineage = Lineage()
    for _ in range(5):
        depths = [place(ours("s1", "s2"), lineage).depth, place(ours("s2", "s1"), lineage).depth]
    assert depths == [3, 3], "the two of them, and the one who says so again"
    for n in range(3 * MAX_DEPTH):
        found = place(ours(f"t{n + 1}", f"t{n}"), lineage)
    assert found.depth == MAX_DEPTH


@given(st.text(max_size=400), st.sampled_from([ONE, OTHER, OPEN, FLEET, CHILD]))
def test_whatever_is_said_is_bounded_and_stays_with_its_key(value: str, who: Principal) -> None:
    headers = dict.fromkeys(("x-fleetgate-run", "x-fleetgate-parent", CLAUDE_SUB, "thread-id"), value)
    for names in (list(headers), list(headers)[1:], list(headers)[2:]):
        found = place({"x-fleetgate-session": "s", **{n: headers[n] for n in names}}, principal=who)
        assert (found.run + found.parent).isprintable()
        assert len(found.run) <= 2 * MAX_VALUE
        assert len(found.parent) <= MAX_VALUE
        head = found.run.rpartition("/")[0]
        assert head in (KEY, "ffff0000", "open:a", "a", "cccc0000") or who is OPEN or (who is FLEET and head.startswith("team/"))


@given(st.lists(st.integers(0, 40), max_size=150), st.integers(2, 12))
def test_memory_is_bounded_and_what_was_just_kept_is_there(kept: list[int], most: int) -> None:
    lineage = Lineage(most)
    for n in kept:
        lineage.keep(KEY, Node(f"a/{n}"), Known(f"r{n}", None))
        assert lineage.find(KEY, Node(f"a/{n}")) == Known(f"r{n}", None)
        assert len(lineage._young) + len(lineage._old) <= most
    for n in range(50):
        assert lineage.covers(f"x{n}*", f"x{n}y")
        assert len(lineage._matches) <= most


def test_a_call_that_says_nothing_is_not_remembered() -> None:
    lineage = Lineage()
    place(ours("s"), lineage)
    place({CLAUDE: UUID}, lineage)
    assert not lineage._young
