"""What is kept of what was said in one exchange, and the port of where it is kept.

Of a request only what was new in it, of a reply what the client was given. What is in a text is decided by `data.log_content` before it
comes here (`guards.logged`); this is plain data. `MemoryContents` keeps the newest in the process and forgets the oldest.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

import msgspec

from proxy.engine.ports import StoreError

T = TypeVar("T")
Kind = Literal["text", "tool_call", "tool_result", "media"]
MEMORY_MB = 16
"""Megabytes that memory keeps at most, whatever the setting says."""


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of what was said.

    Attributes:
        kind: a text, a tool call with its arguments, a tool's result, or something that is no text.
        text: what is kept of it: the text as far as it is kept, or `sha256:` and a hash.
        name: the tool that is called; of media what kind it is. id: of the call.
        size: characters of the whole, of media bytes.
        cut: characters of it that were cut off.
    """

    kind: Kind
    text: str = ""
    name: str = ""
    id: str = ""
    size: int = 0
    cut: int = 0


@dataclass(frozen=True, slots=True)
class Turn:
    """What one role said."""

    role: str
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a session's conversation is kept: so many messages, the fingerprint of the last one, a digest of the system prompt where that
    stands apart, and whether a reply followed."""

    count: int = 0
    last: str = ""
    system: str = ""
    replied: bool = False


@dataclass(frozen=True, slots=True)
class Content:
    """What is kept of one exchange.

    Attributes:
        id, time, agent, session: as on its record.
        level: `hash`, `redacted` or `full`.
        until: when it is deleted, UTC seconds.
        request: what was new. before: messages of the conversation that stand before that and came with it.
        reply: what the client was given. finish: why the model stopped.
        left_out: new messages of which nothing is kept, since there was no room. reply_cut: more of a reply came than was looked at.
        mark: how far the conversation is kept with it.
    """

    id: str
    time: float
    agent: str
    session: str
    level: str
    until: float
    request: tuple[Turn, ...] = ()
    before: int = 0
    reply: tuple[Turn, ...] = ()
    finish: str = ""
    left_out: int = 0
    reply_cut: bool = False
    mark: Mark = field(default_factory=Mark)

    def as_json(self) -> dict[str, Any]:
        """Return it as people see it."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        del found["mark"]
        return found


def packed(content: Content) -> bytes:
    """Return `content` as JSON text; what UTF-8 cannot carry is replaced."""
    try:
        return msgspec.json.encode(content)
    except (UnicodeEncodeError, msgspec.EncodeError):
        return msgspec.json.encode(_clean(msgspec.to_builtins(content)))


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {name: _clean(one) for name, one in value.items()}
    return [_clean(one) for one in value] if isinstance(value, Sequence) else value


def packed_mark(mark: Mark) -> bytes:
    """Return `mark` as JSON text."""
    return msgspec.json.encode(mark)


def unpacked(data: bytes, kind: type[T]) -> T:
    """Return the content or mark that was made text of. Raises StoreError for anything else."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as e:
        raise StoreError(f"what was kept of an exchange cannot be read: {e}") from None


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose content is erased: a session's, or an agent's."""

    session: str = ""
    agent: str = ""

    def __str__(self) -> str:
        return f"session:{self.session}" if self.session else f"agent:{self.agent}"


class Contents(Protocol):
    """Keeps contents. May block: called in threads. Each verb raises StoreError when it cannot be done."""

    def keep(self, contents: Sequence[Content]) -> None:
        """Keep some, in the order in which they came; the oldest go where there is no more room."""
        ...

    def mark(self, session: str) -> Mark | None:
        """Return how far the conversation of a session is kept; None where nothing is."""
        ...

    def one(self, name: str) -> Content | None:
        """Return what is kept of the exchange with that id."""
        ...

    def forget(self, now: float) -> int:
        """Delete what may be kept no longer, a bounded number; return how many."""
        ...

    def erase(self, whose: Whose) -> int:
        """Delete all that is kept of a session or an agent; return how many exchanges."""
        ...


class MemoryContents:
    """`Contents` of one process: the newest, up to so many megabytes."""

    def __init__(self, most_mb: int = MEMORY_MB) -> None:
        self._most = min(most_mb, MEMORY_MB) << 20
        self._kept: dict[str, tuple[Content, int]] = {}
        self._size = 0
        self._lock = threading.Lock()

    def keep(self, contents: Sequence[Content]) -> None:
        """See `Contents.keep`."""
        with self._lock:
            for content in contents:
                self._drop([content.id])
                size = len(packed(content))
                self._kept[content.id] = (content, size)
                self._size += size
            while self._size > self._most:
                self._drop([next(iter(self._kept))])

    def mark(self, session: str) -> Mark | None:
        """See `Contents.mark`."""
        with self._lock:
            return next((one.mark for one, _ in reversed(self._kept.values()) if one.session == session), None)

    def one(self, name: str) -> Content | None:
        """See `Contents.one`."""
        with self._lock:
            found = self._kept.get(name)
        return None if found is None else found[0]

    def forget(self, now: float) -> int:
        """See `Contents.forget`."""
        with self._lock:
            return self._drop([name for name, (one, _) in self._kept.items() if one.until <= now])

    def erase(self, whose: Whose) -> int:
        """See `Contents.erase`."""
        with self._lock:
            return self._drop([name for name, (one, _) in self._kept.items() if belongs(one, whose)])

    def _drop(self, names: Iterable[str]) -> int:
        gone = [found for name in names if (found := self._kept.pop(name, None)) is not None]
        self._size -= sum(size for _, size in gone)
        return len(gone)


def belongs(content: Content, whose: Whose) -> bool:
    """Return whether `content` is of that session, or of that agent."""
    return content.session == whose.session if whose.session else content.agent == whose.agent
