"""Placeholders: what the model reads instead of something that it must not see, and how the agent gets the original back.

`[EMAIL_1]`, `[EMAIL_2]`, `[CARD_1]`: numbered by first appearance in the request. Clients send the whole conversation each time, so the
same text has the same placeholder on every turn and every replica, and nothing has to be kept. A placeholder that stands in the
conversation already, because somebody wrote it there, is left to its writer and the next number is taken.

Where the provider keeps the history (`salt`), numbers of two requests would meet, so they carry a mark of the request.

A text is found where the model reads it and hidden where the body writes it: arguments that are an object here are JSON text there, and a
line break in them is two characters. Both spellings get the placeholder.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from proxy.engine.exchange import Exchange

MAX_LABEL = 24
REACH = MAX_LABEL + 24
"""The most characters of a placeholder."""
PLACEHOLDER = re.compile(r"\[[A-Z][A-Z0-9_]*_(?:[0-9a-f]{4}-)?[0-9]+\]")

_WRITTEN = re.compile(PLACEHOLDER.pattern.encode())


class Redactions:
    """The placeholders of one exchange.

    Args:
        taken: tells whether a placeholder stands in the request already.
        salt: a short mark that keeps the numbers of two requests apart; empty where the request has the whole conversation.
    """

    __slots__ = ("_next", "_salt", "_taken", "back", "forth")

    def __init__(self, taken: Callable[[str], bool], salt: str = "") -> None:
        self._taken, self._salt = taken, salt
        self._next: dict[str, int] = {}
        self.forth: dict[str, str] = {}
        self.back: dict[str, str] = {}

    def hide(self, text: str, label: str, quoted: bool = False) -> str:
        """Return the placeholder of `text`, which stands in JSON text where `quoted`, so that its plain spelling is hidden as well."""
        plain = unquoted(text) if quoted and "\\" in text else text
        known = self.forth.get(plain)
        if known is not None:
            self.forth[text] = known
            self.forth[plain] = self.forth.pop(plain)  # last, so that it is what comes back
            return known
        label = label[:MAX_LABEL] or "REDACTED"
        number = self._next.get(label, 0)
        while True:
            number += 1
            made = f"[{label}_{self._salt}{number}]"
            if not self._taken(made):
                break
        self._next[label] = number
        self.forth[text] = made
        self.forth[plain] = made
        self.back[made] = plain
        return made


def redactions_of(ex: Exchange) -> Redactions:
    """Return what hides texts in the request of `ex`, beside what is hidden already."""
    given = {*ex.redactions.values(), *[found.decode() for found in _WRITTEN.findall(ex.call.body)]}

    def taken(placeholder: str) -> bool:
        return placeholder in given

    made = Redactions(taken, ex.id[-4:] + "-" if ex.call.thread else "")
    made.forth.update(ex.redactions)
    return made


def unquoted(text: str) -> str:
    """Return what the inside of a JSON string says; the same text where it is none."""
    try:
        said = json.loads(f'"{text}"', strict=False)
    except ValueError:
        return text
    return str(said)
