"""What the table of outcomes is made of: how something is provoked, and what must come of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from rows import Row

Amount = Literal["none", "released", "zero", "exact", "bound", "held", "expired"]
"""What is settled. none: nothing was held; released: nothing was sent; zero: the provider did no work; exact: the provider's own usage, to
the nano; bound: between what it generated and what was held; held: all that was held; expired: the settle was lost, and the sweep charges
all that was held. Of an operation that is free, all but the first two are zero."""
Ending = Literal["stop", "tool", "length", "error", "refused", "theirs", "gone"]
"""What the client saw last. error: the protocol's own error inside a stream; refused: our error body; theirs: the provider's, untouched."""
Script = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Want:
    """What must come of a cell: the client's status and ending, the record's outcome and reason, what is settled, and how often the
    provider was called. A refusal that is lasting tells clients not to try again, whatever its reason."""

    status: int
    ending: Ending
    amount: Amount
    outcome: str = "ok"
    reason: str = ""
    calls: int = 1
    retry_after: str = ""
    lasting: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """One line of the matrix.

    Attributes:
        buffered, stream: what must come of it, or why there is no such thing.
        script: what the provider does, for a row and a mode.
        needs: what a row must have (keys of `Row.cannot`).
        agent: who asks; `{family}` is the row's. No key at all is sent for `nobody`, a key that nobody made for `stranger`.
        model: the model's name behind its family; a name with a dash is the whole name.
        ask: changes to the request in no protocol. body: changes to its bytes. headers: laid over the client's.
        hang_up: the client leaves in the middle of its request, when the provider was asked, when it sent its head, or when these
            bytes came.
        below: the path is asked for below `/agent/{id}`.
        before: the usage of a call that is made first, by the same agent.
        fails: verbs of the store that cannot be reached. hasty: the short deadlines hold. spoken: the assistant says refusals.
        decoded: whether the body was read before the exchange ended.
        known: the usage that is charged, where the client cannot see it.
    """

    name: str
    group: str
    buffered: Want | str
    stream: Want | str
    script: Callable[[Row, bool], Script] = lambda row, stream: {}
    needs: tuple[str, ...] = ()
    agent: str = "tester"
    model: str = "main"
    ask: Mapping[str, Any] = field(default_factory=dict)
    body: Callable[[bytes], bytes] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    hang_up: Literal["sending", "asked", "head"] | bytes | None = None
    before: tuple[int, int] | None = None
    fails: frozenset[str] = frozenset()
    hasty: bool = False
    spoken: bool = False
    below: bool = False
    decoded: bool = True
    known: tuple[int, int] | None = None

    def want(self, row: Row, stream: bool) -> Want | str:
        """Return what must come of it in `row`, or why it cannot be there."""
        lacks = next((row.cannot[need] for need in ("stream" if stream else "buffered", *self.needs) if need in row.cannot), None)
        want = lacks if lacks is not None else self.stream if stream else self.buffered
        unsaid = row.silent or "usage" in row.cannot
        if isinstance(want, Want) and want.amount == "exact" and unsaid and "usage" not in self.script(row, stream):
            return replace(want, amount="bound")
        return want


@dataclass(frozen=True, slots=True)
class Cell:
    """One row, one mode, one outcome, and what must come of it."""

    row: Row
    outcome: Outcome
    stream: bool
    want: Want

    def __str__(self) -> str:
        return f"{self.row.name}/{'stream' if self.stream else 'buffered'}/{self.outcome.name}"
