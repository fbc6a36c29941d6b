"""Changing words inside JSON without touching anything else: only the string values that hold one of the words are written anew. And
what the editors of replies share.

Names of members stay as they are. A word is found however its string is written: `\\u0040` is an at sign here as it is at the provider.
Strings that hold JSON text themselves (the arguments of a tool call) are looked into as well, one level deep. Pure.
"""

from __future__ import annotations

import json
import re
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar

import re2

from proxy.wire import jsonio
from proxy.wire.base import THOUGHT, Editor
from proxy.wire.sse import BOM, data_of

_string = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_colon = re.compile(rb"[ \t\r\n]*:")

Change = Callable[[str], str]
Words = tuple[str, dict[str, Any], str]
"""A text in a reply: its channel, the object that holds it, and the key."""
FEW = 32
"""Words up to which the longest are replaced first, one after the other; more are replaced in one pass, as they come."""
FINDER_BYTES = 1 << 30
"""The most memory that a search for all words takes; it needs some 20 bytes a character of theirs, and bodies are bounded."""
_AROUND = b"[, \t\r\n"
"""What may stand around the JSON of an event that is no server-sent one."""


def change_strings(raw: bytes, change: Change, may: Callable[[bytes], bool] = lambda token: True) -> bytes:
    """Return the JSON `raw` with each string value put through `change`; values that it leaves alone keep their bytes.

    Args:
        raw: valid JSON, or several values and other text between them (events of a stream).
        change: returns the new text, or the same one.
        may: a cheap test of the token as it is written, quotes included; False leaves it alone unread.
    """
    parts: list[bytes] = []
    position = 0
    for match in _string.finditer(raw):
        token = match.group()
        if not may(token) or _colon.match(raw, match.end()):
            continue
        try:
            text = json.loads(token)
        except ValueError:
            continue
        new = change(text)
        if new != text:
            parts += [raw[position : match.start()], encoded(new, token)]
            position = match.end()
    if not position:
        return raw
    parts.append(raw[position:])
    return b"".join(parts)


def encoded(text: str, like: bytes = b"") -> bytes:
    """Return `text` as a JSON string; in ASCII alone where `like`, the token that it replaces, is."""
    if like.isascii():
        return json.dumps(text).encode()
    return json.dumps(text, ensure_ascii=False).encode("utf-8", "replace")


class Finder:
    """Finds any of many words in time linear in the text, the longest of those that begin at one place.

    Args:
        words: what to find, and what stands in its place.
    """

    def __init__(self, words: Mapping[str, str]) -> None:
        self._words = {word.encode("utf-8", "surrogatepass"): new.encode("utf-8", "surrogatepass") for word, new in words.items()}
        options = re2.Options()
        options.encoding, options.longest_match, options.max_mem = re2.Options.Encoding.LATIN1, True, FINDER_BYTES
        self._any = re2.compile(b"|".join(map(re2.escape, sorted(self._words))), options)

    def any(self, text: bytes) -> bool:
        """Tell whether any of the words stands in `text`."""
        return self._any.search(text) is not None

    def swapped(self, text: str) -> str:
        """Return `text` with the words replaced."""
        raw, position = text.encode("utf-8", "surrogatepass"), 0
        parts: list[bytes] = []
        for match in self._any.finditer(raw):
            parts += [raw[position : match.start()], self._words[match.group()]]
            position = match.end()
        return b"".join([*parts, raw[position:]]).decode("utf-8", "surrogatepass") if parts else text


def stands(raw: bytes, words: Mapping[str, str]) -> bool:
    """Tell whether any of `words` still stands in the JSON `raw`: in a string, a name or a number, as it is or as JSON writes it."""
    return bool(words) and (Finder(words).any(raw) or Finder({encoded(word).decode()[1:-1]: "" for word in words}).any(raw))


def replace_words(raw: bytes, words: Mapping[str, str]) -> bytes:
    """Return the JSON `raw` with each of `words` replaced by what it maps to, in string values alone; longer words first."""
    if not words:
        return raw
    order = sorted(words, key=len, reverse=True)
    known = Finder(words)
    finders: dict[Change, Finder] = {str: known}

    def may(token: bytes) -> bool:
        return b"\\" in token or known.any(token)

    def swap(text: str, like: Change = str) -> str:
        if len(order) > FEW:
            if like not in finders:
                finders[like] = Finder({like(word): like(new) for word, new in words.items()})
            return finders[like].swapped(text)
        for word in order:
            if like(word) in text:
                text = text.replace(like(word), like(words[word]))
        return text

    def change(text: str) -> str:
        if text[:1] not in "{[" or jsonio.loads(text.encode("utf-8", "surrogatepass")) is None:
            return swap(text)
        new = swap(text, _inner)
        return _inside(new, swap) if "\\" in new else new

    return change_strings(raw, change, may)


def _inner(word: str) -> str:
    """Return a word as it is written inside of a JSON string."""
    return json.dumps(word, ensure_ascii=False)[1:-1]


def _inside(text: str, swap: Change) -> str:
    """Return `text`, which may be JSON itself, with the strings in it swapped where that is needed."""
    inner = text.encode("utf-8", "surrogatepass")
    changed = change_strings(inner, swap, lambda token: b"\\" in token)
    return text if changed is inner else changed.decode("utf-8", "surrogatepass")


