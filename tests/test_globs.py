"""Globs match as their definition says, whatever the pattern, and never take long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import globs

TEXT = st.text(alphabet="ab*?.(", max_size=8)
NAME = st.text(alphabet="ab.(\n", max_size=8)


def plain_match(pattern: str, name: str) -> bool:
    """The definition, spelled out by recursion."""
    if not pattern:
        return not name
    if pattern[0] == "*":
        return plain_match(pattern[1:], name) or (bool(name) and plain_match(pattern, name[1:]))
    return bool(name) and pattern[0] in ("?", name[0]) and plain_match(pattern[1:], name[1:])


@given(TEXT, NAME)
def test_a_glob_matches_as_defined(pattern: str, name: str) -> None:
    assert globs.matcher((pattern,))(name) == plain_match(pattern, name)


@pytest.mark.parametrize(
    ("patterns", "name", "expected"),
    [
        (("gpt-*",), "gpt-5", True),
        (("gpt-*",), "GPT-5", False),
        (("gpt-*",), "my-gpt-5", False),
        (("local/*",), "local/a/b", True),
        (("[ab]",), "a", False),
        (("[ab]",), "[ab]", True),
        ((), "x", False),
        (("a", "b*"), "bc", True),
    ],
)
def test_tables(patterns: tuple[str, ...], name: str, expected: bool) -> None:
    assert globs.matcher(patterns)(name) is expected


def test_a_hostile_pattern_and_name_end_at_once() -> None:
    assert not globs.matcher(("*a" * 100 + "b",))("a" * 20_000)


@given(st.lists(TEXT, max_size=3), st.lists(TEXT, max_size=3), st.lists(NAME, max_size=5))
def test_deny_wins_and_the_cache_changes_nothing(allow: list[str], deny: list[str], names: list[str]) -> None:
    allows = globs.allower(allow, deny)
    for name in [*names, *names]:
        expected = any(plain_match(p, name) for p in allow) and not any(plain_match(p, name) for p in deny)  # ASCII without capitals
        assert allows(name) is expected
    assert globs.allower(None, deny)("a") is not any(plain_match(p, "a") for p in deny)


def test_the_cache_is_bounded() -> None:
    allows = globs.allower(("a*",), ())
    for i in range(3 * globs.CACHED_NAMES):
        assert allows(f"a{i}")
    assert not allows("b" * 10_000)
    known = allows.__closure__
    sizes = [len(cell.cell_contents) for cell in known or () if isinstance(cell.cell_contents, dict)]
    assert sizes
    assert max(sizes) <= globs.CACHED_NAMES


def test_a_name_beyond_all_measure_passes_nothing() -> None:
    assert globs.allower(None, ())("a" * globs.LONGEST_NAME)
    assert not globs.allower(None, ())("a" * (globs.LONGEST_NAME + 1))
    assert not globs.allower(("*",), ())("a" * (globs.LONGEST_NAME + 1))


@given(TEXT, TEXT, NAME)
def test_overlap_holds_for_every_common_name(one: str, other: str, name: str) -> None:
    if plain_match(one, name) and plain_match(other, name):
        assert globs.overlap(one, other)
    if "*" not in one + other and "?" not in one + other:
        assert globs.overlap(one, other) == (one == other)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [("a*", "*b", True), ("a*", "b*", False), ("*", "", True), ("a?c", "ab*", True), ("a?c", "abcd*", False), ("x*y", "x", False)],
)
def test_overlap_table(one: str, other: str, expected: bool) -> None:
    assert globs.overlap(one, other) is expected
    assert globs.overlap(other, one) is expected


@pytest.mark.parametrize(
    ("deny", "name"),
    [("gpt-4o", "GPT-4o"), ("GPT-*", "gpt-5"), ("stra?e", "STRASE"), ("delete_*", "Delete_All"), ("k", "\u212a"), ("?", "\u00df")],
)
def test_a_denial_holds_in_any_letter_case(deny: str, name: str) -> None:
    assert not globs.allower(None, (deny,))(name)
    assert globs.allower(("Read",), ())("read") is False


def test_clauses_that_say_the_same_share_a_predicate_and_others_do_not() -> None:
    one = globs.allower(["gpt-*"], ["gpt-3*"])
    assert globs.allower(("gpt-*",), iter(["gpt-3*"])) is one
    others = [
        globs.allower(["gpt-*"], []),
        globs.allower(None, ["gpt-3*"]),
        globs.allower([], ["gpt-3*"]),
        globs.allower(["gpt-3*"], ["gpt-*"]),
    ]
    assert [allows("gpt-3.5") for allows in (one, *others)] == [False, True, False, False, False]
    assert [allows("gpt-4o") for allows in (one, *others)] == [True, True, True, False, False]
