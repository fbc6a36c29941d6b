"""What a request's parameters say, each read once and bounded: pure.

How it fails: an unknown parameter, one that is given twice, or one that means nothing is a 400 that says what was expected.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from aiohttp import web
from multidict import MultiMapping

from proxy.telemetry.tables import parse_when

T = TypeVar("T")
MOST, USUAL, FURTHEST = 500, 50, 1_000_000
LONGEST = 1024
"""Characters of one value."""


class Query:
    """The parameters of one request.

    Args:
        sent: as they came.
        now: UTC seconds.
        known: the names that may be there.

    Raises:
        web.HTTPBadRequest: others are there, or one twice, or one is too long.
    """

    def __init__(self, sent: MultiMapping[str], now: float, known: Sequence[str]) -> None:
        self._sent, self._now = sent, now
        if set(sent) - set(known):
            raise web.HTTPBadRequest(text=f"Known parameters: {', '.join(known) or 'none'}.")
        if len(sent) > len(set(sent)):
            raise web.HTTPBadRequest(text="A parameter is there twice.")
        if any(len(value) > LONGEST for value in sent.values()):
            raise web.HTTPBadRequest(text=f"A parameter has at most {LONGEST} characters.")

    def text(self, name: str) -> str | None:
        """Return a value as it is, None where it is not there or cannot be text of a ledger."""
        value = self._sent.get(name)
        if value is not None and not _storable(value):
            raise web.HTTPBadRequest(text=f"`{name}` is no text.")
        return value

    def one_of(self, name: str, words: Sequence[str], usual: str) -> str:
        """Return a value that must be one of `words`."""
        value = self._sent.get(name, usual)
        if value not in words:
            raise web.HTTPBadRequest(text=f"`{name}` must be one of {', '.join(words)}.")
        return value

    def words(self, name: str, words: Sequence[str]) -> frozenset[str]:
        """Return several of `words`, joined by commas; all where nothing is said."""
        found = frozenset(filter(None, self._sent.get(name, "").split(","))) or frozenset(words)
        if found - set(words):
            raise web.HTTPBadRequest(text=f"`{name}` must be some of {', '.join(words)}, joined by commas.")
        return found

    def order(self, keys: Sequence[str], usual: str) -> tuple[str, bool]:
        """Return by what a list is sorted, and whether from high to low."""
        value = self._sent.get("sort", usual)
        if value.removeprefix("-") not in keys:
            raise web.HTTPBadRequest(text=f"`sort` must be one of {', '.join(keys)}, with a `-` before it for descending.")
        return value.removeprefix("-"), value.startswith("-")

    def window(self) -> tuple[int, int]:
        """Return where a page begins and how long it is."""
        return self._number("offset", 0, 0, FURTHEST), self._number("limit", USUAL, 1, MOST)

    def _number(self, name: str, usual: int, low: int, high: int) -> int:
        value = self._sent.get(name, str(usual))
        if not (value.isascii() and value.isdigit() and len(value) <= 8 and low <= int(value) <= high):
            raise web.HTTPBadRequest(text=f"`{name}` must be a number from {low} to {high}.")
        return int(value)

    def when(self, name: str, before: float) -> float:
        """Return a time, `before` seconds ago where none is said."""
        value = self._sent.get(name)
        if value is None:
            return self._now - before
        try:
            return parse_when(value, self._now)
        except ValueError as e:
            raise web.HTTPBadRequest(text=str(e)) from None

    def place(self, read: Callable[[str], T]) -> T | None:
        """Return where a list goes on, None at its beginning."""
        value = self._sent.get("cursor")
        try:
            return None if value is None else read(value)
        except ValueError as e:
            raise web.HTTPBadRequest(text=str(e)) from None


def _storable(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in value
