"""Environment variables that override settings: `FLEETGATE_<SECTION>_<KEY>`.

Every setting that fits in one line of text has one, those of providers named in the file included. The value is laid over the file
before it is read, so the same checks hold and an error names the variable. An empty variable counts as not set: that is what compose
files and charts leave behind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from proxy.config import ConfigError, Doc, KeyPath, near
from proxy.settings.fields import keys
from proxy.settings.kinds import Kind, Section, Wrong
from proxy.settings.sections import Settings
from proxy.settings.upstreams import Provider

PREFIX = "FLEETGATE_"
NOT_SETTINGS = frozenset({"FLEETGATE_CONFIG", "FLEETGATE_ADMIN_TOKEN"})


def variable(path: KeyPath) -> str:
    """Return the name of the variable for the setting at `path`."""
    return PREFIX + "_".join(str(part) for part in path).upper().replace("-", "_")


def settable(of: type[Any], path: KeyPath = ()) -> Iterator[tuple[KeyPath, Kind]]:
    """Yield the path and kind of every setting below the section `of` that a variable can carry."""
    for key, setting in keys(of).items():
        kind: Kind = setting.metadata["kind"]
        if isinstance(kind, Section):
            yield from settable(kind.of, (*path, key))
        elif kind.text:
            yield (*path, key), kind


class Overrides:
    """The overrides of one environment, laid over `doc` when made.

    Attributes:
        used: the variable that gave the value at each path.
        unknown: a warning for each `FLEETGATE_` variable that is no setting.
        errors: variables whose text their setting cannot be.
    """

    def __init__(self, doc: Doc, env: Mapping[str, str]) -> None:
        self.used: dict[KeyPath, str] = {}
        self.unknown: list[str] = []
        self.errors: list[ConfigError] = []
        known = {variable(path): (path, kind) for path, kind in settable(Settings)}
        providers = doc.value.get("providers")
        for name in providers if isinstance(providers, dict) else ():
            known |= {variable(path): (path, kind) for path, kind in settable(Provider, ("providers", name))}
        for name, text in sorted(env.items()):
            if not name.startswith(PREFIX) or name in NOT_SETTINGS or not text:
                continue
            if name not in known:
                self.unknown.append(f"the environment variable {name} is no setting and is ignored ({near(name, known) or 'see the docs'})")
                continue
            self._lay(doc, name, *known[name], text)

    def _lay(self, doc: Doc, name: str, path: KeyPath, kind: Kind, text: str) -> None:
        try:
            value = kind.from_text(text)
        except Wrong as e:
            self.errors.append(ConfigError(f"${name}", 0, e.got, e.expected, e.hint, path))
            return
        place = doc.value
        for part in path[:-1]:
            if place.get(part) is None:
                place[part] = {}
            place = place[part]
            if not isinstance(place, dict):
                return  # the file has something else there, which the reader will report
        place[path[-1]] = value
        self.used[path] = name
