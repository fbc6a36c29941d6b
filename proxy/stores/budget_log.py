"""What the budget batches of a SQLite file changed, one row each, and how that comes into the tables of counters and holds.

A batch is one insert into `budget_log`: which counters stand at what now, which holds stand, which ended, which counters were forgotten.
It writes only if nobody wrote since its writer last looked, so row numbers are the versions of the file. Every now and then a fold
brings the tables up to date in one transaction, and leaves an empty row as its mark: everything before it is in the tables. The last
window before the mark stays, so that other processes of the file need not read everything anew.

A settled hold whose record the ledger has by the time of the fold is owed nothing, and goes into the tables as a tombstone alone. (One
whose record comes between that look and the fold stays owed, as one whose record comes before it is settled does; a sweep clears that up.)

Decides nothing. Fails as SQLite does, with nothing written; `False` where somebody else wrote first.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from typing import Any

import msgspec

from proxy.budget.book import Book, Hold
from proxy.budget.counter import Counter, Rolling
from proxy.budget.port import Claim, Unit

_APPEND = """
INSERT INTO budget_log(seq, body) SELECT ?1 + 1, ?2 WHERE (SELECT max(seq) FROM budget_log) = ?1
  AND NOT EXISTS (SELECT 1 FROM holds WHERE id IN (SELECT value FROM json_each(?3)))
  AND NOT EXISTS (SELECT 1 FROM budget_counters WHERE counter IN (SELECT value FROM json_each(?4)))
"""
_SINCE = "SELECT seq, body FROM budget_log WHERE seq > ? ORDER BY seq"
_FROM_MARK = "SELECT seq, body FROM budget_log WHERE seq >= (SELECT max(seq) FROM budget_log WHERE body = '') ORDER BY seq"
_LAST = "SELECT max(seq) FROM budget_log"
_HAS_RECORDS = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'records'"
_RECORDED = "SELECT json_group_array(id) FROM records WHERE id IN (SELECT value FROM json_each(?))"
_VIEW = "CREATE TEMP VIEW budget_fold AS SELECT 0 AS seq, 0 AS mark, '' AS counters, '' AS rolling, '' AS holds, '' AS ended"
_TRIGGER = """
CREATE TEMP TRIGGER budget_folding INSTEAD OF INSERT ON budget_fold BEGIN
  SELECT RAISE(ABORT, 'stale') WHERE (SELECT max(seq) FROM budget_log) IS NOT NEW.seq;
  INSERT INTO budget_counters(counter, spent, held, expires)
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(NEW.counters) WHERE true
    ON CONFLICT(counter) DO UPDATE SET spent = excluded.spent, held = excluded.held, expires = excluded.expires, span = 0, slices = NULL;
  INSERT INTO budget_counters(counter, spent, held, expires, span, slices)
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5 FROM json_each(NEW.rolling) WHERE true
    ON CONFLICT(counter) DO UPDATE
    SET spent = excluded.spent, held = excluded.held, expires = excluded.expires, span = excluded.span, slices = excluded.slices;
  INSERT INTO holds(id, parts, expires, about, begun)
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4 FROM json_each(NEW.holds) WHERE true
    ON CONFLICT(id) DO UPDATE SET parts = excluded.parts, expires = excluded.expires;
  INSERT INTO holds(id, parts, expires, about, charged)
    SELECT value ->> 0, NULL, value ->> 1, coalesce(value ->> 2, ''), 's' || (value ->> 3) FROM json_each(NEW.ended) WHERE true
    ON CONFLICT(id) DO UPDATE SET parts = NULL, expires = excluded.expires, charged = excluded.charged;
  DELETE FROM budget_log WHERE seq < NEW.mark;
  INSERT INTO budget_log(seq, body) VALUES (NEW.seq + 1, '');
