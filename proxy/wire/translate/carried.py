"""What was carried over before: how each message of a client's and its tools were read, and what they became in the target's dialect.

Agents resend the whole conversation on every turn, and what one message becomes hangs on its bytes, but for the names that calls and their
outputs share and for neighbours of one role, which become one turn. So a message is read into a turn once, and the turn keeps what it
became for each target, with the neighbours that it became it with (see `history.told`).

A message is found by being the very object that the memo gave for its bytes, and that memo compares all of them; it is kept alive here, so
that no other can take its place. Tools and a system prompt that stands apart are found so too, and their bytes compared as well. Dropping
all of it changes cost, never a byte. What cannot be read is not kept: it is refused again each time.

Most of a conversation was carried over on the turn before, one message after the other: what became of its beginning is kept as a whole,
with the names and ids that its calls have (see `calls`), and found at its last message or turn. So a turn costs what is new in it.

Two generations keep it bounded, as in `wire.memo`. Beginnings are made of what is in them, and forgotten with the older one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import is_
from typing import Any, Generic, TypeVar

from proxy.wire.call import Message, Tools
from proxy.wire.translate.calls import Tying
from proxy.wire.translate.hub import Offered, Turn

Source = Message | Tools
V = TypeVar("V", Turn, Offered)
OVERHEAD = 1200
"""Bytes that a message and its turn take beside texts and parts, on the safe side of the 800 and what a short message itself takes."""
Generation = defaultdict[str, dict[int, "Known[Any]"]]
"""What was read as what, by the identities of the sources."""
POINTER = 16
"""Bytes that a thing and what became of it take in a beginning."""
TIE = 100
"""Bytes that a call takes in what ties calls and outputs together, which each beginning has for itself."""
BACK = 12
"""How many messages or turns from the end the known beginning may end: what is new, and what stood behind it the last time."""


@dataclass(slots=True)
class Known(Generic[V]):
    """How one message, the system prompt or the tools of a request were read.

    Attributes:
        source: what was read; its identity is the key.
        raw: the bytes that were read, where the source alone does not prove them.
        value: what they say.
        dropped: what was left out of that.
        letters: bytes of memory, by estimate, without what `value` counts.
    """

    source: Source
    raw: bytes
    value: V
    dropped: tuple[str, ...]
    letters: int


@dataclass(slots=True, eq=False)
class Beginning:
    """The beginning of a conversation, and what became of it. Nothing in it changes.

    Attributes:
        things: its messages or turns; at the last one it is found again.
        count: of how many of them something became.
        found: what that is.
        dropped: what was left out of it.
        ties: what is known of calls behind these, where ids or names are given.
        loose: bytes of what is kept nowhere else.
        era: how often the older generation had been forgotten when this was found, or made.
    """

    things: Sequence[Any]
    count: int
    found: list[Any]
    dropped: list[str]
    ties: Tying | None
    loose: int = 0
    era: int = 0


class Carried:
    """See the module. One loop's: not safe for several threads.

    Args:
        max_bytes: how much memory to use, by estimate.

    Attributes:
        misses: how often something had to be read.
    """

    __slots__ = ("_begun", "_era", "_half", "_old", "_size", "_young", "misses")

    def __init__(self, max_bytes: int = 12 << 20) -> None:
        self._half = max_bytes // 2
        self._young: Generation = defaultdict(dict)
        self._old: Generation = defaultdict(dict)
        self._begun: dict[tuple[str, int], Beginning] = {}
        self._size = self._era = 0
        self.misses = 0

    def find(self, sources: Iterable[Source], kind: str) -> list[Known[Any] | None]:
        """Return how each of `sources` was read, None where that is not known.

        Args:
            sources: what may have been read.
            kind: as what. One source may be known as several things.
        """
        young = self._young[kind].get
        return [young(id(source)) or self._aged(source, kind) for source in sources]

    def _aged(self, source: Source, kind: str) -> Known[Any] | None:
        found = self._old[kind].get(id(source))
        if found is not None:
            self._put(kind, found)
        return found

    def keep(self, kind: str, known: Known[Any]) -> bool:
        """Remember how something was read, if that is not too long; tell whether."""
        self.misses += 1
        return self._put(kind, known)

    def _put(self, kind: str, known: Known[Any]) -> bool:
        fits = self.grow(known.letters + OVERHEAD + known.value.cost())
        if fits:
            self._young[kind][id(known.source)] = known
        return fits

    def beginning(self, kind: str, things: Sequence[Any], ties: Tying | None) -> Beginning:
        """Return what is known of how a conversation begins, by the very messages or turns that it is of; maybe nothing.

        Args:
            kind: what things become of it.
            things: all its messages or turns.
            ties: what is known of calls before the first one.
        """
        for thing in islice(reversed(things), BACK):
            found = self._begun.get((kind, id(thing)))
            if found is not None and len(found.things) <= len(things) and all(map(is_, found.things, things)):
                return found
        return Beginning((), 0, [], [], ties, era=self._era)

    def begin(self, kind: str, new: Beginning, over: Beginning) -> None:
        """Remember what became of a beginning in the place of the one that it goes on from, unless some of it is forgotten already."""
        if over.things:
            self._begun.pop((kind, id(over.things[-1])), None)
        known = TIE * new.ties.known() if new.ties is not None else 0
        if self.grow(POINTER * len(new.things) + known + OVERHEAD + new.loose) and over.era == self._era:
            new.era = self._era
            self._begun[kind, id(new.things[-1])] = new

    def grow(self, size: int) -> bool:
        """Make room for `size` bytes more, of something new or of what something became; tell whether they may be kept."""
        if size > self._half:
            return False
        if self._size + size > self._half:
            self._old, self._young, self._size, self._begun = self._young, defaultdict(dict), 0, {}
            self._era += 1
        self._size += size
        return True

    def clear(self) -> None:
        """Forget everything."""
        self._young, self._old, self._size, self._begun = defaultdict(dict), defaultdict(dict), 0, {}
        self._era += 1

    def __len__(self) -> int:
        return len({(kind, key) for generation in (self._young, self._old) for kind, known in generation.items() for key in known})
