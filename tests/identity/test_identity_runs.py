"""Names of runs say whose they are."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.identity.fields import SLUG
from proxy.identity.runs import RUN, namespace, owner, parent_of, run_name, whole


@pytest.mark.parametrize(
    ("run", "found"),
    [
        ("0123abcd/nightly", "0123abcd"),
        ("0123abcd/a:b", "0123abcd"),
        ("triage/session", ""),
        ("open:triage/nightly", ""),
        ("0123ABCD/nightly", ""),
        ("0123abc/nightly", ""),
        ("team/0123abcd/session", ""),
        ("0123abcd", ""),
        ("", ""),
    ],
)
def test_whose_run_it_is(run: str, found: str) -> None:
    assert owner(run) == found
    assert parent_of(run, "ffffffff") == found
    assert parent_of(run, "0123abcd") == ""


def test_a_name_alone_is_a_run_of_the_keys_own() -> None:
    assert whole("nightly", "0123abcd") == "0123abcd/nightly"
    assert whole("ffffffff/nightly", "0123abcd") == "ffffffff/nightly"
    assert whole("", "0123abcd") == ""


@given(st.from_regex(SLUG, fullmatch=True), st.text(st.characters(exclude_characters="/"), min_size=1), st.text(min_size=1))
def test_a_named_run_is_never_a_session(agent: str, name: str, other: str) -> None:
    named = {run_name(namespace(key, agent), name) for key in ("open", "0123abcd")}
    assert len(named) == 2
    assert f"{agent}/{other.replace('/', '')}" not in named or agent == "0123abcd"


@pytest.mark.parametrize("text", ["nightly", "0123abcd/nightly", "a/b/session", "x" * 128, "ticket:4711#2"])
def test_a_run_that_may_be_written(text: str) -> None:
    assert re.fullmatch(RUN, text)


@pytest.mark.parametrize("text", ["", "a b", "/x", "x/", "a//", "x" * 129, "a\n", "A/b"])
def test_a_run_that_may_not(text: str) -> None:
    assert not re.fullmatch(RUN, text)
