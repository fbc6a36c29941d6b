"""One command of a script, expanded: what a handler of a command is given, and how it reads options."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from proxy.guards.findings import Findings, Value
from proxy.guards.paths import HOLE

if TYPE_CHECKING:
    from proxy.guards.shell import Machine


@dataclass(slots=True)
class Run:
    """A command with its arguments.

    Attributes:
        name: the program, without its folder.
        args: its arguments; `HOLE` where not known.
        taint: what the arguments were made of.
        stdin: what it reads from a pipe, here-document or file; None when it has no input of its own.
        wrapped: it was started by another program (`sudo`, `find -exec`), named here.
        out: where its output goes: paths of redirections.
        env: variables set for this command alone.
    """

    machine: Machine
    name: str
    args: list[str]
    taint: frozenset[str] = frozenset()
    stdin: Value | None = None
    wrapped: str = ""
    out: tuple[str, ...] = ()
    env: dict[str, Value] = field(default_factory=dict)

    @property
    def found(self) -> Findings:
        """Where effects are noted."""
        return self.machine.found

    def options(self, valued: str = "", long: Iterable[str] = ()) -> Options:
        """Read the arguments; letters of `valued` and names of `long` take a value."""
        return Options(self.args, valued, frozenset(long))

    def value(self, *taints: str) -> Value:
        """Return an output that is not known, made from the input, the arguments and `taints`."""
        return Value(HOLE, self.taint | (self.stdin.taint if self.stdin else frozenset()) | frozenset(taints))

    def again(self, args: list[str], *, wrapped: str = "", stdin: Value | None = None) -> Value:
        """Judge `args` as a command that this one starts."""
        return self.machine.start(args, self, wrapped or self.name, stdin if stdin is not None else self.stdin)


class Options:
    """Arguments apart: `flags` (letters and long names), `values` of those that have one (last wins; `all` keeps each), `rest`."""

    def __init__(self, args: list[str], valued: str = "", long: frozenset[str] = frozenset(), *, leading: bool = False) -> None:
        """Read `args`; with `leading`, options end at the first operand: what follows is a command of its own."""
        self.flags: set[str] = set()
        self.values: dict[str, str] = {}
        self.all: list[tuple[str, str]] = []
        self.rest: list[str] = []
        waiting = ""
        for i, arg in enumerate(args):
            if leading and self.rest:
                self.rest += args[i:]
                break
            if waiting:
                self._set(waiting, arg)
                waiting = ""
                continue
            if arg == "--":
                self.rest += args[i + 1 :]
                break
            elif arg.startswith("--"):
                name, equals, value = arg[2:].partition("=")
                self.flags.add(name)
                if equals:
                    self._set(name, value)
                elif name in long:
                    waiting = name
            elif arg.startswith("-") and len(arg) > 1:
                waiting = self._letters(arg, valued, long)
            else:
                self.rest.append(arg)

    def _letters(self, arg: str, valued: str, long: frozenset[str]) -> str:
        if arg[1:] in long:
            self.flags.add(arg[1:])
            return arg[1:]
        self.flags.add(arg[1:])
        for i, letter in enumerate(arg[1:], 1):
            self.flags.add(letter)
            if letter in valued:
                if arg[i + 1 :]:
                    self._set(letter, arg[i + 1 :])
                    return ""
                return letter
        return ""

    def _set(self, name: str, value: str) -> None:
        self.flags.add(name)
        self.values[name] = value
        self.all.append((name, value))

    def has(self, *names: str) -> bool:
        """Tell whether any of `names` was given."""
        return not self.flags.isdisjoint(names)

    def get(self, *names: str) -> str:
        """Return the value of the first of `names` that has one, or nothing."""
        return next((self.values[name] for name in names if name in self.values), "")


Handler: TypeAlias = Callable[[Run], Value | None]
