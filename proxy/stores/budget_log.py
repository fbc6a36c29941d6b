"""What the budget batches of a SQLite file changed, one row each, and how that comes into the tables of counters and holds.

A batch is one insert into `budget_batches`: which counters stand at what now, which holds stand, which ended, which counters are forgotten.
It writes only if nobody wrote since its writer last looked, so row numbers are the versions of the file. Every now and then a fold
brings the tables up to date in one transaction, and leaves an empty row as its mark: everything before it is in the tables. The last
window before the mark stays, so that other processes of the file need not read everything anew.

A row is text, and its length is most of what a commit costs when calls come one by one. So what rows since the mark have said is not said
again: they number the counters in the order in which they name them, and say once what a hold is about.

A settled hold whose record the ledger has by the time of the fold is owed nothing, and goes into the tables as a tombstone alone. (One
whose record comes between that look and the fold stays owed, as one whose record comes before it is settled does; a sweep clears that up.)

Decides nothing. Fails as SQLite does, with nothing written; `False` where somebody else wrote first.
"""

from __future__ import annotations

import functools
import itertools
import operator
import sqlite3
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from proxy.budget.book import Book, Hold
from proxy.budget.counter import Counter, Rolling
from proxy.budget.port import Claim, Unit

_APPEND = "INSERT INTO budget_batches(seq, body) SELECT ? + 1, ? WHERE (SELECT max(seq) FROM budget_batches) = ?"
_NO_HOLD = " AND NOT EXISTS (SELECT 1 FROM holds WHERE id IN ({}))"
_NO_COUNTER = " AND NOT EXISTS (SELECT 1 FROM budget_counters WHERE counter IN ({}))"
_FEW = 4
"""Names that a statement has each in a place of its own; more are one JSON array, which takes the database longer to begin with."""
_SINCE = "SELECT seq, body FROM budget_batches WHERE seq > ? ORDER BY seq"
_FROM_MARK = "SELECT seq, body FROM budget_batches WHERE seq >= (SELECT max(seq) FROM budget_batches WHERE body = '') ORDER BY seq"
_LAST = "SELECT max(seq) FROM budget_batches"
_HAS_RECORDS = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'records'"
_RECORDED = "SELECT json_group_array(id) FROM records WHERE id IN (SELECT value FROM json_each(?))"
_VIEW = "CREATE TEMP VIEW budget_fold AS SELECT 0 AS seq, 0 AS mark, '' AS counters, '' AS rolling, '' AS holds, '' AS ended"
_TRIGGER = """
CREATE TEMP TRIGGER budget_folding INSTEAD OF INSERT ON budget_fold BEGIN
  SELECT RAISE(ABORT, 'stale') WHERE (SELECT max(seq) FROM budget_batches) IS NOT NEW.seq;
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
  DELETE FROM budget_batches WHERE seq < NEW.mark;
  INSERT INTO budget_batches(seq, body) VALUES (NEW.seq + 1, '');
END
"""
_FOLD = "INSERT INTO budget_fold(seq, mark, counters, rolling, holds, ended) VALUES (?, ?, ?, ?, ?, ?)"

Row = tuple[Any, ...]
_PLAIN = 4
"""The length of the row of a counter that does not roll."""
Bill = Sequence[tuple[str, Unit, int]]
Over = tuple[str, float, str, Bill | None]
Body = tuple[Mapping[str, Counter], Sequence[tuple[str, Hold]], Sequence[Over], Sequence[str]]
"""Of one batch: counters, holds that stand, holds that ended (id, until when that is remembered, about, what was charged as counter, unit
and amount, or None), and counters that were forgotten."""
_FORMAT = 2
"""What a row's text begins with. Rows of older releases begin with the counters, name all, and may have what was charged as text."""
_state = operator.attrgetter("spent", "held", "expires")
_first, _claimed, _due = operator.itemgetter(0), operator.itemgetter(1, 2, 3, 8), operator.itemgetter(1, 2)


class _Numbers(dict[str, int]):
    """The counters that rows since the mark have named, numbered in that order; one that is asked for and has none gets the next."""

    __slots__ = ("new",)

    def __init__(self) -> None:
        self.new: list[str] = []

    def __missing__(self, key: str) -> int:
        number = self[key] = len(self)
        self.new.append(key)
        return number


