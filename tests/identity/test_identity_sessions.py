"""Sessions come from the first signal there is, belong to their agent, and are bounded."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from proxy.identity import headers, sessions
from proxy.identity.sessions import session_of
from proxy.wire.call import Call, Message

NOON = 1_800_000_000.0
UUID = "0b9f3c1e-1111-4222-8333-123456789abc"


def call(*messages: tuple[str, str], hints: Mapping[str, str] | None = None, system: str = "") -> Call:
    made = tuple(Message(text.encode(), role, (text,)) for role, text in messages)
    return Call("chat", "m", b"", hints=hints or {}, messages=made, system=(Message(b"s", "system", (system,)),) if system else ())


@pytest.mark.parametrize(
    ("headers", "hints", "expected"),
    [
        ({"X-Fleetgate-Session": "s1", "session-id": "x"}, {"prompt_cache_key": "y"}, ("a/s1", "x-fleetgate-session")),
        ({"X-Claude-Code-Session-Id": UUID}, {}, (f"a/{UUID}", "x-claude-code-session-id")),
        ({"session-id": "c1", "thread-id": "t1"}, {}, ("a/c1", "session-id")),
        ({"session_id": "c1"}, {}, ("a/c1", "session_id")),
        ({"x-opencode-session": "o"}, {}, ("a/o", "x-opencode-session")),
        ({"X-Task-ID": "t"}, {}, ("a/t", "x-task-id")),
        ({"x-acme-session-id": "t"}, {}, ("a/t", "x-acme-session-id")),
        ({"session-id": "c1"}, {"prompt_cache_key": "y"}, ("a/c1", "session-id")),
        (
            {},
            {"metadata.user_id": json.dumps({"device_id": "d", "account_uuid": "", "session_id": UUID})},
            (f"a/{UUID}", "metadata.user_id"),
        ),
        ({}, {"metadata.user_id": f"user_{'ab' * 32}_account__session_{UUID}"}, (f"a/{UUID}", "metadata.user_id")),
        ({}, {"metadata.session_id": "m", "prompt_cache_key": "y"}, ("a/m", "metadata.session_id")),
        ({}, {"prompt_cache_key": "y", "user": "bob"}, ("a/y", "prompt_cache_key")),
    ],
)
def test_the_first_signal_counts(headers: Mapping[str, str], hints: Mapping[str, str], expected: tuple[str, str]) -> None:
    assert session_of(CIMultiDict(headers), call(("user", "hi"), hints=hints), "a", NOON) == expected


@pytest.mark.parametrize(
    ("headers", "hints"),
    [
        ({"traceparent": "00-1-2-01"}, {}),
        ({"x-fleetgate-session": "  "}, {}),
        ({}, {"user": "bob"}),
        ({}, {"metadata.user_id": "bob"}),
        ({}, {"metadata.user_id": "{broken"}),
        ({}, {"metadata.user_id": '{"session_id": 7}'}),
        ({}, {"metadata.user_id": "{}"}),
    ],
)
def test_what_is_no_session_leaves_it_to_the_conversation(headers: Mapping[str, str], hints: Mapping[str, str]) -> None:
    plain = session_of({}, call(("user", "hi")), "a", NOON)
    assert plain[1] == "derived"
    assert session_of(CIMultiDict(headers), call(("user", "hi"), hints=hints), "a", NOON) == plain


def test_a_derived_session_stays_as_the_conversation_grows_and_differs_between_them() -> None:
    def of(*messages: tuple[str, str], system: str = "s", agent: str = "a", now: float = NOON) -> str:
        return session_of({}, call(*messages, system=system), agent, now)[0]

    first = of(("user", "hi"))
    assert of(("user", "hi"), ("assistant", "yo"), ("user", "more")) == first
    different = {
        first,
        of(("user", "ho")),
        of(("user", "hi"), system="t"),
        of(("user", "hi"), agent="b"),
        of(("user", "hi"), now=NOON + 86400),
        of(("developer", "d"), ("user", "hi")),
        of(("user", "x" * 5000)),
        of(("user", "x" * 5001)),
        of(),
    }
    assert len(different) == 9


@given(st.text(max_size=400))
def test_any_value_is_bounded_printable_and_stays_apart(value: str) -> None:
    session, _ = session_of({"x-fleetgate-session": value}, call(("user", "hi")), "a", NOON)
    assert session.startswith("a/")
    assert len(session) <= sessions.MAX_VALUE + 2
    assert session.isprintable()


def test_long_values_differ_when_they_differ() -> None:
    one, other = (session_of({"x-fleetgate-session": "x" * 200 + end}, call(), "a", NOON)[0] for end in "ab")
    assert one != other


def test_no_session_reaches_into_an_agent_whose_name_begins_alike() -> None:
    inner = session_of({"x-fleetgate-session": "s"}, call(), "a/b", NOON)[0]
    outer = session_of({"x-fleetgate-session": "b/s"}, call(), "a", NOON)[0]
    assert inner == "a/b/s"
    assert outer != inner
    assert outer.count("/") == 1


def test_what_header_names_mean_is_remembered_within_bounds_and_never_mixed_up() -> None:
    for n in range(3 * headers.REMEMBERED):
        assert session_of({f"x-{n}-session-id": "s"}, call(), "a", NOON) == ("a/s", f"x-{n}-session-id")
        assert len(headers._known) <= headers.REMEMBERED
    before = len(headers._known)
    headers.present({"x" * (headers.REMEMBERED_CHARS + 1): ""})
    assert len(headers._known) == before
    assert session_of({"session-id": "two", "X-Fleetgate-Session": "one"}, call(), "a", NOON)[0] == "a/one"
    assert session_of({"session-id": "two", "X-Fleetgate-Session": ""}, call(), "a", NOON)[0] == "a/two"
