"""From the setting `store` to what keeps state and what keeps records, for the server and for the command line."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.control.port import ControlStore
from proxy.engine.record import Record
from proxy.identity.keys import KeyStore
from proxy.routing.pairs import Pairs
from proxy.settings.store import Store
from proxy.stores.control import SqliteControl
from proxy.stores.keys import SqliteKeys
from proxy.stores.open import Stores, blocking_link, open_store
from proxy.stores.outage import Outage
from proxy.stores.pairs import MemoryPairs, SqlitePairs
from proxy.stores.schema import RECORDED
from proxy.telemetry import charges, query
from proxy.telemetry.charges import Recent
from proxy.telemetry.content import Contents, MemoryContents
from proxy.telemetry.content_redis import RedisContents
from proxy.telemetry.content_sqlite import SqliteContents
from proxy.telemetry.ledger import Ledger, MemoryLedger
from proxy.telemetry.ledger_redis import Index, RedisLedger
from proxy.telemetry.query import ALL, By, Filter, Group

if TYPE_CHECKING:
    from proxy.stores.redis_blocking import BlockingLink

AnyLedger = Ledger | MemoryLedger | RedisLedger


def open_stores(store: Store, workers: int = 1) -> Stores:
    """Return the stores that the setting names, for one of so many processes that have its lease together.

    Raises:
        ValueError: they cannot be used.
    """
    stores = open_store(store.url, store.place)
    if store.kind == "memory":
        return stores
    return replace(stores, budget=Outage(stores.budget, store.lease // workers))


def open_ledger(store: Store, stores: Stores) -> AnyLedger:
    """Return where records go; raises StoreError when they cannot."""
    if stores.blocking is not None:
        return RedisLedger(stores.blocking, store.records)
    return MemoryLedger() if store.path is None else Ledger(store.path, first=RECORDED)


def open_pairs(store: Store) -> Pairs:
    """Return where sampled pairs are kept: the file, else the memory of this process, also beside a Redis."""
    return MemoryPairs() if store.path is None else SqlitePairs(store.path)


def open_contents(store: Store, blocking: BlockingLink | None, most_mb: int) -> Contents:
    """Return where what is said is kept: a file beside the ledger, the Redis server, else the memory of this process."""
    if store.path is not None:
        return SqliteContents(store.path, most_mb)
    if blocking is None:
        return MemoryContents(most_mb)
    from proxy.stores.redis_link import Script  # noqa: PLC0415  loaded where there is a server, and only there

    return RedisContents(blocking, most_mb, Script)


@contextmanager
def contents_of(store: Store, most_mb: int) -> Iterator[Contents]:
    """Give what the servers of this store keep of what is said.

    Raises:
        ValueError: no other process can read it.
    """
    shared(store)
    link = None if store.place is None else blocking_link(store.place)
    try:
        yield open_contents(store, link, most_mb)
    finally:
        if link is not None:
            link.close()


@contextmanager
def open_keys(store: Store) -> Iterator[KeyStore]:
    """Give the key store that the command line shares with the servers.

    Raises:
        ValueError: there is none, or it cannot be used.
    """
    if store.place is not None:
        from proxy.stores.redis_keys import RedisKeys  # noqa: PLC0415  loaded where there is a server, and only there

        keys: KeyStore = RedisKeys(blocking_link(store.place))
    elif store.path is not None:
        keys = SqliteKeys(store.path)
    else:
        raise ValueError("store memory: keeps no keys between processes; list hashes in auth.keys, or use store: sqlite:PATH or redis://…")
    try:
        yield keys
    finally:
        keys.close()


@asynccontextmanager
async def open_control(store: Store) -> AsyncIterator[ControlStore]:
    """Give the kills and questions that the command line shares with the servers.

    Raises:
        ValueError: there are none, or they cannot be used.
    """
    if store.place is not None:
        from proxy.stores.redis_control import RedisControl  # noqa: PLC0415  as above
        from proxy.stores.redis_link import RedisLink  # noqa: PLC0415

        link = RedisLink(store.place)
        try:
            yield RedisControl(link)
        finally:
            await link.close()
    elif store.path is not None:
        control = SqliteControl(store.path)
        try:
            yield control
        finally:
            await control.close()
    else:
        raise ValueError("store memory: lives in the server alone; use its admin API (docs/kill.md), or store: sqlite:PATH or redis://…")


def shared(store: Store) -> None:
    """Return if another process can see what `store` keeps.

    Raises:
        ValueError: none can.
    """
    if store.path is None and store.place is None:
        raise ValueError(
            "store memory: keeps nothing that another process could read; ask the admin port, or use store: sqlite:PATH or redis://…"
        )


@contextmanager
def reading(store: Store) -> Iterator[FileJournal]:
    """Give the ledger that the servers of this store write.

    Raises:
        ValueError: no other process can read it.
    """
    shared(store)
    if store.place is None:
        yield FileJournal(store.path or Path())
        return
    link = blocking_link(store.place)
    index = Index(link)
    try:
        yield StreamJournal(index)
    finally:
        index.close()
        link.close()


class FileJournal:
    """The ledger in a SQLite file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def now(self) -> Path:
        """Return the file."""
        return self._path

    def rows(self, where: Filter = ALL) -> list[Record]:
        """See `Journal.rows`."""
        return query.rows(self.now(), where)

    def groups(self, by: By, where: Filter = ALL) -> list[Group]:
        """See `Journal.groups`."""
        return query.groups(self.now(), by, where)

    def one(self, record_id: str) -> Record | None:
        """See `Journal.one`."""
        return query.one(self.now(), record_id)

    def recent(self, since: float, until: float) -> Recent:
        """See `Charges.recent`."""
        return charges.recent(self.now(), since, until)

    def charged(self, after: int, most: int = charges.STEP) -> charges.Charged:
        """See `Charges.charged`."""
        return charges.charged(self.now(), after, most)

    def rolled(self, since: float, *, own: bool) -> dict[str, int]:
        """See `Charges.rolled`."""
        return charges.rolled(self.now(), since, own=own)

    def parts(self, counter: str) -> list[charges.Part]:
        """See `Charges.parts`."""
        return charges.parts(self.now(), counter)

    def charged_since(self) -> float:
        """See `Charges.charged_since`."""
        return charges.charged_since(self.now())


class StreamJournal(FileJournal):
    """The ledger in a Redis stream, read from an index of it."""

    def __init__(self, index: Index) -> None:
        super().__init__(Path())
        self._index = index

    def now(self) -> Path:
        """Return the index, brought up to date."""
        return self._index.now()

    def charged(self, after: int, most: int = charges.STEP) -> charges.Charged:
        """See `Charges.charged`; records that the stream let go of are missing."""
        return super().charged(after, most)._replace(missing=self._index.missing)
