"""When a provider is left alone: a circuit breaker. Pure; it is told the time and what happened.

    closed     requests pass; so many failures in a row open it
    open       requests are refused until the cool-down is over
    half open  one request is out on trial: if it works the circuit closes, if not the cool-down is twice as long, `LONGEST_S` at most

A trial that does not come back (the client left, or the model thinks) holds nobody up: after another cool-down the next one goes. What
was sent before the circuit opened and fails late changes nothing; what of it works closes the circuit.

It decides nothing about what a failure is (`steady` does).
"""

from __future__ import annotations

from typing import Literal

LONGEST_S = 30.0
"""The longest cool-down: a provider that is back is found within this time."""

State = Literal["closed", "open", "half open"]


class Breaker:
    """The circuit of one provider.

    Args:
        failures: so many in a row open it; 0 for never.
        cooldown_s: the first cool-down.

    Attributes:
        row: failures since something worked.
        open: requests must ask `rest` before they go.
    """

    __slots__ = ("_base_s", "_limit", "_trial", "_until", "cooldown_s", "open", "row")

    def __init__(self, failures: int, cooldown_s: float) -> None:
        self._limit, self._base_s = failures, cooldown_s
        self.row, self.open, self.cooldown_s = 0, False, cooldown_s
        self._until, self._trial = 0.0, False

    @property
    def state(self) -> State:
        """The state in words."""
        return "closed" if not self.open else "half open" if self._trial else "open"

    def rest(self, now: float) -> float:
        """Return how long to stay away; 0 lets the caller go, and where the circuit is open that is its trial."""
        if not self.open:
            return 0.0
        if now < self._until:
            return self._until - now
        self._trial, self._until = True, now + self.cooldown_s
        return 0.0

    def worked(self) -> None:
        """The provider answered."""
        self.row, self.open, self._trial = 0, False, False

    def failed(self, now: float, trial: bool = False) -> None:
        """The provider did not; `trial` when the request went while the circuit was open."""
        self.row += 1
        if not self.open:
            if self.row == self._limit:
                self._shut(now, self._base_s)
        elif trial:
            self._shut(now, min(LONGEST_S, 2 * self.cooldown_s))

    def _shut(self, now: float, cooldown_s: float) -> None:
        self.open, self._trial, self.cooldown_s, self._until = True, False, cooldown_s, now + cooldown_s