class BudgetLog:
    """See the module. Owned by one thread.

    Attributes:
        seen: the last row that was read or written; -1 before any.
        mark: the last mark among them.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._records = False
        self.forget()
        db.execute(_VIEW)
        db.execute(_TRIGGER)

    def forget(self) -> None:
        """Have `news` begin at the last mark."""
        self.seen = self.mark = -1
        self._begin()

    def _begin(self) -> None:
        self._numbers, self._names = _Numbers(), list[str]()

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

    def take(self, number: int, text: str) -> Body | None:
        """Return what the next row says, as it was given to `append`; None for a mark."""
        self.seen = number
        if not text:
            self.mark = number
            self._begin()
            return None
        form, *rest = msgspec.json.decode(text)
        if isinstance(form, list):
            return _old((form, *rest))
        if form != _FORMAT:
            raise ValueError("a row of another release")
        new, numbers, states, rolling, standing, over, gone = rest
        self._name(new)
        name = self._names.__getitem__
        counters = dict(zip(map(name, numbers), itertools.starmap(Counter, states), strict=True))
        for place, span, steps in rolling:
            spent, held, expires = states[place]
            counters[name(numbers[place])] = counter_of(spent, held, expires, span, steps)
        holds = [(hold_id, Hold([*map(_claim, map(name, keys), parts)], *said)) for hold_id, keys, parts, *said in standing]
        ended = [(hold_id, until, *_charged(name, *said)) for hold_id, until, *said in over]
        return counters, holds, ended, gone

    def _name(self, new: Iterable[str]) -> None:
        for key in new:
            self._numbers[key] = len(self._names)
            self._names.append(key)

    def append(self, body: Body, told: Container[str] = (), new_holds: Sequence[str] = (), new_counters: Collection[str] = ()) -> bool:
        """Write one row, unless somebody wrote, or the tables know one of those that are taken for new.

        `told` are the holds of which rows since the mark say what they are about. Where it was not written, `forget`.
        """
        holds, counters = _few(new_holds), _few(new_counters)
        sql = _append_sql(len(holds) if holds is new_holds else -1, len(counters) if counters is new_counters else -1)
        if self._db.execute(sql, (self.seen, self._written(body, told), self.seen, *holds, *counters)).rowcount != 1:
            return False
        self.seen += 1
        return True

    def _written(self, body: Body, told: Container[str]) -> str:
        """Return `body` as text, made without a loop over claims: this is done for every call."""
        counters, holds, ended, gone = body
        numbers = self._numbers
        number = numbers.__getitem__
        keys, states = [*map(number, counters)], [*map(_state, counters.values())]
        rolling = [(place, c.span, _steps(c.slices)) for place, c in enumerate(counters.values()) if isinstance(c, Rolling)]
        standing = [
            (hold_id, [*map(number, map(_first, hold.parts))], [*map(_claimed, hold.parts)], hold.expires, hold.about, hold.begun)
            for hold_id, hold in holds
        ]
        over = [
            (hold_id, until)
            if bill is None
            else (hold_id, until, "" if hold_id in told else about, [*map(number, map(_first, bill))], [*map(_due, bill)])
            for hold_id, until, about, bill in ended
        ]
        new, numbers.new = numbers.new, []
        self._names += new
        return _json((_FORMAT, new, keys, states, rolling, standing, over, gone))

    def fold(self, body: Body, *, recorded: bool = True) -> bool:
        """Bring the tables up to date with `body`, all that is not in them. `recorded`: what has a record is owed nothing."""
        counters, holds, ended, _ = body
        rows = [counter_row(*counter) for counter in counters.items()]
        plain, rolling = [row for row in rows if len(row) == _PLAIN], [row for row in rows if len(row) > _PLAIN]
        settled = self._recorded(ended) if recorded else ()
        over = [row[:2] if row[0] in settled else (*row[:3], None if row[3] is None else _json(row[3])) for row in ended]
        try:
            texts = map(_json, (plain, rolling, [hold_row(*hold) for hold in holds], over))
            self._db.execute(_FOLD, (self.seen, self.mark, *texts))
        except sqlite3.IntegrityError as e:
            if str(e) == "stale":
                return False
            raise
        self.seen += 1
        self.mark = self.seen
        self._begin()
        return True

    def _recorded(self, ended: Sequence[Over]) -> Collection[str]:
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
    return _json([first, *itertools.chain.from_iterable([(number - first, amount) for number, amount in slices.items()])])


def hold_row(hold_id: str, hold: Hold) -> Row:
    """Return a hold that stands as a row of the table."""
    parts = [(counter, unit, amount, limit, span) for counter, unit, limit, amount, _, _, _, _, span in hold.parts]
    return hold_id, parts, hold.expires, hold.about, hold.begun


def hold_of(parts: Sequence[Sequence[Any]], expires: float, about: str, begun: float) -> Hold:
    """Return the hold of a row of the table; the oldest files have no span."""
    return Hold([_claim(counter, (unit, limit, amount, *span)) for counter, unit, amount, limit, *span in parts], expires, about, begun)


def _claim(counter: str, said: Sequence[Any]) -> Claim:
    """Return what is known of a claim that was written: unit, limit, amount and perhaps span."""
    unit, limit, amount, *span = said
    return Claim(counter, unit, limit, amount, 0.0, span=span[0] if span else 0.0)


def ended_row(hold_id: str, book: Book) -> Over:
    """Return a hold that `book` knows as ended as a row of a body."""
    return hold_id, book.settled[hold_id], *book.charged.get(hold_id, ("", None))


def _charged(
    name: Callable[[int], str], about: str = "", numbers: Sequence[int] = (), dues: Sequence[Any] | None = None
) -> tuple[str, Bill | None]:
    """Return what is said of a hold that ended: what it was about, and what it was charged."""
    return about, None if dues is None else [(name(number), unit, due) for number, (unit, due) in zip(numbers, dues, strict=True)]


def _old(body: Sequence[Any]) -> Body:
    """Return the body of a row that an older release wrote."""
    counters, standing, over, gone = body
    holds = [(hold_id, Hold([_claim(key, rest) for key, *rest in parts], *said)) for hold_id, parts, *said in standing]
    ended = [(*row[:3], msgspec.json.decode(row[3]) if isinstance(row[3], str) else row[3]) for row in over]
    return {row[0]: counter_of(*row[1:]) for row in counters}, holds, ended, gone


def _few(names: Collection[str]) -> Collection[str]:
    """Return `names`, or where they are many, all of them in one text."""
    return names if len(names) <= _FEW else (_json(list(names)),)


@functools.cache
def _append_sql(holds: int, counters: int) -> str:
    """Return the statement that appends a row unless one of so many holds or counters is known; -1 for one text with many names."""
    return _APPEND + (_NO_HOLD.format(_places(holds)) if holds else "") + (_NO_COUNTER.format(_places(counters)) if counters else "")


def _places(names: int) -> str:
    return "SELECT value FROM json_each(?)" if names < 0 else ", ".join("?" * names)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
