"""What is gathered about one call: effects, each once, with what their paths and hosts are.

The one place where a path or a host becomes an effect, so that a file that shell text, Python and an editing tool write is judged alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from proxy.effects import Effect
from proxy.guards import hosts, paths
from proxy.guards.paths import HOLE

MOST = 1024
"""Effects kept of one call; that there are more is an effect too."""
LONGEST = 200
STEPS = 2000
"""Commands and calls judged in one tool call, however they are nested."""


class TooComplex(Exception):
    """A text nests deeper, holds more, or would do more than is judged."""


@dataclass(frozen=True, slots=True)
class Value:
    """A text as far as it is known (`HOLE` where not) and where it came from: `net`, `file`, `secret`,
    `decoded`, `env` (all of it), `token` (one variable that is named like a secret), `procs`."""

    text: str = HOLE
    taint: frozenset[str] = frozenset()


NOTHING = Value("")


@dataclass(slots=True)
class Findings:
    """Effects so far. `base` are flags that all of them get from now on, `cwd` is where relative paths start, if known."""

    found: dict[tuple[str, str, frozenset[str]], Effect] = field(default_factory=dict)
    base: frozenset[str] = frozenset()
    evidence: str = ""
    left: int = STEPS
    cwd: str = ""

    def spend(self) -> None:
        """Count one command or call that is judged.

        Raises:
            TooComplex: there were more than `STEPS` in this tool call.
        """
        self.left -= 1
        if self.left < 0:
            raise TooComplex

    def emit(self, kind: str, subject: str = "", *flags: str) -> None:
        """Note an effect."""
        subject = subject.replace(HOLE, "*")[:1024]
        key = (kind, subject, self.base.union(flags))
        if len(self.found) >= MOST:
            key = ("exec.encoded", "", frozenset({"too-large"}))
            self.found.setdefault(key, Effect("exec.encoded", "", key[2]))
        elif key not in self.found:
            self.found[key] = Effect(kind, subject, key[2], self.evidence[:LONGEST].replace(HOLE, "*"))

    def path(self, kind: str, path: str, *flags: str) -> frozenset[str]:
        """Note `kind` done to `path`, and what follows from what that path is; return what it is."""
        if not path.strip(HOLE):
            self.emit(kind, "", *flags)
            return frozenset()
        path = paths.canonical(path)
        if self.cwd and path[:1] not in ("/", "~") and path[1:2] != ":":
            path = paths.canonical(f"{self.cwd}/{path}")
        what = paths.kinds(path)
        self.emit(kind, path, *what, *flags)
        if kind == "fs.read":
            if what & paths.SECRET:
                self.emit("secret.read", path, *what, *flags)
            if "browser" in what:
                self.emit("browser.store", path, *flags)
        else:
            self._changed(path, what, flags)
        return what

    def _changed(self, path: str, what: frozenset[str], flags: tuple[str, ...]) -> None:
        if "policy" in what:
            self.emit("self.modify", path, *flags)
        if "startup" in what:
            self.emit("persist", path, "startup", *flags)
        if what & {"account", "login"} and path.startswith("/etc"):
            self.emit("account.change", path, *flags)
        if path.startswith("/var/log/"):
            self.emit("guard.disable", path, "log", *(["audit"] if "login" in what else []), *flags)
        elif path.endswith("_history"):
            self.emit("guard.disable", path, "history", *flags)

    def url(self, kind: str, url: str, *flags: str) -> frozenset[str]:
        """Note `kind` done with `url` (or a bare host); return what its host is."""
        host = hosts.host_of(url)
        what = hosts.kinds(host)
        self.emit(kind, url, *what, *flags)
        if "metadata" in what:
            self.emit("metadata", host, *flags)
        if "private" in what:
            self.emit("private", host, *flags)
        return what

    def send(self, where: str, taint: frozenset[str], *flags: str) -> None:
        """Note that data of `taint` goes to `where`."""
        more = [word for word in ("file", "env", "secret", "token") if word in taint]
        self.url("net.send", where, *more, *flags)
        if taint & {"secret", "env"}:
            self.emit("secret.send", where, *more, *flags)
