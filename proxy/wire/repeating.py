"""A meter of streams in which most events are the one before with other words: those it does not parse (see `wire.stencil`)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

from proxy.model import Usage
from proxy.wire.base import Meter
from proxy.wire.call import Event, EventKind
from proxy.wire.stencil import Stencil

MISSES = 4
"""How many stencils of one reply may fit nothing, one after another: where events never repeat, cutting them is a loss."""


class RepeatingMeter(Meter):
    """Reads one reply. What stands in an event beside its words and may change from one to the next is read when it is asked for.

    A stencil is cut when the next event has come, so that nothing is kept waiting for it.
    """

    def __init__(self) -> None:
        self._latest = b""
        super().__init__()
        self._like: Stencil | None = None
        self._cut: Callable[[], Stencil | None] | None = None
        self._into: list[str] | None = None
        self._late = False
        self._cut_at = self._missed = 0

    @property
    def usage(self) -> Usage | None:
        """See `Meter`."""
        if self._latest:
            self._catch_up()
        return self._usage

    @usage.setter
    def usage(self, found: Usage | None) -> None:
        self._usage = found

    def event(self, raw: bytes) -> Event:
        """See `Meter.event`."""
        text = self.again(raw)
        if text is not None:
            return Event(raw, self.says, text)
        if self._latest:
            self._catch_up()
        self._like = self._cut = None
        return self._read(raw)

    def again(self, raw: bytes) -> str | None:
        """See `Meter.again`."""
        like = self._like
        if like is None:
            if self._cut is None:
                return None
            like, self._cut = self._cut(), None
            if like is None:
                return None
            self._like = like
        text = like.text(raw)
        if text is not None:
            self._repeat(raw, text)
        return text

    def follow(self, raw: bytes, text: str) -> None:
        """See `Meter.follow`: what this one has of the event before is the same, so it need not be compared again."""
        if self._like is None and self._cut is None:
            self.event(raw)
        else:
            self._repeat(raw, text)

    @abstractmethod
    def _read(self, raw: bytes) -> Event:
        """Read an event that is not as the one before; where it says words and nothing else, have a stencil of it: `_repeats`."""

    def _repeats(
        self, cut: Callable[[], Stencil | None], says: EventKind = "text", into: list[str] | None = None, late: bool = False
    ) -> None:
        """Expect more events like the newest one, whose stencil `cut` makes.

        What they say is of the kind `says` and goes `into` a list too, where given. What else stands in the newest is read `late`, where
        somebody may ask for it: `_catch_up`.
        """
        self._cut, self.says, self._into, self._late = cut, says, into, late

    def _repeat(self, raw: bytes, text: str) -> None:
        """Take in an event of which the words alone were read."""
        self.texts.append(text)
        self.pieces += 1
        if self._into is not None:
            self._into.append(text)
        if self._late:
            self._latest = raw

    def _catch_up(self) -> None:
        """Read the rest of `_latest`, the last event of which the words alone were read, where that is of interest."""

    def _worth(self) -> bool:
        """Tell whether to cut a stencil of the newest event: not where some were cut that fitted nothing, or that was odd."""
        if not self.repeats:
            return False
        self._missed = self._missed + 1 if self.pieces <= self._cut_at + 1 else 0
        self._cut_at = self.pieces
        return self._missed <= MISSES and not self.odd
