"""Keys: how a caller proves which agent it is.

A key is `fg-<agent>-<32 random characters>`; the name in it is for people, only the hash of the whole counts. What is stored is the
SHA-256 (hex): the random part has 190 bits, so a slow hash would add nothing but a way to make the proxy busy. A key that is unknown,
expired, too long or not ASCII is no key. Where a request carries two different keys nobody guesses which was meant: it is refused.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import re
import secrets
import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote_plus

from proxy.config import ConfigError, ConfigErrors, Doc, load_yaml
from proxy.identity.fields import MAX_ID
from proxy.identity.headers import CARRIERS, Present, present
from proxy.model import Principal
from proxy.shapes import Errors, Table, Text, quoted

MAX_KEY = 256
_BASE62 = string.digits + string.ascii_letters
_AGENT = r"[a-z0-9*?][a-z0-9._*?-]*(/[a-z0-9*?][a-z0-9._*?-]*)*"


class Presented(enum.Enum):
    """What a request presented where it is not one key."""

    CONFLICT = "two different keys"


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """One key as it is stored: the agent (or glob of agents) that it speaks for, its hash, and when it ends (UTC seconds).

    `id` is its public name: the first 8 hex characters of the hash.
    """

    agent: str
    sha256: str
    expires: float | None = None
    created: float = 0.0
    id: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", self.id or self.sha256[:8])


class KeyStore(Protocol):
    """Where keys that were made on the command line are kept. Called off the hot path; may block."""

    def keys(self) -> list[KeyEntry]:
        """Return all keys."""
        ...

    def add(self, entry: KeyEntry) -> None:
        """Keep `entry`."""
        ...

    def revoke(self, id_or_agent: str) -> int:
        """Remove the keys with this id or for this agent and return how many there were."""
        ...

    def version(self) -> int:
        """Return a number that changes whenever the keys do."""
        ...


class KeyRing:
    """All keys that hold now, by hash. Immutable; made anew when the file or the store changes."""

    __slots__ = ("_entries",)

    def __init__(self, entries: Iterable[KeyEntry]) -> None:
        self._entries = {e.sha256: (e.sha256, Principal(e.agent, e.id), e.expires) for e in entries}

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, presented: str, now: float) -> Principal | None:
        """Return whom `presented` proves at `now` (UTC seconds), or None."""
        if len(presented) > MAX_KEY or not presented.isascii():
            return None
        found = hashlib.sha256(presented.encode()).hexdigest()
        entry = self._entries.get(found)
        if entry is None or not hmac.compare_digest(entry[0], found) or (entry[2] is not None and now >= entry[2]):
            return None
        return entry[1]


def new_key(agent: str) -> str:
    """Return a new random key for `agent` (or a glob of agents). It is shown once and never stored."""
    name = re.sub(r"[^a-z0-9]+", "-", agent.lower()).strip("-")[:MAX_ID] or "fleet"
    return f"fg-{name}-{''.join(secrets.choice(_BASE62) for _ in range(32))}"


def hash_key(key: str) -> str:
    """Return what is stored of `key`."""
    return hashlib.sha256(key.encode()).hexdigest()


def presented_key(headers: Mapping[str, str], query: str, found: Present | None = None) -> str | Presented | None:
    """Return the key that a request carries, None without one, or `Presented.CONFLICT` where two carriers disagree.

    Carriers: `Authorization: Bearer`, `x-api-key`, `x-goog-api-key`, `api-key`, and `key=` in `query`. An `Authorization` of another
    scheme is not ours and is passed over. A carrier that is there twice counts twice.
    """
    key: str | None = None
    found = found or present(headers)
    given = [(name, headers[name]) for name in found.carriers] if len(headers) == found.count else list(headers.items())
    for name, value in given:
        low = name.lower()
        if low == "authorization":
            value = value[7:] if value[:7].lower() == "bearer " else ""
        elif low not in CARRIERS:
            continue
        if value := value.strip():
            if key is not None and value != key:
                return Presented.CONFLICT
            key = value
    if "key=" in query:
        for pair in query.split("&"):
            name, _, value = pair.partition("=")
            if name == "key" and value:
                value = unquote_plus(value)
                if key is not None and value != key:
                    return Presented.CONFLICT
                key = value
    return key


_ENTRY = Table(
    {
        "agent": Text(MAX_ID, _AGENT, "an agent's name, or a glob such as team-a/*"),
        "sha256": Text(64, r"[0-9a-fA-F]{64}", "64 hex characters, the SHA-256 of the whole key", "fleetgate keys create prints a key"),
        "expires": Text(40, what="a date or time such as 2027-01-31 or 2027-01-31T12:00:00Z"),
    },
    required=("agent", "sha256"),
)


def load_keys_file(path: Path, file: str | None = None) -> list[KeyEntry]:
    """Return the keys of the YAML file at `path`: `keys: [{agent, sha256, expires}]`.

    A date means the start of that day, and a time without zone is UTC.

    Raises:
        ConfigErrors: everything that is wrong in the file.
    """
    try:
        doc = load_yaml(path, file)
    except ConfigError as e:
        raise ConfigErrors([e]) from None
    value = doc.value
    if not isinstance(value, dict) or not isinstance(value.get("keys"), list):
        raise ConfigErrors([doc.error((), "no list of keys", "keys: [{agent, sha256, expires}]")])
    errors: Errors = [doc.error((key,), "unknown key", "keys") for key in value if key != "keys"]
    entries: dict[str, KeyEntry] = {}
    for i, item in enumerate(value["keys"]):
        wrong = _ENTRY.check(doc, ("keys", i), item)
        expires = None if wrong else _expires(doc, i, item, wrong)
        errors += wrong
        if wrong:
            continue
        entry = KeyEntry(item["agent"], item["sha256"].lower(), expires)
        if entry.sha256 in entries:
            errors.append(doc.error(("keys", i, "sha256"), "this key stands here twice", "each key once"))
        entries[entry.sha256] = entry
    if errors:
        raise ConfigErrors(errors)
    return list(entries.values())


def _expires(doc: Doc, index: int, item: dict[str, Any], errors: Errors) -> float | None:
    text = item.get("expires")
    if text is None:
        return None
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        errors.append(doc.error(("keys", index, "expires"), quoted(text), "a date or time such as 2027-01-31 or 2027-01-31T12:00:00Z"))
        return None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
