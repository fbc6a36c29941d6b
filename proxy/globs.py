"""Globs over names: `*` is any run of characters (slashes too), `?` is one, everything else stands for itself, letter case counts.

Compiled once to a predicate. Plain names and `prefix*` are answered by a set and `str.startswith`; the rest by one expression each whose
runs are atomic groups, so no pattern and no name makes it backtrack. Nothing here can fail: every text is a pattern.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable

CACHED_NAMES = 1024
"""Answers kept per predicate; when full the cache starts anew."""
CACHED_LENGTH = 256
"""Longer names are answered, not kept: no caller may fill memory with names."""
SHARED = 1024
"""Clauses whose predicate is made once: of thousands of agents most say one of a few."""
LONGEST_NAME = 1024
"""A longer name is no model's and no tool's: it passes no clause, so that nobody makes patterns work on megabytes."""


def is_glob(text: str) -> bool:
    """Return whether `text` can match more than one name."""
    return "*" in text or "?" in text


def matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Return a predicate: does any of `patterns` match the whole name?"""
    exact: set[str] = set()
    prefixes: list[str] = []
    rest: list[str] = []
    for pattern in patterns:
        if not is_glob(pattern):
            exact.add(pattern)
        elif pattern.rstrip("*") == pattern.replace("*", "") and "?" not in pattern:
            prefixes.append(pattern.rstrip("*"))
        else:
            rest.append(pattern)
    starts = tuple(prefixes)
    expressions = tuple(re.compile(_expression(p), re.DOTALL).fullmatch for p in rest)

    def matches(name: str) -> bool:
        return name in exact or name.startswith(starts) or any(e(name) for e in expressions)

    return matches


def _expression(pattern: str) -> str:
    """Return the regular expression of a glob. Each run takes the nearest next literal for good, which loses no match."""
    pieces = [re.escape(p).replace(r"\?", ".") for p in re.split(r"\*+", pattern)]
    if len(pieces) == 1:
        return pieces[0]
    first, *middle, last = pieces
    return first + "".join(f"(?>.*?{m})" for m in middle) + ".*" + last


def allower(allow: Iterable[str] | None, deny: Iterable[str]) -> Callable[[str], bool]:
    """Return the predicate of one clause: not denied, and allowed where an allow-list is given. Answers are cached, bounded.

    A denial holds in any letter case: some providers read `GPT-4o` as `gpt-4o`, and nobody may slip past a rule by shouting.
    Clauses that say the same share one predicate.
    """
    return _allower(None if allow is None else tuple(allow), tuple(deny))


@functools.lru_cache(maxsize=SHARED)
def _allower(allow: tuple[str, ...] | None, deny: tuple[str, ...]) -> Callable[[str], bool]:
    allowed = None if allow is None else matcher(allow)
    as_written, folded = matcher(deny), matcher(pattern.casefold() for pattern in deny)

    def denied(name: str) -> bool:
        return as_written(name) or folded(name.casefold())

    known: dict[str, bool] = {}

    def allows(name: str) -> bool:
        answer = known.get(name)
        if answer is None:
            answer = len(name) <= LONGEST_NAME and not denied(name) and (allowed is None or allowed(name))
            if len(name) <= CACHED_LENGTH:
                if len(known) >= CACHED_NAMES:
                    known.clear()
                known[name] = answer
        return answer

    return allows


def overlap(one: str, other: str) -> bool:
    """Return whether some name matches both globs. Time is the product of their lengths."""
    if "*" in (one, other):
        return True
    reach = [True] + [False] * len(other)  # reach[j]: the part of `one` read so far and other[:j] share a name
    for j, b in enumerate(other):
        reach[j + 1] = reach[j] and b == "*"
    for a in one:
        new = [reach[0] and a == "*"]
        for j, b in enumerate(other):
            if "*" in (a, b):
                new.append(reach[j + 1] or new[j] or reach[j])
            else:
                new.append(reach[j] and (a == b or "?" in (a, b)))
        reach = new
    return reach[-1]
