"""The directory of agents: finds the files, reads them, and holds one grant per agent.

Which files: a pattern is a path or a glob below the configuration's folder; `**` walks folders without following links and skips
`.git`, `node_modules`, `.venv` and `__pycache__`. Several files may define one agent: they intersect, shortest folder first. The same
agent in two files of one folder is an error, since neither is nearer.

How it fails: what is wrong in an agent's file stands in `errors`, and that file adds nothing to the agent: with no other file it is left
with the operator's baseline alone. A baseline that is wrong raises, because without it nothing is held to anything.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from proxy.config import ConfigError, ConfigErrors, parse_yaml, read_text
from proxy.globs import is_glob, matcher
from proxy.identity.agents_md import Declared, fill_policy, read_agents
from proxy.identity.aliases import Item, turn_limits
from proxy.identity.carriers import MAX_BYTES
from proxy.identity.fields import BASELINE
from proxy.identity.grants import combine
from proxy.identity.layers import Layer
from proxy.model import Grant

SKIPPED = frozenset((".git", "node_modules", ".venv", "__pycache__"))


@dataclass(frozen=True, slots=True)
class Directory:
    """All agents of one configuration snapshot.

    Attributes:
        agents: grant by agent id.
        errors: what is wrong in agents' files; `fleetgate check` fails on any.
        files: every file that was read, the baseline included.
        digest: SHA-256 (hex) of the names and texts of all files.
        where: the patterns that were searched, for messages.
        layers: what each file said, by agent, outermost first; the baseline is not among them.
        baseline: the operator's layer.
    """

    agents: Mapping[str, Grant]
    errors: tuple[ConfigError, ...]
    files: tuple[Path, ...]
    digest: str
    where: tuple[str, ...] = ()
    layers: Mapping[str, tuple[Layer, ...]] | None = None
    baseline: Layer | None = None

    def grant(self, agent_id: str) -> Grant | None:
        """Return what `agent_id` may do, or None for an agent that no file defines."""
        return self.agents.get(agent_id)

    @staticmethod
    def load(base: Path, patterns: Sequence[str], baseline: Path | None) -> Directory:
        """Return the directory of the files that `patterns` name, relative to `base`.

        Raises:
            ConfigErrors: the baseline cannot be read or is wrong.
        """
        operator = None if baseline is None else load_baseline(baseline, _shown(base, baseline))
        found, errors = _find(base, patterns)
        declared: dict[str, list[Declared]] = defaultdict(list)
        digests = [operator.digest] if operator else []
        for path, file in found:
            read = read_agents(path, file)
            errors += read.errors
            digests += (file, read.digest)
            for agent in read.agents:
                declared[agent.id].append(agent)
        layers = {name: _layers(name, every, errors) for name, every in sorted(declared.items())}
        return Directory(
            agents={name: combine(name, operator, own) for name, own in layers.items()},
            errors=tuple(errors),
            files=(*(path for path, _ in found), *([baseline] if baseline else [])),
            digest=hashlib.sha256("\0".join(digests).encode()).hexdigest(),
            where=tuple(patterns),
            layers=layers,
            baseline=operator,
        )


def load_baseline(path: Path, file: str) -> Layer:
    """Return the operator's layer from the YAML file at `path`: the same keys as an agent's `policy:`, under `policy:`.

    Raises:
        ConfigErrors: the file cannot be read, or anything in it is wrong.
    """
    try:
        text = read_text(path, file, MAX_BYTES)
        doc = parse_yaml(text, file)
    except ConfigError as e:
        raise ConfigErrors([e]) from None
    errors = BASELINE.check(doc, (), doc.value)
    if not errors and "id" in doc.value["policy"]:
        errors = [doc.error(("policy", "id"), "an id", "no id: the baseline holds for every agent")]
    if errors:
        raise ConfigErrors(errors)
    layer = Layer(file, hashlib.sha256(text.encode()).hexdigest(), doc.value["policy"].get("mode") == "shadow")
    item = Item(doc, (), doc.value, layer, [])
    fill_policy(item)
    turn_limits(item)
    if item.errors:
        raise ConfigErrors(item.errors)
    return layer


def _layers(agent: str, every: list[Declared], errors: list[ConfigError]) -> tuple[Layer, ...]:
    """Return the layers of one agent, outermost file first. Two files of one folder that define it are both void."""
    every = sorted(every, key=lambda d: (len(PurePosixPath(d.source.file).parts), d.source.file, d.source.line))
    folders: dict[PurePosixPath, set[str]] = defaultdict(set)
    for one in every:
        folders[PurePosixPath(one.source.file).parent].add(one.source.file)
    void: set[str] = set()
    for files in folders.values():
        if len(files) > 1:
            void |= files
            first, second = sorted(files)[:2]
            line = next(d.source.line for d in every if d.source.file == second)
            errors.append(ConfigError(second, line, f"agent {agent} is also in {first}", "one file a folder for an agent"))
    return tuple(d.layer for d in every if d.layer is not None and d.source.file not in void)


def _shown(base: Path, path: Path) -> str:
    """Return `path` as its reader knows it: relative to `base` where it is below."""
    try:
        return path.relative_to(base).as_posix()
    except ValueError:
        return path.as_posix()


def _find(base: Path, patterns: Sequence[str]) -> tuple[list[tuple[Path, str]], list[ConfigError]]:
    """Return the files of all patterns, each once, as (path, shown name), and an error for each plain path that is not a file."""
    found: dict[tuple[int, int], tuple[Path, str]] = {}
    errors: list[ConfigError] = []
    for pattern in patterns:
        if not is_glob(pattern):
            path = base / pattern
            if not path.is_file():
                words = "is not a file" if path.exists() else "does not exist"
                errors.append(ConfigError(pattern, 0, words, "a file with agents", "see `agents:` in the configuration"))
                continue
            paths = iter((path,))
        else:
            start = Path(pattern).anchor
            paths = _walk(Path(start) if start else base, PurePosixPath(pattern).parts[1 if start else 0 :])
        for path in paths:
            with suppress(OSError):  # it went away since it was listed
                stat = path.stat()
                found.setdefault((stat.st_dev, stat.st_ino), (path, _shown(base, path)))
    return list(found.values()), errors


def _walk(folder: Path, parts: tuple[str, ...]) -> Iterator[Path]:
    """Yield the files below `folder` that `parts` match, in order of name. Links to folders are followed only where named plainly."""
    part, rest = parts[0], parts[1:]
    if part == "**":
        yield from _walk(folder, rest or ("*",))
        for name in _names(folder):
            child = folder / name
            if name not in SKIPPED and child.is_dir() and not child.is_symlink():
                yield from _walk(child, parts)
        return
    if is_glob(part):
        matches = matcher((part,))
        names = [name for name in _names(folder) if matches(name)]
    else:
        names = [part]
    for name in names:
        child = folder / name
        if not rest:
            if child.is_file():
                yield child
        elif child.is_dir():
            yield from _walk(child, rest)


def _names(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir() if entry.name.isprintable())
    except OSError:
        return []
