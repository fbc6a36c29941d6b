"""The interface of guards: what they are given, what they say, and how far they must see.

A guard is stateless after it was built and never raises for what a text holds. It says what is there; what follows from it is decided by
the agent's `data:` settings and by rules. Its `digest` changes with its rules, so that what is remembered of a message is remembered of
that rule set alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from proxy.wire.call import ToolCall

Surface = Literal["prompt", "tool_result", "reply", "tool_definition", "tool_call"]
"""Where a text stands: said to the model, returned by a tool, said by the model, what a tool is described as, arguments of a call."""
Mode = Literal["off", "warn", "redact", "block"]
"""What the agent's `data:` settings ask for; each is stricter than the one before."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A span that a text guard found.

    Attributes:
        rule: `guard/rule`, as it shows in `x-fleetgate-findings`.
        start, end: the span in the text as given (characters).
        label: the word of its placeholder when it is redacted: `EMAIL`, `AWS_KEY`.
        detail: for people; never the text itself.
    """

    rule: str
    start: int
    end: int
    label: str = ""
    detail: str = ""


class TextGuard(ABC):
    """Finds spans in texts.

    Attributes:
        name: its key in the agent's `data:` settings: secrets, pii or injection.
        surfaces: where it looks.
        reach: the most characters that one finding spans: a stream holds back one fewer. None: the text must be whole.
        digest: identifies the rule set (12 hex digits).
    """

    name: ClassVar[str]
    surfaces: ClassVar[frozenset[Surface]]
    reach: int | None
    digest: str

    @abstractmethod
    def scan(self, text: str, surface: Surface) -> Sequence[Hit]:
        """Return what is found in `text`, in order, not overlapping. Linear in its length; never raises."""


@dataclass(frozen=True, slots=True)
class Effect:
    """Something that a tool call would do, in words that rules can match.

    Attributes:
        kind: one of `EFFECTS`, as `fs.delete`.
        subject: what it is done to: a path, a URL, a host, a table; empty where that is not known before it runs.
        flags: more about it, as `recursive`, `force`, `root`.
        evidence: the piece of the command or code that shows it, at most 200 characters; for `explain`, never for logs.
    """

    kind: str
    subject: str = ""
    flags: frozenset[str] = frozenset()
    evidence: str = ""


EFFECTS: dict[str, str] = {
    "fs.delete": "removes files or folders",
    "fs.wipe": "overwrites, formats or shreds a file, a disk or a device",
    "fs.write": "writes a file (subject: its path)",
    "fs.read": "reads a file (subject: its path)",
    "fs.chmod": "changes permissions or owners",
    "net.fetch": "reads a URL",
    "net.send": "sends data to a host (subject: where)",
    "net.listen": "opens a port to others",
    "net.shell": "connects a shell to the network",
    "exec.remote": "runs what was fetched from elsewhere",
    "exec.encoded": "runs what was encoded or built so that it cannot be read",
    "exec.shell": "starts another shell or interpreter from a program that is none",
    "priv.escalate": "gains another user's rights",
    "proc.kill": "stops processes or services (subject: which)",
    "proc.bomb": "multiplies or loops without end",
    "persist": "has something run later or at each start",
    "secret.read": "reads credentials or keys (subject: which)",
    "secret.send": "sends credentials or keys away",
    "self.modify": "changes the rules or instructions that bind the agent itself",
    "guard.disable": "switches off protection, logging or history",
    "vcs.rewrite": "rewrites or throws away version history",
    "vcs.push": "publishes commits",
    "package.install": "installs software",
    "package.publish": "publishes software",
    "infra.destroy": "destroys or stops infrastructure",
    "db.destroy": "drops, truncates or deletes without bound",
    "account.change": "changes users, groups or rights",
    "money.move": "pays or transfers",
    "message.send": "sends a message to somebody",
    "browser.store": "reads what a browser keeps",
    "surveil": "records screen, camera, microphone, keys or place",
    "metadata": "asks a cloud's metadata service",
    "private": "reaches into private networks",
}
"""Kinds of effects and what they mean. Closed: rules are checked against it."""


class CallGuard(ABC):
    """Says what tool calls would do. Stateless; never raises for what a call holds; bounded in time by the size of its arguments."""

    name: ClassVar[str]

    @abstractmethod
    def effects(self, call: ToolCall) -> Sequence[Effect]:
        """Return what `call` would do, as far as can be told; nothing for tools that it knows nothing of."""
