"""The counters and holds of the SQLite file, as one writer sees them: cached, and written in one statement.

Each statement lets go of the interpreter lock and must win it back from a busy loop, so few statements matter more than small ones. What
was read or written stays in a `Book`. A batch of verbs runs on it, and one insert writes all that changed (`proxy.stores.budget_log`), if
nobody else wrote since: so the cache never decides on old numbers. If somebody did, nothing is written, and the batch runs again behind a
lock, after what others wrote was taken in; as long as others write often, batches go behind the lock at once. A hold or counter that a
reserve names and nobody knows is taken for new without looking: if it is not, nothing is written, with the same end.

Who edits the tables by hand does it while nothing runs.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec

from proxy.budget.book import Book, Hold, ended, passing
from proxy.budget.counter import Counter
from proxy.budget.port import MOST_LATE, RECORD_S, Ended, Unit
from proxy.engine.ports import StoreError
from proxy.stores.budget_log import Body, BudgetLog, Over, counter_of, ended_row, hold_of

MOST_COUNTERS, MOST_LASTING = 10_000, 100_000
"""Cached counters (300 bytes each) above which all are forgotten: they are read again when they are needed. Those that are of no session or
run are not counted, up to so many: they come back with each call, and forgetting them again and again costs more than keeping them."""
FOLD_ITEMS, FOLD_ROWS = 1_000, 256
"""Counters and holds, or batches, that are not in the tables yet, above which they are brought there. It takes some milliseconds, for
which a reserve waits, and less for each of many: the records of most settled holds have come by then, and those are not owed any more."""
WARY = 64
"""So many batches after others wrote go behind the lock at once."""

_READ = """
SELECT json_array((SELECT max(seq) FROM budget_batches),
  (SELECT json_group_array(json_array(counter, spent, held, expires, span, slices)) FROM budget_counters
    WHERE counter IN (SELECT value FROM json_each(?1))),
  (SELECT json_group_array(json_array(id, parts, expires, about, begun)) FROM holds WHERE id IN (SELECT value FROM json_each(?2))))
"""
_OVER = "SELECT json_group_array(id) FROM holds WHERE expires <= ? AND parts IS NOT NULL"
_LATE = "SELECT id, charged, about FROM holds WHERE expires <= ? AND parts IS NULL AND charged IS NOT NULL LIMIT ?"
_TAKE = """
UPDATE holds SET charged = max(substr(charged, 1, 1), ?) || substr(charged, 2), expires = ?
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
    """Another process wrote since: what is cached is old. Or something that was taken for new is not."""


class _Unknown(NamedTuple):
    """What verbs name and nobody knows: to be read, and taken for new."""

    counters: list[str]
    holds: list[str]
    new_counters: set[str]
    new_holds: list[str]


