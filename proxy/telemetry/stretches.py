"""Where the records of a session are: an index of them by stretches of the ledger.

Sessions are many and their names are in no order, so an index by session alone has each record go to a page of its own, and a batch dirties
as many pages as it has records: that took a third of the time of writing. Here the stretch stands first: what is written together stands
together, and whoever looks for a session looks into each stretch, some microseconds each. All names are ours, values are bound.
"""

# ruff: noqa: S608 - statements are put together from names and parts of ours alone; values are bound

from __future__ import annotations

import sqlite3

NAME = "records_stretches"
_BITS = 10
"""A stretch has 1,024 records: a dozen pages of the index. A million records have a thousand stretches: 10 ms."""
INDEX = f"CREATE INDEX IF NOT EXISTS {NAME} ON records (seq >> {_BITS}, session)"


def _in(stretches: str, records: str, session: str) -> str:
    """Return a condition on `seq`. `stretches` selects what is looked for (`session`) and the first and the last stretch."""
    each = f"{stretches} UNION ALL SELECT session, n + 1, last FROM stretches WHERE n < last"
    join = f"CROSS JOIN {records} AS at INDEXED BY {NAME} ON at.seq >> {_BITS} = stretches.n AND at.session = {session}"
    return f"seq IN (WITH RECURSIVE stretches(session, n, last) AS ({each}) SELECT at.seq FROM stretches {join})"


def _whole(records: str) -> str:
    return f"(SELECT min(seq) FROM {records}) >> {_BITS}, (SELECT max(seq) FROM {records}) >> {_BITS}"


def there(connection: sqlite3.Connection, at: str) -> bool:
    """Return whether the ledger that `connection` has `at` has this index."""
    return connection.execute(f"SELECT 1 FROM {at}.sqlite_master WHERE type = 'index' AND name = ?", (NAME,)).fetchone() is not None


def of_session(records: str) -> str:
    """Return the condition that a record is of a session; its one value is the session's name."""
    return _in(f"SELECT ?, {_whole(records)}", records, "stretches.session")


def stretches(db: sqlite3.Connection) -> int:
    """Return how many stretches the ledger of a rollup has."""
    return int(db.execute(f"SELECT coalesce(max(seq) - min(seq), 0) >> {_BITS} FROM ledger.records").fetchone()[0]) + 1


_NEW = f"(SELECT upto FROM main.reached) >> {_BITS}, (SELECT max(seq) FROM ledger.records) >> {_BITS}"
"""What a rollup does not have yet."""
WITHIN = _in(f"SELECT ?1, ?2 >> {_BITS}, ?3 >> {_BITS} UNION ALL SELECT ?1, {_NEW}", "ledger.records", "stretches.session")
"""The same in a rollup, of a session (`?1`) whose first and last records (`?2`, `?3`) it knows."""
_OF_RUN = "FROM main.runs WHERE run = ?"
OF_RUN = _in(
    f"SELECT session, first_seq >> {_BITS}, last_seq >> {_BITS} {_OF_RUN} UNION ALL SELECT session, {_NEW} {_OF_RUN}"
    f" UNION ALL SELECT ?, {_whole('ledger.records')}",
    "ledger.records",
    "stretches.session",
)
"""The condition that a record is of a session of a run, in a rollup; its three values are the run's name."""
