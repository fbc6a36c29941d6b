"""From the setting `store:` to the stores behind it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.budget.port import BudgetStore
from proxy.control.port import ControlStore
from proxy.identity.keys import KeyStore
from proxy.stores.control import MemoryControl, SqliteControl
from proxy.stores.keys import MemoryKeys, SqliteKeys
from proxy.stores.memory import MemoryBudget
from proxy.stores.redis_place import SCHEMES, Place, is_redis, place_of
from proxy.stores.sqlite import SqliteBudget

if TYPE_CHECKING:
    from proxy.stores.redis_blocking import BlockingLink
    from proxy.stores.redis_link import RedisLink


@dataclass(frozen=True, slots=True)
class Stores:
    """What is shared: budgets, keys and what human hands leave, and the way to more.

    Attributes:
        path: the SQLite file, for others who keep tables in it, or None.
        link, blocking: the way to the Redis server on the loop and beside it, for others who keep keys there, or None.
    """

    budget: BudgetStore
    keys: KeyStore
    control: ControlStore
    path: Path | None = None
    link: RedisLink | None = None
    blocking: BlockingLink | None = None

    @property
    def problem(self) -> str:
        """Why the store cannot be reached just now, or nothing."""
        return "" if self.link is None else self.link.problem

    async def close(self) -> None:
        """Let go of everything."""
        await self.budget.close()
        await self.control.close()
        self.keys.close()


def sqlite_path(url: str) -> Path | None:
    """Return the file that `url` names, or None for a store that is no file.

    Raises:
        ValueError: not a store's URL.
    """
    kind, _, rest = url.partition(":")
    if url == "memory:" or is_redis(url):
        return None
    if kind == "sqlite" and rest:
        return Path(rest)
    raise ValueError(
        f"store {kind or url!r}: is not known; use memory:, sqlite:PATH or redis://HOST:PORT/DB (also {', '.join(SCHEMES[1:])})"
    )


def open_store(url: str, place: Place | None = None) -> Stores:
    """Return the stores that `url` (`memory:`, `sqlite:PATH`, `redis://…`) names. SQLite files are created as needed.

    Args:
        url: the store; it may hold a password, which no message shows.
        place: where the Redis server is, if that is known better than the URL says it.

    Raises:
        ValueError: not a store's URL, a file that cannot be used, or a server that cannot be reached or must not be used.
    """
    if place is not None or is_redis(url):
        return _redis(place or _place(url))
    path = sqlite_path(url)
    if path is None:
        return Stores(MemoryBudget(), MemoryKeys(), MemoryControl())
    return Stores(SqliteBudget(path), SqliteKeys(path), SqliteControl(path), path)


def _place(url: str) -> Place:
    try:
        return place_of(url)
    except ValueError as e:
        raise ValueError(f"store {url.partition(':')[0]}: {e}") from None


def blocking_link(place: Place) -> BlockingLink:
    """Return a link to the server at `place`, which was looked at; raises ValueError when it must not be used."""
    from proxy.stores.redis_blocking import BlockingLink  # noqa: PLC0415
    from proxy.stores.redis_check import admit  # noqa: PLC0415  loaded where there is a server, and only there

    blocking = BlockingLink(place)
    try:
        admit(blocking)
    except ValueError:
        blocking.close()
        raise
    return blocking


def _redis(place: Place) -> Stores:
    from proxy.stores.redis_budget import RedisBudget  # noqa: PLC0415  as above
    from proxy.stores.redis_control import RedisControl  # noqa: PLC0415
    from proxy.stores.redis_keys import RedisKeys  # noqa: PLC0415
    from proxy.stores.redis_link import RedisLink  # noqa: PLC0415

    blocking, link = blocking_link(place), RedisLink(place)
    return Stores(RedisBudget(link), RedisKeys(blocking), RedisControl(link), None, link, blocking)
