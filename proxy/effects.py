"""What a tool call would do, in words that rules can match: the one vocabulary between the guards that see it and the rules that decide."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Effect:
    """Something that a tool call would do, in words that rules can match.

    Attributes:
        kind: one of `EFFECTS`, as `fs.delete`.
        subject: what it is done to: a path, a URL, a host, a table, a service; empty where that is not known before it runs, `*` for
            unknown parts. Paths are canonical: no `.` and `..`, one's home is `~`.
        flags: more about it, as `recursive`, `force`: see `FLAGS`, `PATHS`, `HOSTS`, `EVERY`.
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

EVERY = frozenset({"privileged", "encoded", "container", "remote-host"})
"""Flags that any effect may have: it runs under `sudo`, was decoded first, happens in a container, on another machine."""

PATHS = frozenset("account login kernel key browser startup policy system top home root-home device temporary wide".split())
"""Flags of paths (`fs.*`, `secret.read`): what the file is.

`account`: a database of users and passwords; `login`: what decides who may log in; `kernel`: memory and keys of the kernel; `key`:
credentials of people and programs; `browser`: what a browser keeps; `startup`: runs by itself; `policy`: binds agents; `system`:
belongs to the operating system; `top`: the root or a folder in it; `home`: a whole home; `root-home`: in root's home; `device`: a disk;
`temporary`: for all; `wide`: everything here.
"""

HOSTS = frozenset("local private metadata external drop".split())
"""Flags of hosts (`net.*`): this machine, a private network, a metadata service, somebody else's, a place where anyone leaves data."""

FLAGS: dict[str, str] = {
    "fs.delete": "recursive force listed narrow moved mirror no-preserve-root",
    "fs.wipe": "format partition truncate shred wipefs blkdiscard srm scrub nwipe wipe",
    "fs.write": "append edit link dd settings net decoded",
    "fs.read": "link",
    "fs.chmod": "chmod chown chgrp chattr setfacl recursive world-writable setuid lock-out to-root",
    "net.fetch": "socket session scan dns git ssh copy package secret",
    "net.send": "file env token secret upload post query socket copy tunnel dns listen",
    "net.listen": "file files tunnel port local forward socket api",
    "net.shell": "connect listen pipe redirect dup socket variable; the language of the code",
    "exec.remote": "shell python variable eval socket pickle; the interpreter",
    "exec.encoded": "shell python powershell variable eval glob pickle too-large; the interpreter",
    "exec.shell": "gtfo usual library preload environment config sql ssh; the program or language",
    "priv.escalate": "shell setuid capabilities kernel-module chroot mount container namespace accounts path; the program",
    "proc.kill": "searched by-name service user all system security; the verb",
    "proc.bomb": "fork",
    "persist": "startup install edit remove service path scheduled alias git append chmod",
    "secret.read": "link export",
    "secret.send": "file env secret upload post query socket copy dns listen",
    "self.modify": "append edit link dd recursive force moved chmod chown",
    "guard.disable": "service history firewall protection log audit append; as fs.*",
    "vcs.rewrite": "remote local push reset clean history branch reflog stash ref",
    "vcs.push": "force delete",
    "package.install": "url index; the installer",
    "package.publish": "remove; the publisher",
    "infra.destroy": "forced power; the program",
    "db.destroy": "drop truncate unbounded always-true",
    "account.change": "root interactive append; the program",
    "money.move": "tool",
    "message.send": "tool mail file secret",
    "browser.store": "append link; the library",
    "surveil": "the program; subject is one of screen camera microphone keys clipboard place",
    "metadata": "as net.fetch and net.send",
    "private": "as net.fetch and net.send",
}
"""Flags of each kind, beyond those of `EVERY`, `PATHS` and `HOSTS`; documentation for rule writers, stable names."""
