"""What was carried over before: how each message of a client's and its tools were read, and what they became in the target's dialect.

Agents resend the whole conversation on every turn, and what one message becomes hangs on its bytes, but for the names that calls and their
outputs share and for neighbours of one role, which become one turn. So a message is read into a turn once, and the turn keeps what it
became, with the neighbours that it became it with (see `history.told`); names and ids are given anew each time (see `calls`).

A message is found by being the very object that the memo gave for its bytes, and that memo compares all of them; it is kept alive here, so
that no other can take its place. Tools are found so too, and their bytes compared as well. Dropping all of it changes cost, never a byte.
What cannot be read is not kept: it is refused again each time.

Two generations keep it bounded, as in `wire.memo`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from proxy.wire.call import Message, Tools
from proxy.wire.translate.hub import Offered, Turn

K = TypeVar("K", Message, Tools)
V = TypeVar("V", Turn, Offered)
OVERHEAD = 1200
"""Bytes that a message and its turn take beside their texts, on the safe side of the 800 and what a short message itself takes."""
PART = 200
"""Bytes that one part of a turn, or one tool, takes beside its letters."""


@dataclass(slots=True)
class Known(Generic[K, V]):
    """How one message, or the tools of a request, were read.

    Attributes:
        source: what was read; its identity is the key.
        dialect: as what.
        raw: the bytes that were read, where the source alone does not prove them.
        value: what they say.
        dropped: what was left out of that.
        size: bytes of memory, by estimate, without what it became.
    """

    source: K
    dialect: str
    raw: bytes
    value: V
    dropped: tuple[str, ...]
    size: int


class Carried:
    """See the module. One loop's: not safe for several threads.

    Args:
        max_bytes: how much memory to use, by estimate.

    Attributes:
        misses: how often something had to be read.
    """

    __slots__ = ("_half", "_old", "_size", "_young", "misses")

    def __init__(self, max_bytes: int = 12 << 20) -> None:
        self._half = max_bytes // 2
        self._young: dict[int, Known[Any, Any]] = {}
        self._old: dict[int, Known[Any, Any]] = {}
        self._size = 0
        self.misses = 0

    def find(self, source: Message | Tools, dialect: str) -> Known[Any, Any] | None:
        """Return how `source` was read by `dialect`, None where that is not known."""
        found = self._young.get(id(source)) or self._aged(id(source))
        return found if found is not None and found.dialect == dialect else None

    def _aged(self, key: int) -> Known[Any, Any] | None:
        found = self._old.get(key)
        if found is not None:
            self._put(key, found)
        return found

    def keep(self, known: Known[Any, Any]) -> None:
        """Remember how something was read."""
        self.misses += 1
        self._put(id(known.source), known)

    def _put(self, key: int, known: Known[Any, Any]) -> None:
        if self.grow(known.size + known.value.cost()):
            self._young[key] = known

    def grow(self, size: int) -> bool:
        """Make room for `size` bytes more, of something new or of what something became; tell whether they may be kept."""
        if size > self._half:
            return False
        if self._size + size > self._half:
            self._old, self._young, self._size = self._young, {}, 0
        self._size += size
        return True

    def clear(self) -> None:
        """Forget everything."""
        self._young, self._old, self._size = {}, {}, 0

    def __len__(self) -> int:
        return len(self._young.keys() | self._old.keys())
