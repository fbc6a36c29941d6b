"""What a tool call would do, in words that rules can match: the one vocabulary between the guards that see it and the rules that decide."""

from __future__ import annotations

from dataclasses import dataclass


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