class Rows:
    """The rows behind `db`. Owned by one thread.

    Attributes:
        book: what is cached of them.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db, self._log = db, BudgetLog(db)
        self._wary, self._wrote, self._most = 0, False, MOST_COUNTERS
        self.forget()

    def forget(self) -> None:
        """Drop the cache. What is not in the tables yet is read again from the log."""
        self.book = Book()
        self._log.forget()
        self._counters, self._holds, self._ended = set[str](), set[str](), dict[str, Over]()

    def commit(self, verbs: Sequence[Verb]) -> list[Any]:
        """Run `verbs` in one transaction and return each one's result, a `StoreError` among them where one cannot be done.

        Raises:
            StoreError: nothing was done.
        """
        if not self._wary:
            try:
                if self._log.seen < 0:
                    self._catch_up()
                return self._run(verbs, self._unknown(verbs, guess=True))
            except Stale:
                self.forget()
                self._wary = WARY
        return self._locked(lambda: self._run(verbs, self._unknown(verbs, guess=False)))

    def tidy(self) -> None:
        """Bring the tables up to date where much is not in them; nobody waits for that, and what fails is tried again."""
        if self._much() and (self._wary or not self._fold()):
            self._locked(lambda: self._much() and self._fold())  # another process may have done it

    def _much(self) -> bool:
        return self._log.rows > FOLD_ROWS or len(self._counters) + len(self._holds) + len(self._ended) > FOLD_ITEMS

    def finish(self) -> None:
        """Bring the tables up to date before this process ends, unless it only looked: then others need not notice that it was there."""
        if self._wrote and (self._wary or self._log.seen < 0 or not self._fold()):
            self._locked(self._fold)

    def sweep(self, now: float) -> list[Ended]:
        """Settle what expired in full, delete what nobody needs, and return the holds that this ended."""

        def work() -> list[Ended]:
            self._fold()
            over = msgspec.json.decode(self._db.execute(_OVER, (now,)).fetchone()[0])
            self._load((), [hold_id for hold_id in over if hold_id not in self.book.holds])
            found = self._late(now) + [ended(hold_id, self.book.holds[hold_id]) for hold_id in over]
            for hold_id in over:
                self.book.settle(hold_id, None, now)
            if over:
                self._append()
                self._fold(recorded=False)  # what a record says may be less than all that was held: that is for who asks to find out
                self._db.execute(_TAKE, (_SWEPT, now + RECORD_S, _json(over)))
            self._db.execute("DELETE FROM holds WHERE expires <= ? AND parts IS NULL AND charged IS NULL", (now,))
            gone = self._db.execute("DELETE FROM budget_counters WHERE expires <= ? AND held = 0 RETURNING counter", (now,)).fetchall()
            if gone:
                names = [row[0] for row in gone]
                self._log.append(({}, (), (), names))
                self._drop(names)
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

        def work() -> None:
            self._fold()
            self._db.execute("UPDATE holds SET charged = NULL WHERE id IN (SELECT value FROM json_each(?))", (_json(hold_ids),))

        self._locked(work)

    def _locked(self, work: Callable[[], T]) -> T:
        """Run `work` on what all wrote, in a transaction that no other process can come between."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._wary = WARY if self._catch_up() else max(0, self._wary - 1)
            result = work()
            self._db.execute("COMMIT")
            return result
        except BaseException:
            self.forget()
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _run(self, verbs: Sequence[Verb], unknown: _Unknown) -> list[Any]:
        fresh = bool(unknown.counters or unknown.holds)
        if fresh:
            self._load(unknown.counters, unknown.holds)
        book = self.book
        results = [_result(verb.run, book) for verb in verbs]
        if book.dirty_holds:
            self._append(unknown)
        elif unknown.new_holds:  # all were refused: no write would prove that they are new
            if any(self._read(unknown.new_counters, unknown.new_holds)):
                raise Stale
            self._drop(unknown.new_counters)
        elif not fresh and not self._db.in_transaction and not self._log.current():
            raise Stale
        if len(book.counters) > self._most:
            self._most = MOST_COUNTERS + min(MOST_LASTING, sum([not passing(key) for key in book.counters]))
            self.forget()
        return results

    def _unknown(self, verbs: Sequence[Verb], *, guess: bool) -> _Unknown:
        """Return what `verbs` name and is not cached. With `guess`, what a reserve names is taken for new: most often it is."""
        book, made = self.book, set[str]()
        found = _Unknown([], [], set(), [])
        for verb in verbs:
            if guess and verb.new:
                found.new_counters.update([key for key in verb.counters if key not in book.counters])
            else:
                found.counters.extend([key for key in verb.counters if key not in book.counters])
            for hold_id in verb.hold_ids:
                if hold_id in book.holds or hold_id in book.settled or hold_id in made:
                    continue
                made.add(hold_id)
                (found.new_holds if guess and verb.new else found.holds).append(hold_id)
        found.new_counters.difference_update(found.counters)
        return found

    def _load(self, counters: Collection[str], hold_ids: Collection[str]) -> None:
        """Read the rows of `counters` and `hold_ids`, and of the counters of those holds."""
        rows, holds = self._read(counters, hold_ids)
        book, behind = self.book, set[str]()
        for hold_id, text, expires, about, begun in holds:
            if text is None:
                book.settled[hold_id] = expires
                continue
            hold = book.holds[hold_id] = hold_of(msgspec.json.decode(text), expires, about, begun)
            behind.update([part.counter for part in hold.parts])
        if behind := behind - book.counters.keys() - set(counters):
            rows += self._read(behind, ())[0]
        book.counters.update([(row[0], counter_of(*row[1:])) for row in rows])
        for key in counters:
            book.counters.setdefault(key, Counter())

    def _read(self, counters: Collection[str], hold_ids: Collection[str]) -> tuple[list[Any], list[Any]]:
        (text,) = self._db.execute(_READ, (_json(list(counters)), _json(list(hold_ids)))).fetchone()
        version, rows, holds = msgspec.json.decode(text)
        if version != self._log.seen:
            raise Stale
        return rows, holds

    def _append(self, unknown: _Unknown | None = None) -> None:
        """Write what changed, if nobody wrote since, and what was taken for new is."""
        book = self.book
        counters = {key: book.counters[key] for key in book.dirty_counters}
        over, standing = list[Over](), list[tuple[str, Hold]]()
        for hold_id in book.dirty_holds:
            if hold_id in book.settled:
                over.append(ended_row(hold_id, book))
            else:
                standing.append((hold_id, book.holds[hold_id]))
        new = ((), ()) if unknown is None else (unknown.new_holds, unknown.new_counters)
        if not self._log.append((counters, standing, over, ()), self._holds, *new):
            raise Stale
        self._wrote = True
        if unknown is not None and unknown.new_counters:
            self._drop(unknown.new_counters - book.dirty_counters)
        self._counters |= book.dirty_counters
        self._pend(over, [row[0] for row in standing])
        for clear in (book.dirty_counters, book.dirty_holds, book.charged):
            clear.clear()

    def _pend(self, over: Iterable[Over], standing: Iterable[str]) -> None:
        """Keep in mind what is in the log and not in the tables."""
        self._holds.update(standing)
        for row in over:
            self._ended[row[0]] = row
            self._holds.discard(row[0])

    def _drop(self, counters: Iterable[str]) -> None:
        for key in counters:
            self.book.counters.pop(key, None)

    def _fold(self, *, recorded: bool = True) -> bool:
        """Bring the tables up to date, unless somebody else wrote since; return whether they are."""
        book = self.book
        body: Body = (
            {key: book.counters[key] for key in self._counters},
            [(hold_id, book.holds[hold_id]) for hold_id in self._holds],
            list(self._ended.values()),
            (),
        )
        if self._log.rows and not self._log.fold(body, recorded=recorded):
            return False
        self._folded()
        return True

    def _folded(self) -> None:
        for clear in (self._counters, self._holds, self._ended, self.book.settled):
            clear.clear()

    def _catch_up(self) -> bool:
        """Take in what others wrote, and return whether they did."""
        news, others = self._log.news(), self._log.seen >= 0
        if news is None:  # some of it was folded and is gone
            self.forget()
            news = self._log.news() or []
        for number, text in news:
            body = self._log.take(number, text)
            if body is None:
                self._folded()
            else:
                self._take(body)
        return others and bool(news)

    def _take(self, body: Body) -> None:
        counters, standing, over, gone = body
        book = self.book
        book.counters.update(counters)
        self._counters.update(counters)
        book.holds.update(standing)
        ended = list[Over]()
        for hold_id, until, about, bill in over:
            hold = book.holds.pop(hold_id, None)
            book.settled[hold_id] = until
            ended.append((hold_id, until, about or ("" if hold is None else hold.about), bill))
        self._pend(ended, [row[0] for row in standing])
        self._drop(gone)


def _owed(hold_id: str, charged: str, about: str) -> Ended:
    parts: list[tuple[str, Unit, int]] = msgspec.json.decode(charged[1:], type=list[tuple[str, Unit, int]])
    return Ended(hold_id, tuple(parts), about, settled=not charged.startswith(_SWEPT))


def _result(run: Run, book: Book) -> Any:
    try:
        return run(book)
    except StoreError as e:
        return e


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