class JsonEditor(Editor):
    """What the editors share: finding an event's JSON, reading its texts, putting others in their place, and writing it again.

    Attributes:
        sse: the JSON stands in the data of server-sent events; else an event is JSON and what parts it from the next.
    """

    sse: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self._speaking: dict[str, set[str]] = {}
        self._alone = ""
        """The channel that spoke last, where it spoke alone: most events go on with it."""
        self._hides = False

    @abstractmethod
    def spoken(self, value: dict[str, Any]) -> Iterable[Words]:
        """Return the texts of one event, or of a whole reply, in order. The name of a channel begins with that of its group and a slash."""

    @abstractmethod
    def over(self, value: dict[str, Any]) -> Iterable[str]:
        """Return the groups of channels that end with this event."""

    @abstractmethod
    def change(self, value: dict[str, Any]) -> list[dict[str, Any]] | None:
        """Change one event where its calls, or calls before it, ask for that; None where nothing had to change.

        Returns:
            What leaves: `value` itself, changed, or events in its place.
        """

    @abstractmethod
    def recalled(self, reply: dict[str, Any]) -> bool:
        """Change the tool calls of a whole reply; tell whether anything did."""

    def texts(self, raw: bytes) -> list[tuple[str, str | None]]:
        """See `Editor.texts`. Who speaks in one group lets the others in it end: after the thoughts come the words."""
        value = event_json(raw, self.sse)
        if not isinstance(value, dict):
            return []
        found: list[tuple[str, str | None]] = [(name, holder[key]) for name, holder, key in self.spoken(value)]
        if len(found) != 1 or found[0][0] != self._alone:
            found = self._ended(found)
        for group in self.over(value):
            found += [(name, None) for name in self._speaking.pop(group, ())]
            self._alone = ""
        return found

    def _ended(self, found: list[tuple[str, str | None]]) -> list[tuple[str, str | None]]:
        """Return `found` behind the channels that end with it."""
        groups = dict[str, set[str]]()
        for name, _ in found:
            groups.setdefault(name.removeprefix(THOUGHT).partition("/")[0], set()).add(name)
        ended = [(name, None) for group, names in groups.items() for name in self._speaking.get(group, names) - names]
        self._speaking |= groups
        if found:
            self._alone = found[0][0] if len(found) == 1 else ""
        return [*ended, *found]

    def edit(self, raw: bytes, texts: Mapping[str, str]) -> list[bytes]:
        """See `Editor.edit`."""
        value = event_json(raw, self.sse)
        if not isinstance(value, dict):
            return [raw]
        if texts:
            self._hides = True
            _put(texts, self.spoken(value))
        bare = self._hides and b"ogprobs" in raw and _bared(value)
        new = self.change(value)
        if new is None:
            return [event_with(raw, value, self.sse)] if texts or bare else [raw]
        return [event_with(raw, one, self.sse) if one is value else named_event(one) for one in new]

    def whole(self, body: bytes, change: Change) -> bytes:
        """See `Editor.whole`."""
        reply = jsonio.loads(body)
        if not isinstance(reply, dict):
            return body
        changed = False
        for name, holder, key in list(self.spoken(reply)):
            new = change(holder[key])
            if new != holder[key] and not name.startswith(THOUGHT):
                holder[key], changed = new, True
        if changed:
            _bared(reply)
        changed = self.recalled(reply) or changed
        return jsonio.dumps(reply) if changed else body


def _put(texts: Mapping[str, str], words: Iterable[Words]) -> None:
    """Put what the texts of each channel become where the first of them stands; the others are in it."""
    left = dict(texts)
    for name, holder, key in list(words):
        if name in texts:
            holder[key] = left.pop(name, "")


def _bared(value: dict[str, Any]) -> bool:
    """Take out what is told of single tokens, since they would spell what was hidden; tell whether there was any."""
    found, rest = False, list[Any]([value])
    while rest:
        inner = rest.pop()
        if isinstance(inner, dict):
            for key in ("logprobs", "logprobsResult"):
                if inner.get(key):
                    inner[key], found = ([] if isinstance(inner[key], list) else None), True
            rest += inner.values()
        elif isinstance(inner, list):
            rest += inner
    return found


def strings(name: str, holder: dict[str, Any], *keys: str) -> Iterator[Words]:
    """Yield the texts that stand under `keys` of `holder`, in the channel `name`."""
    for key in keys:
        if isinstance(holder.get(key), str) and holder[key]:
            yield name, holder, key


def as_it_stands(name: str, value: Any) -> Words:
    """Return a value that is no plain text as one that can stop a reply and cannot be changed."""
    return f"{THOUGHT}{name}", {"": jsonio.readable(value)}, ""


def event_json(raw: bytes, sse: bool = True) -> Any:
    """Return the JSON that an event of a stream carries; None when it carries none."""
    return jsonio.parsed(data_of(raw) if sse else raw.strip(_AROUND))


def event_with(raw: bytes, value: Any, sse: bool = True) -> bytes:
    """Return the event `raw` with other JSON in the place of its own; what stands around it stays."""
    data = jsonio.dumps(value)
    if not sse:
        start = len(raw) - len(raw.lstrip(_AROUND))
        return raw[:start] + data + raw[len(raw.rstrip(_AROUND)) :]
    lines, written = list[bytes](), False
    for line in raw.splitlines(keepends=True):
        body = line.removeprefix(BOM)
        if not body.startswith(b"data:"):
            lines.append(line)
        elif not written:
            end = body[len(body.rstrip(b"\r\n")) :]
            lines.append(line[: len(line) - len(body)] + b"data: " + data + end)
            written = True
    return b"".join(lines)


def named_event(value: Mapping[str, Any]) -> bytes:
    """Return an event of our own whose name is its type."""
    return b"event: %b\ndata: %b\n\n" % (str(value["type"]).encode(), jsonio.dumps(value))
