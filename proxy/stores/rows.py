"""The rows of counters and holds in the SQLite file, as one writer sees them: cached, and written in one statement.

Each statement lets go of the interpreter lock and must win it back from a busy loop, so few statements matter more than small ones. What
was read or written stays in a `Book`. A batch of verbs runs on it, and one insert into a view whose trigger does the rest writes all that
changed, as one transaction. The trigger first compares a version number that every writer of the file raises: if another process was
faster, nothing is written and the batch runs again behind a lock, on rows that are read anew. So the cache never decides on old numbers.
A hold or counter that a reserve names and nobody knows is taken for new without looking: if it is not, its insert fails, with the same end.

Who edits these tables by hand must raise the version too, or do it while nothing runs.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, TypeVar

import msgspec

from proxy.budget.book import Book, Hold, ended
from proxy.budget.counter import Counter, Rolling
from proxy.budget.port import MOST_LATE, RECORD_S, Claim, Ended, Exceeded, Unit
from proxy.engine.ports import StoreError

MOST_COUNTERS = 20_000
"""Cached counters above which all are forgotten: they are read again when they are needed."""

_VIEW = "CREATE TEMP VIEW budget_batch AS SELECT 0 AS version, '' AS begun, '' AS counters, '' AS made, '' AS changed"
_TRIGGER = """
CREATE TEMP TRIGGER budget_write INSTEAD OF INSERT ON budget_batch BEGIN
  SELECT RAISE(ABORT, 'stale') WHERE (SELECT value FROM counters WHERE name = 'budget') IS NOT NEW.version;
  UPDATE counters SET value = value + 1 WHERE name = 'budget';
  INSERT INTO budget_counters(counter, spent, held, expires, span, slices)
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5 FROM json_each(NEW.begun);
  INSERT INTO budget_counters(counter, spent, held, expires, span, slices)
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5 FROM json_each(NEW.counters) WHERE true
    ON CONFLICT(counter) DO UPDATE
    SET spent = excluded.spent, held = excluded.held, expires = excluded.expires, span = excluded.span, slices = excluded.slices;
  INSERT INTO budget_holds(id, parts, expires, about, begun, charged)
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, 's' || (value ->> 5) FROM json_each(NEW.made);
  INSERT INTO budget_holds(id, parts, expires, about, begun, charged)
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, 's' || (value ->> 5) FROM json_each(NEW.changed) WHERE true
    ON CONFLICT(id) DO UPDATE SET parts = excluded.parts, expires = excluded.expires, charged = excluded.charged;
END
"""
_WRITE = "INSERT INTO budget_batch(version, begun, counters, made, changed) VALUES (?, ?, ?, ?, ?)"
_VERSION = "SELECT value FROM counters WHERE name = 'budget'"
_READ = """
SELECT json_array((SELECT value FROM counters WHERE name = 'budget'),
  (SELECT json_group_array(json_array(counter, spent, held, expires, span, slices)) FROM budget_counters
    WHERE counter IN (SELECT value FROM json_each(?1))),
  (SELECT json_group_array(json_array(id, parts, expires, about, begun)) FROM budget_holds WHERE id IN (SELECT value FROM json_each(?2))))
