"""What a loop has cost since it began: a figure for people, never for a decision.

A session's latest costs are kept, a few of each and of the latest sessions only, in this process alone. A loop that began before what is
kept, on another replica or before a restart, has cost more than is said here.
"""

from __future__ import annotations

from collections import OrderedDict

from proxy.model import Nanos

SESSIONS, STEPS = 5_000, 32
"""Sessions, and costs of each, that are kept: some 300 bytes a session, and 40 for each further cost."""


class Costs:
    """See the module. One loop's."""

    def __init__(self, sessions: int = SESSIONS) -> None:
        self._sessions: OrderedDict[str, tuple[int, ...]] = OrderedDict()  # how many are untold, then the costs, oldest first
        self._most = sessions

    def spent(self, session: str, cost: int) -> None:
        """Keep what a call of `session` cost, in nanos."""
        kept = self._sessions.get(session)
        if kept is None:
            if len(self._sessions) >= self._most:
                self._sessions.popitem(last=False)
            self._sessions[session] = (1, cost)
        else:
            self._sessions.move_to_end(session)
            self._sessions[session] = (min(kept[0] + 1, STEPS), *kept[1:][1 - STEPS :], cost)

    def since(self, session: str, steps: int) -> tuple[Nanos, Nanos]:
        """Return what the last `steps` calls cost, and how much of that was not told before."""
        kept = self._sessions.get(session)
        if kept is None or steps <= 0:
            return Nanos(0), Nanos(0)
        untold, *costs = kept
        newest = costs[-steps:]
        fresh = newest[-untold:] if untold else []
        self._sessions[session] = (0, *costs)
        return Nanos(sum(newest)), Nanos(sum(fresh))
