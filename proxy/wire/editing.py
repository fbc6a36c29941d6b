"""Changing words inside JSON without touching anything else: only the string values that hold one of the words are written anew.

Names of members stay as they are. A word is found however its string is written: `\\u0040` is an at sign here as it is at the provider.
Strings that hold JSON text themselves (the arguments of a tool call) are looked into as well, one level deep. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

_string = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_colon = re.compile(rb"[ \t\r\n]*:")

Change = Callable[[str], str]


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


def replace_words(raw: bytes, words: Mapping[str, str]) -> bytes:
    """Return the JSON `raw` with each of `words` replaced by what it maps to, in string values alone; longer words first."""
    if not words:
        return raw
    order = sorted(words, key=len, reverse=True)
    plain = [word.encode("utf-8", "surrogatepass") for word in order]

    def may(token: bytes) -> bool:
        return b"\\" in token or any(word in token for word in plain)

    def swap(text: str) -> str:
        for word in order:
            if word in text:
                text = text.replace(word, words[word])
        return text

    def change(text: str) -> str:
        new = swap(text)
        return new if "\\" not in new or new[:1] not in "{[" else _inside(new, swap)

    return change_strings(raw, change, may)


def _inside(text: str, swap: Change) -> str:
    """Return `text`, which may be JSON itself, with the strings in it swapped where that is needed."""
    inner = text.encode("utf-8", "surrogatepass")
    changed = change_strings(inner, swap, lambda token: b"\\" in token)
    return text if changed is inner else changed.decode("utf-8", "surrogatepass")


def event_json(raw: bytes) -> Any:
    """Return the JSON that an event of a stream carries, in whichever framing; None when it carries none."""
    start, end = raw.find(b"{"), raw.rfind(b"}")
    if start < 0 or end < start:
        return None
    try:
        return json.loads(raw[start : end + 1])
    except (ValueError, RecursionError):
        return None


def event_with(raw: bytes, value: Any) -> bytes:
    """Return the event `raw` with other JSON in the place of its own; what stands around it stays."""
    start, end = raw.find(b"{"), raw.rfind(b"}")
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=raw.isascii())
    return raw[:start] + text.encode("utf-8", "replace") + raw[end + 1 :]
