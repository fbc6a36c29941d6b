"""One of several processes that share a SQLite file, as far as the store's rows are concerned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from proxy.budget.port import Claim
from proxy.stores.rows import Rows, Verb
from proxy.stores.schema import connect


class Process:
    """The rows of one process, and what it asked of SQLite."""

    def __init__(self, path: Path) -> None:
        self.db = connect(path, 0.05)
        self.rows = Rows(self.db)
        self.said: list[str] = []
        self.db.set_trace_callback(lambda text: self.said.append(text.split()[0]) if not text.startswith("--") else None)

    def reserve(self, hold_id: str, *claims: Claim) -> Any:
        return self.do(Verb(lambda book: book.reserve(hold_id, claims, 1, 50, "who"), (hold_id,), [c.counter for c in claims], new=True))

    def settle(self, hold_id: str, amount: int) -> Any:
        return self.do(Verb(lambda book: book.settle(hold_id, {"usd": amount, "requests": 1}, 2), (hold_id,)))

    def balance(self, key: str) -> Any:
        return self.do(Verb(lambda book: book.balance(key, 2), (), [key]))

    def do(self, verb: Verb) -> Any:
        self.said.clear()
        (answer,) = self.rows.commit([verb])
        return answer

    def table(self, statement: str) -> list[Any]:
        return self.db.execute(statement).fetchall()
