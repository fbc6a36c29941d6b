"""What of a body stands around its conversation, read once and found again by its bytes.

A client sends the same model, tools and settings with each turn; what changes is the conversation in between. So the bytes before and
behind it are kept with what they said, and a body that begins and ends with the same bytes is read in its middle only: the turn's new
messages. The comparison is exact, byte by byte. Dropping all of it changes cost, never a reading, and whatever is odd about the middle is
left to the full reading, which says what is wrong.

Why it reads the same: the same bytes before the conversation leave a parser in front of its value. If the middle by itself is one JSON
array and nothing more, the parser stands behind that value when it meets the bytes that followed it before. A known beginning of the
array (`wire.prefix`) leaves it behind a message inside the array, so there the rest is read with a bracket in front.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import NamedTuple

from proxy.wire import jsonio
from proxy.wire.blocks import joined
from proxy.wire.call import Call, Message, Span, WireError
from proxy.wire.memo import OVERHEAD, Memo
from proxy.wire.prefix import MIN_BODY, Cut, Prefixes

MAX_MESSAGES = 10_000
"""Parsing them is linear, about 5 µs each when new, and the event loop waits meanwhile."""
SMALL = 64 << 10
"""Bytes below which no body can take long to read, whatever is in it."""
_NAMES = tuple([field.name for field in fields(Call)])
_BODY, _MESSAGES, _MEMBERS, _LATEST = (_NAMES.index(name) for name in ("body", "messages", "members", "latest"))
_values = attrgetter(*_NAMES)
_BUCKET = 8
"""Frames that begin with the same bytes and end alike."""
_ALIKE = 24
"""Bytes at the end of a body by which frames with the same beginning are told apart, where they are longer than that behind."""
MAX_HEAD = 64 << 10
"""Bytes before a conversation up to which a frame is looked for by them."""
MAX_KINDS = 4096
"""Gemini's models stand in the path, so there is a kind for each."""
_COST = 2
"""The tools and the system prompt that a frame keeps alive are about as large as its bytes."""


class History:
    """Where a conversation stands in a body, and how its messages are read.

    Attributes:
        key: the member that holds it.
        memo: what is known of messages.
        parse: reads one that is not known, from the memo's key.
        dialect: stands before the raw bytes in that key.
        protocol: for errors.
        kind: which bodies share beginnings.
        name: the key as it stands in a body.
    """

    __slots__ = ("dialect", "key", "kind", "memo", "name", "parse", "protocol")

    def __init__(self, key: str, memo: Memo[Message], parse: Callable[[bytes], Message], dialect: bytes, protocol: str) -> None:
        self.key, self.memo, self.parse, self.dialect, self.protocol = key, memo, parse, dialect, protocol
        self.kind, self.name = f"{protocol} {key}", b'"%b"' % key.encode()

    def read(self, items: list[bytes], before: Sequence[Message]) -> Sequence[Message]:
        """Return `before` and the messages that `items` are.

        Raises:
            WireError: of `parse`, and for what is nested deeper than Python goes.
        """
        keys = [self.dialect + item for item in items] if self.dialect else items
        try:
            return joined(before, self.memo.get_all(keys, self.parse))
        except RecursionError:
            raise WireError(self.protocol, f"/{self.key}", "nested too deep") from None


class Read(NamedTuple):
    """How a conversation was read: `latest` are the raw bytes of its last messages, as many as had to be split off."""

    history: History
    latest: list[bytes]


