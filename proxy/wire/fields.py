"""Typed reads of a request body's top-level members, straight from their bytes. A wrong type of what we rely on is a WireError."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeVar

import msgspec

from proxy.wire import jsonio
from proxy.wire.call import Message, Span, ToolSpec, WireError
from proxy.wire.frame import MAX_MESSAGES, SMALL, History, Read
from proxy.wire.keys import DEARER, NOTHING, OFFERS, Keys
from proxy.wire.memo import Memo
from proxy.wire.prefix import MIN_BODY, Cut, Prefixes

_text_decoder = msgspec.json.Decoder(str)
T = TypeVar("T")
MAX_NAME = 256
MAX_TOKENS = 10**9
MAX_UNCOUNTED = 64
"""Bytes of a member that we do not know up to which it cannot hold a prompt worth counting."""


class Fields:
    """The members of one body. `null` reads as absent, as all providers do.

    Args:
        body: the whole request body.
        keys: the keys that we know.
        protocol: for errors.
        prefixes: the latest bodies; what `body` shares with one of them is not split again.
        history: the member that holds the conversation as an array and grows from turn to turn.

    Attributes:
        read: where that array stood and how it was read, once it was.

    Raises:
        WireError: not a JSON object in UTF-8, ambiguous, too finely divided to be read in time, or with a member that would have the
            server ask another model.
    """

    __slots__ = ("_cut", "_history", "_kind", "_spans", "_text", "body", "members", "prefixes", "protocol", "read", "shape")

    def __init__(self, body: bytes, keys: Keys, protocol: str, prefixes: Prefixes | None = None, history: str = "messages") -> None:
        self.body, self.protocol, self.prefixes, self._history = body, protocol, prefixes, history
        self._kind = f"{protocol} {history}"
        self.read: Read | None = None
        self._cut = prefixes.find(self._kind, body) if prefixes is not None and len(body) >= MIN_BODY else None
        self._text = body if self._cut is None else body[: self._cut.opening] + body[self._cut.resume :]
        try:
            self._spans = self._split(self._text)
            if self._cut is not None and self._cut.more and self._empty(self._cut.opening):
                raise self.error(history, "ends in a comma")
        except WireError:
            if self._cut is not None:
                self._split(body)  # says the same of all of it, in which its places count
            raise
        self.members = self._spans if self._cut is None else _moved(self._spans, self._cut)
        self.shape = keys.shape(self._spans, protocol)
        for key in self.shape.rogue:
            if self._given(key):
                raise self.error(key, "names other models than `model`, which no rule would see; use policy.models.fallback instead")

    def _split(self, text: bytes) -> Mapping[str, Span]:
        if len(text) > SMALL:
            jsonio.bounded(text, self.protocol, structure=self.prefixes is not None)
        jsonio.utf8(text, self.protocol)
        return jsonio.members(text, self.protocol)

    def _empty(self, opening: int) -> bool:
        """Return whether nothing stands in the array that opens before a place of the text."""
        place = jsonio.skip(self._text, opening)
        return self._text[place : place + 1] == b"]"

    def _given(self, key: str) -> bool:
        raw = self.raw(key)
        return raw is not None and raw not in NOTHING

    def offers(self) -> tuple[ToolSpec, ...]:
        """Return the tools that members outside the list of tools give the model."""
        if not self.shape.offers:
            return ()
        return tuple(dict.fromkeys(ToolSpec(OFFERS[key], OFFERS[key]) for key in self.shape.offers if self._given(key)))

    def dearer(self) -> tuple[str, ...]:
        """Return the members that can raise the price above that of the table."""
        return tuple(key for key in self.shape.dearer if (raw := self.raw(key)) is not None and raw not in DEARER[key])

    def raw(self, key: str) -> bytes | None:
        """Return the bytes of a member's value, None when it is absent or null."""
        span = self.members.get(key)
        if span is None:
            return None
        value = self.body[span[0] : span[1]]
        return None if value == b"null" else value

    def messages(self, key: str, memo: Memo[Message], parse: Callable[[bytes], Message], dialect: bytes = b"") -> Sequence[Message]:
        """Return the items of an array as messages, through the memo.

        Args:
            key: the member.
            memo: what is known of messages.
            parse: reads one that is not known; given the memo's key.
            dialect: put before the raw bytes in the memo's key, where the same bytes mean something else than in OpenAI's chat.
        """
        start, end = self._spans.get(key, (0, 0))
        items = jsonio.elements(memoryview(self._text)[start:end], self.protocol, f"/{key}")
        cut = self._cut if key == self._history else None
        before: Sequence[Message] = () if cut is None else cut.messages
        if not 0 < len(before) + len(items) <= MAX_MESSAGES:
            raise self.error(key, f"must be an array of 1 to {MAX_MESSAGES} items")
        history = History(key, memo, parse, dialect, self.protocol)
        found = history.read(items, before)
        if key == self._history:
            self.read = Read(history, items)
            if items and self.prefixes is not None and len(self.body) >= MIN_BODY:
                self.prefixes.keep(self._kind, self.body, found, self.members[key], [len(item) for item in items[-4:]], cut)
        return found

    def name(self, key: str) -> str:
        """Return a text that must be there, of 1 to 256 characters."""
        value = self.text(key)
        if value is None or not 0 < len(value) <= MAX_NAME:
            raise self.error(key, f"must be a text of 1 to {MAX_NAME} characters")
        return value

    def model(self, key: str = "model") -> str:
        """Return the name of the model. One that a server might tidy up before it reads it would pass rules under another name."""
        name = self.name(key)
        if not name.isascii() and unicodedata.normalize("NFKC", name) != name:
            raise self.error(key, "has letters in a form that some servers read as others")
        if not name.isprintable() or name != name.strip():
            raise self.error(key, "has spaces around it, or characters that do not print")
        return name

    def text(self, key: str) -> str | None:
        """Return a text, None when the member is absent or something else."""
        raw = self.raw(key)
        if raw is None or raw[0] != 34:
            return None
        return _text_decoder.decode(raw)  # cannot fail: `members` read it as JSON and `utf8` as UTF-8

    def integer(self, key: str, low: int, high: int) -> int | None:
        """Return an integer of `low` to `high`, None when the member is absent."""
        raw = self.raw(key)
        if raw is None:
            return None
        if raw.isdigit() and len(raw) <= 18 and low <= int(raw) <= high:
            return int(raw)
        raise self.error(key, f"must be an integer of {low} to {high}")

    def boolean(self, key: str) -> bool:
        """Return a boolean, False when the member is absent."""
        raw = self.raw(key)
        if raw is None:
            return False
        if raw not in (b"true", b"false"):
            raise self.error(key, "must be true or false")
        return raw == b"true"

    def hints(self, keys: Collection[str], objects: Collection[str] = ("metadata",)) -> dict[str, str]:
        """Return the session signals of the body: the texts under `keys`, and those in `objects`, as `metadata.<key>`."""
        found = {key: text for key in keys if key in self.members and (text := self.text(key))}
        for name in objects:
            raw = self.raw(name)
            if raw is not None and raw.startswith(b"{"):
                for key, value in jsonio.strict(raw, self.protocol, f"/{name}").items():
                    if isinstance(value, str):
                        found[f"{name}.{jsonio.clean(key)}"] = jsonio.clean(value)
        return found

    def json_text(self, key: str) -> str | None:
        """Return a member's JSON as text, None when it is absent."""
        raw = self.raw(key)
        return None if raw is None else raw.decode()

    def unknown(self) -> list[str]:
        """Return the JSON of members that we do not know and that are long enough to hold a prompt: they count as input."""
        spans = [self.members[key] for key in self.shape.unknown]
        return [self.body[start:end].decode() for start, end in spans if end - start > MAX_UNCOUNTED]

    def error(self, key: str, message: str) -> WireError:
        """Return the error that says what is wrong with a member."""
        return WireError(self.protocol, f"/{key}", message)


def _moved(spans: Mapping[str, Span], cut: Cut) -> dict[str, Span]:
    """Return spans in the text without the cut as spans in the whole body."""
    gap = cut.resume - cut.opening
    return {
        key: (start + gap if start >= cut.opening else start, end + gap if end >= cut.opening else end)
        for key, (start, end) in spans.items()
    }


def guarded(parse: Callable[[bytes], T], protocol: str, key: str) -> Callable[[bytes], T]:
    """Return `parse` with Python's own limit on nesting turned into a WireError."""

    def within(raw: bytes) -> T:
        try:
            return parse(raw)
        except RecursionError:
            raise WireError(protocol, f"/{key}", "nested too deep") from None

    return within