END
"""
_FOLD = "INSERT INTO budget_fold(seq, mark, counters, rolling, holds, ended) VALUES (?, ?, ?, ?, ?, ?)"

Row = tuple[Any, ...]
_PLAIN = 4
"""The length of the row of a counter that does not roll."""
Body = tuple[Sequence[Row], Sequence[tuple[str, Hold]], Sequence[Row], Sequence[str]]
"""Of one batch: counters (key, spent, held, expires, and for a rolling one span and slices), holds that stand, holds that ended (id, until
when that is remembered, about, what was charged as JSON or None), and counters that were forgotten. What was charged is a text, which the
database need not parse; older rows of the log have it as it is, and are folded alike."""


class BudgetLog:
    """See the module. Owned by one thread.

    Attributes:
        seen: the last row that was read or written; -1 before any.
        mark: the last mark among them.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._records = False
        self.seen = self.mark = -1
        db.execute(_VIEW)
        db.execute(_TRIGGER)

    @property
    def rows(self) -> int:
        """Rows since the last fold."""
        return self.seen - self.mark

    def news(self) -> list[tuple[int, str]] | None:
        """Return the rows after the one last seen, from the last mark on where none was; None when some of them are gone."""
        if self.seen < 0:
            found = self._db.execute(_FROM_MARK).fetchall()
            if not found:
                raise ValueError("the log is empty")
            return found
        found = self._db.execute(_SINCE, (self.seen,)).fetchall()
        return None if found and found[0][0] != self.seen + 1 else found

    def current(self) -> bool:
        """Return whether nobody wrote since the row last seen."""
        return bool(self._db.execute(_LAST).fetchone()[0] == self.seen)

    def append(self, body: Body, new_holds: Sequence[str] = (), new_counters: Collection[str] = ()) -> bool:
        """Write one row, unless somebody wrote, or the tables know one of those that are taken for new."""
        guards = _json(new_holds) if new_holds else "[]", _json(list(new_counters)) if new_counters else "[]"
        if self._db.execute(_APPEND, (self.seen, written(body), *guards)).rowcount != 1:
            return False
        self.seen += 1
        return True

    def fold(self, body: Body, *, recorded: bool = True) -> bool:
        """Bring the tables up to date with `body`, all that is not in them. `recorded`: what has a record is owed nothing."""
        counters, holds, ended, _ = body
        plain, rolling = [row for row in counters if len(row) == _PLAIN], [row for row in counters if len(row) > _PLAIN]
        settled = self._recorded(ended) if recorded else ()
        over = [row[:2] if row[0] in settled else row for row in ended]
        try:
            texts = map(_json, (plain, rolling, [hold_row(*hold) for hold in holds], over))
            self._db.execute(_FOLD, (self.seen, self.mark, *texts))
        except sqlite3.IntegrityError as e:
            if str(e) == "stale":
                return False
            raise
        self.seen += 1
        self.mark = self.seen
        return True

    def _recorded(self, ended: Sequence[Row]) -> Collection[str]:
        """Return which of `ended` the ledger has; nothing where it is not in this file. One that comes later clears its hold itself."""
        owed = [row[0] for row in ended if row[3] is not None]
        self._records = self._records or bool(owed and self._db.execute(_HAS_RECORDS).fetchone())
        if not self._records or not owed:
            return ()
        return set(msgspec.json.decode(self._db.execute(_RECORDED, (_json(owed),)).fetchone()[0]))


def counter_row(key: str, counter: Counter) -> Row:
    """Return `counter` as a row of a body."""
    if isinstance(counter, Rolling):
        return key, counter.spent, counter.held, counter.expires, counter.span, _steps(counter.slices)
    return key, counter.spent, counter.held, counter.expires


def counter_of(spent: int, held: int, expires: float, span: float = 0.0, slices: str | None = None) -> Counter:
    """Return the counter of a row, of a body or of the table."""
    if not span:
        return Counter(spent, held, expires)
    first, *flat = msgspec.json.decode(slices or "[0]", type=list[int])
    return Rolling(span, {first + number: amount for number, amount in zip(flat[::2], flat[1::2], strict=True)}, held, expires)


def _steps(slices: Mapping[int, int]) -> str:
    """Return what a rolling window spent as a short text that the database need not parse: the first step, then number and amount of each
    in turn, numbers counted from the first.
    """
    first = next(iter(slices), 0)
    return _json([first, *chain.from_iterable([(number - first, amount) for number, amount in slices.items()])])


def hold_row(hold_id: str, hold: Hold) -> Row:
    """Return a hold that stands as a row of the table."""
    parts = [(counter, unit, amount, limit, span) for counter, unit, limit, amount, _, _, _, _, span in hold.parts]
    return hold_id, parts, hold.expires, hold.about, hold.begun


def hold_of(parts: Sequence[Sequence[Any]], expires: float, about: str, begun: float) -> Hold:
    """Return the hold of a row of the table; the oldest files have no span."""
    claims = [_claim(counter, unit, limit, amount, *span) for counter, unit, amount, limit, *span in parts]
    return Hold(claims, expires, about, begun)


def _claim(counter: str, unit: Unit, limit: int | None, amount: int, span: float = 0.0) -> Claim:
    """Return what is known of a claim that was written."""
    return Claim(counter, unit, limit, amount, 0.0, span=span)


def ended_row(hold_id: str, book: Book) -> Row:
    """Return a hold that `book` knows as ended as a row of a body."""
    about, charged = book.charged.get(hold_id, ("", None))
    return hold_id, book.settled[hold_id], about, None if charged is None else _json(charged)


def written(body: Body) -> str:
    """Return `body` as text. Of what a hold claims, a slice is enough: this is done for every call."""
    counters, holds, ended, gone = body
    standing = [
        (hold_id, [(*part[:4], part[8]) if part[8] else part[:4] for part in hold.parts], hold.expires, hold.about, hold.begun)
        for hold_id, hold in holds
    ]
    return _json((counters, standing, ended, gone))


def read(text: str) -> Body:
    """Return the body that was `written` as `text`."""
    counters, holds, ended, gone = msgspec.json.decode(text)
    standing = [(hold_id, Hold([_claim(*part) for part in parts], *rest)) for hold_id, parts, *rest in holds]
    return counters, standing, ended, gone


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
