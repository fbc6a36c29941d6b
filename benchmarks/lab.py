"""Where measurements happen: the stub upstream, the cores, a folder, and targets that run only as long as they are measured."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.cases import EVERY_MS
from benchmarks.measure import Effort
from benchmarks.process import NotReady, free_port, start, wait_ready
from benchmarks.targets import Start, Target


def say(text: str) -> None:
    """Tell whoever waits."""
    print(text, file=sys.stderr, flush=True)


@dataclass(slots=True)
class Lab:
    """What sections measure in. `upstream` is the stub's port; proxies run on core `here`, everything else on `there`."""

    upstream: int
    here: int
    there: int
    folder: Path
    effort: Effort
    only: frozenset[str] = frozenset()
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def direct(self) -> Target:
        """The stub itself."""
        return Target("direct", self.upstream, None)

    @contextlib.contextmanager
    def running(self, starts: Mapping[str, Start]) -> Iterator[list[Target]]:
        """Start targets, each in a folder of its own, and stop them at the end. One that cannot start is left out, and that is said."""
        running: list[Target] = []
        try:
            for name, begin in starts.items():
                if self.only and name not in self.only:
                    continue
                try:
                    running.append(begin(self.upstream, self.here, self.folder / f"{next(self._numbers)}"))
                except NotReady as e:
                    say(f"{name} is left out: {e}")
            yield running
        finally:
            for target in running:
                if target.process is not None:
                    target.process.stop()

    @classmethod
    @contextlib.contextmanager
    def open(cls, cores: tuple[int, int], folder: Path, effort: Effort, only: frozenset[str]) -> Iterator[Lab]:
        """Start the stub and stop it at the end."""
        here, there = cores
        command = [sys.executable, "-m", "benchmarks.stub", str(port := free_port()), str(EVERY_MS)]
        stub = start(command, there, folder / "stub.log")
        try:
            wait_ready(stub, port)
            yield cls(port, here, there, folder, effort, only)
        finally:
            stub.stop()
