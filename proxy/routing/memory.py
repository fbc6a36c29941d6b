"""What a process remembers of conversations: which model served the last turn, and what its provider has kept of the prompt.

Bounded and of one process. It decides what is cheaper, never what is allowed: where it has forgotten, or another replica served the last
turn, a conversation is judged as if it began.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from proxy.model import Usage
from proxy.wire.call import Message

Key = tuple[str, int, str, int]
"""Session, depth below the first agent of its run, the model that is asked for, and a hash of how the conversation begins: side calls of a
client, sub-agents and what was compacted are apart."""
MOST = 10_000
BACK = 128
"""Messages that are looked back for the task that a turn belongs to."""


@dataclass(frozen=True, slots=True)
class Last:
    """The last turn: whether our choice of the simple model served it, a hash of its task, what it used, in which protocol,
    when (UTC seconds)."""

    local: bool
    task: int
    usage: Usage
    protocol: str
    time: float


class Conversations:
    """The last turn of each conversation; the ones that nobody went on with for longest are forgotten first."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._known: dict[Key, Last] = {}

    def get(self, key: Key) -> Last | None:
        """Return the last turn of `key`, None where it is not known."""
        return self._known.get(key)

    def put(self, key: Key, last: Last) -> None:
        """Remember `last` as the latest of all."""
        self._known.pop(key, None)
        while len(self._known) >= self._most:
            del self._known[next(iter(self._known))]
        self._known[key] = last


def task_of(messages: Sequence[Message]) -> int:
    """Return a hash of the last message in which the user says something, 0 where none of the last ones does.

    Of its texts: clients move marks for the provider's cache from message to message.
    """
    for message in reversed(messages[-BACK:]):
        if message.role == "user" and message.texts and not message.tool_results:
            return hash(message.texts)
    return 0
