"""What is kept of a text at each level: no secret at any, no end of a secret, and no more than is asked for."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.guards.catalog import text_guards
from proxy.guards.logged import AHEAD, MOST_STRINGS, TOO_FINE, hidden, logged, logged_json

KEY = "AKIA" + "Z7QK4XW2M5RT6BNV"
MAIL = "jane.doe@corp-mail.com"
PEM = "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEpAIBAAKCAQEAx7q9\n" * 500 + "-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize("level", ["none", "off", "", "else"])
def test_nothing_is_kept_unless_it_is_asked_for(level: str) -> None:
    assert logged("text", level, 100) is None
    assert logged_json('{"a": 1}', level, 100) is None


def test_a_hash_is_of_the_whole_text() -> None:
    text = f"{KEY} of {MAIL}"
    assert logged(text, "hash", 3) == logged_json(text, "hash", 3) == f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    assert logged("\ud800", "hash", 3) == f"sha256:{hashlib.sha256(b'?').hexdigest()}"


@pytest.mark.parametrize("level", ["redacted", "full"])
def test_secrets_are_kept_at_no_level_and_personal_data_at_one(level: str) -> None:
    found = logged(f"a {KEY} of {MAIL} b", level, 1000)
    assert found is not None
    assert KEY not in found
    assert (MAIL in found) == (level == "full")
    assert (found[:3], found[-2:]) == ("a [", " b")


@pytest.mark.parametrize("most", range(1, 60))
def test_no_part_of_a_secret_stands_at_the_end(most: int) -> None:
    found = logged("x" * 20 + " " + KEY + " " + MAIL + " tail", "redacted", most)
    assert found is not None
    assert len(found) <= most + len("[AWS_KEY]")
    assert KEY[:6] not in found
    assert "jane" not in found


def test_what_moves_up_from_behind_was_looked_at_whole() -> None:
    """A long secret that is hidden draws text after it into what is kept; a second one at the end of what is seen must not come along."""
    second = "tail " + KEY
    for gap in range(AHEAD - 40, AHEAD + 40):
        found = hidden(PEM + " " + "y" * max(0, gap - len(PEM)) + second, text_guards()[:1], 50)
        assert "AKIA" not in found
        assert "MIIE" not in found


@pytest.mark.parametrize("most", [100, 50_000, 200_000])
def test_what_may_go_on_beyond_what_was_found_takes_the_rest_with_it(most: int) -> None:
    key = "a -----BEGIN RSA PRIVATE KEY-----\n" + "MIIEpAIBAAKCAQEAx7q9\n" * 5000
    assert logged(f"{key} and more", "full", most) == "a [PRIVATE_KEY]"
    assert KEY[:8] not in str(logged((KEY + " ") * 5000 + "tail", "full", most))


def test_of_arguments_that_are_cut_too_fine_nothing_is_kept() -> None:
    some = json.dumps(["a\n"] * MOST_STRINGS)
    assert logged_json(some, "full", 100_000) == some
    assert logged_json(json.dumps(["a\n"] * (MOST_STRINGS + 1)), "full", 100_000) == TOO_FINE
    plain = json.dumps(["a"] * (MOST_STRINGS + 1))
    assert logged_json(plain, "full", 100_000) == plain


def test_arguments_that_are_cut_keep_nothing_that_was_not_seen_whole() -> None:
    for gap in range(AHEAD - 60, AHEAD + 60, 7):
        inner = PEM[: AHEAD - 200]
        text = json.dumps(
            {"pem": f"{inner}-----END RSA PRIVATE KEY-----", "fill": "y" * max(0, gap - AHEAD + 100), "key": KEY, "more": "z" * 20_000}
        )
        found = logged_json(text, "full", 60)
        assert found is not None
        assert "AKIA" not in found
        assert "MIIE" not in found


def test_arguments_are_read_as_what_they_say() -> None:
    escaped = json.dumps({"to": MAIL, "key": KEY}).replace("@", "\\u0040").replace("AKIA", "\\u0041KIA")
    found = logged_json(escaped, "redacted", 1000)
    assert found is not None
    assert set(json.loads(found)) == {"to", "key"}
    assert "jane" not in found
    assert KEY[4:] not in found
    assert logged_json('{"a": "b"}', "full", 1000) == '{"a": "b"}'
    assert logged_json('{"a": "b', "full", 4) == '{"a"'


@given(st.text(max_size=300), st.integers(0, 200), st.sampled_from(["redacted", "full"]))
def test_any_text_is_cut_to_what_is_asked_for(text: str, most: int, level: str) -> None:
    found = logged(text, level, most)
    assert found is not None
    if "[" not in found:
        assert found == text[:most]
    assert isinstance(logged_json(text, level, most), str)
