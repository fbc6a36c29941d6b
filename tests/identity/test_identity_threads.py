"""Ids that passed here lead a later call back to its session."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.identity.sessions import session_of
from proxy.identity.threads import UNKNOWN, Known, Threads, tool_id
from proxy.wire.call import Call, Message, ToolCall, ToolResult

NOON = 1_800_000_000.0
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


def results(*ids: str, after: tuple[Message, ...] = ()) -> Call:
    first = Message(b"u", "user", ("summarised",))
    asked = Message(b"a", "assistant", (), tool_calls=tuple(ToolCall(i, "t", "{}", b"") for i in ids))
    found = Message(b"t", "tool", (), tool_results=tuple(ToolResult(i, b"") for i in ids))
    return Call("chat", "m", b"", messages=(first, asked, found, *after))


def of(call: Call, threads: Threads, headers: Mapping[str, str] | None = None, agent: str = "a") -> tuple[str, str]:
    return session_of(headers or {}, call, agent, NOON, threads=threads)


@pytest.mark.parametrize("sent", ["call_abcdefgh12", "callabcdefgh12", "call-abcdefgh12"])
def test_a_result_belongs_where_its_call_was_issued_even_when_a_client_strips_its_id(sent: str) -> None:
    threads = Threads()
    threads.keep("a", tool_id("call_abcdefgh12"), Known("a/s1"))
    assert of(results(sent), threads) == ("a/s1", "tool_call_id")
    assert of(results(sent), threads, agent="b")[1] == "derived"
    assert of(results(sent), threads, {"x-fleetgate-session": "mine"}) == ("a/mine", "x-fleetgate-session")
    asked_more = results(sent, after=(Message(b"u2", "user", ("and?",)),))
    assert of(asked_more, threads) == ("a/s1", "tool_call_id")
    answered = results(sent, after=(Message(b"a2", "assistant", ("done",)),))
    assert of(answered, threads)[1] == "derived"


@pytest.mark.parametrize("id", ["", "call_1", "0", "tool_0_1"])
def test_an_id_that_many_may_have_says_nothing(id: str) -> None:
    assert tool_id(id) == ""
    assert of(results(id), Threads())[1] == "derived"


@pytest.mark.parametrize("name", ["previous_response_id", "conversation"])
def test_a_kept_history_goes_on(name: str) -> None:
    threads = Threads()
    threads.keep("a", "resp_1", Known("a/s1", 900))
    call = Call("chat", "m", b"", hints={name: "resp_1"}, thread="resp_1")
    assert of(call, threads) == ("a/s1", name)
    lost = of(call, Threads())
    assert lost[1] == name
    assert lost == of(Call("chat", "m", b"", hints={name: "resp_1"}), Threads())
    assert lost[0].startswith("a/")


def test_a_trace_is_a_session_but_not_codex_s_and_not_a_broken_one() -> None:
    threads = Threads()
    call = Call("chat", "m", b"", messages=(Message(b"u", "user", ("hi",)),))
    assert of(call, threads, {"traceparent": PARENT}) == (f"a/{TRACE}", "traceparent")
    for odd in ("00-1-2-01", f"00-{'0' * 32}-00f067aa0ba902b7-01", "", PARENT.upper()):
        assert of(call, threads, {"traceparent": odd})[1] == "derived"
    assert of(call, threads, {"traceparent": PARENT, "user-agent": "codex_exec/0.169.0"})[1] == "derived"
    assert of(call, threads, {"traceparent": PARENT, "originator": "codex_vscode"})[1] == "derived"


@pytest.mark.parametrize(
    ("value", "session"),
    [
        ('{"session_id":"s-1","thread_id":"t-1","turn_id":"u"}', "a/s-1"),
        ('{"thread_id":"t-1","sandbox":"none"}', "a/t-1"),
        ('{"session_id":7}', ""),
        ("{broken", ""),
        ("[" * 5000, ""),
    ],
)
def test_codex_names_its_session_in_the_metadata_of_the_turn(value: str, session: str) -> None:
    call = Call("chat", "m", b"", messages=(Message(b"u", "user", ("hi",)),))
    found = of(call, Threads(), {"x-codex-turn-metadata": value})
    assert found == (session, "x-codex-turn-metadata") if session else found[1] == "derived"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 30)), max_size=120), st.integers(2, 12))
def test_memory_is_bounded_and_what_was_just_kept_is_there(kept: list[tuple[str, int]], most: int) -> None:
    threads = Threads(most)
    for agent, n in kept:
        threads.keep(agent, str(n), Known(f"{agent}/{n}", n))
        assert threads.find(agent, str(n)) == Known(f"{agent}/{n}", n)
        assert len(threads._young) + len(threads._old) <= most
    assert threads.find("d", "0") is None
    assert Known("x").tokens == UNKNOWN