class Frame:
    """The bytes around a conversation, and the call that they make of it.

    Attributes:
        kind: whose reading it is.
        head, tail: the bytes before and behind the array.
        history: how it is read.
        cost: bytes of memory, by estimate.
    """

    __slots__ = ("_behind", "_front", "_prefixes", "_values", "cost", "head", "history", "kind", "tail")

    def __init__(self, kind: str, call: Call, history: History, prefixes: Prefixes) -> None:
        start, end = call.members[history.key]
        self.kind, self.history, self._prefixes = kind, history, prefixes
        self.head, self.tail = call.body[:start], call.body[end:]
        self.cost = _COST * (len(self.head) + len(self.tail)) + OVERHEAD
        values = list(_values(call))
        values[_BODY], values[_MESSAGES], values[_MEMBERS], values[_LATEST] = b"", (), {}, ()
        self._values = tuple(values)
        self._front = {key: span for key, span in call.members.items() if span[1] <= start}
        self._behind = [(key, low - end, high - end) for key, (low, high) in call.members.items() if low >= end]

    def call(self, body: bytes, cut: Cut | None) -> Call | None:
        """Return the call that `body` is, which has the frame around it; None where its middle is odd.

        Args:
            body: it begins with `head` and ends with `tail`, possibly the same bytes.
            cut: what is known of its messages.

        Raises:
            WireError: of a message that cannot be read.
        """
        start, end = len(self.head), len(body) - len(self.tail)
        items = self._items(body[start:end] if cut is None else b"[" + body[cut.resume : end])
        before: Sequence[Message] = () if cut is None else cut.messages
        if items is None or not 0 < len(before) + len(items) <= MAX_MESSAGES:
            return None
        if cut is not None and (cut.opening != start + 1 or (cut.more and not items)):
            return None
        messages = self.history.read(items, before)
        if items and len(body) >= MIN_BODY:
            self._prefixes.keep(self.history.kind, body, messages, (start, end), [len(item) for item in items[-4:]], cut)
            self.stands(body)
        values = list(self._values)
        values[_BODY], values[_MESSAGES], values[_MEMBERS], values[_LATEST] = body, messages, self._members(start, end), items
        return Call(*values)

    def stands(self, body: bytes) -> None:
        """Have it found with `body`, where that was kept."""
        newest = self._prefixes.newest
        if newest is not None and newest.body is body:
            newest.frame = self

    def _items(self, text: bytes) -> list[bytes] | None:
        """Return the items of `text`, None where it is anything but one array of JSON in UTF-8."""
        if text[:1] != b"[" or text[-1:] != b"]":
            return None
        try:
            if len(text) > SMALL:
                jsonio.bounded(text, self.history.kind, structure=True)
            jsonio.utf8(text, self.history.kind)
            return jsonio.elements(text, self.history.kind, "")
        except WireError:
            return None

    def _members(self, start: int, end: int) -> Mapping[str, Span]:
        members = self._front.copy()
        members[self.history.key] = (start, end)
        for key, low, high in self._behind:
            members[key] = (low + end, high + end)
        return members


class Frames:
    """The latest frames, bounded. One loop's: not safe for several threads.

    Args:
        prefixes: the latest bodies.
        max_bytes: how much memory to use, by estimate.
    """

    __slots__ = ("_histories", "_kept", "_max", "_prefixes", "_size", "hits")

    def __init__(self, prefixes: Prefixes, max_bytes: int = 3 << 20) -> None:
        self._prefixes, self._max = prefixes, max_bytes
        self._kept: dict[tuple[str, bytes, bytes], list[Frame]] = {}
        self._histories: dict[str, History] = {}
        self._size = 0
        self.hits = 0

    def find(self, kind: str, body: bytes) -> Call | None:
        """Return the call that `body` is where a frame of its `kind` stands around it, None where there is none or its middle is odd.

        Raises:
            WireError: of a message that cannot be read.
        """
        history = self._histories.get(kind)
        if history is None:
            return None
        cut = self._prefixes.find(history.kind, body) if len(body) >= MIN_BODY else None
        before = cut.source.frame if cut is not None else None
        if before is not None and before.kind == kind and body.endswith(before.tail) and (found := before.call(body, cut)) is not None:
            self.hits += 1
            return found
        start = body.find(b"[", body.find(history.name))
        if not 0 < start <= MAX_HEAD:
            return None
        head = body[:start]
        for end in (body[-_ALIKE:], b""):
            for frame in self._kept.get((kind, head, end), ()):
                if body.endswith(frame.tail) and (found := frame.call(body, cut)) is not None:
                    self.hits += 1
                    return found
        return None

    def keep(self, kind: str, call: Call, read: Read | None) -> Call:
        """Remember what stands around the conversation of `call`, and return `call`.

        Args:
            kind: whose reading it is: two kinds never share a frame.
            call: nothing in it but `messages`, `members` and `latest`, which is set here, may hang on what the conversation says.
            read: how that was read; None where it is no array.
        """
        if read is None:
            return call
        history, call.latest = read
        frame = Frame(kind, call, history, self._prefixes)
        frame.stands(call.body)
        if frame.cost > self._max // 4:
            return call
        if len(self._histories) >= MAX_KINDS and kind not in self._histories:
            self._histories.clear()
        self._histories[kind] = history
        key = (kind, frame.head, frame.tail[-_ALIKE:] if len(frame.tail) >= _ALIKE else b"")
        bucket = self._kept.pop(key, [])
        self._size += frame.cost - sum([old.cost for old in bucket[: 1 - _BUCKET]])
        self._kept[key] = [*bucket[1 - _BUCKET :], frame]
        while self._size > self._max:
            oldest = next(iter(self._kept))
            self._size -= sum([old.cost for old in self._kept.pop(oldest)])
        return call

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()
        self._histories.clear()
        self._size = 0
