"""What the replies of a process teach it about providers: how they count prompts, and who sends a stream in one piece.

Changes what is held, never what is charged. Both only ever make holds larger: a bound that was lowered by what came back would be passed
by some prompt to come, and its budget with it. Lives as long as the process, and is empty at its start.

For each agent (whose odd prompts must not make the holds of others larger), model, size of prompt and whether it has tools, a decaying
histogram of (counted by the provider / our bound) is kept; a high quantile above the bound, with a margin, makes the next hold larger.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from proxy.engine.exchange import Exchange

QUANTILE = 0.995
MARGIN = 1.15
MOST = 2.0
"""A provider that counts more than this many times our bound is not followed: that is a slip, or text that we never saw."""
MOST_BURSTS = 1000
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
        if share > self.factor or (self.factor > 1.0 and not int(self.total) % 8):
            self.factor = self._factor()

    def _factor(self) -> float:
        above = (1 - QUANTILE) * self.total
        seen, top = 0.0, _BINS
        for top in range(_BINS, -1, -1):
            seen += self.bins[top]
            if seen > above:
                break
        return min((top + 1) * MOST / _BINS * MARGIN, MOST) if top * MOST / _BINS >= 1.0 else 1.0


class Learned:
    """See the module. One a process.

    Attributes:
        bursts: (provider, model) pairs that were seen to send more of a stream at once than was held: they are held in full.
    """

    __slots__ = ("_known", "bursts")

    def __init__(self) -> None:
        self._known: dict[Kind, _Histogram] = {}
        self.bursts: set[tuple[str, str]] = set()

    def factor(self, kind: Kind) -> float:
        """Return how many times its bound is held for a prompt of `kind`: 1 at least."""
        found = self._known.get(kind)
        return 1.0 if found is None else found.factor

    def count(self, kind: Kind, actual: int, bound: int) -> None:
        """Take in that a prompt of `kind`, of at most `bound` tokens, was counted as `actual` by its provider."""
        if bound <= 0 or not 0 < actual <= MOST * bound:
            return
        found = self._known.get(kind)
        if found is None:
            if actual <= bound:
                return
            if len(self._known) >= _KNOWN:
                self._known.clear()
            found = self._known[kind] = _Histogram()
        found.add(actual / bound)

    def burst(self, provider: str, model: str) -> None:
        """Take in that a stream of `provider` came in one piece that was larger than its hold."""
        if len(self.bursts) < MOST_BURSTS:
            self.bursts.add((provider, model))


@dataclass(frozen=True, slots=True)
class Lesson:
    """What the reply to one call can teach: how a prompt of `kind`, of `bound` tokens at most, is counted."""

    learned: Learned
    kind: Kind
    bound: int

    async def learn(self, ex: Exchange) -> None:
        """Take it in where the provider that it is about counted; see `engine.exchange.Release`."""
        usage, target, kind = ex.usage, ex.target, self.kind
        if not ex.served or usage is None or not usage.exact or target is None:
            return
        if (target.provider, target.upstream_model) == (kind.provider, kind.model):
            self.learned.count(kind, usage.total_input, self.bound)
