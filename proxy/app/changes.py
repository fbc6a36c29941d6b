"""What became of the configuration since the process started: each reload, which files it was about, and what was wrong.

Decides nothing: it compares the files' digests before and after. Contents are never kept. Bounded: the last `MOST` reloads.
"""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxy.settings import Settings
from proxy.settings.sections import expand

MOST, MOST_FILES, MOST_PROBLEMS = 50, 500, 100
_PLACE = re.compile(r"([^\s:]+):(\d+):")


@dataclass(frozen=True, slots=True)
class Read:
    """One file as it was read: the SHA-256 of its content, and its size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Change:
    """One reload: UTC seconds, whether it was applied, the version in force after it, the files it was about, and what was wrong."""

    time: float
    applied: bool
    version: str
    changed: tuple[str, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    problems: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON shows it."""
        return {
            "time": self.time,
            "outcome": "applied" if self.applied else "refused",
            "version": self.version,
            "changed": list(self.changed[:MOST_FILES]),
            "added": list(self.added[:MOST_FILES]),
            "removed": list(self.removed[:MOST_FILES]),
            "problems": problems_json(self.problems),
        }


class Changes:
    """See the module. `files` are those of the last reading, by name; `since` is when what is in force came to be."""

    def __init__(self) -> None:
        self.files: Mapping[str, Read] = {}
        self.since = 0.0
        self._kept: deque[Change] = deque(maxlen=MOST)

    def note(self, found: Mapping[str, Read], version: str, problems: Sequence[str], now: float) -> None:
        """Keep what a reload did; `problems` are empty where it was applied."""
        old, self.files = self.files, found
        both = found.keys() & old.keys()
        changed = sorted(name for name in both if found[name] != old[name])
        added, removed = sorted(found.keys() - old.keys()), sorted(old.keys() - found.keys())
        if not problems:
            self.since = now
        self._kept.appendleft(Change(now, not problems, version, tuple(changed), tuple(added), tuple(removed), tuple(problems)))

    def all(self) -> list[Change]:
        """Return the last reloads, newest first."""
        return list(self._kept)


def read_all(settings: Settings) -> dict[str, Read]:
    """Return all files of a configuration by their names; those that cannot be read are left out. Reads them: call it in a thread."""
    base, found = settings.file.parent, {}
    for pattern in (settings.file, *settings.inputs()):
        for file in expand(pattern):
            try:
                content = file.read_bytes()
            except OSError:
                continue
            found[_named(file, base)] = Read(hashlib.sha256(content).hexdigest(), len(content))
    return found


def _named(file: Path, base: Path) -> str:
    return str(file.relative_to(base)) if file.is_relative_to(base) else str(file)


def problems_json(problems: Iterable[str]) -> list[dict[str, Any]]:
    """Return problems with the place that they begin with, where they do."""
    shown = []
    for problem in list(problems)[:MOST_PROBLEMS]:
        place = _PLACE.match(problem)
        shown.append({"file": place[1] if place else "", "line": int(place[2]) if place else 0, "text": problem})
    return shown
