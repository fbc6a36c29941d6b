"""One sign of an injection."""

from __future__ import annotations

from typing import NamedTuple


class Sign(NamedTuple):
    """A sign: what it is called, what it is worth, the words near which it is looked for, and the pattern (RE2, folded lower case)."""

    id: str
    weight: float
    stems: tuple[str, ...]
    pattern: str
