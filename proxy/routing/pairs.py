"""A pair: what the local model answered, and what the model that was asked for answered to the same request.

Facts of both always; of their texts what the agent's file has logged (`data.log_content`): nothing, a hash, the text with personal data and
secrets hidden, or with secrets hidden, cut to `MOST_CHARS`. Pure data; decides nothing.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from proxy.money import dollars

MOST_CHARS = 4000
MOST_PAIRS = 200
"""Pairs that are kept; the oldest go first."""


@dataclass(frozen=True, slots=True)
class Half:
    """One answer: its exchange, who gave it, nanos charged, ns from the request to its end, why it stopped, its length in characters, and
    its text or the hash of it, None where the agent's file does not have content logged."""

    id: str
    provider: str
    model: str
    cost: int
    ns: int
    finish: str
    chars: int
    text: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        facts = {"id": self.id, "provider": self.provider, "model": self.model, "cost_usd": dollars(self.cost)}
        return facts | {"seconds": round(self.ns / 1e9, 3), "finish": self.finish, "chars": self.chars, "text": self.text}


@dataclass(frozen=True, slots=True)
class Pair:
    """Both answers to one request of an agent.

    `time` is when the second was asked for, `until` after when the pair is deleted (None: nobody said), UTC seconds.
    """

    time: float
    agent: str
    local: Half
    asked: Half
    until: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {"time": self.time, "agent": self.agent, "local": self.local.as_json(), "asked": self.asked.as_json()}


def about(pair: Pair, agent: str, ids: Container[str]) -> bool:
    """Return whether a pair is of that agent, or one of its exchanges among `ids`."""
    return (bool(agent) and pair.agent == agent) or pair.local.id in ids or pair.asked.id in ids


class Pairs(Protocol):
    """Keeps the last `MOST_PAIRS` pairs. May block: called in threads."""

    def keep(self, pair: Pair) -> None:
        """Keep one. Raises StoreError."""
        ...

    def forget(self, now: float) -> int:
        """Delete those that may be kept no longer; return how many. Raises StoreError."""
        ...

    def erase(self, agent: str, ids: Container[str]) -> int:
        """Delete those of an agent, and those whose exchanges are among `ids`; return how many. Raises StoreError."""
        ...

    def all(self) -> Sequence[Pair]:
        """Return all that are kept, newest first. Raises StoreError."""
        ...
