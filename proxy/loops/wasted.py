"""What a loop has cost since it began: a figure for people, never for a decision.

A session's latest costs are kept, a few of each and of the latest sessions only, in this process alone. A loop that began before what is
kept, on another replica or before a restart, has cost more than is said here.
"""

from __future__ import annotations

from collections import OrderedDict, deque

from proxy.model import Nanos

SESSIONS, STEPS = 10_000, 32
"""Sessions, and costs of each, that are kept: about 1 KiB a session."""


class Costs:
    """See the module. One loop's."""

    def __init__(self, sessions: int = SESSIONS) -> None:
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._most = sessions

    def spent(self, session: str, cost: int) -> None:
        """Keep what a call of `session` cost, in nanos."""
        kept = self._sessions.get(session)
        if kept is None:
            if len(self._sessions) >= self._most:
                self._sessions.popitem(last=False)
            kept = self._sessions[session] = _Session()
        else:
            self._sessions.move_to_end(session)
        kept.costs.append(cost)
        kept.untold = min(kept.untold + 1, STEPS)

    def since(self, session: str, steps: int) -> tuple[Nanos, Nanos]:
        """Return what the last `steps` calls cost, and how much of that was not told before."""
        kept = self._sessions.get(session)
        if kept is None or steps <= 0:
            return Nanos(0), Nanos(0)
        newest = list(kept.costs)[-steps:]
        fresh = newest[-kept.untold :] if kept.untold else []
        kept.untold = 0
        return Nanos(sum(newest)), Nanos(sum(fresh))


class _Session:
    __slots__ = ("costs", "untold")

    def __init__(self) -> None:
        self.costs: deque[int] = deque(maxlen=STEPS)
        self.untold = 0
