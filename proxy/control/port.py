"""What human hands leave where every replica sees it: kills, questions and decisions, and the log of them. Implemented by the stores.

Every verb is atomic and waits at most a few seconds; what fails raises StoreError and has changed nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from proxy.control.questions import Case
from proxy.control.rules import Kill

FORGOTTEN_S = 86_400.0
"""How long a question that is over is still kept, so that who decides it too late hears that."""
Action = Literal["kill", "resume", "approve", "deny", "read", "erase"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the log of human hands: UTC seconds, who, what was done to what, why, and until when."""

    time: float
    by: str
    action: Action
    target: str
    reason: str = ""
    until: float | None = None


def kill_json(kill: Kill) -> dict[str, Any]:
    """Return a kill as JSON shows it."""
    return {"target": kill.target, "reason": kill.reason, "by": kill.by, "since": kill.since, "until": kill.until}


def entry_json(entry: Entry) -> dict[str, Any]:
    """Return a line of the log as JSON shows it."""
    return {name: getattr(entry, name) for name in ("time", "by", "action", "target", "reason", "until")}


@dataclass(frozen=True, slots=True)
class Versions:
    """Two numbers that change whenever the kills or the questions to people do."""

    kills: int
    questions: int


class ControlStore(Protocol):
    """Kills, questions to people, and the log."""

    async def versions(self) -> Versions:
        """Return the numbers of this moment: one cheap look, several times a second."""
        ...

    async def kills(self, now: float) -> Sequence[Kill]:
        """Return the kills that hold at `now`, oldest first."""
        ...

    async def kill(self, kill: Kill) -> bool:
        """Keep a kill in place of one with the same target, and log it; False where there are too many already, and nothing is kept."""
        ...

    async def resume(self, target: str, by: str, reason: str, now: float) -> bool:
        """Lift the kill with exactly that target and log it; return whether there was one that still held."""
        ...

    async def case(self, name: str) -> Case | None:
        """Return the question with that id, also one that is over and was not forgotten yet."""
        ...

    async def cases(self, now: float) -> Sequence[Case]:
        """Return the questions that are not over and those decided of late, newest first."""
        ...

    async def waiting(self, agent: str, now: float) -> int:
        """Return how many questions of that agent are pending and not over."""
        ...

    async def save(self, case: Case, seen: int, entry: Entry | None = None) -> bool:
        """Write a question, and a line of the log with it, if the one with its id still has the version `seen` (0: there is none).

        What was over for `FORGOTTEN_S` at `case.asked` may be forgotten with that.
        """
        ...

    async def note(self, entry: Entry) -> None:
        """Add a line to the log that goes with no other change."""
        ...

    async def log(self, limit: int) -> Sequence[Entry]:
        """Return what was done last, newest first."""
        ...

    async def close(self) -> None:
        """Let go of everything."""
        ...
