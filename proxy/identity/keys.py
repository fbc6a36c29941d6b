"""Keys: how a caller proves which agent it is.

A key is `fg-<agent>-<32 random characters>`; the name in it is for people, only the hash of the whole counts. What is stored is the
SHA-256 (hex): the random part has 190 bits, so a slow hash would add nothing but a way to make the proxy busy. A key that is unknown,
expired, too long or not ASCII is no key. Where a request carries two different keys nobody guesses which was meant: it is refused.

A key may be bound to a run and to an amount. One that is bound to a run of another key is that key's child, and holds no longer than it.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import math
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
from proxy.identity.runs import RUN, parent_of, whole
from proxy.model import Nanos, Principal
from proxy.money import nanos
from proxy.shapes import Errors, Number, Table, Text, quoted

MAX_KEY = 256
MOST_PARENTS = 8
"""A chain of keys longer than this does not hold."""
_BASE62 = string.digits + string.ascii_letters
_AGENT = r"[a-z0-9*?][a-z0-9._*?-]*(/[a-z0-9*?][a-z0-9._*?-]*)*"


class Presented(enum.Enum):
    """What a request presented where it is not one key."""

    CONFLICT = "two different keys"


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """One key as it is stored: the agent (or glob of agents) that it speaks for, its hash, and when it ends (UTC seconds).

    Attributes:
        id: its public name: the first 8 hex characters of the hash.
        run: the run that all of its calls belong to, empty for none; a name alone is a run of its own.
        usd: the most that it may spend in all, in nanos; None for no bound.
    """

    agent: str
    sha256: str
    expires: float | None = None
    created: float = 0.0
    id: str = ""
    run: str = ""
    usd: Nanos | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", self.id or self.sha256[:8])
        object.__setattr__(self, "run", whole(self.run, self.id))

    @property
    def parent(self) -> str:
        """The id of the key whose child it is, empty for none."""
        return parent_of(self.run, self.id)

    def to_dict(self) -> dict[str, str | int | float | None]:
        """Return it as plain data, for stores that keep text."""
        return {name: getattr(self, name) for name in _FIELDS}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> KeyEntry:
        """Return what `to_dict` wrote; members that it does not know are passed over. Raises KeyError without an agent or a hash."""
        known = {name: data[name] for name in _FIELDS if name in data}
        return cls(**{"agent": data["agent"], "sha256": data["sha256"]} | known)


_FIELDS = ("agent", "sha256", "expires", "created", "id", "run", "usd")


class KeyStore(Protocol):
    """Where keys that were made on the command line are kept. Called off the hot path; may block."""

    def keys(self) -> list[KeyEntry]:
        """Return all keys."""
        ...

    def add(self, entry: KeyEntry) -> None:
        """Keep `entry`."""
        ...

    def revoke(self, id_or_agent: str) -> int:
        """Remove the keys with this id or for this agent, and their children, and return how many there were."""
        ...

    def version(self) -> int:
        """Return a number that changes whenever the keys do."""
        ...

    def close(self) -> None:
        """Let go of what is open."""
        ...


class KeyRing:
    """All keys that hold now, by hash. Immutable; made anew when the file or the store changes.

    A child key ends with its parent, also where that one was taken out of a file or ran out of time.
    """

    __slots__ = ("_entries",)

    def __init__(self, entries: Iterable[KeyEntry]) -> None:
        every = list(entries)
        by_id = {e.id: e for e in every}
        self._entries = {e.sha256: (e.sha256, Principal(e.agent, e.id, e.run, e.usd), _ends(e, by_id)) for e in every}

    def __len__(self) -> int:
        return len(self._entries)

    def holds(self, entry: KeyEntry, now: float) -> bool:
        """Return whether `entry` is a key at `now` (UTC seconds)."""
        found = self._entries.get(entry.sha256)
        return found is not None and now < found[2]

    def find(self, presented: str, now: float) -> Principal | None:
        """Return whom `presented` proves at `now` (UTC seconds), or None."""
        if len(presented) > MAX_KEY or not presented.isascii():
            return None
        found = hashlib.sha256(presented.encode()).hexdigest()
        entry = self._entries.get(found)
        if entry is None or not hmac.compare_digest(entry[0], found) or now >= entry[2]:
            return None
        return entry[1]


def _ends(entry: KeyEntry, by_id: Mapping[str, KeyEntry]) -> float:
    """Return when `entry` ends, UTC seconds: with the first of itself and those that it is a child of; -inf where one is gone."""
    ends = math.inf
    at: KeyEntry | None = entry
    for _ in range(MOST_PARENTS):
        if at is None:
            return -math.inf
        ends = ends if at.expires is None else min(ends, at.expires)
        if not at.parent:
            return ends
        at = by_id.get(at.parent)
    return -math.inf


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
    found = found or present(headers)
    if len(headers) == found.count:
        given = [_key_in(name, headers[name]) for name in found.carriers]
    else:
        given = [_key_in(name, value) for name, value in headers.items() if name.lower() in CARRIERS]
    if "key=" in query:
        given += [unquote_plus(value) for name, _, value in (pair.partition("=") for pair in query.split("&")) if name == "key"]
    if len(given) == 1:
        return given[0] or None
    keys = {key for key in given if key}
    if len(keys) > 1:
        return Presented.CONFLICT
    return keys.pop() if keys else None


def _key_in(name: str, value: str) -> str:
    """Return the key in the value of a header that can carry one, nothing where it is none of ours."""
    if name.lower() == "authorization":
        value = value[7:] if value[:7].lower() == "bearer " else ""
    return value.strip()


_ENTRY = Table(
    {
        "agent": Text(MAX_ID, _AGENT, "an agent's name, or a glob such as team-a/*"),
        "sha256": Text(64, r"[0-9a-fA-F]{64}", "64 hex characters, the SHA-256 of the whole key", "fleetgate keys create prints a key"),
        "expires": Text(40, what="a date or time such as 2027-01-31 or 2027-01-31T12:00:00Z"),
        "run": Text(256, RUN, "a run: a name for one of its own, KEYID/NAME for one of another key"),
        "usd": Number(0, 10**9),
    },
    required=("agent", "sha256"),
)


def load_keys_file(path: Path, file: str | None = None) -> list[KeyEntry]:
    """Return the keys of the YAML file at `path`: `keys: [{agent, sha256, expires, run, usd}]`.

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
        usd = nanos(item["usd"]) if "usd" in item else None
        entry = KeyEntry(item["agent"], item["sha256"].lower(), expires, run=item.get("run", ""), usd=usd)
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
