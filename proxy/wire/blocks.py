"""A conversation that shares its beginning with the ones that it goes on from.

Agents resend the whole conversation on every turn, and little of it is new. So a long one stands in blocks of a fixed number of messages,
which the conversations of all turns share, and a rest of fewer. A turn copies no more than its rest, and what was once read from a block
(what its messages weigh, whether one of them holds an image) stays with it: reading that from a conversation looks at the rest alone.

Blocks never change, and what is kept with one is a function of its messages alone: where it is missing it is read again, so that dropping
blocks changes cost, never a result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from operator import attrgetter
from typing import Any, TypeVar, overload

from proxy.wire.call import Message

T = TypeVar("T")
SIZE = 64
"""Messages of a block. Half as many are looked at in the middle each time that something is read, and so many are a tuple still."""


class Block:
    """So many messages that stand together.

    Attributes:
        messages: `SIZE` of them.
        known: what was read from them, see `carried`.
    """

    __slots__ = ("known", "messages")

    def __init__(self, messages: tuple[Message, ...]) -> None:
        self.messages = messages
        self.known: dict[str, Any] = {}


_messages = attrgetter("messages")


class Blocks(Sequence[Message]):
    """A conversation, oldest message first: `blocks`, then `rest`, which is shorter than one. It equals a tuple of the same messages."""

    __slots__ = ("_size", "blocks", "rest")
    __hash__ = None  # type: ignore[assignment]  # as its messages have none

    def __init__(self, blocks: tuple[Block, ...], rest: tuple[Message, ...]) -> None:
        self.blocks, self.rest = blocks, rest
        self._size = SIZE * len(blocks) + len(rest)

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Message]:
        return chain(chain.from_iterable(map(_messages, self.blocks)), self.rest)

    def __reversed__(self) -> Iterator[Message]:
        return chain(reversed(self.rest), chain.from_iterable(map(reversed, map(_messages, reversed(self.blocks)))))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (Blocks, tuple)) and tuple(self) == tuple(other)

    @overload
    def __getitem__(self, at: int) -> Message: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[Message]: ...

    def __getitem__(self, at: int | slice) -> Message | Sequence[Message]:
        """Return a message, or several: those from the first one on share their blocks."""
        if isinstance(at, slice):
            start, stop, step = at.indices(self._size)
            if step != 1:
                return tuple(self)[at]
            return self._some(start, max(start, stop)) if start else self._first(stop)
        if at < 0:
            at += self._size
        if not 0 <= at < self._size:
            raise IndexError(at)
        whole = at // SIZE
        part = self.blocks[whole].messages if whole < len(self.blocks) else self.rest
        return part[at - SIZE * whole]

    def _first(self, count: int) -> Blocks:
        whole = count // SIZE
        part = self.blocks[whole].messages if whole < len(self.blocks) else self.rest
        return Blocks(self.blocks[:whole], part[: count - SIZE * whole])

    def _some(self, start: int, stop: int) -> tuple[Message, ...]:
        whole = start // SIZE
        parts = chain(chain.from_iterable(map(_messages, self.blocks[whole:])), self.rest)
        return tuple(islice(parts, start - SIZE * whole, stop - SIZE * whole))


def joined(before: Sequence[Message], new: tuple[Message, ...]) -> Sequence[Message]:
    """Return the conversation that goes on from `before` with `new`: in blocks, or a tuple where it is shorter than one."""
    blocks: tuple[Block, ...] = ()
    if isinstance(before, Blocks):
        blocks, before = before.blocks, before.rest
    rest = (*before, *new)
    whole = len(rest) // SIZE * SIZE
    if whole:
        blocks = (*blocks, *[Block(rest[n : n + SIZE]) for n in range(0, whole, SIZE)])
        rest = rest[whole:]
    return Blocks(blocks, rest) if blocks else rest


def carried(messages: Sequence[Message], key: str, read: Callable[[Sequence[Message]], T]) -> list[T]:
    """Return what `read` makes of each part of a conversation, in order; of parts that were read before, what it made of them then.

    Args:
        messages: a conversation.
        key: under which name that is remembered: the same name is the same reading.
        read: a function of the messages alone. What it raises passes through, and nothing is remembered then.
    """
    if not isinstance(messages, Blocks):
        return [read(messages)]
    try:
        found = [block.known[key] for block in messages.blocks]
    except KeyError:  # some are new
        for block in messages.blocks:
            if key not in block.known:
                block.known[key] = read(block.messages)
        found = [block.known[key] for block in messages.blocks]
    found.append(read(messages.rest))
    return found


def unread(messages: Sequence[Message], key: str) -> Iterable[Message]:
    """Return the messages of those parts of which nothing is remembered under `key`."""
    if not isinstance(messages, Blocks):
        return messages
    return chain(chain.from_iterable([block.messages for block in messages.blocks if key not in block.known]), messages.rest)


def has_media(messages: Sequence[Message]) -> bool:
    """Return whether any message holds images, sound or files."""
    return any(carried(messages, "media", lambda part: [message for message in part if message.media] != []))
