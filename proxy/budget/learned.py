"""How far the bound of a prompt is above what its provider counts, learned from the usage that comes back.

Changes what is held for a prompt, never what is charged for one. For each agent (whose prompts say nothing of another's, and must not make
its holds too small), model, size of prompt and whether it has tools, a decaying histogram of (counted by the provider / our bound) is kept
in the process; once there are enough, a high quantile with a margin makes the hold smaller, and one that is above the bound makes it larger
at once. What it learns can be wrong for the next prompt, so it is never trusted below `LEAST` of the bound.
"""

from __future__ import annotations

from typing import NamedTuple

SAMPLES = 64
"""Prompts that must have been seen before less than the bound is held."""
QUANTILE = 0.995
MARGIN = 1.15
LEAST = 0.7
MOST = 2.0
"""A provider that counts more than this many times our bound is not followed: that is a slip, or text that we never saw."""
_BINS = 128
_DECAY_AT = 1024.0
"""Samples after which all that is known counts half."""
_KNOWN = 10_000


class Kind(NamedTuple):
    """Prompts that are counted alike."""

    provider: str
    model: str
    size: int
    tools: bool
    agent: str = ""


def kind_of(provider: str, model: str, bound: int, tools: bool, agent: str = "") -> Kind:
    """Return the kind of a prompt of at most `bound` tokens that `agent` sends; sizes are powers of four."""
    return Kind(provider, model, bound.bit_length() // 2, tools, agent)


class _Histogram:
    """Shares of the bound, in steps of 1/64 up to `MOST`. `factor` is kept up to date, so that asking costs nothing."""

    __slots__ = ("bins", "factor", "total")

    def __init__(self) -> None:
        self.bins, self.total, self.factor = [0.0] * (_BINS + 1), 0.0, 1.0

    def add(self, share: float) -> None:
        """Take one sample."""
        self.bins[min(int(share * _BINS / MOST), _BINS)] += 1
        self.total += 1
        if self.total >= _DECAY_AT:
            self.bins, self.total = [count / 2 for count in self.bins], self.total / 2
        if share > self.factor or not int(self.total) % 8:
            self.factor = self._factor()

    def _factor(self) -> float:
        above = (1 - QUANTILE) * self.total
        seen, top = 0.0, _BINS
        for top in range(_BINS, -1, -1):
            seen += self.bins[top]
            if seen > above:
                break
        share = (top + 1) * MOST / _BINS
        if top * MOST / _BINS >= 1.0:
            return min(share * MARGIN, MOST)
        return max(min(share * MARGIN, 1.0), LEAST) if self.total >= SAMPLES else 1.0


class Ratios:
    """See the module. One a process."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[Kind, _Histogram] = {}

    def factor(self, kind: Kind) -> float:
        """Return what share of its bound is held for a prompt of `kind`: 1 while little is known of it."""
        found = self._known.get(kind)
        return 1.0 if found is None else found.factor

    def learn(self, kind: Kind, actual: int, bound: int) -> None:
        """Take in that a prompt of `kind`, of at most `bound` tokens, was counted as `actual` by its provider."""
        if bound <= 0 or not 0 < actual <= MOST * bound:
            return
        self._of(kind).add(actual / bound)

    def doubt(self, kind: Kind) -> None:
        """Take in that nobody heard how a prompt of `kind` was counted: as much as its bound, for all that is known.

        Such a prompt is charged at what is held for it. Were it passed over, who taught us with prompts that count little could send others
        from then on, hang up before they are counted, and pay too little for each.
        """
        self._of(kind).add(1.0 - 1.0 / _BINS)

    def _of(self, kind: Kind) -> _Histogram:
        found = self._known.get(kind)
        if found is None:
            if len(self._known) >= _KNOWN:
                self._known.clear()
            found = self._known[kind] = _Histogram()
        return found
