"""From the setting `store:` to the stores behind it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from proxy.budget.port import BudgetStore
from proxy.identity.keys import KeyStore
from proxy.stores.keys import MemoryKeys, SqliteKeys
from proxy.stores.memory import MemoryBudget
from proxy.stores.sqlite import SqliteBudget


@dataclass(frozen=True, slots=True)
class Stores:
    """What is shared: budgets and keys. `path` is the SQLite file, for others who keep tables in it, or None."""

    budget: BudgetStore
    keys: KeyStore
    path: Path | None = None

    async def close(self) -> None:
        """Let go of everything."""
        await self.budget.close()
        if isinstance(self.keys, SqliteKeys):
            self.keys.close()


def sqlite_path(url: str) -> Path | None:
    """Return the file that `url` names, or None for a store that is no file.

    Raises:
        ValueError: not a store's URL, or one that this version cannot use.
    """
    kind, _, rest = url.partition(":")
    if url == "memory:":
        return None
    if kind == "sqlite" and rest:
        return Path(rest)
    if kind in ("redis", "rediss"):
        raise ValueError(f"store {kind}: comes in a later version; use memory: or sqlite:PATH")
    raise ValueError(f"store {kind or url!r}: is not known; use memory: or sqlite:PATH")


def open_store(url: str) -> Stores:
    """Return the stores that `url` (`memory:` or `sqlite:PATH`) names. SQLite files are created as needed.

    Raises:
        ValueError: not a store's URL, one that this version cannot use, or a file that cannot be used.
    """
    path = sqlite_path(url)
    if path is None:
        return Stores(MemoryBudget(), MemoryKeys())
    return Stores(SqliteBudget(path), SqliteKeys(path), path)
