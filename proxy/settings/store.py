"""The setting `store`: a URL, or a mapping with a URL and what only a Redis store has.

Decides what each part may be and that no password stands in a file that people commit; connects to nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from proxy.config import near
from proxy.model import Nanos
from proxy.money import nanos
from proxy.settings.kinds import Number, PathOf, SecretRef, Surroundings, Whole, Wrong, shown
from proxy.stores.redis_place import TENANT, Place, is_redis, place_of

EXPECTED = "`memory:`, `sqlite:PATH`, `redis://HOST:PORT/DB`, or a mapping with url"
NONE = Nanos(0)
MOST_RELEASE = 128
RECORDS = 200_000
"""The default of `records`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """Where counters, keys and the ledger live.

    Attributes:
        kind: `memory`, `sqlite` or `redis`.
        path: the SQLite file.
        place: the Redis server.
        lease: what this replica may let through while the Redis server is away, in nanos.
        records: most records that the server keeps for the ledger.
    """

    kind: str = "memory"
    path: Path | None = None
    place: Place | None = None
    lease: Nanos = NONE
    records: int = RECORDS

    @property
    def url(self) -> str:
        """The store in short, without its password."""
        return str(self.place) if self.place is not None else "memory:" if self.path is None else f"sqlite:{self.path}"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a store is read with.

    Attributes:
        at: the folder and the environment.
        committed: the value stands in the file, so it may hold no password.
        wrong: told of each part that is wrong, by its key.
        note: told of each secret that is read from a file.
    """

    at: Surroundings
    committed: bool
    wrong: Callable[[str, Wrong], None]
    note: Callable[[object], None]


def read_store(value: object, asked: Asked) -> Store:
    """Return the store that `value` means. What is wrong with a part of a mapping is told, and the rest is read nevertheless.

    Raises:
        Wrong: it means none.
    """
    if isinstance(value, dict):
        return _mapping(value, asked)
    return _url(value, asked.at, committed=asked.committed)


def _url(value: object, at: Surroundings, *, committed: bool) -> Store:
    scheme, _, rest = value.partition(":") if isinstance(value, str) else ("", "", "")
    if scheme == "memory" and not rest:
        return Store(kind="memory")
    if isinstance(value, str) and is_redis(value):
        try:
            place = place_of(value)
        except ValueError as e:
            raise Wrong(*str(e).split("; expected ", 1)) from None
        if committed and place.password:
            raise Wrong("a password written out", "store: {url: …, password: env:NAME}")
        return Store(kind="redis", place=place)
    if scheme != "sqlite" or not rest.strip() or "\0" in rest:
        raise Wrong(shown(value), EXPECTED)
    if rest.startswith("//"):
        raise Wrong("sqlite: with a URL", EXPECTED, "one slash for an absolute path: sqlite:/var/lib/fleetgate.db")
    return Store(kind="sqlite", path=at.folder / rest)


def _mapping(value: Mapping[Any, Any], asked: Asked) -> Store:
    for key in value:
        if key not in ("url", *_PARTS):
            asked.wrong(str(key), Wrong("unknown key", hint=near(str(key), ("url", *_PARTS))))
    url, secret = value.get("url"), False
    if isinstance(url, str) and url.startswith(("env:", "file:")):
        asked.note(url)
        url, secret = _revealed(url, asked), True
    store = _url(url, asked.at, committed=asked.committed and not secret)
    for key, read in _PARTS.items():
        if key not in value or value[key] is None:
            continue
        try:
            if store.place is None:
                raise Wrong("a setting of a Redis store", hint="leave it out")
            store = read(store, value[key], asked)
        except Wrong as e:
            asked.wrong(key, e)
    _encrypted(store, value, asked)
    return store


def _revealed(value: object, asked: Asked) -> str:
    """Return the secret that `value` names. A provider without a key can be simulated, a store cannot."""
    found = SecretRef().read(value, replace(asked.at, simulate=False))
    return "" if found is None else found.reveal()


def _placed(store: Store, **change: Any) -> Store:
    return store if store.place is None else replace(store, place=replace(store.place, **change))


def _tenant(store: Store, value: object, asked: Asked) -> Store:
    if not isinstance(value, str) or not TENANT.fullmatch(value):
        raise Wrong(shown(value), "letters, digits, . _ and -, 64 at most")
    return _placed(store, tenant=value)


def _release(store: Store, value: object, asked: Asked) -> Store:
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= MOST_RELEASE:
        raise Wrong(shown(value), f"a name of this installation, {MOST_RELEASE} characters at most")
    return _placed(store, release=value)


def _username(store: Store, value: object, asked: Asked) -> Store:
    if not isinstance(value, str) or not value.isprintable() or not value:
        raise Wrong(shown(value), "the name of a user")
    return _placed(store, username=value)


def _password(store: Store, value: object, asked: Asked) -> Store:
    asked.note(value)
    return _placed(store, password=_revealed(value, asked))


def _ca(store: Store, value: object, asked: Asked) -> Store:
    return _placed(store, ca=PathOf("file").read(value, asked.at))


def _cert(store: Store, value: object, asked: Asked) -> Store:
    return _placed(store, cert=PathOf("file").read(value, asked.at))


def _cert_key(store: Store, value: object, asked: Asked) -> Store:
    return _placed(store, cert_key=PathOf("file").read(value, asked.at))


def _sentinel_password(store: Store, value: object, asked: Asked) -> Store:
    if store.place is None or store.place.kind != "sentinel":
        raise Wrong("a password of sentinels, and the URL names none", "redis+sentinel://…, or leave it out")
    asked.note(value)
    return _placed(store, sentinel_password=_revealed(value, asked))


def _encrypted(store: Store, value: Mapping[Any, Any], asked: Asked) -> None:
    """Tell of what belongs to TLS, where there is none or half of it is missing: nobody may take for protected what is not."""
    for key in ("ca", "cert", "cert_key"):
        if value.get(key) is not None and store.place is not None and not store.place.tls:
            asked.wrong(key, Wrong("given, and the URL is not encrypted", "rediss://… in url, or leave it out"))
    for key, other in (("cert", "cert_key"), ("cert_key", "cert")):
        if value.get(key) is not None and value.get(other) is None:
            asked.wrong(key, Wrong(f"without {other}", "both, or none"))


def _timeout(store: Store, value: object, asked: Asked) -> Store:
    seconds = Number(0, 30, above=True).read(value, asked.at)
    return _placed(store, connect_s=seconds, command_s=seconds)


def _lease(store: Store, value: object, asked: Asked) -> Store:
    expected = "US dollars, from 0 to 1,000,000"
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1_000_000:
        raise Wrong(shown(value), expected)
    return replace(store, lease=nanos(value))


def _records(store: Store, value: object, asked: Asked) -> Store:
    return replace(store, records=Whole(1000, 100_000_000).read(value, asked.at))


_PARTS: dict[str, Callable[[Store, object, Asked], Store]] = {
    "tenant": _tenant,
    "release": _release,
    "username": _username,
    "password": _password,
    "ca": _ca,
    "cert": _cert,
    "cert_key": _cert_key,
    "sentinel_password": _sentinel_password,
    "timeout_s": _timeout,
    "lease": _lease,
    "records": _records,
}
