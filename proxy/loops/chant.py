"""Degenerate repetition inside one reply: a model that says the same piece again and again until its ceiling is spent.

What is looked for is exact: the end of the text has a short period, many times over. Looked at are words alone, not the arguments of
tools; replies that are JSON are not looked at. In code fences, and where the piece is a line of a table, a list or a quotation, or has no
words in it (rulers, base64, drawings), far more of it is needed, since people ask for such things. A look costs some microseconds and
happens once in `STEP` characters, so that an event costs a fraction of one. It never fails, and forgets all but the last `KEPT` characters.
Of a reply that came whole there is a finding alone: it is paid for already.
"""

from __future__ import annotations

import re

from proxy.engine.exchange import Exchange
from proxy.model import Deny, LoopSignal, Reason
from proxy.wire.call import Event

STEP, PROBE = 512, 64
"""Characters between two looks, and how many of the last ones are searched for."""
PERIOD, PLAIN, ODD, TIMES = 512, 12_000, 24_000, 8
"""The longest piece, how many characters of repetition are a chant in plain text and where repetition is common, and the fewest repeats."""
# a word a thousand times is what some people ask for, and the ceiling of most calls ends it; three thousand times is nobody's wish
KEPT = ODD + PERIOD
_words = re.compile(r"[^\W\d_]{2,}[^\w\n]+[^\W\d_]{2,}")
_marked = re.compile(r"^[ \t]*([|>#+*\-=~.]|\d+[.):]|\w+[.)] )|\t|,[^ \n]|[|;{}<>]", re.MULTILINE)
_fence = "```"


class Chant:
    """Reads one reply as it comes.

    Attributes:
        period: the length of the piece that is repeated, 0 while nothing is. length: of all its repeats so far, in characters.
    """

    __slots__ = ("_due", "_fenced", "_new", "_tail", "length", "period")

    def __init__(self) -> None:
        self._tail, self._new, self._due, self._fenced = "", list[str](), 0, False
        self.period = self.length = 0

    def hears(self, text: str) -> bool:
        """Take the next words in and return whether the reply has become a chant."""
        self._new.append(text)
        self._due += len(text)
        return self._due >= STEP and self._look()

    def _look(self) -> bool:
        new = "".join(self._new)
        self._new.clear()
        self._due = 0
        seam = self._tail[-2:] + new
        self._fenced ^= (seam.count(_fence) - self._tail[-2:].count(_fence)) % 2 == 1
        tail = self._tail = (self._tail + new)[-KEPT:]
        self.period = period_of(tail)
        if not self.period:
            return False
        self.length = run_of(tail, self.period)
        odd = self._fenced or not common(tail[-max(2 * self.period, PROBE) :])
        return self.length >= max(ODD if odd else PLAIN, TIMES * self.period)


def period_of(text: str) -> int:
    """Return the shortest period, up to `PERIOD`, that the end of `text` may have, 0 for none."""
    probe = text[-PROBE:]
    if len(probe) < PROBE:
        return 0
    end = len(text)
    place = text.rfind(probe, max(0, end - PROBE - PERIOD), end - 1)
    return 0 if place < 0 else end - PROBE - place


def run_of(text: str, period: int) -> int:
    """Return how many characters at the end of `text` repeat with `period`, the first piece included."""
    low, high = 0, len(text) - period
    if text.endswith(text[:-period]):
        return len(text)
    while low < high:  # a longer end has the period only where each shorter one has it
        middle = (low + high + 1) // 2
        if text[len(text) - middle :] == text[len(text) - middle - period : len(text) - period]:
            low = middle
        else:
            high = middle - 1
    return low + period


def common(piece: str) -> bool:
    """Return whether a repeated piece is words as people say them, and not a drawing, a table, a list or data."""
    return _words.search(piece) is not None and _marked.search(piece) is None


def chants(text: str) -> bool:
    """Return whether a whole text holds a chant."""
    chant = Chant()
    return any(chant.hears(text[i : i + STEP]) for i in range(0, len(text), STEP))


STUCK, STUCK_TIMES = 600, 12
"""Characters and repeats at the end of an answer that say that a small model is stuck, where asking another costs little."""


def stuck(text: str) -> bool:
    """Return whether a whole answer ends in one piece of words again and again: far less of it than a chant, which ends a stream."""
    tail = text[-KEPT:].rstrip()
    period = period_of(tail)
    if not period or not common(tail[-max(2 * period, PROBE) :]):
        return False
    return run_of(tail, period) >= max(STUCK, STUCK_TIMES * period)


RULE = "chant"


def looked_at(ex: Exchange) -> bool:
    """Return whether the reply of `ex` is words."""
    return ex.call.operation == "chat" and not ex.call.wants_json


class Watch(Chant):
    """Watches one stream (`engine.stage.Tap`) and cuts it once it has become a chant, where the agent's loops may be blocked."""

    __slots__ = ("_ex", "_over")

    def __init__(self, ex: Exchange) -> None:
        super().__init__()
        self._ex, self._over = ex, False

    def __call__(self, event: Event) -> Deny | None:
        """See `Tap`."""
        if self._over or event.kind != "text":
            return None
        text = event.text
        self._new.append(text)  # as `hears` has it, which would be one call more for each event
        self._due += len(text)
        if self._due < STEP or not self._look():
            return None
        self._over = True
        ex, times = self._ex, self.length // self.period
        limits, words = ex.grant.loops, f"the reply repeats one piece of {self.period} characters {times} times"
        ex.find(f"loops/{RULE}", words)
        blocks = limits.act == "block"
        ex.loop = LoopSignal("block" if blocks and not limits.shadow else "warn", RULE, times, since=0)
        if not blocks:
            return None
        where = f"{limits.source.file}:{limits.source.line}" if limits.source is not None else "default"
        remedy = "Ask in another way, or with another model or a lower max_tokens."
        return Deny(Reason.LOOP_DETECTED, f"{words}.", f"loops.{RULE} ({where})", remedy, limits.shadow)


def whole(ex: Exchange) -> None:
    """Leave a finding where a buffered reply ends in a chant."""
    meter = ex.meter
    if meter is not None and sum(map(len, meter.texts)) >= PLAIN and chants("".join(meter.texts)[-2 * KEPT :]):
        ex.find(f"loops/{RULE}", "the reply repeats one piece again and again")
