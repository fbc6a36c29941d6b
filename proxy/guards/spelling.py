"""In which spellings a text stands in a body: what is written with escapes, and what no replacement of strings can reach. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from proxy.wire.editing import replace_words

DEEPEST = 4
"""How many levels of JSON text inside JSON text are looked into."""


def nested(text: str) -> str:
    """Return all strings of a text that is JSON and has characters written as `\\uXXXX`, one a line; nothing where it is not."""
    if "\\u" not in text or text.lstrip()[:1] not in ("{", "["):
        return ""
    try:
        return "\n".join(_strings(json.loads(text, strict=False)))
    except (ValueError, RecursionError):
        return ""


def _strings(value: object) -> Iterable[str]:
    waiting = [value]
    while waiting:
        at = waiting.pop()
        if isinstance(at, str):
            yield at
        elif isinstance(at, dict):
            waiting += [*at.values(), *at.keys()]
        elif isinstance(at, list):
            waiting += at


def unhidden(raw: bytes, words: Mapping[str, str]) -> bool:
    """Tell whether some of `words` stand in the JSON `raw` in a spelling that `replace_words` does not know, or in a name."""
    try:
        before, after = _said(raw), _said(replace_words(raw, words))
    except (ValueError, RecursionError):
        return True
    placeholders = set(words.values())
    known = {made for word, made in words.items() if word in before}
    return known != placeholders or any(word in after for word in words)


def left(raw: bytes, words: Mapping[str, str]) -> bool:
    """Tell whether some of `words` still stand in the JSON `raw` after `replace_words`: in a name, as a number, or escaped too deep."""
    try:
        after = _said(replace_words(raw, words))
    except (ValueError, RecursionError):
        return True
    return any(word in after for word in words)


def _said(raw: bytes) -> str:
    """Return all that a body says: its strings and numbers, and the strings of those that are JSON text, `DEEPEST` deep."""
    said = list(_strings(json.loads(raw, parse_int=str, parse_float=str)))
    level = said
    for _ in range(DEEPEST):
        level = [inner for text in level if text.lstrip()[:1] in ("{", "[") for inner in _inner(text)]
        said += level
    return "\n".join(said)


def _inner(text: str) -> list[str]:
    try:
        return list(_strings(json.loads(text, strict=False)))
    except (ValueError, RecursionError):
        return []
