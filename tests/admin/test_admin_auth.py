from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.admin.auth import Gate, host_name, is_loopback

TOKEN = "t0ken-é"
BEARER = ("Authorization", f"Bearer {TOKEN}")
LOCAL = ("Host", "localhost:9090")


@pytest.mark.parametrize(
    ("token", "bound", "peer", "headers", "allowed"),
    [
        # over loopback, without a token
        (None, "127.0.0.1", "127.0.0.1", [LOCAL], True),
        (TOKEN, "127.0.0.1", "127.0.0.1", [LOCAL], True),
        (None, "::1", "::1", [("Host", "[::1]:9090")], True),
        (None, "localhost", "::ffff:127.0.0.1", [("host", "127.0.0.1")], True),
        (None, "127.0.0.5", "127.0.0.5", [("Host", "127.0.0.5:9090")], True),
        # DNS rebinding
        (None, "127.0.0.1", "127.0.0.1", [("Host", "evil.example:9090")], False),
        (None, "127.0.0.1", "127.0.0.1", [("Host", "localhost.evil.example")], False),
        (None, "127.0.0.1", "127.0.0.1", [("Host", "127.0.0.1.evil.example")], False),
        (None, "127.0.0.1", "127.0.0.1", [("Host", "")], False),
        (None, "127.0.0.1", "127.0.0.1", [], False),
        (None, "127.0.0.1", "127.0.0.1", [LOCAL, ("Host", "evil.example")], False),
        (TOKEN, "127.0.0.1", "127.0.0.1", [("Host", "evil.example"), BEARER], True),
        # passed on by a proxy on this machine
        (None, "127.0.0.1", "127.0.0.1", [LOCAL, ("X-Forwarded-For", "127.0.0.1")], False),
        (None, "127.0.0.1", "127.0.0.1", [LOCAL, ("Forwarded", "for=127.0.0.1")], False),
        (TOKEN, "127.0.0.1", "127.0.0.1", [LOCAL, ("X-Forwarded-For", "9.9.9.9"), BEARER], True),
        # off loopback
        (None, "0.0.0.0", "127.0.0.1", [LOCAL], False),
        (None, "::", "::1", [LOCAL], False),
        (None, "10.0.0.1", "10.0.0.1", [("Host", "10.0.0.1")], False),
        (None, "127.0.0.1", "10.0.0.9", [LOCAL], False),
        (None, "127.0.0.1", None, [LOCAL], False),
        (None, "admin.example", "127.0.0.1", [LOCAL], False),
        ("", "0.0.0.0", "10.0.0.9", [("Authorization", "Bearer ")], False),
        (None, "0.0.0.0", "10.0.0.9", [BEARER], False),
        (TOKEN, "0.0.0.0", "10.0.0.9", [BEARER], True),
        (TOKEN, "0.0.0.0", "10.0.0.9", [("authorization", f"bearer  {TOKEN} ")], True),
        (TOKEN, "0.0.0.0", "10.0.0.9", [], False),
        (TOKEN, "0.0.0.0", "10.0.0.9", [("Authorization", f"Bearer {TOKEN}x")], False),
        (TOKEN, "0.0.0.0", "10.0.0.9", [("Authorization", f"Bearer {TOKEN[:-1]}")], False),
        (TOKEN, "0.0.0.0", "10.0.0.9", [("Authorization", "Bearer")], False),
        (TOKEN, "0.0.0.0", "10.0.0.9", [("Authorization", TOKEN)], False),
        (TOKEN, "0.0.0.0", "10.0.0.9", [("Authorization", f"Basic {TOKEN}")], False),
        (TOKEN, "0.0.0.0", "10.0.0.9", [("X-Api-Key", TOKEN)], False),
        (TOKEN, "0.0.0.0", "10.0.0.9", [("Authorization", "Bearer guess"), BEARER], False),
    ],
)
def test_who_may_read(token: str | None, bound: str, peer: str | None, headers: list[tuple[str, str]], allowed: bool) -> None:
    why_not = Gate(token, bound).why_not(peer, headers)
    assert (why_not == "") is allowed
    assert TOKEN not in why_not


@given(st.text(), st.one_of(st.none(), st.text()), st.lists(st.tuples(st.sampled_from(["host", "authorization"]), st.text()), max_size=3))
def test_nothing_raises_and_a_stranger_stays_out(bound: str, peer: str | None, headers: list[tuple[str, str]]) -> None:
    Gate("secret", bound).why_not(peer, headers)
    assert Gate("secret", "0.0.0.0").why_not(peer, [h for h in headers if "secret" not in h[1]])


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("LocalHost:9090", "localhost"),
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]:9090", "[::1]"),
        ("[::1]", "[::1]"),
        ("[::1]evil", ""),
        ("[::1", ""),
        ("localhost:evil", ""),
        ("localhost:1@evil", ""),
        ("::1", ""),
    ],
)
def test_the_name_in_a_host_header(header: str, name: str) -> None:
    assert host_name(header) == name


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("[::1]", True),
        ("::1%lo", True),
        ("::ffff:127.0.0.1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("::ffff:10.0.0.1", False),
        ("10.0.0.1", False),
        ("localhost.example", False),
        ("", False),
    ],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
