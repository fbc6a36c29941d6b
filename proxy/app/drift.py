"""Whether counters say what records say: the sums of charges, and where the two part.

A counter only grows while its window stands, and so do the sums over the records. So three looks decide without stopping anything: the
records, some time later the store, some time later the records again. What the store says must lie between the two sums; what does not
is no race but a difference.

A rolling window forgets, so it has bounds of its own: at least what was charged by exchanges that began within it, at most what was
charged by those that began as much earlier as one may take.

Not audited, because nobody can say for sure what they should be: windows that are over, counters of
sessions and runs that are older than the store surely remembers, and windows that began before records held charges.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from zlib import crc32

from proxy.app.balances import passing
from proxy.budget.forecast import length_of
from proxy.budget.port import SLICES, Balance
from proxy.budget.rules import GRACE_S, SESSION_S
from proxy.budget.windows import CALENDAR, calendar, span_of
from proxy.engine.record import SWEPT
from proxy.telemetry.charges import ROLLING, STEP, Charges, Part

SURE_S = SESSION_S - 4 * 3600
"""A session's counter that lived shorter than this, and was charged not longer ago, is surely one that the store still has whole."""
KEPT_S = SESSION_S + GRACE_S
SKEW_S = 10.0
"""By how much clocks of replicas may differ."""
LATE_S = 3600.0
"""How long after its window the sum of a counter is kept."""


@dataclass(slots=True)
class Sums:
    """What was charged to each counter, by the records up to number `upto`; `first` and `last` say when, UTC seconds.

    `missing`: some records are gone, so the sums say nothing. Of the counters of sessions and runs about `most` are kept (0: all): one in
    `share`, told by its name alone, so that each that is kept has all that it was charged.
    """

    amounts: dict[str, int] = field(default_factory=dict)
    first: dict[str, float] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    rolling: set[str] = field(default_factory=set)
    upto: int = 0
    since: float = 0.0
    missing: bool = False
    most: int = 0
    share: int = 1

    def read(self, journal: Charges) -> bool:
        """Add the next records, at most `STEP`; return whether there were any. May take a while: call it in a thread. Raises StoreError."""
        if not self.upto:
            self.since = journal.charged_since()
        found = journal.charged(self.upto, STEP)
        self.missing = self.missing or found.missing
        if not found.upto:
            return False
        self.upto = found.upto
        self.rolling.update(counter for counter in found.amounts if ROLLING in counter)
        for counter, amount in found.amounts.items():
            if not self._kept(counter):
                continue
            self.amounts[counter] = self.amounts.get(counter, 0) + amount
            self.first[counter] = min(found.first[counter], self.first.get(counter, found.first[counter]))
            self.last[counter] = max(found.last[counter], self.last.get(counter, 0.0))
        while self.most and sum(map(passing, self.amounts)) > self.most:
            self.share *= 2
            for counter in [c for c in self.amounts if not self._kept(c)]:
                del self.amounts[counter], self.first[counter], self.last[counter]
        return True

    def _kept(self, counter: str) -> bool:
        return self.share == 1 or not passing(counter) or not crc32(counter.encode("utf-8", "surrogatepass")) % self.share

    def forget(self, now: float) -> None:
        """Drop the counters that nobody asks for any more, so that memory stays bounded."""
        current = windows(now)

        def over(counter: str, last: float) -> bool:
            window = counter.rpartition("|")[2]
            kept = KEPT_S if window in ("session", "run") else LATE_S
            return window not in current and window != "total" and last < now - kept

        for counter in [c for c, last in self.last.items() if over(c, last)]:
            self.rolling.discard(counter)
            del self.amounts[counter], self.first[counter], self.last[counter]

    def why_not(self, counter: str, now: float, current: Mapping[str, float]) -> str:
        """Return why nobody can say what `counter` should be at `now`, when the windows `current` stand; nothing when one can."""
        window = counter.rpartition("|")[2]
        began = current.get(window)
        if began is None and window not in ("session", "run", "total"):
            return "rolling" if window.startswith("rolling") else "over"
        if self.since and (began is None or began < self.since):
            return "older"
        if window in ("session", "run") and counter in self.first:
            first, last = self.first[counter], self.last[counter]
            return "older" if last - first > SURE_S or now - last > SURE_S else ""
        return ""


