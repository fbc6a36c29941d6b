"""What is known of bytes seen before.

Agents resend the whole conversation on every turn. The memo maps the raw bytes of one message (or of the tools of a request) to what
was parsed from them, so that a turn costs what is new in it. The key is the bytes themselves: Python's keyed hash finds the place and
an exact comparison answers, so no crafted collision can pass one message off as another. It is a cache and nothing else: dropping it
changes cost, never a decision.

Two generations keep it bounded and cheap: a hit costs one lookup and no bookkeeping; when the young generation is full the old one is
dropped, and what is still in use moves back on its next hit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")

OVERHEAD = 600
"""Bytes that one entry costs beside its key and its texts (objects, dict slots), measured with tracemalloc on typical messages."""


class Memo(Generic[T]):
    """A bounded map from bytes to what `parse` made of them. One loop's: not safe for several threads.

    Args:
        max_bytes: how much memory the entries may hold, by estimate (key, texts of about the same size, overhead).
        weigh: how many bytes a value takes beside those.
    """

    __slots__ = ("_half", "_old", "_size", "_weigh", "_young", "misses")

    def __init__(self, max_bytes: int = 24 << 20, weigh: Callable[[T], int] = lambda value: 0) -> None:
        self._weigh = weigh
        self._half = max_bytes // 2
        self._young: dict[bytes, T] = {}
        self._old: dict[bytes, T] = {}
        self._size = 0
        self.misses = 0

    def get(self, raw: bytes, parse: Callable[[bytes], T]) -> T:
        """Return what `raw` means, parsing it if it was never seen (or forgotten). Errors of `parse` pass through and are not kept."""
        found = self._young.get(raw)
        return self._missed(raw, parse) if found is None else found

    def _missed(self, raw: bytes, parse: Callable[[bytes], T]) -> T:
        """Return what `raw` means, which is not among the young."""
        found = self._old.get(raw)
        if found is None:
            self.misses += 1
            found = parse(raw)
        self._keep(raw, found)
        return found

    def get_all(self, raws: Sequence[bytes], parse: Callable[[bytes], T]) -> tuple[T, ...]:
        """Return what each of `raws` means, in order; the loop over a whole conversation, so it is kept tight."""
        known = self._young.get
        found: list[T] = []
        for raw in raws:
            value = known(raw)
            if value is None:
                value = self._missed(raw, parse)
                known = self._young.get
            found.append(value)
        return tuple(found)

    def _keep(self, raw: bytes, value: T) -> None:
        size = 2 * len(raw) + OVERHEAD + self._weigh(value)
        if size > self._half:
            return
        if self._size + size > self._half:
            self._old, self._young, self._size = self._young, {}, 0
        self._young[raw] = value
        self._size += size

    def clear(self) -> None:
        """Forget everything."""
        self._young, self._old, self._size = {}, {}, 0

    def __len__(self) -> int:
        return len(self._young.keys() | self._old.keys())
