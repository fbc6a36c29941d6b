"""The part of a body that was seen before, found without splitting it.

A turn's body mostly is the last turn's body up to its last message, then what is new. So the latest bodies are kept, and a new one that
begins with the same bytes up to the end of a message is read from there on: the known messages are cut out of the middle of the text
before it is split. The comparison is exact, byte by byte; a sample of the bytes only finds what to compare with. Dropping all of it
changes cost, never a reading.

Why the rest reads the same: up to the end of a message the two bodies are the same bytes, so a parser stands at the same place in both,
inside the top-level array of messages, behind an item. Taking items out there leaves it there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from proxy.wire import jsonio
from proxy.wire.call import Message
from proxy.wire.memo import OVERHEAD

if TYPE_CHECKING:
    from proxy.wire.frame import Frame

MIN_BODY = 4096
"""Bytes below which splitting costs less than looking."""
_SAMPLED = 128
_LEVELS = 3
_BUCKET = 16
_LOOK = 64
_BACK = 4
_ENDS = 5
_COST = 2  # the messages that a kept body keeps alive take about as much again
_MAX_SPACE = 64
_SPACE = b" \t\r\n"
_HIGHEST, _COMMA = ord(" "), ord(",")


class _Kept:
    """A body that was read.

    Attributes:
        opening: the offset behind the array's bracket.
        ends: pairs of (offset behind a message, how many messages that makes), the last one first.
        cost: bytes of memory, by estimate: the messages stay alive with it, and short ones take far more than their JSON; so does the
            frame.
        level, key: where it is kept: under a sample of its first 2^`level` bytes, all before the first of the ends.
        frame: what stands around its messages, where that is known.
    """

    __slots__ = ("body", "cost", "ends", "frame", "key", "level", "messages", "opening")

    key: tuple[str, bytes]

    def __init__(self, body: bytes, place: tuple[int, int], ends: Sequence[tuple[int, int]], messages: Sequence[Message]) -> None:
        self.body, self.opening, self.ends, self.messages = body, place[0] + 1, ends, messages
        self.cost = _COST * len(body) + len(body) - (place[1] - place[0]) + OVERHEAD * len(messages)
        self.frame: Frame | None = None
        self.level = ends[-1][0].bit_length() - 1 if ends else 0


class Cut(NamedTuple):
    """What of a body is known: bytes [opening, resume) hold `messages`. `more`: a comma followed. `source`: where it is known from,
    which the new body mostly replaces; both begin with the same `end` bytes."""

    opening: int
    resume: int
    messages: Sequence[Message]
    more: bool
    source: _Kept
    end: int


class Prefixes:
    """The latest bodies, bounded. One loop's: not safe for several threads.

    Args:
        max_bytes: how much memory to use, by estimate.

    Attributes:
        newest: what was kept last.
        hits: how often something was found.
    """

    __slots__ = ("_asked", "_kept", "_max", "_size", "hits", "newest")

    def __init__(self, max_bytes: int = 24 << 20) -> None:
        self._max = max_bytes
        self.newest: _Kept | None = None
        self._asked: tuple[bytes, str, Cut | None] | None = None
        self._kept: dict[tuple[str, bytes], list[_Kept]] = {}
        self._size = 0
        self.hits = 0

    def find(self, kind: str, body: bytes) -> Cut | None:
        """Return the longest known beginning of `body` among bodies of its `kind`, None when there is none. To ask twice costs once."""
        asked = self._asked
        if asked is not None and asked[0] is body and asked[1] == kind:
            return asked[2]
        found = self._find(kind, body)
        self._asked = (body, kind, found)
        return found

    def _find(self, kind: str, body: bytes) -> Cut | None:
        top = len(body).bit_length() - 1
        for level in range(top, top - _LEVELS, -1):
            bucket = self._kept.get((kind, _sample(body, level)))
            if bucket is not None and (found := _longest(body, bucket)) is not None:
                return self._cut(body, *found)
        return None

    def _cut(self, body: bytes, kept: _Kept, end: int, count: int) -> Cut | None:
        position = end if body[end : end + 1] == b"," else jsonio.skip(body, end)
        follows = body[position : position + 1]
        if follows not in (b",", b"]"):
            return None
        self.hits += 1
        more = follows == b","
        return Cut(kept.opening, position + more, kept.messages[:count], more, kept, end)

    def keep(
        self,
        kind: str,
        body: bytes,
        messages: Sequence[Message],
        place: tuple[int, int],
        tail: Sequence[int],
        cut: Cut | None = None,
    ) -> None:
        """Remember a body that was read.

        Args:
            kind: whose reading the messages are, and in which member they stand: bodies of two kinds never share.
            body: all of it.
            messages: what its messages say.
            place: offsets of the array's opening bracket and behind its closing one.
            tail: lengths of its last messages, as many as are at hand, oldest first.
            cut: what `find` said of it.
        """
        ends = _ends(body, place[1] - 1, len(messages), tail)
        if cut is not None and 0 < len(ends) < _ENDS:
            known = min(len(cut.messages), ends[-1][1] - 1)
            ends += [end for end in cut.source.ends if end[1] <= known][: _ENDS - len(ends)]
        new = _Kept(body, place, ends, messages)
        if not ends or new.cost > self._max // 4:
            return
        if cut is not None and cut.source.level == new.level and 1 << new.level <= cut.end:
            new.key = cut.source.key  # its sample is of bytes that both have
        else:
            new.key = (kind, _sample(body, new.level))
        goes_on = cut is not None and 2 * len(cut.messages) > len(cut.source.messages)
        self._put(new, cut.source if cut is not None and goes_on else None)  # else it is another one with the same beginning

    def _put(self, new: _Kept, over: _Kept | None) -> None:
        """Keep `new` in the place of `over`; drop the oldest, never `new`, until a quarter is free where that takes too much memory."""
        self.newest, self._asked = new, None
        bucket = self._kept.pop(new.key, [])
        if over is not None and over in bucket:
            bucket.remove(over)
            self._size -= over.cost
        if len(bucket) >= _BUCKET:
            self._size -= bucket.pop(0).cost
        bucket.append(new)
        self._kept[new.key] = bucket
        self._size += new.cost
        if self._size <= self._max:
            return
        while self._size > self._max * 3 // 4:
            key, oldest = next(iter(self._kept.items()))
            self._size -= oldest.pop(0).cost
            if not oldest:
                del self._kept[key]

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()
        self._size, self.newest, self._asked = 0, None, None


def _longest(body: bytes, bucket: Sequence[_Kept]) -> tuple[_Kept, int, int] | None:
    """Return which of `bucket` has the longest beginning of `body`, where that ends and how many messages it makes.

    One whose messages all come again is the conversation that goes on, and nobody looks further.
    """
    found: tuple[_Kept, int, int] | None = None
    longest = 0
    for kept in reversed(bucket):
        for end, count in kept.ends:
            if end <= longest:
                break
            if _shares(body, kept.body, end):
                found, longest = (kept, end, count), end
                break
        if found is not None and found[0] is kept and longest == kept.ends[0][0]:
            break
    return found


def _sample(body: bytes, level: int) -> bytes:
    """Return some of the first 2^`level` bytes, and no more: each is a look into cold memory."""
    return body[: 1 << level : max(1, (1 << level) // _SAMPLED)]


def _shares(body: bytes, known: bytes, end: int) -> bool:
    """Tell whether both begin with the same `end` bytes. The last few are looked at first: conversations differ late, not early."""
    return body.startswith(known[end - _LOOK : end], end - _LOOK) and body.startswith(memoryview(known)[:end])


def _ends(body: bytes, closing: int, count: int, tail: Sequence[int]) -> list[tuple[int, int]]:
    """Return where the last messages end, the newest first (clients often touch the last ones again)."""
    end = _back(body, closing)
    if end < _LOOK:
        return []
    ends = [(end, count)]
    for length in reversed(tail[-_BACK:]):
        comma = _back(body, end - length)
        if comma < 0 or body[comma - 1] != _COMMA or (end := _back(body, comma - 1)) < _LOOK:
            break
        ends.append((end, count - len(ends)))
    return ends


def _back(body: bytes, position: int) -> int:
    """Return the offset behind the last byte before `position` that is no space; -1 when that is unreasonably far."""
    if position > 0 and body[position - 1] > _HIGHEST:
        return position
    start = max(0, position - _MAX_SPACE)
    rest = body[start:position].rstrip(_SPACE)
    return start + len(rest) if rest else -1
