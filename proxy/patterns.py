"""Regular expressions from files: RE2, so that no pattern and no text can make a search take more than time linear in the text.

What people write is compiled once; what RE2 does not take (back-references, look-around) is an error that says so. Searching never fails:
half a surrogate, which JSON can hold and UTF-8 cannot, is read as a question mark.
"""

from __future__ import annotations

import functools

import re2

MAX_CHARS = 1000
"""Longest expression."""
MAX_MEMORY = 4 << 20
"""Bytes that one expression may take, compiled."""


class PatternError(ValueError):
    """The text is no expression that can be searched for; the message says why."""


class Pattern:
    """One compiled expression."""

    __slots__ = ("_found", "text")

    def __init__(self, text: str) -> None:
        if len(text) > MAX_CHARS + 4:  # flags of ours may stand before it
            raise PatternError(f"{len(text)} characters, at most {MAX_CHARS} are taken")
        options = re2.Options()
        options.max_mem, options.log_errors = MAX_MEMORY, False
        try:
            self._found = re2.compile(text, options)
        except (re2.error, UnicodeEncodeError) as e:
            said = e.args[0] if e.args and isinstance(e.args[0], bytes) else str(e).encode()
            raise PatternError(said.decode("utf-8", "replace")) from None
        self.text = text

    def found(self, text: str) -> bool:
        """Return whether the expression matches anywhere in `text`."""
        return self._found.search(_utf8(text)) is not None

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return where it matches, in order, not overlapping, in characters; empty matches are left out."""
        return [m.span() for m in self._found.finditer(_utf8(text)) if m.end() > m.start()]


def _utf8(text: str) -> str:
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


@functools.lru_cache(maxsize=4096)
def pattern(text: str) -> Pattern:
    """Return `text` compiled.

    Raises:
        PatternError: RE2 does not take it.
    """
    return Pattern(text)