"""
_OVER = "SELECT json_group_array(id) FROM budget_holds WHERE expires <= ? AND parts IS NOT NULL"
_LATE = "SELECT id, charged, about FROM budget_holds WHERE expires <= ? AND parts IS NULL AND charged IS NOT NULL LIMIT ?"
_TAKE = """
UPDATE budget_holds SET charged = max(substr(charged, 1, 1), ?) || substr(charged, 2), expires = ?
WHERE id IN (SELECT value FROM json_each(?))
"""
_TAKEN, _SWEPT = "t", "u"
"""See `schema.RECORDED`."""

Run = Callable[[Book], Any]
T = TypeVar("T")


class Verb:
    """One verb: the holds and counters that it names, whether its hold is a new one, and what to do."""

    __slots__ = ("counters", "hold_ids", "new", "run")

    def __init__(self, run: Run, hold_ids: Sequence[str] = (), counters: Sequence[str] = (), *, new: bool = False) -> None:
        self.run, self.hold_ids, self.counters, self.new = run, hold_ids, counters, new


class Stale(Exception):
    """Another process wrote since: what is cached is old."""


class Rows:
    """The rows behind `db`. Owned by one thread.

    Attributes:
        book: what is cached of them.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        db.execute(_VIEW)
        db.execute(_TRIGGER)
        self.forget()

    def forget(self) -> None:
        """Drop the cache."""
        self.book, self._version, self._stored, self._guessed = Book(), -1, set[str](), set[str]()

    def commit(self, verbs: Sequence[Verb]) -> list[Any]:
        """Run `verbs` in one transaction and return each one's result, a `StoreError` among them where one cannot be done.

        Raises:
            StoreError: nothing was done.
        """
        try:
            return self._run(verbs, self._unknown(verbs))
        except Stale:
            self.forget()
        except sqlite3.IntegrityError:
            self._drop()
        return self._locked(lambda: self._surely(verbs))

    def _surely(self, verbs: Sequence[Verb]) -> list[Any]:
        """Run `verbs` behind the lock, on rows that are all read anew."""
        named = _named(verb.counters for verb in verbs), _named(verb.hold_ids for verb in verbs)
        try:
            return self._run(verbs, named)
        except Stale:
            self.forget()
        return self._run(verbs, named)

    def _drop(self) -> None:
        """Drop what the last batch touched: something that was taken for new is not."""
        book = self.book
        for key in book.dirty_counters | self._guessed:
            book.counters.pop(key, None)
        for hold_id in book.dirty_holds:
            book.holds.pop(hold_id, None)
            self._stored.discard(hold_id)
        self._clear()

    def sweep(self, now: float) -> list[Ended]:
        """Settle what expired in full, delete what nobody needs, and return the holds that this ended."""

        def work() -> list[Ended]:
            self.forget()
            over = msgspec.json.decode(self._db.execute(_OVER, (now,)).fetchone()[0])
            self._load((), over)
            found = self._late(now) + [ended(hold_id, self.book.holds[hold_id]) for hold_id in over]
            for hold_id in over:
                self.book.settle(hold_id, None, now)
            if over:
                self._write()
                self._db.execute(_TAKE, (_SWEPT, now + RECORD_S, _json(over)))
            self._db.execute("DELETE FROM budget_holds WHERE expires <= ? AND parts IS NULL AND charged IS NULL", (now,))
            self._db.execute("DELETE FROM budget_counters WHERE expires <= ? AND held = 0", (now,))
            self._db.execute("UPDATE counters SET value = value + 1 WHERE name = 'budget'")
            self.forget()
            return found

        return self._locked(work)

    def _late(self, now: float) -> list[Ended]:
        """Return the settled holds that are without a record for too long, not to be found again soon."""
        late = self._db.execute(_LATE, (now, MOST_LATE)).fetchall()
        if late:
            self._db.execute(_TAKE, (_TAKEN, now + RECORD_S, _json([row[0] for row in late])))
        return [_owed(*row) for row in late]

    def recorded(self, hold_ids: Sequence[str]) -> None:
        """Forget what these were charged."""
        self._db.execute("UPDATE budget_holds SET charged = NULL WHERE id IN (SELECT value FROM json_each(?))", (_json(hold_ids),))

    def _locked(self, work: Callable[[], T]) -> T:
        """Run `work` in a transaction that no other process can come between."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            result = work()
            self._db.execute("COMMIT")
            return result
        except BaseException:
            self.forget()
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _run(self, verbs: Sequence[Verb], unknown: tuple[Collection[str], Collection[str]]) -> list[Any]:
        counters, hold_ids = unknown
        fresh = bool(counters or hold_ids)
        if fresh:
            self._load(counters, hold_ids)
        results = [_result(verb.run, self.book) for verb in verbs]
        refused = _named(v.hold_ids for v, result in zip(verbs, results, strict=True) if v.new and isinstance(result, Exceeded))
        if refused and self._read((), refused):  # not new at all: no write would prove it
            raise Stale
        if self.book.dirty_holds:
            self._write()
        elif not fresh and not refused and self._db.execute(_VERSION).fetchone() != (self._version,):
            raise Stale
        self._clear()
        if len(self.book.counters) > MOST_COUNTERS:
            self.forget()
        return results

    def _unknown(self, verbs: Sequence[Verb]) -> tuple[list[str], list[str]]:
        """Return the counters and holds that `verbs` name and that have to be read.

        What a reserve names and nobody knows is taken for new: most often it is, and else the write fails.
        """
        book, made = self.book, set[str]()
        counters: list[str] = []
        hold_ids: list[str] = []
        for verb in verbs:
            unknown = [key for key in verb.counters if key not in book.counters]
            if verb.new:
                made.update(verb.hold_ids)
                self._guessed.update(unknown)
            else:
                counters += unknown
                hold_ids += [i for i in verb.hold_ids if i not in book.holds and i not in made]
        self._guessed.difference_update(counters)
        if self._version < 0 and not counters and not hold_ids:
            counters, self._guessed = list(self._guessed), set()
        return counters, hold_ids

    def _load(self, counters: Collection[str], hold_ids: Collection[str]) -> None:
        """Read the rows of `counters` and `hold_ids`, and of the counters of those holds."""
        holds = self._read(counters, hold_ids)
        behind: set[str] = set()
        for hold_id, text, expires, about, begun in holds:
            self._stored.add(hold_id)
            if text is None:
                self.book.settled[hold_id] = expires
                continue
            found = [_claim(*part) for part in msgspec.json.decode(text)]
            self.book.holds[hold_id] = Hold(found, expires, about, begun)
            behind.update([part.counter for part in found])
        if behind := behind - self.book.counters.keys():
            self._read(behind, ())
        for key in counters:
            self.book.counters.setdefault(key, Counter())
        self._guessed.difference_update(self.book.counters)

    def _read(self, counters: Collection[str], hold_ids: Collection[str]) -> list[Any]:
        (text,) = self._db.execute(_READ, (_json(list(counters)), _json(list(hold_ids)))).fetchone()
        version, rows, holds = msgspec.json.decode(text)
        if self._version < 0:
            self._version = version
        elif version != self._version:
            raise Stale
        self.book.counters.update([(row[0], _counter(*row[1:])) for row in rows])
        return list(holds)

    def _write(self) -> None:
        """Write what changed, if nobody wrote since it was read."""
        book = self.book
        begun, counters, made, changed = list[Any](), list[Any](), list[Any](), list[Any]()
        for key in book.dirty_counters:
            counter = book.counters[key]
            rolling = (counter.span, _steps(counter.slices)) if isinstance(counter, Rolling) else (0, None)
            (begun if key in self._guessed else counters).append((key, counter.spent, counter.held, counter.expires, *rolling))
        for hold_id in book.dirty_holds:
            (changed if hold_id in self._stored else made).append(self._row(hold_id))
        try:
            self._db.execute(_WRITE, (self._version, *map(_json, (begun, counters, made, changed))))
        except sqlite3.IntegrityError as e:
            if str(e) == "stale":
                raise Stale from None
            raise
        self._version += 1
        self._guessed -= book.dirty_counters
        self._stored.update(book.dirty_holds)
        self._clear()

    def _clear(self) -> None:
        """Forget what changed; what was guessed and not written is not known, nor is a settled hold worth keeping."""
        book = self.book
        for key in self._guessed:
            book.counters.pop(key, None)
        self._stored.difference_update(book.settled)
        for clear in (self._guessed, book.dirty_counters, book.dirty_holds, book.settled, book.charged):
            clear.clear()

    def _row(self, hold_id: str) -> tuple[Any, ...]:
        settled = self.book.settled.get(hold_id)
        if settled is not None:
            about, charged = self.book.charged.get(hold_id, ("", None))
            return hold_id, None, settled, about, 0.0, charged
        hold = self.book.holds[hold_id]
        parts = [(key, unit, amount, limit, span) for key, unit, limit, amount, _, _, _, _, span in hold.parts]
        return hold_id, parts, hold.expires, hold.about, hold.begun, None


def _claim(counter: str, unit: Unit, amount: int, limit: int | None, span: float = 0.0) -> Claim:
    """Return what is known of a claim that was written; the oldest files have no span."""
    return Claim(counter, unit, limit, amount, 0.0, span=span)


def _owed(hold_id: str, charged: str, about: str) -> Ended:
    parts: list[tuple[str, Unit, int]] = msgspec.json.decode(charged[1:], type=list[tuple[str, Unit, int]])
    return Ended(hold_id, tuple(parts), about, settled=not charged.startswith(_SWEPT))


def _counter(spent: int, held: int, expires: float, span: float, slices: str | None) -> Counter:
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


def _result(run: Run, book: Book) -> Any:
    try:
        return run(book)
    except StoreError as e:
        return e


def _named(names: Iterable[Iterable[str]]) -> list[str]:
    return [name for some in names for name in some]


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
