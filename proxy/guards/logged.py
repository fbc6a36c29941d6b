"""What is kept of a text where an agent's `data.log_content` has content logged: nothing, a hash of it, the text without secrets and
personal data, or the text without secrets. Secrets are kept at no level.

Decides from the level and from what the text guards find. More is looked at than is kept, so that what begins in what is kept is seen
whole; a finding that goes on beyond what can be seen takes the rest of the text with it. A hash is a plain SHA-256, so that equal texts
show as equal: whoever has it can try short texts one by one. Pure; never raises.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from proxy.guards.base import TextGuard
from proxy.guards.catalog import text_guards
from proxy.wire.editing import change_strings

LOGS = frozenset(("hash", "redacted", "full"))
"""The levels at which anything is kept."""
AHEAD = 8192
"""Characters beyond what is kept that are looked at, at least."""
MOST_STRINGS = 1000
"""Strings with escapes in arguments of a call that are read as what they say."""
TOO_FINE = "[TOO MANY TEXTS]"


def hashed(text: str) -> str:
    """Return the hash of `text` as it is kept."""
    return f"sha256:{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()}"


def logged(text: str, level: str, most: int) -> str | None:
    """Return what is kept of `text` at `level`, of a text its first `most` characters; None for nothing."""
    if level == "hash":
        return hashed(text)
    return hidden(text, _guards(level), most) if level in LOGS else None


def logged_json(text: str, level: str, most: int) -> str | None:
    """The same for JSON text, such as arguments of a tool call: strings with escapes in them are also read as what they say.

    Of what has more of those than anybody writes nothing is kept, since each costs a look.
    """
    if level == "hash" or level not in LOGS:
        return logged(text, level, most)
    heard, guards, escaped = text[: _heard(most)], _guards(level), 0

    def may(token: bytes) -> bool:
        nonlocal escaped
        escaped += b"\\" in token
        return b"\\" in token and escaped <= MOST_STRINGS

    raw = heard.encode("utf-8", "surrogatepass")
    said = change_strings(raw, lambda value: hidden(value, guards, len(value)), may).decode("utf-8", "surrogatepass")
    if escaped > MOST_STRINGS:
        return TOO_FINE[:most]
    if len(heard) < len(text):  # what moves up from behind what is kept was not seen to its end
        most = max(0, most - max(0, len(heard) - len(said)))
    return hidden(said, guards, most)


def hidden(text: str, guards: Sequence[TextGuard], most: int) -> str:
    """Return the first `most` characters of `text` with what `guards` find in it replaced by its label."""
    text = text[: _heard(most)]
    for guard in guards:
        parts, position, kept = list[str](), 0, most
        for hit in guard.scan(text, "reply"):
            label = f"[{hit.label or guard.name}]"
            unseen = hit.open or (guard.reach is not None and hit.end - hit.start >= guard.reach)  # it may go on
            end = len(text) if unseen else hit.end
            if hit.start < most:
                kept += len(label) - (min(end, most) - hit.start)
            parts += [text[position : hit.start], label]
            position = end
            if unseen:
                break
        text, most = "".join([*parts, text[position:]]), kept
    return text[:most]


def _heard(most: int) -> int:
    return most + max(most, AHEAD)


def _guards(level: str) -> list[TextGuard]:
    wanted = ("secrets", "pii") if level == "redacted" else ("secrets",)
    return [guard for guard in text_guards() if guard.name in wanted]