def spans(counters: Iterable[str]) -> dict[int, list[str]]:
    """Return counters of rolling windows by the lengths of these, seconds."""
    found: dict[int, list[str]] = {}
    for counter in counters:
        span = span_of(counter.rpartition("|")[2])
        if span:
            found.setdefault(span, []).append(counter)
    return found


def told(counters: Iterable[str], since: float, now: float, longest_s: float) -> list[str]:
    """Return those rolling counters of which all records are there that may count at `now`, where records are whole from `since` on."""
    named = spans(counters).items()
    return sorted([name for span, names in named if _earliest(span, now, longest_s) >= since for name in names])


def _earliest(span: int, now: float, longest_s: float) -> float:
    """Return when the first exchange may have begun whose charge a rolling window of `span` seconds still holds."""
    return now - span * (1 + 1 / SLICES) - longest_s - SKEW_S


def surely(journal: Charges, counters: Iterable[str], until: float) -> dict[str, int]:
    """Return the least that each rolling counter must hold at any time before `until`. Reads the ledger: call it in a thread."""
    found: dict[str, int] = {}
    for span, names in spans(counters).items():
        sums = journal.rolled(until + SKEW_S - span, own=True)
        found |= {name: sums.get(name, 0) for name in names}
    return found


def possibly(journal: Charges, counters: Iterable[str], now: float, longest_s: float) -> dict[str, int]:
    """Return the most that each rolling counter may hold after `now`, with exchanges of at most `longest_s`. Reads the ledger."""
    found: dict[str, int] = {}
    for span, names in spans(counters).items():
        sums = journal.rolled(_earliest(span, now, longest_s), own=False)
        found |= {name: sums.get(name, 0) for name in names}
    return found


def windows(now: float) -> dict[str, float]:
    """Return the names of the calendar windows that hold `now`, and when each began, UTC seconds."""
    found = {}
    for window in CALENDAR:
        name, ends = calendar(window, now)
        found[name] = ends - (length_of(window, ends) or 0.0)
    return found


class Difference(NamedTuple):
    """A counter that is not what the records say: `spent` by the store, `charged` by the records, and `over` = how much too much it is."""

    counter: str
    spent: int
    charged: int
    over: int

    @property
    def unit(self) -> str:
        """What the counter counts."""
        parts = self.counter.rsplit("|", 3)
        return parts[1] if len(parts) == 4 else ""


def differences(
    before: Mapping[str, int], balances: Mapping[str, Balance], after: Mapping[str, int], sure: Collection[str]
) -> list[Difference]:
    """Return which of the `sure` counters are outside of what the records said before and after the store was asked, largest first."""
    found = []
    for counter in sure:
        spent, low, high = balances.get(counter, (0, 0))[0], before.get(counter, 0), after.get(counter, 0)
        if spent < low:
            found.append(Difference(counter, spent, low, spent - low))
        elif spent > high:
            found.append(Difference(counter, spent, high, spent - high))
    return sorted(found, key=lambda d: (-abs(d.over), d.counter))


def lasting(first: Iterable[Difference], second: Iterable[Difference]) -> list[Difference]:
    """Return those of the second look that the first had too, on the same side: a difference is believed when it stays."""
    sides = {d.counter: d.over > 0 for d in first}
    return [d for d in second if sides.get(d.counter) == (d.over > 0)]


class Parting(NamedTuple):
    """Where counter and records part, as far as it can be told: a record's id (empty for none) and the reason in words."""

    id: str
    why: str


def parting(difference: Difference, parts: Iterable[Part]) -> Parting:
    """Return what is the first that is odd among the records that charged a counter."""
    likely: Parting | None = None
    for part in parts:
        if part.unit == "usd" and part.amount != part.cost and part.outcome not in SWEPT:
            return Parting(part.id, f"this record charges it {part.amount} and cost {part.cost} (nano-dollars)")
        if part.id.endswith("+") and part.outcome not in SWEPT:
            return Parting(part.id, "there are two records of this hold")
        if likely is None and part.amount == abs(difference.over):
            why = (
                "the store has not what this record charged: its settle was lost"
                if difference.over < 0
                else "this is just as much as this record charged: a record of the same amount was lost, or this one was charged twice"
            )
            likely = Parting(part.id, why)
    if likely is not None:
        return likely
    if difference.over > 0:
        return Parting("", "a hold was charged that left no record: its process died before the record was written, or records were lost")
    return Parting("", "the store has lost something that records say was charged")
