"""Which effects nobody should have by default: the classes that the baseline rules are written from.

A table of (kind, flags of which one is needed, flags that excuse). It is plain data so that the baseline, its documentation and the
measurement of it are the same thing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from proxy.effects import Effect


@dataclass(frozen=True, slots=True)
class Danger:
    """A class of effects: one of `kinds`, with all of `every` flags, with any of `some` (if given), with none of `unless`."""

    title: str
    kinds: frozenset[str]
    every: frozenset[str] = frozenset()
    some: frozenset[str] = frozenset()
    unless: frozenset[str] = frozenset()

    def __contains__(self, effect: Effect) -> bool:
        return (
            effect.kind in self.kinds
            and self.every <= effect.flags
            and (not self.some or not self.some.isdisjoint(effect.flags))
            and self.unless.isdisjoint(effect.flags)
        )


def _class(title: str, kinds: str, *, every: str = "", some: str = "", unless: str = "") -> Danger:
    return Danger(title, *(frozenset(words.split()) for words in (kinds, every, some, unless)))


DANGERS: tuple[Danger, ...] = (
    _class("Connects a shell to the network", "net.shell"),
    _class("Runs what was fetched from elsewhere", "exec.remote"),
    _class("Hides what it runs", "exec.encoded"),
    _class("Starts a shell from a program that is none", "exec.shell", some="gtfo preload"),
    _class("Multiplies without end", "proc.bomb"),
    _class("Removes the system or a home", "fs.delete", every="recursive", some="top home system", unless="narrow"),
    _class("Moves the system or a home away", "fs.delete", every="moved", some="top home"),
    _class("Removes system files", "fs.delete", some="system", unless="narrow temporary listed"),
    _class("Removes the root of a disk", "fs.delete", some="no-preserve-root device"),
    _class("Overwrites a disk", "fs.wipe", some="device", unless="format"),
    _class("Overwrites system files or accounts", "fs.wipe", some="system account login top", unless="format device"),
    _class("Writes system files", "fs.write", some="system account login kernel"),
    _class("Reads account databases, login settings or kernel memory", "fs.read", some="account login kernel root-home"),
    _class("Reads keys and credentials", "secret.read", some="key account browser export"),
    _class("Sends credentials away", "secret.send"),
    _class("Sends a file to somebody else", "net.send", some="upload drop query dns tunnel", unless="local"),
    _class("Offers files or a tunnel to others", "net.listen", some="files file tunnel", unless="local"),
    _class("Stops protection, logging or the system", "proc.kill", some="security system all"),
    _class("Searches for a service and stops it", "proc.kill", every="searched service"),
    _class("Switches off protection or history", "guard.disable", unless="log"),
    _class("Removes logs", "guard.disable", every="log", some="recursive audit", unless="narrow append"),
    _class("Gains rights", "priv.escalate", some="shell setuid capabilities container mount chroot namespace accounts path"),
    _class("Makes system files writable for all", "fs.chmod", every="world-writable", some="system top home account login"),
    _class("Changes owners or modes of the system", "fs.chmod", every="recursive", some="top system"),
    _class("Gives somebody root's rights", "account.change", some="root"),
    _class("Has something run at each start", "persist", some="install startup path alias git"),
    _class("Changes the rules that bind it", "self.modify"),
    _class("Asks the metadata service", "metadata"),
    _class("Reads what a browser keeps", "browser.store"),
    _class("Watches people", "surveil", some="keys cookies"),
)


def danger(effects: Iterable[Effect]) -> tuple[Effect, Danger] | None:
    """Return the first effect that is in a class of danger, and the class."""
    return next(((effect, entry) for effect in effects for entry in DANGERS if effect in entry), None)
